# Snapshots on top of each other. With --keep-log the next one reads only what was written to since;
# the log survives luthierd, is noticed when others have used it, and ends when it should. What is
# restored from a chain goes on exactly where the last of it was taken.
# only on: 4.20
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

logged() { ! meddle unlogged "$(domid "$1")" >/dev/null 2>&1; }
unlogged() { run meddle unlogged "$(domid "$1")"; }

# on_top WHAT READ: the last snapshot built on the one before, and read `changed` or `all`.
on_top() {
    equal "$(figure parent)" "$PARENT" "$1: parent"
    equal "$(figure read)" "$2" "$1: what was read ($(figure read_why))"
    step "$1: $(figures), read $2, $(figure bytes) bytes on disk"
    PARENT=$IMAGE
}

start_luthier
start_stub
start_guest g1 128 1 rate=20 fill_mib=32 rewrite_mib=4 rewrite_rate=200
start_guest other 128 1
attach g1
attach other

taken g1 --keep-log
equal "$(figure log_kept)" true "the log is kept"
logged g1 || fail "the log of g1 is off"
whole=$(figure pages)
step "whole: $(figures)"
PARENT=$IMAGE FIRST=$IMAGE

taken g1 --parent "$PARENT" --keep-log
on_top "second" changed
[ "$(figure pages_sent)" -lt $((whole / 4)) ] || fail "$(figure pages_sent) of $whole pages were sent"

# The image equals the guest at the cut, page for page: a tool of the lab that knows nothing of
# Luthier has written it down meanwhile.
for cut in 1 2 3; do
    sleep "$cut"
    fault hold state
    TAKEN=take-g1.json
    luthier --json snapshot g1 --parent "$PARENT" --keep-log >$TAKEN 2>take-g1.err &
    SNAPSHOT=$!
    held state
    run oracle dump "$(domid g1)" "$IMAGES/cut"
    no_fault
    wait "$SNAPSHOT" || fail "a snapshot that was looked at: $(said g1)"
    IMAGE=$(figure image)
    luthier export "$IMAGE" --output - 2>export.err | oracle compare "$IMAGES/cut" >compared 2>&1 ||
        fail "the image is not the guest at the cut: $(cat compared export.err)"
    on_top "cut $cut ($(cat compared))" changed
done
rm -f "$IMAGES/cut"

# luthierd ends, and is killed: the log goes on.
stop_luthier
restart_luthier
await_stub
taken g1 --parent "$PARENT" --keep-log
on_top "after a restart of luthierd" changed
kill -9 "$LUTHIERD"
restart_luthier
await_stub
taken g1 --parent "$PARENT" --keep-log
on_top "after luthierd was killed" changed

# Killed when the image was there but the log not yet noted: the log is off, and nothing builds on it.
fault kill committed
start_snapshot g1 --parent "$PARENT" --keep-log
ended 'luthierd went away'
restart_luthier
await_stub
await 20 "empty journal" no_jobs
taken g1 --parent "$PARENT" --keep-log
on_top "after a kill in the middle" all

# Somebody else takes the log's bits, or ends it, or stock xl saves the guest.
run meddle clean "$(domid g1)"
taken g1 --parent "$PARENT" --keep-log
on_top "somebody took the log's bits" all
run meddle unlog "$(domid g1)"
taken g1 --parent "$PARENT" --keep-log
on_top "somebody ended the log" all
run meddle unlog "$(domid g1)"
run meddle log "$(domid g1)"
taken g1 --parent "$PARENT" --keep-log
on_top "somebody began a log of theirs" all
run xl save -c g1 /tmp/stock.save
rm -f /tmp/stock.save
taken g1 --parent "$PARENT" --keep-log
on_top "stock xl saved it" all

# A cancelled snapshot has used the log up; one that never came to that has not.
fault hold clean
start_snapshot g1 --parent "$PARENT" --keep-log
held clean
kill -TERM $SNAPSHOT
wait $SNAPSHOT
no_fault
await 20 "empty journal" no_jobs
unlogged g1
taken g1 --parent "$PARENT" --keep-log
on_top "after a cancelled one" all

# Parents that are none.
taken other
refuses 'image of another guest' luthier snapshot g1 --parent "$IMAGE"
refuses 'not found|no image|does not exist' luthier snapshot g1 --parent g1@20010101T000000Z
refuses '.' luthier snapshot g1 --parent ../etc
refuses 'live policy' luthier snapshot g1 --policy xen-save --keep-log
refuses 'builds on it' luthier rm "$FIRST"
logged g1 || fail "a refused snapshot has ended the log"

# The log ends with a snapshot that does not keep it, and with detaching.
taken g1 --parent "$PARENT"
on_top "the last of the chain" changed
unlogged g1
taken g1 --keep-log --policy pool-fit
logged g1 || fail "the log of g1 is off"
run luthier detach g1
unlogged g1
attach g1
taken g1 --keep-log
run luthier rm "$IMAGE"
run luthier status
unlogged g1

# The chain: whole, and the guest goes on from its end.
run luthier verify "$PARENT"
destroy g1
run luthier restore "$PARENT"
continues_from g1.log g1
memory_right g1
