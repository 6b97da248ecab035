# What `lab run --qdisk` adds: in Dom0, the QEMU that serves disks which are qcow2 files (libxl starts
# one for each guest that has such a disk), and qemu-img. Some 50 MB: only runs that need it have it.
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR, and image.sh's functions.

QDISK_PACKAGES='qemu-system-xen qemu-utils'
QDISK_TOOLS='libexec/xen-qemu-system-i386 bin/qemu-img bin/qemu-io'

fetch_qdisk() {
    local suite
    suite=$(release_suite "$1") || exit 125
    # shellcheck disable=SC2086 # a list of words
    fetch_packages "$LAB_CACHE/$1-qdisk" "$suite" $QDISK_PACKAGES
}

# Makes $LAB_CACHE/$1-qdisk/boot/dom0.cpio when its sources have changed.
build_qdisk() {
    local xen=$1 dir=$LAB_CACHE/$1-qdisk key tool
    key=$(cat "$LAB_DIR"/host/{packages,image,qdisk}.sh | sha256sum | cut -c 1-16)
    (
        flock 9
        [ "$(cat "$dir/boot/key" 2>/dev/null)" = "$key" ] && exit 0
        say "making the image with QEMU for disks, for Xen $xen"
        rm -rf "$dir/boot.new" "$dir/stage"
        mkdir -p "$dir/boot.new" "$dir/stage"
        for tool in $QDISK_TOOLS; do
            copy_elf "$dir/root" "$dir/stage" "usr/$tool" "usr/$tool"
        done
        # It reads a keyboard's map even for a guest without a screen.
        mkdir -p "$dir/stage/usr/share/qemu"
        cp -r "$dir/root/usr/share/qemu/keymaps" "$dir/stage/usr/share/qemu/"
        cpio_of "$dir/stage" >"$dir/boot.new/dom0.cpio"
        rm -rf "$dir/stage"
        echo "$key" >"$dir/boot.new/key"
        rm -rf "$dir/boot"
        mv "$dir/boot.new" "$dir/boot"
    ) 9>"$dir/lock" || die "could not make the image with QEMU for disks"
}
