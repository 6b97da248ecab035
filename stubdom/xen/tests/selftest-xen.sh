#!/bin/sh
# Runs this crate's self-test image as a PVH guest of Xen and checks what it prints, that it uses
# no CPU while idle, and that a stock vchan client (vchan-socket-proxy of Debian's xen-utils) can
# talk to it, again and again, also after being killed. In Dom0, or in the lab:
#
#   cargo build --profile kernel --features kernel -p xen --bin xen-selftest
#   RUSTFLAGS='-C target-feature=+crt-static' cargo build --release -p xen --example vchan-client \
#       --target x86_64-unknown-linux-gnu
#   qemu-ci/lab run --bare --add target/kernel/xen-selftest \
#       --add target/x86_64-unknown-linux-gnu/release/examples/vchan-client \
#       stubdom/xen/tests/selftest-xen.sh
#
# Add vchan-socket-proxy (in /usr/lib/xen-VERSION/bin) and libxenvchan.so.VERSION of the same Xen
# too, for the part with the stock client.
image=${1:-/add/xen-selftest}
log=/var/log/xen/console/guest-xen-selftest.log
failed=0

fail() { echo "FAIL $*"; failed=1; }

# Waits until the console has said it (a number of times).
said() { # words, count, seconds
    for _ in $(seq "${3:-30}"); do
        [ "$(grep -c "$1" $log 2>/dev/null)" -ge "${2:-1}" ] 2>/dev/null && return 0
        sleep 1
    done
    fail "the console does not say \"$1\" ${2:-1} times"
    return 1
}

cpu_time() { xl list xen-selftest | awk 'NR == 2 { print $6 }'; }

cat >/tmp/xen-selftest.cfg <<CFG
name = "xen-selftest"
type = "pvh"
kernel = "$image"
memory = 32
vcpus = 1
max_grant_version = 1
on_crash = "preserve"
on_poweroff = "preserve"
CFG
xl info | grep xen_version
xl create -q /tmp/xen-selftest.cfg || exit 1
id=$(xl domid xen-selftest)

if said "idle for 10 s"; then
    sleep 1
    before=$(cpu_time)
    sleep 8
    after=$(cpu_time)
    echo "CPU seconds before and after 8 s idle: $before $after"
    awk "BEGIN { exit !($after - $before < 0.11) }" || fail "an idle domain uses CPU"
fi
said "waiting for a vchan client" 1 20

# xenstored is told the path as the domain's own; a client needs it whole.
path=/local/domain/$id/data/selftest/vchan
proxy=$(ls /add/vchan-socket-proxy /usr/lib/xen-*/bin/vchan-socket-proxy 2>/dev/null | head -n 1)
export LD_LIBRARY_PATH=/add
if [ -n "$proxy" ]; then
    for round in 1 2 3; do
        said "waiting for a vchan client" "$round" 10
        answer=$( (echo "Ehello $round"; sleep 2) | "$proxy" -m client "$id" "$path" - 2>/tmp/proxy.err)
        [ "$answer" = "hello $round" ] || { fail "echo $round: \"$answer\""; cat /tmp/proxy.err; }
        said "client has gone" "$round" 10
    done
    # Killed without a word.
    said "waiting for a vchan client" 4 10
    sleep 100 | "$proxy" -m client "$id" "$path" - &
    pid=$!
    said "a vchan client has come" 4 10
    xenstore-ls "$path"
    kill -9 $pid
    said "client has gone" 4 10
    said "waiting for a vchan client" 5 10
    # Left by the server.
    "$proxy" -m client "$id" "$path" - <<END
Q
END
    said "client has gone" 5 10
    said "waiting for a vchan client" 6 10
    xenstore-ls "$path"
else
    echo "no vchan-socket-proxy here"
fi
# Bulk, and clients that die in the midst of it, by a client of our own (examples/vchan-client.rs).
client=/add/vchan-client
if [ -x $client ]; then
    come=$(grep -c "a vchan client has come" $log)
    for command in B4 S1 B4; do
        $client "$id" "$path" $command || fail "client $command"
        come=$((come + 1))
    done
    for command in B9 S9 B9; do
        $client "$id" "$path" $command >/tmp/client.out &
        pid=$!
        sleep 0.4
        kill -9 $pid
        wait $pid 2>/dev/null
        come=$((come + 1))
        said "a vchan client has come" $come 10
        [ -s /tmp/client.out ] && echo "note: $command ended before it was killed"
    done
    $client "$id" "$path" B1 || fail "client after three that were killed"
else
    echo "no vchan-client here"
fi
cat $log
[ $failed = 0 ] && echo "xen: all passed on Xen"
xl destroy xen-selftest
exit $failed
