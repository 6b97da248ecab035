# Periodic snapshots: the newest stay and the older go, luthierd is killed and started again,
# the guest is not attached for a while, images of others stay; incremental ones; a damaged list.
# only on: 4.17
# time limit: 900 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

# of_schedule FIELD: a number of g1's schedule.
of_schedule() { luthier --json schedule list | sed -n "s/.*\"$1\":\([0-9]*\)[,}].*/\1/p"; }
made() { [ "$(of_schedule made)" -ge "$1" ]; }
# The images that the schedule still has, one a line.
own() { luthier --json schedule list | sed -n 's/.*"images":\[\([^]]*\)\].*/\1/p' | tr -d '"' | tr , '\n'; }
at_most() { [ "$(own | wc -l)" -le "$1" ] || fail "more than $1 images: $(own)"; }
# idle_with N: no snapshot is in progress, and the schedule has N images.
idle_with() { luthier --json schedule list | grep -q '"in_progress":false' && [ "$(own | wc -l)" = "$1" ]; }
says_last() { luthier schedule list | grep -Eq -e "$1"; }

# await_made N MOST: until N snapshots were made; there are never more than MOST images.
await_made() {
    local end=$(($(date +%s) + 240))
    until made "$1"; do
        [ "$(date +%s)" -lt $end ] || fail "$(of_schedule made) snapshots, not $1: $(luthier schedule)"
        at_most "$2"
        sleep 1
    done
}
# no_more: no more snapshots of g1, and what was being done is done.
no_more() {
    run luthier schedule rm g1
    sleep 2
    await 60 "end of the last snapshot" no_jobs
    await 60 "end of the last merge" none_partial
}
none_partial() { ! ls -d "$STORE"/*.partial >/dev/null 2>&1; }
# Every snapshot ended before the next one began.
none_overlapped() {
    grep -E 'snapshot begins|snapshot committed|scheduled snapshot failed' "$1" |
        awk '/begins/ { if (open) bad = 1; open = 1; next } { open = 0 } END { exit bad }' ||
        fail "two snapshots at once: $(cat "$1")"
}

start_luthier
start_guest g1 96 1 rate=20 rewrite_mib=8 rewrite_rate=500
refuses 'needs? ' luthier schedule --policy pool-fit
refuses 'has no schedule' luthier schedule rm g1
luthier schedule | grep -q 'no snapshots are scheduled' || fail "not told that there is no schedule"

# Before the stub is up, and before the guest is attached.
run luthier schedule g1 --every 5s --keep 3 --policy pool-fit
await 10 "reason why it waits" says_last 'waiting: .g1. is not attached.*luthier attach g1'
attach g1
await 15 "reason why it waits" says_last 'waiting: no stub domain is running'
start_stub
await_made 1 4
step "begun, when it could"

# One by hand, which the schedule leaves alone. The stub may be busy with g1.
by_hand() { take g1; }
await 60 "snapshot by hand" by_hand
mine=$IMAGE
await_made 5 4
await 60 "three images" idle_with 3
[ -d "$STORE/$mine" ] || fail "the image of somebody else went"
equal "$(images)" 4 "images"
own | grep -q "$mine" && fail "the schedule counts an image that it did not make"
none_overlapped luthierd.log
luthier schedule
step "the newest three stay: $(of_schedule made) made, $(of_schedule skipped) skipped"

# Killed, and down for several intervals: goes on, with the same images.
kept=$(own | tail -n 1)
before=$(of_schedule made)
kill -9 "$LUTHIERD"
wait "$LUTHIERD" 2>/dev/null
sleep 12
mv luthierd.log before.log
start_luthier
await_stub
equal "$(own | grep -c "$kept")" 1 "newest image after the restart"
await_made $((before + 2)) 4
none_overlapped luthierd.log
step "killed and started again: $(of_schedule made) made"

# In the middle of a snapshot, and when the image is there but not noted.
for at in suspend committed; do
    before=$(of_schedule made)
    fault kill $at
    wait "$LUTHIERD" 2>/dev/null
    restart_luthier
    await_stub
    await_made $((before + 2)) 4
    await 60 "three images" idle_with 3
    equal "$(images)" 4 "images after a kill at $at"
    step "killed at $at: $(of_schedule made) made"
done

# A guest that is not attached any more, and then is.
let_go() { luthier detach g1; }
await 30 "detached g1" let_go
await 30 "reason why it waits" says_last 'waiting: .g1. is not attached'
equal "$(own | wc -l)" 3 "images while the guest is not attached"
attach g1
before=$(of_schedule made)
await_made $((before + 1)) 4
step "attached again"

no_more
left=$(images)
sleep 8
equal "$(images)" "$left" "images after the schedule has ended"
for image in $(ls "$STORE"); do
    run luthier verify "$image"
done
drop_images
step "no more, and all images are whole"

# Each on top of the former one.
run luthier schedule g1 --every 5s --keep 2 --incremental
await_made 6 4
no_more
[ "$(images)" -le 5 ] || fail "images of a chain: $(ls "$STORE")"
grep -q 'old image merged' luthierd.log || fail "no image was merged"
chained=0
for image in $(ls "$STORE"); do
    run luthier verify "$image"
    luthier --json show "$image" | grep -q '"parent":{' && chained=$((chained + 1))
done
[ "$chained" -ge 1 ] || fail "no image builds on another"
du -sk "$STORE"/* | sed 's/^/    /'
step "incremental: $(images) images, $chained of them on others"
run luthier detach g1 # which ends the log of writes that was kept for a next one
survived g1 "$(images)" "all schedules"
attach g1

# A full disk: room for one image and a half. The old one is not removed to make room.
room=$(du -sk "$STORE"/* | awk '$1 > most { most = $1 } END { print int(most * 3 / 2) }')
run mount -t tmpfs -o size="${room}k" tmpfs "$STORE"
run luthier schedule g1 --every 5s --keep 1
failing() { [ "$(of_schedule failing)" -ge 2 ]; }
await 90 "failures" failing
says_last 'failed .* in a row, .*no space left' || fail "not told of the full disk: $(luthier schedule)"
equal "$(own | wc -l)" 1 "images on a full disk"
run luthier verify "$(own)"
no_more
equal "$(images)" 1 "images on a full disk"
run umount "$STORE"
survived g1 "$(images)" "a full disk"

# A damaged list is told of, and nothing else is harmed.
stop_luthier
echo '{"schedules": [' >$IMAGES/schedules.json
start_luthier
await_stub
refuses 'schedules.json is not a list of schedules' luthier schedule
works g1
