# A guest's disks are snapshotted at the point at which its memory is: a thin volume of LVM and a file
# on XFS, each with a guest that journals its chain there and overwrites blocks without a pause. Each
# image is restored on clones of its disks; what the disk has must be what the memory remembers, and
# whoever looks at it without the memory finds a file system as after a loss of power.
# DISK_ROUNDS: how often (once).
# time limit: 1800 s
# only on: 4.17
. /add/scenarios/luthier.sh
. /add/scenarios/disks.sh

make_ground
start_luthier
start_stub
thin_disk g1
file_disk g2
start_disk_guest "'phy:/dev/vg/g1,xvda,w'" g1 160 1 $DISK_LOAD
start_disk_guest "'/srv/g2.raw,raw,xvda,w','/lab/guest/initrd.gz,raw,xvdb,r'" g2 160 1 $DISK_LOAD
attach g1
attach g2
step "two guests journal on their disks"

for round in $(seq "${DISK_ROUNDS:-1}"); do
    # Both at once: each has its own.
    take g1 &
    first=$!
    taken g2
    image_g2=$IMAGE
    wait $first || fail "snapshot of g1: $(said g1)"
    image_g1=$(TAKEN=take-g1.json; figure image)
    for guest in g1 g2; do
        TAKEN=take-$guest.json
        step "round $round: $(IMAGE=$guest; figures); disks took $(disk_ms)"
        goes_on $guest
    done
    snapshots_left 2
    for guest in g1 g2; do
        eval "image=\$image_$guest"
        if [ "$round" = 1 ]; then
            run luthier --json restore "$image" --name probe --paused
            clone=$(clone_of run.log)
            run xl destroy probe
            sleep 1
            fsck_clone "$clone"
            drop_clone "$clone"
        fi
        destroy $guest
        run luthier --json restore "$image"
        clone=$(clone_of run.log)
        [ -e "$clone" ] || fail "no clone of $guest's disk: $(cat run.log)"
        await 240 "first link of the restored $guest" past_link $guest 0
        journal_right $guest
        run guest verify-chain --continues $guest.log "$(console $guest)"
        run luthier rm "$image"
        attach $guest
        step "round $round: $guest goes on with $clone, which agrees with its memory"
    done
    snapshots_left 0
done
