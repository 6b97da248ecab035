# The image is right for tools that we did not write: an export is accepted by Debian's
# verify-stream-v2 and restored by stock `xl restore` with nothing of ours running; and what
# stock `xl save` wrote is imported, verified and restored.
. /add/scenarios/luthier.sh

start_luthier
start_stub
start_guest g2 256 1 rate=20 rewrite_mib=16 rewrite_rate=2000 fill_mib=16
attach g2
taken g2
goes_on g2
destroy g2
run luthier export "$IMAGE" --format xl --output "$IMAGES/g2.xl"
refused luthier export "$IMAGE" --format xl --output "$IMAGES/g2.xl" # never overwrites

run luthier down
stop_luthier
pidof luthierd && fail "luthierd still runs"
gone luthier-stub || fail "the stub still runs"
run verify-stream-v2 -f xl -i "$IMAGES/g2.xl"
run xl restore "$IMAGES/g2.xl"
continues_from g2.log g2
memory_right g2
step "exported, verified by verify-stream-v2, restored by xl with nothing of ours running"

head -c 20000000 "$IMAGES/g2.xl" >"$IMAGES/short.xl"
refused verify-stream-v2 -f xl -i "$IMAGES/short.xl"
refused luthier import "$IMAGES/short.xl"
rm "$IMAGES/short.xl" "$IMAGES/g2.xl"

run xl save g2 "$IMAGES/stock.xl"
await 20 "end of g2" gone g2
keep_console g2
run luthier --json import "$IMAGES/stock.xl"
imported=$(sed -n 's/.*"image":"\([^"]*\)".*/\1/p' run.log)
rm "$IMAGES/stock.xl"
run luthier verify "$imported"
run luthier restore "$imported"
continues_from g2.log g2
memory_right g2
step "saved by xl, imported, verified, restored"
