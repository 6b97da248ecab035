//! The figures as a table.

use std::fmt::Write;

use super::figures::{Figures, Round};
use super::style::{duration, grouped};

/// The most rounds that are listed one by one; a snapshot has 30 or so.
const MAX_LINES: usize = 1000;

/// The table, with an end of line after each line.
pub(super) fn table(f: &Figures) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write(f, &mut out);
    out
}

/// One line for each image, under the names of the figures.
pub(super) fn comparison(all: &[Figures]) -> String {
    let mut out = format!(
        "{:36} {:18} {:16} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9} {:>10}\n",
        "IMAGE", "POLICY", "STOP", "DIRTY/S", "DIRTY", "A ROUND", "ROUNDS", "DOWNTIME", "TOTAL", "SENT"
    );
    let average = |n: Option<f64>, unit: fn(f64) -> String| n.map_or("-".into(), unit);
    for f in all {
        let _ = writeln!(
            out,
            "{:36} {:18} {:16} {:>9.0} {:>9} {:>9} {:>6} {:>9} {:>9} {:>10.0}",
            f.image,
            f.policy,
            f.stop.as_deref().unwrap_or("-"),
            f.dirty_frequency(),
            average(f.average_dirty(), |n| format!("{n:.0}")),
            average(f.average_round_ms(), duration),
            f.rounds.len(),
            average(f.suspended_ms, duration),
            duration(f.total_ms),
            f.pages_sent,
        );
    }
    out
}

fn write(f: &Figures, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}", f.image)?;
    let stop = f.stop.as_deref().unwrap_or("not recorded");
    writeln!(out, "policy               {}, stop reason: {stop}", f.policy)?;
    writeln!(out, "memory               {} pages of 4 KiB", grouped(f.pages))?;
    writeln!(out, "dirty frequency      {} pages/s", grouped(f.dirty_frequency()))?;
    let average = |n: Option<f64>, unit: fn(f64) -> String| n.map_or("-".into(), unit);
    writeln!(out, "dirty pages a round  {}", average(f.average_dirty(), grouped))?;
    writeln!(
        out,
        "average round        {}, the first and the last left out",
        average(f.average_round_ms(), duration)
    )?;
    writeln!(out, "rounds               {}", f.rounds.len())?;
    let ms = |ms: Option<f64>| ms.map_or("not recorded".into(), duration);
    writeln!(out, "downtime             {}, freezing before it {}", ms(f.suspended_ms), ms(f.freeze_ms))?;
    writeln!(out, "total time           {}", duration(f.total_ms))?;
    writeln!(out, "pages sent           {}", grouped(f.pages_sent))?;
    writeln!(out)?;
    writeln!(
        out,
        "{:>5} {:9} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "ROUND", "GUEST", "TIME", "ASKED", "SENT", "ZERO", "SKIPPED", "DIRTY", "DIRTY/S", "SENT/S"
    )?;
    for r in f.rounds.iter().take(MAX_LINES) {
        let Round { number, live, asked, sent, zero, skipped, dirtied, ms } = r;
        writeln!(
            out,
            "{number:>5} {:9} {:>10} {asked:>10} {sent:>10} {zero:>10} {skipped:>10} {dirtied:>10} {:>10.0} {:>10.0}",
            if *live { "runs" } else { "suspended" },
            duration(*ms),
            r.rate(*dirtied),
            r.rate(*sent),
        )?;
    }
    if let Some(more) = f.rounds.len().checked_sub(MAX_LINES).filter(|n| *n > 0) {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}
