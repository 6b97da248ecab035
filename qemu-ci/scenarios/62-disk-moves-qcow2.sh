# A qcow2 disk in a group that moves: guest b has one, guest a a thin volume, and both journal each step on them. They are
# restored where they were; then each on the other's host, where b's disk is a qcow2 file of its own, in another
# folder. Each time the disk agrees with the memory, and without the memory it has a file system as after a loss of
# power. Before that: no room to send it or no place for it is told before anything is made, and a restore whose
# import is killed half way leaves nothing but what goes by luthier rm --unfinished, and on the sender's side nothing.
# Both hosts must have the same release of Xen: qemu-ci/test --xen 4.17 gives them one.
# by name only
# lab with: --qdisk
# hosts: 2
# time limit: 1200 s
# only on: 4.17,4.17
. /add/scenarios/moves.sh

make_disks() {
    run ground 0 thin_disk a
    run ground 1 qcow2_disk b
}
# destroy_on NAME HOST: a restored guest, with the disk that was made for it.
destroy_on() {
    run on $2 "xl destroy $1; sleep 1; rm $(console $1)"
    run ground $2 'rm -f /srv/restored_* /srv/other/restored_*
        for disk in $(lvs --noheadings -o lv_name vg | grep restored_); do lvremove -qq -f vg/$disk; done'
}
# files HOST: all there is below /srv, and notes of disks.
files() { on $1 "cd /srv; find . -type f | sort; ls $IMAGES/images/disk-notes 2>/dev/null"; }
# process HOST WORDS: the number of the luthier that was told so.
process() {
    on $1 "for p in /proc/[0-9]*; do
        cat \$p/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q 'luthier .*$2' && readlink \$p/exe | grep -q /luthier\$ && echo \${p#/proc/}
    done" | head -n 1
}
# nothing_left HOST: of a restore; what was there before is.
nothing_left() {
    equal "$(on $1 "luthier list" | grep -c -e '^[ab]@')" 1 "images on host $1"
    one_each $1
    nothing_made $1
    equal "$(files $1)" "$(cat files-$1)" "files on host $1"
}

begin_moves "'phy:/dev/vg/a,xvda,w'" "'/srv/b.qcow2,qcow2,xvda,w'"
run on 0 mkdir -p /srv/other
take_and_destroy
for host in 0 1; do
    one_each $host
    files $host >files-$host
done
run luthier verify "$group"

run luthier restore "$group" --address host1=1 --rsh labrsh
goes_on a 0
goes_on b 1
run inside 0 a 'ping -c 2 -W 5 10.1.0.2'
for guest in 'a 0' 'b 1'; do
    set -- $guest
    destroy_on $1 $2
    fsck_copy $1 $2 "$(last_of $1 $2)"
    one_each $2
done
step "both went on where they were, with a copy of the disk"

refused restore_swapped --disk b:xvda=/nowhere
says refused.log '`b` .*there is no folder /nowhere'
refused restore_swapped --disk b:xvda=vg/pool
says refused.log '`b`: disk xvda: it is a file, and goes to a folder'
run on 1 "dd if=/dev/zero of=/srv/full bs=1M 2>/dev/null; true"
refused restore_swapped
says refused.log 'b@.* can.t be sent: disk xvda: to send it, [0-9]* MiB are needed in /srv for a while'
step "no room to send it: $(grep '^luthier: ' refused.log)"
run on 1 rm /srv/full
for host in 0 1; do nothing_left $host; done

# A remote shell that stalls in the middle of the disk.
cat >/tmp/slowrsh <<'END'
#!/bin/sh
case "$*" in
*restore-member\ export*) labrsh "$@" | (head -c 1000000; sleep 60; cat) ;;
*) exec labrsh "$@" ;;
esac
END
chmod +x /tmp/slowrsh
# restore_stalled: until the disk is half there; `restore`, `import` and `export` are the processes.
restore_stalled() {
    RSH=/tmp/slowrsh restore_swapped >stalled.log 2>&1 &
    restore=$!
    half() { [ -n "$(ls /srv/luthier-disks 2>/dev/null)" ] && [ "$(du -k /srv/luthier-disks | cut -f 1)" -gt 300 ]; }
    await 120 "half of a disk" half
    import=$(process 0 'restore-member import')
    export=$(process 1 'restore-member export')
    [ -n "$import" ] && [ -n "$export" ] || fail "import '$import', export '$export'"
}
restore_stalled
files 0 | sed 's/^/    /'
# A note of a, which comes there meanwhile, may be there.
equal "$(files 1 | grep -v '^a@')" "$(cat files-1)" "files on host 1 while it sends one"
equal "$(on 1 "ls -l /proc/$export/fd" | grep -c '/srv/.*deleted')" 1 "files without a name on host 1"
run kill -9 $import
wait $restore && fail "a restore whose import was killed succeeded"
says stalled.log 'Nothing of the group runs$'
files 0 >killed-0
equal "$(grep -c -e 'luthier-disks/b@.*[.]raw$' -e '^b@.*[.]json$' killed-0)" 2 "the disk and its note after the kill"
for host in 0 1; do
    run on $host luthier rm --unfinished
    gone() { [ -z "$(process $host 'restore-member [ei][xm]port')" ]; }
    await 120 "end of what was under way on host $host" gone
    run on $host luthier rm --unfinished
    nothing_left $host
done
step "an import that is killed: $(grep '^luthier: ' stalled.log)"

restore_stalled
run on 1 kill -9 $export
equal "$(files 1 | grep -v '^a@')" "$(cat files-1)" "files on host 1 after its export was killed"
wait $restore && fail "a restore whose export was killed succeeded"
for host in 0 1; do
    gone() { [ -z "$(process $host 'restore-member [ei][xm]port')" ]; }
    await 120 "end of what was under way on host $host" gone
    nothing_left $host
done
step "an export that is killed: $(grep '^luthier: ' stalled.log)"

run restore_swapped --disk b:xvda=/srv/other
sed 's/^/    /' run.log | grep -v verifying
goes_on a 1
goes_on b 0
run inside 1 a 'ping -c 2 -W 5 10.1.0.2'
equal "$(ls /srv/other/luthier-disks | wc -l)" 1 "files of b's image on host 0"
equal "$(ls /srv/other/restored_b_*.qcow2 | wc -l)" 1 "files of guest b on host 0"
run qemu-img check -q -f qcow2 /srv/other/luthier-disks/*
files 0 | sed 's/^/    /'
step "each goes on on the other's host, b's disk in a file there"

for guest in 'a 1' 'b 0'; do
    set -- $guest
    destroy_on $1 $2
    fsck_copy $1 $2 "$(last_of $1 $2)"
    run on $2 "luthier rm $(last_of $1 $2)"
done
for host in 0 1; do nothing_left $host; done
for host in 0 1; do
    run on $host luthier rm "$group"
    ground $host snapshots >snapshots-$host
    equal "$(cat snapshots-$host)" '' "snapshots of disks left on host $host"
    nothing_made $host
done
equal "$(files 0)" '' "files on host 0"
equal "$(files 1)" ./b.qcow2 "files on host 1"
run on 1 qemu-img check -q -f qcow2 /srv/b.qcow2
step "what images had of disks went with them"
