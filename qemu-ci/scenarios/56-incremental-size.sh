# Writing 1 % of a guest's memory between two snapshots gives a second image of at most 1.2 % of it,
# with the log kept and, reading everything, without.
# only on: 4.17
# time limit: 500 s
. /add/scenarios/net.sh

MIB=1024
MOST=$((MIB * 1048576 * 12 / 1000))

# rewrite: writes to 1 % of the guest's memory, always the same pages.
rewrite() { run inside 0 g1 "dd if=/dev/urandom of=/tmp/f bs=4096 count=$((MIB * 256 / 100)) conv=notrunc"; }

# second WHAT READ: the last snapshot is small enough.
second() {
    equal "$(figure read)" "$2" "$1: what was read ($(figure read_why))"
    [ "$(figure bytes)" -le $MOST ] || fail "$1: $(figure bytes) bytes on disk, $MOST at most: $(figures)"
    step "$1: $(figure bytes) bytes on disk, $(awk "BEGIN { print $(figure bytes) / $MIB / 10485.76 }") % of the guest's memory"
}

start_luthier
start_stub
mkguest --net g1 '' $MIB 1 chain=no >g1.cfg
run xl create -q g1.cfg
ready 0 g1
rewrite
attach g1
taken g1 --keep-log
step "whole: $(figures), $(figure bytes) bytes on disk"
rewrite
taken g1 --parent "$IMAGE" --keep-log
second "with the log" changed
run luthier detach g1
attach g1
rewrite
taken g1 --parent "$IMAGE"
second "without it" all
run luthier verify "$IMAGE"
