# What scenarios of disks share, beside luthier.sh: a volume group `vg` with a thin pool, and XFS on /srv.
# Sourced by them, in Dom0.

# Words of a guest that journals on its disk.
DISK_LOAD='rate=5 journal=xvda disk_load=10 rewrite_mib=4 rewrite_rate=200'

# Makes both, on files of the store's file system. Whatever an earlier scenario left goes first.
make_ground() {
    clear_ground
    for module in crc32c_generic xfs dm-thin-pool dm-snapshot; do modprobe $module; done
    mkdir -p /srv "$IMAGES"
    truncate -s 500M "$IMAGES/vg.img" "$IMAGES/xfs.img"
    run losetup /dev/loop6 "$IMAGES/vg.img"
    run losetup /dev/loop7 "$IMAGES/xfs.img"
    run vgcreate -qq vg /dev/loop6
    run lvcreate -qq -L 192M -T vg/pool
    run mkfs.xfs -q -f /dev/loop7
    run mount -t xfs /dev/loop7 /srv
}

clear_ground() {
    umount /srv 2>/dev/null
    vgchange -qq -an vg 2>/dev/null
    for name in $(dmsetup ls 2>/dev/null | awk '/^vg-/ { print $1 }'); do dmsetup remove --force "$name"; done
    losetup -d /dev/loop6 2>/dev/null
    losetup -d /dev/loop7 2>/dev/null
    return 0
}

# thin_disk NAME: a thin volume vg/NAME with ext4 on it; file_disk NAME: a file /srv/NAME.raw.
thin_disk() {
    run lvcreate -qq -V 64M -T vg/pool -n "$1"
    run mkfs.ext4 -q "/dev/vg/$1"
}
file_disk() {
    truncate -s 64M "/srv/$1.raw"
    run mkfs.ext4 -q "/srv/$1.raw"
}

# qcow2_disk NAME: a qcow2 file /srv/NAME.qcow2 (`lab run --qdisk`).
qcow2_disk() {
    file_disk "$1"
    run qemu-img convert -f raw -O qcow2 "/srv/$1.raw" "/srv/$1.qcow2"
    rm "/srv/$1.raw"
}

# thick_disk NAME: an ordinary volume vg/NAME with ext4 on it, zero where that has nothing.
thick_disk() {
    run lvcreate -qq -L 64M -n "$1" vg
    run mkfs.ext4 -q "/dev/vg/$1"
}

# Fills what is free in the volume group with ones, as if others had had disks there.
dirty_room() {
    run lvcreate -qq -l 100%FREE -n dirt vg
    tr '\0' '\377' </dev/zero | dd of=/dev/vg/dirt bs=1M 2>/dev/null
    sync
    run lvremove -qq -f vg/dirt
}

# start_disk_guest DISKS NAME [MEM_MIB] [VCPUS] [WORDS...]: as start_guest.
start_disk_guest() {
    disks=$1
    shift
    mkguest --disk "$disks" "$@" >"$1.cfg"
    rm -f "$(console "$1")"
    run xl create -q "$1.cfg"
    await 240 "first link of $1" past_link "$1" 2
}

# journal_right NAME [SECONDS]: waits until the guest has compared its whole journal once more with
# what its disk has, and nothing was wrong.
journal_right() {
    local goal
    goal=$(grep -c '^journal ' "$(console "$1")")
    await "${2:-120}" "look of $1 at its journal" journals "$1" "$goal"
    grep -h CORRUPT "$(console "$1")" && fail "$1 found its disk wrong"
    return 0
}
journals() { [ "$(grep -c '^journal ' "$(console "$1")")" -gt "$2" ]; }

# snapshots: names of all snapshots of disks, volumes and files.
snapshots() {
    lvs --noheadings -o lv_name vg 2>/dev/null | tr -d ' ' | grep '^luthier_'
    ls /srv/luthier-disks 2>/dev/null
    for file in /srv/*.qcow2; do
        [ ! -e "$file" ] || qemu-img snapshot -U -l "$file" | awk '$2 ~ /^luthier_/ { print $2 }'
    done
    return 0
}
snapshots_left() { equal "$(snapshots | wc -l)" "$1" "snapshots of disks ($(snapshots | tr '\n' ' '))"; }

no_snapshots() { [ -z "$(snapshots)" ]; }

# What the last snapshot's disks took, and of that while the guest waited for nothing else.
disk_ms() { echo "$(figure disks_ms) ms, the guest waited $(figure disks_waited_ms) ms for them"; }

# clone_of FILE: the disk that a restore made, of what it said; clones_of: all of them, a line each.
clone_of() { sed -n 's/.*"path":"\([^"]*\)".*/\1/p' "$1"; }
clones_of() { grep -o '"path":"[^"]*"' "$1" | cut -d '"' -f 4; }
drop_clone() {
    case $1 in
    /dev/*) run lvremove -qq -f "${1#/dev/}" ;;
    *) rm "$1" ;;
    esac
}

# snapshot_as_raw FILE TO: what the only snapshot of ours in a qcow2 file has.
snapshot_as_raw() {
    run qemu-img convert -U -l "snapshot.name=$(qemu-img snapshot -U -l "$1" | awk '$2 ~ /^luthier_/ { print $2 }')" -O raw "$1" "$2"
}

# fsck_clone FILE: a disk as it was at the cut, as after a loss of power: its ext4 must need no more
# than its journal, and be right then.
fsck_clone() {
    local disk=$1
    case $1 in
    *.qcow2)
        disk=${1%.qcow2}.raw
        run qemu-img check -q -f qcow2 "$1"
        run qemu-img convert -f qcow2 -O raw "$1" "$disk"
        ;;
    esac
    e2fsck -p "$disk" >fsck.log 2>&1
    [ $? -le 1 ] || { cat fsck.log; fail "fsck of $1 had more to do than the journal"; }
    run e2fsck -fn "$disk"
    [ "$disk" = "$1" ] || rm "$disk"
}
