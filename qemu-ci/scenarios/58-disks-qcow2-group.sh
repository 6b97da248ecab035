# A snapshot of a network whose two guests have qcow2 disks, each served by a QEMU of its own: both journal
# on them and pass tokens of a hash chain to each other. All disks are snapshotted at their guests' points
# of the one cut; the restored group goes on with copies that agree with the memory of each, nothing of
# the chain is lost, and rm takes the snapshots away on files that nobody has open.
# by name only
# lab with: --qdisk
# time limit: 900 s
# only on: 4.17
. /add/scenarios/net.sh
. /add/scenarios/disks.sh

GUEST_MIB=192
JOURNAL='chain=yes journal=xvda rate=4 disk_load=5 rewrite_mib=4 rewrite_rate=50'

# tokens_go_on: both pass on more of them.
tokens_of() { grep -c '^ring ' "$(console "$1")"; }
tokens_past() { [ "$(tokens_of "$1")" -gt "$2" ]; }
tokens_go_on() {
    for guest in a b; do await 120 "tokens at $guest" tokens_past $guest $(($(tokens_of $guest) + 5)); done
    ! grep -h BROKEN "$(console a)" "$(console b)" || fail "a guest lost its place"
}

make_ground
connect_hosts blue=7
n=0
for guest in a b; do
    qcow2_disk $guest
    GUEST_DISK="'/srv/$guest.qcow2,qcow2,xvda,w'"
    start_on $guest 0 blue $((n += 1)) $JOURNAL
    ready 0 $guest
    run luthier attach $guest
done
run inside 0 b 'guest ring 7000 10.1.0.1:7000 2 2 pause=100 >/dev/console 2>&1 &'
run inside 0 a 'guest ring 7000 10.1.0.2:7000 2 2 start pause=100 >/dev/console 2>&1 &'
tokens_go_on
step "tokens go round"

run luthier --json snapshot --net blue
mv run.log taken.json
group=$(grep -o 'blue@[0-9TZ]*' taken.json | tail -n 1)
snapshots_left 2
run luthier verify "$group"
tokens_go_on
journal_right a
journal_right b
step "$group is whole, and both go on"

destroy a
destroy b
run luthier restore "$group"
tokens_go_on
for guest in a b; do
    journal_right $guest
    run guest verify-chain --continues $guest.log "$(console $guest)"
done
equal "$(ls /srv/restored_*.qcow2 | wc -l)" 2 "new files of two guests"
run luthier rm "$group"
snapshots_left 0
for guest in a b; do run qemu-img check -q "/srv/$guest.qcow2"; done
journal_right a
step "the restored group goes on with disks that agree with its memory"
