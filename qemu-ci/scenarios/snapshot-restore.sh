#!/bin/sh
# A guest that writes memory and advances a hash chain is snapshotted live, goes on, is
# destroyed, restored from the image, and its chain goes on exactly from the cut; ROUNDS times
# in a row (10), at random moments.
. /add/scenarios/luthier.sh
ROUNDS=${ROUNDS:-10}

start_luthier
luthier up || fail "luthier up"
start_guest g1 256 1 rate=20 rewrite_mib=32 rewrite_rate=2000 fill_mib=32
wait_chain g1 3

round=0
while [ $round -lt "$ROUNDS" ]; do
    round=$((round + 1))
    luthier attach g1 >/dev/null || fail "attach"
    moment=$(awk -v seed="$(od -An -N4 -tu4 /dev/urandom)" 'BEGIN { srand(seed); printf "%.2f", rand() * 2 }')
    sleep "$moment"
    before=$(last_link g1)
    take g1 || fail "snapshot: $(said g1)"
    # `after` may be printed before the command has returned, never after what is read here.
    after=$(last_link g1)
    goes_on g1
    first=$(new_log g1)
    destroy g1
    luthier --json restore "$IMAGE" >/tmp/restore.json 2>&1 || fail "restore: $(cat /tmp/restore.json)"
    goes_on g1
    guest verify-chain --continues "$first" "$(log_of g1)" >/tmp/verdict || fail "chain: round $round"
    cut=$(sed -n 's/.*after link //p' /tmp/verdict)
    [ "$cut" -ge "$before" ] && [ "$cut" -le "$after" ] ||
        fail "the cut is at link $cut, the snapshot ran from link $before to $after"
    luthier rm "$IMAGE" >/dev/null || fail "rm $IMAGE"
    seen "round $round, at +$moment s: $(figures); cut after link $cut, $before to $after"
done
