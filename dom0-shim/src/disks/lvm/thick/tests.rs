//! With a volume group that is a folder: its volumes are files, full of ones when they are new.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;
use crate::disks::tool::fake;

const EXTENT: u64 = 1 << 20;

/// Octets that the group has, for all its volumes.
const ROOM: u64 = 16 * EXTENT;

#[derive(Debug, Default)]
struct Lvm {
    /// Name, size, tag, origin.
    volumes: Vec<(String, u64, String, String)>,
    /// New volumes have no device.
    broken: bool,
    /// What was run to change something.
    said: Vec<String>,
}

struct World {
    folder: PathBuf,
    lvm: Rc<RefCell<Lvm>>,
}

impl World {
    /// One with a guest's disk `vg/web`.
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("luthier-thick-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("vg")).unwrap();
        let lvm = Rc::new(RefCell::new(Lvm::default()));
        let (shared, at) = (Rc::clone(&lvm), folder.join("vg"));
        fake::set(&folder.to_string_lossy(), move |tool, args| shared.borrow_mut().run(&at, tool, args));
        let world = Self { folder, lvm };
        world.lvm.borrow_mut().make(&world.folder.join("vg"), "web", 4 * EXTENT, "");
        world
    }

    fn source(&self) -> Volume {
        super::super::find("vg/web").unwrap()
    }

    fn volumes(&self) -> Vec<String> {
        self.lvm.borrow().volumes.iter().map(|(name, ..)| name.clone()).collect()
    }

    fn said(&self, word: &str) -> usize {
        self.lvm.borrow().said.iter().filter(|line| line.starts_with(word)).count()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join("vg").join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Lvm {
    fn make(&mut self, dir: &Path, name: &str, octets: u64, tag: &str) {
        let octets = octets.next_multiple_of(EXTENT);
        if !self.broken {
            fs::write(dir.join(name), vec![0xff; octets as usize]).unwrap();
        }
        self.volumes.push((name.into(), octets, tag.into(), String::new()));
    }

    fn run(&mut self, dir: &Path, tool: &str, args: &[&str]) -> Result<String> {
        let after = |word: &str| args.iter().skip_while(|a| **a != word).nth(1).copied().unwrap_or("");
        let plain = |full: &str| full.rsplit('/').next().unwrap_or("").to_owned();
        let last = plain(args.last().unwrap());
        if !["vgs", "lvs"].contains(&tool) {
            self.said.push(format!("{tool} {}", args.join(" ")));
        }
        let known = self.volumes.iter().position(|(name, ..)| *name == last);
        let unknown = || Error::new(format!("{tool} failed: no {last}"));
        match tool {
            "vgs" => {
                let used: u64 = self.volumes.iter().map(|(_, octets, ..)| octets).sum();
                return Ok(format!("  vg {EXTENT} {}\n  vg2 {EXTENT} 0\n", ROOM - used));
            }
            "lvs" if args.contains(&"json") => {
                let (name, octets, tag, origin) = &self.volumes[known.ok_or_else(unknown)?];
                return Ok(format!(
                    r#"{{"report":[{{"lv":[{{"vg_name":"vg","lv_name":"{name}","segtype":"linear","pool_lv":"",
                    "origin":"{origin}","lv_size":"{octets}","lv_tags":"{tag}"}}]}}]}}"#
                ));
            }
            "lvs" if after("-o") == "lv_name" => {
                return Ok(self.volumes.iter().map(|(name, ..)| format!("  {name}\n")).collect());
            }
            "lvs" => return Ok(format!("  {} 3.00\n", self.volumes[known.ok_or_else(unknown)?].1)),
            "lvcreate" => self.make(
                dir,
                after("-n"),
                after("-L").trim_end_matches('b').parse().unwrap(),
                after("--addtag"),
            ),
            "lvconvert" => {
                let origin = plain(args[args.len() - 2]);
                // Its size is still the store's, as LVM tells it.
                self.volumes[known.ok_or_else(unknown)?].3 = origin.clone();
                fs::copy(dir.join(origin), dir.join(last)).unwrap();
            }
            "lvremove" => {
                self.volumes.remove(known.ok_or_else(unknown)?);
                let _ = fs::remove_file(dir.join(last));
            }
            "lvchange" => {}
            _ => panic!("{tool} {args:?}"),
        }
        Ok(String::new())
    }
}

/// What the kernel's `dm-snap-persistent.c` does with a store when every block of the disk is written to:
/// the blocks of the store that it needs.
fn needed(blocks: u64) -> u64 {
    let (per_table, mut next, mut last) = (CHUNK / ENTRY, 2, 2);
    for block in 0..blocks {
        last = last.max(next + 1);
        next += 1;
        if next % (per_table + 1) == 1 {
            next += 1;
        }
        // A table that is full: the next one is made zero.
        if (block + 1) % per_table == 0 {
            last = last.max(1 + (block + 1) / per_table * (per_table + 1) + 1);
        }
    }
    last
}

#[test]
fn a_store_has_room_for_all_that_a_guest_can_write() {
    for blocks in [1, 255, 256, 257, 511, 512, 513, 65_536, 1_000_003] {
        let store = store_octets(blocks * CHUNK);
        assert!(store >= needed(blocks) * CHUNK, "{blocks}: {store}");
        // And not much more.
        assert!(store <= (needed(blocks) + 2) * CHUNK, "{blocks}: {store}");
    }
}

