# What `lab run --load` adds: the initrd of the guest with real programs, whose writes to memory are
# those of a compiler and of a database (`mkguest --load NAME ... load=compile|database`): Debian
# 12's gcc, sources to build (libstb's, which are headers), sqlite3 and busybox, whatever Xen runs.
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR, and image.sh's functions.

LOAD_PACKAGES='gcc-12 libc6-dev libstb-dev sqlite3 busybox-static'

fetch_load() {
    # shellcheck disable=SC2086 # a list of words
    fetch_packages "$LAB_CACHE/load" bookworm $LOAD_PACKAGES
    build_load
}

# The guest's file tree, but for the guest's own program, into $2 from the packages in $1.
stage_load() {
    local root=$1 stage=$2 gcc=usr/lib/gcc/x86_64-linux-gnu/12 tool
    mkdir -p "$stage"/{proc,sys,dev,tmp,run,etc} "$stage"/usr/{bin,sbin,lib64,include,lib/x86_64-linux-gnu}
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$stage/$link"; done
    install -m 755 "$root/usr/bin/busybox" "$stage/usr/bin/busybox"
    for tool in $("$root/usr/bin/busybox" --list | grep -vx busybox); do
        ln -sf busybox "$stage/usr/bin/$tool"
    done
    install -D -m 755 "$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
        "$stage/usr/lib64/ld-linux-x86-64.so.2"
    copy_elf "$root" "$stage" usr/bin/sqlite3 usr/bin/sqlite3
    copy_elf "$root" "$stage" usr/bin/x86_64-linux-gnu-gcc-12 usr/bin/gcc
    copy_elf "$root" "$stage" usr/bin/x86_64-linux-gnu-as usr/bin/as
    copy_elf "$root" "$stage" usr/bin/x86_64-linux-gnu-ld.bfd usr/bin/ld
    copy_elf "$root" "$stage" $gcc/cc1 $gcc/cc1
    cp -r "$root/$gcc/include" "$stage/$gcc/"
    (cd "$root/usr/include" && cp -r ./*.h stb asm-generic linux x86_64-linux-gnu "$stage/usr/include/")
    # What only other programs include.
    rm -rf "$stage"/usr/include/linux/*/ "$stage/usr/include/x86_64-linux-gnu/c++"
    cp -r "$LAB_DIR/guest/load" "$stage/load"
    mv "$stage/load/init" "$stage/init"
    echo 'root:x:0:0:root:/:/bin/sh' >"$stage/etc/passwd"
}

# Makes $LAB_CACHE/load/boot/guest.cpio when its sources have changed.
build_load() {
    local dir=$LAB_CACHE/load key
    key=$(cat "$LAB_DIR"/host/{packages,image,load}.sh "$LAB_DIR"/guest/load/* | sha256sum | cut -c 1-16)
    (
        flock 9
        [ "$(cat "$dir/boot/key" 2>/dev/null)" = "$key" ] && exit 0
        say "making the image of the guest with programs"
        rm -rf "$dir/boot.new" "$dir/stage"
        mkdir -p "$dir/boot.new" "$dir/stage"
        stage_load "$dir/root" "$dir/stage"
        cpio_of "$dir/stage" >"$dir/boot.new/guest.cpio"
        rm -rf "$dir/stage" "$dir/boot"
        echo "$key" >"$dir/boot.new/key"
        mv "$dir/boot.new" "$dir/boot"
    ) 9>"$dir/lock" || die "could not make the guest with programs"
}

# That initrd into the overlay $1: what is fixed, then the guest's program $2.
stage_load_initrd() {
    mkdir -p "$1/guest-root/usr/bin"
    cp "$2" "$1/guest-root/usr/bin/guest"
    { cat "$LAB_CACHE/load/boot/guest.cpio" && cpio_of "$1/guest-root"; } >"$1/lab/guest/load-initrd" ||
        die "could not make the guest's initrd"
    rm -rf "$1/guest-root"
}
