//! Reports of good images, old images, and images that nobody should believe.

use serde_json::{Value, json};
use store::{Manifest, MemoryFigures, XenVersion};

use super::figures::{Figures, merged};
use super::table::{comparison, table};
use super::{compare, draw};

fn manifest(report: Value) -> Manifest {
    let file = || store::manifest::FileEntry { length: 0, sha256: None };
    let manifest: Manifest = serde_json::from_value(json!({
        "format": 1, "id": "web@20261121T202439Z", "guest": "web", "uuid": "", "created": "2026-11-21T20:24:39Z",
        "xen": XenVersion { major: 4, minor: 17 }, "vcpus": 1, "memory": MemoryFigures { max_kib: 1, target_kib: 1 },
        "page_size": 4096, "pages": 57360, "zero_pages": 0, "extents": [], "parent": null,
        "policy": "live-save", "report": null,
        "files": {"memory": file(), "pages": file(), "state": file()},
    }))
    .unwrap();
    Manifest { report, ..manifest }
}

/// A snapshot that was taken in the lab: 30 rounds of a guest that never stops writing.
fn real() -> Value {
    let mut rounds = vec![
        json!({"round": 1, "live": true, "asked": 57360, "sent": 57360, "zero": 40767, "skipped": 0, "dirtied": 2030, "ms": 7987.511}),
    ];
    let mut asked = 2030;
    for n in 2..30 {
        let skipped = 30 + (n * 7) % 25;
        let dirtied = if n == 29 { 422 } else { 60 + (n * 31) % 70 };
        rounds.push(json!({"round": n, "live": true, "asked": asked, "sent": asked - skipped, "zero": 0, "skipped": skipped, "dirtied": dirtied, "ms": if n == 29 { 548.9 } else { 50.0 + f64::from(asked) / 3.0 }}));
        asked = dirtied;
    }
    rounds.push(
        json!({"round": 30, "live": false, "sent": 422, "zero": 1, "skipped": 0, "dirtied": 0, "ms": 20.23}),
    );
    json!({"policy": "live-save", "stop": "too-many-rounds", "rounds": rounds, "pages_sent": 61293,
        "suspended_ms": 89.299, "freeze_ms": 442.26, "total_ms": 14575.541})
}

fn figures(report: Value) -> Figures {
    Figures::read(&manifest(report)).unwrap()
}

fn picture(figures: &Figures) -> String {
    sound(draw::svg(figures).unwrap())
}

/// A picture must be XML of a bounded size with numbers only where numbers belong.
pub(super) fn sound(svg: String) -> String {
    let xml = roxmltree::Document::parse(&svg).unwrap();
    assert_eq!(xml.root_element().tag_name().name(), "svg");
    assert!(svg.len() < 400_000, "{} octets", svg.len());
    for node in xml.descendants() {
        for name in ["x", "y", "width", "height", "x1", "x2", "y1", "y2"] {
            if let Some(value) = node.attribute(name) {
                let n: f64 = value.parse().unwrap();
                assert!((-100.0..=2000.0).contains(&n), "{name}={value}");
            }
        }
        assert!(!node.attribute("points").is_some_and(|p| p.contains("NaN") || p.contains("inf")));
    }
    svg
}

fn text(svg: &str) -> Vec<String> {
    let xml = roxmltree::Document::parse(svg).unwrap();
    let words = xml.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text());
    words.map(|t| t.trim().to_owned()).collect()
}

