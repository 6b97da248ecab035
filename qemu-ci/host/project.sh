# What is installed in Dom0 beside Debian's tools: the project's binaries, the lab's guest,
# the script and the added files. Made anew for each run: it is small.
#
# Sourced by `lab`. Wants: REPO, net, disks, load, build, bare, script, add.

TARGET_DIR=${CARGO_TARGET_DIR:-$REPO/target}
HOST_TRIPLE=x86_64-unknown-linux-gnu

# Runs cargo quietly: its output is shown only when it fails.
quiet_cargo() {
    local log
    log=$(mktemp)
    if ! (cd "$REPO" && cargo -q "$@") >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Programs of Dom0 and of the guest are static: they run in any initramfs.
build_static() {
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static' \
        quiet_cargo build --release --target $HOST_TRIPLE --target-dir "$TARGET_DIR/lab-build" "$@"
}

# A run goes on with what was built before, so that the rest can be tried meanwhile; the
# tests don't (`lab build`).
not_built() {
    [ "$command" = run ] || die "$1 does not build"
    say "warning: $1 does not build"
}

build_project() {
    build_deaf || die "the deaf guest does not build"
    build_static -p guest || not_built "the lab's guest"
    [ "$bare" = no ] || return 0
    build_static -p dom0-shim -p privcmd --bins --example grants --example meddle || not_built dom0-shim
    build_static -p measure || not_built "the tools for measuring"
    # Emulation is slow at vector code: plain code seals four times as fast there.
    RUSTFLAGS='--cfg chacha20_backend="soft" --cfg poly1305_backend="soft"' \
        quiet_cargo build --profile kernel --features kernel -p stubdom --bin stubdom ||
        not_built "the stub domain"
    # Last, as cargo has one place for what both are made of.
    quiet_cargo build --profile kernel --features kernel -p hostile --bin hostile || not_built "the hostile guest"
}

# The guest that answers no suspend request: 32-bit, not Linux, a few hundred bytes.
build_deaf() {
    mkdir -p "$TARGET_DIR/lab-build"
    as --32 -o "$TARGET_DIR/lab-build/deaf.o" "$LAB_DIR/guest/deaf.s" &&
        ld -m elf_i386 -z noexecstack --no-warn-rwx-segments -T "$LAB_DIR/guest/deaf.ld" \
            -o "$TARGET_DIR/lab-build/deaf" "$TARGET_DIR/lab-build/deaf.o"
}

# Copies a file that the project will have one day; until then its lack is a warning.
install_if_there() {
    if [ -e "$1" ]; then install -D -m 755 "$1" "$2"; else say "warning: no $1"; fi
}

# Fills the directory $1 with what this run appends to the base image of release $2.
stage_overlay() {
    local stage=$1 release=$2 built=$TARGET_DIR/lab-build/$HOST_TRIPLE/release path
    mkdir -p "$stage"/{usr/bin,lab/guest,add}
    install -m 755 "$built/guest" "$stage/usr/bin/guest" || die "build the guest first"
    install -m 644 "$TARGET_DIR/lab-build/deaf" "$stage/lab/guest/deaf"
    mkdir -p "$stage/guest-root"
    cp "$built/guest" "$stage/guest-root/init"
    cpio_of "$stage/guest-root" | gzip -1 >"$stage/lab/guest/initrd.gz"
    rm -rf "$stage/guest-root"
    install -m 755 "$LAB_DIR"/dom0/{onguest,start-luthier,labrsh,power} "$stage/usr/bin/"
    if [ "$net" = yes ]; then
        install -D -m 755 "$LAB_DIR/dom0/vif-ovs" "$stage/etc/xen/scripts/vif-ovs"
        stage_net_initrd "$stage" "$built/guest" "$release"
    fi
    [ "$disks" = no ] || stage_disks_initrd "$stage" "$release"
    [ "$load" = no ] || stage_load_initrd "$stage" "$built/guest"
    if [ "$bare" = no ]; then
        install_if_there "$TARGET_DIR/kernel/hostile" "$stage/lab/guest/hostile"
        install_if_there "$built/luthierd" "$stage/usr/sbin/luthierd"
        install_if_there "$built/luthier" "$stage/usr/sbin/luthier"
        install_if_there "$built/examples/grants" "$stage/usr/bin/grants"
        install_if_there "$built/measure" "$stage/usr/bin/measure"
        install_if_there "$built/foreign-read" "$stage/usr/bin/foreign-read"
        install_if_there "$built/oracle" "$stage/usr/bin/oracle"
        install_if_there "$built/trace" "$stage/usr/bin/trace"
        install_if_there "$built/examples/meddle" "$stage/usr/bin/meddle"
        install_if_there "$TARGET_DIR/kernel/stubdom" "$stage/usr/lib/luthier/stubdom"
        install -D -m 644 "$REPO/boot/host/stub.cfg" "$stage/etc/luthier/stub.cfg"
    fi
    install -m 755 "$script" "$stage/lab/script"
    for path in ${add[@]+"${add[@]}"}; do
        cp -r "$path" "$stage/add/" || die "cannot add $path"
    done
}
