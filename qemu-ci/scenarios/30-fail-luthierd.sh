# luthierd is killed at every step and at random moments, and started again as systemd would:
# the guest runs, nothing is left, and the next snapshot works. Clients that go, daemons that
# stop, and requests that make no sense.
# by name also on: 4.17
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

refuses "luthierd can't be reached" luthier status
start_luthier
start_guest g1 128 1 rate=20 rewrite_mib=8 rewrite_rate=500
refuses 'is not attached' luthier snapshot g1
refuses 'there is no domain .g2.' luthier attach g2
attach g1
refuses 'no stub domain is running' luthier snapshot g1
start_stub
refuses "can't be attached" luthier attach luthier-stub

# All steps: log-dirty-on window clean asked suspend clean-last state resume log-dirty-off revoke
# ended released committed. Here, one of each kind; `committed` and a random moment follow.
for at in window asked suspend resume released; do
    fault kill $at
    start_snapshot g1
    ended 'luthierd went away'
    case $at in
    suspend)
        is_suspended g1 || fail "killed at $at, g1 should stand still: $(state g1)"
        ;;
    resume)
        # It goes on and nobody was told: it is watched, as one that may answer the request to suspend yet.
        runs g1 || fail "killed at $at, g1 should run: $(state g1)"
        MENDED=90
        ;;
    esac
    restart_luthier
    survived g1 0 "killed at $at"
    MENDED=20
    await_stub
done
fault kill committed
start_snapshot g1
ended 'luthierd went away'
restart_luthier
survived g1 1 "killed when the image was there"
await_stub
run luthier verify "$(ls "$STORE")"
drop_images

for moment in 1.1; do
    start_snapshot g1
    sleep $moment
    kill -9 "$LUTHIERD"
    wait $SNAPSHOT && drop_images
    restart_luthier
    survived g1 0 "killed after $moment s"
    await_stub
done

# A client that goes wants no snapshot; nor does a daemon that stops. (Ctrl-C is a signal that
# the shell has its background jobs ignore.)
fault hold suspend
start_snapshot g1
held suspend
kill -TERM $SNAPSHOT
wait $SNAPSHOT
sleep 0.3
no_fault
survived g1 0 "the client ended while the guest was suspended"
fault hold clean
start_snapshot g1
held clean
refuses 'a snapshot of `g1` is in progress' luthier snapshot g1
refuses 'a snapshot of `g1` is in progress' luthier detach g1
refuses 'in progress' luthier down
kill -TERM "$LUTHIERD"
sleep 0.3
no_fault
ended 'cancelled'
wait "$LUTHIERD" || fail "luthierd ended with $?"
start_luthier
survived g1 0 "luthierd stopped by SIGTERM"
await_stub

# A client that stands still keeps nobody waiting: the guest runs again before it does.
fault hold suspend
start_snapshot g1
held suspend
kill -STOP $SNAPSHOT
no_fault
one_image() { [ "$(images)" = 1 ]; }
await 60 "image" one_image
kill -CONT $SNAPSHOT
wait $SNAPSHOT || fail "a client that was stopped for a while: $(cat snapshot.err)"
drop_images

echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >>/etc/passwd
refuses 'Only root' su nobody -s /bin/sh -c 'luthier status'
refuses 'needs root' su nobody -s /bin/sh -c 'luthierd 2>&1 | sed "s/^luthierd:/luthier:/" >&2; exit 1'
refuses 'another luthierd is running' sh -c 'luthierd 2>&1 | sed "s/^luthierd:/luthier:/" >&2; exit 1'
works g1

# Killed when the guest goes on, before xenstored was told: what waits for the guest to shut down, as `xl save`
# does, must hear of it.
fault hold suspend
start_snapshot g1
held suspend
sleep 0.5 # xenstored sees that it stands still
fault kill resume
ended 'luthierd went away'
restart_luthier
run timeout 100 xl save g1 g1.saved
step "xl saves what luthierd had left when it went on"
