# A guest that writes faster than pages can be copied is slowed down as the last resort, and gets its
# CPU time back however the snapshot ends: done, luthierd killed, the stub dead. A cap that somebody
# else sets meanwhile is theirs.
# only on: 4.17
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

cap() { xl sched-credit2 -d "$1" | awk -v name="$1" '$1 == name { print $4 }'; }
cap_is() { [ "$(cap "$1")" = "$2" ]; }

# throttled: a snapshot in the background, up to the first step down. The stub has a third of the CPU
# and copies pages one by one, so that the guest writes faster than they are copied.
throttled() {
    run xl sched-credit2 -d luthier-stub -c 30
    fault hold throttle
    start_snapshot g1 --throttle --downtime 400ms --copy-batch 1 --prepare 0
    held throttle
    LOW=$(cap g1)
    step "the cap is $LOW"
}

start_luthier
start_stub --pool 128
start_guest g1 128 1 rate=5 dirty_mib=48 dirty_rate=max
attach g1
cap_is g1 0 || fail "g1 has a cap to begin with: $(cap g1)"

throttled
[ "$LOW" -gt 0 ] && [ "$LOW" -lt 100 ] || fail "the cap should be lower, and is $LOW"
no_fault
wait $SNAPSHOT || fail "a throttled snapshot: $(cat snapshot.err)"
cap_is g1 0 || fail "the cap is $(cap g1) after the snapshot"
drop_images

# A target that suspending alone exceeds: missed, but by less if the guest may be slowed down.
taken g1 --downtime 1ms --copy-batch 1 --prepare 0
without=$(figure suspended_ms)
drop_images
taken g1 --throttle --downtime 1ms --copy-batch 1 --prepare 0
step "a target out of reach: suspended $without ms; with the guest at $(figure throttle) %, $(figure suspended_ms) ms"
[ "$(figure stop)" = target-missed ] || fail "a target of 1 ms: $(figure stop)"
[ "$(figure throttle)" -lt 100 ] || fail "g1 was not slowed down"
awk -v with="$(figure suspended_ms)" -v without="$without" 'BEGIN { exit !(with * 2 < without) }' ||
    fail "slowed down, it was suspended for $(figure suspended_ms) ms, and for $without ms else"
cap_is g1 0 || fail "the cap is $(cap g1) after the snapshot"
drop_images

xl sched-credit2 -d g1 -c 80
throttled
[ "$LOW" -lt 80 ] || fail "the cap should be below 80, and is $LOW"
kill -9 "$LUTHIERD"
wait $SNAPSHOT
restart_luthier
await 20 "the cap of 80 after luthierd was killed" cap_is g1 80
survived g1 0 "luthierd killed while g1 was slowed down"
await_stub

throttled
run xl destroy luthier-stub
no_fault
ended 'stub domain'
await 20 "the cap of 80 after the stub died" cap_is g1 80
start_stub --pool 128
survived g1 0 "the stub died while g1 was slowed down"

throttled
xl sched-credit2 -d g1 -c 70
no_fault
wait $SNAPSHOT || fail "a snapshot of a guest whose cap was changed: $(cat snapshot.err)"
cap_is g1 70 || fail "the cap of 70 that xl has set is $(cap g1) now"
drop_images
works g1
