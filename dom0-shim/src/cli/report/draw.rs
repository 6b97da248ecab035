//! The picture: pages and rates on the time axis, and pages by round.
//!
//! Its size does not depend on the image: more than [`MAX_ROUNDS`] rounds are merged with their
//! neighbours.

use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::{Figures, Round, merged};
use super::style::{
    Area, Axis, BLUE, Drawn, FLOOR, GREEN, GRID, INK, ORANGE, PURPLE, VERMILION, WIDTH, chart, decades,
    decades_top, duration, grouped, log, pages, small, tick, title,
};
use crate::error::{Context, Result};

/// The most rounds that are drawn.
const MAX_ROUNDS: usize = 120;

const SIZE: (u32, u32) = (WIDTH, 1000);

/// A count of a round.
type Count = fn(&Round) -> f64;

/// Draws the rounds, as SVG.
pub(super) fn svg(figures: &Figures) -> Result<String> {
    let mut out = String::new();
    draw(figures, &mut out).context("drawing the report")?;
    Ok(out)
}

fn draw(figures: &Figures, out: &mut String) -> Drawn {
    let (rounds, group) = merged(&figures.rounds, MAX_ROUNDS);
    let root = SVGBackend::with_string(out, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, rest) = root.split_vertically(74);
    heading(&head, figures, group)?;
    let (pages, rest) = rest.split_vertically(360);
    let (rates, by_round) = rest.split_vertically(250);
    let time = Time::new(figures, &rounds);
    pages_in_time(&pages, &time)?;
    rates_in_time(&rates, &time)?;
    pages_by_round(&by_round, &rounds)?;
    root.present()?;
    Ok(())
}

fn heading(area: &Area<'_>, f: &Figures, group: usize) -> Drawn {
    let stop = f.stop.as_deref().unwrap_or("not recorded").replace('-', " ");
    let bold = ("sans-serif", 20, FontStyle::Bold).into_font().color(&INK);
    area.draw_text(&format!("{}: policy {}, stop reason: {stop}", f.image, f.policy), &bold, (24, 16))?;
    let suspended = f.suspended_ms.map_or("suspended time not recorded".into(), |ms| {
        let freeze = f.freeze_ms.map_or(String::new(), |ms| format!(" after {} of freezing", duration(ms)));
        format!("suspended {}{freeze}", duration(ms))
    });
    let merged = if group > 1 { format!(", drawn in groups of {group}") } else { String::new() };
    let text = format!(
        "guest {}, {} pages of 4 KiB; {} pages sent in {} {}{merged}; {suspended}; {} in all",
        f.guest,
        grouped(f.pages),
        grouped(f.pages_sent),
        f.rounds.len(),
        if f.rounds.len() == 1 { "round" } else { "rounds" },
        duration(f.total_ms)
    );
    area.draw_text(&text, &("sans-serif", 14).into_font().color(&INK), (24, 46))?;
    Ok(())
}

/// The rounds on the time axis, in the unit that suits them.
struct Time<'a> {
    rounds: &'a [Round],
    /// Milliseconds in a unit.
    unit: f64,
    name: &'static str,
    /// The end of the axis, in units.
    end: f64,
    /// When the guest was suspended, in units.
    suspended: Option<(f64, f64)>,
    suspended_ms: f64,
}

impl<'a> Time<'a> {
    fn new(f: &Figures, rounds: &'a [Round]) -> Self {
        let live: f64 = rounds.iter().filter(|r| r.live).map(|r| r.ms).sum();
        let all: f64 = rounds.iter().map(|r| r.ms).sum();
        let last = all - live;
        let suspended_ms = f.suspended_ms.unwrap_or(last);
        let end = (live + suspended_ms).max(all).max(0.001);
        let (unit, name) = if end >= 2000.0 { (1000.0, "s") } else { (1.0, "ms") };
        let suspended = rounds.iter().any(|r| !r.live).then_some((live / unit, (live + suspended_ms) / unit));
        Self { rounds, unit, name, end: end / unit, suspended, suspended_ms }
    }

    /// Each round with its begin and end.
    fn spans(&self) -> impl Iterator<Item = (&Round, f64, f64)> {
        let mut at = 0.0;
        self.rounds.iter().map(move |r| {
            let begin = at;
            at += r.ms / self.unit;
            (r, begin, at)
        })
    }

    /// A line that is level in each round.
    fn steps(&self, value: impl Fn(&Round) -> f64) -> Vec<(f64, f64)> {
        self.spans().flat_map(|(r, begin, end)| [(begin, value(r)), (end, value(r))]).collect()
    }

    fn axis_label(&self) -> String {
        format!("Time since the snapshot began ({})", self.name)
    }

    /// A little more than what is drawn, so that the end is seen.
    fn axis(&self) -> Range<f64> {
        0.0..self.end * 1.02
    }
}

