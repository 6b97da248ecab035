# What the scenarios of snapshots of a network share, beside net.sh and disks.sh: guests a, b (on host 0
# at first) and c, d (on host 1). Eight tokens go a -> c -> b -> d -> a by TCP, each step to the other
# host; a journals them on its disk; a sends datagrams to d. Sourced by them, in Dom0 of host 0.

HOSTS='a=0 b=0 c=1 d=1'
# The disk that a has now, and on which host.
A_DISK=vg/a
A_DISK_ON=0

# Where each guest is now: host_of NAME. places: all of them in words.
host_of() { echo "$HOSTS" | tr ' ' '\n' | sed -n "s/^$1=//p"; }
places() { echo "$HOSTS" | sed 's/=/ on host /g; s/\([01]\) /\1, /g'; }

# on_both COMMANDS: on both hosts at once, each with its guests in $guests. What they say is in both-HOST.
guests_on() { for guest in a b c d; do [ "$(host_of $guest)" != "$1" ] || echo $guest; done; }
on_both() {
    local first
    on 1 "guests='$(guests_on 1 | tr '\n' ' ')'; $1" >both-1 2>&1 &
    first=$!
    on 0 "guests='$(guests_on 0 | tr '\n' ' ')'; $1" >both-0 2>&1 || fail "host 0: $(tail -n 5 both-0)"
    wait $first || fail "host 1: $(tail -n 5 both-1)"
}

# told NAME WORD: the last number of the guest's lines that begin with this word.
told() {
    on "$(host_of "$1")" "tail -n 400 $(console "$1")" | tr -d '\r' |
        awk -v word="$2" '$1 == word && $2 + 0 == $2 { n = $2 } END { print n + 0 }'
}

# goes_on: each guest passes on tokens, datagrams come, a looks at its journal, and nothing was ever wrong.
goes_on() { on_both '. /add/scenarios/lib.sh; . /add/scenarios/told.sh; go_on $guests'; }

# fail WHY: as of net.sh, and what became of frames.
fail() {
    echo "FAILED: $*"
    for host in 0 1; do
        on $host "tail -n 8 /tmp/luthierd.log $(console luthier-stub)" | sed "s/^/    host $host: /"
        on $host 'luthier --json net stats' >"/out/stats-$host.json"
        [ -z "${group:-}" ] || on $host "luthier restore-member channels $group | base64" >"/out/channels-$host.b64"
    done
    for guest in a b c d; do
        inside "$(host_of $guest)" $guest 'cat /proc/net/snmp /proc/net/dev; grep . /sys/class/net/eth0/carrier_*;
            netstat -tn; arp -n; dmesg | tail -n 30' >"/out/counters-$guest.txt" 2>&1
        on "$(host_of $guest)" "cat $(console $guest)" >"/out/console-$guest.txt"
    done
    exit 1
}

# Makes the guests and has them begin.
begin_ring() {
    # Four guests that always have something to do must not keep Dom0 from its own.
    on_both 'xl sched-credit2 -d 0 -w 1024; . /add/scenarios/lib.sh; . /add/scenarios/disks.sh; make_ground'
    thin_disk a
    (GUEST_MIB=112 start_on c 1 blue 3 && GUEST_MIB=112 start_on d 1 blue 4 && ready 1 c d) &
    local host_1=$!
    GUEST_DISK="'phy:/dev/vg/a,xvda,w'" GUEST_MIB=192 start_on a 0 blue 1
    GUEST_MIB=112 start_on b 0 blue 2
    ready 0 a b
    wait $host_1 || exit 1
    # On a busy machine d may not look for seconds: its kernel must not drop what came meanwhile.
    run inside 1 d 'echo 4000000 >/proc/sys/net/core/rmem_default; guest count-in 7001 >/dev/console 2>&1 &'
    run inside 1 c 'guest ring 7000 10.1.0.2:7000 4 8 >/dev/console 2>&1 &'
    run inside 0 b 'guest ring 7000 10.1.0.4:7000 4 8 >/dev/console 2>&1 &'
    run inside 1 d 'guest ring 7000 10.1.0.1:7000 4 8 >/dev/console 2>&1 &'
    run inside 0 a 'guest ring 7000 10.1.0.3:7000 4 8 start journal=xvda >/dev/console 2>&1 &'
    run inside 0 a 'guest count-out 10.1.0.4:7001 20 >/dev/console 2>&1 &'
}

