# Three guests of one host on one network: ARP, ping, TCP both ways, IPv6, broadcast and multicast.
# The counters say that a frame for one guest goes to that one's port alone, and nothing leaves.
# time limit: 400 s
. /add/scenarios/net.sh

start_switch 0
run luthier net create blue --id 7
for n in 1 2 3; do start_on "g$n" 0 blue $n; done
ready 0 g1 g2 g3
step "three guests are up"

run reaches 0 g1 10.1.0.2
run inside 0 g1 "ip neigh | grep -q '10.1.0.2 .*00:16:3e:00:00:02'"
run reaches 0 g1 fd00::3
run reaches 0 g3 10.1.0.2
equal "$(inside 0 g1 cat /sys/class/net/eth0/mtu)" $NET_MTU "the guest's MTU"
step "ARP, ping, IPv6"

# Frames of the greatest size go through unharmed, longer ones are not made by the guest.
run inside 0 g1 "ping -c 2 -s $((NET_MTU - 28)) 10.1.0.2"
carries 0 g1 0 g2 10.1.0.2
step "TCP both ways, 1 MiB each"

for n in 2 3; do run inside 0 g$n 'echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts'; done
inside 0 g1 'ping -c 3 -I eth0 10.1.0.255' >broadcast.log
says broadcast.log '10.1.0.2.*seq'
says broadcast.log '10.1.0.3.*seq'
inside 0 g1 'ip route add 224.0.0.0/4 dev eth0; ping -c 3 224.0.0.1' >multicast.log
says multicast.log '10.1.0.2.*seq'
says multicast.log '10.1.0.3.*seq'
inside 0 g1 'ping6 -c 2 -I eth0 ff02::1' >multicast6.log
says multicast6.log 'fe80::216:3eff:fe00:2'
says multicast6.log 'fe80::216:3eff:fe00:3'
step "broadcast and multicast reach both others"

look 0
third=$(figure_of 0 'port("g3")["to_guest"]["frames"]')
second=$(figure_of 0 'port("g2")["to_guest"]["frames"]')
run inside 0 g1 'ping -c 50 -i 0.1 10.1.0.2'
look 0
got=$(($(figure_of 0 'port("g2")["to_guest"]["frames"]') - second))
[ $got -ge 50 ] && [ $got -le 60 ] || fail "50 pings brought $got frames to g2"
# ARP of g2 or g3 may be among them, never the pings.
got=$(($(figure_of 0 'port("g3")["to_guest"]["frames"]') - third))
[ $got -le 10 ] || fail "50 pings from g1 to g2 brought $got frames to g3"
equal "$(figure_of 0 'len(s["peers"])')" 0 "switches of other hosts"
equal "$(figure_of 0 'sum(drops(port("g%d" % n)) for n in (2, 3)) < 20')" True "few drops (frames before a guest was up)"
step "a frame for one guest goes to one guest"

run xl destroy g3
await 20 "end of g3" gone g3
look_gone() { look 0 && [ "$(figure_of 0 'len(ports)')" = 2 ]; }
await 30 "end of g3's port" look_gone
run reaches 0 g1 10.1.0.2
