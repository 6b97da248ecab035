# Disks that are full or read-only, and images that are damaged, cut short or not images at all.
# only on: 4.20
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

start_luthier
start_guest g1 128 1 rate=20 rewrite_mib=8 rewrite_rate=500
attach g1
start_stub

mkdir -p "$STORE"
run mount -t tmpfs -o size=16m tmpfs "$STORE"
for policy in live-save xen-save; do
    refuses 'no space left for' luthier snapshot g1 --policy $policy
    survived g1 0 "a full disk, policy $policy"
done
run mount -o remount,ro "$STORE"
refuses 'mount it read-write' luthier snapshot g1
survived g1 0 "a read-only disk"
run umount "$STORE"
taken g1
good=$STORE/$IMAGE
run luthier verify "$IMAGE"
step "the next snapshot works"

# damaged NAME PATTERN COMMAND...: a copy of the good image, in which COMMAND does some damage,
# is refused by verify and restore with PATTERN, and no domain comes of it.
damaged() {
    local name=$1 pattern=$2 bad="$STORE/bad@20260101T000000Z"
    shift 2
    cp -r "$good" "$bad"
    (cd "$bad" && "$@") || fail "no damage done: $name"
    refuses "$pattern" luthier verify "bad@20260101T000000Z"
    refuses "$pattern" luthier restore "bad@20260101T000000Z" --name g2
    gone g2 || fail "$name: a domain came of it"
    rm -r "$bad"
    step "refused: $name"
}
# flip FILE OFFSET: one bit.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "$(printf '\\%03o' $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
cut_short() { truncate -s $(($(stat -c %s "$1") - 1)) "$1"; }
# The first page that is not zero, by its entry's state (see store/src/table.rs).
flip_page() { flip memory $((16 * 4096 + 123)); }

damaged "a flipped bit in a page" 'page 0x[0-9a-f]+ .slot 16. does not match its checksum' flip_page
damaged "a flipped bit in a record" 'record .* does not match its checksum' flip state 200
damaged "a flipped bit in the table" 'file .pages. does not match|table entry of page' flip pages 1000
damaged "a flipped bit in the manifest" 'manifest' flip manifest.json 60
damaged "memory cut short" 'file .memory. has [0-9]+ octets' cut_short memory
damaged "the table cut short" 'file .pages. has [0-9]+ octets' cut_short pages
damaged "the state cut short" 'file .state. has [0-9]+ octets' cut_short state
damaged "no manifest" 'manifest' rm manifest.json

run luthier export "$IMAGE" -o stream --name g2
head -c 1000000 stream >short
refuses 'malformed at octet [0-9]+' luthier import short
refuses 'is not a sound image.*can be imported' luthier verify ./stream
refuses 'is not a sound image.*not a directory' luthier restore /etc/passwd --name g2
mkdir empty.dir
refuses 'manifest' luthier verify ./empty.dir
refuses 'there is no image' luthier restore nothing@20260101T000000Z
refuses 'stream is malformed' luthier import /etc/passwd
refuses 'exists' luthier export "$IMAGE" -o stream
refuses 'a domain .g1. is running' luthier restore "$IMAGE"
equal "$(images)" 1 "images"
gone g2 || fail "a domain came of it"
[ -z "$(ls -d "$STORE"/*.partial 2>/dev/null)" ] || fail "left: $(ls "$STORE")"
