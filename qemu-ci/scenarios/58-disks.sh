# A guest's disks are snapshotted at the point at which its memory is: a thin volume of LVM and a file
# on XFS, each with a guest that journals its chain there and overwrites blocks without a pause. Each
# image is restored on clones of its disks; what the disk has must be what the memory remembers.
# time limit: 900 s
. /add/scenarios/luthier.sh
. /add/scenarios/disks.sh

# refuses PATTERN COMMAND...: must fail with a message that has this.
refuses() {
    local pattern=$1
    shift
    refused "$@"
    says refused.log "$pattern"
}

make_ground
# What the last snapshot's disks took, and of that while the guest stood still.
disk_ms() { sed -n 's/.*"disks_cost":{"ms":\([0-9.]*\),"suspended_ms":\([0-9.]*\)}.*/\1, of which the guest stood still \2/p' "$TAKEN" | tail -n 1; }

start_luthier
start_stub
thin_disk g1
file_disk g2
start_disk_guest "'phy:/dev/vg/g1,xvda,w'" g1 160 1 rate=20 journal=xvda disk_load=40 rewrite_mib=8
start_disk_guest "'/srv/g2.raw,raw,xvda,w','/lab/guest/initrd.gz,raw,xvdb,r'" g2 160 1 rate=20 journal=xvda \
    disk_load=40 rewrite_mib=8
attach g1
attach g2
step "two guests journal on their disks"

for round in 1 2 3; do
    for guest in g1 g2; do
        taken $guest
        goes_on $guest
        eval "image_$guest=\$IMAGE"
        step "round $round: $(figures); disks took $(disk_ms) ms"
    done
    snapshots_left 2
    for guest in g1 g2; do
        eval "image=\$image_$guest"
        destroy $guest
        run luthier --json restore "$image"
        clone=$(sed -n 's/.*"path":"\([^"]*\)".*/\1/p' run.log)
        cp run.log restored
        [ -e "$clone" ] || fail "no clone of $guest's disk: $(cat restored)"
        await 60 "first link of the restored $guest" past_link $guest 0
        run guest verify-chain --continues $guest.log "$(console $guest)"
        journal_right $guest
        goes_on $guest
        run luthier rm "$image"
        attach $guest
        step "round $round: $guest's disk agrees with its memory"
    done
    snapshots_left 0
done
