//! The calendar, as far as names of images need it: seconds since 1970 as UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Year, month, day, hour, minute, second in UTC. A time before 1970 counts as 1970.
fn civil(when: SystemTime) -> (u64, u64, u64, u64, u64, u64) {
    let secs = when.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

/// A time as RFC 3339 has it, in UTC: `2026-11-21T20:24:39Z`.
pub fn utc_text(when: SystemTime) -> String {
    let (y, mo, d, h, mi, s) = civil(when);
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z")
}

/// A time as the names of images have it: `20261121T202439Z`.
pub(crate) fn utc_compact(when: SystemTime) -> String {
    let (y, mo, d, h, mi, s) = civil(when);
    format!("{y:04}{mo:02}{d:02}T{h:02}{mi:02}{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_moments_have_their_known_names() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_292_679, "2026-11-21T20:24:39Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc_text(UNIX_EPOCH + Duration::from_secs(secs)), text);
        }
    }
}
