# What the scenarios of networks share, beside luthier.sh. Sourced by them, in Dom0 of host 0.
# Guests are those of `mkguest --net`; commands run in them by `onguest`, without any network.
. /add/scenarios/luthier.sh

# The MTU of networks that `luthier net create` chooses, and of the guests here.
NET_MTU=1398

# Ends the scenario: what was expected and seen, and what each host's daemon and stub said last.
fail() {
    echo "FAILED: $*"
    tail -n 8 luthierd.log /tmp/luthierd.log 2>/dev/null | sed 's/^/    luthierd: /'
    tail -n 8 "$(console luthier-stub)" 2>/dev/null | sed 's/^/    stub: /'
    [ "${LAB_HOSTS:-1}" = 1 ] ||
        onhost 1 "tail -n 8 /tmp/luthierd.log $(console luthier-stub)" 2>/dev/null | sed 's/^/    host 1: /'
    exit 1
}

# on HOST COMMAND...: a shell command in Dom0 of a host.
on() {
    if [ "$1" = 0 ]; then shift; sh -c "$*"; else onhost "$@"; fi
}

# inside HOST GUEST COMMAND...: a shell command in a guest of a host.
inside() {
    local host=$1 guest=$2
    shift 2
    if [ "$host" = 0 ]; then
        onguest "$guest" "$*"
    else # one more shell on the way: what is quoted stays quoted
        onhost "$host" "onguest $guest '$(echo "$*" | sed "s/'/'\\\\''/g")'"
    fi
}

# start_switch HOST [--uplink]: luthierd and the stub domain there.
start_switch() {
    if [ "$1" = 0 ] && [ -z "${2:-}" ]; then
        start_luthier
        start_stub
        return
    fi
    run on "$1" "start-luthier ${2:-}"
    [ "$1" != 0 ] || STUB=$(xl domid luthier-stub)
}

# key_of HOST: the public key of its switch.
key_of() { on "$1" luthier --json net key | sed -n 's/.*"key": *"\([0-9a-f]*\)".*/\1/p'; }

# join HOST OTHER: HOST joins the switches of other hosts through that of OTHER.
join() { run on "$1" "luthier net join 10.0.0.$((11 + $2)) --key $(key_of "$2")"; }

# has_peer HOST [N]: sessions with so many others are up, or with any.
has_peer() { [ "$(on "$1" luthier net peers | grep -c ' up, heard')" -ge "${2:-1}" ]; }
no_peer() { ! has_peer "$1"; }

# all_hosts, other_hosts: of the lab, by number.
all_hosts() { seq 0 $((LAB_HOSTS - 1)); }
other_hosts() { seq $((LAB_HOSTS - 1)); }

# connect_hosts: switches with uplinks on all hosts, and there the networks NAME=NUMBER...
connect_hosts() {
    local host net
    start_switch 0 --uplink &
    for host in $(other_hosts); do
        run onhost "$host" "LUTHIER_TEST_FAULTS=${LUTHIER_TEST_FAULTS:-} start-luthier --uplink"
    done
    wait $! || exit 1
    STUB=$(xl domid luthier-stub) # the other shell's is lost
    for host in $(all_hosts); do
        for net in "$@"; do run on "$host" "luthier net create ${net%=*} --id ${net#*=}"; done
    done
}

# joined_hosts: each knows host 0 and is known there, and so all find each other.
joined_hosts() {
    local host
    for host in $(other_hosts); do
        join 0 "$host"
        join "$host" 0
    done
    for host in $(all_hosts); do await 120 "session of host $host with all others" has_peer "$host" $((LAB_HOSTS - 1)); done
}

# start_on NAME HOST NETWORK N [WORDS...]: a guest with the MAC address 00:16:3e:00:00:0N and the
# addresses 10.1.0.N and fd00::N. Up when `ready` says so. GUEST_DISK: its disks, as of mkguest --disk.
start_on() {
    local name=$1 host=$2 net=$3 n=$4
    shift 4
    run on "$host" "rm -f $CONSOLES/guest-$name.log; mkguest ${GUEST_DISK:+--disk \"$GUEST_DISK\"} --net $name \
        'mac=00:16:3e:00:00:0$n,backend=luthier-stub,bridge=$net,mtu=$NET_MTU' ${GUEST_MIB:-160} 1 \
        net_address=10.1.0.$n/24 net_address6=fd00::$n/64 chain=no $* >/tmp/$name.cfg && xl create -q /tmp/$name.cfg"
}

# ready HOST GUEST...: waits until they have booted.
ready() {
    local host=$1 guest
    shift
    for guest in "$@"; do run inside "$host" "$guest" true; done
}

# reaches HOST GUEST ADDRESS: it gets an answer within seconds.
reaches() {
    local ping=ping
    case $3 in *:*) ping=ping6 ;; esac
    inside "$1" "$2" "for i in 1 2 3 4 5 6 7 8; do $ping -c 1 -W 2 $3 && exit 0; done; exit 1"
}

# answers HOST GUEST TEXT: who connects to the guest's TCP port 4000 is told TEXT.
answers() { run inside "$1" "$2" "while :; do echo $3 | nc -l -p 4000; done >/dev/null 2>&1 &"; }

