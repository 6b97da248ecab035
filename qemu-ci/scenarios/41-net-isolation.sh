# Two networks of one stub, whose guests have the same MAC and IP addresses: each talks to its own,
# nothing crosses, and when one goes its double does not answer for it.
# only on: 4.20
# time limit: 800 s
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
    answers 0 $net-b "I am $net-b"
done
step "four guests, two of each address"

for net in blue red; do
    run reaches 0 $net-a 10.1.0.2
    equal "$(asks 0 $net-a 10.1.0.2)" "I am $net-b" "who answers $net-a"
done
run reaches 0 red-a fd00::2
carries 0 blue-a 0 blue-b 10.1.0.2 1024
carries 0 red-a 0 red-b 10.1.0.2 1024
step "each network's guests reach their own"

# What blue says, to all and to one, is in a capture of blue and not in one of red.
for net in blue red; do
    luthier net capture $net -o $net.pcap >capture-$net.log 2>&1 &
    captures="${captures:-} $!"
done
sleep 1
inside 0 blue-a 'ping -c 10 -i 0.2 -s 100 -p b1 10.1.0.255; ping -c 10 -i 0.2 -s 100 -p b1 10.1.0.2;
    ping6 -c 5 -i 0.2 -s 100 -p b1 -I eth0 ff02::1' >/dev/null
inside 0 red-a 'ping -c 10 -i 0.2 -s 100 -p 4e 10.1.0.2' >/dev/null
sleep 1
# shellcheck disable=SC2086 # pids
kill $captures
wait $captures
python3 - <<'END' || fail "a frame crossed, or was not captured"
read = lambda net: open(net + ".pcap", "rb").read()
count = lambda net, octet: read(net).count(bytes([octet]) * 64)
print(f"    blue's frames in blue {count('blue', 0xb1)}, in red {count('red', 0xb1)};",
      f"red's in red {count('red', 0x4e)}, in blue {count('blue', 0x4e)}")
assert count("blue", 0xb1) >= 30 and count("red", 0x4e) >= 20
assert count("red", 0xb1) == 0 and count("blue", 0x4e) == 0
END
step "nothing crosses"

run xl destroy blue-b
await 20 "end of blue-b" gone blue-b
inside 0 blue-a 'ip neigh flush dev eth0; ping -c 5 -W 1 10.1.0.2' >gone.log && fail "a guest of red answered blue-a"
run reaches 0 red-a 10.1.0.2
equal "$(asks 0 red-a 10.1.0.2)" "I am red-b" "who answers red-a"
refused luthier net delete red
says refused.log red
step "a double does not answer; a network in use can't be deleted"
