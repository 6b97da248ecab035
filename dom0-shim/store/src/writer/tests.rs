//! What is on the disk after each step of a commit and of a merge.

use super::*;
use crate::merge::merge_observed;
use crate::state::{StateKind, hvm_params, tsc_info};
use crate::{Extent, MemoryFigures, XenVersion, list, sweep};
use std::time::SystemTime;

pub(crate) fn ready(dir: &Path, parent: Option<&Path>) -> ImageWriter {
    let meta = Meta {
        guest: "g".into(),
        uuid: "e5d4d218-9b32-4a04-971e-bb65229d0f12".into(),
        created: SystemTime::UNIX_EPOCH,
        xen: XenVersion { major: 4, minor: 20 },
        vcpus: 1,
        memory: MemoryFigures::default(),
        extents: Extents::new([Extent { pfn: 0, count: 8 }]).unwrap(),
        policy: serde_json::Value::Null,
    };
    let id = ImageId::unused(dir, &meta.guest, meta.created);
    let mut w = match parent {
        None => ImageWriter::create(dir, id, meta).unwrap(),
        Some(parent) => {
            ImageWriter::create_on(dir, id, meta, Image::open(parent).unwrap(), Rest::AsInParent).unwrap()
        }
    };
    for slot in if parent.is_none() { 0..8 } else { 2..4 } {
        let page = [slot as u8 + if parent.is_none() { 0 } else { 50 }; PAGE_SIZE];
        w.compress(slot % 2 == 1);
        w.put_page(slot, &page, crate::page_checksum(&page)).unwrap();
    }
    let mut state = State::new();
    let mut put = |kind, body| state.insert(kind, body).unwrap();
    put(StateKind::TscInfo, tsc_info(0, 0, 0, 0));
    put(StateKind::HvmParams, hvm_params(&[(17, 7)]));
    put(StateKind::HvmContext, vec![1; 100]);
    put(StateKind::DomainConfig, br#"{"c_info":{},"b_info":{}}"#.to_vec());
    w.set_state(state);
    w
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_kill_at_any_step_of_a_commit_leaves_a_whole_image_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    let w = ready(dir.path(), None);
    w.commit_observed(serde_json::Value::Null, &mut |step| {
        copy(dir.path(), &copies.path().join(format!("{step:?}")));
        steps.push(step);
    })
    .unwrap();
    assert_eq!(steps.len(), 8);
    for step in steps {
        let left = copies.path().join(format!("{step:?}"));
        let whole = matches!(step, Step::Renamed | Step::ParentSynced);
        let found = list(&left).unwrap();
        assert_eq!(found.len(), usize::from(whole), "{step:?}");
        for entry in found {
            Image::open(&entry.path).unwrap().verify(&mut |_, _| {}).unwrap();
        }
        assert_eq!(sweep(&left).unwrap().len(), usize::from(!whole), "{step:?}");
        assert_eq!(fs::read_dir(&left).unwrap().count(), usize::from(whole), "{step:?}");
    }
}

/// The first octet of each page.
pub(crate) fn octets(path: &Path) -> Vec<u8> {
    let image = Image::open(path).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    let slots = image.slots().unwrap();
    let mut page = [0; PAGE_SIZE];
    let mut first = |slot| slots.read(slot, &mut page).map(|_| page[0]).unwrap();
    (0..8).map(&mut first).collect()
}

#[test]
fn a_kill_at_any_step_of_an_incremental_commit_leaves_the_parent_and_a_whole_child_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let first = ready(dir.path(), None).commit(serde_json::Value::Null).unwrap().path().to_path_buf();
    let mut steps = Vec::new();
    let w = ready(dir.path(), Some(&first));
    w.commit_observed(serde_json::Value::Null, &mut |step| {
        copy(dir.path(), &copies.path().join(format!("{step:?}")));
        steps.push(step);
    })
    .unwrap();
    assert_eq!(steps.len(), 8);
    for step in steps {
        let left = copies.path().join(format!("{step:?}"));
        let whole = matches!(step, Step::Renamed | Step::ParentSynced);
        assert_eq!(sweep(&left).unwrap().len(), usize::from(!whole), "{step:?}");
        let found = list(&left).unwrap();
        assert_eq!(found.len(), 1 + usize::from(whole), "{step:?}");
        assert_eq!(octets(&found[0].path), [0, 1, 2, 3, 4, 5, 6, 7]);
        for child in found.get(1..).unwrap() {
            assert_eq!(octets(&child.path), [0, 1, 52, 53, 4, 5, 6, 7]);
        }
    }
}

