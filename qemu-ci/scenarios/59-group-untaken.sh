# A member that stands still already, since somebody else asked it to: what the others send it lies in its
# receive ring, where its driver would drop it when it is restored. It is part of the group's image: of
# datagrams that were sent all the time, the restored guest misses none, and gets none twice.
# by name also on: 4.20
# time limit: 300 s
. /add/scenarios/net.sh
. /add/scenarios/told.sh

is_suspended() { [ "$(xl list b | awk 'NR == 2 { print substr($5, 4, 1) }')" = s ]; }

start_switch 0
run luthier net create blue --id 7
start_on a 0 blue 1
start_on b 0 blue 2
ready 0 a b
run luthier attach a
run luthier attach b
run inside 0 b 'guest count-in 7001 >/dev/console 2>&1 &'
run inside 0 a 'guest count-out 10.1.0.2:7001 200 >/dev/console 2>&1 &'
await_past b datagrams 10
step "a sends datagrams to b, five a second"

xenstore-write "/local/domain/$(xl domid b)/control/shutdown" suspend
await 20 "suspension of b" is_suspended
before=$(last_of b datagrams)
sleep 3
run luthier --json snapshot --net blue
mv run.log taken.json
is_suspended || fail "the snapshot did not leave b suspended"
group=$(grep -o 'blue@[0-9TZ]*' taken.json | tail -n 1)
recorded=$(luthier show --json "$group" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["cut"]["channel"]["recorded"])')
[ "$recorded" -ge 10 ] || fail "only $recorded frames were recorded, of 3 s at five a second"
step "snapshotted 3 s after somebody else suspended b: $recorded frames recorded, none was taken since datagram $before"

for guest in a b; do
    run xl destroy $guest
    mv "$(console $guest)" "$(console $guest).1"
done
run luthier restore "$group"
await_past b datagrams $((before + recorded + 10))
right_in b
step "restored: $(tail -n 1 "$(console b)" | tr -d '\r')"
