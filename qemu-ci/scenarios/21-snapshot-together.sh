# Two guests, of 1 and of 4 vCPUs, are snapshotted at once; both go on, and both come back from
# their images. While one is snapshotted, a second snapshot of it is refused.
# only on: 4.20
# time limit: 600 s
. /add/scenarios/luthier.sh

start_luthier
start_stub
start_guest one 256 1 seed=one rate=10 rewrite_mib=8 rewrite_rate=400
start_guest four 256 4 seed=four rate=10 rewrite_mib=8 rewrite_rate=400
attach one
attach four

snapshot() { # GUEST: in the background; leaves GUEST.status
    luthier --json snapshot "$1" >"take-$1.json" 2>"take-$1.err"
    echo $? >"$1.status"
}
snapshot one &
snapshot four &
has_begun() { grep -q '"started"' "take-$1.json"; }
await 20 "begin of one's snapshot" has_begun one
await 20 "begin of four's snapshot" has_begun four
luthier --json status >status.json
[ "$(grep -o '"snapshotting":true' status.json | wc -l)" = 2 ] || fail "not both in progress: $(cat status.json)"
refused luthier snapshot one
says refused.log "a snapshot of .one. is in progress"
ended() { [ -s "$1.status" ]; }
for guest in one four; do
    await 120 "end of the snapshot of $guest" ended $guest
    equal "$(cat $guest.status)" 0 "status of the snapshot of $guest ($(said $guest))"
    TAKEN=take-$guest.json
    IMAGE=$(figure image)
    echo "$IMAGE" >$guest.image
    step "$(figures)"
    goes_on $guest
done
for guest in one four; do
    destroy $guest
    run luthier restore "$(cat $guest.image)"
    continues_from $guest.log $guest
done
memory_right one
memory_right four
