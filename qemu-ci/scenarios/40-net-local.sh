# Guests of one host on one network: ARP, ping, TCP both ways, IPv6, multicast. Counters say that a
# frame for one guest passes one switch, to that guest alone. Then what goes wrong: an MTU too large,
# a MAC address twice, a guest gone under load, the daemon gone, a guest restored.
# by name also on: 4.17
# time limit: 800 s
. /add/scenarios/net.sh

start_switch 0
run luthier net create blue --id 7
for n in 1 2 3; do start_on "g$n" 0 blue $n; done
ready 0 g1 g2 g3
step "three guests are up"

run reaches 0 g1 10.1.0.2
run inside 0 g1 "ip neigh | grep -q '10.1.0.2 .*00:16:3e:00:00:02'"
run reaches 0 g1 fd00::3
equal "$(inside 0 g1 cat /sys/class/net/eth0/mtu)" $NET_MTU "the guest's MTU"
run inside 0 g1 "ping -c 2 -s $((NET_MTU - 28)) 10.1.0.2"
inside 0 g1 'ping6 -c 2 -I eth0 ff02::1; ip -6 neigh' >multicast.log
says multicast.log 'fe80::216:3eff:fe00:2'
says multicast.log 'fe80::216:3eff:fe00:3'
step "ARP, ping, IPv6, multicast to both others"
carries 0 g1 0 g2 10.1.0.2 2048
step "TCP both ways at once, 2 MiB each"

# g3 sees nothing of it but ARP and neighbour discovery.
look 0
was="$(figure_of 0 '"%d %d %d" % (sent("g1"), got("g2"), got("g3"))')"
run inside 0 g1 'ping -c 20 -i 0.2 10.1.0.2'
look 0
figure_of 0 '"'"$was"' %d %d %d" % (sent("g1"), got("g2"), got("g3"))' | awk '{
    printf "    20 pings: %d frames from g1, %d to g2, %d to g3\n", $4 - $1, $5 - $2, $6 - $3
    exit !($4 - $1 >= 20 && $4 - $1 <= 26 && $5 - $2 >= 20 && $5 - $2 <= 26 && $6 - $3 <= 4)
}' || fail "a ping is not one frame from g1 and one to g2"
equal "$(figure_of 0 'counters.get("uplink-frames-out", 0)')" 0 "frames that left the host"
step "a frame for one guest passes one switch, once"

luthier net capture blue -o blue.pcap --count 10 >capture.log 2>&1 &
capture=$!
sleep 1
run inside 0 g1 'ping -c 12 -i 0.2 -s 200 -p a7 10.1.0.2'
await 20 "end of the capture" eval '! kill -0 $capture'
python3 - <<'END' || fail "the capture is not what was sent"
import struct
data = open("blue.pcap", "rb").read()
magic, *_, kind = struct.unpack("<IHHiIII", data[:24])
assert magic in (0xa1b2c3d4, 0xa1b23c4d) and kind == 1, data[:24]
at, frames = 24, []
while at < len(data):
    size, = struct.unpack("<I", data[at + 8:at + 12])
    frames.append(data[at + 16:at + 16 + size])
    at += 16 + size
ours = [f for f in frames if b"\xa7" * 150 in f]
assert len(frames) == 10 and len(ours) >= 6, (len(frames), len(ours))
assert all(f[0:12] in (bytes.fromhex("00163e00000200163e000001"), bytes.fromhex("00163e00000100163e000002")) for f in ours)
END
run tcpdump -Z root -n -r blue.pcap
step "captured: frames as they were sent"

begin_lines 0 g2 0 g1 10.1.0.1
kill -9 "$LUTHIERD"
wait "$LUTHIERD"
lines_go_on 0 g1
start_luthier
lines_go_on 0 g1
run luthier net show blue
step "traffic goes on without luthierd, and when it is back"

# A guest destroyed while it is sent to, and acknowledges. (A back end that does not let go is waited
# for 10 s by xl.)
run inside 0 g3 'sleep 1000 | nc -l -p 6000 >/dev/null 2>&1 &'
run inside 0 g2 'nc 10.1.0.3 6000 </dev/zero >/dev/null 2>&1 &'
sleep 3
look 0
was=$(figure_of 0 'got("g3")')
sleep 1
look 0
[ $(($(figure_of 0 'got("g3")') - was)) -gt 20 ] || fail "no load on g3"
before=$(date +%s)
run xl destroy g3
seconds=$(($(date +%s) - before))
[ $seconds -lt 10 ] || fail "xl destroy of a guest under load took $seconds s"
two_ports() { look 0 && [ "$(figure_of 0 'len(ports)')" = 2 ]; }
await 20 "end of g3's port" two_ports
run inside 0 g2 'killall nc; sleep 1' # also that of the lines
run reaches 0 g1 10.1.0.2
lines_right 0 g1
step "a guest gone under load in $seconds s; $(cat lines.log) between the others are right"

# A MAC address twice in a network.
start_on twice 0 blue 2
refused_twice() { look 0 && figure_of 0 '[p["reason"] for p in s["strays"]]' | grep -q 00:16:3e:00:00:02; }
await 30 "a reason why the second of two equal MAC addresses has no port" refused_twice
run reaches 0 g1 10.1.0.2
run inside 0 g1 "ip neigh | grep -q '10.1.0.2 .*00:16:3e:00:00:02'"
run xl destroy twice
step "a MAC address twice: $(figure_of 0 '[p["reason"] for p in s["strays"]][0]')"

# Guests that think that 1500 fits are told that it does not. (g2 first knows: its answers to pings
# may be fragmented, and who may be fragmented is told nothing.)
too_big() { look 0 && figure_of 0 'sum(port(g)["drops"].get("too-big", 0) for g in ("g1", "g2"))'; }
run inside 0 g1 'ip link set eth0 mtu 1500'
was=$(too_big)
inside 0 g1 'ping -c 4 -s 1450 10.1.0.2' >big.log
says big.log '1458 bytes from 10.1.0.2'
pings=$(($(too_big) - was))
[ $pings -gt 0 ] || fail "no ping of 1450 octets was too big"
run inside 0 g1 'echo 1 >/proc/sys/net/ipv4/route/flush' # what it was told
run inside 0 g2 'ip link set eth0 mtu 1500'
carries 0 g1 0 g2 10.1.0.2 512
segments=$(($(too_big) - was - pings))
[ $segments -gt 0 ] || fail "no segment of TCP was too big"
step "MTU 1500 in the guests: $pings pings, $segments segments too big, told so, TCP goes on"
for n in 1 2; do run inside 0 g$n "ip link set eth0 mtu $NET_MTU; ip route flush cache"; done

# A snapshot, destroyed, restored: its vif is connected once more.
attach g1
taken g1
run reaches 0 g1 10.1.0.2
run xl destroy g1
await 20 "end of g1" gone g1
run luthier restore "$IMAGE"
run reaches 0 g1 10.1.0.2
run reaches 0 g2 10.1.0.1
step "snapshotted, destroyed, restored: reached again"
