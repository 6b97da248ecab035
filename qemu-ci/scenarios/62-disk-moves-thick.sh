# An ordinary (thick) volume of LVM in a group: guest a has one, b a thin one, and both journal each step on them. Of
# their snapshot they are restored where they were; then each on the other's host, where a's disk is made anew
# in the volume group of the same name. Each time the disk agrees with the memory, and without the memory it has a
# file system as after a loss of power. What the images have of disks goes with them.
# Both hosts must have the same release of Xen: qemu-ci/test --xen 4.17 gives them one.
# by name only
# hosts: 2
# time limit: 900 s
. /add/scenarios/moves.sh

make_disks() {
    run ground 0 thick_disk a
    for host in 0 1; do run ground $host dirty_room; done
    run ground 1 thin_disk b
}
# destroy_on NAME HOST: a restored guest, with the disk that was made for it.
destroy_on() {
    run on $2 "xl destroy $1; sleep 1; rm $(console $1)"
    run ground $2 'for disk in $(lvs --noheadings -o lv_name vg | grep restored_); do lvremove -qq -f vg/$disk; done'
}
begin_moves "'phy:/dev/vg/a,xvda,w'" "'phy:/dev/vg/b,xvda,w'"
take_and_destroy
for host in 0 1; do one_each $host; done
run luthier verify "$group"

run luthier restore "$group" --address host1=1 --rsh labrsh
goes_on a 0
goes_on b 1
run inside 0 a 'ping -c 2 -W 5 10.1.0.2'
for guest in 'a 0' 'b 1'; do
    set -- $guest
    destroy_on $1 $2
    fsck_copy $1 $2 "$(last_of $1 $2)"
    one_each $2
done
step "both went on where they were, with a copy of the disk"

run restore_swapped
sed 's/^/    /' run.log | grep -v verifying
goes_on a 1
goes_on b 0
run inside 1 a 'ping -c 2 -W 5 10.1.0.2'
on 1 "lvs --noheadings -o lv_name,pool_lv,lv_size vg 2>/dev/null" | sed 's/^/    /'
step "each goes on on the other's host, a's disk in the volume group there"

for guest in 'a 1' 'b 0'; do
    set -- $guest
    destroy_on $1 $2
    fsck_copy $1 $2 "$(last_of $1 $2)"
    run on $2 "luthier rm $(last_of $1 $2)"
done
for host in 0 1; do one_each $host; done
for host in 0 1; do
    run on $host luthier rm "$group"
    ground $host snapshots >snapshots-$host
    equal "$(cat snapshots-$host)" '' "snapshots of disks left on host $host"
    nothing_made $host
done
step "what images had of disks went with them"
