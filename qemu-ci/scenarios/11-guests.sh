# The guests that other scenarios rely on: one that ends, one that crashes, one that never
# answers a suspend request, one with four vCPUs.
# time limit: 600 s
mkguest leaves 224 1 exit_after=2 >leaves.cfg
mkguest crashes 224 1 crash_after=2 >crashes.cfg
mkguest --deaf deaf >deaf.cfg
for guest in leaves crashes deaf; do run xl create -q $guest.cfg; done
await 180 "power-off of the guest that leaves" gone leaves
await 180 "crash of the guest that crashes" gone crashes
says "$(console leaves)" 'guest powers off'
says "$(console crashes)" 'guest crashes'
chain_right leaves

step "a deaf guest does not answer"
xl dmesg | grep -q 'deaf guest runs' || fail "the deaf guest says nothing"
refused timeout 5 xl save deaf "$IMAGES/deaf.xl"
alive deaf || fail "the deaf guest has ended"
run xl destroy deaf

step "four vCPUs"
start_guest four 256 4 rewrite_mib=16 fill_mib=16
says "$(console four)" 'guest ready vcpus=4'
memory_right four
chain_right four
