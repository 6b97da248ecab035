//! Restores of a group over hosts that are played: in which order what is done, and that all of it is
//! taken back when something fails.

use store::group::{Channel, Head, Manifest, Member, Mode, Part, switch_text};

use serde_json::{Value, json};

use super::hosts::Host;
use super::steps::restore;
use super::undo::{Made, Undo};
use super::*;

mod fake;

use fake::{Fake, locked};

const LEFT: u64 = 0xa;
const RIGHT: u64 = 0xb;

fn member(guest: &str, n: u8) -> Member {
    Member {
        guest: guest.into(),
        uuid: format!("e5d4d218-9b32-4a04-971e-bb65229d0f{n:02x}"),
        image: format!("{guest}@20261122T081500Z"),
        contents: format!("{n:02x}").repeat(32),
        vifs: vec![mac(n)],
        ..Member::default()
    }
}

fn mac(n: u8) -> String {
    format!("00:16:3e:00:00:{n:02x}")
}

fn manifest() -> Manifest {
    let part = |host: &str, switch, members, frames| Part {
        host: host.into(),
        switch: switch_text(switch),
        members,
        channel: Channel { frames, ..Channel::default() },
        kept_on: None,
        more: Default::default(),
    };
    let head = Head {
        name: "blue@20261122T081500Z".parse().unwrap(),
        id: store::GroupId { network: 7, epoch: 1, initiator: LEFT },
        mode: Mode::Together,
        switches: vec![LEFT, RIGHT],
    };
    let left = part("left", LEFT, vec![member("web", 1), member("db", 2)], 2);
    let right = part("right", RIGHT, vec![member("mail", 3)], 0);
    Manifest::new(&head, vec![left, right]).unwrap()
}

fn plan(args: &PlaceArgs) -> Plan {
    Plan::new(&manifest(), &switch_text(LEFT), args).unwrap()
}

fn place(places: &[(&str, &str)]) -> PlaceArgs {
    let place = places.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    PlaceArgs { place, rsh: "ssh".into(), ..PlaceArgs::default() }
}

fn at(said: &[String], what: &str) -> usize {
    said.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}: {said:#?}"))
}

#[test]
fn all_is_checked_then_frozen_then_made_given_let_go_and_thawed() {
    let fake = Fake::default();
    let result = restore(&fake, plan(&place(&[("db", "right")])), &|_| {}).unwrap();
    assert_eq!(result["frames"], 2);
    assert_eq!(result["members"].as_array().unwrap().len(), 3);
    let said = locked(&fake.said);
    let order = [
        "this host to right: db@20261122T081500Z",
        "right: restore-member find",
        "this host: restore-member check",
        "right: restore-member check",
        "this host: restore-member freeze blue",
        "right: restore-member freeze blue",
        "this host: restore-member make web@",
        "right: restore-member make db@20261122T081500Z-2",
        "right: restore-member make mail@",
        "this host: restore-member inject blue",
        "right: restore-member inject blue",
        "this host: restore-member unpause 7",
        "right: restore-member unpause 7",
        "this host: restore-member connected --wait 5 blue 00:16:3e:00:00:01",
        "right: restore-member connected --wait 5 blue 00:16:3e:00:00:02 00:16:3e:00:00:03",
        "this host: told to thaw",
        "right: told to thaw",
    ];
    let places: Vec<usize> = order.iter().map(|what| at(&said, what)).collect();
    for pair in [
        (1, 0),
        (0, 2),
        (0, 3),
        (2, 4),
        (2, 5),
        (3, 4),
        (3, 5),
        (4, 6),
        (4, 7),
        (5, 6),
        (5, 7),
        (7, 8),
        (6, 9),
        (8, 9),
        (8, 10),
        (6, 10),
        (9, 11),
        (10, 11),
        (9, 12),
        (10, 12),
        (11, 13),
        (11, 14),
        (12, 13),
        (12, 14),
        (13, 15),
        (14, 15),
        (13, 16),
        (14, 16),
    ] {
        assert!(places[pair.0] < places[pair.1], "{} before {}: {said:#?}", order[pair.0], order[pair.1]);
    }
    assert!(locked(&fake.frozen).is_empty());
    assert_eq!(locked(&fake.domains).len(), 3);
}

