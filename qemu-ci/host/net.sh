# What `lab run --net` adds: the guest with a network (busybox, iperf3, its module of xen-netfront)
# and, in Dom0, what its peers are measured with (Open vSwitch, iproute2, tcpdump). Apart from the
# base image, which every run boots.
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR, and image.sh's functions.

NET_PACKAGES='iperf3 openvswitch-switch iproute2 tcpdump'
NET_TOOLS_DOM0='usr/bin/iperf3 usr/bin/tcpdump usr/bin/ovs-vsctl usr/bin/ovs-ofctl usr/bin/ovs-appctl
    usr/bin/ovsdb-tool usr/sbin/ovsdb-server'

fetch_net() {
    local suite
    suite=$(release_suite "$1") || exit 125
    # shellcheck disable=SC2086 # a list of words
    fetch_packages "$LAB_CACHE/$1-net" "$suite" $NET_PACKAGES
}

# The guest's file tree, but for the guest's own program, into $3. Release $2's kernel is at $1.
stage_net_guest() {
    local root=$1 net=$LAB_CACHE/$2-net/root stage=$3 kver module tool
    mkdir -p "$stage"/{proc,sys,dev,tmp,run,etc} "$stage"/usr/{bin,sbin,lib/x86_64-linux-gnu,lib64} \
        "$stage/modules.d"
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$stage/$link"; done
    install -m 755 "$root/usr/bin/busybox" "$stage/usr/bin/busybox"
    for tool in $("$root/usr/bin/busybox" --list | grep -vx busybox); do
        ln -sf busybox "$stage/usr/bin/$tool"
    done
    install -D -m 755 "$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
        "$stage/usr/lib64/ld-linux-x86-64.so.2"
    copy_elf "$net" "$stage" usr/bin/iperf3 usr/bin/iperf3
    kver=$(ls "$root/usr/lib/modules")
    /sbin/modprobe -d "$root" -S "$kver" --show-depends xen-netfront | sed -n 's/^insmod \([^ ]*\).*/\1/p' |
        while read -r module; do
            unpack_module "$module" "$stage/modules.d/$(basename "$module" | sed 's/\.[xz].*//')"
            echo "/modules.d/$(basename "$module" | sed 's/\.[xz].*//')"
        done >"$stage/modules"
    install -m 755 "$LAB_DIR/guest/net-init" "$stage/init"
    echo 'root:x:0:0:root:/:/bin/sh' >"$stage/etc/passwd"
    echo '127.0.0.1 localhost' >"$stage/etc/hosts"
}

# Dom0's part into $2, from release $1.
stage_net_dom0() {
    local net=$LAB_CACHE/$1-net/root stage=$2 tool
    mkdir -p "$stage"/usr/{bin,sbin,lib/x86_64-linux-gnu,share/openvswitch}
    for tool in $NET_TOOLS_DOM0; do
        copy_elf "$net" "$stage" "$tool" "$tool"
    done
    # Busybox's `ip` knows no vxlan; the lab's own scripts go on with that one.
    copy_elf "$net" "$stage" "$(cd "$net" && ls usr/bin/ip usr/sbin/ip 2>/dev/null | head -n 1)" usr/bin/ip2
    copy_elf "$net" "$stage" "$(cd "$net" && ls usr/lib/openvswitch-switch/ovs-vswitchd usr/sbin/ovs-vswitchd 2>/dev/null |
        head -n 1)" usr/sbin/ovs-vswitchd
    cp "$net"/usr/share/openvswitch/vswitch.ovsschema "$stage/usr/share/openvswitch/"
}

# Makes $LAB_CACHE/$1-net/boot/{dom0,guest}.cpio when their sources have changed.
build_net() {
    local xen=$1 dir=$LAB_CACHE/$1-net key
    key=$(cat "$LAB_DIR"/host/{packages,image,net}.sh "$LAB_DIR/guest/net-init" | sha256sum | cut -c 1-16)
    (
        flock 9
        [ "$(cat "$dir/boot/key" 2>/dev/null)" = "$key" ] && exit 0
        say "making the image of the guest with a network, for Xen $xen"
        rm -rf "$dir/boot.new" "$dir/stage"
        mkdir -p "$dir/boot.new" "$dir/stage"/{dom0,guest}
        stage_net_guest "$LAB_CACHE/$xen/root" "$xen" "$dir/stage/guest"
        stage_net_dom0 "$xen" "$dir/stage/dom0"
        cpio_of "$dir/stage/guest" >"$dir/boot.new/guest.cpio"
        cpio_of "$dir/stage/dom0" >"$dir/boot.new/dom0.cpio"
        rm -rf "$dir/stage"
        echo "$key" >"$dir/boot.new/key"
        rm -rf "$dir/boot"
        mv "$dir/boot.new" "$dir/boot"
    ) 9>"$dir/lock" || die "could not make the guest with a network"
}

# The initrd of the guest with a network into the overlay $1: what is fixed for release $3, then
# its program $2.
stage_net_initrd() {
    mkdir -p "$1/guest-root/usr/bin"
    cp "$2" "$1/guest-root/usr/bin/guest"
    { cat "$LAB_CACHE/$3-net/boot/guest.cpio" && cpio_of "$1/guest-root"; } >"$1/lab/guest/net-initrd" ||
        die "could not make the guest's initrd"
    rm -rf "$1/guest-root"
}
