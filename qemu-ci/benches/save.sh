# Bench `save`: what a snapshot of a 256 MiB guest costs, idle and while it rewrites 64 MiB at
# random, with stock `xl save -c` and with luthier. Runs in Dom0; sourced by benches/run.sh.
#
# Each round takes one snapshot with each subject, so that all see the same host; the median of
# the rounds is what counts. The figures are seen from outside the tools (`measure`), but `pages`
# and `bytes`, which come from the tool or its file.

ROUNDS=${ROUNDS:-3}
SUBJECTS='xl-save luthier luthier-live-save'

# bytes FILE...: what files take on the disk: holes cost nothing.
bytes() { du -s -k "$@" | awk '{ n += $1 } END { print n * 1024 }'; }

# take SUBJECT: one snapshot of guest $guest (domain $domid); prints its figures as `metric value`.
take() {
    case $1 in
    xl-save)
        measure "$domid" xl save -c "$guest" "$STORE/x.save" >/tmp/m 2>/tmp/m.err || return 1
        # `xl save` reads every page once and writes every page.
        echo pages "$pages"
        echo bytes "$(bytes "$STORE/x.save")"
        rm -f "$STORE/x.save"
        ;;
    luthier | luthier-live-save)
        [ "$1" = luthier ] && policy=pool-fit || policy=live-save
        measure "$domid" luthier --json snapshot "$guest" --policy $policy >/tmp/m 2>/tmp/m.err || return 1
        report=$(grep '"event":"done"' /tmp/m)
        echo pages "$(json_number "$report" pages_sent)"
        image=$(echo "$report" | sed 's/.*"path":"\([^"]*\)".*/\1/')
        echo bytes "$(bytes "$image")"
        rm -rf "$image"
        ;;
    esac
    m=$(head -n 1 /tmp/m)
    for metric in suspended_ms freeze_ms total_ms dom0_cpu_ms; do
        echo $metric "$(json_number "$m" $metric)"
    done
}

start-luthier || fail "no stub domain"
for case in idle rewriting; do
    guest=$case
    words=
    [ $case = idle ] || words='rewrite_mib=64 rewrite_rate=4000'
    # shellcheck disable=SC2086 # words
    start_guest "$guest" 256 1 $words
    pages=$(json_number "$(luthier --json attach "$guest")" memory_mib)
    pages=$((pages * 256))
    # Until it has booted and has its memory.
    sleep 20
    for round in $(seq "$ROUNDS"); do
        for subject in $SUBJECTS; do
            take $subject >/tmp/figures || fail "$subject, $case: $(cat /tmp/m /tmp/m.err)"
            sed "s/^/$case $subject /" /tmp/figures >>/out/samples
            echo "$case, round $round of $ROUNDS: $subject: $(tr '\n' ' ' </tmp/figures)"
        done
    done
    xl destroy "$guest"
done
