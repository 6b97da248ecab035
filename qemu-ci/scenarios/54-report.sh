# What made an image: as a table, as JSON, and as a picture; without a daemon.
# only on: 4.17
# time limit: 300 s
. /add/scenarios/luthier.sh
. /add/scenarios/failures.sh

start_luthier
start_guest g1 128 1 rate=20 rewrite_mib=16 rewrite_rate=1000
attach g1
start_stub
taken g1 --policy live-save
stop_luthier

run luthier report "$IMAGE"
for line in 'dirty frequency' 'pages sent' 'total time' 'ROUND' 'suspended'; do
    says run.log "$line"
done
luthier --json report "$IMAGE" >report.json || fail "no report as JSON"
for key in dirty_frequency dirty_pages round_ms iterations suspended_ms total_ms pages_sent rounds; do
    says report.json "\"$key\":"
done
run luthier report "$IMAGE" -o report.svg
says report.svg '<svg '
says report.svg '</svg>'
says report.svg 'Pages in time'
says report.svg 'suspended '
luthier report "$IMAGE" -o - | cmp - report.svg || fail "another picture on the standard output"
refuses 'exists' luthier report "$IMAGE" -o report.svg
refuses 'there is no image|is not a sound image' luthier report nothing@20260101T000000Z
cp report.svg report.json "$STORE/$IMAGE/manifest.json" /out/ 2>/dev/null
figures
