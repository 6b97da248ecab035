# What the scenarios of snapshots share, beside lib.sh. Sourced by them, in Dom0.
# One of them alone: qemu-ci/lab run --add qemu-ci/scenarios qemu-ci/scenarios/NAME.sh

SCENARIO_START=${SCENARIO_START:-$(date +%s)}
export SCENARIO_START
command -v await >/dev/null || . /add/scenarios/lib.sh

# Where luthierd keeps images.
STORE=$IMAGES/images

# Ends the scenario: what was expected and seen, and what the daemon said last.
fail() {
    echo "FAILED: $*"
    tail -n 12 luthierd.log 2>/dev/null | sed 's/^/    luthierd: /'
    exit 1
}

# start_luthier [OPTIONS OF LUTHIERD]: sets LUTHIERD to its pid; its log is luthierd.log here.
start_luthier() {
    luthierd "$@" >>luthierd.log 2>&1 &
    LUTHIERD=$!
    await 20 "answer from luthierd" luthier status
}

# Ends luthierd as an operator does: snapshots in progress are cancelled.
stop_luthier() {
    kill "$LUTHIERD" && wait "$LUTHIERD"
    return 0
}

# start_stub [OPTIONS OF LUTHIER UP]: sets STUB to its domain id.
start_stub() {
    run luthier up "$@"
    STUB=$(xl domid luthier-stub) || fail "no stub domain"
}

attach() { run luthier attach "$1"; }

# take GUEST [OPTIONS]: a snapshot. Sets IMAGE to its name; `figure` then reads its report.
# Ends with luthier's status; `said GUEST` is its error. The events are in take-GUEST.json.
take() {
    IMAGE=
    TAKEN=take-$1.json
    luthier --json snapshot "$@" >"$TAKEN" 2>"take-$1.err" || return
    IMAGE=$(figure image)
}

said() { cat "take-$1.err" && tail -n 1 "take-$1.json"; }

# taken GUEST [OPTIONS]: the same, and it must succeed.
taken() { take "$@" || fail "snapshot of $1: $(said "$1")"; }

# figure NAME: a number or word of the last snapshot's report.
figure() { tail -n 1 "$TAKEN" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

# The last snapshot in a line.
figures() {
    echo "$IMAGE: $(figure pages_sent) pages in $(figure total_ms) ms, suspended" \
        "$(figure suspended_ms) ms, freezing $(figure freeze_ms) ms, $(figure stop)"
}

# goes_on GUEST: its chain, from now on.
goes_on() { await_links "$1" 3 30; }

# wait_chain GUEST N [SECONDS]: until it has printed link N.
wait_chain() { await "${3:-60}" "link $2 from $1" past_link "$1" "$2"; }
