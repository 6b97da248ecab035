# One consistent snapshot of a network: four guests on two hosts pass tokens of a hash chain round by
# TCP, one of them journals each token on its disk before it sends it on, and one sends datagrams of a
# chain to another. The group is snapshotted at a random moment; then all are destroyed and the group is
# restored, on the same hosts or with the hosts swapped: every token goes on where it was, no connection
# is reset, no datagram is lost, doubled or out of order, and the disk is what the journal's guest
# remembers, to itself and to whoever looks at it without the memory.
# GROUP_ROUNDS: how often (once). GROUP_SEED: of what is left to chance (the clock); it is said at the
# beginning, and the same one plays the same rounds again. Figures of all rounds: /out/60-group.txt.
# hosts: 2
# time limit: 900 s, 300 s more for each of GROUP_ROUNDS
. /add/scenarios/net.sh
. /add/scenarios/disks.sh
. /add/scenarios/ring.sh

ROUNDS=${GROUP_ROUNDS:-1}
SEED=${GROUP_SEED:-$(date +%s)}
step "$ROUNDS rounds, GROUP_SEED=$SEED"

connect_hosts blue=7
joined_hosts
begin_ring
goes_on
step "tokens and datagrams go round"

refused luthier snapshot --net blue
says refused.log 'attach'
step "guests that were not attached are named: $(head -n 1 refused.log)"

echo "$FIGURES_HEAD" >rounds.txt
for round in $(seq "$ROUNDS"); do
    on_both 'for guest in $guests; do luthier attach $guest || exit 1; done'
    roll 8000
    moment=$ROLLED
    roll 2
    coordinator=$ROLLED
    sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"

    passed=$(told a ring)
    start=$(now)
    run on $coordinator luthier --json snapshot --net blue
    took=$(($(now) - start))
    mv run.log taken.json
    group=$(grep -o 'blue@[0-9TZ]*' taken.json | tail -n 1)
    on_both "luthier verify $group"
    goes_on
    step "round $round: $group by host $coordinator, whole on both hosts, and all go on"

    end_all
    roll 4
    place=''
    if [ "$round" -gt 1 ] && [ $ROLLED = 0 ] && same_release; then swap_hosts; fi
    start=$(now)
    # shellcheck disable=SC2086 # several words
    run luthier restore "$group" $place --rsh labrsh --address host1=1
    took="$took $(($(now) - start))"
    # How long each host's guests waited to be heard.
    on_both "grep ' goes on, ' $(console luthier-stub) | tail -n 1"
    cat both-0 both-1 | sed 's/.*network/    network/'
    goes_on
    disk_right "$passed"
    figures_of_round $took >>rounds.txt
    tail -n 1 rounds.txt
    cp rounds.txt /out/60-group.txt
    drop_round
    step "round $round: restored, $(places): nothing lost, and $A_DISK is as a remembers it"
done
column_table rounds.txt
