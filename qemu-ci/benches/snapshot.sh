# One snapshot or migration by any subject, and its figures: for the benches `live-save` and
# `sweep`. Sourced by them, in Dom0.

# start_stub POOL_MIB: luthierd and the stub domain; sets `stub`. Dom0 gets the weight of the stub, for
# all subjects, as operators are told to do on hosts where guests contend for the CPU. On the lab's one
# CPU a guest then has a ninth of it while Dom0 and the stub are busy: what it can overwrite.
start_stub() {
    xl sched-credit2 -d 0 -w "${DOM0_WEIGHT:-1024}"
    start-luthier --pool "$1" && stub=$(xl domid luthier-stub)
}

# begin_guest NAME MEM_MIB WORDS: starts it and waits until its memory is what the words say.
# Its console prints little and its gaps are watched.
begin_guest() {
    # shellcheck disable=SC2086 # words
    start_guest "$1" "$2" 1 gap_ms=20 rate=1 stats=5 $3
    for _ in $(seq 60); do
        sleep 1
        grep -qa '^stats ' "/var/log/xen/console/guest-$1.log" && break
    done
    sleep 5
    guest gap "$1" >/dev/null || fail "guest $1 does not answer"
}

# bytes FILE...: what files take on the disk: holes cost nothing.
bytes() { du -s -k "$@" | awk '{ n += $1 } END { print n * 1024 }'; }

# sample GUEST SUBJECT: one of it; leaves lines `metric value` in /tmp/figures. A guest that is slowed
# down (`slow_down`, of the bench) is not while it is asked.
slow_down() { :; }
sample() {
    guest=$1
    domid=$(xl domid "$guest") || return 1
    sleep 1
    pages=$(xenstore-read "/local/domain/$domid/memory/static-max")
    pages=$((pages / 4))
    slow_down no # the last sample may have ended before that
    guest gap "$guest" >/dev/null || return 1
    slow_down yes
    sleep 1
    case $2 in
    xl-save) run_measured xl save -c "$guest" "$STORE/x.save" || return 1 ;;
    xl-migrate) run_measured xl migrate -s '' "$guest" 'xl migrate-receive' || return 1 ;;
    luthier)
        luthier attach "$guest" >/dev/null 2>&1
        # shellcheck disable=SC2086 # words
        run_measured luthier --json snapshot "$guest" ${OPTIONS:-} || return 1
        ;;
    luthier-*)
        luthier attach "$guest" >/dev/null 2>&1
        run_measured luthier --json snapshot "$guest" --policy "${2#luthier-}" || return 1
        ;;
    esac
    slow_down no
    sleep 1
    gap=$(guest gap "$guest") || return 1
    figures "$2" >/tmp/figures
    rm -rf "${STORE:?}"/*
}

run_measured() { measure --with "$stub" "$domid" "$@" >/tmp/m 2>/tmp/m.err; }

# figures SUBJECT: of /tmp/m.
figures() {
    m=$(head -n 1 /tmp/m)
    echo gap_ms "$(awk -v us="$gap" 'BEGIN { printf "%.1f", us / 1000 }')"
    echo suspended_ms "$(json_number "$m" suspended_ms | awk -v us="$gap" '{ print ($1 * 1000 > us ? us / 1000 : $1) }')"
    for metric in freeze_ms total_ms dom0_cpu_ms guest_cpu_ms; do
        echo $metric "$(json_number "$m" $metric)"
    done
    case $1 in
    xl-save)
        # Every page is read once and every page written.
        echo pages "$pages"
        echo bytes "$(bytes "$STORE/x.save")"
        ;;
    xl-migrate)
        # xl hides how far it is: what went through its pipe, where a page has its number of 8 bytes.
        bytes=$(json_number "$m" written_bytes)
        echo pages $((bytes / 4104))
        echo bytes "$bytes"
        ;;
    luthier*)
        echo stub_cpu_ms "$(json_number "$m" with_cpu_ms)"
        report=$(grep '"event":"done"' /tmp/m)
        image=$(echo "$report" | sed 's/.*"path":"\([^"]*\)".*/\1/')
        echo pages "$(json_number "$report" pages_sent)"
        echo bytes "$(bytes "$image")"
        for metric in copy_ms codec_ms estimate_ms; do
            value=$(json_number "$report" $metric)
            [ -z "$value" ] || echo $metric "$value"
        done
        echo overflow_pages "$(json_number "$report" pages_overflow)"
        value=$(json_number "$report" pages_prepared)
        [ -z "$value" ] || echo prepared_pages "$value"
        rounds_of "$report"
        ;;
    esac
}

# rounds_of REPORT: of its array of rounds.
rounds_of() {
    echo "$1" | sed 's/.*"rounds":\[\([^]]*\)\].*/\1/; s/},{/\n/g' | tr -d '{}"' | awk -F, '
        { for (i = 1; i <= NF; i++) { split($i, pair, ":"); v[pair[1]] = pair[2] }
          sent[NR] = v["sent"]; ms[NR] = v["ms"]; dirtied[NR] = v["dirtied"]; live[NR] = v["live"] }
        END {
            print "rounds", NR
            print "last_round_pages", sent[NR]
            print "last_round_ms", ms[NR]
            # From the second to the last but one, as the Live Save paper has it.
            for (r = 2; r < NR; r++) { n++; time += ms[r] }
            if (n) print "round_time_ms", time / n
            for (r = 1; r < NR; r++) if (live[r] == "true") { l++; pages += dirtied[r]; all += ms[r] }
            if (l) { print "dirty_pages", pages / l; if (all) print "dirty_frequency_pps", pages * 1000 / all }
        }'
}
