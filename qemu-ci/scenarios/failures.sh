# What the scenarios of failures share. Sourced by them after luthier.sh, in Dom0.
#
# A failure is survived when there was one clear error with a next step, the guest goes on, and
# nothing is left: no image, no half image, no grant, no log of writes, no entry in the journal.

RUN=/run/luthier
export LUTHIER_TEST_FAULTS=1 # see dom0-shim/src/daemon/fault.rs

# refuses PATTERN COMMAND...: COMMAND fails, with one error that matches PATTERN and a next step.
refuses() {
    local pattern=$1
    shift
    "$@" >refused.out 2>refused.err && fail "'$*' succeeded, and should say '$pattern'"
    one_error "$pattern" refused.err "$*"
}

# one_error PATTERN FILE WHAT: what a command said on stderr was progress, then one error.
one_error() {
    [ "$(grep -c '^luthier: ' "$2")" = 1 ] || fail "$3: not one error, but: $(cat "$2")"
    sed -n '/^luthier: /,$p' "$2" >error
    grep -Eq -e "$1" error || fail "$3: should say '$1', and says: $(cat error)"
    [ "$(wc -l <error)" -le 2 ] || fail "$3: more than an error and a next step: $(cat error)"
}

# fault kill|hold STEP: the next snapshot's daemon dies or stands still there, until no_fault.
fault() {
    rm -f $RUN/test-held
    echo "$1 $2" >$RUN/test-fault.new && mv $RUN/test-fault.new $RUN/test-fault
}
no_fault() { rm -f $RUN/test-fault; }
is_held() { [ -e $RUN/test-held ]; }
held() { await 60 "luthierd held at $1" is_held; }

# state GUEST: as `xl list` shows it, such as r----- or ---s--.
state() { xl list "$1" 2>/dev/null | awk 'NR == 2 { print $5 }'; }
is_suspended() { case $(state "$1") in *s*) ;; *) return 1 ;; esac; }
runs() { case $(state "$1") in '' | *[scdp]*) return 1 ;; esac; }
domid() { xl domid "$1"; }

stub_is_up() { luthier --json status | grep -q '"state":"up"'; }
await_stub() { await 30 "connection to the stub" stub_is_up; }
no_jobs() { [ -z "$(ls $RUN/jobs 2>/dev/null)" ]; }
images() { ls "$STORE" 2>/dev/null | grep -vc partial; }
drop_images() { rm -rf "${STORE:?}"/*; }

# nothing_left GUEST IMAGES WHAT: as many images as before, and nothing else, within $MENDED seconds.
MENDED=20
nothing_left() {
    await $MENDED "empty journal: $3" no_jobs
    ! ls -d "$STORE"/*.partial >/dev/null 2>&1 || fail "$3: a half image is left: $(ls "$STORE")"
    [ "$(images)" = "$2" ] || fail "$3: there should be $2 images: $(ls "$STORE")"
    equal "$(meddle count "$(domid "$1")" "$STUB")" 0 "$3: grants left"
    run meddle unlogged "$(domid "$1")"
}

# survived GUEST IMAGES WHAT: nothing is left, and the guest goes on.
survived() {
    await 20 "running $1: $3" runs "$1"
    nothing_left "$@"
    await_links "$1" 2 20
    step "survived: $3"
}

# works GUEST: the next snapshot does, and its image is whole.
works() {
    taken "$1"
    run luthier verify "$IMAGE"
    run luthier rm "$IMAGE"
    step "the next snapshot of $1 works"
}

# start_snapshot GUEST [OPTIONS]: in the background; `ended PATTERN` waits for its error.
start_snapshot() {
    luthier snapshot "$@" >snapshot.out 2>snapshot.err &
    SNAPSHOT=$!
}
ended() {
    wait "$SNAPSHOT" && fail "the snapshot succeeded, and should say '$1'"
    one_error "$1" snapshot.err "snapshot"
}

# The daemon is gone, and started again as systemd would.
restart_luthier() {
    wait "$LUTHIERD" 2>/dev/null
    no_fault
    start_luthier
}
