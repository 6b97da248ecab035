//! Pictures of cuts that were taken, and of those that nobody should believe.

use serde_json::{Value, json};

use super::super::tests::sound;
use super::*;

fn member(n: usize, times: [f64; 4]) -> Value {
    let [ready, suspend, cut, resume] = times;
    json!({
        "guest": format!("web{n}"), "uuid": format!("00000000-0000-0000-0000-{n:012}"),
        "image": format!("web{n}@20261122T081500Z"), "contents": "5a".repeat(32),
        "vifs": [format!("00:16:3E:00:00:{n:02x}")],
        "ready_ms": ready, "suspend_ms": suspend, "cut_ms": cut, "resume_ms": resume,
    })
}

fn manifest(hosts: &[(&str, Vec<Value>)]) -> Manifest {
    let parts: Vec<Value> = hosts
        .iter()
        .enumerate()
        .map(|(i, (host, members))| {
            json!({
                "host": host, "switch": format!("{:016x}", i + 1), "members": members,
                "channel": {"frames": 1234 * i, "bytes": 1_000_000, "lost": i, "held": 17, "dropped": 0},
            })
        })
        .collect();
    serde_json::from_value(json!({
        "format": 1, "name": "blue@20261122T081500Z", "network": {"id": 7, "name": "blue"}, "epoch": 3,
        "coordinator": "0000000000000001", "created": "2026-11-22T08:15:00Z", "mode": "together",
        "hosts": parts,
    }))
    .unwrap()
}

fn four() -> Manifest {
    let a = vec![member(1, [5200.0, 8210.0, 8213.1, 8229.0]), member(2, [8100.0, 8210.1, 8212.0, 8236.5])];
    let b = vec![member(3, [3900.0, 8210.6, 8214.9, 8231.0]), member(4, [7300.0, 8210.5, 8211.6, 8240.2])];
    manifest(&[("hosta", a), ("hostb", b)])
}

fn arrivals() -> HashMap<String, Vec<f64>> {
    let at = |from: f64, n: usize| (0..n).map(|i| from + i as f64 * 0.37).collect();
    HashMap::from([("00:16:3e:00:00:01".into(), at(8214.0, 20)), ("00:16:3e:00:00:04".into(), at(8212.0, 4))])
}

#[test]
fn a_cut_is_drawn_with_each_member_and_the_frames_that_were_on_their_way() {
    let svg = sound(svg_of(&four(), &arrivals()).unwrap());
    for text in
        ["web1 on hosta", "web4 on hostb", "3.3 ms from the first cut to the last", "28.6 ms suspended"]
    {
        assert!(svg.contains(text), "{text}");
    }
    if let Ok(path) = std::env::var("LUTHIER_CUT_SVG") {
        std::fs::write(path, svg).unwrap();
    }
}

#[test]
fn times_that_make_no_sense_and_many_members_still_make_a_picture() {
    let same = member(1, [0.0; 4]);
    sound(svg_of(&manifest(&[("a", vec![same])]), &HashMap::new()).unwrap());
    // Out of order, far apart.
    let odd = vec![member(1, [9e9, 5.0, 3.0, 1.0]), member(2, [0.0, 0.0, 8e9, 8.64e9])];
    sound(svg_of(&manifest(&[("a", odd)]), &HashMap::new()).unwrap());
    let host = |h: usize| (0..48).map(|n| member(h * 48 + n, [1.0, 2.0, 3.0 + n as f64, 90.0])).collect();
    let hosts: Vec<Vec<Value>> = (0..20).map(host).collect();
    let named: Vec<(&str, Vec<Value>)> = hosts.into_iter().map(|h| ("a-host-with-a-long-name", h)).collect();
    let crowd =
        HashMap::from([("00:16:3e:00:00:01".to_owned(), (0..100_000).map(|n| n as f64 / 1e3).collect())]);
    let svg = sound(svg_of(&manifest(&named), &crowd).unwrap());
    assert!(svg.contains("48 of them drawn") && svg.contains("a-host-with-…"));
    assert!(svg.contains("and 8 hosts more"));
}

#[test]
fn without_times_there_is_nothing_to_draw() {
    let mut bare = member(1, [1.0; 4]);
    bare.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_ms"));
    let refused = svg_of(&manifest(&[("a", vec![bare])]), &HashMap::new()).unwrap_err();
    assert!(refused.message.contains("does not say"), "{refused}");
}
