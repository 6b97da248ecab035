# The configuration in an image is what xl says of the guest at that time, although luthierd asks xl
# only when something may have changed: after each command that changes a running guest's
# configuration, the next image has the new one.
# by name also on: 4.20
. /add/scenarios/luthier.sh

export LUTHIER_LOG=debug
start_luthier
start_stub
start_guest g1 160 2
attach g1
wait_chain g1 3

OPTIONS=
asked() { grep -c 'asking xl for a configuration' luthierd.log; }
# What xl says now, and whether the last image has it.
xl_says() { xl list -l "$1" | tr -d ' \n\t' | sed 's/^\[*{"domid":[0-9]*,"config"://; s/}\]*$//'; }
image_has() { tr -d ' ' <"$STORE/$IMAGE/state" | tr '\0' '\n' | grep -aqF -e "$1"; }
# same GUEST TIMES: a snapshot for which xl was asked so often, and what it has is what xl says.
same() {
    before=$(asked)
    rm -rf "${STORE:?}"/*
    # shellcheck disable=SC2086 # words
    taken g1 $OPTIONS
    equal $(($(asked) - before)) "$2" "questions to xl"
    image_has "$(xl_says "$1")" || fail "the image has another configuration than $(xl_says "$1")"
}
# changed GUEST WORDS: the same after a change that shows as these words.
changed() {
    image_has "$2" && fail "the image has $2 before anything has changed"
    same "$1" 1
    image_has "$2" || fail "the image lacks $2"
    same "$1" 0
    step "seen in the image: $2"
}

# A snapshot after the attach, and one after that.
same g1 0
same g1 0
image_has '"name":"g1"' || fail "there is no configuration in the image"
step "xl is not asked while nothing changes"

run xl sched-credit2 -d g1 -w 300
changed g1 '"weight":300'
run xl vcpu-set g1 1
changed g1 '"avail_vcpus":[0]'
run xl mem-set g1 150
await 30 "150 MiB of g1" sh -c '[ "$(xl list g1 | awk "NR == 2 { print \$3 }")" -le 151 ]'
sleep 1
changed g1 '"target_memkb":153600'
truncate -s 16M /tmp/disk
run losetup /dev/loop5 /tmp/disk
run xl block-attach g1 phy:/dev/loop5,xvdz,w
OPTIONS='--no-disk xvdz'
changed g1 '"vdev":"xvdz"'
run xl block-detach --force g1 xvdz
OPTIONS=
same g1 1
image_has '"vdev":"xvdz"' && fail "the image has a disk that the guest has no more"
same g1 0
run losetup -d /dev/loop5
run xl rename g1 g2
changed g2 '"name":"g2"'
run xl rename g2 g1
same g1 1

# A daemon that has just started knows nothing.
stop_luthier
start_luthier
same g1 1
same g1 0
destroy g1
run luthier restore "$IMAGE"
goes_on g1
