# A peer of an older release: host 1 runs an older Luthier than host 0. Frames go between them as ever, if both
# speak the same version of the tunnel. A snapshot of the network and the restore of a group are refused from either
# side at once, by one error that names the host, both versions, and what to do; nothing is left and every guest
# runs. When host 1 has the newer release, the same commands work. Before that, its luthierd is the newer one
# and its stub the older, as half way through an upgrade: refused as well.
# OLDER: a directory with luthierd, luthier and stubdom of a release whose group protocol has another version:
#   git worktree add OLD COMMIT; cd OLD; qemu-ci/lab build; mkdir DIR
#   cp target/lab-build/x86_64-unknown-linux-gnu/release/luthier{,d} target/kernel/stubdom DIR
# hosts: 2
# by name only
# wants: OLDER
# time limit: 900 s
. /add/scenarios/groups.sh

AT_ONCE=15

# Luthier's files of a host are another release's: older HOST; newer HOST, as before.
older() {
    run on "$1" 'set -e; mkdir -p /newer; mv /usr/sbin/luthierd /usr/sbin/luthier /usr/lib/luthier/stubdom /newer/
        cp /add/older/luthierd /add/older/luthier /usr/sbin/; cp /add/older/stubdom /usr/lib/luthier/'
}
newer() {
    run on "$1" 'set -e; mv /newer/luthierd /newer/luthier /usr/sbin/; mv /newer/stubdom /usr/lib/luthier/; rmdir /newer'
}

# at_once PATTERN COMMAND...: refused so, and not after a time-out.
at_once() {
    local pattern=$1 since took
    shift
    since=$(date +%s)
    refuses "$pattern" "$@"
    took=$(($(date +%s) - since))
    [ $took -le $AT_ONCE ] || fail "'$*' was refused after $took s only"
}

# there COMMAND...: on host 1, whose words come at the end and together.
there() { onhost 1 "$@" >&2; }

# says_to_do WHAT: the error has this as its next step.
says_to_do() { grep -q -e "^  .*$1" error || fail "no '$1' as the next step: $(cat error)"; }

# nothing_of_it WHAT: guests run, and neither host has anything of the group.
nothing_of_it() {
    WHEN=$(date +%s)
    run_on a b
    decided nothing
    step "$1: $(head -n 1 error)"
}

HOST_0=$(hostname)
HOST_1=$(onhost 1 hostname)
older 1
begin_groups
: >snapshot.out
run inside 0 a 'ping -c 2 -W 5 10.1.0.2'
step "guests of both releases reach each other"

speaks='speaks version [0-9]+ of the group protocol, this one version [0-9]+$'
at_once "^luthier: host 10\.0\.0\.12 \(switch [0-9a-f]{16}\) $speaks" luthier snapshot --net blue
says_to_do 'nstall one release on all hosts, then luthier down && luthier up$'
nothing_of_it "from the newer host"

# The older one has words of its own.
at_once '^luthier: host 10\.0\.0\.11 .*version [0-9]+ of the group protocol' there luthier snapshot --net blue
nothing_of_it "from the older host"
tokens_go_on

# Half an upgrade.
newer 1
run onhost 1 'kill $(pidof luthierd); sleep 1'
again_luthierd 1
at_once 'the stub domain speaks version [0-9]+ of the handoff, this luthierd speaks [0-9]+' \
    there luthier snapshot --net blue
says_to_do 'luthier down && luthier up'
at_once '^luthier: host 10\.0\.0\.12 ' luthier snapshot --net blue
nothing_of_it "host 1 with the newer luthierd and the older stub"

# All of it.
run onhost 1 luthier down --force
again_stub 1
run luthier --json snapshot --net blue
group=$(grep -o 'blue@[0-9TZ]*' run.log | tail -n 1)
WHEN=$(date +%s)
run_on a b
tokens_go_on
step "host 1 with the newer release: $group"

# A restore with the older luthier on the other host, from both sides.
run xl destroy a
run onhost 1 'xl destroy b'
older 1
speaks='speaks version [0-9]+ of group restores, on .* version [0-9]+$'
at_once "^luthier: luthier on $HOST_1 $speaks" luthier restore "$group" --rsh labrsh --address "$HOST_1=1"
says_to_do 'Install one release of Luthier on all hosts. Nothing of the group runs$'
step "restore from the newer host: $(head -n 1 error)"
# This host, too, takes commands of the other one now.
nc -ll -p 7777 -e /usr/bin/serve-host &
server=$!
at_once "^luthier: .*luthier on the host that asks speaks .*, on $HOST_0 version" \
    there "luthier restore $group --rsh labrsh --address $HOST_0=0"
says_to_do 'Install one release of Luthier on all hosts'
kill $server
step "restore from the older host: $(head -n 1 error)"
for host in 0 1; do
    equal "$(on $host xl list | grep -c -e '^[ab] ')" 0 "domains on host $host"
    equal "$(images_of $host | wc -l)" 1 "images on host $host"
done
newer 1
run luthier restore "$group" --rsh labrsh --address "$HOST_1=1"
WHEN=$(date +%s)
run_on a b
tokens_go_on
step "the same restore with the newer release on both"
