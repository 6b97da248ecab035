//! The commands on a directory with groups.

use std::fs;

use clap::Parser;
use handoff::ChannelRecord;
use serde_json::{Map, json};
use store::group::{
    Group, GroupId, GroupWriter, Head, Manifest, Member, Mode, Part, PendingGroup, switch_text,
};

use super::*;
use crate::cli::images::tests::Images;

const NAME: &str = "blue@20261122T081500Z";

fn head(name: &str) -> Head {
    let id = GroupId { network: 7, epoch: 3, initiator: 1 };
    Head { name: name.parse().unwrap(), id, mode: Mode::Together, switches: vec![1, 2] }
}

fn part(host: &str, switch: u64, members: Vec<Member>) -> Part {
    let channel = store::group::Channel { lost: 1, held: 17, ..Default::default() };
    Part { host: host.into(), switch: switch_text(switch), members, channel, kept_on: None, more: Map::new() }
}

fn member(n: u8, image: &str, contents: &str) -> Member {
    let at = |ms: f64| Some(8200.0 + f64::from(n) + ms);
    Member {
        guest: format!("web{n}"),
        uuid: format!("e5d4d218-9b32-4a04-971e-bb65229d0f{n:02x}"),
        image: image.into(),
        contents: contents.into(),
        vifs: vec![format!("00:16:3e:00:00:{n:02x}")],
        ready_ms: at(-1000.0),
        suspend_ms: at(1.0),
        cut_ms: at(3.5),
        resume_ms: at(12.25),
        suspended_ms: Some(8.7),
        disks: vec![
            json!({"vdev": "xvda", "how": "thin", "source": "vg/web", "snapshot": "vg/luthier_web"}),
            json!({"vdev": "xvdb", "how": "of a later version"}),
        ],
        more: Map::new(),
    }
}

/// A group of two guests here and one on another host, undecided.
fn pending(images: &Images, name: &str) -> PendingGroup {
    let mut writer = GroupWriter::create(&images.0, head(name), 1).unwrap();
    let record = ChannelRecord {
        time_us: 8_212_500,
        network: 7,
        mac: [0, 0x16, 0x3e, 0, 0, 1],
        checksum: 0,
        gso: 0,
        gso_size: 0,
        len: 100,
    };
    writer.channel(1, &[&record.emit()[..], &[7; 100]].concat()).unwrap();
    let members = [1, 2].map(|n| {
        let writer = images.writer(None);
        // As `disks` names the copy of a disk that is a file.
        let copy = images.disks().join(format!("{}-xvda.raw", writer.id()));
        fs::create_dir_all(images.disks()).unwrap();
        fs::write(&copy, "as it was").unwrap();
        let disk = json!({"vdev": "xvda", "how": "reflink", "source": "/srv/web.raw", "snapshot": copy});
        let pending = writer.prepare(json!({ "disks": [disk] })).unwrap();
        member(n, pending.id().as_str(), pending.contents())
    });
    writer.seal(part("hosta", 1, members.into())).unwrap()
}

impl Images {
    fn disks(&self) -> PathBuf {
        self.0.join("luthier-disks")
    }

    fn groups_left(&self) -> usize {
        fs::read_dir(self.0.join("groups")).unwrap().count()
    }

    fn copies(&self) -> usize {
        fs::read_dir(self.disks()).map_or(0, Iterator::count)
    }
}

fn whole(images: &Images, name: &str) -> Vec<String> {
    let pending = pending(images, name);
    let there = part("hostb", 2, vec![member(3, "web@20261122T081500Z", &"5a".repeat(32))]);
    let manifest = Manifest::new(&head(name), vec![pending.own().part.clone(), there]).unwrap();
    let group = pending.commit(&manifest.encode().unwrap()).unwrap();
    group.publish().unwrap();
    group.own().part.members.iter().map(|m| m.image.clone()).collect()
}

fn resolved(images: &Images, name: &str) -> Result<Named> {
    let args = ["luthier", "--images", images.0.to_str().unwrap(), "list"];
    resolve(&Cli::try_parse_from(args).unwrap(), name)
}

/// The commands that only look, as text and as JSON.
fn look(images: &Images, name: &str) {
    for json in [None, Some("--json")] {
        for command in [&["list"][..], &["list", "--groups"], &["show", name], &["verify", name]] {
            let words: Vec<&str> = command.iter().copied().chain(json).collect();
            images.run(&words).unwrap();
        }
    }
}

