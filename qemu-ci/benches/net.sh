# Bench `net`: what guests' networks carry and cost: two guests of one host through Dom0's bridge
# and through Open vSwitch, both with Linux's netback, and through the stub domain; guests of two
# hosts through VXLAN on Dom0's bridge and, sealed, through the stubs. Runs in Dom0 of host 0;
# sourced by benches/run.sh.
# lab local: --net --steady --mem 4096 --dom0-mem 1500 --timeout 2400
# lab remote: --net --hosts 2 --mem 3072 --dom0-mem 1500 --timeout 2400
#
# Each round measures every subject once, so that all see the same machine. On one host time is
# counted in instructions (`lab run --steady`), so the load of the machine does not matter; what a
# processor needs for entering and leaving a guest, beside Xen's instructions, is not in it. Two
# hosts have two clocks, so there it is the machine's own. The metrics:
#   tcp_mbit      iperf3, one connection, mean of both ways (tcp_there_mbit, tcp_back_mbit;
#                 tcp_retransmits of both)
#   udp64_pps     datagrams of 64 bytes that arrive each second when one guest sends without a pause
#                 (`guest udp-send`, BURST of them a system call cut apart by its kernel; iperf3's
#                 own pacing would cost more than the network);
#                 udp64_lost_share: lost of those sent, between the first and last that came
#   rtt_ms        median of PINGS pings, five a second, nothing else going on
#   dom0_cpu_ms   Dom0's CPU time in the three runs together (all hosts'); also for each run
#                 (tcp_dom0_cpu_ms...), for each MB and for each datagram that arrived;
#                 idle_dom0_cpu_ms: in 5 s of nothing
#   *_stub_cpu_ms, *_guests_cpu_ms: the same of the stub and of both guests
#   *_events      event channel interrupts of the vifs in the guests and in Dom0, for each
#                 datagram or each MB
#   *_hypercalls, *_copies, *_notified, *_notifications   of the stubs, as they count them: all
#                 hypercalls, grants copied by them, guests notified, notifications by guests

ROUNDS=${ROUNDS:-2} SECONDS_TCP=${SECONDS_TCP:-4} SECONDS_UDP=${SECONDS_UDP:-3} PINGS=${PINGS:-20} BURST=${BURST:-32}
. /add/benches/net-subjects.sh

# on_host HOST COMMAND..., on_guest HOST GUEST COMMAND...
on_host() { if [ "$1" = 0 ]; then shift; sh -c "$*"; else onhost "$@"; fi; }
on_guest() {
    if [ "$1" = 0 ]; then
        shift
        onguest "$@"
    else
        # One more shell on the way: what is quoted stays quoted.
        host=$1 name=$2
        shift 2
        onhost "$host" "onguest $name '$(echo "$*" | sed "s/'/'\\\\''/g")'"
    fi
}

# CPU nanoseconds of Dom0s, stubs and the guests a and b: `dom0 stub guests`.
cpu() {
    { guest cpu; [ "$1" = 0 ] || onhost "$1" guest cpu; } | awk '
        $1 == 0 { dom0 += $3 } $2 == "luthier-stub" { stub += $3 } $2 == "a" || $2 == "b" { guests += $3 }
        END { printf "%.0f %.0f %.0f", dom0, stub, guests }'
}

# Interrupts of vifs in Dom0s and in the guests: `dom0 guests`.
sum_irqs="awk '/vif/ { n += \$2 } END { print n + 0 }' /proc/interrupts"
irqs() {
    dom0=$(sh -c "$sum_irqs")
    [ "$1" = 0 ] || dom0=$((dom0 + $(onhost "$1" "$sum_irqs")))
    echo "$dom0 $(($(on_guest 0 a "$sum_irqs") + $(on_guest "$1" b "$sum_irqs")))"
}

# What the stubs have done so far: `hypercalls copies notified notifications`; noughts without one.
work() {
    { luthier --json net stats; [ "$1" = 0 ] || onhost "$1" luthier --json net stats; } 2>/dev/null |
        grep -o '"\(hypercalls\|copies\|notified\|notifications\)":[0-9]*' | tr -d '"' |
        awk -F: '{ n[$1] += $2 } END { printf "%.0f %.0f %.0f %.0f", n["hypercalls"], n["copies"], n["notified"], n["notifications"] }'
}

# during HOST_OF_B RUN COMMAND...: runs it, and adds what it cost to /tmp/cost-RUN. CPU time is read
# last before it and first after it, as asking the guests costs Dom0's.
during() {
    of_b=$1 run=$2
    shift 2
    irqs_before="$(irqs "$of_b") $(work "$of_b")"
    cpu_before=$(cpu "$of_b")
    "$@"
    echo "$cpu_before $(cpu "$of_b") $irqs_before $(irqs "$of_b") $(work "$of_b")" >>"/tmp/cost-$run"
}

# costs RUN WORK UNIT: what it cost, also for each UNIT of WORK.
costs() {
    awk -v run="$1" -v work="$2" -v unit="$3" '
        { ns["dom0"] += $4 - $1; ns["stub"] += $5 - $2; ns["guests"] += $6 - $3
          count["dom0_events"] += $13 - $7; count["guests_events"] += $14 - $8
          count["stub_hypercalls"] += $15 - $9; count["stub_copies"] += $16 - $10
          count["stub_notified"] += $17 - $11; count["stub_notifications"] += $18 - $12 }
        END {
            for (who in ns) printf "%s_%s_cpu_ms %.1f\n", run, who, ns[who] / 1e6
            if (work > 0) {
                for (who in ns) printf "%s_%s_us_%s %.3f\n", run, who, unit, ns[who] / 1e3 / work
                for (what in count) printf "%s_%s_%s %.4f\n", run, what, unit, count[what] / work
            }
        }' "/tmp/cost-$1"
}

