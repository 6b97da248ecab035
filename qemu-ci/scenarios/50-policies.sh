# Cuts at random moments: for every policy and every codec the image equals the guest at the cut, page
# for page. A run takes an eighth of the pairs of policy and codec on each release of Xen, every policy
# and every codec among them on both together, which is what there is time for; all with CUTS=1.
# luthierd is held while the guest stands suspended, a tool of the lab
# that knows nothing of Luthier writes down what the guest's memory is (`oracle`), and what the image
# gives to `xl restore` must be that. Of the last cut a guest is restored, and its chain and its
# memory are right.
# time limit: 1500 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

POLICIES='downtime live-save improved-live-save xen-migrate-4.5 xen-migrate smart-stop pool-fit xen-save'
CODECS='none lz4 delta blocks lz4,delta,blocks auto'

start_luthier
start_stub
start_guest c1 104 1 rate=10 edit_mib=8 edit_rate=1500 rewrite_mib=3 rewrite_rate=300
attach c1

# moment: somewhere within two seconds.
moment() { sleep "$(awk -v n="$(od -An -N2 -tu2 /dev/urandom)" 'BEGIN { printf "%.3f", n % 2000 / 1000 }')"; }

held_or_over() { is_held || ! kill -0 "$SNAPSHOT"; }

# cut_at_random POLICY CODEC [OPTIONS]: one cut at a random moment; sets IMAGE.
cut_at_random() {
    policy=$1 codec=$2
    shift 2
    moment
    fault hold state
    TAKEN=take-c1.json
    luthier --json snapshot c1 --policy "$policy" --codec "$codec" "$@" >$TAKEN 2>take-c1.err &
    SNAPSHOT=$!
    # Blocks and deltas take their time in emulation.
    await 240 "cut of $policy, $codec" held_or_over
    is_held || fail "$policy, $codec: $(said c1)"
    is_suspended c1 || fail "c1 is not suspended at the cut of $policy, $codec"
    run oracle dump "$(domid c1)" "$IMAGES/cut"
    no_fault
    wait "$SNAPSHOT" || fail "$policy, $codec: $(said c1)"
    IMAGE=$(figure image)
    luthier export "$IMAGE" --output - 2>export.err | oracle compare "$IMAGES/cut" >compared 2>&1 ||
        fail "$policy, $codec: the image is not the guest at the cut: $(cat compared export.err)"
    cuts=$((cuts + 1))
    step "cut $cuts: $policy, $codec: $(cat compared); $(figure pages_sent) sent in $(figure iterations) rounds, $(figure bytes_sent) bytes"
}

CUTS=${CUTS:-8}
cuts=0 pair=$(xl info xen_version | awk -F. -v half=$((CUTS / 2)) '{ print half * ($2 == 17) }')
for policy in $POLICIES; do
    pair=$((pair + 1))
    for codec in $CODECS; do
        pair=$((pair + 1))
        [ $((pair % CUTS)) = 0 ] || continue
        cut_at_random "$policy" "$codec"
        run luthier rm "$IMAGE"
    done
done
# What can be asked for beside a policy.
cut_at_random live-save auto --skip always
run luthier rm "$IMAGE"
cut_at_random live-save lz4,delta,blocks --skip never --defer-hot
step "$cuts cuts, each image is the guest"

# The comparison sees one octet.
was=$(dd if="$IMAGES/cut" bs=1 skip=4171234 count=1 2>/dev/null | od -An -tu1)
# shellcheck disable=SC2059 # an octet by its number
printf "\\$(printf %o $((was ^ 1)))" | dd of="$IMAGES/cut" bs=1 seek=4171234 count=1 conv=notrunc 2>/dev/null
luthier export "$IMAGE" --output - | oracle compare "$IMAGES/cut" >compared 2>&1 && fail "a changed octet was not seen"
says compared '1 octets differ'

# The guest itself says so, too.
goes_on c1
memory_right c1
destroy c1
run luthier restore "$IMAGE"
continues_from c1.log c1
memory_right c1
