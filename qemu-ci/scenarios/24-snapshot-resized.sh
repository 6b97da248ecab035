# A guest whose memory is resized during a snapshot gets no image, one clear error, and runs on;
# the next snapshot, of the new size, is restored.
# only on: 4.20
. /add/scenarios/luthier.sh

start_luthier
start_stub
start_guest g1 256 1 fill_mib=64
attach g1
wait_chain g1 5
luthier snapshot g1 >snapshot.log 2>&1 &
snapshot=$!
sleep 1
run xl mem-set g1 240
wait $snapshot && fail "a snapshot of a guest that was resized meanwhile was committed: $(cat snapshot.log)"
says snapshot.log 'was resized during the snapshot'
says snapshot.log 'Try again'
[ -z "$(ls "$STORE")" ] || fail "left in the store: $(ls "$STORE")"
goes_on g1
step "refused: $(grep resized snapshot.log)"

await 30 "240 MiB of g1" sh -c '[ "$(xl list g1 | awk "NR == 2 { print \$3 }")" -le 241 ]'
sleep 1
taken g1
destroy g1
run luthier restore "$IMAGE"
goes_on g1
