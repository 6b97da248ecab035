//! What is left after a kill at any step, and what recovery makes of it.

use super::*;
use crate::writer::tests::copy;

/// Runs a whole commit and copies the directory after each step.
fn copies(from: &Path, to: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    let mut look = |what: String| {
        copy(from, &to.join(&what));
        seen.push(what);
    };
    let mut writer = GroupWriter::create(from, head(), HERE).unwrap();
    writer.channel(1, &record(1, 60)).unwrap();
    let part = our_part(from);
    look("0-prepared".into());
    let pending = writer.seal_observed(part, &mut |step| look(format!("1-{step:?}"))).unwrap();
    let text = manifest(&pending);
    let group = pending.commit_observed(&text, &mut |step| look(format!("2-{step:?}"))).unwrap();
    let mut n = 0;
    group
        .publish_observed(&mut || {
            n += 1;
            look(format!("3-ImageNamed-{n}"));
        })
        .unwrap();
    seen
}

#[test]
fn a_kill_at_any_step_leaves_nothing_or_a_group_to_decide_or_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let left = tempfile::tempdir().unwrap();
    let steps = copies(dir.path(), left.path());
    assert_eq!(steps.len(), 1 + 5 + 5 + 2, "{steps:?}");
    for step in &steps {
        let images = &left.path().join(step);
        let found = recover(images).unwrap();
        assert!(found.failed.is_empty(), "{step}: {:?}", found.failed);
        let sealed = step.starts_with("1-Seal") || step.starts_with("2-Manifest");
        let whole = step.starts_with("2-Commit") || step.starts_with("3-");
        assert_eq!(found.undecided.len(), usize::from(sealed), "{step}");
        assert_eq!(found.unconfirmed.len(), usize::from(whole), "{step}");
        let named = match step.as_str() {
            "3-ImageNamed-1" => 1,
            "3-ImageNamed-2" => 0,
            _ if whole => 2,
            _ => 0,
        };
        assert_eq!(found.published.len(), named, "{step}");
        let gone = if sealed || whole { 0 } else { 3 };
        assert_eq!(found.removed.len(), gone, "{step}: {:?}", found.removed);
        assert_eq!(crate::list(images).unwrap().len(), if whole { 2 } else { 0 }, "{step}");
        assert_eq!(pendings(images).unwrap().len(), if sealed { 2 } else { 0 }, "{step}");
        if gone > 0 {
            assert_eq!(entries(images), [GROUPS]);
            assert!(entries(&images.join(GROUPS)).is_empty());
        }
        // An undecided one can go either way, from whatever step.
        for group in found.undecided {
            let away = &left.path().join(format!("{step}-away"));
            copy(images, away);
            PendingGroup::open(away, &name()).unwrap().discard().unwrap();
            assert_eq!(entries(away), [GROUPS], "{step}");
            let text = manifest(&group);
            group.commit(&text).unwrap().publish().unwrap();
        }
        if sealed || whole {
            drop(found.unconfirmed);
            let group = Group::open(images, &name()).unwrap();
            let own = group.own().part.clone();
            let here = |m| matches!(group.place(&own, m), Place::Here(_));
            assert!(own.members.iter().all(here), "{step}");
            group.channels(&own).unwrap().unwrap().verify(&own.channel).unwrap();
            assert_eq!(entries(&images.join(GROUPS)), [NAME]);
            group.confirm().unwrap();
            drop(group);
            assert!(recover(images).unwrap().unconfirmed.is_empty());
        }
    }
}

#[test]
fn a_kill_while_a_group_is_given_up_leaves_nothing_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let left = tempfile::tempdir().unwrap();
    let mut n = 0;
    sealed(dir.path())
        .discard_observed(&mut || {
            copy(dir.path(), &left.path().join(n.to_string()));
            n += 1;
        })
        .unwrap();
    assert_eq!(n, 3);
    for n in 0..n {
        let images = &left.path().join(n.to_string());
        recover(images).unwrap();
        assert_eq!(entries(images), [GROUPS], "{n}");
        assert!(entries(&images.join(GROUPS)).is_empty());
    }
}

#[test]
fn what_a_living_process_makes_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    let writer = GroupWriter::create(images, head(), HERE).unwrap();
    let image = ready(images, None).prepare(Value::Null).unwrap();
    let found = recover(images).unwrap();
    assert!(found.removed.is_empty() && found.failed.is_empty());
    assert_eq!(pendings(images).unwrap().len(), 1);
    drop((writer, image));
    assert_eq!(recover(images).unwrap().removed.len(), 1);
}

#[test]
fn images_of_a_group_that_cannot_be_read_are_not_removed() {
    for file in ["group.json", "channels-00000000000000a1"] {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path();
        drop(sealed(images));
        let folder = images.join(GROUPS).join(format!("{NAME}.pending"));
        fs::write(folder.join(file), b"x").unwrap();
        let found = recover(images).unwrap();
        assert!(found.removed.is_empty(), "{file}");
        assert_eq!(pendings(images).unwrap().len(), 2, "{file}");
        assert_eq!(found.failed.len(), usize::from(file == "group.json"));
    }
}

#[test]
fn a_removal_that_was_cut_short_can_be_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    drop(committed(images));
    // As after the first image.
    fs::remove_dir_all(images.join(IMAGES[0])).unwrap();
    let group = Group::open(images, &name()).unwrap();
    let own = &group.own().part;
    assert!(matches!(group.place(own, &own.members[0]), Place::Missing));
    drop(group);
    assert_eq!(remove(images, &name()).unwrap().len(), 1);
    assert_eq!(entries(images), [GROUPS]);
    // A committed group whose images have no names yet goes as a whole, too.
    let pending = sealed(images);
    let text = manifest(&pending);
    drop(pending.commit(&text).unwrap());
    assert!(remove(images, &name()).unwrap().is_empty());
    assert_eq!(entries(images), [GROUPS]);
}
