# Bench `group`: what one consistent snapshot of a network costs its guests: four unequal guests, TCP
# streams between them; with no snapshot, with `luthier snapshot --net`, with it as VNsnap was published
# (--classic), and with each guest's own snapshot, one after the other. Runs in Dom0 of host 0; sourced by
# benches/run.sh.
# lab one: --net --mem 4096 --dom0-mem 1500 --timeout 2400
# lab two: --net --hosts 2 --mem 3072 --dom0-mem 1300 --timeout 2400
#
# Case `one`: all guests on one host; `two`: a and b on host 0, c and d on host 1; a sends to b, b to c, c
# to d, d to a. Each round takes each subject once. The metrics:
#   spread_ms      from the first guest's cut to the last one's
#   downtime_ms    the longest that a guest stood still (downtime_A_ms: of each guest); of `alone`:
#                  the longest of their own snapshots
#   downtime_to_alone, spread_to_classic   the same, as shares of those in the same round
#   freeze_ms      the longest from asking a guest to suspend until it stood still
#   window_ms      from the first guest's being asked until the last one runs again
#   gap_ms         the longest silence of any stream, as its receiver saw it (gap_A_ms: of each)
#   retransmits    segments that were sent again, by all guests; timeouts: TCP's time-outs that
#                  made them so, and spurious: those of them that TCP found to have been needless
#   delivered_kbit what all streams brought, in thousand bits a second; lost_share: how much less
#                  than with no snapshot in the same round
#   total_ms       the command's time; recorded, held, dropped: frames
#   busy_share     what guests and stub used of the CPUs that they have, on the host where that is most
# Emulation makes each host tens of times as slow as a real one, while TCP's time-outs are as short as ever. Hosts
# that are in proportion: `--dilate 10 --set KBIT=10000 --set LEAST=5`.
#
# Settings (--set): ROUNDS, KBIT (of each stream), LEAST (seconds that a subject is watched), LARGEST
# (MiB of the largest guest; the others have 112 to 160), SUBJECTS ("SUBJECTS='group alone'").

ROUNDS=${ROUNDS:-3} KBIT=${KBIT:-200} LEAST=${LEAST:-12} LARGEST=${LARGEST:-768}
GUESTS='a b c d'
SUBJECTS=${SUBJECTS:-nothing group classic alone}

on_host() { if [ "$1" = 0 ]; then shift; sh -c "$*"; else onhost "$@"; fi; }
on_guest() {
    local host guest
    host=$(host_of "$1") guest=$1
    shift
    if [ "$host" = 0 ]; then onguest "$guest" "$*"; else onhost "$host" "onguest $guest '$*'"; fi
}
host_of() { case $case$1 in two[cd]) echo 1 ;; *) echo 0 ;; esac; }
hosts() { [ "$case" = one ] && echo 0 || echo 0 1; }

# Memory and, of it, what is overwritten, in pages a second: no two alike.
mib_of() { case $1 in a) echo 112 ;; b) echo "$LARGEST" ;; c) echo 160 ;; d) echo 128 ;; esac; }
dirty_of() { case $1 in a) echo '8 20' ;; b) echo '96 200' ;; c) echo '48 100' ;; d) echo '16 50' ;; esac; }
number_of() { case $1 in a) echo 1 ;; b) echo 2 ;; c) echo 3 ;; d) echo 4 ;; esac; }
# Who sends to whom: each to one, each from one; of two hosts, two streams cross.
target_of() { case $1 in a) echo b ;; b) echo c ;; c) echo d ;; d) echo a ;; esac; }

begin_guest() {
    n=$(number_of "$1")
    # shellcheck disable=SC2046 # words
    set -- "$1" "$n" $(dirty_of "$1")
    on_host "$(host_of "$1")" "mkguest --net $1 \
        'mac=00:16:3e:00:00:0$2,backend=luthier-stub,bridge=bench,mtu=$MTU' $(mib_of "$1") 1 rate=1 \
        net_address=10.1.0.$2/24 dirty_mib=$3 dirty_rate=$4 >/tmp/$1.cfg && xl -f create -q /tmp/$1.cfg" ||
        fail "guest $1 does not start"
}

begin_network() {
    for host in $(hosts); do
        [ "$case" = one ] && uplink= || uplink=--uplink
        on_host "$host" "xl sched-credit2 -d 0 -w ${DOM0_WEIGHT:-1024}; start-luthier $uplink --pool ${POOL:-128}" ||
            fail "no stub domain on host $host"
        on_host "$host" 'luthier net create bench --id 7' || fail "no network on host $host"
    done
    MTU=$(json_number "$(luthier --json net list)" mtu)
    [ "$case" = one ] || {
        introduce 0 1 && introduce 1 0 && await_peers 0 && await_peers 1 || fail "the hosts don't meet"
    }
}

begin_streams() {
    for guest in $GUESTS; do
        to=$(target_of "$guest") port=700$(number_of "$guest")
        on_guest "$to" "guest stream-in $port >/dev/console 2>&1 &"
        on_guest "$guest" "guest stream-out 10.1.0.$(number_of "$to"):$port $KBIT >/dev/console 2>&1 &"
    done
}

