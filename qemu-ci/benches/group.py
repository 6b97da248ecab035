# Figures of one sample of bench `group`, `subject metric value` a line. In Dom0:
#   group.py SUBJECT MILLISECONDS BEFORE AFTER SAID ROUND
# BEFORE and AFTER are looks at the streams, SAID is what luthier said, ROUND keeps what later subjects
# of this round are compared with.
import json
import sys

subject, took, before, after, said, round_file = sys.argv[1:7]


def look(path):
    return {line.split(" ", 1)[0]: json.loads(line.split(" ", 1)[1]) for line in open(path)}


def results(path):
    """What luthier's events say in the end: of the group, or of each guest's snapshot."""
    events = [json.loads(line) for line in open(path) if line.startswith("{")]
    return [event.get("result", event) for event in events if event.get("event") == "done"]


before, after = look(before), look(after)
try:
    kept = json.load(open(round_file))
except OSError:
    kept = {}
figures = {}

done = results(said)
if subject in ("group", "classic"):
    group = done[-1]
    members = group["members"]
    figures["spread_ms"] = group["spread_ms"]
    for m in members:
        figures["downtime_%s_ms" % m["guest"]] = m["suspended_ms"]
    figures["downtime_ms"] = max(m["suspended_ms"] for m in members)
    figures["freeze_ms"] = max(m["cut_ms"] - m["suspend_ms"] for m in members)
    figures["window_ms"] = max(m["resume_ms"] for m in members) - min(m["suspend_ms"] for m in members)
    for name in ("recorded", "held", "dropped"):
        figures[name + "_frames"] = group["channel"][name]
elif subject == "alone":
    for one in done:
        figures["downtime_%s_ms" % one["guest"]] = one["suspended_ms"]
    figures["downtime_ms"] = max(one["suspended_ms"] for one in done)
    figures["freeze_ms"] = max(one["freeze_ms"] for one in done)

for guest, seen in sorted(after.items()):
    figures["gap_%s_ms" % guest] = seen["gap_ms"]
figures["gap_ms"] = max(seen["gap_ms"] for seen in after.values())
# Each guest is asked once, as the receiver of one stream.
for count in ("retransmits", "timeouts", "spurious", "probes"):
    figures[count] = sum(after[g][count] - before[g][count] for g in after)
figures["delivered_kbit"] = sum(seen["bytes"] * 8e-3 / seen["seconds"] for seen in after.values())
figures["total_ms"] = float(took)

if subject != "nothing" and kept.get("nothing"):
    figures["lost_share"] = 1 - figures["delivered_kbit"] / kept["nothing"]["delivered_kbit"]
kept[subject] = figures
json.dump(kept, open(round_file, "w"))

for name, value in figures.items():
    print(subject, name, round(value, 3))


def share(of, metric, name, to):
    """A figure as a share of another subject's in this round, once both are there."""
    if kept.get(of, {}).get(metric) and kept.get(to, {}).get(metric) and subject in (of, to):
        print(of, name, round(kept[of][metric] / kept[to][metric], 4))


share("group", "spread_ms", "spread_to_classic", "classic")
for of in ("group", "classic"):
    share(of, "downtime_ms", "downtime_to_alone", "alone")
