# What scenarios of disks that move share: guest a of host 0 and guest b of host 1, in network blue, journal each
# step on their disks; their group is restored, each on the other's host. Sourced by them, in Dom0 of host 0.
. /add/scenarios/net.sh
. /add/scenarios/disks.sh

# ground HOST COMMAND...: a helper of scenarios there.
ground() {
    local host=$1
    shift
    on "$host" "cd /tmp; . /add/scenarios/lib.sh; . /add/scenarios/disks.sh; $*"
}

# start_with_disk NAME HOST N DISKS: a guest of network blue that journals on its disk.
start_with_disk() {
    run on "$2" "rm -f $(console $1); mkguest --disk \"$4\" --net $1 \
        'mac=00:16:3e:00:00:0$3,backend=luthier-stub,bridge=blue,mtu=$NET_MTU' 192 1 \
        net_address=10.1.0.$3/24 $DISK_LOAD >/tmp/$1.cfg && xl create -q /tmp/$1.cfg"
}

# begin_moves DISK_OF_A DISK_OF_B: both hosts, and both guests at work; their disks were made by `make_disks`.
begin_moves() {
    connect_hosts blue=7
    joined_hosts
    for host in 0 1; do run ground $host make_ground; done
    make_disks
    start_with_disk a 0 1 "$1"
    start_with_disk b 1 2 "$2"
    for guest in 'a 0' 'b 1'; do
        set -- $guest
        await 240 "first link of $1" ground $2 past_link $1 5
        run on $2 luthier attach $1
    done
    step "two guests journal on their disks"
}

# take_and_destroy: a snapshot of both, whose name is in `group`; they go on for a moment, and are destroyed.
take_and_destroy() {
    run luthier --json snapshot --net blue
    group=$(grep -o 'blue@[0-9TZ]*' run.log | tail -n 1)
    for guest in 'a 0' 'b 1'; do
        set -- $guest
        run ground $2 await_links $1 5
        run on $2 "xl destroy $1; sleep 1"
        on $2 cat "$(console $1)" >$1.log
        on $2 rm "$(console $1)"
    done
    step "$group: both are suspended at one cut, and destroyed"
}

restore_swapped() {
    luthier restore "$group" --place a=host1 --place b=. --address host1=1 --rsh "${RSH:-labrsh}" "$@"
}

# one_each HOST: its own image's snapshot, and no other.
one_each() {
    ground $1 snapshots >snapshots-$1
    equal "$(grep -c . snapshots-$1)" 1 "snapshots of disks on host $1 ($(tr '\n' ' ' <snapshots-$1))"
}

# nothing_made HOST: no disk for a guest, and no domain.
nothing_made() {
    equal "$(on $1 'lvs --noheadings vg; ls /srv' | grep -c restored_)" 0 "clones on host $1"
    equal "$(on $1 xl list | grep -c -e '^[ab] ')" 0 "domains on host $1"
}

# goes_on NAME HOST: it continues the chain of its former self, and its disk what its memory has.
goes_on() {
    await 120 "first link of the restored $1" ground $2 past_link $1 0
    run ground $2 journal_right $1
    on $2 cat "$(console $1)" >$1.now
    run guest verify-chain --continues $1.log $1.now
    tail -n 1 run.log | sed 's/^/    /'
}

# fsck_copy NAME HOST IMAGE: the disk of an image, looked at without the memory.
fsck_copy() {
    on $2 luthier --json restore $3 --name probe --paused >probe.log 2>probe.err || fail "probe of $1: $(cat probe.log probe.err)"
    run on $2 "xl destroy probe; sleep 1"
    run ground $2 fsck_clone "$(clone_of probe.log)"
    run ground $2 drop_clone "$(clone_of probe.log)"
}
# last_of NAME HOST: its latest image there.
last_of() { on $2 luthier list | awk -v g=$1 '$1 ~ "^" g "@" { print $1 }' | tail -n 1; }
