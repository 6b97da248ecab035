# Bench `net`: what guests' networks carry and cost: two guests of one host through Dom0's bridge
# and through Open vSwitch, both with Linux's netback, and through the stub domain; guests of two
# hosts through VXLAN on Dom0's bridge and, sealed, through the stubs. Runs in Dom0 of host 0;
# sourced by benches/run.sh.
# lab: --net --hosts 2 --mem 4096 --dom0-mem 1500 --timeout 2400
#
# Each round measures every subject once, so that all see the same machine. The metrics:
#   tcp_mbit      iperf3, one connection, mean of both ways (tcp_there_mbit, tcp_back_mbit;
#                 tcp_retransmits of both)
#   udp64_pps     datagrams of 64 bytes that arrive each second when one guest sends without a pause
#                 (`guest udp-send`, BURST of them a system call cut apart by its kernel; iperf3's
#                 own pacing would cost more than the network);
#                 udp64_lost_share: lost of those sent, between the first and last that came
#   rtt_ms        median of PINGS pings, five a second, nothing else going on
#   dom0_cpu_ms   Dom0's CPU time in the three runs together (all hosts'); also for each run
#                 (tcp_dom0_cpu_ms...), for each MB and for each datagram that arrived
#   *_stub_cpu_ms, *_guests_cpu_ms: the same of the stub and of both guests
#   *_events      event channel interrupts of the vifs in the guests and in Dom0, for each
#                 datagram or each MB

ROUNDS=${ROUNDS:-3} SECONDS_TCP=${SECONDS_TCP:-6} SECONDS_UDP=${SECONDS_UDP:-5} PINGS=${PINGS:-40} BURST=${BURST:-32}
CASES=${CASES:-local remote}
[ "$LAB_HOSTS" -ge 2 ] || CASES=local
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

# counters HOST_OF_B: CPU nanoseconds and vif interrupts of Dom0s and stubs, of the guests $a and
# $b; sets dom0_ns, stub_ns, guests_ns, dom0_irqs, guests_irqs.
sum_irqs="awk '/vif/ { n += \$2 } END { print n + 0 }' /proc/interrupts"
counters() {
    guests_irqs=$(($(on_guest 0 "$a" "$sum_irqs") + $(on_guest "$1" "$b" "$sum_irqs")))
    dom0_irqs=$(sh -c "$sum_irqs")
    guest cpu >/tmp/cpu
    if [ "$1" != 0 ]; then
        dom0_irqs=$((dom0_irqs + $(onhost "$1" "$sum_irqs")))
        onhost "$1" guest cpu >>/tmp/cpu
    fi
    eval "$(awk -v a="$a" -v b="$b" '
        $1 == 0 { dom0 += $3 } $2 == "luthier-stub" { stub += $3 } $2 == a || $2 == b { guests += $3 }
        END { printf "dom0_ns=%.0f stub_ns=%.0f guests_ns=%.0f", dom0, stub, guests }' /tmp/cpu)"
}

begin() {
    counters "$1"
    was="$dom0_ns $stub_ns $guests_ns $dom0_irqs $guests_irqs"
}

# end HOST_OF_B RUN WORK UNIT: what the run cost since `begin`, also for each UNIT of WORK.
end() {
    counters "$1"
    echo "$was $dom0_ns $stub_ns $guests_ns $dom0_irqs $guests_irqs" |
        awk -v run="$2" -v work="$3" -v unit="$4" '{
            printf "%s_dom0_cpu_ms %.1f\n%s_stub_cpu_ms %.1f\n%s_guests_cpu_ms %.1f\n", run, ($6 - $1) / 1e6,
                run, ($7 - $2) / 1e6, run, ($8 - $3) / 1e6
            if (work > 0) {
                printf "%s_dom0_us_%s %.3f\n", run, unit, ($6 - $1) / 1e3 / work
                printf "%s_stub_us_%s %.3f\n", run, unit, ($7 - $2) / 1e3 / work
                printf "%s_guests_us_%s %.3f\n", run, unit, ($8 - $3) / 1e3 / work
                printf "%s_dom0_events_%s %.4f\n", run, unit, ($9 - $4) / work
                printf "%s_guests_events_%s %.4f\n", run, unit, ($10 - $5) / work
            }
        }'
}

