# Four guests on two hosts, in two networks with the same addresses: each pair has its Ethernet,
# nothing crosses, and the network between the hosts sees sealed UDP and nothing else. Counters say
# that a frame passes two switches, and that a broadcast costs one datagram for the other host.
# Then a peer with a wrong key, and an uplink that is lost and comes back.
# hosts: 2
# time limit: 800 s
. /add/scenarios/net.sh

PATTERN=LUTHIER-IN-THE-CLEAR

connect_hosts blue=7 red=8
for net in blue red; do
    start_on $net-a 0 $net 1
    start_on $net-b 1 $net 2
done

# Host 1 knows host 0; host 0 takes another key for that of host 1.
run onhost 1 "luthier net join 10.0.0.11 --key $(key_of 0)"
run luthier net join 10.0.0.12 --key 09aa1d5e3c1f1d1bd5a4d4ad1e24fd3bb7ba60d9e7f0e1ba1ea8e03c5dd10c42
sleep 6
look 0
look 1
no_peer 0 || fail "a peer with a wrong key is up: $(luthier net peers)"
no_peer 1 || fail "a peer that has another key for this one is up: $(onhost 1 luthier net peers)"
wrong=$(grep -h -o '"\(wrong-key\|unknown-peer\|forged\)":[1-9][0-9]*' stats-0.json stats-1.json | tr '\n' ' ')
[ -n "$wrong" ] || fail "nobody counted a wrong key: $(cat stats-0.json stats-1.json)"
step "a wrong key: no session, counted as $wrong"
run luthier net leave
joined_hosts
step "the right one: the switches have joined"

tcpdump -Z root -i xenbr0 -w wire.pcap -U -s 0 2>tcpdump.log &
capture=$!
ready 0 blue-a red-a
ready 1 blue-b red-b
for net in blue red; do
    answers 1 $net-b "I am $net-b"
    run reaches 0 $net-a 10.1.0.2
    run inside 0 $net-a "ip neigh | grep -q '10.1.0.2 .*00:16:3e:00:00:02'"
    run reaches 0 $net-a fd00::2
    equal "$(asks 0 $net-a 10.1.0.2)" "I am $net-b" "who answers $net-a"
done
step "ARP, ping, IPv6 and TCP, each to its own"

run inside 1 blue-b 'sleep 1000 | nc -l -p 4001 >/tmp/pattern 2>/dev/null &'
run inside 0 blue-a "sleep 1; yes $PATTERN | head -n 2000 | nc 10.1.0.2 4001 >/dev/null 2>&1 &"
patterns() { [ "$(inside 1 blue-b "grep -c ^$PATTERN\$ /tmp/pattern")" = 2000 ]; }
await 60 "2000 lines at blue-b" patterns
carries 0 red-a 1 red-b 10.1.0.2 256
run inside 0 blue-a "ping -c 2 -W 5 -s $((NET_MTU - 28)) 10.1.0.2"
inside 0 blue-a 'ping6 -c 3 -W 5 -I eth0 ff02::1; ip -6 neigh' >multicast.log
says multicast.log 'fe80::216:3eff:fe00:2'
step "a pattern, 256 KiB both ways, the longest frames, multicast"

# Of both switches: what passed on the way from blue-a to blue-b, and what came to red-b.
figures_now() {
    look 0
    look 1
    echo "$(figure_of 0 '"%d %d" % (sent("blue-a"), peer["to_peer"]["frames"])')" \
        "$(figure_of 1 '"%d %d %d" % (peer["from_peer"]["frames"], got("blue-b"), got("red-b"))')"
}
# once_each COUNT WHAT: since $was, COUNT frames and few more (ARP, neighbour discovery of all four
# guests) passed each place once, and few came to red-b.
once_each() {
    echo "$was $(figures_now)" | awk -v n="$1" -v what="$2" '
        function near(d) { return d >= n && d <= n + 10 }
        { printf "    %d %s: %d from the guest, %d to the peer, %d from the peer, %d to the guest, %d to its double\n",
              n, what, $6 - $1, $7 - $2, $8 - $3, $9 - $4, $10 - $5
          exit !(near($6 - $1) && near($7 - $2) && near($8 - $3) && near($9 - $4) && $10 - $5 <= 10) }'
}
was=$(figures_now)
run inside 0 blue-a 'ping -c 40 -i 0.1 10.1.0.2'
once_each 40 pings || fail "a ping did not pass once through each switch"
# Nobody answers them: what blue-b sends would have to pass, too.
was=$(figures_now)
inside 0 blue-a 'ping -c 40 -i 0.1 10.1.0.255' >/dev/null
once_each 40 broadcasts || fail "a broadcast did not reach the other host's guest once, by one datagram"
step "two switches for a unicast, one datagram a peer for a broadcast"

kill $capture && wait $capture
[ -s wire.pcap ] || fail "nothing was captured: $(cat tcpdump.log)"
tcpdump -Z root -n -q -r wire.pcap >wire.txt 2>/dev/null
SEALED='10\.0\.0\.1[12]\.4790 > 10\.0\.0\.1[12]\.4790: UDP'
sealed=$(grep -c "$SEALED" wire.txt)
[ "$sealed" -gt 500 ] || fail "only $sealed sealed datagrams on the wire: $(head -n 3 wire.txt)"
# Dom0's own: ARP and the lab's commands for host 1, and IPv6 of bridges that come up.
grep -v -e "$SEALED" -e ' ARP, .* 10\.0\.0\.' -e 'IP 10\.0\.0\.[12]\.[0-9]* > 10\.0\.0\.[12]\.' \
    -e 'IP6 .*ICMP6' wire.txt | head -n 3 >other.txt
[ ! -s other.txt ] || fail "something else is on the wire: $(cat other.txt)"
# (The lab's commands are in base64.)
python3 - "$PATTERN" <<'END' || fail "what guests say can be read on the wire"
import sys
wire = open("wire.pcap", "rb").read()
assert len(wire) > 500_000, len(wire)
assert bytes.fromhex("0a00000b0a00000c") in wire  # the switches' addresses are
for what in (sys.argv[1].encode(), b"I am ", bytes.fromhex("00163e000001"), bytes.fromhex("00163e000002"),
             bytes.fromhex("0a010001"), bytes.fromhex("0a010002")):
    assert what not in wire, f"on the wire: {what}"
END
step "$sealed datagrams, all sealed"

vif=vif$STUB.0
run ip link set "$vif" down
await 60 "silence of host 1" no_peer 0
inside 0 blue-a 'ping -c 2 -W 1 10.1.0.2' >lost.log && fail "a ping passed without an uplink"
run ip link set "$vif" up
await 120 "session with host 1" has_peer 0
await 120 "session with host 0" has_peer 1
run reaches 0 blue-a 10.1.0.2
equal "$(asks 0 red-a 10.1.0.2)" "I am red-b" "who answers red-a"
step "the uplink was lost and is back, so is traffic"
