# The power of host 1 is cut at phases of a group snapshot, while it takes part in it, and while it
# coordinates it: the guest of host 0 runs on within the stated time, and when host 1 is back, the group is
# whole on both hosts or on neither.
# POWER_ROUNDS: how many of the cuts below (2; 17 are all). POWER: only those that fit a pattern.
# hosts: 2
# by name only
# time limit: 900 s, 180 s more for each of POWER_ROUNDS
. /add/scenarios/groups.sh

# Who asks for the group, at which phase the power of host 1 is cut, how the group must end, and whether
# host 1 is back only when host 0 has given up. A coordinator that is back before that has the last word: so
# the group may end either way where its manifest may be on its disk.
ALL='
0 group-stored whole
1 group-renamed nothing late
1 group-renamed either
0 suspend nothing
0 clean nothing
0 resume nothing
0 group-drained nothing
0 group-sealed nothing
0 group-renamed whole
0 group-committed whole
1 clean nothing
1 suspend nothing
1 group-drained nothing
1 group-sealed nothing
1 group-stored nothing
1 group-manifest nothing
1 group-committed either
'

# Whatever happens, the next scenario finds two hosts.
trap 'ping -c 1 -W 3 10.0.0.2 >/dev/null 2>&1 || power 1 on' EXIT

# What luthierd keeps on host 1 lies on its disk; an empty one gets a file system.
LASTING='grep -q " /disk " /proc/mounts && exit 0
    modprobe crc32c_generic; modprobe ext4; mkdir -p /disk
    mount -t ext4 /dev/sda /disk 2>/dev/null ||
        { mkfs.ext4 -q -F /dev/sda && mount -t ext4 /dev/sda /disk && mkdir /disk/lib && cp -a /etc/luthier /disk/etc; } || exit 1
    mount --bind /disk/etc /etc/luthier && mount --bind /disk/lib /var/lib/luthier'

# Host 1 boots again, with its networks, and a guest b that is new.
come_back() {
    run power 1 on
    run onhost 1 "$LASTING"
    run onhost 1 'LUTHIER_TEST_FAULTS=1 start-luthier --uplink'
    start_b
    await 120 "session with host 1" has_peer 0
    await 120 "session with host 0" has_peer 1
    attach_b
}

# cut_at WHO PHASE END [late]
cut_at() {
    local who=$1 phase=$2 end=$3 back=${4:-soon} answer='none wanted' ran
    : >snapshot.out
    stands_still a
    hold_at 1 "$phase"
    if [ "$who" = 0 ]; then
        luthier --json snapshot --net blue >snapshot.out 2>snapshot.err &
        SNAPSHOT=$!
    else
        run onhost 1 'luthier snapshot --net blue </dev/null >/tmp/snapshot.out 2>&1 &'
    fi
    held_on 1 "$phase"
    run power 1 off
    WHEN=$(date +%s)
    run_on a
    ran=$(($(date +%s) - WHEN))
    stood_still a
    [ "$who" = 1 ] || { wait $SNAPSHOT; answer=$(tail -n 1 snapshot.out | cut -c 1-200); }
    [ $back = soon ] || await $DECIDED_WITHIN "end of the group on host 0" is_decided_on 0
    come_back
    decided "$end"
    step "host $who coordinates, power of host 1 cut at $phase, back $back: $STOOD, seen within $ran s; ${GROUP:-nothing}; answer: $answer"
}

begin() {
    run onhost 1 "$LASTING"
    connect_hosts blue=7
    joined_hosts
    start_guests
    step "two hosts, one of which has its folders on a disk"
}

begin

echo "$ALL" | grep . | grep -e "${POWER:-.}" | head -n "${POWER_ROUNDS:-2}" >cuts
while read -r who phase end back <&7; do
    (cut_at "$who" "$phase" "$end" $back) && continue
    ping -c 1 -W 3 10.0.0.2 >/dev/null 2>&1 || { run power 1 on && run onhost 1 "$LASTING"; }
    went_wrong "host $who coordinates, power of host 1 cut at $phase" && begin
done 7<cuts

run reaches 0 a 10.1.0.2
luthier --json snapshot --net blue >snapshot.out 2>snapshot.err || fail "the next one: $(cat snapshot.err)"
decided whole
step "the next group: $GROUP"
journal_goes_on
none_wrong