#[test]
fn the_room_is_taken_before_and_the_snapshot_only_when_it_is_told_to() {
    let world = World::new("take");
    let snapshot = Snapshot::prepare(&world.source(), "luthier_web").unwrap();
    assert_eq!((world.volumes().len(), world.said("lvconvert")), (2, 0));
    assert!(fs::metadata(world.file("luthier_web")).unwrap().len() >= store_octets(4 * EXTENT));
    fs::write(world.file("web"), vec![5; 4 << 20]).unwrap();
    snapshot.take().unwrap();
    let taken = super::super::find("vg/luthier_web").unwrap();
    assert!(taken.is_thick_snapshot());
    assert!(fs::read(world.file("luthier_web")).unwrap().iter().all(|b| *b == 5));
    snapshot.make_durable().unwrap();
    remove_snapshot("vg/web", "vg/luthier_web").unwrap();
    assert_eq!(world.volumes(), ["web"]);
    // It is gone, which is all that was wanted.
    remove_snapshot("vg/web", "vg/luthier_web").unwrap();
}

#[test]
fn disks_that_are_made_ready_together_need_room_together() {
    let world = World::new("room");
    // 12 MiB are free, and each needs 5.
    for name in ["luthier_a", "luthier_b"] {
        Snapshot::prepare(&world.source(), name).unwrap();
    }
    let error = Snapshot::prepare(&world.source(), "luthier_c").unwrap_err();
    assert_eq!(
        error.message,
        "5 MiB are needed in the volume group vg for its snapshot, and 2 MiB are free there"
    );
    assert!(error.hint.unwrap().contains("vgextend vg"));
    assert_eq!(world.volumes(), ["web", "luthier_a", "luthier_b"]);
}

#[test]
fn a_restored_guests_volume_is_the_snapshots_to_the_last_octet() {
    let world = World::new("clone");
    let mut disk = vec![0; 4 << 20];
    disk[70_000..70_010].fill(9);
    fs::write(world.file("web"), &disk).unwrap();
    Snapshot::prepare(&world.source(), "luthier_web").unwrap().take().unwrap();
    let device = clone("vg/luthier_web", "restored_web").unwrap();
    assert_eq!(device, world.file("restored_web").to_string_lossy());
    assert!(fs::read(&device).unwrap() == disk);
    // A snapshot that is in use with its source is not made inactive, which would take that along.
    assert_eq!(world.said("lvchange -qq -an vg/luthier_web"), 1);
    remove_clone("vg", "restored_web").unwrap();
    assert_eq!(world.volumes(), ["web", "luthier_web"]);
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let world = World::new("failed");
    Snapshot::prepare(&world.source(), "luthier_web").unwrap().take().unwrap();
    world.lvm.borrow_mut().broken = true;
    assert!(clone("vg/luthier_web", "restored_web").unwrap_err().message.contains("opening"));
    assert_eq!((world.volumes(), world.said("lvremove")), (vec!["web".into(), "luthier_web".into()], 1));
    // Nor one for which there is no room.
    Snapshot::prepare(&world.source(), "luthier_b").unwrap();
    let error = clone("vg/luthier_web", "restored_web").unwrap_err();
    assert!(error.message.contains("for a copy of it"), "{error}");
    assert_eq!(world.volumes().len(), 3);
}

#[test]
fn what_is_not_ours_stays() {
    let world = World::new("foreign");
    let error = remove_snapshot("vg/web", "vg/web").unwrap_err();
    assert!(error.message.contains("has not the tag"), "{error}");
    assert_eq!(world.volumes(), ["web"]);
}

#[test]
fn one_that_came_from_another_host_is_checked_and_has_no_room_without_its_guests_copy() {
    let world = World::new("arrived");
    super::super::check_group("vg", 4 * EXTENT, 8 * EXTENT).unwrap();
    let none = super::super::check_group("vgx", EXTENT, EXTENT).unwrap_err();
    assert!(none.message.contains("there is no volume group vgx"), "{none}");
    assert!(super::super::check_group("vg", EXTENT / 2, EXTENT).is_err());
    let error = super::super::check_group("vg", 7 * EXTENT, 14 * EXTENT).unwrap_err();
    assert!(error.message.contains("14 MiB are needed in the volume group vg"), "{error}");
    let device = make_unwritten("vg", "luthier_web", 4 * EXTENT).unwrap();
    super::super::seal("vg/luthier_web").unwrap();
    // It is an ordinary volume here, and active only while it is read.
    fs::write(device, vec![3; 4 << 20]).unwrap();
    let copy = clone("vg/luthier_web", "restored_web").unwrap();
    assert!(fs::read(copy).unwrap() == vec![3; 4 << 20]);
    assert_eq!(world.said("lvchange -qq -ay -K vg/luthier_web"), 1);
    assert_eq!(world.said("lvchange -qq -an vg/luthier_web"), 2);
    assert_eq!(world.volumes(), ["web", "luthier_web", "restored_web"]);
}