#[test]
fn whatever_fails_nothing_is_left() {
    for fails in [
        "right: restore-member find",
        "right: restore-member check",
        "right: restore-member freeze",
        "right: restore-member make mail",
        "this host: restore-member make db",
        "restore-member inject",
        "kept frozen",
        "right: restore-member unpause",
        "right: restore-member connected",
    ] {
        let fake = Fake { fails: Some(fails), ..Fake::default() };
        let error = restore(&fake, plan(&place(&[("web", "right")])), &|_| {}).unwrap_err();
        assert!(error.message.contains("no"), "{error}");
        assert!(error.hint.unwrap().ends_with("Nothing of the group runs"));
        assert!(locked(&fake.domains).is_empty(), "{fails}: {:?}", locked(&fake.domains));
        assert!(locked(&fake.frozen).is_empty(), "{fails}");
        assert!(locked(&fake.copies).is_empty(), "{fails}");
    }
}

#[test]
fn what_can_be_known_before_is_known_before_anything_is_made() {
    for fails in ["right: restore-member check", "this host: restore-member check"] {
        let fake = Fake { fails: Some(fails), ..Fake::default() };
        restore(&fake, plan(&place(&[])), &|_| {}).unwrap_err();
        let said = locked(&fake.said);
        assert!(!said.iter().any(|line| line.contains("make") || line.contains("freeze")), "{said:#?}");
    }
}

#[test]
fn a_copy_with_other_pages_is_refused_and_removed() {
    let fake = Fake { bad_copy: true, ..Fake::default() };
    let error = restore(&fake, plan(&place(&[("web", "right")])), &|_| {}).unwrap_err();
    assert!(error.message.contains("other pages"), "{error}");
    assert!(locked(&fake.copies).is_empty() && locked(&fake.domains).is_empty());
}

#[test]
fn what_could_not_be_taken_back_is_named() {
    let fake = Fake { fails: Some("destroy"), ..Fake::default() };
    // The one thing that fails first: a network that is not there any more.
    let undo = Undo::new(&fake, "blue");
    undo.frozen.begin(&Host::Here).unwrap();
    undo.made(Made { host: Host::Here, name: "web".into(), domid: 7, disks: Value::Null });
    let left = undo.everything();
    assert!(left[0].contains("domain web"), "{left:?}");
}

#[test]
fn members_go_where_they_were_or_where_they_are_placed() {
    let there = |address: &str| Host::There(address.into());
    let to = |args: &PlaceArgs| plan(args).moves.iter().map(|m| m.to.clone()).collect::<Vec<_>>();
    assert_eq!(to(&place(&[])), [Host::Here, Host::Here, there("right")]);
    assert_eq!(to(&place(&[("mail", "."), ("web", "third")])), [there("third"), Host::Here, Host::Here]);
    assert_eq!(to(&place(&[("mail", "left")]))[2], Host::Here);
    let mut args = place(&[("db", "right")]);
    args.address = vec![("right".into(), "1".into())];
    assert_eq!(to(&args), [Host::Here, there("1"), there("1")]);
    assert_eq!(plan(&args).label(&there("1")), "right");
    args.name_suffix = Some("-copy".into());
    assert!(plan(&args).moves.iter().all(|m| m.target == format!("{}-copy", m.guest)));
    for bad in [&[("nobody", "right")][..], &[("web", "right"), ("web", ".")]] {
        assert!(Plan::new(&manifest(), &switch_text(LEFT), &place(bad)).is_err());
    }
}

/// `web` with a disk, placed on the other host.
fn moved_with_disk(args: &PlaceArgs) -> Plan {
    let mut manifest = manifest();
    manifest.hosts[0].members[0].disks = vec![
        json!({"vdev": "xvda", "how": "thin", "snapshot": "vg/x"}),
        json!({"vdev": "xvdb", "how": "read-only", "source": "/srv/cd.iso"}),
    ];
    Plan::new(&manifest, &switch_text(LEFT), args).unwrap()
}

