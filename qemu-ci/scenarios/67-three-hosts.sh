# Three hosts: guests a, b and c, one on each, pass tokens of a hash chain round. The third host coordinates
# a group, all are destroyed, and restored so that the third has no guest any more. From then on it keeps
# the group's images, coordinates a group itself though it has no member, and brings all back from where it
# stands: every token goes on where it was, each time.
# hosts: 3
# by name only
# time limit: 1200 s
. /add/scenarios/net.sh

GUEST_MIB=112
STORE=/var/lib/luthier/images
HOSTS='a=0 b=1 c=2'
host_of() { echo "$HOSTS" | tr ' ' '\n' | sed -n "s/^$1=//p"; }

log_of() { on "$(host_of "$1")" "tail -n 300 $(console "$1")" 2>/dev/null | tr -d '\r'; }
passed_by() { log_of "$1" | awk '$1 == "ring" { n = $2 } END { print n + 0 }'; }
passed_past() { [ "$(passed_by "$1")" -gt "$2" ]; }
goes_on() {
    for guest in a b c; do await 120 "tokens at $guest" passed_past $guest $(($(passed_by $guest) + 10)); done
    for guest in a b c; do
        if log_of $guest | grep BROKEN; then fail "$guest lost its place"; fi
    done
}

# taken HOST [WORDS...]: a group that this host coordinates. Sets group, and says what it was like.
taken() {
    local host=$1
    shift
    for guest in a b c; do run on "$(host_of $guest)" "luthier attach $guest"; done
    run on "$host" "luthier --json snapshot --net blue $*"
    group=$(grep -o 'blue@[0-9TZ]*' run.log | tail -n 1)
    spread=$(grep -o '"spread_ms": *[0-9.]*' run.log | tail -n 1 | tr -dc '0-9.')
    for host in $(all_hosts); do run on "$host" "luthier verify $group"; done
    goes_on
}

# restored HOST WORDS...: all are destroyed, and brought back by this host.
restored() {
    local host=$1 before=$2
    shift 2
    for guest in $before; do
        run on "${guest#*=}" "xl destroy ${guest%=*} && rm -f $(console "${guest%=*}")"
    done
    run on "$host" "luthier restore $group --rsh labrsh $*"
    goes_on
}

# Others reach host 0 as it reaches them.
nc -ll -p 7777 -e /usr/bin/serve-host 5>&- &
trap "kill $!" EXIT

connect_hosts blue=7
joined_hosts
for host in $(all_hosts); do run on "$host" 'xl sched-credit2 -d 0 -w 1024'; done
start_on a 0 blue 1
start_on b 1 blue 2
start_on c 2 blue 3
for guest in a b c; do ready "$(host_of $guest)" $guest; done
run inside 2 c 'guest ring 7000 10.1.0.1:7000 3 6 >/dev/console 2>&1 &'
run inside 1 b 'guest ring 7000 10.1.0.3:7000 3 6 >/dev/console 2>&1 &'
run inside 0 a 'guest ring 7000 10.1.0.2:7000 3 6 start >/dev/console 2>&1 &'
goes_on
step "tokens go round three hosts"

taken 2
step "$group by host 2, whole on three hosts, cut within $spread ms"
before=$HOSTS
HOSTS='a=1 b=0 c=1'
restored 0 "$before" --place a=host1 --place b=. --place c=host1 --address host1=1 --address host2=2
step "restored, a and c on host 1, b on host 0"

for host in $(all_hosts); do
    run on $host "luthier rm $group && for image in \$(ls $STORE | grep @); do luthier rm \$image || exit 1; done"
    run on $host "printf '[vault]\ncommand = \"labrsh 2\"\n' >/etc/luthier/storage.toml"
done
taken 0 --to vault
for host in 0 1; do
    equal "$(on $host "ls $STORE | grep -c @")" 0 "images on host $host"
done
step "$group by host 0, kept on host 2 only, cut within $spread ms"
restored 0 "$HOSTS" --address host1=1 --address host2=2
step "brought back from host 2"

taken 2
step "$group by host 2, which has no member, cut within $spread ms"
restored 2 "$HOSTS" --address host0=0 --address host1=1
step "brought back by host 2"
