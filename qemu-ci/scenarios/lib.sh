# What scenarios share. Sourced in Dom0 (busybox sh) before each scenario; a scenario that
# comes to its end has passed, `fail` ends it.
#
# A scenario starts with only Dom0 running and an empty /var/lib/luthier, and need not clean
# up: the runner destroys what it left. Its working directory is its own and empty.

IMAGES=/var/lib/luthier
CONSOLES=/var/log/xen/console

# Ends the scenario: what was expected and what was seen, in one line.
fail() {
    echo "FAILED: $*"
    exit 1
}

# Says what comes next, with the time since the scenario began.
step() { echo "  [$(($(date +%s) - SCENARIO_START)) s] $*"; }

# run COMMAND...: must succeed; its output is shown only when it doesn't.
run() {
    "$@" >run.log 2>&1 && return 0
    tail -n 20 run.log | tr '\r' '\n'
    fail "'$*' ended with an error"
}

# refused COMMAND...: must fail; its output is in refused.log.
refused() {
    "$@" >refused.log 2>&1 && fail "'$*' succeeded, and should not have"
    return 0
}

# says FILE PATTERN: the file must have a line that matches.
says() {
    grep -q -e "$2" "$1" && return 0
    tail -n 10 "$1"
    fail "no '$2' in $1"
}

# equal A B WHAT
equal() { [ "$1" = "$2" ] || fail "$3: '$1' is not '$2'"; }

# await SECONDS WHAT COMMAND...: waits until the command succeeds.
await() {
    local end=$(($(date +%s) + $1)) what=$2 seconds=$1
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $end ] || fail "no $what after $seconds s"
        sleep 0.3
    done
}

# The console log of a guest.
console() { echo "$CONSOLES/guest-$1.log"; }

# await_line NAME PATTERN [SECONDS]: waits for a line of the guest's console.
await_line() {
    await "${3:-60}" "'$2' from $1" grep -q -e "$2" "$(console "$1")"
}

# last_link NAME: number of the last link that the guest printed; -1 before the first.
last_link() {
    tail -n 50 "$(console "$1")" 2>/dev/null | tr -d '\r' |
        awk '/^chain [0-9]+ [0-9a-f]+$/ && length($3) == 64 { n = $2; found = 1 }
             END { print found ? n : -1 }'
}

past_link() { [ "$(last_link "$1")" -ge "$2" ]; }

# await_links NAME COUNT [SECONDS]: waits until the guest's chain has moved on by COUNT links.
await_links() {
    local goal=$(($(last_link "$1") + $2))
    await "${3:-60}" "link $goal from $1" past_link "$1" "$goal"
}

# start_guest NAME [MEM_MIB] [VCPUS] [WORDS...]: a guest as of `mkguest`, until its chain runs.
start_guest() {
    mkguest "$@" >"$1.cfg"
    rm -f "$(console "$1")"
    run xl create -q "$1.cfg"
    await 240 "first link of $1" past_link "$1" 2
}

alive() { xl domid "$1" >/dev/null 2>&1; }
gone() { ! alive "$1"; }

# destroy NAME: destroys the guest and keeps its console log as NAME.log here, added to what
# an earlier life of it left there.
destroy() {
    run xl destroy "$1"
    await 20 "end of $1" gone "$1"
    keep_console "$1"
}

# keep_console NAME: the log so far becomes NAME.log, so that the next guest of this name
# starts a log of its own.
keep_console() {
    sleep 1 # xenconsoled writes out what it has read
    mv "$(console "$1")" "$1.log" || fail "no console log of $1"
}

# continues_from LOG NAME [SECONDS]: the restored guest's chain goes on exactly after a link of
# LOG, and still runs.
continues_from() {
    await "${3:-60}" "first link of the restored $2" past_link "$2" 0
    await_links "$2" 5
    run guest verify-chain --continues "$1" "$(console "$2")"
    tail -n 1 run.log | sed 's/^/    /'
}

chain_right() { run guest verify-chain "$(console "$1")"; }

# stat_of NAME FIELD: a field of the guest's last `stats` line; empty before the first.
stat_of() {
    grep '^stats ' "$(console "$1")" | tail -n 1 | tr -d '\r' | tr ' ' '\n' | sed -n "s/^$2=//p"
}

swept() { [ "$(stat_of "$1" sweeps)" -ge "$2" ]; }
has_stats() { [ -n "$(stat_of "$1" sweeps)" ]; }

# memory_right NAME [SECONDS]: waits until the guest has checked each page that it writes once
# more, and none was wrong.
memory_right() {
    await 120 "stats of $1" has_stats "$1"
    local goal=$(($(stat_of "$1" sweeps) + 2))
    await "${2:-240}" "check of $1's memory" swept "$1" "$goal"
    grep CORRUPT "$(console "$1")" | head -n 3
    equal "$(stat_of "$1" corrupt)" 0 "corrupt pages in $1"
}
