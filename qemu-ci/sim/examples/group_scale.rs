//! What a group snapshot costs against the number of its members, in messages and time: a table, and a
//! picture of it.
//!
//! `cargo run --release -p sim --example group_scale [PICTURE.svg]`

use std::fmt::Write as _;

use sim::group::schedule::{Outcome, Plan, play};
use sim::group::shared::Pace;
use vnsnap::Mode;

const MEMBERS: [u32; 7] = [10, 20, 50, 100, 200, 500, 1_000];
const PER_HOST: [u32; 2] = [4, 16];

struct Row {
    members: u32,
    hosts: usize,
    outcome: Outcome,
}

/// All guests alike, a good network, few frames: what is left is the protocol.
fn measure(members: u32, per_host: u32) -> Row {
    let mut guests = vec![per_host; (members / per_host) as usize];
    guests.extend((!members.is_multiple_of(per_host)).then_some(members % per_host));
    let hosts = guests.len();
    let plan = Plan {
        guests,
        pace: Pace { copy: (50, 50), ..Pace::default() },
        requests: vec![(1_400, 0, 1, Mode::Together)],
        trouble_ms: 2_500,
        every_ms: 100,
        broadcast: 0,
        ..Plan::quiet(1)
    };
    let outcome = play(&plan).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(outcome.committed, 1, "{members} members on {hosts} hosts: {outcome:?}");
    Row { members, hosts, outcome }
}

fn main() -> std::io::Result<()> {
    let mut series = Vec::new();
    println!("members  hosts  messages  per host  octets     spread  to commit  to the end");
    for per_host in PER_HOST {
        let rows: Vec<Row> = MEMBERS.iter().map(|&members| measure(members, per_host)).collect();
        for Row { members, hosts, outcome } in &rows {
            let cost = outcome.cost;
            println!(
                "{members:>7} {hosts:>6} {:>9} {:>9} {:>10} {:>6} ms {:>7} ms {:>7} ms",
                cost.messages,
                cost.messages / *hosts as u64,
                cost.octets,
                outcome.sum.spread_us / 1_000,
                cost.commit_ms,
                cost.end_ms
            );
        }
        series.push((per_host, rows));
    }
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(&path, draw(&series))?;
        println!("drawn in {path}");
    }
    Ok(())
}

/// Both axes are logarithmic: a straight line is a power, its slope the exponent.
fn draw(series: &[(u32, Vec<Row>)]) -> String {
    const COLOURS: [&str; 2] = ["#1f77b4", "#d62728"];
    let x = |members: u32| 60.0 + (f64::from(members).log10() - 1.0) * 185.0;
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' width='960' height='340' font-family='sans-serif' font-size='12'>\n<rect width='960' height='340' fill='white'/>\n",
    );
    type Value = fn(&Row) -> u64;
    let panels: [(&str, Value, f64, f64); 2] = [
        ("messages of one snapshot", |row| row.outcome.cost.messages, 1.0, 6.0),
        ("milliseconds from the request to the commit", |row| row.outcome.cost.commit_ms, 1.0, 4.0),
    ];
    for (place, (title, value, least, most)) in panels.into_iter().enumerate() {
        let left = 480.0 * place as f64;
        let y = |value: u64| 290.0 - ((value.max(1) as f64).log10() - least) / (most - least) * 240.0;
        let _ = writeln!(svg, "<text x='{}' y='24' font-size='14'>{title}</text>", left + 60.0);
        for power in least as u32..=most as u32 {
            let at = y(10_u64.pow(power));
            let _ = writeln!(svg, "<path d='M{} {at}h390' stroke='#ddd'/>", left + 60.0);
            let _ = writeln!(
                svg,
                "<text x='{}' y='{}' text-anchor='end'>{}</text>",
                left + 54.0,
                at + 4.0,
                10_u64.pow(power)
            );
        }
        for members in [10, 100, 1_000] {
            let at = left + x(members);
            let _ = writeln!(
                svg,
                "<path d='M{at} 50v240' stroke='#ddd'/><text x='{at}' y='308' text-anchor='middle'>{members}</text>"
            );
        }
        let _ = writeln!(svg, "<text x='{}' y='328' text-anchor='middle'>members</text>", left + 245.0);
        for (line, ((per_host, rows), colour)) in series.iter().zip(COLOURS).enumerate() {
            let points: Vec<String> = rows
                .iter()
                .filter(|row| value(row) > 0)
                .map(|row| format!("{:.1},{:.1}", left + x(row.members), y(value(row))))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
                points.join(" ")
            );
            if let Some(last) = rows.last() {
                let (at, label) = (y(value(last)), format!("{per_host} a host"));
                let _ = writeln!(
                    svg,
                    "<text x='{}' y='{}' text-anchor='end' fill='{colour}'>{label}</text>",
                    left + 440.0,
                    at - 8.0 + 28.0 * line as f64
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}
