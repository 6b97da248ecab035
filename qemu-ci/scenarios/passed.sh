# Looks at the disk of guest a as a group has it, on the host where that is: its file system needs no more
# than its journal, and what a journalled there is right. The last line says how many tokens that is.
. /add/scenarios/lib.sh
. /add/scenarios/disks.sh

dir=$(mktemp -d)
cd "$dir" || exit 1
snapshot=$(snapshots)
equal "$(echo "$snapshot" | wc -w)" 1 "snapshots of disks ($snapshot)"
run lvcreate -qq -s -kn -n probe "vg/$snapshot"
fsck_clone /dev/vg/probe
debugfs -R 'cat /passed' /dev/vg/probe >passed.txt 2>debugfs.log || fail "no journal: $(cat debugfs.log)"
run lvremove -qq -f vg/probe
run guest verify-passed passed.txt 4
tail -n 1 run.log
rm -r "$dir"
