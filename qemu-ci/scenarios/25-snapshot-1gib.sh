# A guest of 1 GiB, more than eight times what Xen's default grant limits let anyone read at a
# time, is snapshotted through the same window as a small one, and comes back.
# only on: 4.20
. /add/scenarios/luthier.sh

start_luthier
start_stub
start_guest big 1024 2 rate=10 rewrite_mib=32 rewrite_rate=2000 fill_mib=64
grep grant big.cfg && fail "the guest's grant limits are not Xen's defaults"
attach big
taken big
[ "$(figure pages)" -ge 262144 ] || fail "only $(figure pages) pages"
step "$(figures)"
goes_on big
run grants "$(xl domid big)"
says run.log '^frames 64$'
destroy big
run luthier restore "$IMAGE"
step "restored"
continues_from big.log big
memory_right big
