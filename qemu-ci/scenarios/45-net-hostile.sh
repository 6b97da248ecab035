# A hostile guest plays every attack that it knows on the back end of its vif, one after the other,
# while two honest guests of the same network talk. After each: the stub lives, the honest guests'
# connection went on, and the hostile guest's port was closed with a reason where it broke the
# protocol, or what it did was counted.
# time limit: 1200 s
# only on: 4.20
. /add/scenarios/luthier.sh

HOSTILE=/lab/guest/hostile
[ -e $HOSTILE ] || HOSTILE=/add/hostile
STUB_LOG=$(console luthier-stub)
# The longest silence of the honest guests, in seconds: a second more than a frame may wait.
LONGEST=${LONGEST:-3}

# honest NAME N: a guest with the address 10.1.0.N.
honest() {
    rm -f "$(console "$1")"
    mkguest --net "$1" "mac=00:16:3e:00:00:0$2,backend=luthier-stub,bridge=blue,mtu=1398" 192 1 \
        net_address="10.1.0.$2/24" chain=no >"$1.cfg"
    run xl create -q "$1.cfg"
}

# A line of 500 octets ten times a second over one TCP connection; the receiver notes when each came.
begin_talk() {
    run onguest b 'sleep 1000000 | nc -l -p 7000 | while read -r n rest; do read -r up rest </proc/uptime; echo "$n $up"; done >/tmp/came &'
    run onguest a 'pad=$(head -c 370 /dev/zero | tr "\0" x)
        sleep 1
        n=0; while n=$((n + 1)); do echo "$n $pad" || break; sleep 0.1; done | nc 10.1.0.2 7000 >/dev/null 2>&1 &'
    came=0
    await 30 "honest traffic" goes_on_between
}

# The receiver's view since the last look: sets new (lines that came), gap (the longest silence,
# until now) and missing.
look() {
    onguest b "tail -n +$((came > 0 ? came : 1)) /tmp/came" >came.log || fail "b does not answer"
    up=$(onguest b 'cut -d " " -f 1 /proc/uptime')
    eval "$(awk -v up="$up" -v from="$came" '
        NR > 1 { if ($2 - at > gap) gap = $2 - at; if ($1 != last + 1) missing++ }
        { last = $1; at = $2 }
        END { if (NR && up - at > gap) gap = up - at
              printf "new=%d gap=%.1f missing=%d came=%d", NR - (from > 0), gap, missing, (last > 0 ? last : from) }' came.log)"
}

goes_on_between() { look && [ "$new" -gt 5 ]; }

# honest_went_on WHAT
honest_went_on() {
    look
    [ "$new" -gt 0 ] || fail "$1: nothing came from a to b"
    equal "$missing" 0 "$1: lines missing between honest guests"
    awk -v gap="$gap" -v longest="$LONGEST" 'BEGIN { exit !(gap <= longest) }' ||
        fail "$1: the honest guests heard nothing from each other for $gap s"
    # The connection's end would be silence: so there is still one, the first.
}

stub_lives() {
    equal "$(xl domid luthier-stub 2>/dev/null)" "$STUB" "$1: the stub's domain"
    luthier status >status.log 2>&1 || fail "$1: luthier status: $(cat status.log)"
    figures_of_ports || fail "$1: luthier net stats: $(cat stats.json)"
    grep -n -i -e panic -e 'page fault' -e 'exception' "$STUB_LOG" && fail "$1: the stub's console"
    return 0
}

figures_of_ports() { luthier --json net stats >stats.json 2>&1; }

# port_of DOMID: the figures of its port, in one line.
port_of() { sed 's/{"\(guest\|name\)"/\n&/g' stats.json | grep "\"domid\":$1,"; }

# No table holds more than it may.
tables_are_bounded() {
    sed 's/{"name"/\n&/g' stats.json |
        sed -n 's/{"name":"\([^"]*\)".*"macs":\([0-9]*\),"macs_limit":\([0-9]*\),.*/\1 \2 \3/p' >macs.log
    equal "$(wc -l <macs.log)" 2 "$1: networks"
    awk '$2 > $3 { exit 1 }' macs.log || fail "$1: a MAC table beyond its limit: $(cat macs.log)"
}

played() { grep -q 'hostile: the end\|panic' "$(console hostile)"; }

# play ATTACKS EXPECT [WORDS]: the attacks, with commas, in one life of the hostile guest. EXPECT
# is `closed` (for each of them, with a reason), `counted` (drops at its port) or `lives` (nothing
# but that all else goes on); several with `|` between them. WORDS go to its command line;
# in=loose: in a network of its own, whose guests may use any address.
play() {
    local attacks=$1 expect=$2 seen=lives net=blue count port closed
    shift 2
    count=$(echo "$attacks" | tr ',' '\n' | wc -l)
    step "$attacks"
    case "$*" in *in=loose*) net=loose ;; esac
    rm -f "$(console hostile)"
    cat >hostile.cfg <<END
