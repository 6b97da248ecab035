# The storage role: two guests on host 0 pass tokens of a hash chain round; host 1 has their network and no
# guests, and keeps their images. The group is whole there and nowhere else; all guests are destroyed and
# brought back from it. Then the host that keeps is not known, or knows nothing of the network, or is full,
# or its receiving process is killed: one clear error each time, nothing is left on either host, and the
# guests run on.
# hosts: 2
# by name only
# time limit: 1500 s
. /add/scenarios/net.sh
. /add/scenarios/failures.sh

GUEST_MIB=112
VAULT=/var/lib/luthier/images

each() { for guest in a b; do "$@" $guest; done; }
log_of() { tail -n 400 "$(console $1)" 2>/dev/null | tr -d '\r'; }
links_of() { log_of $1 | awk '$1 == "ring" { n = $2 } END { print n + 0 }'; }
past() { [ "$(links_of $1)" -gt "$2" ]; }

# goes_on: each guest passes on 20 more tokens, and nothing was ever wrong.
goes_on() {
    for guest in a b; do await 120 "tokens at $guest" past $guest $(($(links_of $guest) + 20)); done
    for guest in a b; do
        log_of $guest >$guest.txt
        if grep -h -e BROKEN $guest.txt; then fail "$guest lost its place"; fi
    done
}

# Everything that is kept on a host, but for what is there by itself.
kept() { on $1 "cd $VAULT 2>/dev/null && find . -type d | grep -v -e '^\.\$' -e '^./groups\$' | sort"; }
is_kept() { [ "$(kept 0)" = "$1" ] && [ "$(kept 1)" = "$2" ]; }

# nothing_more WHAT: both hosts have what they had before it, and the guests go on.
nothing_more() {
    await 60 "end of all that was received ($1)" is_kept "$before_0" "$before_1"
    goes_on
    step "nothing is left of it: $1: $(head -n 1 error)"
}

snapshot() { luthier snapshot --net blue --to vault --codec lz4; }

connect_hosts blue=7
# As boot/host/README.md has it: else what Dom0 sends waits behind the stub and the guests.
for host in 0 1; do run on $host 'xl sched-credit2 -d Domain-0 -w 1024'; done
joined_hosts
n=0
for guest in a b; do start_on $guest 0 blue $((n += 1)); done
ready 0 a b
run inside 0 b 'guest ring 7000 10.1.0.1:7000 2 2 >/dev/console 2>&1 &'
run inside 0 a 'guest ring 7000 10.1.0.2:7000 2 2 start >/dev/console 2>&1 &'
goes_on
each attach
rm -f /etc/luthier/storage.toml
refuses "storage .vault. is not known here" snapshot
says error 'storage.toml: \[vault\]'
step "a host that is not known is told of: $(head -n 1 error)"

printf '[vault]\ncommand = "labrsh 1"\n' >/etc/luthier/storage.toml
run luthier --json snapshot --net blue --to vault --codec lz4
group=$(grep -o 'blue@[0-9TZ]*' run.log | tail -n 1)
! ls -d $VAULT/[ab]@* >/dev/null 2>&1 || fail "images are left on host 0: $(ls $VAULT)"
run onhost 1 "luthier verify $group"
says run.log ": whole\$"
run luthier verify "$group"
says run.log "a (a@.*) on host host1"
on 0 "luthier show $group" >show.log
says show.log 'kept on host1'
on 1 "luthier list" >list.log
says list.log "^a@.*$group"
step "$group is whole on host 1: $(du -s $VAULT | cut -f 1) KiB here, $(on 1 "du -s $VAULT" | cut -f 1) KiB there"
goes_on

for guest in a b; do destroy $guest; done
run luthier restore "$group" --rsh labrsh --address host1=1
goes_on
step "all were brought back from it, and go on where they were"
for image in $(ls $VAULT | grep @); do run luthier rm "$image"; done
each attach

before_0=$(kept 0)
before_1=$(kept 1)
# A file system of its own, with room for little.
run on 1 "mount -t tmpfs -o size=6m tmpfs $VAULT"
refuses 'host0: .*no space left|storage .vault.: no space left' snapshot
await 60 "nothing on the full file system" on 1 "! find $VAULT | grep -q @"
run on 1 "umount $VAULT"
nothing_more 'host 1 is full'

# Killed as soon as something was received.
cat >killer <<END
while :; do
    for pid in \$(pidof luthier); do
        tr '\\0' ' ' </proc/\$pid/cmdline | grep -q 'receive \$' || continue
        find $VAULT/groups/*.pending/kept -name memory 2>/dev/null | grep -q . || continue
        kill -9 \$pid && echo killed >/tmp/killed && exit
    done
    sleep 0.05
done
END
run on 1 "rm -f /tmp/killed; echo '$(base64 -w 0 <killer)' | base64 -d >/tmp/killer; sh /tmp/killer </dev/null >/dev/null 2>&1 &"
refuses 'storage .vault.' snapshot
run on 1 'cat /tmp/killed'
nothing_more 'the receiving process is killed'

# The network is not there.
run on 1 'luthier net delete blue'
refuses 'storage .vault.*not being taken here|network' snapshot
nothing_more 'host 1 does not have the network'
run on 1 'luthier net create blue --id 7'

run luthier rm "$group"
run on 1 "luthier rm $group"
is_kept '' '' || fail "something is left: $(kept 0) $(kept 1)"
step "removed on both hosts"