#[test]
fn a_group_is_listed_shown_verified_drawn_and_removed() {
    let images = Images::new("group");
    let members = whole(&images, NAME);
    look(&images, NAME);
    look(&images, &format!("groups/{NAME}"));
    look(&images, &members[0]);
    let svg = images.0.join("cut.svg");
    images.run(&["show", NAME, "-o", svg.to_str().unwrap()]).unwrap();
    assert!(fs::read_to_string(&svg).unwrap().contains("web2 on hosta"));
    assert!(images.run(&["show", NAME, "-o", svg.to_str().unwrap()]).is_err(), "it is there already");
    assert!(images.run(&["show", &members[0], "-o", "-"]).is_err(), "an image has no cut");
    fs::remove_file(svg).unwrap();

    let refused = images.run(&["rm", &members[0]]).unwrap_err().to_string();
    assert!(refused.contains(&format!("luthier rm {NAME}")), "{refused}");
    let child = images.make(Some(&members[1]));
    let refused = images.run(&["rm", NAME]).unwrap_err().to_string();
    assert!(refused.contains(&child), "{refused}");
    assert_eq!(images.copies(), 2, "what is refused takes nothing with it");
    for command in ["merge", "report"] {
        let refused = images.run(&[command, NAME]).unwrap_err().to_string();
        assert!(refused.contains("is a group"), "{refused}");
    }
    images.run(&["rm", NAME, &child]).unwrap();
    assert_eq!((images.groups_left(), images.copies()), (0, 0));
    assert!(images.run(&["show", NAME]).is_err());
}

#[test]
fn what_is_not_sound_of_a_group_is_named() {
    let images = Images::new("unsound");
    let members = whole(&images, NAME);
    let wrong = |what: &str| {
        let refused = images.run(&["verify", NAME]).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
        images.run(&["show", NAME]).unwrap();
    };
    let frames = images.0.join("groups").join(NAME).join("channels-0000000000000001");
    let octets = fs::read(&frames).unwrap();
    fs::write(&frames, &octets[..octets.len() - 1]).unwrap();
    wrong("frames to members on hosta");
    fs::write(&frames, octets).unwrap();
    let memory = images.0.join(&members[1]).join("memory");
    let mut octets = fs::read(&memory).unwrap();
    octets[5000] ^= 1;
    fs::write(&memory, octets).unwrap();
    wrong("web2");
    fs::remove_dir_all(images.0.join(&members[0])).unwrap();
    wrong("web1");
    // And it can be removed all the same.
    images.run(&["rm", NAME]).unwrap();
    assert_eq!(images.groups_left(), 0);
    assert!(store::list(&images.0).unwrap().is_empty());
}

#[test]
fn a_group_that_is_not_decided_is_shown_and_neither_verified_nor_removed() {
    let images = Images::new("undecided");
    let group = pending(&images, NAME);
    for words in [&["list"][..], &["list", "--groups"], &["show", NAME], &["show", NAME, "--json"]] {
        images.run(words).unwrap();
    }
    for command in ["verify", "rm"] {
        let refused = images.run(&[command, NAME]).unwrap_err().to_string();
        assert!(refused.contains("not decided"), "{refused}");
    }
    group.discard().unwrap();
    assert_eq!(images.groups_left(), 0);
    assert!(store::pendings(&images.0).unwrap().is_empty());
}

#[test]
fn a_name_of_an_image_and_a_group_is_not_guessed() {
    let images = Images::new("ambiguous");
    let name = "web@19700101T000000Z";
    let members = whole(&images, name);
    assert!(!members.contains(&name.to_owned()), "no name that is made up is both");
    fs::rename(images.0.join(&members[0]), images.0.join(name)).unwrap();
    assert!(matches!(resolved(&images, name), Err(e) if e.message.contains("an image and a group")));
    // What the error advises works, and takes the one and the other.
    let place = Place { images: images.0.clone(), name: name.parse().unwrap() };
    assert_eq!(resolved(&images, &format!("groups/{name}")).unwrap(), Named::Group(place.clone()));
    let path = images.0.join(name);
    assert_eq!(resolved(&images, path.to_str().unwrap()).unwrap(), Named::Image(path));
    let folder = images.0.join("groups").join(name);
    assert_eq!(resolved(&images, folder.to_str().unwrap()).unwrap(), Named::Group(place.clone()));
    let trailing = format!("{}/", folder.display());
    assert_eq!(resolved(&images, &trailing).unwrap(), Named::Group(place));
    // What is neither is looked for as an image, wherever it may be.
    for neither in ["nothing", "web@20991231T000000Z", "../elsewhere/web@20261122T081500Z", "/"] {
        assert!(matches!(resolved(&images, neither), Ok(Named::Image(_))), "{neither}");
    }
    assert!(resolved(&images, "groups/nothing").is_err());
    Group::open(&images.0, &name.parse().unwrap()).unwrap();
}