# asks HOST GUEST ADDRESS: what it is told there.
asks() { inside "$1" "$2" "nc -w 10 $3 4000 </dev/null"; }

# carries HOST_A A HOST_B B ADDRESS_OF_B KIB: so much by TCP from A to B and as much back, at the
# same time over one connection; both arrive as they were sent. (Busybox's nc ends at the other's end
# of file, whatever it has still to send: so nobody ends before both have all.)
carries() {
    local of=$1 a=$2 to=$3 b=$4 size=$(($6 * 1024)) side
    for side in "$of $a" "$to $b"; do
        # shellcheck disable=SC2086 # host and guest
        run inside $side "head -c $size /dev/urandom >/tmp/mine; rm -f /tmp/theirs"
    done
    run inside "$to" "$b" '(cat /tmp/mine; sleep 90) | timeout 90 nc -l -p 5001 >/tmp/theirs 2>/dev/null &'
    run inside "$of" "$a" "sleep 1; (cat /tmp/mine; sleep 90) | timeout 90 nc $5 5001 >/tmp/theirs 2>/dev/null &
        for i in \$(seq 300); do [ \$(stat -c %s /tmp/theirs) = $size ] && exit 0; sleep 0.3; done; ls -l /tmp; exit 1"
    await 60 "all of $a's data at $b" all_there "$to" "$b" $size
    equal "$(sum_of "$of" "$a" mine)" "$(sum_of "$to" "$b" theirs)" "what $a sent and $b got"
    equal "$(sum_of "$to" "$b" mine)" "$(sum_of "$of" "$a" theirs)" "what $b sent and $a got"
}
all_there() { [ "$(inside "$1" "$2" stat -c %s /tmp/theirs)" = "$3" ]; }
sum_of() { inside "$1" "$2" "sha256sum </tmp/$3"; }

# begin_lines HOST_A A HOST_B B ADDRESS_OF_B: ten numbered lines of 400 octets a second, for ever,
# over one TCP connection from A to B, whose /tmp/lines they go to.
begin_lines() {
    run inside "$3" "$4" 'sleep 1000000 | nc -l -p 7000 >/tmp/lines 2>/dev/null &'
    run inside "$1" "$2" "pad=\$(head -c 390 /dev/zero | tr '\\0' x); sleep 1
        n=0; while n=\$((n + 1)); do echo \"\$n \$pad\" || break; sleep 0.1; done | nc $5 7000 >/dev/null 2>&1 &"
    await 30 "lines from $2 to $4" lines_past "$3" "$4" 5
}

# lines HOST B: how many came.
lines() { inside "$1" "$2" 'wc -l </tmp/lines'; }
lines_past() { [ "$(lines "$1" "$2")" -gt "$3" ]; }

# lines_go_on HOST B [SECONDS]: from now on.
lines_go_on() {
    local so_far
    so_far=$(lines "$1" "$2")
    await "${3:-20}" "more lines than $so_far at $2" lines_past "$1" "$2" $((so_far + 5))
}

# lines_right HOST B: none was lost, doubled, out of order or spoiled.
lines_right() {
    inside "$1" "$2" 'tail -n 1 /tmp/lines >/tmp/last
        head -n -1 /tmp/lines | awk "
            \$1 != NR || NF != 2 || length(\$2) != 390 { print \"line\", NR, \"is\", substr(\$0, 1, 60); exit 1 }
            END { print NR, \"lines\" }"' >lines.log || fail "$2 got wrong lines: $(cat lines.log)"
}

# look HOST: the figures of its switch, into stats-HOST.json for `figure_of`.
look() { on "$1" luthier --json net stats >"stats-$1.json" || fail "no figures of host $1: $(cat "stats-$1.json")"; }

# figure_of HOST EXPRESSION: of Python. s: all figures; port(NAME): a guest's port; net(NAME): a
# network; peer: the other switch that is up; got(NAME), sent(NAME): frames to and from a guest; drops(x):
# the sum of what was dropped there.
figure_of() {
    python3 - "stats-$1.json" "$2" <<'END'
import json, sys
s = json.load(open(sys.argv[1]))
ports = [p for n in s["networks"] for p in n["ports"]]
def port(name): return [p for p in ports if p["guest"] == name][0]
def net(name): return [n for n in s["networks"] if n["name"] == name][0]
def got(name): return port(name)["to_guest"]["frames"]
def sent(name): return port(name)["from_guest"]["frames"]
def drops(x): return sum(x["drops"].values())
switch, peer = s["switch"], next((p for p in s["peers"] if p["state"] == "up"), None)
counters = switch["counters"]
print(eval(sys.argv[2]))
END
}

# place_of HOST NETWORK MAC: where the table of that host has it: a guest, or `switch ID`.
place_of() {
    on "$1" luthier net show "$2" | sed -n "s/^$3 *\(pinned\|[0-9]* s\) *//p"
}

# id_of HOST: of its switch.
id_of() { look "$1" && figure_of "$1" 'switch["id"]'; }
