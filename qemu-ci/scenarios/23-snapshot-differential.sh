# Differential: of a suspended guest, every page and the HVM context in our image equal what
# stock `xl save` wrote of the same guest in the same state.
#
# `xl save` suspends the guest and then writes for seconds: it is stopped as soon as the guest
# stands, Luthier takes it (the shim adopts a suspension that is not its own and leaves it), and
# xl goes on writing. compare-streams.py says what may differ and why. A live snapshot is refused
# while xl saves, so live-save is compared with xen-save, of a guest that stands by itself.
# by name also on: 4.20
. /add/scenarios/luthier.sh
compare() { python3 /add/scenarios/compare-streams.py "$@" >compared; }

start_luthier
start_stub
start_guest d4 256 4 rate=10 rewrite_mib=8 rewrite_rate=400 fill_mib=16
attach d4
cd "$IMAGES" || exit 2 # streams are large

# The processes of `xl save`: itself and libxl-save-helper.
tree() {
    echo "$saving"
    sed -n "s/^\([0-9]*\) (.*) [A-Z] $saving .*/\1/p" /proc/[0-9]*/stat 2>/dev/null
}
is_suspended() { [ "$(xl list d4 | awk 'NR == 2 { print substr($5, 4, 1) }')" = s ]; }
size() { stat -c %s d4.xl; }

xl save -c d4 d4.xl >save.log 2>&1 &
saving=$!
await 20 "suspension of d4 by xl save" is_suspended
# shellcheck disable=SC2046 # words
kill -STOP $(tree)
sleep 1 # a write that had begun comes to its end
written=$(size)
# snapshot POLICY FILE: of the suspended guest, exported.
snapshot() {
    taken d4 --policy "$1"
    is_suspended || fail "the snapshot did not leave the guest suspended"
    run luthier export "$IMAGE" --output "$2"
    step "$1 of the suspended guest: $(figures)"
}
snapshot xen-save xen-save.xl
refused luthier snapshot d4 # live-save
says refused.log 'xl is saving'
is_suspended || fail "the refused snapshot did not leave the guest suspended"
equal "$(size)" "$written" "what xl save had written while it was stopped"
# shellcheck disable=SC2046 # words
kill -CONT $(tree)
wait "$saving" || fail "xl save: $(cat save.log)"
[ "$(size)" -gt $((written + 100000000)) ] || fail "xl save had written most of it before it was stopped"
goes_on d4
chain_right d4

compare d4.xl xen-save.xl || fail "xl save and Luthier differ: $(cat compared)"
sed 's/^/    /' compared
cp compared same
step "xl save and xen-save have the same"

# Asked to suspend by nobody who would save it: it stands until it is destroyed.
xenstore-write "/local/domain/$(xl domid d4)/control/shutdown" suspend
await 20 "suspension of d4" is_suspended
snapshot xen-save still.xl
snapshot live-save live-save.xl
compare still.xl live-save.xl || fail "xen-save and live-save differ: $(cat compared)"
step "xen-save and live-save have the same"
compare d4.xl live-save.xl && fail "the guest that went on has not changed"
step "which the guest of before has not: $(tail -n 1 compared)"

# That the comparison would see it: one octet changed in a page, and in the HVM context.
flip() { # OCTET of xen-save.xl
    was=$(dd if=xen-save.xl bs=1 skip="$1" count=1 2>/dev/null | od -An -tu1)
    # shellcheck disable=SC2059 # an octet by its number
    printf "\\$(printf %o $((was ^ 1)))" |
        dd of=xen-save.xl bs=1 seek="$1" count=1 conv=notrunc 2>/dev/null
}
flip $(($(sed -n 's/^B has page .* at \([0-9]*\), HVM.*/\1/p' same) + 77))
# Behind the context's header (8 + 24 octets) and the first vCPU's descriptor (8): octet 600 of
# its registers.
flip $(($(sed -n 's/^B has page .*HVM context at //p' same) + 40 + 600))
compare d4.xl xen-save.xl && fail "changed octets were not seen"
sed -n 's/^differs/    an octet changed: differs/p' compared
says compared '^differs: page .*: 1 octets, 77 to 77'
says compared '^differs: HVM context .*: first at octet 600 of'
says compared '^2 differences'
