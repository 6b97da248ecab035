# The subjects of bench `net`: each `begin_SUBJECT HOST_OF_B` starts two guests SUBJECT-a (host 0)
# and SUBJECT-b that reach each other in that way only, and fails when this host can't. Sourced by
# net.sh, in Dom0.

# start_guest_of HOST NAME VIF WORDS...
start_guest_of() {
    host=$1 name=$2 vif=$3
    shift 3
    on_host "$host" "mkguest --net $name '$vif' 224 1 $* chain=no >/tmp/$name.cfg && xl -f create -q /tmp/$name.cfg"
}

# start_pair SUBJECT HOST_OF_B VIF_WORDS: both guests, until they answer.
start_pair() {
    start_guest_of 0 "$1-a" "mac=00:16:3e:00:00:0a,$3" net_address=10.1.0.1/24 &&
        start_guest_of "$2" "$1-b" "mac=00:16:3e:00:00:0b,$3" net_address=10.1.0.2/24 &&
        on_guest 0 "$1-a" true && on_guest "$2" "$1-b" true &&
        on_guest 0 "$1-a" "for i in 1 2 3 4 5; do ping -c 1 -W 3 10.1.0.2 && exit 0; done; exit 1"
}

end_pair() {
    xl destroy "$1-a"
    on_host "$2" "xl destroy $1-b"
} >/dev/null 2>&1

begin_bridge() {
    ip link add br1 type bridge && ip link set br1 up && start_pair bridge 0 bridge=br1
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
        start_pair ovs 0 script=vif-ovs,bridge=ovs0
}

# A VXLAN of 1,450 bytes on each Dom0's bridge, unsealed.
begin_vxlan() {
    for host in 0 1; do
        on_host $host "modprobe vxlan && ip link add br2 type bridge && ip2 link add vx0 mtu 1450 type vxlan id 7 \
            local 10.0.0.$((host + 1)) remote 10.0.0.$((2 - host)) dstport 4789 dev xenbr0 &&
            ip link set vx0 master br2 && ip link set vx0 up && ip link set br2 mtu 1450 && ip link set br2 up" || return 1
    done
    start_pair vxlan "$1" bridge=br2,mtu=1450
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
    start_pair luthier "$1" "backend=luthier-stub,bridge=bench,mtu=$(net_mtu)"
}

net_mtu() { json_number "$(luthier --json net list)" mtu; }

# introduce HOST OTHER: HOST joins through OTHER, whose key it gets.
introduce() {
    line=$(on_host "$2" luthier net key | grep -o 'luthier net join .*') || return 1
    on_host "$1" "$line"
}

# Until HOST's switch has a session with another.
await_peers() {
    for _ in $(seq 30); do
        on_host "$1" "luthier net peers | grep -qw alive" && return 0
        sleep 1
    done
    echo "host $1 has no peer"
    return 1
}
