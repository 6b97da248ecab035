# Two networks of one stub, whose guests have the same MAC and IP addresses: each talks to its own,
# nothing crosses, and when one goes its double does not answer for it.
# time limit: 400 s
. /add/scenarios/net.sh

start_switch 0
run luthier net create blue --id 7
run luthier net create red --id 8
for net in blue red; do
    start_on $net-a 0 $net 1
    start_on $net-b 0 $net 2
done
for net in blue red; do
    ready 0 $net-a $net-b
    run inside 0 $net-b "while :; do echo I am $net-b | nc -l -p 4000; done >/dev/null 2>&1 &"
done
step "four guests, two of each address"

for net in blue red; do
    run reaches 0 $net-a 10.1.0.2
    equal "$(inside 0 $net-a 'nc -w 5 10.1.0.2 4000 </dev/null')" "I am $net-b" "who answers $net-a"
done
run reaches 0 red-a fd00::2
carries 0 blue-a 0 blue-b 10.1.0.2
carries 0 red-a 0 red-b 10.1.0.2
step "each network's guests reach their own"

look 0
red='sum(port("red-%s" % g)["to_guest"]["frames"] for g in "ab")'
before=$(figure_of 0 "$red")
inside 0 blue-a 'ping -c 100 -i 0.05 10.1.0.255; ping6 -c 20 -i 0.05 -I eth0 ff02::1' >/dev/null
look 0
after=$(figure_of 0 "$red")
# The red guests' own ARP, neighbour and router discovery may fall into this time.
[ $((after - before)) -le 20 ] || fail "120 broadcasts in blue brought $((after - before)) frames to red"
step "broadcasts stay in their network"

run xl destroy blue-b
await 20 "end of blue-b" gone blue-b
inside 0 blue-a 'ip neigh flush dev eth0; ping -c 5 -W 1 10.1.0.2' >gone.log && fail "a guest of red answered blue-a"
run reaches 0 red-a 10.1.0.2
equal "$(inside 0 red-a 'nc -w 5 10.1.0.2 4000 </dev/null')" "I am red-b" "who answers red-a"

refused luthier net delete red
says refused.log red
step "a network in use can't be deleted"
