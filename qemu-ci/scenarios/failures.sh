# Common parts of the scenarios of failures (fail-*.sh): sourced by them after luthier.sh.
#
# A failure is survived when there was one clear error with a next step, the guest goes on, and
# nothing is left: no image, no half image, no grant, no log of writes, no entry in the journal.

RUN=/run/luthier
export LUTHIER_TEST_FAULTS=1 # see dom0-shim/src/daemon/fault.rs
[ -x /usr/bin/meddle ] || PATH=$PATH:/add

# refused PATTERN COMMAND...: COMMAND fails, with one error that matches PATTERN and a next step.
refused() {
    _pattern=$1
    shift
    if "$@" >/tmp/refused.out 2>/tmp/refused.err; then fail "not refused: $*"; fi
    of_one_error "$_pattern" /tmp/refused.err "$*"
}

# of_one_error PATTERN FILE WHAT: what a command said on stderr is progress and one error.
of_one_error() {
    [ "$(grep -c '^luthier: ' "$2")" = 1 ] || fail "$3: not one error: $(cat "$2")"
    sed -n '/^luthier: /,$p' "$2" >/tmp/error
    grep -Eq -- "$1" /tmp/error || fail "$3: the error should say '$1': $(cat /tmp/error)"
    [ "$(wc -l </tmp/error)" = 2 ] || fail "$3: no next step, or more than one: $(cat /tmp/error)"
}

# fault KILL_OR_HOLD STEP / no_fault
fault() { rm -f $RUN/test-held; echo "$1 $2" >$RUN/test-fault.new && mv $RUN/test-fault.new $RUN/test-fault; }
no_fault() { rm -f $RUN/test-fault; }
is_held() { [ -e $RUN/test-held ]; }
held() { eventually 60 "luthierd is held" is_held; }

# state GUEST: as `xl list` shows it, such as r----- or ---s--.
state() { xl list "$1" 2>/dev/null | awk 'NR == 2 { print $5 }'; }
is_suspended() { case $(state "$1") in *s*) ;; *) return 1 ;; esac; }
runs() { case $(state "$1") in '' | *[scdp]*) return 1 ;; esac; }

stub() { xl domid luthier-stub 2>/dev/null; }
# The stub's domain id, also after its death, for the look at grants.
note_stub() { STUB=$(stub); }
no_jobs() { [ -z "$(ls $RUN/jobs 2>/dev/null)" ]; }
no_partial() { ! ls -d "$IMAGES"/*.partial >/dev/null 2>&1; }
images() { ls "$IMAGES" 2>/dev/null | wc -l; }
no_grants() { [ "$(meddle count "$(xl domid "$1")" "$STUB")" = 0 ]; }
unlogged() { meddle unlogged "$(xl domid "$1")"; }

# survived GUEST IMAGES WHAT: the guest goes on, there are as many images as before, and nothing
# else is left.
survived() {
    eventually 20 "$3: $1 runs" runs "$1"
    eventually 20 "$3: the journal is empty" no_jobs
    no_partial || fail "$3: a half image is left: $(ls "$IMAGES")"
    [ "$(images)" = "$2" ] || fail "$3: an image is left: $(ls "$IMAGES")"
    no_grants "$1" || fail "$3: grants are left: $(meddle count "$(xl domid "$1")" "$STUB")"
    unlogged "$1" || fail "$3: the guest's writes are still logged"
    _link=$(last_link "$1")
    wait_chain "$1" $((_link + 2)) 20
    seen "$3"
}

# works GUEST: the next snapshot does, and its image is whole.
works() {
    take "$1" || fail "the next snapshot of $1: $(cat "/tmp/take-$1.err" "$TAKEN")"
    luthier verify "$IMAGE" >/dev/null || fail "the next image of $1 is not whole"
    luthier rm "$IMAGE" >/dev/null || fail "rm $IMAGE"
}

# start_snapshot GUEST [OPTIONS]: in the background; `ended PATTERN` waits for its error.
start_snapshot() {
    luthier snapshot "$@" >/tmp/snapshot.out 2>/tmp/snapshot.err &
    SNAPSHOT=$!
}
ended() {
    if wait "$SNAPSHOT"; then fail "the snapshot succeeded, it should say '$1'"; fi
    of_one_error "$1" /tmp/snapshot.err "snapshot"
}

# The daemon has gone; systemd would start it again at once.
restart_luthier() {
    wait "$LUTHIERD" 2>/dev/null
    no_fault
    start_luthier
}
is_up() { luthier --json status | grep -q '"state":"up"'; }
