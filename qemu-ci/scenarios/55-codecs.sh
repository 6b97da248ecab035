# Codecs of pages: what each of them sends arrives, is stored and is restored, and a guest goes on
# from it; and an image whose LZ4 records are not what was written, the worst of them made to decode
# beyond a page, is refused by all who read it, with an error that names the page, and nothing is left.
# only on: 4.17
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

start_luthier
start_stub
start_guest c5 128 1 rate=20 edit_mib=12 edit_rate=1500 rewrite_mib=4 rewrite_rate=400

# sends KIND...: the last snapshot sent some pages so.
sends() {
    for kind in "$@"; do
        [ "$(figure "${kind}_pages")" -gt 0 ] || fail "$codec: no page was sent as $kind: $(figures)"
    done
}

for codec in none lz4 delta blocks lz4,delta,blocks auto; do
    attach c5
    taken c5 --policy live-save --codec "$codec"
    case $codec in
    none) equal "$(figure lz4_pages) $(figure delta_pages) $(figure blocks_pages)" '0 0 0' "coded pages without a codec" ;;
    auto) ;;
    lz4,delta,blocks)
        sends delta
        # What codecs are for: fewer bytes, of pages that are not zero.
        raw=$((4096 * ($(figure pages_sent) - $(figure pages_zero))))
        [ $((10 * $(figure bytes_sent))) -lt $((6 * raw)) ] || fail "$(figure bytes_sent) bytes of $raw: less than 40 % are saved"
        ;;
    *) sends "$codec" ;;
    esac
    run luthier verify "$IMAGE"
    goes_on c5
    destroy c5
    run luthier restore "$IMAGE"
    continues_from c5.log c5
    step "$codec: $(figures), $(figure bytes_sent) bytes for $(($(figure pages_sent) - $(figure pages_zero))) pages"
    run luthier rm "$IMAGE"
done
memory_right c5

attach c5
taken c5 --codec lz4
destroy c5

# Forged images: each a copy of this one.
forged() { # KIND PATTERN
    copy=$STORE/c5@20200101T000000Z
    cp -r "$STORE/$IMAGE" "$copy"
    slot=$(python3 /add/scenarios/forge-image.py "$copy" "$1") || fail "$1: not forged"
    for verb in verify restore; do
        refuses "$2" luthier $verb "$copy"
    done
    refuses "$2" luthier export "$copy" --output "$STORE/out.xl"
    [ ! -e "$STORE/out.xl" ] || fail "$1: the export left a file"
    gone c5 || fail "$1: the restore left a domain: $(xl list)"
    rm -rf "$copy"
    step "refused, $1 (slot $slot): $(head -n 1 error)"
}
for kind in beyond short truncated wrong; do
    forged $kind 'is damaged: page .* does not match its checksum'
done
forged outside 'is damaged: '
forged table 'is damaged: '
run luthier verify "$IMAGE"
run luthier restore "$IMAGE"
continues_from c5.log c5
luthier status >/dev/null || fail "luthierd is not well"
