# luthierd or the stub domain of either host is killed at each phase of a group snapshot: every guest
# runs on within the stated time, nothing on its way between them is lost (but for guests whose own stub
# died, until they are plugged again), and the group is whole on both hosts or on neither.
# KILL_ROUNDS: how many of the kills below (2; 42 are all, which takes an hour). KILLS: only those that fit a pattern.
# hosts: 2
# time limit: 900 s, 120 s more for each of KILL_ROUNDS
. /add/scenarios/groups.sh

# What is killed, on which host (0 coordinates), at which phase, and how the group must end: what tells most first.
FIRST='
luthierd 0 suspend nothing
luthierd 1 group-stored whole
luthierd 0 group-renamed whole
stub 1 group-drained nothing
'
# The phases in their order, and how a group ends when that is killed then on host 0, and on host 1.
all() {
    local what phase here there
    while read -r what phase here there; do
        [ "$here" = - ] || echo "$what 0 $phase $here"
        [ "$there" = - ] || echo "$what 1 $phase $there"
    done <<'PHASES'
luthierd group-prepared nothing nothing
luthierd clean nothing nothing
luthierd suspend nothing nothing
luthierd resume nothing nothing
luthierd group-pending nothing nothing
luthierd group-drained nothing nothing
luthierd group-sealed nothing nothing
luthierd group-stored nothing whole
luthierd group-manifest nothing -
luthierd group-renamed whole whole
luthierd group-committed whole whole
stub group-prepared nothing nothing
stub clean nothing nothing
stub suspend nothing nothing
stub resume nothing nothing
stub group-pending nothing nothing
stub group-drained nothing nothing
stub group-sealed nothing nothing
stub group-stored either either
stub group-manifest whole -
stub group-renamed whole whole
stub group-committed whole whole
PHASES
}

# killed WHAT HOST PHASE END
killed() {
    local what=$1 host=$2 phase=$3 end=$4 answer=no
    stands_still a b
    hold_at "$host" "$phase"
    luthier --json snapshot --net blue >snapshot.out 2>snapshot.err &
    SNAPSHOT=$!
    held_on "$host" "$phase"
    "kill_$what" "$host"
    WHEN=$(date +%s)
    [ "$what" = stub ] || again_luthierd "$host"
    run_on a b
    local ran=$(($(date +%s) - WHEN))
    [ "$what" = luthierd ] || again_stub "$host"
    wait $SNAPSHOT && answer=yes
    stood_still a b
    decided "$end"
    local known=$(($(date +%s) - WHEN))
    tokens_go_on
    step "$what of host $host killed at $phase: $STOOD, seen within $ran s; ${GROUP:-nothing}, looked at after $known s; answer: $answer" \
        "$(tail -n 1 snapshot.out | cut -c 1-300)"
}

begin_groups
{ echo "$FIRST" && all; } | grep . | awk '!seen[$0]++' | grep -e "${KILLS:-.}" | head -n "${KILL_ROUNDS:-2}" >kills
while read -r what host phase end <&7; do
    (killed "$what" "$host" "$phase" "$end") || { went_wrong "$what of host $host killed at $phase" && begin_groups; }
done 7<kills

luthier --json snapshot --net blue >snapshot.out 2>snapshot.err || fail "the next one: $(cat snapshot.err)"
decided whole
tokens_go_on
step "the next group: $GROUP"
journal_goes_on
none_wrong