# look FILE: what each stream's receiver has seen since the last look: `guest JSON` a line, and how the
# guests' own counts stand. A stream is from the guest that it is called after, or nothing is measured.
look() {
    for guest in $GUESTS; do
        echo "$guest $(on_guest "$(target_of "$guest")" guest stream-look "700$(number_of "$guest")")"
    done >"$1"
    for guest in $GUESTS; do
        grep -q "^$guest .*\"from\":\"10.1.0.$(number_of "$guest")\"" "$1" || { cat "$1" >&2; return 1; }
    done
}

# take SUBJECT: it; what luthier said goes to /tmp/said.
take() {
    case $1 in
    nothing) sleep "$LENGTH"; return ;;
    group) luthier --json snapshot --net bench ;;
    classic) luthier --json snapshot --net bench --classic ;;
    alone)
        for guest in $GUESTS; do
            on_host "$(host_of "$guest")" "luthier --json snapshot $guest" | grep '"event":"done"' || return 1
        done
        ;;
    esac >/tmp/said 2>/tmp/said.err
}

# Nothing of what was taken stays.
clear_store() {
    for host in $(hosts); do
        on_host "$host" "for group in \$(luthier list --groups --json | grep -o 'bench@[0-9TZ]*' | sort -u); do luthier rm \$group; done
            for image in \$(luthier list --json | grep -o '[abcd]@[0-9TZ]*' | sort -u); do luthier rm \$image; done" >/dev/null 2>&1
    done
}

# busy FILE: the time, and the seconds of CPU that guests and stub have had: a line a host.
busy() {
    for host in $(hosts); do
        echo "$(uptime_ms) $(on_host "$host" xl list | awk 'NR > 1 && $1 != "Domain-0" { s += $NF } END { print s }')"
    done >"$1"
}
CPUS=$(sed 's/.*lab.cpus=\([0-9]*\).*/\1/' /proc/cmdline)
[ "$CPUS" = 1 ] || CPUS=$((CPUS - 1))

uptime_ms() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }

# sample SUBJECT: a round of it into the samples.
sample() {
    look /tmp/before && busy /tmp/busy-before || return 1
    began=$(uptime_ms)
    : >/tmp/said
    take "$1" || { tail -n 3 /tmp/said /tmp/said.err >&2; return 1; }
    took=$(($(uptime_ms) - began))
    [ $((took / 1000)) -ge "$LEAST" ] || sleep $((LEAST - took / 1000))
    busy /tmp/busy-after && look /tmp/after || return 1
    [ "$1" != group ] || LENGTH=$(((took + 999) / 1000 > LEAST ? (took + 999) / 1000 : LEAST))
    [ "$1" != group ] && [ "$1" != classic ] || {
        group=$(grep -o 'bench@[0-9TZ]*' /tmp/said | tail -n 1)
        luthier show --json "$group" >"/out/$case-$round-$1.json" 2>/dev/null
        luthier show "$group" -o "/out/$case-$round-$1.svg" >"/out/$case-$round-$1.txt" 2>&1
    }
    cp /tmp/said "/out/$case-$round-$1.said"
    python3 /add/benches/group.py "$1" "$took" /tmp/before /tmp/after /tmp/said /tmp/round >/tmp/figures || return 1
    paste /tmp/busy-before /tmp/busy-after | awk -v cpus="$CPUS" -v subject="$1" '
        { share = ($4 - $2) * 1000 / ($3 - $1) / cpus; if (share > most) most = share }
        END { printf "%s busy_share %.3f\n", subject, most }' >>/tmp/figures
    clear_store
}

. /add/benches/net-subjects.sh
for case in $(cat /add/cases); do
    begin_network
    for guest in $GUESTS; do begin_guest "$guest"; done
    for guest in $GUESTS; do on_guest "$guest" true || fail "guest $guest does not answer"; done
    for guest in $GUESTS; do on_host "$(host_of "$guest")" luthier attach "$guest" >/dev/null || fail "no attaching $guest"; done
    begin_streams
    LENGTH=$LEAST
    sleep "$LEAST" # guests that have just booted settle
    look /tmp/before || fail "no streams"
    # What a page of each guest costs is learned from its first snapshot; it does not count.
    take group || fail "no group: $(tail -n 3 /tmp/said /tmp/said.err)"
    clear_store
    for round in $(seq "$ROUNDS"); do
        rm -f /tmp/round
        for subject in $SUBJECTS; do
            if sample "$subject"; then
                sed "s/^/$case /" /tmp/figures >>/out/samples
                echo "$case, round $round of $ROUNDS: $subject: $(cut -d ' ' -f 2- /tmp/figures | tr '\n' ' ')"
            else
                echo "$case, round $round of $ROUNDS: $subject: NOT MEASURED"
            fi
        done
    done
    for host in $(hosts); do on_host "$host" 'grep -h "stream BROKEN" /var/log/xen/console/guest-?.log'; done
done
cp /tmp/luthierd.log /out/luthierd-0.log; onhost 1 cat /tmp/luthierd.log >/out/luthierd-1.log 2>/dev/null