# tcp HOST_OF_B [-R]: kilobits a second that the receiver saw, into `kbit`; retransmissions go to
# /tmp/retransmits.
tcp() {
    on_guest "$1" b 'iperf3 -s -1 -D; sleep 0.5'
    during "$1" tcp on_guest 0 -t 60 a "iperf3 -c $b_address -O 1 -t $SECONDS_TCP -f k ${2:-}" >/tmp/iperf 2>&1
    awk '/sender/ { print $(NF - 1) }' /tmp/iperf >>/tmp/retransmits
    kbit=$(awk '/receiver/ { for (i = 1; i <= NF; i++) if ($i == "Kbits/sec") n = $(i - 1) } END { print n + 0 }' /tmp/iperf)
    [ "$kbit" != 0 ] || { cat /tmp/iperf >&2; return 1; }
}

# figures HOST_OF_B: one round of the guests a and b, `metric value` a line.
figures() {
    rm -f /tmp/retransmits /tmp/cost-*
    tcp "$1" && there=$kbit && tcp "$1" -R && back=$kbit || return 1
    echo "tcp_mbit $(awk -v a="$there" -v b="$back" 'BEGIN { print (a + b) / 2000 }')"
    echo "tcp_there_mbit $(awk -v a="$there" 'BEGIN { print a / 1000 }')"
    echo "tcp_back_mbit $(awk -v a="$back" 'BEGIN { print a / 1000 }')"
    echo "tcp_retransmits $(awk '{ n += $1 } END { print n + 0 }' /tmp/retransmits)"
    # The second before the measured ones is work too: taken as like the others.
    costs tcp "$(awk -v k="$((there + back))" -v s="$SECONDS_TCP" 'BEGIN { print k * (s + 1) / 8000 }')" mbyte

    on_guest "$1" b "guest udp-receive 5000 64 $SECONDS_UDP >/tmp/udp 2>&1 &"
    during "$1" udp64 on_guest 0 a "guest udp-send $b_address:5000 64 $SECONDS_UDP $BURST" >/tmp/udp-sent
    sleep 1
    udp=$(on_guest "$1" b cat /tmp/udp)
    received=$(json_number "$udp" received)
    [ "${received:-0}" -gt 0 ] || { echo "udp: $udp" >&2; return 1; }
    echo "udp64_pps $(json_number "$udp" pps)"
    echo "udp64_lost_share $(json_number "$udp" lost | awk -v n="$received" '{ print $1 / ($1 + n) }')"
    costs udp64 "$received" packet

    during "$1" rtt on_guest 0 a "ping -c $PINGS -i 0.2 $b_address" >/tmp/ping
    sed -n 's/.*time=\([0-9.]*\) ms/\1/p' /tmp/ping | sort -n >/tmp/times
    [ "$(wc -l </tmp/times)" -ge $((PINGS / 2)) ] || { tail -n 3 /tmp/ping >&2; return 1; }
    echo "rtt_ms $(awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }' /tmp/times)"
    costs rtt 0 packet

    # What the host takes when nothing goes on.
    during "$1" idle sleep 5
    costs idle 0 packet
}

# sample SUBJECT HOST_OF_B: a round of it into the samples.
sample() {
    b_address=10.1.$(net_of "$1").2
    if ! figures "$2" >/tmp/figures; then
        echo "$case, round $round of $ROUNDS: $1: NOT MEASURED"
        return
    fi
    awk '/^(tcp|udp64|rtt)_dom0_cpu_ms/ { n += $2 } { print } END { print "dom0_cpu_ms", n }' /tmp/figures |
        sed "s/^/$case $1 /" >>/out/samples
    echo "$case, round $round of $ROUNDS: $1: $(grep -E '^(tcp|udp64|rtt)_(mbit|retransmits|there_mbit|back_mbit|pps|lost_share|ms|dom0_cpu_ms|stub_cpu_ms) |idle_dom0' /tmp/figures | tr '\n' ' ')"
    [ "$1" != luthier ] || luthier net stats --json >"/out/stats-$case-$round.json" 2>/dev/null
}

for case in $(cat /add/cases); do
    [ "$case" = local ] && wanted='bridge ovs luthier' host_of_b=0
    [ "$case" = remote ] && wanted='vxlan luthier' host_of_b=1
    subjects=
    start_guests $host_of_b >/tmp/begin 2>&1 || fail "no guests: $(tail -n 3 /tmp/begin)"
    for subject in $wanted; do
        if "begin_$subject" $host_of_b >/tmp/begin 2>&1; then
            subjects="$subjects $subject"
        else
            echo "$case: $subject is ABSENT: $(tail -n 1 /tmp/begin)"
        fi
    done
    sleep 5 # guests that have just booted settle
    for round in $(seq "$ROUNDS"); do
        for subject in $subjects; do sample "$subject" $host_of_b; done
    done
    end_guests $host_of_b
done
