# Bench `page`: what a page costs on its way from the guest to the file, by each way of getting at it.
# Runs in Dom0; sourced by benches/run.sh.
# lab zero full: --steady --mem 4096 --dom0-mem 2200 --timeout 3000
# lab hot: --mem 4096 --dom0-mem 2200 --timeout 1800
#
# Cases `zero` and `full`: a guest of 256 MiB that is mostly zero, or half full of what does not
# compress, and idle. Time is counted in instructions, 8 ns each, so that the machine's load does not
# matter. Subjects:
#   xl-save        `xl save -c`: every page mapped into Dom0 and written
#   dom0-map       pages mapped into Dom0 in batches of 1,024, copied and unmapped, nothing written
#                  (`foreign-read`): the peer of the stub's copies
#   luthier-N      a snapshot (policy xen-save, uncoded) whose hypercalls copy N pages each
# Case `hot`: half of the guest is overwritten, 8,000 pages a second at most, and the last round
# comes as pool-fit has it: pages of it are copied (hot-copied) or have been mapped ahead
# (hot-mapped, --prepare). By the clock, as QEMU loses busy guests when it counts instructions.
#
# Metrics for each page of the guest, in microseconds unless named otherwise:
#   total_us, dom0_cpu_us, stub_cpu_us   the command's time and CPU times
#   get_us         getting at pages alone: mapping, copying, unmapping; or the hypercalls that copy. In
#                  case `zero` only: else Dom0, which stores pages, has the CPU in between
#   pages_second   by get_us
#   hypercalls     that copy or map and unmap, a page
# and of the last round: last_round_us for each page of it, last_round_pages, prepared_pages,
# suspended_ms.

ROUNDS=${ROUNDS:-1} BATCHES=${BATCHES:-'1 8 32 64 128 256 512'} PREPARE=${PREPARE:-16384}

. /add/benches/snapshot.sh

# per_page MILLISECONDS: microseconds for each page of the guest.
per_page() { awk -v ms="$1" -v pages="$pages" 'BEGIN { printf "%.3f\n", ms * 1000 / pages }'; }

# note SUBJECT METRIC VALUE
note() { echo "$case $1 $2 $3" | tee -a /tmp/figures >>/out/samples; }

# got SUBJECT MICROSECONDS PAGES HYPERCALLS: what getting at pages cost.
got() {
    if [ "$case" = zero ] || [ "$1" = dom0-map ]; then
        note "$1" get_us "$(awk -v us="$2" -v n="$3" 'BEGIN { print us / n }')"
        note "$1" pages_second "$(awk -v us="$2" -v n="$3" 'BEGIN { print n * 1e6 / us }')"
    fi
    note "$1" hypercalls "$(awk -v h="$4" -v n="$3" 'BEGIN { print h / n }')"
}

# one SUBJECT COMMAND...: a sample of it.
one() {
    subject=$1
    shift
    : >/tmp/figures
    run_measured "$@" || fail "$subject, $case: $(tail -n 3 /tmp/m /tmp/m.err)"
    m=$(head -n 1 /tmp/m)
    note "$subject" total_us "$(per_page "$(json_number "$m" total_ms)")"
    note "$subject" dom0_cpu_us "$(per_page "$(json_number "$m" dom0_cpu_ms)")"
    report=$(grep '"event":"done"' /tmp/m)
    if [ -n "$report" ]; then
        note "$subject" stub_cpu_us "$(per_page "$(json_number "$m" with_cpu_ms)")"
        # Mapped pages of the last round were not copied by hypercalls.
        sent=$(json_number "$report" pages_sent) prepared=$(json_number "$report" pages_prepared)
        got "$subject" "$(json_number "$report" copy_ms | awk '{ print $1 * 1000 }')" \
            $((sent - ${prepared:-0})) "$(json_number "$report" copy_hypercalls)"
    elif [ "$subject" = dom0-map ]; then
        cost=$(tail -n 1 /tmp/m)
        # Linux maps 16 pages by a hypercall (REMAP_BATCH_SIZE); those that unmap are not known.
        read_pages=$(json_number "$cost" pages)
        got dom0-map $(($(json_number "$cost" map_us) + $(json_number "$cost" copy_us) + $(json_number "$cost" unmap_us))) \
            "$read_pages" $((read_pages / 16))
        for part in map copy unmap; do
            note dom0-map ${part}_us "$(awk -v us="$(json_number "$cost" ${part}_us)" -v n="$read_pages" 'BEGIN { print us / n }')"
        done
    fi
}

# last_round: of the report at hand.
last_round() {
    rounds_of "$report" >/tmp/rounds
    last=$(awk '$1 == "last_round_pages" { print $2 }' /tmp/rounds)
    note "$subject" last_round_pages "$last"
    note "$subject" last_round_us "$(awk -v n="$last" '$1 == "last_round_ms" && n > 0 { print $2 * 1000 / n }' /tmp/rounds)"
    note "$subject" prepared_pages "$(json_number "$report" pages_prepared)"
    note "$subject" suspended_ms "$(json_number "$m" suspended_ms)"
}

tell() { echo "$case, round $round of $ROUNDS: $(cut -d ' ' -f 2- /tmp/figures | tr '\n' ';')"; }

start_stub 128 || fail "no stub domain"
for case in $(cat /add/cases); do
    case $case in
    zero) words='dirty_mib=1 dirty_rate=0' ;;
    full) words='dirty_mib=128 dirty_rate=0' ;;
    hot) words='dirty_mib=128 dirty_rate=8000' ;;
    esac
    begin_guest "$case" 256 "$words"
    domid=$(xl domid "$case")
    pages=$(json_number "$(luthier --json attach "$case")" memory_mib)
    pages=$((pages * 256))
    for round in $(seq "$ROUNDS"); do
        if [ "$case" = hot ]; then
            for try in "copied 0" "mapped $PREPARE"; do
                one "hot-${try% *}" luthier --json snapshot hot --policy pool-fit --codec none --prepare "${try#* }"
                last_round
                tell
                rm -rf "${STORE:?}"/*
            done
            continue
        fi
        one xl-save xl save -c "$case" "$STORE/x.save"
        tell
        rm -f "$STORE/x.save"
        one dom0-map foreign-read "$domid" "$pages"
        tell
        for batch in $BATCHES; do
            one "luthier-$batch" luthier --json snapshot "$case" --policy xen-save --codec none --prepare 0 --copy-batch "$batch"
            tell
            rm -rf "${STORE:?}"/*
        done
    done
    xl destroy "$case"
done
