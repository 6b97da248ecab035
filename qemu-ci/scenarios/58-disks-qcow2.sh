# Disks that are qcow2 files, which QEMU serves: all of a guest's are snapshotted inside the files, at
# the point at which its memory is, also one with a backing file; what can't be is refused by name; the
# restored guest's copies are the snapshots' to the last octet and agree with its memory, and the files
# stay as they were; a killed daemon leaves nothing; and rm takes the snapshots away, by the QEMU that
# has the file open, by qemu-img when nobody has, and not at all while somebody else writes to it.
# time limit: 1200 s
# lab with: --qdisk
# only on: 4.17
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh
. /add/scenarios/disks.sh

make_ground
qcow2_disk g3
truncate -s 16M /srv/base.raw /srv/plain.raw
run qemu-img create -q -f qcow2 -b /srv/base.raw -F raw /srv/over.qcow2
run qemu-img create -q -f qcow2 -o lazy_refcounts=on /srv/lazy.qcow2 16M
start_luthier
start_stub

start_disk_guest "'/srv/lazy.qcow2,qcow2,xvda,w','backendtype=qdisk,format=raw,vdev=xvdb,access=w,target=/srv/plain.raw','/srv/base.raw,raw,xvdc,r'" odd 128 1
attach odd
refuses 'disk xvda of .odd. can.t be snapshotted: /srv/lazy.qcow2 has lazy_refcounts' luthier snapshot odd
refuses 'disk xvdb of .odd. can.t be snapshotted: QEMU serves it, and /srv/plain.raw is not qcow2' \
    luthier snapshot odd --no-disk xvda
equal "$(images)" 0 "images of refused snapshots"
destroy odd
step "refused by name"

start_disk_guest "'/srv/g3.qcow2,qcow2,xvda,w','/srv/over.qcow2,qcow2,xvdb,w'" g3 160 1 $DISK_LOAD
attach g3
mkdir /run/xen/away && mv /run/xen/qmp-*-"$(domid g3)" /run/xen/away/
refuses 'disk xvda of .g3. can.t be snapshotted: the QEMU of domain .* has no monitor' luthier snapshot g3
mv /run/xen/away/* /run/xen/ && rmdir /run/xen/away
taken g3 --no-disk all
run luthier rm "$IMAGE"
step "without its disks: suspended $(figure suspended_ms) ms"
taken g3
image=$IMAGE
step "with its disks: suspended $(figure suspended_ms) ms; disks took $(disk_ms)"
snapshots_left 2
goes_on g3
snapshot_as_raw /srv/g3.qcow2 cut.raw
run luthier --json restore "$image" --name probe --paused
clones=$(clones_of run.log)
equal "$(echo "$clones" | wc -l)" 2 "new files of a guest with two disks"
run xl destroy probe
sleep 1
run qemu-img convert -O raw "$(echo "$clones" | head -n 1)" clone.raw
run cmp cut.raw clone.raw
fsck_clone clone.raw
rm clone.raw $clones
step "a copy of the disk is as its snapshot, and as after a loss of power"

destroy g3
run luthier --json restore "$image"
clones=$(clones_of run.log)
await 240 "first link of the restored g3" past_link g3 0
journal_right g3
run guest verify-chain --continues g3.log "$(console g3)"
attach g3
snapshot_as_raw /srv/g3.qcow2 later.raw
run cmp cut.raw later.raw
rm cut.raw later.raw
exec 7<>/srv/g3.qcow2
refuses 'g3.qcow2 is open in .*, and only one may change it' luthier rm "$image"
exec 7>&-
snapshots_left 2
stop_luthier
start_luthier
await 60 "end of the snapshots" no_snapshots
run qemu-img check -q /srv/g3.qcow2
run qemu-img check -q /srv/over.qcow2
step "the guest goes on with $(echo $clones), which agree with its memory; the old ones are as they were"

taken g3
first=$IMAGE
taken g3
snapshots_left 4
run luthier rm "$first"
snapshots_left 2
run luthier rm "$IMAGE"
snapshots_left 0
journal_right g3
step "two images, taken away by the QEMU that serves the disks"

for at in clean suspend released; do
    fault kill $at
    start_snapshot g3
    ended 'luthierd went away'
    restart_luthier
    await 60 "end of the snapshots" no_snapshots
    survived g3 0 "killed at $at"
    await_stub
done
journal_right g3
works g3
snapshots_left 0
destroy g3
for file in $clones; do run qemu-img check -q "$file"; done