#[test]
fn a_picture_has_every_round_and_says_what_it_is_of() {
    let svg = picture(&figures(real()));
    let text = text(&svg);
    for n in 1..=30 {
        assert!(text.contains(&n.to_string()), "round {n}");
    }
    let all = text.join("\n");
    for part in [
        "policy live-save",
        "too many rounds",
        "57,360 pages",
        "61,293 pages sent in 30 rounds",
        "suspended 89.3 ms",
        "14.6 s in all",
        "Pages a second",
        "remaining",
        "skipped",
        "(s)",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    // Bars: 30 of sent pages, 28 of skipped ones, 29 of dirty ones.
    let xml = roxmltree::Document::parse(&svg).unwrap();
    let of = |colour: &str| {
        let is = |n: &roxmltree::Node<'_, '_>| n.has_tag_name("rect") && n.attribute("fill") == Some(colour);
        xml.descendants().filter(is).count()
    };
    // One more each for the legends.
    assert_eq!((of("#0072B2"), of("#E69F00"), of("#D55E00")), (30 + 2, 28 + 2, 29 + 2));
}

#[test]
fn the_columns_of_the_paper_are_there() {
    let f = figures(json!({"rounds": [
        {"sent": 1000, "dirtied": 300, "ms": 1000.0},
        {"sent": 250, "skipped": 50, "dirtied": 100, "ms": 300.0},
        {"sent": 100, "dirtied": 50, "ms": 200.0},
        {"sent": 50, "live": false, "ms": 9.0},
    ], "suspended_ms": 12.5, "pages_sent": 1400, "total_ms": 1600.0}));
    let json = f.json();
    for (key, value) in [
        ("dirty_frequency", json!(300.0)),
        ("dirty_pages", json!(150.0)),
        ("round_ms", json!(250.0)),
        ("iterations", json!(4)),
        ("suspended_ms", json!(12.5)),
        ("total_ms", json!(1600.0)),
        ("pages_sent", json!(1400)),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    let table = table(&f);
    assert!(table.contains("dirty frequency      300 pages/s") && table.contains("suspended"), "{table}");
}

#[test]
fn an_old_image_with_few_fields_is_reported() {
    let f = figures(json!({"rounds": [{"sent": 6, "ms": 2}]}));
    assert_eq!((f.pages_sent, f.total_ms, f.suspended_ms), (6.0, 2.0, None));
    assert!(table(&f).contains("not recorded"));
    assert!(picture(&f).contains("not recorded"));
    // Suspended from the begin to the end, and in no time.
    picture(&figures(json!({"rounds": [{"sent": 6, "live": false, "ms": 0}], "suspended_ms": 0})));
}

#[test]
fn what_has_no_rounds_or_impossible_ones_is_one_clear_error() {
    let error = |report: Value| Figures::read(&manifest(report)).map(drop).unwrap_err();
    for none in [Value::Null, json!({}), json!({"rounds": []}), json!([1]), json!("x")] {
        let error = error(none);
        assert!(error.message.contains("web@20261121T202439Z") && error.hint.is_some(), "{error}");
    }
    assert!(error(json!({"rounds": {"a": 1}})).message.contains("not a list"));
    let round = |round: Value| error(json!({"rounds": [{"sent": 1, "ms": 1}, round]})).message;
    assert!(round(json!({"ms": 1})).contains("round 2: `sent` is missing"));
    assert!(round(json!({"sent": 1})).contains("round 2: `ms` is missing"));
    for (key, bad) in [
        ("sent", json!(-1)),
        ("sent", json!(1e300)),
        ("sent", json!(u64::MAX)),
        ("sent", json!("many")),
        ("ms", json!(-0.5)),
        ("ms", json!(1e12)),
        ("dirtied", json!([])),
        ("asked", json!(f64::MAX)),
        ("skipped", json!(true)),
    ] {
        let mut one = json!({"sent": 1, "ms": 1});
        one[key] = bad.clone();
        assert!(round(one).contains(&format!("round 2: `{key}` is not a number")), "{key} {bad}");
    }
    assert!(round(json!(7)).contains("missing"));
    assert!(
        error(json!({"rounds": [{"sent": 1, "ms": 1}], "suspended_ms": -1})).message.contains("suspended_ms")
    );
}

#[test]
fn extremes_within_bounds_give_a_bounded_picture() {
    for (sent, ms) in [(0.0, 0.0), (1.0, 1e-9), (1e12, 1e-9), (1e12, 3e10), (0.0, 3e10)] {
        let round = |live| json!({"sent": sent, "zero": 1e12, "skipped": sent, "dirtied": sent, "ms": ms, "live": live});
        let f = figures(json!({"rounds": [round(true), round(true), round(false)], "suspended_ms": 3e10}));
        picture(&f);
        table(&f);
    }
}

#[test]
fn very_many_rounds_give_a_bounded_picture_and_table() {
    let rounds: Vec<Value> = vec![json!({"sent": 977, "ms": 1}); 250_000];
    let f = figures(json!({"rounds": rounds}));
    let svg = picture(&f);
    assert!(text(&svg).join("\n").contains("250000 rounds, drawn in groups of 2084"));
    let table = table(&f);
    assert!(table.len() < 200_000 && table.contains("and 249000 more"));
}

#[test]
fn merging_rounds_loses_no_page_and_no_time() {
    let f = figures(real());
    for most in [1, 2, 7, 29, 30, 31] {
        let (few, group) = merged(&f.rounds, most);
        assert!(few.len() <= most && group == 30usize.div_ceil(most));
        let sums = |rounds: &[super::figures::Round]| {
            rounds.iter().fold((0.0, 0.0, 0.0), |(a, b, c), r| (a + r.sent, b + r.skipped, c + r.ms))
        };
        let (a, b) = (sums(&few), sums(&f.rounds));
        assert!(a.0 == b.0 && a.1 == b.1 && (a.2 - b.2).abs() < 1e-6);
    }
}

#[test]
fn hostile_words_stay_words() {
    let f = figures(
        json!({"policy": "<script>&\"'\u{0}\u{1b}]0;x\u{7}", "stop": "x".repeat(10_000), "rounds": [{"sent": 1, "ms": 1}]}),
    );
    let svg = picture(&f);
    assert!(text(&svg).join("\n").contains("policy <script>&\"'??]0;x?"));
    assert!(!table(&f).contains('\u{1b}'));
}

#[test]
fn several_images_are_compared_with_their_figures() {
    let other = json!({"policy": "pool-fit", "stop": "fits-pool", "suspended_ms": 7.0, "rounds": [
        {"sent": 57360, "ms": 8000, "dirtied": 2000}, {"sent": 2000, "ms": 5, "live": false}]});
    let all = [figures(real()), figures(other)];
    let table = comparison(&all);
    assert!(table.lines().count() == 3 && table.contains("pool-fit") && table.contains("89.3 ms"), "{table}");
    let words = text(&sound(compare::svg(&all).unwrap())).join("\n");
    for part in
        ["live-save", "too many rounds", "pool-fit", "fits pool", "7.0 ms", "61,293", "Pages (logarithmic)"]
    {
        assert!(words.contains(part), "{part} in {words}");
    }
    let many: Vec<Figures> = (0..8).map(|_| figures(real())).collect();
    sound(compare::svg(&many[..7]).unwrap());
    assert!(compare::svg(&many).unwrap_err().hint.is_some());
}