# end_all: ends all guests; what they have said stays.
end_all() {
    on_both ". /add/scenarios/lib.sh; for guest in \$guests; do
        xl destroy \$guest && mv \$(console \$guest) \$(console \$guest).$round || exit 1; done"
}

# disk_right PASSED: a's disk as the group has it, on the host where it was taken and on the one where a is
# now, must agree with what a remembers, and with a's lines before and after the cut: it had told of PASSED
# tokens before the snapshot began, and what is on the disk was passed on before a's first word after the
# restore.
disk_right() {
    local first count host
    first=$(on "$(host_of a)" "cat $(console a)" | tr -d '\r' | awk '$1 == "ring" { print $2; exit }')
    for host in $(echo "$A_DISK_ON $(host_of a)" | tr ' ' '\n' | uniq); do
        on $host 'sh /add/scenarios/passed.sh' >passed.log 2>&1 || fail "host $host: $(cat passed.log)"
        count=$(tail -n 1 passed.log)
        if [ "$count" -lt "$1" ] || [ "$count" -gt "$((first + 1))" ]; then
            fail "the disk has $count tokens on host $host; a had told of $1 before the snapshot, and of $first after"
        fi
    done
}

# drop_round: the group's images, copies that were made for other hosts, and the disk of the a that was
# destroyed.
drop_round() {
    local clone host
    for host in 0 1; do
        run on $host "luthier rm $group && for image in \$(ls $STORE | grep -v '^groups$'); do luthier rm \$image || exit 1; done"
        equal "$(on $host lvs --noheadings vg | grep -c luthier_)" 0 "snapshots of disks on host $host"
    done
    clone=$(on "$(host_of a)" 'lvs --noheadings -o lv_name vg' | tr -d ' ' | grep '^restored_' | grep -v "^${A_DISK#vg/}$")
    equal "$(echo "$clone" | wc -w)" 1 "clones of a's disk ($clone)"
    run on $A_DISK_ON "lvremove -qq -f $A_DISK"
    A_DISK=vg/$clone
    A_DISK_ON=$(host_of a)
}

same_release() { [ "$(cat /sys/hypervisor/version/minor)" = "$(onhost 1 cat /sys/hypervisor/version/minor)" ]; }

# swap_hosts: each guest is to be on the other host from now on. Sets `place`, words for a restore.
swap_hosts() {
    HOSTS=$(echo "$HOSTS" | tr 01 10)
    place=''
    for guest in a b c d; do place="$place --place $guest=host$(host_of $guest)"; done
}

# roll N: ROLLED is a number below N, of the seed's.
roll() {
    SEED=$(((SEED * 1103515245 + 12345) % 2147483648))
    ROLLED=$((SEED / 65536 % $1))
}

# now: milliseconds.
now() { awk '{ print int($1 * 1000) }' /proc/uptime; }

# figures_of_round MS_OF_SNAPSHOT MS_OF_RESTORE: a line, of taken.json.
FIGURES_HEAD='round moment_ms by swapped snapshot_s restore_s spread_ms suspended_ms:a b c d recorded held dropped lost'
figures_of_round() {
    python3 - "$1" "$2" <<END
import json, sys
all = [json.loads(line) for line in open("taken.json") if line.startswith("{")][-1]
r = all.get("result", all)
c, ms = r["channel"], {m["guest"]: "%.0f" % m["suspended_ms"] for m in r["members"]}
print("$round $moment $coordinator", "yes" if "$place" else "no", *("%.1f" % (int(x) / 1000) for x in sys.argv[1:]),
    "%.1f" % r["spread_ms"], *(ms[g] for g in "abcd"), c["recorded"], c["held"], c["dropped"],
    c["lost"] + c["missed"] + c["unknown"])
END
}

# column_table FILE: its words in columns.
column_table() {
    awk 'NR == FNR { for (i = 1; i <= NF; i++) if (length($i) > w[i]) w[i] = length($i); next }
        { for (i = 1; i <= NF; i++) printf "%" (w[i] + 1) "s", $i; print "" }' "$1" "$1"
}
