//! The cut of a group, drawn: all of it, and the moment in which its members stand still.
//!
//! Times of different hosts are each since its own `Prepare`. The picture's size is bounded whatever the
//! manifest says: members beyond [`MAX_ROWS`] are counted, not drawn.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use store::group::{Channel, Group, Manifest, Member, Part};

use super::style::{
    Area, BLUE, Drawn, GREEN, GRID, INK, ORANGE, PURPLE, SKY, VERMILION, WIDTH, duration, grouped, small,
    tick, title,
};
use crate::error::{Context, Error, Result};

/// The most members that are drawn, and hosts.
const MAX_ROWS: usize = 48;
const MAX_HOSTS: usize = 12;
/// The most marks of recorded frames on a row: more would be one line.
const MAX_MARKS: usize = 200;
/// The height of a row, of one of many, of what is around a panel's rows, and of a line of text.
const ROW: u32 = 24;
const NARROW_ROW: u32 = 14;
const AROUND: u32 = 92;
const LINE: u32 = 20;
/// Room for the names of hosts and guests.
const NAMES: u32 = 190;

/// A member on the time axis, in milliseconds since its host's `Prepare`.
struct Row {
    name: String,
    ready: f64,
    suspend: f64,
    cut: f64,
    resume: f64,
    /// Frames that were on their way to it: when each came.
    frames: Vec<f64>,
}

/// Draws the cut of a group, as SVG. Frames are drawn where their file is on this host.
///
/// # Errors
/// No member's times are known, or the frames' file is damaged.
pub(in crate::cli) fn svg(group: &Group) -> Result<String> {
    let mut arrivals = HashMap::new();
    for host in &group.manifest().hosts {
        arrivals_of(group, host, &mut arrivals)?;
    }
    svg_of(group.manifest(), &arrivals)
}

/// When frames to each vif of a host came, in milliseconds.
fn arrivals_of(group: &Group, host: &Part, arrivals: &mut HashMap<String, Vec<f64>>) -> Result<()> {
    let Some(mut reader) = group.channels(host)? else { return Ok(()) };
    while let Some((record, _)) = reader.frame()? {
        let mac: Vec<String> = record.mac.iter().map(|octet| format!("{octet:02x}")).collect();
        arrivals.entry(mac.join(":")).or_default().push(record.time_us as f64 / 1e3);
    }
    Ok(())
}

fn svg_of(manifest: &Manifest, arrivals: &HashMap<String, Vec<f64>>) -> Result<String> {
    let rows: Vec<Row> = manifest.members().filter_map(|(host, m)| row(host, m, arrivals)).collect();
    if rows.is_empty() {
        return Err(Error::new(format!("{} does not say when its members were cut", manifest.name)));
    }
    let mut out = String::new();
    draw(manifest, &rows, &mut out).context("drawing the cut")?;
    Ok(out)
}

fn row(host: &Part, m: &Member, arrivals: &HashMap<String, Vec<f64>>) -> Option<Row> {
    let cut = m.cut_ms?;
    let resume = m.resume_ms.or(m.suspended_ms.map(|ms| cut + ms))?.max(cut);
    let suspend = m.suspend_ms.unwrap_or(cut).min(cut);
    let ready = m.ready_ms.unwrap_or(suspend).min(suspend);
    let macs = m.vifs.iter().filter_map(|mac| arrivals.get(&mac.to_lowercase()));
    let frames = macs.flatten().copied().collect();
    Some(Row {
        name: format!("{} on {}", short(&m.guest), short(&host.host)),
        ready,
        suspend,
        cut,
        resume,
        frames,
    })
}

/// A name that fits beside the rows.
fn short(name: &str) -> String {
    match name.chars().count() {
        ..=13 => name.to_owned(),
        _ => name.chars().take(12).chain(['…']).collect(),
    }
}