#[test]
fn disks_go_with_their_member_once_there_is_a_place_for_them() {
    let fake = Fake::default();
    restore(&fake, moved_with_disk(&place(&[("web", "right")])), &|_| {}).unwrap();
    let said = locked(&fake.said);
    let order = ["this host: restore-member disks", "right: restore-member room", "this host to right: web@"];
    let places: Vec<usize> = order.iter().map(|what| at(&said, what)).collect();
    assert!(places.is_sorted(), "{said:#?}");
    let rooms = locked(&fake.rooms);
    assert_eq!(rooms[0]["members"][0]["guest"], "web");
    assert_eq!(rooms[0]["members"][0]["disks"][0]["to"]["pool"]["pool"], "pool");
    // One that stays has its disks where it is.
    let stays = Fake::default();
    restore(&stays, moved_with_disk(&place(&[("db", "right")])), &|_| {}).unwrap();
    assert!(locked(&stays.rooms).is_empty());
}

#[test]
fn a_disk_goes_where_the_operator_says() {
    let mut args = place(&[("web", "right")]);
    args.disk = vec![disk("web:xvda=fast/thin").unwrap()];
    let fake = Fake::default();
    restore(&fake, moved_with_disk(&args), &|_| {}).unwrap();
    at(&locked(&fake.said), "this host to right: web@20261122T081500Z --disk xvda=fast/thin");
    assert_eq!(locked(&fake.rooms)[0]["members"][0]["disks"][0]["to"]["pool"]["group"], "fast");
    args.disk = vec![disk("web:xvdz=fast/thin").unwrap()];
    let error = restore(&Fake::default(), moved_with_disk(&args), &|_| {}).unwrap_err();
    assert!(error.message.contains("`web` has no disk xvdz"), "{error}");
    args.disk = vec![disk("nobody:xvda=fast/thin").unwrap()];
    assert!(Plan::new(&manifest(), &switch_text(LEFT), &args).is_err());
    for bad in ["web", "web:xvda", "web=vg/pool", ":xvda=vg/pool", "web:=vg/pool", "web:xvda=vg"] {
        assert!(disk(bad).is_err(), "{bad}");
    }
}

#[test]
fn without_a_place_for_a_disk_nothing_is_copied_or_made() {
    for fails in ["right: restore-member room", "this host: restore-member disks"] {
        let fake = Fake { fails: Some(fails), ..Fake::default() };
        restore(&fake, moved_with_disk(&place(&[("web", "right")])), &|_| {}).unwrap_err();
        let said = locked(&fake.said);
        let made =
            |line: &String| line.contains(" to right") || line.contains("make") || line.contains("freeze");
        assert!(!said.iter().any(made), "{said:#?}");
    }
}

#[test]
fn a_connection_that_is_cut_while_a_disk_is_copied_names_the_member() {
    let fake = Fake { fails: Some("this host to right"), ..Fake::default() };
    let error = restore(&fake, moved_with_disk(&place(&[("web", "right")])), &|_| {}).unwrap_err();
    assert!(error.message.starts_with("`web`: "), "{error}");
    assert!(locked(&fake.domains).is_empty() && locked(&fake.copies).is_empty());
}

#[test]
fn an_older_xen_is_told_before_anything_is_made_or_copied() {
    let fake = Fake { xen_there: Some(16), ..Fake::default() };
    let error = restore(&fake, plan(&place(&[("web", "right")])), &|_| {}).unwrap_err();
    assert_eq!(
        error.message,
        "`web`: the image web@20261122T081500Z was taken on Xen 4.17, and right has Xen 4.16, which can't restore it"
    );
    let said = locked(&fake.said);
    assert!(said.iter().all(|line| line.ends_with("restore-member find")), "{said:#?}");
    let newer = Fake { xen_there: Some(20), ..Fake::default() };
    restore(&newer, plan(&place(&[("web", "right")])), &|_| {}).unwrap();
}

