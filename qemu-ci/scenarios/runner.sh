#!/bin/sh
# Runs scenarios in Dom0, one after the other, on one booted host. For each it prints a line
# `RESULT PASS|FAIL NAME SECONDS`, which qemu-ci/test counts. /add/list names the scenarios.

# Leaves only Dom0 and an empty store, on every host.
clean_up() {
    for host in $(seq $((LAB_HOSTS - 1))); do onhost "$host" "sh /add/scenarios/clean-up.sh"; done
    sh /add/scenarios/clean-up.sh
}

# Settings of whoever runs the tests, such as GROUP_ROUNDS: see qemu-ci/test.
[ ! -e /add/settings ] || . /add/settings

# limit_of NAME: how long a scenario may take, in seconds: 300, or as it says: `# time limit: 900 s`, or
# `# time limit: 900 s, 300 s more for each of ROUNDS`, a setting.
limit_of() {
    set -- $(sed -n 's/^# time limit: \([0-9]*\) s\(, \([0-9]*\) s more for each of \([A-Z_]*\)\)*$/\1 \3 \4/p' "/add/scenarios/$1.sh")
    rounds=1
    [ -z "${3:-}" ] || eval "rounds=\${$3:-1}"
    echo $((${1:-300} + (rounds - 1) * ${2:-0}))
}

# try NAME: one run of a scenario. What is of use of a failed one is left in /out.
try() {
    clean_up >/dev/null 2>&1
    rm -rf "/tmp/scenario/$1"
    mkdir -p "/tmp/scenario/$1"
    cd "/tmp/scenario/$1" || exit 2
    SCENARIO_START=$(date +%s)
    export SCENARIO_START
    timeout "$(limit_of "$1")" sh -c '. /add/scenarios/lib.sh; . "$1"' sh "/add/scenarios/$1.sh"
    status=$?
    seconds=$(($(date +%s) - SCENARIO_START))
    if [ $status != 0 ]; then
        [ $status != 143 ] || echo "FAILED: not at its end after $seconds s"
        xl list
        mkdir -p "/out/$1"
        cp -r . /var/log/xen/console "/out/$1/" 2>/dev/null
        # Images are large; what failed is told by the logs.
        find "/out/$1" -size +4096k -exec rm -f {} +
        xl dmesg | tail -n 100 >"/out/$1/xen.log"
        cp /tmp/luthierd.log "/out/$1/" 2>/dev/null
        [ "$LAB_HOSTS" = 1 ] ||
            onhost 1 'xl list; tail -n 300 /tmp/luthierd.log /var/log/xen/console/*.log' >"/out/$1/host-1.log"
    fi
    cd /
    rm -rf "/tmp/scenario/$1"
    return $status
}

failed=0
for name in $(cat /add/list); do
    echo "=== $name"
    if try "$name"; then
        echo "RESULT PASS $name $seconds"
        continue
    fi
    if [ -s /add/settings ]; then # more rounds are to find what is rare: nothing is passed over
        failed=$((failed + 1))
        echo "RESULT FAIL $name $seconds"
        continue
    fi
    # QEMU's emulation of SVM loses a guest or an interrupt now and then, with stock xl too. A
    # fault of ours comes again; one that does not is still told.
    echo "RETRY $name: failed after $seconds s, once more"
    if try "$name"; then
        echo "RESULT PASS $name $seconds, at the second try"
    else
        failed=$((failed + 1))
        echo "RESULT FAIL $name $seconds"
    fi
done
clean_up >/dev/null 2>&1
exit $((failed > 0))
