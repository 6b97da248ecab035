#!/bin/sh
# Differential: of a suspended guest, every page and the HVM context in our image equal what
# stock `xl save` wrote of the same guest in the same state.
#
# `xl save` suspends the guest and then writes for seconds: it is stopped as soon as the guest
# stands, Luthier takes it (the shim adopts a suspension that is not its own and leaves it), and
# xl goes on writing. compare-streams.py says what may differ and why.
. /add/scenarios/luthier.sh
compare=/add/scenarios/compare-streams.py

start_luthier
luthier up >/dev/null || fail "luthier up"
start_guest d4 256 4 rate=20 rewrite_mib=16 rewrite_rate=2000 fill_mib=16
wait_chain d4 3
luthier attach d4 >/dev/null || fail "attach"

# The processes of `xl save`: itself and libxl-save-helper.
tree() {
    echo "$saving"
    sed -n "s/^\([0-9]*\) (.*) [A-Z] $saving .*/\1/p" /proc/[0-9]*/stat 2>/dev/null
}
is_suspended() { [ "$(xl list d4 | awk 'NR == 2 { print substr($5, 4, 1) }')" = s ]; }

xl save -c d4 /tmp/d4.xl >/tmp/xl-save.log 2>&1 &
saving=$!
eventually 20 "d4 is suspended" is_suspended
# shellcheck disable=SC2046 # words
kill -STOP $(tree)
written=$(stat -c %s /tmp/d4.xl)
for policy in xen-save live-save; do
    take d4 --policy $policy || fail "snapshot of a suspended guest: $(said d4)"
    is_suspended || fail "the snapshot did not leave the guest suspended"
    luthier export "$IMAGE" --format xl --output "/tmp/$policy.xl" >/dev/null 2>&1 || fail "export"
    seen "$policy of a guest that xl save has suspended: $(figures)"
done
[ "$(stat -c %s /tmp/d4.xl)" = "$written" ] || fail "xl save was not stopped"
# shellcheck disable=SC2046 # words
kill -CONT $(tree)
wait "$saving" || fail "xl save: $(cat /tmp/xl-save.log)"
[ "$(stat -c %s /tmp/d4.xl)" -gt $((written + 100000000)) ] || fail "xl save had written most before it was stopped"
goes_on d4
guest verify-chain "$(log_of d4)" || fail "the chain after xl save -c"

for policy in xen-save live-save; do
    python3 $compare /tmp/d4.xl "/tmp/$policy.xl" >/tmp/compared || fail "differential: $(cat /tmp/compared)"
    cat /tmp/compared
    seen "$policy and xl save are the same"
done

# That the comparison sees what it should: one changed octet of a page and of the HVM context.
flip() { # OCTET: in the export of live-save
    was=$(dd if=/tmp/live-save.xl bs=1 skip="$1" count=1 2>/dev/null | od -An -tu1)
    printf "\\$(printf %o $((was ^ 1)))" | dd of=/tmp/live-save.xl bs=1 seek="$1" count=1 conv=notrunc 2>/dev/null
}
page=$(sed -n 's/^B has page .* at \([0-9]*\), HVM.*/\1/p' /tmp/compared)
context=$(sed -n 's/^B has page .*HVM context at \([0-9]*\)/\1/p' /tmp/compared)
# 40 octets into the context: the first registers of the first vCPU lie behind the header.
for at in $((page + 77)) $((context + 24 + 8 + 600)); do
    flip $at
    if python3 $compare /tmp/d4.xl /tmp/live-save.xl >/tmp/compared; then fail "a changed octet at $at went unseen"; fi
    grep '^differs' /tmp/compared
    flip $at
done
seen "a changed octet of a page and of the HVM context is found"
destroy d4
luthier rm $(ls "$IMAGES" | grep ^d4@) >/dev/null || fail "rm"
rm -f /tmp/*.xl
