# Disks travel: two guests of a network, one with a thin volume and one with a file, journal each step
# on their disks. The network is snapshotted, both are destroyed, and each is restored on the other's
# host: the disk that is made there agrees with the memory, and whoever looks at it without the memory
# finds a file system as after a loss of power. Before that: no place for a disk, a connection that is
# cut, and a restore that is killed leave nothing that is not named.
# Both hosts must have the same release of Xen: qemu-ci/test gives them two. So:
# qemu-ci/lab run --xen 4.17 --hosts 2 --net --disks --add qemu-ci/scenarios qemu-ci/scenarios/62-disk-moves.sh
# by name only
# hosts: 2
# time limit: 900 s
. /add/scenarios/moves.sh

# nothing_left HOST: of a restore; no image either.
nothing_left() {
    equal "$(on $1 "luthier list" | grep -c -e '^[ab]@')" 1 "images on host $1"
    one_each $1
    nothing_made $1
}

make_disks() {
    run ground 0 thin_disk a
    run ground 1 file_disk b
}
begin_moves "'phy:/dev/vg/a,xvda,w'" "'/srv/b.raw,raw,xvda,w'"
take_and_destroy

refused restore_swapped --disk a:xvda=vg/nopool
says refused.log '`a` .*there is no thin pool vg/nopool'
refused restore_swapped --disk b:xvda=/nowhere
says refused.log '`b` .*there is no folder /nowhere'
for host in 0 1; do nothing_left $host; done
step "no place for a disk: $(grep '^luthier: ' refused.log)"

# A remote shell that is cut off in the middle of a disk, both ways.
cat >/tmp/cutrsh <<'END'
#!/bin/sh
case "$*" in
*restore-member\ import*) head -c 1000000 | labrsh "$@" ;;
*restore-member\ export*) labrsh "$@" | head -c 1000000 ;;
*) exec labrsh "$@" ;;
esac
END
chmod +x /tmp/cutrsh
RSH=/tmp/cutrsh refused restore_swapped
says refused.log '^luthier: `[ab]`: .*was cut'
says refused.log 'Nothing of the group runs$'
for host in 0 1; do nothing_left $host; done
step "a connection that is cut: $(grep '^luthier: ' refused.log)"

# As restore_swapped does, but as the shell's own child.
luthier restore "$group" --place a=host1 --place b=. --address host1=1 --rsh labrsh >killed.log 2>&1 &
restore=$!
both_made() { [ "$(grep -c ^restoring killed.log)" = 2 ]; }
await 240 "domains in the making" both_made
sleep 1
run kill -9 $restore
made() { ! on $1 "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q 'restore-membe[r]'"; }
for host in 0 1; do
    await 90 "end of what was under way on host $host" made $host
    on $host luthier list >list-$host
    grep '^unfinished restore' list-$host | cut -c 1-120 | sed 's/^/    /'
    run on $host luthier rm --unfinished
    nothing_made $host
done
says list-1 '^unfinished restore: a of a@.*/dev/vg/restored_a_xvda'
refused on 1 'luthier list | grep ^unfinished'
step "what a restore that is killed leaves is named, and goes by luthier rm --unfinished"

run restore_swapped
sed 's/^/    /' run.log | grep -v verifying
goes_on a 1
goes_on b 0
run inside 1 a 'ping -c 2 -W 5 10.1.0.2'
step "each goes on on the other's host, with its disk"

# The copies are images of their own: restored once more, without the memory.
for guest in 'a 1' 'b 0'; do
    set -- $guest
    run on $2 xl destroy $1
    image=$(last_of $1 $2)
    fsck_copy $1 $2 $image
    run on $2 luthier rm $image
done
for host in 0 1; do one_each $host; done
step "file systems are as after a loss of power; copies go with their disks"
