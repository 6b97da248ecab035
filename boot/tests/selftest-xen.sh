#!/bin/sh
# Runs the self-test image as a PVH guest of Xen, once for each case of cases.txt, and checks how
# xl sees its end and what Xen's log (guest_loglvl=all) has of its output. In Dom0, or in the lab:
#
#   cargo build --profile kernel --features kernel -p boot --bin boot-selftest
#   qemu-ci/lab run --bare --add target/kernel/boot-selftest --add boot/tests/cases.txt \
#       boot/tests/selftest-xen.sh
image=${1:-/add/boot-selftest}
cases=${2:-/add/cases.txt}
failed=0

# The state letters of `xl list` for a domain, without the dashes: "s" shut down, "sc" crashed.
state() { xl list "$1" | awk 'NR == 2 { gsub("-", "", $5); print $5 }'; }

check() { # name, ending, words
    cat >"/tmp/t-$1.cfg" <<CFG
name = "t-$1"
type = "pvh"
kernel = "$image"
cmdline = "selftest=$1"
memory = 32
on_crash = "preserve"
on_poweroff = "preserve"
CFG
    case $2 in crash) expected=sc ;; *) expected=s ;; esac
    xl create -q "/tmp/t-$1.cfg" || { echo "FAIL $1: xl create"; failed=1; return; }
    id=$(xl domid "t-$1")
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        [ "$(state "t-$1")" = $expected ] && break
        sleep 1
    done
    # The words are plain text: -F.
    if [ "$(state "t-$1")" != $expected ]; then
        echo "FAIL $1: state $(state "t-$1"), not $expected"
        failed=1
    elif ! xl dmesg | grep -F "(d$id)" | grep -qF "$3"; then
        echo "FAIL $1: no \"$3\" in Xen's log:"
        xl dmesg | grep -F "(d$id)"
        failed=1
    else
        echo "ok $1: $2"
        [ "$1" = speed ] && xl dmesg | grep -F "(d$id)" | grep "cycles a page"
    fi
    xl destroy "t-$1"
}

while IFS='|' read -r name ending words; do
    case $name in '#'*) continue ;; esac
    # Unquoted: takes the blanks around the field away.
    check $name $ending "$(echo $words)" </dev/null
done <"$cases"
xl info | grep xen_version
[ $failed = 0 ] && echo "boot: all cases passed on Xen"
exit $failed
