use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex as Shared};

use super::qmp::tests::{Fake, until_quit};
use super::*;
use crate::disks::tool::fake;

/// What a QEMU says of a disk, as 7.2 does, with `more` about the format.
fn node(file: &Path, more: Value) -> Value {
    let mut data = json!({"compat": "1.1", "lazy-refcounts": false, "refcount-bits": 16, "corrupt": false});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "node-name": "xvda-qcow2", "drv": "qcow2", "ro": false, "file": file, "encrypted": false,
        "image": {"filename": file, "format-specific": {"type": "qcow2", "data": data}},
    })
}

/// A QEMU of domain 5 with one disk: answers questions, and keeps the names of its snapshots.
struct World {
    qemu: Option<Fake>,
    file: PathBuf,
    names: Arc<Shared<Vec<String>>>,
    /// What the tools were told.
    tools: Rc<RefCell<Vec<String>>>,
}

impl World {
    fn new(name: &str, change: impl Fn(&mut Value) + Send + 'static) -> Self {
        let file = std::env::temp_dir().join(format!("luthier-qcow2-{}-{name}.qcow2", std::process::id()));
        fs::write(&file, "").unwrap();
        let names: Arc<Shared<Vec<String>>> = Arc::default();
        let (kept, of) = (Arc::clone(&names), file.clone());
        let answer = move |order: &Value| {
            let mut names = kept.lock().unwrap();
            match order["execute"].as_str().unwrap() {
                "query-named-block-nodes" => {
                    let mut disk = node(&of, json!({}));
                    disk["image"]["snapshots"] = names.iter().map(|n| json!({"name": n})).collect();
                    change(&mut disk);
                    json!({"return": [{"drv": "file", "file": of, "node-name": "#block1"}, disk]}).to_string()
                }
                "transaction" => {
                    for action in order["arguments"]["actions"].as_array().unwrap() {
                        assert_eq!(action["type"], "blockdev-snapshot-internal-sync");
                        names.push(text(action, "/data/name"));
                    }
                    json!({"return": {}}).to_string()
                }
                "blockdev-snapshot-delete-internal-sync" => {
                    assert_eq!(order["arguments"]["device"], "xvda-qcow2");
                    names.retain(|name| order["arguments"]["name"] != **name);
                    json!({"return": {}}).to_string()
                }
                other => json!({"error": {"desc": format!("no {other}")}}).to_string(),
            }
        };
        let qemu = Fake::serve(name, "libxenstat", until_quit(answer));
        let tools: Rc<RefCell<Vec<String>>> = Rc::default();
        let told = Rc::clone(&tools);
        fake::set(qemu.folder.to_str().unwrap(), move |tool, args| {
            told.borrow_mut().push(format!("{tool} {}", args.join(" ")));
            Ok(r#"{"snapshots": [{"id": "1", "name": "luthier_web_20261122T081500Z_xvda"}]}"#.into())
        });
        Self { qemu: Some(qemu), file, names, tools }
    }

    fn look(&self) -> Result<Disk> {
        look(5, &format!("qcow2:{}", self.file.display()))
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }

    /// What QEMU was told to do, in order.
    fn told(&mut self) -> Vec<String> {
        let told = self.qemu.take().unwrap().end();
        told.iter().map(|order| text(order, "/execute")).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(qemu) = self.qemu.take() {
            qemu.end();
        }
        let _ = fs::remove_file(&self.file);
    }
}

const NAME: &str = "luthier_web_20261122T081500Z_xvda";

#[test]
fn a_snapshot_is_one_order_given_when_the_guest_stands_still() {
    let mut world = World::new("take", |_| {});
    let disk = world.look().unwrap();
    assert_eq!((disk.node.as_str(), &disk.file), ("xvda-qcow2", &world.file));
    let second = Disk { node: "xvdb-qcow2".into(), ..disk.clone() };
    let snapshot = Snapshot::prepare(&[(disk, NAME.into()), (second, "luthier_b".into())]).unwrap();
    snapshot.sync().unwrap();
    assert!(world.names().is_empty());
    snapshot.take().unwrap();
    snapshot.make_durable().unwrap();
    assert_eq!(world.names(), [NAME, "luthier_b"]);
    drop(snapshot);
    assert_eq!(world.told(), ["query-named-block-nodes", "transaction"]);
}

#[test]
fn what_cannot_be_brought_back_is_refused_by_name() {
    for (n, (at, value, words)) in [
        ("/encrypted", json!(true), "is encrypted"),
        ("/image/format-specific/data/encrypt", json!({"format": "luks"}), "is encrypted"),
        ("/image/format-specific/data/data-file", json!("/srv/x.raw"), "in another file"),
        ("/image/format-specific/data/lazy-refcounts", json!(true), "lazy_refcounts"),
        ("/image/format-specific/data/corrupt", json!(true), "corrupt"),
        ("/image/format-specific/data/refcount-bits", json!(1), "no room for one more"),
        ("/ro", json!(true), "does not have"),
        ("/drv", json!("raw"), "does not have"),
        ("/file", json!("/dev/null"), "does not have"),
    ]
    .into_iter()
    .enumerate()
    {
        let change = move |disk: &mut Value| {
            let (inside, key) = at.rsplit_once('/').unwrap();
            disk.pointer_mut(inside).unwrap()[key] = value.clone();
        };
        let world = World::new(&format!("refused-{n}"), change);
        let error = world.look().unwrap_err();
        assert!(error.message.contains(words), "{at}: {error}");
    }
    // A backing file is none of our business: it must not change anyway.
    let world = World::new("backing", |disk| disk["image"]["backing-filename"] = json!("/srv/base.qcow2"));
    world.look().unwrap();
    let raw = look(5, "aio:/srv/web.raw").unwrap_err();
    assert!(raw.message.contains("/srv/web.raw is not qcow2"), "{raw}");
    assert!(raw.hint.unwrap().contains("backendtype=phy"));
}

#[test]
fn a_qemu_without_a_monitor_is_told_and_libxls_own_is_used_when_it_is_the_only_one() {
    let world = World::new("monitor", |_| {});
    let folder = world.qemu.as_ref().unwrap().folder.clone();
    fs::rename(folder.join("qmp-libxenstat-5"), folder.join("qmp-libxl-5")).unwrap();
    world.look().unwrap();
    fs::rename(folder.join("qmp-libxl-5"), folder.join("gone")).unwrap();
    let error = world.look().unwrap_err();
    assert!(error.message.contains("the QEMU of domain 5 has no monitor"), "{error}");
    fs::rename(folder.join("gone"), folder.join("qmp-libxl-5")).unwrap();
}

#[test]
fn the_qemu_that_has_the_file_open_removes_a_snapshot_and_only_ours() {
    let mut world = World::new("remove", |_| {});
    world.names.lock().unwrap().extend([NAME.to_owned(), "the owner's".to_owned()]);
    remove_by_qemu(5, &world.file, NAME).unwrap();
    assert_eq!(world.names(), ["the owner's"]);
    // One that is gone is no error.
    remove_by_qemu(5, &world.file, NAME).unwrap();
    let error = remove_snapshot(&world.file, "the owner's").unwrap_err();
    assert!(error.message.contains("is left as it is"), "{error}");
    assert_eq!(world.names(), ["the owner's"]);
    let ask = "query-named-block-nodes";
    assert_eq!(world.told(), [ask, "blockdev-snapshot-delete-internal-sync", ask]);
    assert!(world.tools.borrow().is_empty(), "{:?}", world.tools);
}

#[test]
fn qemu_img_removes_a_snapshot_only_when_nobody_has_the_file_open() {
    let mut world = World::new("closed", |_| {});
    let file = world.file.clone();
    // Somebody who writes to it, and is no QEMU of libxl's.
    let opened = OpenOptions::new().write(true).open(&file).unwrap();
    let mut writer = std::process::Command::new("sleep").arg("60").stdout(opened).spawn().unwrap();
    let error = remove_snapshot(&file, NAME).unwrap_err();
    assert!(error.message.contains(&format!("is open in sleep ({})", writer.id())), "{error}");
    assert!(world.tools.borrow().is_empty(), "{:?}", world.tools);
    writer.kill().unwrap();
    writer.wait().unwrap();
    remove_snapshot(&file, "luthier_another").unwrap();
    remove_snapshot(&file, NAME).unwrap();
    let path = file.display();
    assert_eq!(
        *world.tools.borrow(),
        [
            format!("qemu-img info -U -f qcow2 --output=json {path}"),
            format!("qemu-img info -U -f qcow2 --output=json {path}"),
            format!("qemu-img snapshot -d {NAME} {path}"),
        ]
    );
    // A disk that is gone took them along.
    fs::remove_file(&file).unwrap();
    remove_snapshot(&file, NAME).unwrap();
    assert!(world.told().is_empty());
}

#[test]
fn a_clone_is_a_new_file_and_none_is_left_when_it_fails() {
    let world = World::new("clone", |_| {});
    let to = world.file.with_extension("clone");
    clone(&world.file, NAME, &to).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    // Never over another.
    assert!(clone(&world.file, NAME, &to).is_err() && to.exists());
    fs::remove_file(&to).unwrap();
    fake::set("/nowhere", |_, _| Err(Error::new("qemu-img failed: No space left on device")));
    let error = clone(&world.file, NAME, &to).unwrap_err();
    assert!(error.message.contains("No space left") && !to.exists(), "{error}");
}
