//! What is on the disk after each step of a commit.

use super::*;
use crate::state::{StateKind, hvm_params, tsc_info};
use crate::{Extent, MemoryFigures, XenVersion, list, sweep};
use std::time::SystemTime;

fn ready(dir: &Path) -> ImageWriter {
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
    let mut w = ImageWriter::create(dir, id, meta).unwrap();
    for slot in 0..8 {
        let page = [slot as u8; PAGE_SIZE];
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

fn copy(from: &Path, to: &Path) {
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
    let w = ready(dir.path());
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

#[test]
fn a_commit_that_finds_its_name_taken_fails_and_leaves_the_other_image_alone() {
    let dir = tempfile::tempdir().unwrap();
    let w = ready(dir.path());
    fs::create_dir(w.path()).unwrap();
    fs::write(w.path().join("file"), b"other").unwrap();
    let taken = w.path().to_path_buf();
    assert!(matches!(w.commit(serde_json::Value::Null), Err(Error::Exists { .. })));
    assert_eq!(fs::read(taken.join("file")).unwrap(), b"other");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
