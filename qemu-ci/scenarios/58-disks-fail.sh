# Disks that can't be snapshotted are refused before anything begins, or left out when the operator says
# so; a killed daemon leaves no snapshot of a disk and no guest that can't write; a snapshot that is gone
# and a pool that is full are told in one error.
# time limit: 2400 s
# only on: 4.17
# by name only
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh
. /add/scenarios/disks.sh

make_ground
run lvcreate -qq -L 16M -n base vg
run lvcreate -qq -s -L 8M -n thick vg/base
truncate -s 16M "$IMAGES/plain.raw"
start_luthier
start_stub
start_disk_guest "'phy:/dev/vg/thick,xvda,w','$IMAGES/plain.raw,raw,xvdb,w'" g3 128 1
attach g3
refuses 'disk xvda of .g3. can.t be snapshotted: vg/thick is a snapshot of base itself' luthier snapshot g3
refuses 'disk xvdb of .g3. can.t be snapshotted: .*can.t share blocks' luthier snapshot g3 --no-disk xvda
refuses 'no disk xvdq' luthier snapshot g3 --no-disk xvdq
equal "$(images)" 0 "images of refused snapshots"
taken g3 --no-disk xvda --no-disk xvdb
luthier --json show "$IMAGE" >show
says show '"vdev":"xvda","how":"left-out","source":"/dev/vg/thick"'
run luthier restore "$IMAGE" --name copy --paused
says run.log 'disk xvdb was left out'
run xl destroy copy
run luthier rm "$IMAGE"
destroy g3
step "refused, and left out"

thin_disk g1
file_disk g2
start_disk_guest "'phy:/dev/vg/g1,xvda,w'" g1 160 1 $DISK_LOAD
start_disk_guest "'/srv/g2.raw,raw,xvda,w'" g2 160 1 $DISK_LOAD
for guest in g1 g2; do
    attach $guest
    for at in clean suspend released; do
        fault kill $at
        start_snapshot $guest
        ended 'luthierd went away'
        restart_luthier
        await 240 "end of $guest's snapshots" no_snapshots
        survived $guest 0 "$guest: killed at $at"
        await_stub
    done
    journal_right $guest
done

taken g1
name=$(snapshots)
run lvremove -qq -f "vg/$name"
refuses "disk xvda of $IMAGE can.t be brought back: its snapshot vg/$name is not here" luthier restore "$IMAGE" --name copy
run luthier rm "$IMAGE"
taken g2
rm -r /srv/luthier-disks
refuses "disk xvda of $IMAGE can.t be brought back: its snapshot .* is not here" luthier restore "$IMAGE" --name copy
run luthier rm "$IMAGE"
gone copy || fail "a guest of an image that was refused"

# A volume that has our name, but is not ours, stays.
taken g1
name=$(snapshots)
run lvchange -qq --deltag luthier "vg/$name"
refuses 'has not the tag' luthier rm "$IMAGE"
snapshots_left 1
run lvchange -qq --addtag luthier "vg/$name"
kill -TERM "$LUTHIERD" && wait "$LUTHIERD"
start_luthier
await 240 "end of what was left" no_snapshots
step "only what is ours is removed, and the rest of it when luthierd starts"

used=$(lvs --noheadings -o data_percent vg/pool | tr -d ' ')
run lvcreate -qq -V 192M -T vg/pool -n fat
dd if=/dev/urandom of=/dev/vg/fat bs=1M count="$(awk "BEGIN { printf \"%d\", 192 * (98.5 - $used) / 100 }")" 2>/dev/null
sync
refuses 'the thin pool vg/pool is full' luthier snapshot g1
snapshots_left 0
run lvremove -qq -f vg/fat
await_stub
works g1
snapshots_left 0
