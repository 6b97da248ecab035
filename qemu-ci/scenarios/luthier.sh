# Common parts of the scenarios of snapshots: sourced by them, in a lab host's Dom0.
#
#   qemu-ci/lab run --add qemu-ci/scenarios qemu-ci/scenarios/snapshot-NAME.sh
#
# Every wait has a limit: a scenario fails with a line that says what it waited for.

LOGS=/var/log/xen/console
IMAGES=/var/lib/luthier/images
DAEMON_LOG=/out/luthierd.log
mkdir -p /out /etc/luthier
[ -e /etc/luthier/stub.cfg ] || cp /add/stub.cfg /etc/luthier/stub.cfg

# Ends the scenario, with what helps to see why.
fail() {
    echo "FAIL: $*"
    echo "--- luthierd:" && tail -n 15 "$DAEMON_LOG" 2>/dev/null
    echo "--- domains:" && xl list
    exit 1
}

# A step that was seen.
seen() { echo "seen: $* ($(cut -d . -f 1 /proc/uptime) s)"; }

# eventually SECONDS WHAT COMMAND...: COMMAND succeeds before long, or the scenario fails.
eventually() {
    _until=$(($(cut -d . -f 1 /proc/uptime) + $1))
    _what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$(cut -d . -f 1 /proc/uptime)" -lt "$_until" ] || fail "waited in vain: $_what"
        sleep 0.2
    done
}

# start_luthier [OPTIONS OF LUTHIERD]: sets LUTHIERD to its pid.
start_luthier() {
    luthierd "$@" >>"$DAEMON_LOG" 2>&1 &
    LUTHIERD=$!
    eventually 20 "luthierd answers" luthier status
}

# Ends luthierd as an operator does; snapshots in progress are cancelled.
stop_luthier() {
    kill "$LUTHIERD" 2>/dev/null
    wait "$LUTHIERD" 2>/dev/null
    return 0
}

# start_guest NAME [MEM_MIB] [VCPUS] [WORDS...]: a guest of the lab, with a fresh log.
start_guest() {
    mkguest "$@" >"/tmp/$1.cfg"
    rm -f "$LOGS/guest-$1.log"
    xl create -q "/tmp/$1.cfg" >/tmp/xl-create.log 2>&1 || fail "xl create $1: $(cat /tmp/xl-create.log)"
}

log_of() { echo "$LOGS/guest-$1.log"; }

# The number of the last whole link that GUEST has printed; 0 before the first.
last_link() {
    _last=$(tail -c 400 "$(log_of "$1")" 2>/dev/null | sed -n 's/^chain \([0-9]*\) [0-9a-f]\{64\}.*/\1/p' | tail -n 1)
    echo "${_last:-0}"
}

at_link() { [ "$(last_link "$1")" -ge "$2" ]; }

# wait_chain GUEST N [SECONDS]: until it has printed link N.
wait_chain() { eventually "${3:-60}" "link $2 of $1 (is at $(last_link "$1"))" at_link "$1" "$2"; }

# goes_on GUEST: it prints at least 3 more links.
goes_on() { wait_chain "$1" $(($(last_link "$1") + 3)) 30; }

# new_log GUEST: its next instance logs into a new file; the present one stays in the file
# whose name is printed.
new_log() {
    _n=1
    while [ -e "$(log_of "$1").$_n" ]; do _n=$((_n + 1)); done
    mv "$(log_of "$1")" "$(log_of "$1").$_n"
    echo "$(log_of "$1").$_n"
}

# take GUEST [OPTIONS]: a snapshot. Sets IMAGE to its name; `figure NAME` reads its report.
# Returns luthier's status; `said GUEST` is its error then.
take() {
    _guest=$1
    TAKEN=/tmp/take-$1.json
    IMAGE=
    luthier --json snapshot "$@" >"$TAKEN" 2>"/tmp/take-$_guest.err" || return
    IMAGE=$(tail -n 1 "$TAKEN" | sed 's/.*"image":"\([^"]*\)".*/\1/')
}

said() { cat "/tmp/take-$1.err" && tail -n 1 "/tmp/take-$1.json"; }

# figure NAME: a number or word of the report of the last `take`.
figure() { tail -n 1 "$TAKEN" | sed "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/"; }

# One line about the last snapshot.
figures() {
    echo "$IMAGE: $(figure pages_sent) pages sent in $(figure total_ms) ms," \
        "suspended $(figure suspended_ms) ms, $(figure stop), overflow $(figure pages_overflow)"
}

is_gone() { ! xl domid "$1"; }

destroy() {
    xl destroy "$1" && eventually 20 "$1 is gone" is_gone "$1"
}
