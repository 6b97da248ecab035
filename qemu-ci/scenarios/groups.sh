# What the scenarios of groups' failures share, beside net.sh and failures.sh: two hosts, guest a with a
# disk on host 0 and guest b on host 1, which pass tokens of a hash chain to each other, and print one of
# their own. Sourced by them, in Dom0 of host 0.
#
# A failure is survived when each guest runs on within the stated time (README, Snapshots of a network),
# and the group is whole and verified on both hosts, or nothing of it is left on either.
. /add/scenarios/net.sh
. /add/scenarios/failures.sh
. /add/scenarios/disks.sh

GUEST_MIB=112
# A guest runs again this long after whatever was killed: seconds. The 15 s that the README promises, and
# what this slow machine takes to do and to see anything.
RUNS_WITHIN=45
# So long after all are back, every host knows how the group ended: 100 s without the coordinator, and
# the time to ask.
DECIDED_WITHIN=150

home_of() { case $1 in a) echo 0 ;; *) echo 1 ;; esac; }
log_of() { on "$(home_of "$1")" "tail -n 300 $(console "$1")" 2>/dev/null | tr -d '\r'; }
# links_of GUEST: of its own chain; passed_by GUEST: tokens that it has passed on.
links_of() { log_of "$1" | awk '$1 == "chain" && length($3) == 64 { n = $2 } END { print n + 0 }'; }
passed_by() { log_of "$1" | awk '$1 == "ring" { n = $2 } END { print n + 0 }'; }
links_past() { [ "$(links_of "$1")" -gt "$2" ]; }
passed_past() { [ "$(passed_by "$1")" -gt "$2" ]; }

# The two hosts with their guests, and the ring.
begin_groups() {
    connect_hosts blue=7
    joined_hosts
    start_guests
    run inside 1 b 'guest ring 7000 10.1.0.1:7000 2 8 pause=100 >/dev/console 2>&1 &'
    run inside 0 a 'guest ring 7000 10.1.0.2:7000 2 8 start pause=100 >/dev/console 2>&1 &'
    tokens_go_on
    step "tokens go round"
}

# Both guests, which are attached.
start_guests() {
    make_ground
    thin_disk a
    start_b
    mkguest --disk "'phy:/dev/vg/a,xvda,w'" --net a "mac=00:16:3e:00:00:01,backend=luthier-stub,bridge=blue,mtu=$NET_MTU" \
        192 1 net_address=10.1.0.1/24 journal=xvda rate=4 gap_ms=100 rewrite_mib=8 rewrite_rate=50 >a.cfg
    rm -f "$(console a)"
    run xl create -q a.cfg
    ready 0 a
    attach a
    attach_b
}
start_b() { start_on b 1 blue 2 chain=yes rate=4 gap_ms=100 rewrite_mib=8 rewrite_rate=50; }
attach_b() {
    ready 1 b
    run onhost 1 'luthier attach b'
}

# run_on GUEST...: their own chains go on, within the stated time from WHEN (date +%s).
run_on() {
    local guest
    for guest in "$@"; do
        await $((WHEN + RUNS_WITHIN - $(date +%s))) "link of $guest within $RUNS_WITHIN s" \
            links_past "$guest" $(($(links_of "$guest") + 2))
    done
}

# stands_still GUEST...: asks them anew for how long they stand still; stood_still GUEST...: sets STOOD to how
# long each did at most since then, as its own clock saw it, with all that it waited for the CPU and for the
# scenario to see that a phase is reached and to kill somebody then. Promised are 15 s after that.
STANDS_STILL_MS=20000
stands_still() {
    local guest
    for guest in "$@"; do run on "$(home_of "$guest")" "guest gap $guest"; done
}
stood_still() {
    local guest ms
    STOOD=
    for guest in "$@"; do
        ms=$(on "$(home_of "$guest")" "guest gap $guest") || fail "$guest does not say how long it stood still"
        ms=$((ms / 1000))
        [ $ms -le $STANDS_STILL_MS ] || fail "$guest stood still for $ms ms"
        STOOD="${STOOD:+$STOOD, }$guest stood still for $ms ms"
    done
}

# tokens_go_on: nothing that was on its way was lost, doubled or changed places.
tokens_go_on() {
    local guest
    for guest in a b; do await 120 "tokens at $guest" passed_past $guest $(($(passed_by $guest) + 10)); done
    for guest in a b; do
        if log_of $guest | grep BROKEN; then fail "$guest lost its place"; fi
    done
}

# hold_at HOST STEP: luthierd of that host stands still there; let_go HOST: no more.
hold_at() { run on "$1" "rm -f $RUN/test-held; echo 'hold $2' >$RUN/test-fault.new && mv $RUN/test-fault.new $RUN/test-fault"; }
let_go() { run on "$1" "rm -f $RUN/test-fault"; }
is_held_on() { on "$1" "test -e $RUN/test-held"; }
# held_on HOST STEP: waits until it stands still there. (To look at another host costs both much of their only CPU.)
held_on() {
    local end=$(($(date +%s) + 300))
    until is_held_on "$1"; do
        [ "$(date +%s)" -lt $end ] || fail "luthierd of host $1 does not get to $2"
        sleep 0.7
    done
}

# luthierd of a host ends at once; and is started again as systemd would.
kill_luthierd() { run on "$1" 'kill -9 $(pidof luthierd); rm -f '"$RUN/test-fault $RUN/test-held"; }
again_luthierd() {
    run on "$1" "LUTHIER_TEST_FAULTS=1 luthierd </dev/null >>/tmp/luthierd.log 2>&1 &
        for i in 1 2 3 4 5 6 7 8 9 10; do luthier status >/dev/null 2>&1 && exit 0; sleep 1; done; exit 1"
}

