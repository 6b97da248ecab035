#!/bin/sh
# Runs scenarios in Dom0, one after the other, on one booted host. For each it prints a line
# `RESULT PASS|FAIL NAME SECONDS`, which qemu-ci/test counts. /add/list names the scenarios.

# Leaves only Dom0 and an empty store.
clean_up() {
    xl list | awk 'NR > 2 { print $2 }' | while read -r domain; do
        xl destroy "$domain" >/dev/null 2>&1
    done
    # The daemon first may end by itself, then must. (pidof prints all of them: words.)
    pids=$(pidof luthierd) && kill $pids && sleep 1
    pids=$(pidof luthierd) && kill -9 $pids
    rm -rf /var/lib/luthier/* /run/luthier*
}

failed=0
for name in $(cat /add/list); do
    clean_up >/dev/null 2>&1
    mkdir -p "/tmp/scenario/$name"
    cd "/tmp/scenario/$name" || exit 2
    echo "=== $name"
    SCENARIO_START=$(date +%s)
    export SCENARIO_START
    limit=$(sed -n 's/^# time limit: \([0-9]*\) s$/\1/p' "/add/scenarios/$name.sh")
    timeout "${limit:-300}" sh -c '. /add/scenarios/lib.sh; . "$1"' sh "/add/scenarios/$name.sh"
    status=$?
    seconds=$(($(date +%s) - SCENARIO_START))
    if [ $status = 0 ]; then
        echo "RESULT PASS $name $seconds"
    else
        failed=$((failed + 1))
        [ $status != 143 ] || echo "FAILED: not at its end after $seconds s"
        xl list
        mkdir -p "/out/$name"
        cp -r . /var/log/xen/console "/out/$name/" 2>/dev/null
        # Images are large; what failed is told by the logs.
        find "/out/$name" -size +4096k -exec rm -f {} +
        xl dmesg | tail -n 100 >"/out/$name/xen.log"
        echo "RESULT FAIL $name $seconds"
    fi
    cd /
    rm -rf "/tmp/scenario/$name"
done
clean_up >/dev/null 2>&1
exit $((failed > 0))
