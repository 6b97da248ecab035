//! Several snapshots in one picture: what remained of each in time, and their figures beneath.

use plotters::prelude::*;

use super::figures::{Figures, merged};
use super::style::{
    Area, BLUE, Drawn, GREEN, GRID, INK, ORANGE, PURPLE, SKY, VERMILION, WIDTH, chart, decades, duration,
    grouped, log, pages, small, tick, title,
};
use crate::error::{Context, Error, Result};

/// Colours of lines; the most images that one picture can have.
const LINES: [RGBColor; 7] = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK];
/// The most rounds that are drawn of each.
const MAX_ROUNDS: usize = 120;
/// The height of a line of figures.
const LINE: i32 = 22;

/// Draws the comparison, as SVG.
///
/// # Errors
/// There are more images than colours.
pub(super) fn svg(all: &[Figures]) -> Result<String> {
    if all.len() > LINES.len() {
        return Err(Error::new(format!(
            "a picture compares up to {} images, not {}",
            LINES.len(),
            all.len()
        ))
        .hint("Leave some out; without -o any number is compared"));
    }
    let mut out = String::new();
    draw(all, &mut out).context("drawing the comparison")?;
    Ok(out)
}

fn draw(all: &[Figures], out: &mut String) -> Drawn {
    let figures = 30 + LINE * all.len() as i32;
    let root = SVGBackend::with_string(out, (WIDTH, 480 + figures as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (chart, table) = root.split_vertically(470);
    remaining(&chart, all)?;
    lines(&table, all)?;
    root.present()?;
    Ok(())
}

fn remaining(area: &Area<'_>, all: &[Figures]) -> Drawn {
    title(area, "Pages that remain at the end of each round; a cross: the guest is suspended", &[])?;
    let drawn: Vec<_> = all.iter().map(|f| merged(&f.rounds, MAX_ROUNDS).0).collect();
    let most = drawn.iter().flatten().map(|r| r.asked.max(r.dirtied)).fold(1.0, f64::max);
    let end = drawn.iter().map(|rounds| rounds.iter().map(|r| r.ms).sum()).fold(0.001, f64::max);
    let (unit, name) = if end >= 2000.0 { (1000.0, "s") } else { (1.0, "ms") };
    let mut chart = chart(area).build_cartesian_2d(0.0..end / unit * 1.02, decades(most))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(small())
        .x_desc(format!("Time since the snapshot began ({name})"))
        .y_desc("Pages (logarithmic)")
        .y_label_formatter(&|e| pages(*e))
        .x_label_formatter(&|x| tick(*x))
        .draw()?;
    for (rounds, colour) in drawn.iter().zip(LINES) {
        let mut at = 0.0;
        let mut line = Vec::new();
        for r in rounds {
            line.push((at, log(r.asked)));
            at += r.ms / unit;
            let end = (at, log(r.dirtied));
            line.push(end);
            if !r.live {
                // The guest stands still from here.
                chart.draw_series([Cross::new(
                    (at - r.ms / unit, log(r.asked)),
                    6,
                    colour.stroke_width(2),
                )])?;
            }
            chart.draw_series([Circle::new(end, 2, colour.filled())])?;
        }
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
    }
    Ok(())
}

/// The legend, which also has the figures.
fn lines(area: &Area<'_>, all: &[Figures]) -> Drawn {
    const COLUMNS: [(i32, &str); 7] = [
        (50, "image"),
        (310, "policy"),
        (460, "stop reason"),
        (610, "rounds"),
        (680, "suspended"),
        (790, "total"),
        (870, "pages sent"),
    ];
    let bold = ("sans-serif", 13, FontStyle::Bold).into_font().color(&INK);
    for (x, name) in COLUMNS {
        area.draw_text(name, &bold, (x, 8))?;
    }
    for ((i, f), colour) in (1..).zip(all).zip(LINES) {
        let y = 8 + LINE * i;
        area.draw(&Rectangle::new([(24, y + 1), (40, y + 12)], colour.filled()))?;
        let values = [
            f.image.clone(),
            f.policy.clone(),
            f.stop.as_deref().unwrap_or("-").replace('-', " "),
            f.rounds.len().to_string(),
            f.suspended_ms.map_or("-".into(), duration),
            duration(f.total_ms),
            grouped(f.pages_sent),
        ];
        for ((x, _), value) in COLUMNS.iter().zip(values) {
            area.draw_text(&value, &small(), (*x, y))?;
        }
    }
    Ok(())
}