# The stub domain of a host ends at once.
kill_stub() { run on "$1" "xl destroy luthier-stub && rm -f $RUN/test-fault"; }
# Started again, and its guest plugged anew as `luthier up` says. Its address is the guest's to set.
again_stub() {
    local guest=b n=2
    [ "$1" = 1 ] || guest=a n=1
    run on "$1" luthier up
    says run.log "xl network-detach $guest 0; luthier attach $guest --net blue --mac 00:16:3e:00:00:0$n"
    run on "$1" "xl network-detach $guest 0 && luthier attach $guest --net blue --mac 00:16:3e:00:00:0$n"
    [ "$1" != 0 ] || STUB=$(xl domid luthier-stub)
    run inside "$1" $guest "for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] && break; sleep 1; done
        ip link set eth0 mtu $NET_MTU; ip link set eth0 up; ip addr add 10.1.0.$n/24 dev eth0"
    await 120 "session with host 1" has_peer 0
    await 120 "session with host 0" has_peer 1
}

# left_on HOST GUEST: what is not as it was before a group, beside images: domains (a stub that is dead and whose
# pages somebody still has mapped is listed, too), daemons, the guest's pages granted beside its devices', a
# log of its writes, or a note that one is kept, and disks that stand still.
left_on() {
    on "$1" "
        domains=\$(xl list | awk 'NR > 1 { print \$1 }' | sort | tr '\\n' ' ')
        [ \"\$domains\" = 'Domain-0 $2 luthier-stub ' ] || echo domains: \$domains
        [ \$(pidof luthierd | wc -w) = 1 ] || echo daemons: \$(pidof luthierd)
        [ \"\$(meddle seeded \$(xl domid $2))\" = 0 ] || echo grants: \$(meddle seeded \$(xl domid $2))
        meddle unlogged \$(xl domid $2) 2>&1
        ls $RUN/logs 2>/dev/null
        dmsetup info -c --noheadings -o name,suspended 2>/dev/null | grep -i ':suspended'
        echo looked" >left
    [ "$(cat left)" = looked ]
}
as_before() {
    local end=$(($(date +%s) + 60))
    until left_on "$1" "$2"; do
        [ "$(date +%s)" -lt $end ] || fail "left on host $1: $(tr '\n' ' ' <left)"
        sleep 1
    done
}

# Both hosts' groups that are whole, and what else lies in their stores.
groups_of() { on "$1" "ls $STORE/groups 2>/dev/null | grep -v '\.pending'"; }
images_of() { on "$1" "ls $STORE 2>/dev/null | grep -v '^groups$'"; }
is_decided_on() {
    on "$1" "! ls $STORE $STORE/groups 2>/dev/null | grep -e pending -e partial && [ -z \"\$(ls $RUN/jobs 2>/dev/null)\" ]"
}
is_decided() { is_decided_on 0 && is_decided_on 1 && [ "$(groups_of 0)" = "$(groups_of 1)" ]; }

# decided whole|nothing|either [GUESTS]: how the group ended, on both hosts, which then have nothing of it any
# more; GUESTS: those that are left. Sets GROUP, empty when there was none. Who was told that it is whole finds it so.
decided() {
    local host guest
    await $DECIDED_WITHIN "end of the group: $(groups_of 0 | tr '\n' ' ') on host 0, $(groups_of 1 | tr '\n' ' ') on host 1" \
        is_decided
    GROUP=$(groups_of 0)
    case $1${GROUP:+:yes} in
    whole | nothing:yes) fail "should be $1, and there is '$GROUP'" ;;
    esac
    if grep -q '"result"' snapshot.out && [ -z "$GROUP" ]; then fail "a group was told whole, and is not there"; fi
    if [ -n "$GROUP" ]; then
        snapshots_left 1
        on 1 "luthier verify $GROUP" >verify-1 2>&1 &
        run on 0 "luthier verify $GROUP"
        wait $! || fail "host 1: $(cat verify-1)"
    fi
    for host in 0 1; do
        if [ -n "$GROUP" ]; then
            equal "$(images_of $host | wc -l)" 1 "images of $GROUP on host $host"
            run on $host "luthier rm $GROUP"
        fi
        equal "$(images_of $host)" '' "images left on host $host"
    done
    await 60 "end of the disk's snapshots" no_snapshots
    for guest in ${2:-a b}; do as_before "$(home_of $guest)" $guest; done
    if grep -h CORRUPT "$(console a)"; then fail "a found its disk or its memory wrong"; fi
}

# went_wrong WHAT: one of many tries did. What tells why is kept; both hosts are clean then, as the next try
# is of no use on what this one left.
WRONG_TRIES=0
went_wrong() {
    local kept
    WRONG_TRIES=$((WRONG_TRIES + 1))
    echo "WENT WRONG: $1"
    kept=/out/wrong-$WRONG_TRIES
    mkdir -p "$kept"
    echo "$1" >"$kept/what"
    cp -r snapshot.* /tmp/luthierd.log $CONSOLES "$kept" 2>/dev/null
    { xl list; ls -R $RUN $STORE; } >"$kept/host-0.log" 2>&1
    onhost 1 "xl list; ls -R $RUN $STORE; tail -n 300 /tmp/luthierd.log $CONSOLES/*.log" >"$kept/host-1.log" 2>&1
    onhost 1 'sh /add/scenarios/clean-up.sh' >/dev/null 2>&1
    sh /add/scenarios/clean-up.sh >/dev/null 2>&1
}
# The journal of a has room for so many links: an hour's.
journal_goes_on() { [ "$(links_of a)" -ge 16000 ] || journal_right a; }
none_wrong() { [ $WRONG_TRIES = 0 ] || fail "$WRONG_TRIES of the tries went wrong: see above"; }
