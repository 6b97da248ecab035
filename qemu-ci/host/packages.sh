# Debian's packages of a lab host: fetched with an apt configuration of its own and unpacked
# into the cache with `dpkg -x`. It must never touch the packages, lists or keys of the
# machine itself; only `need_tools` installs anything there.
#
# Sourced by `lab`. Wants: LAB_CACHE, LAB_DIR.

# What the machine itself needs: "command package" a line.
LAB_TOOLS='qemu-system-x86_64 qemu-system-x86
cpio cpio
xz xz-utils
zstd zstd
depmod kmod
flock util-linux
setpriv util-linux
gcc gcc
ld binutils'

# Installs the tools of "command package" lines that the machine lacks (fresh Debian, root).
need_tools() {
    local command package missing=()
    while read -r command package; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("$package")
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

# Unpacks the packages of release $1 into $LAB_CACHE/$1/root, once.
fetch_release() {
    local xen=$1 suite dir
    suite=$(release_suite "$xen")
    dir=$LAB_CACHE/$xen
    mkdir -p "$dir"
    (
        flock 9
        [ -e "$dir/root/.complete" ] && exit 0
        say "fetching Xen $xen and its kernel from Debian ($suite)"
        rm -rf "$dir/apt" "$dir/root"
        mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/root"
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
                # shellcheck disable=SC2046 # a list of words
                apt_private install -y --no-install-recommends --download-only \
                    $(release_packages "$xen")
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
    ) 9>"$dir/lock" || die "could not fetch the packages of Xen $xen"
}
