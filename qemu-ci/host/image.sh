# What a lab host boots: Xen, Dom0's kernel and the base initramfs of a release (made once),
# and the small archive that each run appends to it (project, guest, script, added files).
# Archives are not compressed: unpacking in an emulated machine costs more than reading.
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR, REPO.

LAB_MODULES='xen-privcmd xen-evtchn xen-gntdev xen-gntalloc xenfs xen-netback xen-blkback
    bridge tun loop crc32c_generic ext4 xfs dm-thin-pool dm-snapshot ahci sd_mod e1000e xen-blkfront xen-netfront openvswitch
    vxlan'
LAB_TOOLS_DOM0='xl libxl-save-helper xenstored xen-init-dom0 xenconsoled xenconsole xen-hvmctx
    xentop xenpm xenctx xen-hptool xen-diag xenstore-control lsevtchn readnotes
    xenperf xentrace xenwatchdogd test-resource'

# Prints the ELF inside the bzImage $1: neither Xen nor xl has to unpack it in emulation.
kernel_elf() {
    local magic unpack offset
    while read -r magic unpack; do
        for offset in $(LC_ALL=C grep -abobP "$magic" "$1" | cut -d: -f1); do
            tail -c +$((offset + 1)) "$1" | $unpack -dcq >"$2" 2>/dev/null || true
            if [ "$(head -c 4 "$2" | tail -c 3)" = ELF ]; then return 0; fi
        done
    done <<'MAGIC'
\xfd7zXZ\x00 xz
\x28\xb5\x2f\xfd zstd
\x1f\x8b\x08 gzip
MAGIC
    return 1
}

# Copies a program or library of the release with every library that it links.
copy_elf() {
    local root=$1 stage=$2 file=$3 to=$4 lib
    install -D -m 755 "$root/$file" "$stage/$to"
    "$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --list \
        --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/$file" 2>/dev/null |
        sed -n "s|.*=> \($root/[^ ]*\) .*|\1|p" |
        while read -r lib; do
            lib=${lib##*/}
            case $lib in
            ld-linux*) continue ;;
            esac
            [ -e "$stage/usr/lib/x86_64-linux-gnu/$lib" ] ||
                install -D -m 755 "$root/usr/lib/x86_64-linux-gnu/$lib" \
                    "$stage/usr/lib/x86_64-linux-gnu/$lib"
        done
}

# Copies the kernel module $1 to $2, unpacked.
unpack_module() {
    case $1 in
    *.xz) xz -dc "$1" >"$2" ;;
    *.zst) zstd -dcq "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
    esac
}

