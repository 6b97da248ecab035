# Makes a table and JSON of samples `case subject metric value`: the median of each, and its ratio
# to the first subject of its case (the peer).
function median(key,    n, i, j, t, v) {
    n = split(samples[key], v, " ")
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function unit(metric) {
    if (metric ~ /_ms$/) return "ms"
    if (metric ~ /_us$/) return "us"
    if (metric ~ /_mbit$/) return "Mbit/s"
    if (metric ~ /_kbit$/) return "kbit/s"
    if (metric ~ /^dirty_frequency_pps$/) return "pages/s"
    if (metric ~ /_pps$/) return "packets/s"
    if (metric == "pages_second") return "pages/s"
    if (metric ~ /_mib$/) return "MiB"
    if (metric ~ /_percent$/) return "%"
    if (metric ~ /^stop_/) return "share"
    if (metric == "snapshots_a_point") return "snapshots"
    if (metric == "rounds" || metric == "hypercalls") return metric
    if (metric ~ /_us_packet$/) return "us/packet"
    if (metric ~ /_us_mbyte$/) return "us/MB"
    if (metric ~ /_(events|hypercalls|copies|notified|notifications)_/) return "events"
    if (metric ~ /_share$|_to_(alone|classic)$/) return "share"
    if (metric ~ /(^|_)retransmits$/ || metric == "probes") return "segments"
    if (metric ~ /^(timeouts|spurious)$/) return "time-outs"
    if (metric ~ /_frames$/) return "frames"
    return metric ~ /(^|_)bytes$/ ? "bytes" : "pages"
}
function digits(value, metric) {
    if (unit(metric) ~ /^(bytes|pages)$/ || value >= 1000) return 0
    return unit(metric) ~ /^(events|hypercalls|share)$/ ? 3 : 1
}
{
    samples[$1, $2, $3] = samples[$1, $2, $3] " " $4
    if (!($1 in case_seen)) { case_seen[$1]; cases[++nc] = $1 }
    if (!(($1, $2) in subject_seen)) { subject_seen[$1, $2]; subjects[$1, ++ns[$1]] = $2 }
    if (!($3 in metric_seen)) { metric_seen[$3]; metrics[++nm] = $3 }
}
END {
    printf "[\n" >json
    for (c = 1; c <= nc; c++) {
        printf "\n%-32s", cases[c]
        for (s = 1; s <= ns[cases[c]]; s++) printf "%22s", subjects[cases[c], s]
        printf "\n"
        for (m = 1; m <= nm; m++) {
            first = cases[c] SUBSEP subjects[cases[c], 1] SUBSEP metrics[m]
            peer = (first in samples) ? median(first) : 0
            line = ""
            for (s = 1; s <= ns[cases[c]]; s++) {
                subject = subjects[cases[c], s]
                key = cases[c] SUBSEP subject SUBSEP metrics[m]
                # What a subject does not have is not nought.
                if (!(key in samples)) { line = line sprintf("%22s", "-         "); continue }
                value = median(key)
                ratio = s > 1 && peer > 0 ? sprintf(" (x%.3f)", value / peer) : "         "
                line = line sprintf("%22s", sprintf("%.*f%s", digits(value, metrics[m]), value, ratio))
                printf "%s{\"bench\":\"%s\",\"case\":\"%s\",\"subject\":\"%s\",\"metric\":\"%s\",\"value\":%.3f,\"unit\":\"%s\"}", comma, bench, cases[c], subject, metrics[m], value, unit(metrics[m]) >json
                comma = ",\n"
                shown = 1
            }
            if (shown) printf "%-32s%s\n", metrics[m], line
            shown = 0
        }
    }
    printf "\n]\n" >json
}
