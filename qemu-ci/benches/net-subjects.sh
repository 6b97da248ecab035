# The subjects of bench `net`: each `begin_SUBJECT HOST_OF_B` gives the guests `a` (host 0) and `b` an
# interface named SUBJECT, by which they reach each other in that way only, and fails when this
# host can't. Sourced by net.sh, in Dom0.

# start_guests HOST_OF_B: without any interface, as `xl network-attach` brings them.
start_guests() {
    on_host 0 "mkguest --net a '' 224 1 chain=no >/tmp/a.cfg && xl -f create -q /tmp/a.cfg" &&
        on_host "$1" "mkguest --net b '' 224 1 chain=no >/tmp/b.cfg && xl -f create -q /tmp/b.cfg" &&
        on_guest 0 a true && on_guest "$1" b true
}

end_guests() {
    xl destroy a
    on_host "$1" xl destroy b
}

# net_of SUBJECT: the third octet of its addresses.
net_of() { case $1 in bridge) echo 1 ;; ovs) echo 2 ;; vxlan) echo 3 ;; luthier) echo 4 ;; esac; }

# plug SUBJECT HOST GUEST N VIF_WORDS MTU
plug() {
    net=$(net_of "$1")
    mac=00:16:3e:00:0$net:0$4
    on_host "$2" "timeout 60 xl network-attach $3 mac=$mac $5 mtu=$6" || return 1
    on_guest "$2" "$3" "for try in \$(seq 50); do
            device=\$(grep -l $mac /sys/class/net/*/address | cut -d / -f 5)
            [ -n \"\$device\" ] && break; sleep 0.2
        done
        ip link set \$device name $1 && ip link set $1 mtu $6 && ip addr add 10.1.$net.$4/24 dev $1 && ip link set $1 up"
}

# plug_both SUBJECT HOST_OF_B VIF_WORDS MTU: until they reach each other.
plug_both() {
    plug "$1" 0 a 1 "$3" "$4" && plug "$1" "$2" b 2 "$3" "$4" &&
        on_guest 0 a "for try in 1 2 3 4 5 6 7 8; do ping -c 1 -W 3 10.1.$(net_of "$1").2 && exit 0; done; exit 1"
}

begin_bridge() {
    ip link add br1 type bridge && ip link set br1 up && plug_both bridge 0 bridge=br1 1500
}

begin_ovs() {
    mkdir -p /run/openvswitch /etc/openvswitch /var/log/openvswitch
    # Which busybox does not load by itself.
    modprobe crc32c_generic
    modprobe openvswitch &&
        ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema &&
        ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock \
            --pidfile --detach --log-file=/var/log/openvswitch/db.log &&
        ovs-vsctl --no-wait init &&
        ovs-vswitchd --pidfile --detach --log-file=/var/log/openvswitch/switch.log &&
        ovs-vsctl --timeout=20 add-br ovs0 &&
        plug_both ovs 0 'script=vif-ovs bridge=ovs0' 1500
}

# A VXLAN of 1,450 bytes on each Dom0's bridge, unsealed.
begin_vxlan() {
    for host in 0 1; do
        on_host $host "modprobe vxlan && ip link add br2 type bridge && ip2 link add vx0 mtu 1450 type vxlan id 7 \
            local 10.0.0.$((host + 1)) remote 10.0.0.$((2 - host)) dstport 4789 dev xenbr0 &&
            ip link set vx0 master br2 && ip link set vx0 up && ip link set br2 mtu 1450 && ip link set br2 up" || return 1
    done
    plug_both vxlan "$1" bridge=br2 1450
}

# A network of the stubs; between two hosts sealed, each stub with an uplink on xenbr0.
begin_luthier() {
    command -v luthier >/dev/null || { echo "it is not installed"; return 1; }
    [ "$1" = 0 ] && uplink= || uplink=--uplink
    for host in $(seq 0 "$1"); do
        on_host $host "start-luthier $uplink && luthier net create bench --id 7" || return 1
    done
    if [ "$1" != 0 ]; then
        introduce 0 "$1" && introduce "$1" 0 && await_peers 0 && await_peers "$1" || return 1
    fi
    plug_both luthier "$1" "backend=luthier-stub bridge=bench" "$(net_mtu)"
}

net_mtu() { json_number "$(luthier --json net list)" mtu; }

# introduce HOST OTHER: HOST joins through OTHER, whose key it gets.
introduce() {
    key=$(on_host "$2" luthier --json net key | sed -n 's/.*"key": *"\([0-9a-f]*\)".*/\1/p')
    on_host "$1" "luthier net join 10.0.0.$((11 + $2)) --key $key"
}

# Until HOST's switch has a session with another.
await_peers() {
    for _ in $(seq 30); do
        on_host "$1" "luthier net peers | grep -q ' up, heard'" && return 0
        sleep 1
    done
    echo "host $1 has no peer"
    return 1
}
