# Four guests on two hosts, in two networks with the same addresses: each pair has its Ethernet,
# nothing crosses, and the network between the hosts sees sealed UDP and nothing else. The counters
# say that a frame passes two switches, and that a broadcast costs one datagram for the other host.
# hosts: 2
# time limit: 500 s
. /add/scenarios/net.sh

PATTERN=LUTHIER-IN-THE-CLEAR

for host in 0 1; do
    start_switch $host --uplink
    run on $host 'luthier net create blue --id 7 && luthier net create red --id 8'
done
join 0 1
join 1 0
for net in blue red; do
    start_on $net-a 0 $net 1
    start_on $net-b 1 $net 2
done
await 60 "session with host 1" has_peer 0
await 60 "session with host 0" has_peer 1
step "two switches have joined"

tcpdump -Z root -i xenbr0 -w wire.pcap -U -s 0 2>tcpdump.log &
capture=$!
ready 0 blue-a red-a
ready 1 blue-b red-b
for net in blue red; do
    run inside 1 $net-b "while :; do echo I am $net-b | nc -l -p 4000; done >/dev/null 2>&1 &"
    run reaches 0 $net-a 10.1.0.2
    run reaches 0 $net-a fd00::2
    equal "$(inside 0 $net-a 'nc -w 10 10.1.0.2 4000 </dev/null')" "I am $net-b" "who answers $net-a"
done
step "ARP, ping, IPv6 and TCP, each to its own"

run inside 1 blue-b 'nc -l -p 4001 >/tmp/pattern 2>/dev/null &'
run inside 0 blue-a "sleep 1; yes $PATTERN | head -n 5000 | nc -w 5 10.1.0.2 4001"
equal "$(inside 1 blue-b "grep -c ^$PATTERN\$ /tmp/pattern")" 5000 "lines that arrived"
carries 0 red-a 1 red-b 10.1.0.2
run inside 0 blue-a "ping -c 2 -s $((NET_MTU - 28)) 10.1.0.2"
inside 0 blue-a 'ping6 -c 2 -I eth0 ff02::1' >multicast.log
says multicast.log 'fe80::216:3eff:fe00:2'
step "a pattern, 1 MiB both ways, the longest frames, multicast"

# Of both switches: what passed on the way from blue-a to blue-b, and what came to red-b.
figures_now() {
    look 0
    look 1
    sent=$(figure_of 0 'port("blue-a")["from_guest"]["frames"]')
    to_peer=$(figure_of 0 'peer["to_peer"]["frames"]')
    from_peer=$(figure_of 1 'peer["from_peer"]["frames"]')
    got=$(figure_of 1 'port("blue-b")["to_guest"]["frames"]')
    red=$(figure_of 1 'port("red-b")["to_guest"]["frames"]')
}
figures_now
was="$sent $to_peer $from_peer $got $red"
run inside 0 blue-a 'ping -c 50 -i 0.1 10.1.0.2'
figures_now
echo "$was $sent $to_peer $from_peer $got $red" | awk '{
    printf "    50 pings: %d frames from the guest, %d to the peer, %d from the peer, %d to the guest\n", $6 - $1, $7 - $2, $8 - $3, $9 - $4
    few = 12
    exit !($6 - $1 >= 50 && $7 - $2 >= 50 && $7 - $2 <= 50 + few && $8 - $3 >= 50 && $9 - $4 >= 50 && $9 - $4 <= 50 + few && $10 - $5 <= few)
}' || fail "a ping did not pass once through each switch"
was="$to_peer $got $red"
inside 0 blue-a 'ping -c 50 -i 0.1 10.1.0.255' >/dev/null
figures_now
echo "$was $to_peer $got $red" | awk '{
    printf "    50 broadcasts: %d to the peer, %d to the guest there, %d to its double\n", $4 - $1, $5 - $2, $6 - $3
    few = 12
    exit !($4 - $1 >= 50 && $4 - $1 <= 50 + few && $5 - $2 >= 50 && $5 - $2 <= 50 + few && $6 - $3 <= few)
}' || fail "a broadcast did not reach the other host's guest once"
step "one datagram a frame, two switches"

kill $capture && wait $capture
tcpdump -n -r wire.pcap >wire.txt 2>/dev/null
sealed=$(grep -c '10\.0\.0\.1[12]\.4790 > 10\.0\.0\.1[12]\.4790: UDP' wire.txt)
[ "$sealed" -gt 500 ] || fail "only $sealed sealed datagrams on the wire: $(head -n 3 wire.txt)"
# Dom0's own: ARP and the lab's commands to host 1; and IPv6 of bridges that come up.
grep -v -e '10\.0\.0\.1[12]\.4790 > 10\.0\.0\.1[12]\.4790: UDP' -e ' ARP, .* 10\.0\.0\.' \
    -e 'IP 10\.0\.0\.[12]\.[0-9]* > 10\.0\.0\.[12]\.' -e 'IP6 .*ICMP6' -e 'IP6 .*mdns' wire.txt | head -n 3 >other.txt
[ ! -s other.txt ] || fail "something else is on the wire: $(cat other.txt)"
python3 - "$PATTERN" <<'END' || fail "what guests say can be read on the wire"
import sys
wire = open("wire.pcap", "rb").read()
for what in (sys.argv[1].encode(), b"I am ", bytes.fromhex("00163e000001"), bytes.fromhex("00163e000002")):
    if what in wire:
        sys.exit(f"on the wire: {what}")
END
step "$sealed datagrams, all sealed"