# The Dom0 file tree of release $2 (unpacked at $1) into $3.
stage_dom0() {
    local root=$1 xen=$2 stage=$3 tool kver module python
    mkdir -p "$stage"/{proc,sys,dev,run,tmp,out,add,etc/xen/scripts} \
        "$stage"/usr/{bin,sbin,lib/x86_64-linux-gnu,lib64} \
        "$stage"/var/{lib/xen,lib/xenstored,lib/luthier,log/xen/console,lib/xen/dump} \
        "$stage"/lab/guest
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$stage/$link"; done
    ln -s ../run "$stage/var/run"
    ln -s ../run/lock "$stage/var/lock"
    # Busybox's applets first: the real tools overwrite those of the same name.
    install -m 755 "$root/usr/bin/busybox" "$stage/usr/bin/busybox"
    for tool in $("$root/usr/bin/busybox" --list | grep -vx busybox); do
        ln -sf busybox "$stage/usr/bin/$tool"
    done
    install -D -m 755 "$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
        "$stage/usr/lib64/ld-linux-x86-64.so.2"
    install -m 644 "$root/usr/lib/x86_64-linux-gnu/libgcc_s.so.1" \
        "$stage/usr/lib/x86_64-linux-gnu/" # pthread_cancel wants it at run time
    for tool in $LAB_TOOLS_DOM0; do
        [ -e "$root/usr/lib/xen-$xen/bin/$tool" ] || continue
        copy_elf "$root" "$stage" "usr/lib/xen-$xen/bin/$tool" "usr/lib/xen-$xen/bin/$tool"
        ln -s "../lib/xen-$xen/bin/$tool" "$stage/usr/sbin/$tool"
    done
    for tool in "$root"/usr/bin/xenstore "$root"/usr/sbin/xenhypfs; do
        copy_elf "$root" "$stage" "${tool#"$root/"}" "${tool#"$root/"}"
    done
    for tool in "$root"/usr/bin/xenstore-*; do # links to xenstore
        cp -P "$tool" "$stage/usr/bin/"
    done
    # Python for the checkers of migration streams.
    python=$(basename "$(readlink -f "$root/usr/bin/python3")")
    copy_elf "$root" "$stage" "usr/bin/$python" usr/bin/python3
    stage_python "$root" "$stage" "$python"
    cp -r "$root/usr/lib/xen-$xen/lib" "$stage/usr/lib/xen-$xen/"
    for tool in verify-stream-v2 convert-legacy-stream; do
        install -m 755 "$root/usr/lib/xen-$xen/bin/$tool" "$stage/usr/lib/xen-$xen/bin/"
        ln -s "../lib/xen-$xen/bin/$tool" "$stage/usr/bin/$tool"
    done
    # Modules, unpacked, with an index of their own.
    kver=$(ls "$root/usr/lib/modules")
    /sbin/depmod -b "$root" "$kver" 2>/dev/null || true
    for module in $LAB_MODULES; do
        /sbin/modprobe -d "$root" -S "$kver" --show-depends "$module" | sed -n 's/^insmod //p'
    done | sort -u | while read -r module; do
        module=${module%% *}
        local to=$stage${module#"$root"}
        mkdir -p "$(dirname "$to")"
        unpack_module "$module" "$(echo "$to" | sed 's/\.[xz][a-z]*$//')"
    done
    touch "$stage/usr/lib/modules/$kver/"modules.{builtin,order}
    cp "$root/usr/lib/modules/$kver"/modules.builtin* "$stage/usr/lib/modules/$kver/"
    /sbin/depmod -b "$stage" "$kver"
    install -m 755 "$LAB_DIR/dom0/init" "$stage/init"
    for tool in mkguest onhost serve-host; do
        install -m 755 "$LAB_DIR/dom0/$tool" "$stage/usr/bin/$tool"
    done
    install -m 755 "$LAB_DIR"/dom0/{vif-bridge,block} "$stage/etc/xen/scripts/"
    touch "$stage/etc/xen/xl.conf"
    echo 'root:x:0:0:root:/:/bin/sh' >"$stage/etc/passwd"
    echo 'root:x:0:' >"$stage/etc/group"
}

# The part of Python's library that the stream checkers use.
stage_python() {
    local root=$1 stage=$2 python=$3 lib=usr/lib/$3
    mkdir -p "$stage/$lib/lib-dynload"
    (
        cd "$root/$lib" || exit 1
        cp -r ./*.py collections encodings importlib re json "$stage/$lib/"
        rm -rf "$stage/$lib"/encodings/cp[0-9]* "$stage/$lib"/encodings/mac_* \
            "$stage/$lib"/encodings/iso* "$stage/$lib"/{pydoc,turtle,_pydecimal}.py
    )
    find "$stage/$lib" -name test -prune -exec rm -rf {} +
}

# Makes $LAB_CACHE/$1/boot/{xen,vmlinux,base.cpio} when their sources have changed.
build_base() {
    local xen=$1 dir=$LAB_CACHE/$1 key
    key=$(cat "$LAB_DIR"/host/{packages,image}.sh "$LAB_DIR"/dom0/{init,mkguest,onhost,serve-host,vif-bridge,block} |
        sha256sum | cut -c 1-16)
    (
        flock 9
        [ "$(cat "$dir/boot/key" 2>/dev/null)" = "$key" ] && exit 0
        say "making the base image of Xen $xen"
        rm -rf "$dir/boot.new" "$dir/stage"
        mkdir -p "$dir/boot.new" "$dir/stage"
        gunzip -c "$dir/root/boot/xen-$xen-amd64.gz" >"$dir/boot.new/xen"
        kernel_elf "$dir"/root/boot/vmlinuz-* "$dir/boot.new/vmlinux" ||
            { echo "no ELF found in Debian's kernel" >&2; exit 1; }
        stage_dom0 "$dir/root" "$xen" "$dir/stage"
        ln "$dir/boot.new/vmlinux" "$dir/stage/lab/guest/vmlinuz"
        cpio_of "$dir/stage" >"$dir/boot.new/base.cpio"
        rm -rf "$dir/stage"
        echo "$key" >"$dir/boot.new/key"
        rm -rf "$dir/boot"
        mv "$dir/boot.new" "$dir/boot"
    ) 9>"$dir/lock" || die "could not make the base image of Xen $xen"
}

# A directory as an uncompressed cpio archive on stdout, owned by root.
cpio_of() {
    (cd "$1" && find . -mindepth 1 -print0 | sort -z |
        cpio -o -0 --quiet -H newc -R 0:0)
}
