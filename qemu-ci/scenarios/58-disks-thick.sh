# A disk that is an ordinary (thick) volume of LVM: its snapshot is of the moment at which the guest's
# memory is, the restored guest's copy is the snapshot's to the last octet (the room of new volumes is
# full of what others left), the disk agrees with the memory, two images of one disk live side by side, no room is told before
# anything starts, a killed daemon leaves nothing and no disk that stands still, and rm takes it all away.
# time limit: 1500 s
# only on: 4.17
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh
. /add/scenarios/disks.sh

make_ground
thick_disk g3
dirty_room
start_luthier
start_stub
start_disk_guest "'phy:/dev/vg/g3,xvda,w'" g3 160 1 $DISK_LOAD
attach g3

taken g3
image=$IMAGE
step "$(figures); disks took $(disk_ms)"
snapshots_left 1
goes_on g3
run luthier --json restore "$image" --name probe --paused
clone=$(clone_of run.log)
run xl destroy probe
sleep 1
run cmp "/dev/vg/$(snapshots)" "$clone"
fsck_clone "$clone"
drop_clone "$clone"
step "a copy of the disk is as its snapshot, and as after a loss of power"

destroy g3
run luthier --json restore "$image"
clone=$(clone_of run.log)
[ -e "$clone" ] || fail "no clone of the disk: $(cat run.log)"
await 240 "first link of the restored g3" past_link g3 0
journal_right g3
run guest verify-chain --continues g3.log "$(console g3)"
run luthier rm "$image"
snapshots_left 0
attach g3
step "the guest goes on with $clone, which agrees with its memory"

taken g3
first=$IMAGE
taken g3
second=$IMAGE
snapshots_left 2
refuses 'disk xvda of .g3. can.t be snapshotted: .* MiB are needed in the volume group vg for its snapshot, and .* MiB are free' \
    luthier snapshot g3
refuses "disk xvda of $first can.t be brought back: .* MiB are needed in the volume group vg for a copy" \
    luthier restore "$first" --name copy
snapshots_left 2
equal "$(lvs --noheadings -o lv_name vg | grep -c restored_)" 1 "volumes of restored guests"
journal_right g3
run luthier rm "$first"
snapshots_left 1
run luthier rm "$second"
no_snapshots || fail "left: $(snapshots)"
step "two images of one disk, and no room for a third"

for at in clean suspend released; do
    fault kill $at
    start_snapshot g3
    ended 'luthierd went away'
    # As if LVM had been killed as well, while it had the disk suspended.
    [ $at != suspend ] || run dmsetup suspend --noflush --nolockfs "$clone"
    restart_luthier
    await 240 "end of the snapshot" no_snapshots
    survived g3 0 "killed at $at"
    await_stub
done
journal_right g3
works g3
snapshots_left 0
