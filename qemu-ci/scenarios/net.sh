# What the scenarios of networks share, beside luthier.sh. Sourced by them, in Dom0 of host 0.
# Guests are those of `mkguest --net`; commands run in them by `onguest`, without any network.
. /add/scenarios/luthier.sh

# The MTU of networks that `luthier net create` chooses, and of the guests here.
NET_MTU=1398

# on HOST COMMAND...: a shell command in Dom0 of a host.
on() {
    if [ "$1" = 0 ]; then shift; sh -c "$*"; else onhost "$@"; fi
}

# inside HOST GUEST COMMAND...: a shell command in a guest of a host.
inside() {
    local host=$1 guest=$2
    shift 2
    if [ "$host" = 0 ]; then
        onguest "$guest" "$*"
    else # one more shell on the way: what is quoted stays quoted
        onhost "$host" "onguest $guest '$(echo "$*" | sed "s/'/'\\\\''/g")'"
    fi
}

# start_switch HOST [--uplink]: luthierd and the stub domain there.
start_switch() {
    if [ "$1" = 0 ] && [ -z "${2:-}" ]; then
        start_luthier
        start_stub
        return
    fi
    run on "$1" "start-luthier ${2:-}"
    [ "$1" != 0 ] || STUB=$(xl domid luthier-stub)
}

# join HOST OTHER: HOST joins the switches through that of OTHER.
join() {
    local line
    line=$(on "$2" luthier net key | grep -o 'luthier net join .*') || fail "host $2 has no address or key"
    run on "$1" "$line"
}

has_peer() { on "$1" luthier net peers | grep -q -w alive; }

# start_on NAME HOST NETWORK N: a guest with the MAC address 00:16:3e:00:00:0N and the addresses
# 10.1.0.N and fd00::N. Ready when `ready` says so.
start_on() {
    run on "$2" "rm -f $CONSOLES/guest-$1.log; mkguest --net $1 \
        'mac=00:16:3e:00:00:0$4,backend=luthier-stub,bridge=$3,mtu=$NET_MTU' 192 1 \
        net_address=10.1.0.$4/24 net_address6=fd00::$4/64 chain=no >/tmp/$1.cfg && xl create -q /tmp/$1.cfg"
}

# ready HOST GUEST...: until they answer, which takes them seconds to boot.
ready() {
    local host=$1 guest
    shift
    for guest in "$@"; do run inside "$host" "$guest" true; done
}

# reaches HOST GUEST ADDRESS: it gets an answer within seconds.
reaches() {
    case $3 in
    *:*) inside "$1" "$2" "for i in 1 2 3 4 5; do ping6 -c 1 -W 2 $3 && exit 0; done; exit 1" ;;
    *) inside "$1" "$2" "for i in 1 2 3 4 5; do ping -c 1 -W 2 $3 && exit 0; done; exit 1" ;;
    esac
}

# carries HOST_A A HOST_B B ADDRESS_OF_B: 1 MiB by TCP from A to B and another back, at the same
# time over one connection; both arrive as they were sent.
carries() {
    local of=$1 a=$2 to=$3 b=$4
    for side in "$of $a" "$to $b"; do
        # shellcheck disable=SC2086 # host and guest
        run inside $side 'dd if=/dev/urandom of=/tmp/mine bs=64k count=16 2>/dev/null; rm -f /tmp/theirs'
    done
    run inside "$to" "$b" 'nc -l -p 5001 </tmp/mine >/tmp/theirs 2>/dev/null &'
    run inside "$of" "$a" "sleep 1; timeout 90 nc $5 5001 </tmp/mine >/tmp/theirs &
        for i in \$(seq 300); do [ \$(stat -c %s /tmp/theirs) = 1048576 ] && exit 0; sleep 0.3; done; exit 1"
    await 60 "all of $a's data at $b" all_there "$to" "$b"
    equal "$(sum_of "$of" "$a" mine)" "$(sum_of "$to" "$b" theirs)" "what $a sent and $b got"
    equal "$(sum_of "$to" "$b" mine)" "$(sum_of "$of" "$a" theirs)" "what $b sent and $a got"
}
all_there() { [ "$(inside "$1" "$2" stat -c %s /tmp/theirs)" = 1048576 ]; }
sum_of() { inside "$1" "$2" "sha256sum </tmp/$3"; }

# look HOST: the figures of its switch, into stats-HOST.json for `figure_of`.
look() { on "$1" luthier --json net stats >"stats-$1.json" || fail "no figures of host $1: $(cat "stats-$1.json")"; }

# figure_of HOST EXPRESSION: of Python. s: all figures; port(NAME): a guest's port; peer: the first
# other switch; drops(x): the sum of what was dropped there.
figure_of() {
    python3 - "stats-$1.json" "$2" <<'END'
import json, sys
s = json.load(open(sys.argv[1]))
ports = [p for n in s["networks"] for p in n["ports"]]
port = lambda name: [p for p in ports if p["guest"] == name][0]
peer = s["peers"][0] if s["peers"] else None
drops = lambda x: sum(x["drops"].values())
print(eval(sys.argv[2]))
END
}
