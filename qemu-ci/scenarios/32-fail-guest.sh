# Guests that don't answer, answer late, end, crash, meddle with their grant table, are logged by
# somebody else, or are of the wrong kind.
# by name also on: 4.20
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

start_luthier
start_stub

# Guests of the wrong kind.
cat >pv.cfg <<'END'
name = "pv1"
type = "pv"
memory = 224
kernel = "/lab/guest/vmlinuz"
ramdisk = "/lab/guest/initrd.gz"
END
run xl create -q -p pv.cfg
refuses 'pv1. is a PV guest' luthier attach pv1
run xl destroy pv1

# A deaf guest: it never reads the request.
mkguest --deaf deaf >deaf.cfg
run xl create -q deaf.cfg
attach deaf
refuses 'deaf. did not suspend within 3 s' luthier snapshot deaf --suspend-timeout 3
deaf_is_left() {
    runs deaf || fail "the deaf guest does not run: $(state deaf)"
    equal "$(xenstore-read "/local/domain/$(domid deaf)/control/shutdown")" "" "request to suspend"
}
deaf_is_left
equal "$(images)" 0 "images"
equal "$(meddle count "$(domid deaf)" "$STUB")" 0 "grants left"
run meddle unlogged "$(domid deaf)"
step "survived: a deaf guest"

# Somebody else owns the log of writes: it is not taken from them.
run meddle log "$(domid deaf)"
refuses 'already in use by someone else' luthier snapshot deaf
meddle unlogged "$(domid deaf)" 2>/dev/null && fail "somebody else's log was ended"
run meddle unlog "$(domid deaf)"
run meddle unlogged "$(domid deaf)"
step "survived: a log of writes that somebody else owns"

destroy_all() { run xl destroy "$1" && await 60 "end of $1" gone "$1"; }
destroy_all deaf # it takes a whole CPU

# A guest that answers late. It is paused when it is asked: so it can't answer in time.
start_guest g1 128 1 rate=20 rewrite_mib=8 rewrite_rate=500
attach g1
ask_in_vain() { # with xen-save, whose first step it is
    fault hold asked
    run xl pause g1
    start_snapshot g1 --policy xen-save --suspend-timeout 3
    held asked
    "$@"
    no_fault
    ended 'g1. did not suspend within 3 s'
    equal "$(images)" 0 "images"
    run meddle unlogged "$(domid g1)"
    equal "$(meddle count "$(domid g1)" "$STUB")" 0 "grants left"
}
ask_in_vain true
run xl unpause g1
await_links g1 5 20
step "survived: a guest that did not read the request"

# It has read the request, and suspends when nobody waits any more.
ask_in_vain run meddle stall "$(domid g1)"
resumed=$(grep -c 'resumed a guest' luthierd.log)
run xl unpause g1
resumed_late() { [ "$(grep -c 'resumed a guest' luthierd.log)" -gt "$resumed" ]; }
await 60 "late suspend of g1, and its end" resumed_late
survived g1 0 "a guest that suspended late"

# The same, and it suspends when the next snapshot is copying it live, or has asked it again: then it must
# not suspend once more for that.
for moment in clean asked; do
    ask_in_vain run meddle stall "$(domid g1)"
    fault hold $moment
    start_snapshot g1
    held $moment
    run xl unpause g1
    [ $moment = asked ] || await 60 "late suspend of g1" is_suspended g1
    no_fault
    wait $SNAPSHOT || fail "the snapshot of a guest that still owed an answer: $(cat snapshot.err)"
    run luthier verify "$(ls "$STORE")"
    drop_images
    survived g1 0 "a guest that suspended late, when the next snapshot had come to $moment"
done
grep -q 'suspended late, and was resumed' luthierd.log || fail "g1 did not suspend late"

# Somebody else ends our log of what it writes: the image would lack pages.
fault hold clean
start_snapshot g1
held clean
run meddle unlog "$(domid g1)"
no_fault
ended 'somebody else ended the logging of what .g1. writes'
survived g1 0 "a log of writes that somebody else ended"

# A hostile guest takes back, or changes, what was seeded for its snapshot.
for how in revoke replace redirect; do
    fault hold window
    start_snapshot g1
    held window
    run meddle $how "$(domid g1)" "$STUB"
    no_fault
    ended 'g1. changed [0-9]+ grants'
    # What it put there itself is its own, and left alone.
    run meddle clear "$(domid g1)" 0
    run meddle clear "$(domid g1)" "$STUB"
    survived g1 0 "a guest that would $how its grants"
done
works g1

# It is destroyed while it is copied.
fault hold suspend
start_snapshot g1
held suspend
run xl destroy g1
no_fault
ended 'g1. was destroyed during the snapshot'
no_trace() {
    await 60 "empty journal" no_jobs
    [ -z "$(ls "$STORE")" ] || fail "$1: left in the store: $(ls "$STORE")"
    step "survived: $1"
}
await 60 "end of g1" gone g1
no_trace "a guest destroyed while it was suspended"

# It powers off, or crashes and is kept for a look, while it is copied live.
start_guest g1 128 1 rate=20 exit_after=20
refuses 'no longer the guest that was attached' luthier snapshot g1
attach g1
fault hold window
start_snapshot g1
held window
await 90 "end of g1" gone g1
no_fault
ended 'g1. (exited|was destroyed) during the snapshot'
no_trace "a guest that powered off"

mkguest g1 128 1 rate=20 crash_after=10 | sed 's/^on_crash.*/on_crash = "preserve"/' >crash.cfg
run xl create -q crash.cfg
attach g1
fault hold window
start_snapshot g1
held window
has_crashed() { case $(state g1) in *c*) ;; *) return 1 ;; esac; }
await 120 "crash of g1" has_crashed
no_fault
ended 'g1. crashed during the snapshot'
nothing_left g1 0 "a guest that crashed"
no_trace "a guest that crashed"
refuses 'g1.: domain [0-9]+ has crashed' luthier snapshot g1
destroy_all g1