fn draw(manifest: &Manifest, all: &[Row], out: &mut String) -> Drawn {
    let rows = all.get(..MAX_ROWS).unwrap_or(all);
    let row = if rows.len() > MAX_ROWS / 2 { NARROW_ROW } else { ROW };
    let panel = rows.len() as u32 * row + AROUND;
    let hosts = manifest.hosts.len().min(MAX_HOSTS + 1) as u32;
    let height = 74 + 2 * panel + hosts * LINE + 48;
    let root = SVGBackend::with_string(out, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, rest) = root.split_vertically(74);
    heading(&head, manifest, all)?;
    let (whole, rest) = rest.split_vertically(panel);
    let (moment, frames) = rest.split_vertically(panel);
    whole_panel(&whole, rows)?;
    moment_panel(&moment, rows)?;
    frames_table(&frames, manifest)?;
    root.present()?;
    Ok(())
}

fn heading(area: &Area<'_>, m: &Manifest, rows: &[Row]) -> Drawn {
    let bold = ("sans-serif", 20, FontStyle::Bold).into_font().color(&INK);
    area.draw_text(&format!("{}: one cut of network {}", m.name, m.network.name), &bold, (24, 16))?;
    let longest = rows.iter().map(|r| r.resume - r.cut).fold(0.0, f64::max);
    let more = match rows.len() {
        n if n > MAX_ROWS => format!(", {MAX_ROWS} of them drawn"),
        _ => String::new(),
    };
    let text = format!(
        "members {}{more}, hosts {}; {} from the first cut to the last; at most {} suspended; epoch {}",
        m.members().count(),
        m.hosts.len(),
        duration(spread(rows).1 - spread(rows).0),
        duration(longest),
        m.epoch
    );
    area.draw_text(&text, &("sans-serif", 14).into_font().color(&INK), (24, 46))?;
    Ok(())
}

/// The first and the last cut.
fn spread(rows: &[Row]) -> (f64, f64) {
    rows.iter().fold((f64::MAX, f64::MIN), |(a, b), r| (a.min(r.cut), b.max(r.cut)))
}

/// A member as a panel draws it.
struct Line<'a> {
    name: &'a str,
    /// From where to where, in which colour.
    bars: Vec<(f64, f64, RGBColor)>,
    /// Frames.
    marks: Vec<f64>,
    /// What stands after the last bar.
    label: String,
}