#[test]
fn a_kill_at_any_step_of_a_merge_leaves_the_old_image_or_the_new_one_and_what_builds_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let mut path = None;
    for _ in 0..3 {
        let image = ready(dir.path(), path.as_deref()).commit(serde_json::json!({ "rounds": 7 })).unwrap();
        path = Some(image.path().to_path_buf());
    }
    let found: Vec<PathBuf> = list(dir.path()).unwrap().into_iter().map(|l| l.path).collect();
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names(dir.path());
    let mut steps = Vec::new();
    merge_observed(&found[1], &mut |_, _| {}, &mut |step| {
        copy(dir.path(), &copies.path().join(format!("{step:?}")));
        steps.push(step);
    })
    .unwrap();
    assert_eq!(steps.len(), 9);
    assert_eq!(names(dir.path()), before);
    for step in steps {
        let left = copies.path().join(format!("{step:?}"));
        let new = matches!(step, Step::Renamed | Step::ParentSynced | Step::OldRemoved);
        // Before anything is swept, too.
        for swept in [false, true] {
            for (name, octets_of) in before.iter().zip([None, Some(()), Some(())]) {
                let want =
                    if octets_of.is_some() { [0, 1, 52, 53, 4, 5, 6, 7] } else { [0, 1, 2, 3, 4, 5, 6, 7] };
                assert_eq!(octets(&left.join(name)), want, "{step:?}");
            }
            let merged = Image::open(&left.join(&before[1])).unwrap();
            assert_eq!(merged.depth(), if new { 1 } else { 2 }, "{step:?}");
            assert_eq!(merged.manifest().report["rounds"], 7);
            drop(merged);
            if !swept {
                assert_eq!(sweep(&left).unwrap().len(), usize::from(step != Step::OldRemoved), "{step:?}");
            }
        }
        assert_eq!(names(&left), before, "{step:?}");
        // What was cut short can be done again.
        crate::merge(&left.join(&before[1]), &mut |_, _| {}).unwrap();
        crate::remove(&left.join(&before[0])).unwrap();
        assert_eq!(octets(&left.join(&before[2])), [0, 1, 52, 53, 4, 5, 6, 7]);
    }
}

#[test]
fn a_merge_that_was_killed_does_not_stand_in_the_way_of_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let first = ready(dir.path(), None).commit(serde_json::Value::Null).unwrap().path().to_path_buf();
    let second =
        ready(dir.path(), Some(&first)).commit(serde_json::Value::Null).unwrap().path().to_path_buf();
    let name = second.file_name().unwrap().to_str().unwrap();
    fs::create_dir_all(dir.path().join(format!("{name}.merged.partial/memory"))).unwrap();
    crate::merge(&second, &mut |_, _| {}).unwrap();
    assert_eq!(octets(&second), [0, 1, 52, 53, 4, 5, 6, 7]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_commit_that_finds_its_name_taken_fails_and_leaves_the_other_image_alone() {
    let dir = tempfile::tempdir().unwrap();
    let w = ready(dir.path(), None);
    fs::create_dir(w.path()).unwrap();
    fs::write(w.path().join("file"), b"other").unwrap();
    let taken = w.path().to_path_buf();
    assert!(matches!(w.commit(serde_json::Value::Null), Err(Error::Exists { .. })));
    assert_eq!(fs::read(taken.join("file")).unwrap(), b"other");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
