# Differential: of a suspended guest, every page and the HVM context in our image equal what
# stock `xl save` wrote of the same guest in the same state.
#
# `xl save` suspends the guest and then writes for seconds: it is stopped as soon as the guest
# stands, Luthier takes it (the shim adopts a suspension that is not its own and leaves it), and
# xl goes on writing. compare-streams.py says what may differ and why.
. /add/scenarios/luthier.sh
compare() { python3 /add/scenarios/compare-streams.py d4.xl "$@" >compared; }

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
written=$(size)
for policy in xen-save live-save; do
    taken d4 --policy $policy
    is_suspended || fail "the snapshot did not leave the guest suspended"
    run luthier export "$IMAGE" --output $policy.xl
    step "$policy of the guest that xl save has suspended: $(figures)"
done
equal "$(size)" "$written" "what xl save had written while it was stopped"
# shellcheck disable=SC2046 # words
kill -CONT $(tree)
wait "$saving" || fail "xl save: $(cat save.log)"
[ "$(size)" -gt $((written + 100000000)) ] || fail "xl save had written most of it before it was stopped"
goes_on d4
chain_right d4

compare xen-save.xl live-save.xl || fail "xl save and Luthier differ: $(cat compared)"
sed 's/^/    /' compared
step "xl save, xen-save and live-save have the same"

# That the comparison would see it: one octet changed in a page, and in the HVM context.
flip() { # OCTET of live-save.xl
    was=$(dd if=live-save.xl bs=1 skip="$1" count=1 2>/dev/null | od -An -tu1)
    # shellcheck disable=SC2059 # an octet by its number
    printf "\\$(printf %o $((was ^ 1)))" |
        dd of=live-save.xl bs=1 seek="$1" count=1 conv=notrunc 2>/dev/null
}
flip $(($(sed -n 's/^B has page .* at \([0-9]*\), HVM.*/\1/p' compared | tail -n 1) + 77))
# Behind the context's header (8 + 24 octets) and the first vCPU's descriptor (8): octet 600 of
# its registers.
flip $(($(sed -n 's/^B has page .*HVM context at //p' compared | tail -n 1) + 40 + 600))
compare live-save.xl && fail "changed octets were not seen"
sed -n 's/^differs/    an octet changed: differs/p' compared
says compared '^differs: page .*: 1 octets, 77 to 77'
says compared '^differs: HVM context .*: first at octet 600 of'
says compared '^2 differences'