fn pages_in_time(area: &Area<'_>, time: &Time<'_>) -> Drawn {
    title(
        area,
        "Pages in time",
        &[
            ("remaining", INK),
            ("sent in the round", BLUE),
            ("skipped in the round", ORANGE),
            ("guest suspended", PURPLE),
        ],
    )?;
    let most = time.rounds.iter().flat_map(|r| [r.asked, r.sent, r.skipped, r.dirtied]).fold(1.0, f64::max);
    let mut chart = chart(area).build_cartesian_2d(time.axis(), decades(most))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(small())
        .x_desc(time.axis_label())
        .y_desc("Pages (logarithmic)")
        .y_label_formatter(&|e| pages(*e))
        .x_label_formatter(&|x| tick(*x))
        .draw()?;
    let top = decades_top(most);
    // Where rounds begin and end.
    chart.draw_series(time.spans().map(|(_, _, end)| PathElement::new([(end, FLOOR), (end, top)], GRID)))?;
    if let Some((begin, end)) = time.suspended {
        chart.draw_series([
            Rectangle::new([(begin, FLOOR), (end, top)], PURPLE.mix(0.45).filled()),
            Rectangle::new([(begin, FLOOR), (end, top)], PURPLE.stroke_width(1)),
        ])?;
        // Beside it, on the side where there is room.
        let room = time.end * 0.006;
        let (side, x) = match begin > time.end / 2.0 {
            true => (HPos::Right, begin - room),
            false => (HPos::Left, begin + room),
        };
        let text = format!("suspended {}", duration(time.suspended_ms));
        let style = small().pos(Pos::new(side, VPos::Top));
        chart.draw_series([Text::new(text, (x, top - 0.05), style)])?;
    }
    // What remains sinks while a round sends, and jumps up to what the guest dirtied meanwhile.
    let remaining: Vec<(f64, f64)> =
        time.spans().flat_map(|(r, begin, end)| [(begin, log(r.asked)), (end, log(r.dirtied))]).collect();
    for (line, colour, width) in [
        (time.steps(|r| log(r.skipped)), ORANGE, 2),
        (time.steps(|r| log(r.sent)), BLUE, 2),
        (remaining, INK, 1),
    ] {
        chart.draw_series(LineSeries::new(line, colour.stroke_width(width)))?;
    }
    let ends = time.spans().map(|(r, _, end)| Circle::new((end, log(r.dirtied)), 2, INK.filled()));
    chart.draw_series(ends)?;
    Ok(())
}

fn rates_in_time(area: &Area<'_>, time: &Time<'_>) -> Drawn {
    title(
        area,
        "Rates while the guest runs",
        &[("dirtied", VERMILION), ("sent", GREEN), ("guest suspended", PURPLE)],
    )?;
    let live = || time.rounds.iter().filter(|r| r.live);
    let most = live().flat_map(|r| [r.rate(r.dirtied), r.rate(r.sent)]).fold(10.0, f64::max);
    let mut chart = chart(area).build_cartesian_2d(time.axis(), 0.0..most * 1.08)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(small())
        .y_labels(6)
        .x_desc(time.axis_label())
        .y_desc("Pages a second")
        .y_label_formatter(&|y| grouped(*y))
        .x_label_formatter(&|x| tick(*x))
        .draw()?;
    if let Some((begin, end)) = time.suspended {
        let band = [(begin, 0.0), (end, most * 1.08)];
        chart.draw_series([Rectangle::new(band, PURPLE.mix(0.45).filled())])?;
    }
    let live = time.rounds.iter().filter(|r| r.live).count();
    let mut sent = time.steps(|r| r.rate(r.sent));
    let mut dirtied = time.steps(|r| r.rate(r.dirtied));
    sent.truncate(live * 2);
    dirtied.truncate(live * 2);
    chart.draw_series(LineSeries::new(sent, GREEN.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(dirtied, VERMILION.stroke_width(2)))?;
    Ok(())
}

fn pages_by_round(area: &Area<'_>, rounds: &[Round]) -> Drawn {
    title(
        area,
        "Pages by round",
        &[("sent", BLUE), ("skipped", ORANGE), ("dirty at its end", VERMILION), ("guest suspended", PURPLE)],
    )?;
    let most = rounds.iter().flat_map(|r| [r.sent, r.skipped, r.dirtied]).fold(1.0, f64::max);
    // Few rounds have bars of a decent width all the same.
    let n = rounds.len().max(8) as f64;
    let every = rounds.len().div_ceil(30).max(1);
    let marks: Vec<f64> = (0..rounds.len()).step_by(every).map(|i| i as f64 + 1.0).collect();
    let mut chart = chart(area).build_cartesian_2d(Axis { range: 0.4..n + 0.6, marks }, decades(most))?;
    let number = |x: &f64| {
        let i = (x.round() as usize).saturating_sub(1);
        rounds.get(i).map_or(String::new(), |r| r.number.to_string())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(small())
        .x_desc("Round")
        .y_desc("Pages (logarithmic)")
        .x_label_formatter(&number)
        .y_label_formatter(&|e| pages(*e))
        .draw()?;
    let top = decades_top(most);
    let at = |i: usize| i as f64 + 1.0;
    let suspended = rounds.iter().enumerate().filter(|(_, r)| !r.live);
    chart.draw_series(suspended.map(|(i, _)| {
        Rectangle::new([(at(i) - 0.5, FLOOR), (at(i) + 0.5, top)], PURPLE.mix(0.45).filled())
    }))?;
    let kinds: [(f64, RGBColor, Count); 3] =
        [(-0.42, BLUE, |r| r.sent), (-0.14, ORANGE, |r| r.skipped), (0.14, VERMILION, |r| r.dirtied)];
    for (left, colour, value) in kinds {
        let bars = rounds.iter().enumerate().filter(|(_, r)| value(r) > 0.0);
        chart.draw_series(bars.map(|(i, r)| {
            let x = at(i) + left;
            Rectangle::new([(x, FLOOR), (x + 0.28, log(value(r)))], colour.filled())
        }))?;
    }
    Ok(())
}