# tcp HOST_OF_B [-R]: kilobits a second that the receiver saw; retransmissions go to /tmp/retransmits.
tcp() {
    on_guest "$1" "$b" 'iperf3 -s -1 -D; sleep 0.5'
    on_guest 0 -t 60 "$a" "iperf3 -c $b_address -O 1 -t $SECONDS_TCP -f k ${2:-}" >/tmp/iperf 2>&1
    awk '/sender/ { print $(NF - 1) }' /tmp/iperf >>/tmp/retransmits
    awk '/receiver/ { for (i = 1; i <= NF; i++) if ($i == "Kbits/sec") n = $(i - 1) } END { print n + 0 }' /tmp/iperf
}

# figures HOST_OF_B: one round of the guests $a and $b, `metric value` a line.
figures() {
    rm -f /tmp/retransmits
    begin "$1"
    there=$(tcp "$1")
    back=$(tcp "$1" -R)
    if [ "$there" = 0 ] || [ "$back" = 0 ]; then cat /tmp/iperf >&2; return 1; fi
    echo "tcp_mbit $(awk -v a="$there" -v b="$back" 'BEGIN { print (a + b) / 2000 }')"
    echo "tcp_there_mbit $(awk -v a="$there" 'BEGIN { print a / 1000 }')"
    echo "tcp_back_mbit $(awk -v a="$back" 'BEGIN { print a / 1000 }')"
    echo "tcp_retransmits $(awk '{ n += $1 } END { print n + 0 }' /tmp/retransmits)"
    # The second before the measured ones is work too: taken as like the others.
    end "$1" tcp "$(awk -v k="$((there + back))" -v s="$SECONDS_TCP" 'BEGIN { print k * (s + 1) / 8000 }')" mbyte

    begin "$1"
    on_guest "$1" "$b" "guest udp-receive 5000 64 $SECONDS_UDP >/tmp/udp 2>&1 &"
    on_guest 0 "$a" "guest udp-send $b_address:5000 64 $SECONDS_UDP $BURST" >/tmp/udp-sent
    sleep 2
    udp=$(on_guest "$1" "$b" cat /tmp/udp)
    received=$(json_number "$udp" received)
    [ "${received:-0}" -gt 0 ] || { echo "udp: $udp" >&2; return 1; }
    echo "udp64_pps $(json_number "$udp" pps)"
    echo "udp64_lost_share $(json_number "$udp" lost | awk -v n="$received" '{ print $1 / ($1 + n) }')"
    end "$1" udp64 "$received" packet

    begin "$1"
    on_guest 0 "$a" "ping -c $PINGS -i 0.2 $b_address" >/tmp/ping
    sed -n 's/.*time=\([0-9.]*\) ms/\1/p' /tmp/ping | sort -n >/tmp/times
    [ "$(wc -l </tmp/times)" -ge $((PINGS / 2)) ] || { tail -n 3 /tmp/ping >&2; return 1; }
    echo "rtt_ms $(awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }' /tmp/times)"
    end "$1" rtt 0 packet
}

# sample SUBJECT HOST_OF_B: a round of it into the samples.
sample() {
    a=$1-a b=$1-b
    b_address=$(on_guest "$2" "$b" "ip -4 addr show eth0 | sed -n 's/.*inet \([0-9.]*\).*/\1/p'")
    if ! figures "$2" >/tmp/figures; then
        echo "$case, round $round of $ROUNDS: $1: NOT MEASURED"
        return
    fi
    awk '/^(tcp|udp64|rtt)_dom0_cpu_ms/ { n += $2 } { print } END { print "dom0_cpu_ms", n }' /tmp/figures |
        sed "s/^/$case $1 /" >>/out/samples
    echo "$case, round $round of $ROUNDS: $1: $(grep -E '^(tcp|udp64|rtt)_(mbit|retransmits|there_mbit|back_mbit|pps|lost_share|ms|dom0_cpu_ms|stub_cpu_ms) ' /tmp/figures | tr '\n' ' ')"
    [ "$1" != luthier ] || luthier net stats --json >"/out/stats-$case-$round.json" 2>/dev/null
}

for case in $CASES; do
    [ "$case" = local ] && wanted='bridge ovs luthier' host_of_b=0
    [ "$case" = remote ] && wanted='vxlan luthier' host_of_b=1
    subjects=
    for subject in $wanted; do
        if "begin_$subject" $host_of_b >/tmp/begin 2>&1; then
            subjects="$subjects $subject"
        else
            echo "$case: $subject is ABSENT: $(tail -n 1 /tmp/begin)"
            end_pair "$subject" $host_of_b
        fi
    done
    sleep 5 # guests that have just booted settle
    for round in $(seq "$ROUNDS"); do
        for subject in $subjects; do sample "$subject" $host_of_b; done
    done
    for subject in $subjects; do end_pair "$subject" $host_of_b; done
done
