//! What is on the disk after each of a commit's two steps, and who may touch it between them.

use serde_json::Value;

use super::*;
use crate::writer::Step;
use crate::writer::tests::{copy, octets, ready};
use crate::{ImageWriter, children, list, remove, sweep};

fn prepare(dir: &Path, parent: Option<&Path>) -> Pending {
    ready(dir, parent).prepare(Value::Null).unwrap()
}

fn entries(dir: &Path) -> Vec<String> {
    names(dir)
        .map(|mut names| {
            names.sort();
            names
        })
        .unwrap()
}

#[test]
fn between_the_steps_an_image_is_complete_and_is_none_to_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let pending = prepare(dir.path(), None);
    let (id, contents) = (pending.id().clone(), pending.contents().to_owned());
    assert_eq!(entries(dir.path()), [format!("{id}.pending")]);
    pending.image().verify(&mut |_, _| {}).unwrap();
    drop(pending);
    assert!(list(dir.path()).unwrap().is_empty());
    assert!(sweep(dir.path()).unwrap().is_empty());
    let path = dir.path().join(format!("{id}.pending"));
    assert!(matches!(Image::open(&path), Err(Error::Undecided { .. })));
    assert!(matches!(remove(&path), Err(Error::BadId { .. })));
    assert!(matches!(crate::merge(&path, &mut |_, _| {}), Err(Error::Undecided { .. })));
    assert_eq!(pendings(dir.path()).unwrap(), std::slice::from_ref(&id));

    let again = Pending::open(dir.path(), &id).unwrap();
    assert_eq!((again.id(), again.contents()), (&id, &*contents));
    let image = again.commit().unwrap();
    assert_eq!(image.path(), dir.path().join(id.as_str()));
    assert_eq!(octets(image.path()), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(entries(dir.path()), [id.to_string()]);
    assert!(pendings(dir.path()).unwrap().is_empty());
    assert!(matches!(Pending::open(dir.path(), &id), Err(Error::NotFound { .. })));
}

#[test]
fn an_image_that_is_discarded_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pending = prepare(dir.path(), None);
    let id = pending.id().clone();
    assert!(matches!(discard_pending(dir.path(), &id), Err(Error::InUse { .. })));
    assert!(matches!(Pending::open(dir.path(), &id), Err(Error::InUse { .. })));
    pending.discard().unwrap();
    assert!(entries(dir.path()).is_empty());
    assert!(matches!(discard_pending(dir.path(), &id), Err(Error::NotFound { .. })));
}

#[test]
fn an_image_that_is_damaged_can_be_discarded_and_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["memory", "pages", "state", "manifest.json"] {
        let id = prepare(dir.path(), None).id().clone();
        fs::write(dir.path().join(format!("{id}.pending")).join(file), b"x").unwrap();
        assert!(matches!(Pending::open(dir.path(), &id), Err(Error::Malformed { .. })), "{file}");
        discard_pending(dir.path(), &id).unwrap();
        assert!(entries(dir.path()).is_empty());
    }
}

#[test]
fn a_kill_at_any_step_leaves_nothing_to_sweep_but_an_unfinished_image() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    let pending = ready(dir.path(), None)
        .prepare_observed(Value::Null, &mut |step| {
            copy(dir.path(), &copies.path().join(format!("{step:?}")));
            steps.push(step);
        })
        .unwrap();
    assert_eq!(steps.len(), 8);
    for step in steps {
        let left = copies.path().join(format!("{step:?}"));
        let set = matches!(step, Step::Set | Step::SetSynced);
        assert!(list(&left).unwrap().is_empty(), "{step:?}");
        assert_eq!(sweep(&left).unwrap().len(), usize::from(!set), "{step:?}");
        assert_eq!(pendings(&left).unwrap().len(), usize::from(set), "{step:?}");
        for id in pendings(&left).unwrap() {
            let image = Pending::open(&left, &id).unwrap().commit().unwrap();
            assert_eq!(octets(image.path()), [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }
    let left = copies.path().join("commit");
    pending.commit_observed(&mut || copy(dir.path(), &left)).unwrap();
    assert!(pendings(&left).unwrap().is_empty());
    assert_eq!(list(&left).unwrap().len(), 1);
}

#[test]
fn a_name_is_taken_while_it_is_undecided() {
    let dir = tempfile::tempdir().unwrap();
    let writer = ready(dir.path(), None);
    let (id, head) = (writer.id().clone(), writer.path().to_path_buf());
    drop(writer);
    let pending = prepare(dir.path(), None);
    assert_eq!(*pending.id(), id);
    let other = ready(dir.path(), None);
    assert_ne!(*other.id(), id, "a name that is made up avoids it");
    drop(other);
    let manifest = pending.manifest().clone();
    let meta = crate::Meta {
        guest: manifest.guest.clone(),
        uuid: manifest.uuid.clone(),
        created: std::time::SystemTime::UNIX_EPOCH,
        xen: manifest.xen,
        vcpus: manifest.vcpus,
        memory: manifest.memory,
        extents: manifest.extents().unwrap(),
        policy: Value::Null,
    };
    assert!(matches!(ImageWriter::create(dir.path(), id, meta), Err(Error::Exists { .. })));
    // And nobody's image is overwritten by a commit.
    fs::create_dir(&head).unwrap();
    fs::write(head.join("file"), b"other").unwrap();
    assert!(matches!(pending.commit(), Err(Error::Exists { .. })));
    assert_eq!(fs::read(head.join("file")).unwrap(), b"other");
    assert_eq!(pendings(dir.path()).unwrap().len(), 1);
}

#[test]
fn what_an_undecided_image_builds_on_stays() {
    let dir = tempfile::tempdir().unwrap();
    let first = ready(dir.path(), None).commit(Value::Null).unwrap().path().to_path_buf();
    let pending = prepare(dir.path(), Some(&first));
    let id = pending.id().clone();
    assert!(matches!(remove(&first), Err(Error::InUse { .. })));
    drop(pending);
    let Err(Error::HasUndecidedChild { child, .. }) = remove(&first) else { panic!("removed") };
    assert_eq!(child, id.as_str());
    assert!(children(dir.path(), first.file_name().unwrap().to_str().unwrap()).unwrap().is_empty());
    let second = Pending::open(dir.path(), &id).unwrap().commit().unwrap();
    assert_eq!(octets(second.path()), [0, 1, 52, 53, 4, 5, 6, 7]);
    let child = prepare(dir.path(), Some(second.path()));
    drop(second);
    child.discard().unwrap();
    remove(&dir.path().join(id.as_str())).unwrap();
    remove(&first).unwrap();
    assert!(entries(dir.path()).is_empty());
}
