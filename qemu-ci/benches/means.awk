# Of samples `case subject metric value`: `case,subject,metric,n,mean,half`, where mean +- half is the
# 95 % confidence interval by Student's t; half is 0 for a single sample.
BEGIN {
    # Quantiles 0.975 for 1 to 30 degrees of freedom; beyond, that of the normal distribution.
    split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042", t, " ")
    print "cap,subject,metric,n,mean,half"
}
{
    key = $1 "," $2 "," $3
    if (!(key in n)) order[++count] = key
    n[key]++
    sum[key] += $4
    squares[key] += $4 * $4
}
END {
    for (i = 1; i <= count; i++) {
        key = order[i]
        mean = sum[key] / n[key]
        half = 0
        if (n[key] > 1) {
            variance = (squares[key] - n[key] * mean * mean) / (n[key] - 1)
            if (variance < 0) variance = 0 # of rounding
            half = (n[key] > 31 ? 1.96 : t[n[key] - 1]) * sqrt(variance / n[key])
        }
        printf "%s,%d,%.3f,%.3f\n", key, n[key], mean, half
    }
}
