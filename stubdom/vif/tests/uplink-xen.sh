#!/bin/sh
# Runs the uplink's self-test image as a PVH guest on Dom0's bridge: pings, datagrams both ways,
# the link lost and back, a back end that goes away and comes back. In the lab:
#
#   cargo build --profile kernel --features kernel -p stubdom --bin uplink-selftest
#   RUSTFLAGS='-C target-feature=+crt-static' cargo build --release -p vif --example uplink-client \
#       --target x86_64-unknown-linux-gnu
#   qemu-ci/lab run --bare --add target/kernel/uplink-selftest \
#       --add target/x86_64-unknown-linux-gnu/release/examples/uplink-client \
#       stubdom/vif/tests/uplink-xen.sh
client=/add/uplink-client
to=10.0.0.11:4789
log=/var/log/xen/console/guest-uplink.log
failed=0

fail() { echo "FAIL $*"; failed=1; }

# Waits until the console has said it (a number of times).
said() { # words, count
    for _ in $(seq 20); do
        [ "$(grep -c "$1" $log 2>/dev/null)" -ge "${2:-1}" ] 2>/dev/null && return 0
        sleep 1
    done
    fail "the console does not say \"$1\" ${2:-1} times"
    return 1
}

pings() { # count, interval
    ping -c "$1" -i "${2:-0.01}" -W 2 10.0.0.11 | tail -n 2 >/tmp/pings
    cat /tmp/pings
    grep -q " 0% packet loss" /tmp/pings || fail "pings were lost"
}

cat >/tmp/uplink.cfg <<CFG
name = "uplink"
type = "pvh"
kernel = "/add/uplink-selftest"
memory = 128
vcpus = 1
tsc_mode = "native"
max_grant_version = 1
vif = ['bridge=xenbr0,script=/etc/xen/scripts/vif-bridge,mac=00:16:3e:00:00:11']
on_crash = "preserve"
on_poweroff = "preserve"
CFG
xl create -q /tmp/uplink.cfg || exit 1
id=$(xl domid uplink)
vif=vif$id.0

said "link up"
xenstore-ls "/local/domain/$id/device/vif/0"
echo "== pings"
pings 1000
ping -c 5 -s 1472 10.0.0.11 | tail -n 2
echo "== datagrams"
for size in 5 64 512 1472; do $client $to echo 500 $size || fail "echo of $size"; done
$client $to flood 3 1400
$client $to report
$client $to blast 50000 1400 || fail "blast of 1400"
$client $to blast 50000 64 || fail "blast of 64"
$client $to report
said "report:" 2

echo "== the link down and up in Dom0"
ip link set "$vif" down
ping -c 2 -W 1 10.0.0.11 | tail -n 2
sleep 1
ip link set "$vif" up
pings 100
$client $to echo 100 1000 || fail "echo after down and up"

echo "== off the bridge and back"
ip link set "$vif" nomaster
ping -c 2 -W 1 10.0.0.11 | tail -n 2
ip link set "$vif" master xenbr0
pings 100

echo "== full: it sends while nobody takes"
ip link set "$vif" down
ip link set "$vif" up
(sleep 0.3; ip link set "$vif" down; sleep 2; ip link set "$vif" up) &
$client $to blast 100000 64
wait $!
said "blast of 100000"
pings 100
$client $to echo 100 1000 || fail "echo after the ring was full"

echo "== the back end goes and comes"
bound=/sys/bus/xen-backend/drivers/vif
back=/local/domain/0/backend/vif/$id/0
states() { echo "states: $(xenstore-read "$back/state") $(xenstore-read "/local/domain/$id/device/vif/0/state")"; }
for round in 1 2 3; do
    echo "vif-$id-0" >$bound/unbind
    sleep 1
    states
    echo "vif-$id-0" >$bound/bind
    # Nobody runs the hotplug script for what was bound by hand.
    xenstore-write "$back/hotplug-status" connected
    ip link set "$vif" master xenbr0
    ip link set "$vif" up
    said "link up" $((round + 1))
    states
    pings 100
done

echo "== Dom0 says Closing"
xenstore-write "$back/state" 5
said "link down" 4
said "link up" 5
states
ip link set "$vif" up
pings 100

echo "== detached and attached again"
xl network-detach uplink 0
sleep 2
xenstore-ls "/local/domain/$id/device"
ups=$(grep -c "link up" $log)
xl network-attach uplink bridge=xenbr0 script=/etc/xen/scripts/vif-bridge mac=00:16:3e:00:00:12
said "link up" $((ups + 1))
pings 200
$client $to echo 100 1400 || fail "echo after it was attached again"
$client $to report
said "report:" 3
$client $to echo 1 5
cat $log
[ $failed = 0 ] && echo "uplink: all passed on Xen"
xl destroy uplink
exit $failed
