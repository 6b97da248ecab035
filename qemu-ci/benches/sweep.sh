# Bench `sweep`: figures 3 to 8 of the Live Save paper (`live-save --sweep`): a guest that overwrites half
# of its memory at random under a cap of its CPU time, from idle to no cap, with xl's peers and with
# luthier's policies side by side. Runs in Dom0; sourced by benches/run.sh.
# lab sweep: --mem 4096 --dom0-mem 2200 --timeout 14400
#
# A point is ROUNDS snapshots (5; the paper: 20) with each subject; the figures show means with 95 %
# confidence intervals (Student's t). Caps: CAPS, in percent; `idle` is a guest that writes nothing,
# 100 has no cap. The short set takes some 25 minutes with a guest of MEM=192 MiB (in 128 the kernel has no room beside half of it) and three rounds;
# --full, with all of the paper's 35 points, some two hours. Metrics: see benches/live-save.sh, and
#   dirty_frequency_pps   pages a second found dirty, live rounds
#   dirty_pages           pages found dirty in a live round, mean
#   round_time_ms         mean of the rounds from the second to the last but one
#   rounds                the suspended one included

ROUNDS=${ROUNDS:-3} MEM=${MEM:-192} POOL=${POOL:-$((MEM / 2))}
SUBJECTS=${SUBJECTS:-'xl-save xl-migrate luthier-xen-migrate-4.5 luthier-live-save luthier-improved-live-save luthier'}
CAPS=${CAPS:-'idle 4 13 25 50 100'}
[ -z "${FULL:-}" ] || CAPS="idle $(seq -s ' ' 1 3 100)"
[ -z "${ALL:-}" ] || SUBJECTS="$SUBJECTS luthier-smart-stop luthier-xen-migrate luthier-pool-fit"

. /add/benches/snapshot.sh

slow_down() {
    case $1-$cap in
    yes-idle | yes-100 | no-*) xl sched-credit2 -d sweep -c 0 ;;
    *) xl sched-credit2 -d sweep -c "$cap" ;;
    esac
}

start_stub "$POOL" || fail "no stub domain"
half=$((MEM / 2))
running=
for cap in $CAPS; do
    [ "$cap" = idle ] && words="dirty_mib=$half dirty_rate=0" || words="dirty_mib=$half"
    for round in $(seq "$ROUNDS"); do
        for subject in $SUBJECTS; do
            if [ "$running" != "$words" ] || ! xl domid sweep >/dev/null 2>&1; then
                xl destroy sweep 2>/dev/null
                xl destroy sweep--incoming 2>/dev/null
                begin_guest sweep "$MEM" "$words"
                running=$words
            fi
            if sample sweep "$subject"; then
                sed "s/^/$cap $subject /" /tmp/figures >>/out/samples
                echo "cap $cap, round $round of $ROUNDS: $subject: $(grep -E '^(suspended_ms|total_ms|pages|rounds|dirty_frequency_pps) ' /tmp/figures | tr '\n' ' ')"
            else
                echo "cap $cap, round $round of $ROUNDS: $subject: NOT MEASURED: $(tail -n 2 /tmp/m.err | tr '\n' ' ')"
            fi
        done
    done
done
xl destroy sweep