name = "hostile"
type = "pvh"
memory = 32
kernel = "$HOSTILE"
cmdline = "attack=$attacks me=10.1.0.9 peer=10.1.0.1 victim=00:16:3e:00:00:01 stay $*"
vif = ['mac=00:16:3e:00:00:09,backend=luthier-stub,bridge=$net,mtu=1398']
tsc_mode = "native"
on_crash = "preserve"
END
    run xl create -q hostile.cfg
    evil=$(xl domid hostile)
    case $attacks in no-rx*) talk_to_the_deaf ;; esac
    await $((120 + 30 * count)) "end of attack $attacks" played
    tr -d '\r' <"$(console hostile)" >hostile.log
    sed -n 's/^hostile: attack \(.*: \)\(done, \|could\)/        \1\2/p; s/^hostile: no way/        no way/p' hostile.log
    grep 'LEAK' hostile.log && fail "$attacks: it was given what is not its own"
    stub_lives "$attacks"
    honest_went_on "$attacks"
    tables_are_bounded "$attacks"
    [ $net = blue ] || echo "        MAC addresses: $(sed -n 's/^loose //p' macs.log | tr ' ' /)"
    echo "        honest guests: $new lines, longest silence $gap s"
    port=$(port_of "$evil")
    case $port in *'"drops":[]'* | *'"drops":{}'* | '') ;; *'"drops":'*) seen="$seen counted" ;; esac
    [ -z "$port" ] || echo "$port" | sed -n 's/.*"drops":\([^]}]*[]}]\).*/        dropped: \1/p'
    tr -d '\r' <"$STUB_LOG" | sed -n "s/.*vif $evil\.0: \(closed\|not connected\): /        closed: /p" >closed.log
    uniq -c closed.log | head -n 20
    closed=$(wc -l <closed.log)
    [ "$closed" -lt "$count" ] || seen="$seen closed"
    equal "$(grep -c ': done, ' hostile.log)" "$count" "attacks played"
    echo " $seen " | grep -q -E " ($expect) " || fail "$attacks: expected $expect, seen: $seen"
    run xl destroy hostile
    await 20 "end of the hostile guest" gone hostile
}

# Somebody must send to a guest that does not read.
talk_to_the_deaf() {
    run onguest a 'arp -s 10.1.0.9 00:16:3e:00:00:09
        guest udp-send 10.1.0.9:9 200 4 >/dev/null 2>&1 &'
}

port_gone() { figures_of_ports && [ -z "$(port_of "$evil")" ]; }

start_luthier
start_stub
run luthier net create blue --mtu 1398
run luthier net create loose --mtu 1398 --no-pin
honest a 1
honest b 2
begin_talk
step "two honest guests talk"

while read -r attack expect words; do
    case $attack in '' | '#'*) continue ;; esac
    [ -z "${ONLY:-}" ] || case " $ONLY " in *" $attack "*) ;; *) continue ;; esac
    # shellcheck disable=SC2086 # a list of words
    play "$attack" "$expect" $words </dev/null
    await 20 "removal of the hostile guest's port" port_gone
done <<'END'
# Well behaved first: what follows says something only if this works.
none                lives
padding             lives
# XSA-155
ring-change,ring-change closed
ring-change-valid   lives
# Indices
ring-index-beyond,ring-index-back,ring-index-max,ring-index-rx-beyond,ring-index-rx-back closed
ring-index-events   lives
event-storm         lives
# XSA-374
malformed-offset,malformed-offset-max,malformed-size-zero,malformed-size-max closed
malformed-sum,malformed-sum-all,malformed-sum-offset,malformed-more closed
malformed-extra,malformed-extra-more,malformed-extra-type,malformed-extra-none closed
malformed-extra-twice,malformed-extra-endless,malformed-gso-zero,malformed-gso-type closed
malformed-flags     lives
disconnect          lives
# XSA-448
zero-fragment       closed
# XSA-423, 432
tiny-slots          lives
tiny-slots-19,tiny-slots-200 closed
sizes               counted|closed
gso-lies            lives
# XSA-392
no-rx               counted
no-rx-consume       counted
# XSA-424
drops               counted  count=50000
# XSA-396
grants-invalid,grants-nothing closed
grants-readonly     counted|closed
grants-revoke       counted|closed
grants-rings        lives
# Xenstore
xenstore            closed
xs-states           lives
xs-nodes            lives
xs-vanish           lives
# Addresses
mac-flood           counted
mac-flood           lives    in=loose
mac-spoof           counted
END

step "every attack survived"
honest_went_on "the end"
