#!/bin/sh
# Runs one bench in Dom0: /add/bench names it. What it measures is left in /out/samples, a line
# `case subject metric value` for each sample.
fail() {
    echo "bench: $*" >&2
    tail -n 20 /tmp/luthierd.log 2>/dev/null >&2
    exit 1
}

# json_number OBJECT KEY: the number of a key of a flat object.
json_number() { echo "$1" | sed -n "s/.*\"$2\":\(-\{0,1\}[0-9.]*\).*/\1/p"; }

# start_guest NAME MEM_MIB VCPUS [WORDS]: sets `domid`.
start_guest() {
    mkguest "$@" >/tmp/guest.cfg && xl -f create -q /tmp/guest.cfg || fail "guest $1 does not start"
    domid=$(xl domid "$1")
}

# What `qemu-ci/bench` was told: `NAME=VALUE` a line.
[ ! -e /add/settings ] || . /add/settings
STORE=/var/lib/luthier/images
mkdir -p $STORE /out
. "/add/benches/$(cat /add/bench).sh"
