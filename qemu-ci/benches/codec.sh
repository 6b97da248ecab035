# Bench `codec`: bytes that codecs of pages save, and what they cost, in guests of 256 MiB that run real
# programs: Debian's gcc building a library, sqlite3 with transactions like TPC-B's, and, for
# comparison, random data. Runs in Dom0; sourced by benches/run.sh.
# lab compile: --load --mem 4096 --dom0-mem 2400 --timeout 3000
# lab database: --load --mem 4096 --dom0-mem 2400 --timeout 3000
# lab random: --mem 4096 --dom0-mem 2400 --timeout 3000
#
# Of each case `CASE`, subjects are live snapshots with --codec SUBJECT and --policy live-save (many
# rounds, each of which sends pages again); the first is the peer. Metrics:
#   pages            pages sent, zero pages left out: those cost nothing with any subject
#   bytes            that the stub sent for them
#   saved_share      of 4096 bytes for each of them
#   codec_us_mbyte   the stub's time in codecs, for each MB of them
#   stub_cpu_ms, dom0_cpu_ms, total_ms, image_bytes (the image on the disk)
# Of `CASE-trace`, subjects are the codecs, replayed on the machine that runs the bench, of what a
# pre-copy of that guest by Dom0 sent (`trace`); `paper` is CloudNet's, zlib's levels are 1. There,
# codec_us_mbyte is the time to encode.

ROUNDS=${ROUNDS:-1}
SUBJECTS='none lz4 delta blocks lz4,delta,blocks auto'
. /add/benches/snapshot.sh

# until_load GUEST N: until its program has said N lines.
until_load() {
    for _ in $(seq 300); do
        [ "$(grep -ac '^load ' "/var/log/xen/console/guest-$1.log")" -lt "$2" ] || return 0
        xl domid "$1" >/dev/null 2>&1 || return 1
        sleep 2
    done
    return 1
}

# begin CASE: its guest, at work. QEMU loses a guest now and then: three tries.
begin() {
    for _ in 1 2 3; do
        case $1 in
        compile) start_guest --load "$1" 256 1 rate=1 load=compile && until_load "$1" 6 && return ;;
        database) start_guest --load "$1" 256 1 rate=1 load=database && until_load "$1" 4 && return ;;
        random) start_guest "$1" 256 1 rate=1 dirty_mib=128 dirty_rate=500 && sleep 30 && return ;;
        esac
        xl destroy "$1" 2>/dev/null
    done
    fail "guest $1 does not come to work"
}

# start_guest of run.sh, with --load before the name.
start_guest() {
    [ "$1" = --load ] && name=$2 || name=$1
    mkguest "$@" >/tmp/guest.cfg && rm -f "/var/log/xen/console/guest-$name.log"
    xl -f create -q /tmp/guest.cfg || fail "guest $name does not start"
    domid=$(xl domid "$name")
}

# sent REPORT: what the stub sent, of the report's figures.
sent() {
    awk -v pages=$(($(json_number "$1" pages_sent) - $(json_number "$1" pages_zero))) \
        -v bytes="$(json_number "$1" bytes_sent)" -v codec="$2" -v ms="$(json_number "$1" codec_ms)" 'BEGIN {
            raw = pages * 4096
            if (codec == "none") bytes = raw
            print "pages", pages
            print "bytes", bytes
            printf "saved_share %.4f\n", 1 - bytes / raw
            printf "codec_us_mbyte %.1f\n", ms * 1000 / (raw / 1e6)
        }'
}

# Not start_stub, which gives Dom0 a weight: programs shall come to write something meanwhile.
start-luthier --pool 128 && stub=$(xl domid luthier-stub) || fail "no stub domain"
: >>/out/samples # with ROUNDS=0 there are only traces
for case in $(cat /add/cases); do
    begin "$case"
    trace "$domid" "/out/$case.trace" >/out/$case.rounds || fail "no trace of $case: $(tail -n 3 /out/$case.rounds)"
    echo "$case: traced $(wc -l </out/$case.rounds) rounds"
    for round in $(seq "$ROUNDS"); do
        for codec in $SUBJECTS; do
            xl domid "$case" >/dev/null 2>&1 || begin "$case"
            luthier attach "$case" >/dev/null 2>&1
            if ! run_measured luthier --json snapshot "$case" --policy live-save --codec "$codec"; then
                echo "$case, $codec: NOT MEASURED: $(tail -n 2 /tmp/m.err | tr '\n' ' ')"
                continue
            fi
            report=$(grep '"event":"done"' /tmp/m)
            {
                sent "$report" "$codec"
                echo stub_cpu_ms "$(json_number "$(head -n 1 /tmp/m)" with_cpu_ms)"
                echo dom0_cpu_ms "$(json_number "$(head -n 1 /tmp/m)" dom0_cpu_ms)"
                echo total_ms "$(json_number "$(head -n 1 /tmp/m)" total_ms)"
                echo image_bytes "$(bytes "$(echo "$report" | sed 's/.*"path":"\([^"]*\)".*/\1/')")"
            } >/tmp/figures
            sed "s/^/$case $codec /" /tmp/figures >>/out/samples
            echo "$case, round $round of $ROUNDS: $codec: $(tr '\n' ' ' </tmp/figures)"
            rm -rf "${STORE:?}"/*
        done
    done
    xl destroy "$case"
done
