# The stub domain is destroyed or paused in the middle of a snapshot, also while the guest stands
# still: the shim lets the guest go on, and the next snapshot works.
# only on: 4.20
# time limit: 600 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

start_luthier
start_guest g1 128 1 rate=20 rewrite_mib=8 rewrite_rate=500
attach g1
start_stub

fault hold window
start_snapshot g1
held window
run luthier down --force # which gives snapshots up
no_fault
ended 'the stub domain went away'
survived g1 0 "the stub taken down by force"
refuses 'no stub domain is running' luthier snapshot g1
start_stub

fault hold suspend
start_snapshot g1
held suspend
run xl destroy luthier-stub
no_fault
ended 'the stub domain went away'
survived g1 0 "the stub destroyed while the guest was suspended"
start_stub

# Paused while the guest stands still: 15 s of silence are enough.
fault hold suspend
start_snapshot g1
held suspend
run xl pause luthier-stub
no_fault
before=$(date +%s)
ended 'the stub domain said nothing for 15 s'
[ $(($(date +%s) - before)) -lt 25 ] || fail "the guest was let go after $(($(date +%s) - before)) s"
survived g1 0 "the stub paused while the guest was suspended"
refuses 'the stub domain said nothing' luthier snapshot g1
run xl unpause luthier-stub
await_stub

# Paused while the guest runs, at a moment of its own choice: perhaps in the middle of a page.
start_snapshot g1
sleep 1
run xl pause luthier-stub
ended 'the stub domain said nothing for 30 s'
survived g1 0 "the stub paused while the guest ran"
refuses 'the stub domain' luthier snapshot g1
# A stub that does not come back is replaced.
run luthier down --force
start_stub
works g1
