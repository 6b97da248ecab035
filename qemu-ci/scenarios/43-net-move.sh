# Guest a on host 0 sends numbered lines to guest b on host 1. It is snapshotted and destroyed, its
# image is carried to host 1 and restored there: the TCP connection goes on, no line is lost, doubled
# or spoiled; the tables of both switches follow.
#
# Host 0 has no uplink from the snapshot to the guest's end: a goes on meanwhile, and would be
# acknowledged what its restored self has yet to send, which no TCP forgives. (One cut through both
# guests comes with group snapshots.) So the image has lines that b never got, and sends them again.
# hosts: 2
# time limit: 800 s
. /add/scenarios/net.sh

GUEST_MIB=128
connect_hosts blue=7
start_on a 0 blue 1
start_on b 1 blue 2
start_on c 0 blue 3
joined_hosts
ready 0 a c
ready 1 b
run reaches 0 a 10.1.0.2
begin_lines 0 a 1 b 10.1.0.2
run reaches 0 c 10.1.0.1
here=$(place_of 0 blue 00:16:3e:00:00:01)
there=$(place_of 1 blue 00:16:3e:00:00:01)
case $here in a/0*) ;; *) fail "host 0 has a at '$here'" ;; esac
equal "$there" "switch $(id_of 0)" "where host 1 has a"
step "a on host 0 talks to b on host 1"

attach a
run ip link set "vif$STUB.0" down
taken a
run xl destroy a
run ip link set "vif$STUB.0" up
away=$(date +%s)
sent=$(lines 1 b)
await 20 "end of a" gone a
step "$(figures)"
# (nc ends when its input does: so there is a sleep.)
run onhost 1 "mkdir -p $STORE; (sleep 1000 | nc -l -p 9000 | gunzip | tar -x -C $STORE) </dev/null >/dev/null 2>&1 &"
sleep 1
tar -c -C "$STORE" "$IMAGE" | gzip -1 | nc 10.0.0.2 9000 || fail "no way for the image to host 1"
is_there() { onhost 1 "luthier verify $IMAGE"; }
await 20 "whole image on host 1" is_there
step "the image is on host 1: $(du -sm "$STORE/$IMAGE" | cut -f 1) MiB"
run onhost 1 "luthier restore $IMAGE"
step "restored on host 1, $(($(date +%s) - away)) s after it went"

await 60 "lines past $sent" lines_past 1 b $((sent + 20))
lines_go_on 1 b
lines_right 1 b
step "the connection goes on: $sent lines before, now $(cat lines.log), each right and in order"

await 120 "session with host 1" has_peer 0
run reaches 0 c 10.1.0.1
here=$(place_of 0 blue 00:16:3e:00:00:01)
there=$(place_of 1 blue 00:16:3e:00:00:01)
equal "$here" "switch $(id_of 1)" "where host 0 has a now"
case $there in a/0*) ;; *) fail "host 1 has a at '$there'" ;; esac
step "both tables have it on host 1"
