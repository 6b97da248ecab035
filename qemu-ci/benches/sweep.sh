# Bench `sweep`: figures 3 to 8 of the Live Save paper (`live-save --sweep`): a guest that overwrites
# memory at random under a cap of its CPU time, from idle to no cap, with xl and with luthier's
# policies side by side. Runs in Dom0; sourced by benches/run.sh.
# lab sweep: --mem 3072 --dom0-mem 1700 --timeout 21600
#
# The paper's regimes depend on how much faster the guest writes than the sink takes pages, so the sink's
# pace must lie inside the range of the guest's. In the lab, where the guest loses some 80 us to Xen for
# the first write to each page after each fetch of the log, that takes a slow sink: the stub domain is
# capped at STUB_CAP percent of the CPU. It then takes some 1,400 pages a second, and the guest without
# a cap dirties some 6 times as many (with a cap of 10 or 12 Live Save still ends by 3 times the memory).
# Dom0 has Xen's default weight, 256, so that the guest has the CPU.
# The cap slows down all that the stub does, the last round's copying to memory, too: how much shorter
# that is than sending is what `bench live-save` shows, not this one. xl has no such cap: its sink is
# Dom0, and it is drawn to be compared by shape. Its peers through the same sink are the policies
# xen-save and xen-migrate-4.5 (--all).
#
# The guest: 104 MiB, of which it overwrites 24. The paper's overwrites half; but the lab's kernel alone
# takes 76 MiB, and the time that a point takes grows with the memory (MEM=192 DIRTY=96 is possible, and
# takes four times as long). With a smaller part the high regime begins sooner: 28 rounds that each send
# what is not dirty again yet, some 1/r of what is written (r: the guest's pace to the sink's), must stay
# below twice the memory. That is r > 3.5 here, and r > 7 in the paper. And 3 times the memory takes more
# rounds than 17, so that Improved Live Save settles there in the medium regime already.
#
# A point is ROUNDS snapshots (5; the paper: 20) with each subject; the figures show means with 95 %
# confidence intervals (Student's t). Caps: CAPS, in percent; `idle` is a guest that writes nothing,
# 100 has no cap. The short set begins no round that would end after MINUTES (25): how many rounds that
# are depends on the machine, and the figures say it. --full takes all of the paper's caps, all rounds,
# as long as it takes: an hour a round. Codecs are off, and so are pages that are mapped ahead, which
# the papers don't have, but for `luthier`. Metrics: see benches/live-save.sh, and
#   dirty_frequency_pps   pages a second found dirty, live rounds
#   dirty_pages           pages found dirty in a live round, mean
#   dirty_share           of what the guest overwrites, the second live round on
#   round_time_ms         mean of the rounds from the second to the last but one
#   rounds                the suspended one included
#   stop_REASON           share of the samples whose live rounds ended for it

ROUNDS=${ROUNDS:-5} MEM=${MEM:-104} DIRTY=${DIRTY:-24} POOL=${POOL:-$((MEM / 2))}
STUB_CAP=${STUB_CAP:-8} DOM0_WEIGHT=${DOM0_WEIGHT:-256}
SUBJECTS=${SUBJECTS:-'xl-save xl-migrate luthier-xen-save luthier-live-save luthier-improved-live-save luthier-smart-stop luthier'}
if [ -n "${FULL:-}" ]; then
    CAPS=${CAPS:-"idle $(seq -s ' ' 1 3 100)"} MINUTES=${MINUTES:-0}
else
    CAPS=${CAPS:-'idle 4 25 60 100'} MINUTES=${MINUTES:-25}
fi
[ -z "${ALL:-}" ] || SUBJECTS="$SUBJECTS luthier-xen-migrate-4.5 luthier-xen-migrate luthier-pool-fit"

. /add/benches/snapshot.sh

slow_down() {
    case $1-$cap in
    yes-idle | yes-100 | no-*) xl sched-credit2 -d sweep -c 0 ;;
    *) xl sched-credit2 -d sweep -c "$cap" ;;
    esac
}

run_measured() {
    # With 1 % of the CPU a guest takes more than a minute to suspend (too long for xl).
    case $subject in
    luthier) set -- "$@" --codec none --suspend-timeout 300 ;;
    luthier-*) set -- "$@" --codec none --suspend-timeout 300 --prepare 0 ;;
    esac
    measure --with "$stub" "$domid" "$@" >/tmp/m 2>/tmp/m.err
}

# more_figures: of a snapshot of ours, why its live rounds ended, and how much of what the guest overwrites was dirty.
more_figures() {
    report=$(grep '"event":"done"' /tmp/m) || return 0
    for reason in few-dirty too-much-sent too-many-rounds; do
        case $report in
        *"\"stop\":\"$reason\""*) echo "stop_$(echo $reason | tr - _) 1" ;;
        *) echo "stop_$(echo $reason | tr - _) 0" ;;
        esac
    done
    echo "$report" | sed 's/.*"rounds":\[\([^]]*\)\].*/\1/; s/},{/\n/g' |
        sed -n '2,${/"live":true/s/.*"dirtied":\([0-9]*\).*/\1/p}' |
        awk -v of=$((DIRTY * 256)) '{ sum += $1 } END { if (NR) print "dirty_share", sum / NR / of }'
}

start_stub "$POOL" || fail "no stub domain"
xl sched-credit2 -d "$stub" -c "$STUB_CAP"
began=$(cut -d. -f1 /proc/uptime)
# enough ROUNDS: whether another one would take too long. 0 minutes: never.
enough() {
    spent=$(($(cut -d. -f1 /proc/uptime) - began))
    [ "$1" -ge "$ROUNDS" ] || [ "$MINUTES" -gt 0 -a "$1" -gt 0 -a $((spent + spent / ($1 + ($1 == 0)))) -gt $((MINUTES * 60)) ]
}

# A guest looks 5 times a second how long it stood still, not 50 times: that alone kept 50 pages dirty.
# point CAP ROUND: each subject once.
running=
point() {
    cap=$1
    [ "$cap" = idle ] && words="gap_ms=200 dirty_mib=$DIRTY dirty_rate=0" || words="gap_ms=200 dirty_mib=$DIRTY"
    for subject in $SUBJECTS; do
        if [ "$running" != "$words" ] || ! xl domid sweep >/dev/null 2>&1; then
            xl destroy sweep 2>/dev/null
            xl destroy sweep--incoming 2>/dev/null
            begin_guest sweep "$MEM" "$words"
            running=$words
        fi
        if sample sweep "$subject"; then
            more_figures >>/tmp/figures
            sed "s/^/$cap $subject /" /tmp/figures >>/out/samples
            echo "cap $cap, round $2: $subject: $(tr '\n' ' ' </tmp/figures)"
        else
            echo "cap $cap, round $2: $subject: NOT MEASURED: $({ grep -o '"message":"[^"]*"' /tmp/m; tail -n 2 /tmp/m.err; } | tr '\n' ' ')"
        fi
    done
}

taken=0
until enough $taken; do
    taken=$((taken + 1))
    for cap in $CAPS; do
        point "$cap" $taken
    done
done
xl destroy sweep
# What sweep.after tells in the captions.
for setting in "memory_mib $MEM" "overwritten_mib $DIRTY" "stub_cap_percent $STUB_CAP" "snapshots_a_point $taken"; do
    echo "set-up sweep $setting" >>/out/samples
done
