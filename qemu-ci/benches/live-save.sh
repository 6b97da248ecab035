# Bench `live-save`: what a live snapshot costs a guest of 256 MiB, half of which it overwrites at
# random at three rates, against stock `xl save -c` and `xl migrate` on the same host; with --all also
# the policies one by one. Runs in Dom0; sourced by benches/run.sh.
# lab idle moderate saturating: --cpus 2 --mem 4096 --dom0-mem 2200 --timeout 3000
#
# Dom0 has a CPU of its own (`dom0_max_vcpus=1 dom0_vcpus_pin`, as is usual), the guest and the stub share
# another. With `--cpus 1` all share one, which the guest goes on taking its part of while we snapshot it;
# for `xl save` it stands still.
#
# Each round takes each subject once, so that all see the same machine; medians count. The metrics,
# seen from outside the tools (`measure`) but for pages, bytes and what the guest saw:
#   suspended_ms  how long the guest stood still. A migrated guest: until its new domain runs; but
#                 no longer than its own gap, as Dom0 is kept from looking while xl destroys the old
#   gap_ms        the longest silence by the guest's own clock, from before the command until a
#                 second after it: freezing, suspended time and thawing, and whatever else kept it
#                 from the CPU for so long
#   freeze_ms     of that, from the request to suspend until the guest stood still
#   total_ms      the command's time
#   pages         pages sent, all rounds, zero pages included
#   bytes         on the disk; of `xl migrate`: what went through its pipe, which its pages are told by
#   dom0_cpu_ms, stub_cpu_ms, guest_cpu_ms   CPU time meanwhile
# Of luthier's own report: rounds, copy_ms (in hypercalls that copy), codec_ms, last_round_ms
# and last_round_pages, overflow_pages (did not fit the pool), prepared_pages, estimate_ms.

# Settings (--set): ROUNDS, MODERATE (pages a second that the guest tries to overwrite), POOL (MiB),
# DOM0_WEIGHT (of Dom0 when CPU time is contended, see benches/snapshot.sh).

ROUNDS=${ROUNDS:-3} MODERATE=${MODERATE:-1000} POOL=${POOL:-128}
SUBJECTS='xl-save xl-migrate luthier luthier-live-save'
OTHERS='improved-live-save smart-stop pool-fit xen-migrate xen-migrate-4.5 xen-save'
[ -z "${ALL:-}" ] || for policy in $OTHERS; do SUBJECTS="$SUBJECTS luthier-$policy"; done

. /add/benches/snapshot.sh

start_stub "$POOL" || fail "no stub domain"
for case in $(cat /add/cases); do
    case $case in
    idle) words='dirty_mib=128 dirty_rate=0' ;;
    moderate) words="dirty_mib=128 dirty_rate=$MODERATE" ;;
    saturating) words='dirty_mib=128 dirty_rate=max' ;;
    esac
    begin_guest "$case" 256 "$words"
    for round in $(seq "$ROUNDS"); do
        for subject in $SUBJECTS; do
            if sample "$case" "$subject"; then
                sed "s/^/$case $subject /" /tmp/figures >>/out/samples
                echo "$case, round $round of $ROUNDS: $subject: $(tr '\n' ' ' </tmp/figures)"
            else
                echo "$case, round $round of $ROUNDS: $subject: NOT MEASURED: $(tail -n 2 /tmp/m.err | tr '\n' ' ')"
                xl domid "$case" >/dev/null 2>&1 || { xl destroy "$case--incoming" 2>/dev/null; begin_guest "$case" 256 "$words"; }
            fi
        done
    done
    xl destroy "$case"
done
