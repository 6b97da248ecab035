# Debian's packages of a lab host: fetched with an apt configuration of its own and unpacked
# into the cache with `dpkg -x`. It must never touch the packages, lists or keys of the
# machine itself; only `need_tools` installs anything there.
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR.

# What the machine itself needs beside Rust: "command-or-file package" a line.
LAB_TOOLS='cpio cpio
xz xz-utils
zstd zstd
depmod kmod
flock util-linux
setpriv util-linux
gcc gcc
ld binutils
/usr/include/stdlib.h libc6-dev
/etc/ssl/certs/ca-certificates.crt ca-certificates'

# Installs what the machine lacks of such lines (fresh Debian, root).
need_tools() {
    local command package missing=()
    while read -r command package; do
        [ -e "$command" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("$package")
    done <<<"$1"
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing on this machine: ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        die "not root: run 'apt-get install --no-install-recommends ${missing[*]}' yourself"
    fi
    # Two labs that start at once on a fresh machine must not fight over apt's lock.
    (
        flock 9
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -qy --no-install-recommends "${missing[@]}" ||
            { apt-get -q update && apt-get install -qy --no-install-recommends "${missing[@]}"; }
    ) 9>"$LAB_CACHE/install.lock" >"$LAB_CACHE/install.log" 2>&1 ||
        { tail -n 20 "$LAB_CACHE/install.log" >&2; die "apt-get install failed"; }
}

# Suite and packages of a Xen release.
release_suite() {
    case $1 in
    4.17) echo bookworm ;;
    4.20) echo trixie ;;
    *) die "no such Xen release in the lab: $1 (4.17 or 4.20)" ;;
    esac
}

release_packages() {
    echo "xen-hypervisor-$1-amd64 xen-utils-$1 xenstore-utils linux-image-amd64" \
        "busybox-static kmod python3-minimal"
}

# The Debian mirror that this machine uses; the default when its sources name none.
debian_mirror() {
    local uri
    uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' | grep '/debian/*$' | head -n 1)
    [ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?\([^[:space:]]*\).*/\2/p' |
        grep '/debian/*$' | head -n 1)
    echo "${uri:-http://deb.debian.org/debian}"
}

# The keys that sign Debian's archive: every keyring of debian-archive-keyring, copied.
debian_keyring() {
    local keys=/usr/share/keyrings
    [ -e $keys/debian-archive-keyring.gpg ] || need_tools 'no-such-command debian-archive-keyring'
    cp $keys/debian-archive-keyring.gpg "$1"
}

# fetch_packages DIR SUITE PACKAGE...: unpacks the packages and all that they depend on into
# DIR/root, once. Whoever comes second waits and finds them there.
fetch_packages() {
    local dir=$1 suite=$2 link deb
    shift 2
    mkdir -p "$dir"
    (
        flock 9
        [ -e "$dir/root/.complete" ] && exit 0
        say "fetching $1 and what it needs from Debian ($suite)"
        rm -rf "$dir/apt" "$dir/root"
        mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
        debian_keyring "$dir/apt/debian.gpg"
        : >"$dir/apt/status" # nothing is installed: apt resolves the whole closure
        echo "deb [signed-by=$dir/apt/debian.gpg] $(debian_mirror) $suite main" \
            >"$dir/apt/sources.list"
        apt_private() {
            apt-get -q -o Dir::Etc::sourcelist="$dir/apt/sources.list" \
                -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
                -o Dir::State="$dir/apt" -o Dir::State::Lists="$dir/apt/lists" \
                -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache" \
                -o APT::Architecture=amd64 -o APT::Sandbox::User=root \
                -o Acquire::Languages=none -o Debug::NoLocking=1 "$@"
        }
        {
            apt_private update &&
                apt_private install -y --no-install-recommends --download-only "$@"
        } >"$dir/fetch.log" 2>&1 || { tail -n 20 "$dir/fetch.log" >&2; exit 1; }
        # All that a merged /usr wants, whichever layout the packages have.
        mkdir -p "$dir/root/usr/"{bin,sbin,lib,lib64}
        for link in bin sbin lib lib64; do ln -s "usr/$link" "$dir/root/$link"; done
        for deb in "$dir"/apt/cache/archives/*.deb; do
            dpkg-deb --fsys-tarfile "$deb" |
                tar -x -C "$dir/root" --keep-directory-symlink --no-same-owner \
                    --exclude './usr/share/doc' --exclude './usr/share/man' \
                    --exclude './usr/share/locale' || exit 1
        done
        rm -rf "$dir/apt/cache" "$dir/apt/lists"
        touch "$dir/root/.complete"
    ) 9>"$dir/lock" || die "could not fetch $1 from Debian ($suite)"
}

# The packages of Xen release $1, in $LAB_CACHE/$1/root.
fetch_release() {
    local suite
    suite=$(release_suite "$1") || exit 125
    # shellcheck disable=SC2046 # a list of words
    fetch_packages "$LAB_CACHE/$1" "$suite" $(release_packages "$1")
}

# Sets QEMU to the command that runs the lab's hosts. It must be Debian 12's 7.2: on 10.0 and
# 11.1 (Debian 13 and later) Xen boots and PVH guests end at once. Where the machine has
# another one, or none, Debian 12's is unpacked into the cache and run from there.
find_qemu() {
    local root=$LAB_CACHE/qemu/root
    QEMU=(qemu-system-x86_64)
    if [ -z "${LUTHIER_LAB_OWN_QEMU:-}" ] &&
        qemu-system-x86_64 --version 2>/dev/null | grep -q 'version 7\.2'; then
        return
    fi
    fetch_packages "$LAB_CACHE/qemu" bookworm qemu-system-x86
    export QEMU_MODULE_DIR=$root/usr/lib/x86_64-linux-gnu/qemu
    QEMU=("$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu"
        "$root/usr/bin/qemu-system-x86_64")
    # Where Debian's looks for firmware, the ROMs of network cards included.
    QEMU+=(-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu")
    # By its usual name, for tests that boot something else than a lab.
    mkdir -p "$LAB_CACHE/bin"
    printf '#!/bin/sh\nexport QEMU_MODULE_DIR=%q\nexec%s "$@"\n' "$QEMU_MODULE_DIR" "$(printf ' %q' "${QEMU[@]}")" \
        >"$LAB_CACHE/bin/.new-$$"
    chmod +x "$LAB_CACHE/bin/.new-$$"
    mv "$LAB_CACHE/bin/.new-$$" "$LAB_CACHE/bin/qemu-system-x86_64"
}

# What slows QEMU's clock down (`--dilate`): the library that DILATION names, of the release that QEMU is of.
fetch_dilation() {
    DILATION=$LAB_CACHE/faketime/root/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
    fetch_packages "$LAB_CACHE/faketime" bookworm libfaketime
}
