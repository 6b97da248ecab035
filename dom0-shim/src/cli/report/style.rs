//! What the pictures share: colours, fonts, axes, and how figures are written.
//!
//! Colours are those of Okabe and Ito, which people with any colour vision can tell apart. Fonts
//! are whatever the reader's machine has: nothing here measures text.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

/// The width of all pictures.
pub(super) const WIDTH: u32 = 1000;
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(super) const VERMILION: RGBColor = RGBColor(213, 94, 0);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const SKY: RGBColor = RGBColor(86, 180, 233);
pub(super) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const GRID: RGBColor = RGBColor(222, 222, 222);

/// The exponent where logarithmic axes begin, below one page: what is 0 lies on the axis.
pub(super) const FLOOR: f64 = -0.5;

/// A picture, or a part of it.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Drawing to a string fails only by a mistake of ours.
pub(super) type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// A panel's title at its left and the legend at its right.
pub(super) fn title(area: &Area<'_>, text: &str, legend: &[(&str, RGBColor)]) -> Drawn {
    area.draw_text(text, &("sans-serif", 16, FontStyle::Bold).into_font().color(&INK), (24, 8))?;
    let mut x = WIDTH as i32 - 24;
    for (name, colour) in legend.iter().rev() {
        // Nobody here knows the font's widths: 7 of its 13 pixels fit most letters.
        x -= name.chars().count() as i32 * 7;
        area.draw_text(name, &small(), (x, 10))?;
        area.draw(&Rectangle::new([(x - 20, 11), (x - 6, 22)], colour.filled()))?;
        x -= 42;
    }
    Ok(())
}

/// A panel with room for its title and the labels of its axes.
pub(super) fn chart<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(area);
    chart.margin_top(30).margin_bottom(10).margin_left(16).margin_right(24);
    chart.x_label_area_size(44).y_label_area_size(86);
    chart
}

pub(super) fn small() -> TextStyle<'static> {
    ("sans-serif", 13).into_font().color(&INK)
}

/// Where a count is on a logarithmic axis.
pub(super) fn log(pages: f64) -> f64 {
    if pages > 0.0 { pages.log10().max(FLOOR) } else { FLOOR }
}

pub(super) fn decades_top(most: f64) -> f64 {
    log(most).max(1.0) + 0.4
}

/// An axis with marks at chosen values.
pub(super) struct Axis {
    pub(super) range: Range<f64>,
    pub(super) marks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A logarithmic axis with a mark at each power of ten.
pub(super) fn decades(most: f64) -> Axis {
    let top = decades_top(most);
    let powers = (0..=top as u32).map(f64::from);
    Axis { range: FLOOR..top, marks: [FLOOR].into_iter().chain(powers).collect() }
}

/// The count at a place of a logarithmic axis.
pub(super) fn pages(exponent: f64) -> String {
    grouped(if exponent > FLOOR { 10f64.powf(exponent) } else { 0.0 })
}

pub(super) fn tick(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A count with a comma after each three digits.
pub(super) fn grouped(n: f64) -> String {
    let digits = format!("{n:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A time in the unit that people read.
pub(super) fn duration(ms: f64) -> String {
    match ms {
        _ if ms < 1000.0 => format!("{ms:.1} ms"),
        _ if ms < 120_000.0 => format!("{:.1} s", ms / 1000.0),
        _ => format!("{:.0} min", ms / 60_000.0),
    }
}
