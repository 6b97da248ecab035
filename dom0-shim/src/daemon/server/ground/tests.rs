//! Which images a snapshot may build on, and when the kept log serves.

use std::time::SystemTime;

use store::{Extent, ImageWriter, MemoryFigures, Meta, State, StateKind, XenVersion};

use super::*;

const UUID: &str = "0f010203-0405-0607-0809-0a0b0c0d0eff";
const PAGES: u64 = 8;

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn frames(count: u64) -> Extents {
    Extents::new([Extent { pfn: 0, count }]).unwrap()
}

/// A folder with one image of zeros.
fn image(test: &str) -> (Folder, Image) {
    let dir = std::env::temp_dir().join(format!("luthier-ground-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let meta = Meta {
        guest: "web".into(),
        uuid: UUID.into(),
        created: SystemTime::now(),
        xen: XenVersion { major: 4, minor: 17 },
        vcpus: 1,
        memory: MemoryFigures::default(),
        extents: frames(PAGES),
        policy: "live-save".into(),
    };
    let id = ImageId::unused(&dir, "web", SystemTime::now());
    let mut writer = ImageWriter::create(&dir, id, meta).unwrap();
    (0..PAGES).for_each(|slot| writer.put_zero(slot).unwrap());
    let mut state = State::new();
    for (kind, body) in [
        (StateKind::TscInfo, vec![0; 24]),
        (StateKind::HvmParams, store::state::hvm_params(&[(1, 1), (17, 2)])),
        (StateKind::HvmContext, vec![7; 24]),
        (StateKind::DomainConfig, br#"{"c_info": {}, "b_info": {}}"#.to_vec()),
    ] {
        state.insert(kind, body).unwrap();
    }
    writer.set_state(state);
    let image = writer.commit(serde_json::Value::Null).unwrap();
    (Folder(dir), image)
}

#[test]
fn a_parent_is_an_image_of_this_guest_with_this_memory() {
    let (dir, image) = image("parent");
    let id = image.manifest().id.clone();
    drop(image);
    let open =
        |name: &str, uuid: &str, count| open_parent(&dir.0, name, "web", uuid, &frames(count)).map(drop);
    open(&id, UUID, PAGES).unwrap();
    let other = open(&id, "ffffffff-0405-0607-0809-0a0b0c0d0eff", PAGES).unwrap_err();
    assert!(other.message.contains("another guest") && other.hint.is_some(), "{other}");
    let resized = open(&id, UUID, PAGES - 1).unwrap_err();
    assert!(resized.message.contains("resized") && resized.hint.is_some(), "{resized}");
    let missing = open("web@20010101T000000Z", UUID, PAGES).unwrap_err();
    assert!(missing.message.contains("web@20010101T000000Z"), "{missing}");
    for path in ["../web", "/etc", "web", ""] {
        assert!(open(path, UUID, PAGES).is_err(), "{path}");
    }
    std::fs::write(dir.0.join(&id).join("manifest.json"), "{}").unwrap();
    assert!(open(&id, UUID, PAGES).is_err());
}

#[test]
fn a_kept_log_serves_for_the_image_since_which_it_was_kept_and_for_no_other() {
    let (_dir, image) = image("judge");
    let kept = Kept {
        domid: 3,
        uuid: [0; 16],
        image: image.manifest().id.clone(),
        contents: image.manifest().contents().map(str::to_owned),
        sentinel: 70,
    };
    let base = judge(&image, Some(&kept), true).unwrap();
    assert_eq!((base.sentinel, base.lost), (70, None));
    let other = Kept { image: "web@20010101T000000Z".into(), ..kept.clone() };
    assert!(judge(&image, Some(&other), true).unwrap_err().contains("another image"));
    // The same name, but made anew.
    let replaced = Kept { contents: Some("0".repeat(64)), ..kept.clone() };
    assert!(judge(&image, Some(&replaced), true).unwrap_err().contains("another image"));
    assert!(judge(&image, Some(&kept), false).is_err());
    assert!(judge(&image, None, true).is_err());
}
