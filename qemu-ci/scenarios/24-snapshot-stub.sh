# The stub is an ordinary domain: small, no target, no device, no privilege; what it may read of
# a guest is a window of read-only grants that exists only during a snapshot. It serves in less
# than 32 MiB, a pool of 5 MiB included: a snapshot then succeeds and reports what did not fit.
# only on: 4.20
. /add/scenarios/luthier.sh

bytes=$(stat -c %s /usr/lib/luthier/stubdom)
[ "$bytes" -le 1048576 ] || fail "the stub's image has $bytes octets, more than 1 MiB"
sed 's/^memory *=.*/memory = 18/' /etc/luthier/stub.cfg >small.cfg
start_luthier --stub-config small.cfg
start_stub
step "an image of $((bytes / 1024)) KiB, $(sed -n 's/.*, //p' run.log)"

xl list -l luthier-stub >stub.json
xenstore-ls -f -p "/local/domain/$STUB" >stub.xenstore
equal "$(xl list luthier-stub | awk 'NR == 2 { print $3 }')" 18 "memory of the stub"
equal "$(sed -n 's/.*"type": "\(pv[h]*\|hvm\)".*/\1/p' stub.json | head -n 1)" pvh "type of the stub"
says stub.json '"max_memkb"' # this is what xl prints of a domain
for word in target pcidevs disks nics vtpms usbctrls usbdevs dtdevs rdms iomem ioports irqs p9s device_model_version stubdomain; do
    grep -n "\"$word\"" stub.json && fail "the stub has '$word'"
done
says stub.xenstore "^/local/domain/$STUB/domid = "
grep "^/local/domain/$STUB/target " stub.xenstore && fail "the stub has a target"
# xl makes device/suspend for every PVH domain: the way to ask for a suspend, not a device.
grep "^/local/domain/$STUB/device/" stub.xenstore | grep -v "/device/suspend" && fail "the stub has a device"
xenstore-ls -f /local/domain | grep '^/local/domain/[0-9]*/target = ' && fail "a domain has a target"

# Readers of g's grants besides Dom0, which is the back end of its console and xenstore.
start_guest g 256 1 rate=10 rewrite_mib=48 rewrite_rate=max
await_line g '^region 0 filled'
attach g
GUEST=$(xl domid g)
of_stub() { grep "^domain $STUB: " "$1"; }
run grants "$GUEST"
cp run.log before
of_stub before && fail "grants to the stub before a snapshot"

(luthier --json snapshot g --downtime 10s >take-g.json 2>take-g.err; echo $? >g.status) & # not `taken`: it runs beside this
: >during
while [ ! -s g.status ]; do grants "$GUEST" >now && of_stub now >>during; done
TAKEN=take-g.json
IMAGE=$(figure image)
equal "$(cat g.status)" 0 "status of the snapshot ($(said g))"
[ -s during ] || fail "no grants were seen during a snapshot: this check sees nothing"
grep -v ' read-only, 0 writable, ' during && fail "a writable grant to the stub"
step "seen $(wc -l <during) times during the snapshot: $(sort -t ' ' -k 3n during | tail -n 1)"
run grants "$GUEST"
of_stub run.log && fail "grants to the stub after the snapshot"
# And of what it uses itself, the guest lost nothing.
sed 1d before >own.before
sed 1d run.log >own.after
cmp own.before own.after || fail "the guest's own grants changed: $(cat own.before own.after)"
step "none after it; the guest's own: $(cat own.after)"

# The guest writes without a pause: what the last round finds is more than the pool holds.
[ "$(figure pages_overflow)" -gt 0 ] || fail "nothing overflowed the pool: $(figures)"
step "$(figures), overflow $(figure pages_overflow) pages"
goes_on g
destroy g
run luthier restore "$IMAGE"
continues_from g.log g
memory_right g
