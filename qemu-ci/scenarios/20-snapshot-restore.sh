# A guest that writes memory and advances a hash chain is snapshotted live, goes on, is
# destroyed and restored from the image, and its chain goes on exactly from the cut: six times
# in a row, each snapshot of the guest that the last one brought back, at random moments.
# time limit: 600 s
. /add/scenarios/luthier.sh

start_luthier
start_stub
start_guest g1 256 1 rate=20 rewrite_mib=32 rewrite_rate=2000 fill_mib=32

for round in 1 2 3 4 5 6; do
    attach g1
    moment=$(($(od -An -N2 -tu2 /dev/urandom) % 200))
    sleep "$((moment / 100)).$(printf %02d $((moment % 100)))"
    before=$(last_link g1)
    taken g1
    after=$(last_link g1)
    goes_on g1
    destroy g1
    [ "$(last_link g1)" = -1 ] || fail "a log of g1 was left" # the next one is the restored guest's
    run luthier restore "$IMAGE"
    await 30 "first link of the restored g1" past_link g1 0
    goes_on g1
    run guest verify-chain --continues g1.log "$(console g1)"
    cut=$(sed -n 's/.*after link //p' run.log)
    # The cut lies within the time that the command took, and the first guest went on beyond it.
    [ "$cut" -ge "$before" ] && [ "$cut" -le "$after" ] ||
        fail "the cut is after link $cut, the snapshot was taken between links $before and $after"
    step "round $round: $(figures); cut after link $cut of $before to $after"
    run luthier rm "$IMAGE"
done
memory_right g1
