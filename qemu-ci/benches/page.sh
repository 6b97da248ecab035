# Bench `page`: what a page costs on its way from the guest to the file, in a guest that is mostly
# zero and in one that is mostly full, against stock `xl save -c`. Runs in Dom0; sourced by
# benches/run.sh. `copy_us` is the time in the hypercalls that copy pages out of the guest, as the
# stub sees it; the rest is seen from outside.

ROUNDS=${ROUNDS:-3}

# per_page MILLISECONDS: microseconds for each page of the guest.
per_page() { awk -v ms="$1" -v pages="$pages" 'BEGIN { printf "%.2f\n", ms * 1000 / pages }'; }

# sample SUBJECT COMMAND...: runs it, and notes what it cost a page.
sample() {
    subject=$1
    shift
    measure "$domid" "$@" >/tmp/m 2>/tmp/m.err || fail "$subject, $case: $(cat /tmp/m /tmp/m.err)"
    m=$(head -n 1 /tmp/m)
    {
        echo "$case $subject total_us $(per_page "$(json_number "$m" total_ms)")"
        echo "$case $subject dom0_cpu_us $(per_page "$(json_number "$m" dom0_cpu_ms)")"
        report=$(grep '"event":"done"' /tmp/m)
        if [ -n "$report" ]; then
            echo "$case $subject copy_us $(per_page "$(json_number "$report" copy_ms)")"
            awk -v n="$(json_number "$report" pages_sent)" -v h="$(json_number "$report" copy_hypercalls)" \
                -v what="$case $subject pages_hypercall" 'BEGIN { printf "%s %.1f\n", what, n / h }'
        fi
    } >/tmp/figures
    cat /tmp/figures >>/out/samples
    cut -d' ' -f2- /tmp/figures | tr '\n' ';'
    echo
}

start-luthier || fail "no stub domain"
for case in zero full; do
    words=
    [ $case = zero ] || words='fill_mib=128'
    # shellcheck disable=SC2086 # words
    start_guest $case 256 1 $words
    pages=$(json_number "$(luthier --json attach $case)" memory_mib)
    pages=$((pages * 256))
    sleep 25
    for round in $(seq "$ROUNDS"); do
        echo "$case, round $round of $ROUNDS:"
        sample xl-save xl save -c $case "$STORE/x.save"
        sample luthier luthier --json snapshot $case --policy pool-fit
        rm -rf "$STORE"/*
    done
    xl destroy $case
done
