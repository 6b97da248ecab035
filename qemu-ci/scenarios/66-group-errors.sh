# What goes wrong with groups without anything dying: one error that names the member and says what to
# do, every guest runs on, and nothing is left of the group on either host.
# hosts: 2
# by name only
# time limit: 900 s
. /add/scenarios/groups.sh

HOST_1=$(onhost 1 hostname)

# group_fails PATTERN WHAT: the group's snapshot does, in one error that says so.
group_fails() {
    refuses "$1" luthier snapshot --net blue
    WHEN=$(date +%s)
    run_on a b
    decided nothing
    step "$2: $(head -n 1 error)"
}
# snapshot_at STEP: one is begun, and host 1's luthierd stands still there; `fails PATTERN WHAT` then.
snapshot_at() {
    hold_at 1 "$1"
    start_snapshot --net blue
    held_on 1 "$1"
}
fails() {
    let_go 1
    ended "$1"
    WHEN=$(date +%s)
    run_on a
    decided nothing a
    step "$2: $(head -n 1 error)"
}

begin_groups
: >snapshot.out

# A member that never gets as far as the others: it answers no request to suspend.
run onhost 1 'xl pause b'
refuses '.b. did not suspend within' luthier snapshot --net blue
run onhost 1 'xl unpause b'
WHEN=$(date +%s)
run_on a b
decided nothing
tokens_go_on
step "a member that does not suspend: $(head -n 1 error)"

# A host without space, and one that can't write.
run onhost 1 "mkdir -p $STORE; mount -t tmpfs -o size=16m tmpfs $STORE"
group_fails "$HOST_1: .*no space left" "a host without space"
run onhost 1 "mount -o remount,ro $STORE"
group_fails "$HOST_1: .*mount it read-write" "a host that can't write"
run onhost 1 "umount $STORE"

# A host without luthierd.
run onhost 1 'kill $(pidof luthierd); sleep 1'
refuses 'luthierd does not run' luthier snapshot --net blue
WHEN=$(date +%s)
run_on a b
again_luthierd 1
decided nothing
step "a host without luthierd: $(head -n 1 error)"

# An initiator that vanishes, and one that asks while another's group is under way.
snapshot_at clean
refuses 'a snapshot of .a. is in progress' luthier snapshot --net blue
refused onhost 1 luthier snapshot --net blue
says refused.log 'a snapshot of .b. is in progress'
step "two at once: $(head -n 1 error), $(grep '^luthier: ' refused.log)"
kill -TERM $SNAPSHOT
wait $SNAPSHOT
let_go 1
WHEN=$(date +%s)
run_on a b
decided nothing
step "the client went"

# Both hosts ask at the same moment: one group comes of it, whole.
run onhost 1 'luthier snapshot --net blue </dev/null >/tmp/other.out 2>&1 &'
luthier snapshot --net blue >snapshot.out 2>snapshot.err
: >snapshot.out
other_ended() { onhost 1 '! pidof luthier'; }
await 120 "answer on host 1" other_ended
decided either
[ -n "$GROUP" ] || fail "neither: $(cat snapshot.err; onhost 1 cat /tmp/other.out)"
tokens_go_on
step "both hosts at once: $GROUP; the other: $(onhost 1 cat /tmp/other.out | cat - snapshot.err | grep '^luthier: ' | head -n 1)"

# A clock that jumps while a group is taken: a day back here, a day ahead there.
jump() { on "$1" "date -s @\$((\$(date +%s) + $2))" >/dev/null; }
hold_at 1 clean
luthier --json snapshot --net blue >snapshot.out 2>snapshot.err &
SNAPSHOT=$!
held_on 1 clean
jump 0 -86400
jump 1 86400
let_go 1
wait $SNAPSHOT || fail "with clocks that jump: $(cat snapshot.err)"
jump 0 86400
jump 1 -86400
decided whole
tokens_go_on
step "clocks that jump: $GROUP"

# A member that leaves.
snapshot_at clean
run onhost 1 'xl destroy b'
fails '.b. ' "a member that left"

# Restore: a name that is taken, a host without memory, a disk whose snapshot is gone.
start_b
attach_b
run luthier --json snapshot --net blue
group=$(grep -o 'blue@[0-9TZ]*' run.log | tail -n 1)
restores() { luthier restore "$group" --rsh labrsh --address host1=1; }
refuses '.a. ' restores
step "restore with a name taken: $(head -n 1 error)"
run xl destroy a
run onhost 1 'xl destroy b; mkguest ballast $(($(xl info free_memory) - 64)) >/tmp/ballast.cfg; xl create -q -p /tmp/ballast.cfg'
refuses 'the members need [0-9]+ MiB of memory here, and [0-9]+ MiB are free' restores
gone a || fail "a is there, and b is not"
step "restore on a host without memory: $(head -n 1 error)"
run onhost 1 'xl destroy ballast'
run restores
WHEN=$(date +%s)
run_on a b
step "restored when there was some"
run xl destroy a
run onhost 1 'xl destroy b'
snapshot=$(snapshots | head -n 1)
run lvremove -qq -f "vg/$snapshot"
refuses ".a. can.t be restored: its disk xvda: .* is not here" restores
gone a || fail "a is there without its disk"
onhost 1 'xl domid b' >/dev/null 2>&1 && fail "b is there, and a is not"
step "restore without a disk's snapshot: $(head -n 1 error)"
