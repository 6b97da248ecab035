//! The commands on a directory with a chain of images.

use std::time::UNIX_EPOCH;

use clap::Parser;
use store::state::{hvm_params, tsc_info};
use store::{
    Extent, Extents, ImageId, ImageWriter, MemoryFigures, Meta, PAGE_SIZE, Rest, State, StateKind,
    XenVersion, page_checksum,
};

use super::*;

const CONFIG: &[u8] =
    br#"{"c_info":{"name":"web","uuid":"e5d4d218-9b32-4a04-971e-bb65229d0f12"},"b_info":{}}"#;

/// A directory that goes with the test.
pub(in crate::cli) struct Images(pub(in crate::cli) PathBuf);

impl Images {
    pub(in crate::cli) fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("luthier-images-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Images(dir)
    }

    /// Makes an image of four pages, on a parent or alone, and returns its name.
    pub(in crate::cli) fn make(&self, parent: Option<&str>) -> String {
        self.writer(parent).commit(json!({})).unwrap().manifest().id.clone()
    }

    /// A writer of such an image that lacks nothing.
    pub(in crate::cli) fn writer(&self, parent: Option<&str>) -> ImageWriter {
        let meta = Meta {
            guest: "web".into(),
            uuid: "e5d4d218-9b32-4a04-971e-bb65229d0f12".into(),
            created: UNIX_EPOCH,
            xen: XenVersion { major: 4, minor: 20 },
            vcpus: 1,
            memory: MemoryFigures::default(),
            extents: Extents::new([Extent { pfn: 0, count: 4 }]).unwrap(),
            policy: "downtime".into(),
        };
        let id = ImageId::unused(&self.0, "web", UNIX_EPOCH);
        let parent = parent.map(|name| Image::open(&self.0.join(name)).unwrap());
        let slots = if parent.is_some() { 1..2 } else { 0..4 };
        let mut writer = match parent {
            None => ImageWriter::create(&self.0, id, meta).unwrap(),
            Some(parent) => ImageWriter::create_on(&self.0, id, meta, parent, Rest::AsInParent).unwrap(),
        };
        for slot in slots {
            let page = [slot as u8 + 1; PAGE_SIZE];
            writer.put_page(slot, &page, page_checksum(&page)).unwrap();
        }
        let mut state = State::new();
        let records = [
            (StateKind::TscInfo, tsc_info(0, 0, 0, 0)),
            (StateKind::HvmParams, hvm_params(&[(17, 3)])),
            (StateKind::HvmContext, vec![1; 8]),
            (StateKind::DomainConfig, CONFIG.to_vec()),
        ];
        for (kind, body) in records {
            state.insert(kind, body).unwrap();
        }
        writer.set_state(state);
        writer
    }

    pub(in crate::cli) fn run(&self, words: &[&str]) -> Result<()> {
        let start = ["luthier", "--images", self.0.to_str().unwrap()];
        crate::cli::run(&Cli::try_parse_from(start.iter().chain(words)).unwrap())
    }

    fn left(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_chain_is_listed_shown_verified_and_merged() {
    let images = Images::new("merge");
    let first = images.make(None);
    let second = images.make(Some(&first));
    let third = images.make(Some(&second));
    for json in [None, Some("--json")] {
        for command in [&["list"][..], &["show", &third], &["verify", &third]] {
            let words: Vec<&str> = command.iter().copied().chain(json).collect();
            images.run(&words).unwrap();
        }
    }
    let image = Image::open(&images.0.join(&third)).unwrap();
    assert_eq!(chain(&image), [second.as_str(), first.as_str()]);
    drop(image);
    images.run(&["merge", &third]).unwrap();
    images.run(&["merge", &third, "--json"]).unwrap();
    assert_eq!(Image::open(&images.0.join(&third)).unwrap().depth(), 1);
}

#[test]
fn parents_and_children_are_removed_in_whatever_order_they_are_named() {
    let images = Images::new("rm");
    let first = images.make(None);
    let second = images.make(Some(&first));
    let third = images.make(Some(&second));
    let refused = images.run(&["rm", &first, &second]).unwrap_err().to_string();
    assert!(refused.contains(&format!("luthier merge {second}")), "{refused}");
    assert_eq!(images.left(), 3);
    images.run(&["rm", &first, &third, &second]).unwrap();
    assert_eq!(images.left(), 0);
}
