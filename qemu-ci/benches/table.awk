# Makes a table and JSON of samples `case subject metric value`: the median of each, and its ratio
# to the first subject (the peer).
function median(key,    n, i, j, t, v) {
    n = split(samples[key], v, " ")
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function unit(metric) {
    if (metric ~ /_ms$/) return "ms"
    if (metric ~ /_us$/) return "us"
    return metric == "bytes" ? "bytes" : "pages"
}
{
    samples[$1, $2, $3] = samples[$1, $2, $3] " " $4
    if (!($1 in case_seen)) { case_seen[$1]; cases[++nc] = $1 }
    if (!($2 in subject_seen)) { subject_seen[$2]; subjects[++ns] = $2 }
    if (!($3 in metric_seen)) { metric_seen[$3]; metrics[++nm] = $3 }
}
END {
    printf "[\n" >json
    for (c = 1; c <= nc; c++) {
        printf "\n%-12s", cases[c]
        for (s = 1; s <= ns; s++) printf "%22s", subjects[s]
        printf "\n"
        for (m = 1; m <= nm; m++) {
            printf "%-12s", metrics[m]
            first = cases[c] SUBSEP subjects[1] SUBSEP metrics[m]
            peer = (first in samples) ? median(first) : 0
            for (s = 1; s <= ns; s++) {
                # What a subject does not have is not nought.
                if (!((cases[c] SUBSEP subjects[s] SUBSEP metrics[m]) in samples)) { printf "%22s", "-         "; continue }
                value = median(cases[c] SUBSEP subjects[s] SUBSEP metrics[m])
                ratio = s > 1 && peer > 0 ? sprintf(" (x%.3f)", value / peer) : "         "
                printf "%22s", sprintf("%.*f%s", value < 1000 && unit(metrics[m]) ~ /s$/ && unit(metrics[m]) != "bytes" && metrics[m] != "pages" ? 1 : 0, value, ratio)
                printf "%s{\"bench\":\"%s\",\"case\":\"%s\",\"subject\":\"%s\",\"metric\":\"%s\",\"value\":%.3f,\"unit\":\"%s\"}", comma, bench, cases[c], subjects[s], metrics[m], value, unit(metrics[m]) >json
                comma = ",\n"
            }
            printf "\n"
        }
    }
    printf "\n]\n" >json
}