/// All of it, from the begin.
fn whole_panel(area: &Area<'_>, rows: &[Row]) -> Drawn {
    let legend = [("pre-copy", BLUE), ("ready, waits for the others", SKY), ("suspended", PURPLE)];
    title(area, "The whole snapshot", &legend)?;
    let end = rows.iter().map(|r| r.resume).fold(0.001, f64::max);
    let (unit, name) = if end >= 2000.0 { (1000.0, "s") } else { (1.0, "ms") };
    let lines = rows.iter().map(|r: &Row| {
        let Row { name, ready, suspend, resume, .. } = r;
        let bars = [(0.0, *ready, BLUE), (*ready, *suspend, SKY), (*suspend, *resume, PURPLE)];
        let bars = bars.map(|(from, to, colour)| (from / unit, to / unit, colour)).into();
        Line { name, bars, marks: Vec::new(), label: String::new() }
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let axis = format!("Time since each host was asked to prepare ({name})");
    panel(area, &lines, 0.0..end / unit * 1.02, &axis, None)
}

/// The moment of the cut, from the first member that was asked to suspend to the last that resumed.
fn moment_panel(area: &Area<'_>, rows: &[Row]) -> Drawn {
    let legend = [
        ("asked to suspend", ORANGE),
        ("stands still", PURPLE),
        ("frame recorded", GREEN),
        ("first and last cut", VERMILION),
    ];
    title(area, "The moment of the cut", &legend)?;
    let begin = rows.iter().map(|r| r.suspend).fold(f64::MAX, f64::min);
    let end = rows.iter().map(|r| r.resume).fold(f64::MIN, f64::max);
    let span = (end - begin).max(0.1);
    // Frames come a little later; what comes very late must not make the moment small.
    let last = rows.iter().flat_map(|r| &r.frames).copied().fold(end, f64::max).min(end + span);
    // Room for the labels.
    let axis = -span * 0.04..(last - begin).max(span * 1.08) + span * 0.04;
    let lines = rows.iter().map(|r: &Row| {
        let Row { name, suspend, cut, resume, frames, .. } = r;
        let bars = [(*suspend, *cut, ORANGE), (*cut, *resume, PURPLE)];
        let bars = bars.map(|(from, to, colour)| (from - begin, to - begin, colour)).into();
        // Marks that would lie on each other are one.
        let step = (axis.end - axis.start) / MAX_MARKS as f64;
        let inside = frames.iter().map(|ms| ms - begin).filter(|ms| axis.contains(ms));
        let steps: BTreeSet<i64> = inside.map(|ms| ((ms - axis.start) / step) as i64).collect();
        let marks = steps.iter().map(|n| axis.start + (*n as f64 + 0.5) * step).collect();
        Line { name, bars, marks, label: duration(resume - cut) }
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let (first, last) = spread(rows);
    let text = "Time since the first member was asked to suspend (ms)";
    panel(area, &lines, axis.clone(), text, Some((first - begin, last - begin)))
}

/// Members on a time axis, one beneath the other.
fn panel(
    area: &Area<'_>,
    lines: &[Line<'_>],
    axis: Range<f64>,
    axis_text: &str,
    cuts: Option<(f64, f64)>,
) -> Drawn {
    let n = lines.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin_top(30)
        .margin_bottom(10)
        .margin_left(16)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(axis, n..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(small())
        .x_desc(axis_text)
        .x_label_formatter(&|x| tick(*x))
        .draw()?;
    let (_, above) = area.get_base_pixel();
    for (line, top) in lines.iter().zip((0..).map(f64::from)) {
        let bars = line.bars.iter().filter(|(from, to, _)| to > from);
        chart.draw_series(
            bars.map(|(from, to, c)| Rectangle::new([(*from, top + 0.2), (*to, top + 0.8)], c.filled())),
        )?;
        let marks = line.marks.iter().map(|x| [(*x, top + 0.08), (*x, top + 0.92)]);
        chart.draw_series(marks.map(|mark| PathElement::new(mark, GREEN.stroke_width(1))))?;
        let end = line.bars.last().map_or(0.0, |(_, to, _)| *to);
        let (x, y) = chart.backend_coord(&(end, top + 0.5));
        let beside = |side| small().pos(Pos::new(side, VPos::Center));
        area.draw_text(line.name, &beside(HPos::Right), (16 + NAMES as i32 - 8, y - above))?;
        area.draw_text(&line.label, &beside(HPos::Left), (x + 6, y - above))?;
    }
    if let Some((first, last)) = cuts {
        let lines = [first, last].map(|x| PathElement::new([(x, 0.0), (x, n)], VERMILION.stroke_width(1)));
        chart.draw_series(lines)?;
    }
    Ok(())
}

/// What became of frames, host by host.
fn frames_table(area: &Area<'_>, manifest: &Manifest) -> Drawn {
    title(area, "Frames around the cut", &[])?;
    let all = &manifest.hosts;
    let shown = all.iter().take(MAX_HOSTS);
    let lines = shown.map(|host| format!("to members on {}: {}", short(&host.host), counts(&host.channel)));
    let more = all.len().checked_sub(MAX_HOSTS + 1).map(|n| format!("and {} hosts more", n + 1));
    for (text, y) in lines.chain(more).zip((32..).step_by(LINE as usize)) {
        area.draw_text(&text, &small(), (24, y))?;
    }
    Ok(())
}

fn counts(c: &Channel) -> String {
    let unknown = if c.unknown > 0 { " (and of some hosts it is not known)" } else { "" };
    let number = |n: u64| grouped(n as f64);
    format!(
        "{} recorded, {} delivered and not recorded, {} datagrams lost{unknown}, {} held, {} dropped",
        number(c.frames),
        number(c.missed),
        number(c.lost),
        number(c.held),
        number(c.dropped)
    )
}

#[cfg(test)]
mod tests;
