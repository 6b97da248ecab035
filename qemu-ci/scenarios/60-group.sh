# One consistent snapshot of a network: four guests on two hosts pass tokens of a hash chain round by
# TCP, and one counts datagrams to another. The group is snapshotted while they do; then all are
# destroyed and the group is restored, on the same hosts and with the hosts swapped: every token goes on
# where it was, no connection is reset, no datagram is lost, doubled or out of order.
# GROUP_ROUNDS: how often (once); each second time the hosts are swapped, which takes minutes here.
# hosts: 2
# time limit: 1500 s
. /add/scenarios/net.sh

GUEST_MIB=112
HOSTS='a=0 b=0 c=1 d=1'

# Where each guest is now: host_of NAME.
host_of() { echo "$HOSTS" | tr ' ' '\n' | sed -n "s/^$1=//p"; }
each() { for guest in a b c d; do "$@" $guest; done; }

# log_of NAME: the last lines of its console, wherever it is.
log_of() { on "$(host_of $1)" "tail -n 400 $(console $1)" 2>/dev/null | tr -d '\r'; }
links_of() { log_of $1 | awk '$1 == "ring" { n = $2 } END { print n + 0 }'; }
counted() { log_of d | awk '$1 == "datagrams" { n = $2 } END { print n + 0 }'; }
past() { [ "$(links_of $1)" -gt "$2" ]; }
counted_past() { [ "$(counted)" -gt "$1" ]; }

# goes_on: each guest passes on 20 more tokens, 20 more datagrams come, and nothing was ever wrong.
goes_on() {
    local n=$(counted)
    for guest in a b c d; do await 120 "tokens at $guest" past $guest $(($(links_of $guest) + 20)); done
    await 120 "datagrams at d" counted_past $((n + 20))
    for guest in a b c d; do
        log_of $guest >$guest.txt
        if grep -h -e BROKEN -e LOST $guest.txt; then fail "$guest lost its place"; fi
    done
}
end_of() { run on "$(host_of $1)" "xl destroy $1; mv $(console $1) $(console $1).$round"; }

connect_hosts blue=7
joined_hosts
n=0
for guest in a b c d; do start_on $guest $(host_of $guest) blue $((n += 1)); done
ready 0 a b
ready 1 c d
run inside 1 d 'guest count-in 7001 >/dev/console 2>&1 &'
# a -> c -> b -> d -> a: each step crosses the hosts.
run inside 1 c 'guest ring 7000 10.1.0.2:7000 4 8 >/dev/console 2>&1 &'
run inside 0 b 'guest ring 7000 10.1.0.4:7000 4 8 >/dev/console 2>&1 &'
run inside 1 d 'guest ring 7000 10.1.0.1:7000 4 8 >/dev/console 2>&1 &'
run inside 0 a 'guest ring 7000 10.1.0.3:7000 4 8 start >/dev/console 2>&1 &'
run inside 0 a 'guest count-out 10.1.0.4:7001 20 >/dev/console 2>&1 &'
goes_on
step "tokens and datagrams go round"

refused luthier snapshot --net blue
says refused.log 'attach'
each eval 'run on $(host_of $guest) luthier attach'
step "guests that were not attached are named: $(head -n 1 refused.log)"

for round in $(seq "${GROUP_ROUNDS:-1}"); do
    each eval 'on $(host_of $guest) luthier attach $guest >/dev/null 2>&1; :'
    run luthier --json snapshot --net blue
    group=$(grep -o 'blue@[0-9TZ]*' run.log | tail -n 1)
    run luthier verify "$group"
    run onhost 1 "luthier verify $group"
    luthier show "$group" | grep -e '^cut' -e '^frames' | sed 's/^/    /'
    goes_on
    step "$group: whole on both hosts, and all go on"
    each end_of
    place=''
    if [ $((round % 2)) = 0 ]; then
        HOSTS=$(echo "$HOSTS" | tr 01 10)
        for guest in a b c d; do place="$place --place $guest=host$(host_of $guest)"; done
    fi
    # shellcheck disable=SC2086 # several words
    run luthier restore "$group" $place --rsh labrsh --address host1=1
    goes_on
    step "restored: $(for guest in a b c d; do echo "$guest on host $(host_of $guest),"; done | tr '\n' ' ')nothing lost"
done
