# What `lab run --disks` adds: in Dom0, the tools for disks of guests (LVM with thin volumes, XFS for
# reflinks, ext4's), and the guest's modules for a disk with ext4 on it (`mkguest --disk`).
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR, and image.sh's functions.

DISKS_PACKAGES='lvm2 thin-provisioning-tools xfsprogs e2fsprogs'
DISKS_TOOLS='lvm dmsetup thin_check thin_repair pdata_tools mkfs.xfs mke2fs e2fsck dumpe2fs debugfs'
GUEST_MODULES_DISKS='xen-blkfront crc32c_generic ext4'

fetch_disks() {
    local suite
    suite=$(release_suite "$1") || exit 125
    # shellcheck disable=SC2086 # a list of words
    fetch_packages "$LAB_CACHE/$1-disks" "$suite" $DISKS_PACKAGES
}

# Dom0's part into $2, from the packages in $1. No udev runs there, so LVM must not wait for it.
stage_disks_dom0() {
    local root=$1 stage=$2 tool
    mkdir -p "$stage"/usr/{sbin,lib/x86_64-linux-gnu} "$stage/etc/lvm"
    for tool in $DISKS_TOOLS; do
        [ ! -e "$root/usr/sbin/$tool" ] || copy_elf "$root" "$stage" "usr/sbin/$tool" "usr/sbin/$tool"
    done
    for tool in pvcreate vgcreate lvcreate lvremove lvchange lvconvert lvs vgs pvs vgchange lvextend; do
        ln -sf lvm "$stage/usr/sbin/$tool"
    done
    ln -sf mke2fs "$stage/usr/sbin/mkfs.ext4"
    ln -sf ../bin/busybox "$stage/usr/sbin/modprobe" # where the kernel and LVM look for it
    cat >"$stage/etc/lvm/lvm.conf" <<'END'
devices { obtain_device_list_from_udev = 0 external_device_info_source = "none" use_devicesfile = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
global { use_lvmpolld = 0 }
END
}

# The guest's modules into $2, in the order in which they load (/disk/modules), of the kernel at $1.
stage_disks_guest() {
    local root=$1 stage=$2 kver module name
    mkdir -p "$stage/disk"
    kver=$(ls "$root/usr/lib/modules")
    for module in $GUEST_MODULES_DISKS; do
        /sbin/modprobe -d "$root" -S "$kver" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' | while read -r module; do
        name=$(basename "$module" | sed 's/\.[xz][a-z]*$//')
        unpack_module "$module" "$stage/disk/$name"
        echo "/disk/$name"
    done >"$stage/disk/modules"
}

# Makes $LAB_CACHE/$1-disks/boot/{dom0,guest}.cpio when their sources have changed.
build_disks() {
    local xen=$1 dir=$LAB_CACHE/$1-disks key
    key=$(cat "$LAB_DIR"/host/{packages,image,disks}.sh | sha256sum | cut -c 1-16)
    (
        flock 9
        [ "$(cat "$dir/boot/key" 2>/dev/null)" = "$key" ] && exit 0
        say "making the image with the tools for disks, for Xen $xen"
        rm -rf "$dir/boot.new" "$dir/stage"
        mkdir -p "$dir/boot.new" "$dir/stage"/{dom0,guest}
        stage_disks_dom0 "$dir/root" "$dir/stage/dom0"
        stage_disks_guest "$LAB_CACHE/$xen/root" "$dir/stage/guest"
        cpio_of "$dir/stage/dom0" >"$dir/boot.new/dom0.cpio"
        cpio_of "$dir/stage/guest" >"$dir/boot.new/guest.cpio"
        rm -rf "$dir/stage"
        echo "$key" >"$dir/boot.new/key"
        rm -rf "$dir/boot"
        mv "$dir/boot.new" "$dir/boot"
    ) 9>"$dir/lock" || die "could not make the image with the tools for disks"
}

# The initrd of the guest with a disk into the overlay $1, for release $2: its modules after what the
# plain guest has, and the same after the guest with a network, where there is one.
stage_disks_initrd() {
    local modules=$LAB_CACHE/$2-disks/boot/guest.cpio
    { cat "$modules" && gunzip -c "$1/lab/guest/initrd.gz"; } >"$1/lab/guest/disk-initrd" ||
        die "could not make the guest's initrd"
    [ ! -e "$1/lab/guest/net-initrd" ] || cat "$modules" >>"$1/lab/guest/net-initrd"
}
