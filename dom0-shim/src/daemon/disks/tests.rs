use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::*;

/// A disk whose snapshot ends when it is told to.
#[derive(Debug)]
struct Fake {
    go: Mutex<Receiver<Result<()>>>,
    taken: Arc<AtomicBool>,
}

impl Part for Fake {
    fn take(&self) -> Result<()> {
        self.go.lock().unwrap().recv().unwrap()?;
        self.taken.store(true, SeqCst);
        Ok(())
    }

    fn make_durable(&self) -> Result<()> {
        Ok(())
    }
}

/// A guest with one disk, and a folder with its snapshot.
struct World {
    folder: PathBuf,
    snapshot: PathBuf,
    go: Sender<Result<()>>,
    taken: Arc<AtomicBool>,
}

fn world(name: &str) -> (World, Disks) {
    let folder = std::env::temp_dir().join(format!("luthier-cut-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let id: ImageId = "web@20261122T081500Z".parse().unwrap();
    let snapshot = folder.join(format!("luthier-disks/{id}-xvda.raw"));
    fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    fs::create_dir_all(folder.join("images")).unwrap();
    fs::write(&snapshot, "").unwrap();
    let kept = Kept::Reflink { source: folder.join("web.raw"), snapshot: snapshot.clone(), qcow2: false };
    let records = vec![Record { vdev: "xvda".into(), kept }];
    let note = Notes::of(&folder.join("images")).put(&id, &records).unwrap();
    let ((go, told), taken) = (mpsc::channel(), Arc::new(AtomicBool::new(false)));
    let fake: Box<dyn Part> = Box::new(Fake { go: Mutex::new(told), taken: Arc::clone(&taken) });
    let disks = Disks {
        images: folder.join("images"),
        id,
        records,
        note: Some(note),
        parts: Arc::new(vec![fake]),
        syncing: None,
        cut: Cut::NotYet,
        patience: Duration::from_secs(10),
        kept: false,
    };
    (World { folder, snapshot, go, taken }, disks)
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_guest_goes_on_only_when_its_disks_are_done() {
    let (world, mut disks) = world("order");
    disks.begin();
    let go = world.go.clone();
    thread::spawn(move || {
        // Much more than a thread may take to begin.
        thread::sleep(Duration::from_millis(400));
        go.send(Ok(())).unwrap();
    });
    assert!(!world.taken.load(SeqCst));
    disks.end().unwrap();
    assert!(world.taken.load(SeqCst));
    let figures = disks.figures().unwrap();
    assert_eq!(figures["disks"][0]["how"], "reflink");
    assert!(figures["disks_ms"].as_f64().unwrap() >= 40.0);
    // A second look costs nothing.
    disks.end().unwrap();
}

#[test]
fn an_image_without_its_disks_is_none() {
    let (world, mut disks) = world("failed");
    // Nobody suspended the guest.
    assert!(disks.figures().is_err());
    disks.begin();
    world.go.send(Err(Error::new("no room"))).unwrap();
    assert_eq!(disks.end().unwrap_err().message, "no room");
    assert!(disks.figures().is_err());
    drop(disks);
    assert!(!world.snapshot.exists());
}

#[test]
fn a_disk_that_hangs_does_not_keep_the_guest_and_leaves_nothing() {
    let (world, mut disks) = world("hangs");
    disks.patience = Duration::from_millis(300);
    disks.begin();
    // A daemon's other threads leave alone what is in progress.
    settle(&disks.images, &disks.id).unwrap();
    assert!(world.snapshot.exists());
    let began = Instant::now();
    assert!(disks.end().unwrap_err().message.contains("within"));
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(disks);
    // It may still be written to.
    assert!(world.snapshot.exists());
    world.go.send(Ok(())).unwrap();
    let left = || world.snapshot.exists() || !Notes::of(&world.folder.join("images")).all().is_empty();
    for _ in 0..500 {
        if !left() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("something is left");
}

#[test]
fn what_an_image_has_stays_and_what_none_has_goes() {
    for image in [Some("web@20261122T081500Z"), Some("web@20261122T081500Z.pending"), None] {
        let (world, mut disks) = world("kept");
        disks.begin();
        world.go.send(Ok(())).unwrap();
        disks.end().unwrap();
        if let Some(image) = image {
            fs::create_dir(world.folder.join("images").join(image)).unwrap();
            disks.keep();
        }
        drop(disks);
        assert_eq!(world.snapshot.exists(), image.is_some(), "{image:?}");
        let noted = !Notes::of(&world.folder.join("images")).all().is_empty();
        assert_eq!(noted, image.is_some_and(|name| name.ends_with(".pending")), "{image:?}");
    }
}
