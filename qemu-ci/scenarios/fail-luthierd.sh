#!/bin/sh
# luthierd is killed at every step and at random moments, and started again as systemd would:
# the guest runs, nothing is left, and the next snapshot works.
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

refused "luthierd can't be reached" luthier status
start_luthier
start_guest g1 224 1 rate=20 rewrite_mib=8 rewrite_rate=500
luthier attach g1 || fail "attach"
refused 'no stub domain is running' luthier snapshot g1
luthier up || fail "luthier up"
note_stub
wait_chain g1 3
works g1

for step in log-dirty-on window clean asked suspend clean-last state resume log-dirty-off revoke \
    ended released; do
    fault kill $step
    start_snapshot g1
    ended 'luthierd went away'
    case $step in
    suspend | clean-last | state) is_suspended g1 || fail "$step: the guest was not left suspended" ;;
    esac
    restart_luthier
    survived g1 0 "killed at $step"
    eventually 20 "the stub is connected again" is_up
done
works g1
fault kill committed
start_snapshot g1
ended 'luthierd went away'
restart_luthier
survived g1 1 "killed when the image was there"
eventually 20 "the stub is connected again" is_up
luthier verify "$(ls "$IMAGES")" >/dev/null || fail "the image is not whole"
rm -r "${IMAGES:?}"/*

for moment in 0.3 0.7 1.1 1.6; do
    start_snapshot g1
    sleep $moment
    kill -9 "$LUTHIERD"
    if wait $SNAPSHOT; then rm -r "${IMAGES:?}"/*; fi
    restart_luthier
    survived g1 0 "killed after $moment s"
    eventually 20 "the stub is connected again" is_up
done
works g1

# A client that goes, by Ctrl-C or otherwise, wants no snapshot; nor does a daemon that stops.
for signal in INT KILL; do
    fault hold suspend
    start_snapshot g1
    held
    kill -$signal $SNAPSHOT
    wait $SNAPSHOT
    sleep 0.3
    no_fault
    survived g1 0 "client ended by SIG$signal while the guest was suspended"
done
fault hold clean
start_snapshot g1
held
refused 'a snapshot of `g1` is in progress' luthier snapshot g1
refused 'a snapshot of `g1` is in progress' luthier detach g1
refused '1 snapshots? (is|are) in progress' luthier down
kill -TERM "$LUTHIERD"
sleep 0.3
no_fault
ended 'cancelled'
wait "$LUTHIERD" || fail "luthierd ended with $?"
start_luthier
survived g1 0 "luthierd stopped by SIGTERM"
eventually 20 "the stub is connected again" is_up

# A client that stops reading must not keep the guest waiting.
luthier snapshot g1 >/tmp/snapshot.out 2>/tmp/snapshot.err &
SNAPSHOT=$!
sleep 0.2
kill -STOP $SNAPSHOT
sleep 3
kill -CONT $SNAPSHOT
wait $SNAPSHOT || fail "a client that was stopped for a while: $(cat /tmp/snapshot.err)"
rm -r "${IMAGES:?}"/*
works g1

refused 'is not attached' luthier snapshot g2
refused 'there is no domain .g2.' luthier attach g2
refused "can't be attached" luthier attach luthier-stub
chmod 755 /tmp
echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >>/etc/passwd
refused 'Only root' su nobody -c 'luthier status'
refused 'another luthierd|needs root' sh -c 'luthierd 2>&1 | sed s/^luthierd:/luthier:/ >&2; false'