#[test]
fn an_older_luthier_is_told_before_anything_is_made_or_copied() {
    let fake = Fake { is_old: true, ..Fake::default() };
    let error = restore(&fake, plan(&place(&[("web", "right")])), &|_| {}).unwrap_err();
    let versions = format!("speaks version 1 of group restores, on this host version {}", release::VERSION);
    assert_eq!(error.message, format!("luthier on right {versions}"));
    assert_eq!(
        error.hint.as_deref(),
        Some("Install one release of Luthier on all hosts. Nothing of the group runs")
    );
    let said = locked(&fake.said);
    assert!(said.iter().all(|line| line.ends_with("restore-member find")), "{said:#?}");
}

/// The group of [`manifest`], of which a third host keeps what the first one had.
fn kept() -> Manifest {
    const VAULT: u64 = 0xc;
    let mut parts = manifest().hosts;
    let vault = Part {
        host: "vault".into(),
        switch: switch_text(VAULT),
        members: Vec::new(),
        channel: Channel::default(),
        kept_on: None,
        more: Default::default(),
    };
    parts[0].kept_on = Some(vault.switch.clone());
    parts.push(vault);
    let head = Head {
        name: "blue@20261122T081500Z".parse().unwrap(),
        id: store::GroupId { network: 7, epoch: 1, initiator: LEFT },
        mode: Mode::Together,
        switches: vec![LEFT, RIGHT, VAULT],
    };
    Manifest::new(&head, parts).unwrap()
}

#[test]
fn what_another_host_keeps_comes_from_there_as_it_is_with_its_frames_and_goes_home() {
    let fake = Fake { kept: true, ..Fake::default() };
    let plan = Plan::new(&kept(), &switch_text(LEFT), &place(&[])).unwrap();
    let result = restore(&fake, plan, &|_| {}).unwrap();
    assert_eq!(result["frames"], 2);
    let said = locked(&fake.said);
    for line in [
        "vault to this host, as it is: web@",
        "vault to this host, as it is: db@",
        "vault: frames",
        "this host: restore-member make web@20261122T081500Z-2",
        "right: restore-member make mail@",
    ] {
        at(&said, line);
    }
    assert!(!said.iter().any(|line| line.contains("this host: frames")), "{said:#?}");
    assert!(!said.iter().any(|line| line.starts_with("vault: restore-member freeze")), "{said:#?}");
}

#[test]
fn disks_of_what_another_host_keeps_are_at_home_and_nowhere_else() {
    let mut manifest = kept();
    let disk = json!({"vdev": "xvda", "how": "thin", "source": "vg/web", "snapshot": "vg/x"});
    manifest.hosts[0].members[0].disks = vec![disk];
    let own = switch_text(LEFT);
    let error = Plan::new(&manifest, &own, &place(&[("web", "right")])).unwrap_err();
    assert!(error.message.contains("`web`") && error.message.contains("left"), "{error}");
    let plan = Plan::new(&manifest, &own, &place(&[])).unwrap();
    let fake = Fake { kept: true, ..Fake::default() };
    restore(&fake, plan, &|_| {}).unwrap();
    assert!(locked(&fake.rooms).is_empty(), "no disk travels");
    at(&locked(&fake.said), "vault to this host, as it is: web@");
}

#[test]
fn a_copy_that_fails_stops_the_others() {
    let slow = "right to this host: mail@";
    let fake = Fake { fails: Some("this host to right: db@"), slow: Some(slow), ..Fake::default() };
    let swapped = plan(&place(&[("db", "right"), ("mail", "left")]));
    let error = restore(&fake, swapped, &|_| {}).unwrap_err();
    assert!(error.message.starts_with("`db`: "), "{error}");
}

#[test]
fn a_thaw_that_does_not_answer_its_word_is_done_anew() {
    let fake = Fake { fails: Some("go"), ..Fake::default() };
    restore(&fake, plan(&place(&[])), &|_| {}).unwrap();
    assert!(locked(&fake.frozen).is_empty());
    at(&locked(&fake.said), "right: restore-member thaw blue");
}
