# Snapshots of a network by a schedule: again and again, one after the other; the newest two groups stay
# on both hosts, and the older go from both. luthierd of the host that has the schedule is killed and
# started again: they go on, and no others go. Then the schedule ends, both guests are destroyed, and a
# group is restored as copies: under other names, and the connection between them goes on.
# by name only
# hosts: 2
# time limit: 1200 s
. /add/scenarios/net.sh

# of_schedule FIELD: a number of the network's schedule.
of_schedule() { luthier --json schedule list | sed -n "s/.*\"$1\":\([0-9]*\)[,}].*/\1/p"; }
groups_of() { on "$1" "ls $STORE/groups 2>/dev/null | grep -v pending"; }
images_of() { on "$1" "ls $STORE | grep -v -e ^groups -e pending -e partial"; }

# await_made N: until so many were made; no host ever has more than the two that stay and the newest.
await_made() {
    local end=$(($(date +%s) + 400)) host
    until [ "$(of_schedule made)" -ge "$1" ]; do
        [ "$(date +%s)" -lt $end ] || fail "$(of_schedule made) groups, not $1: $(luthier schedule)"
        for host in 0 1; do
            [ "$(groups_of $host | wc -l)" -le 3 ] || fail "groups on host $host: $(groups_of $host)"
        done
        sleep 2
    done
}
# settled: both hosts have the same two groups, each with its member's image, and nothing else.
settled() {
    [ "$(groups_of 0 | wc -l)" = 2 ] && [ "$(groups_of 0)" = "$(groups_of 1)" ] &&
        [ "$(images_of 0 | wc -l)" = 2 ] && [ "$(images_of 1 | wc -l)" = 2 ]
}
# None began before the one before it had ended, or luthierd was killed.
none_overlapped() {
    on "$1" "grep -e KILLED -e 'group snapshot begins' -e 'group snapshot committed' -e 'group snapshot given up' /tmp/luthierd.log" |
        awk '/begins/ { if (open) bad = 1; open = 1; next } { open = 0 } END { exit bad }' ||
        fail "two groups at once on host $1"
}

connect_hosts blue=7
joined_hosts
GUEST_MIB=112 start_on a 0 blue 1
GUEST_MIB=112 start_on b 1 blue 2
ready 0 a
ready 1 b
attach a
run onhost 1 'luthier attach b'
begin_lines 0 a 1 b 10.1.0.2
step "lines go from a to b"

run luthier schedule --net blue --every 20s --keep 2
await_made 4
lines_go_on 1 b 60
step "$(of_schedule made) made, $(of_schedule skipped) skipped: $(groups_of 0 | tr '\n' ' ')"

before=$(of_schedule made)
kept=$(groups_of 0 | tail -n 1)
run kill -9 "$(pidof luthierd)"
echo KILLED >>/tmp/luthierd.log
sleep 5
luthierd </dev/null >>/tmp/luthierd.log 2>&1 &
await 30 "answer from luthierd" luthier status
groups_of 0 | grep -q "$kept" || fail "$kept went with luthierd"
await_made $((before + 3))
step "luthierd killed and started again: $(of_schedule made) made"

run luthier schedule rm --net blue
await 120 "the same two groups on both hosts" settled
for host in 0 1; do
    none_overlapped $host
    for group in $(groups_of $host); do run on $host "luthier verify $group"; done
done
lines_go_on 1 b 60
lines_right 1 b
group=$(groups_of 0 | tail -n 1)
sleep 25
equal "$(groups_of 0 | tail -n 1)" "$group" "newest group after the schedule's end"
step "no more, and both hosts have $(groups_of 0 | tr '\n' ' ')"

run xl destroy a
run onhost 1 'xl destroy b'
run luthier restore "$group" --name-suffix=-2 --rsh labrsh --address host1=1
for host in 0 1; do
    name=$([ $host = 0 ] && echo a-2 || echo b-2)
    run on $host "xl domid $name"
    on $host "xl list -v $name" | tail -n 1
done
lines_go_on 1 b-2 60
lines_right 1 b-2
step "restored as a-2 and b-2: $(cat lines.log)"
