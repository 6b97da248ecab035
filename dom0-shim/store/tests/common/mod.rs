//! A small guest to make images of.
#![allow(dead_code)]

pub(crate) mod mixed;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest, Sha256};
use store::state::{hvm_params, tsc_info};
use store::{
    Extent, Extents, Image, ImageId, ImageWriter, MemoryFigures, Meta, PAGE_SIZE, Page, Rest, State,
    StateKind, XenVersion, page_checksum,
};

/// A directory for images, in memory where there is such a place: tests that make thousands of them
/// would wait for the disk.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) const UUID: &str = "e5d4d218-9b32-4a04-971e-bb65229d0f12";

/// 40 pages: low memory with a hole at frame 16, and pages of Xen's and ACPI's high up.
pub(crate) fn extents() -> Extents {
    let list = [(0, 16), (17, 15), (0xfc000, 1), (0xfeff8, 8)];
    Extents::new(list.map(Extent::from)).unwrap()
}

/// A page whose contents follow from a seed; seed 0 is a zero page.
pub(crate) fn page(seed: u64) -> Page {
    let mut out = [0; PAGE_SIZE];
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in out.chunks_exact_mut(8) {
        word.copy_from_slice(&x.to_le_bytes());
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
    }
    out
}

pub(crate) fn config() -> serde_json::Value {
    serde_json::json!({
        "c_info": { "type": "pvh", "name": "web", "uuid": UUID, "domid": 7 },
        "b_info": { "max_vcpus": 2, "max_memkb": 1024, "target_memkb": 512, "type.pvh": {} },
        "on_reboot": "restart"
    })
}

/// An HVM context of two pieces, in the form of Xen's `struct hvm_save_descriptor`.
pub(crate) fn context() -> Vec<u8> {
    let mut out = Vec::new();
    for (typecode, body) in [(1u16, &[7u8; 24][..]), (2, &[9; 60])] {
        out.extend_from_slice(&typecode.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(body);
    }
    out
}

pub(crate) fn state() -> State {
    let mut state = State::new();
    let mut put = |kind, body| state.insert(kind, body).unwrap();
    put(StateKind::CpuidPolicy, vec![1; 48]);
    put(StateKind::MsrPolicy, vec![2; 32]);
    put(StateKind::TscInfo, tsc_info(0, 2_596_131, 18_482_296_758, 1));
    put(StateKind::HvmParams, hvm_params(&[(1, 0xfeffc), (17, 0xfefff)]));
    put(StateKind::HvmContext, context());
    put(StateKind::DomainConfig, config().to_string().into_bytes());
    state
}

pub(crate) fn meta() -> Meta {
    Meta {
        guest: "web".into(),
        uuid: UUID.into(),
        created: UNIX_EPOCH + Duration::from_secs(1_795_292_679),
        xen: XenVersion { major: 4, minor: 17 },
        vcpus: 2,
        memory: MemoryFigures { max_kib: 1024, target_kib: 512 },
        extents: extents(),
        policy: serde_json::json!({ "name": "live-save", "nested": { "a": [1, 2] } }),
    }
}

/// A page that LZ4 makes much shorter; seed 0 is a zero page.
pub(crate) fn soft_page(seed: u64) -> Page {
    let mut out = [0; PAGE_SIZE];
    for (i, word) in out.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(seed * (i as u64 / 32)).to_le_bytes());
    }
    out[0] = seed as u8;
    out
}

/// The LZ4 record of a page.
pub(crate) fn record(page: &Page) -> Vec<u8> {
    let mut lz4 = livesave::codec::lz4::Lz4::new().unwrap();
    lz4.compress_page(page).expect("a page that gets shorter").to_vec()
}

/// A generator of numbers for tests: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// A writer of an image on a parent.
pub(crate) fn child_of(parent: &Path, rest: Rest) -> ImageWriter {
    let image = Image::open(parent).unwrap();
    let meta = Meta { extents: image.extents().clone(), ..meta() };
    let dir = parent.parent().unwrap();
    let id = ImageId::unused(dir, &meta.guest, meta.created);
    let mut writer = ImageWriter::create_on(dir, id, meta, image, rest).unwrap();
    writer.set_state(state());
    writer
}

/// An image on a parent in which slot 1 has the contents of a seed, and its path.
pub(crate) fn child(parent: &Path, seed: u64) -> PathBuf {
    let mut writer = child_of(parent, Rest::AsInParent);
    let page = page(seed);
    writer.put_page(1, &page, page_checksum(&page)).unwrap();
    writer.commit(serde_json::json!({ "seed": seed })).unwrap().path().to_path_buf()
}

pub(crate) fn verify(path: &Path) -> store::Result<store::Verified> {
    Image::open(path)?.verify(&mut |_, _| {})
}

/// Flips a bit, calls `then`, and puts the octet back.
pub(crate) fn with_flip(file: &Path, bit: usize, then: impl FnOnce()) {
    let at = bit as u64 / 8;
    // In place: a file that is truncated and written again waits for the disk.
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, at).unwrap();
    file.write_all_at(&[octet[0] ^ 1 << (bit % 8)], at).unwrap();
    then();
    file.write_all_at(&octet, at).unwrap();
}

/// Writes a manifest with a right checksum, as someone would who wants to be believed.
pub(crate) fn forge(path: &Path, change: impl FnOnce(&mut Value)) {
    let file = path.join("manifest.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("checksum");
    change(&mut json);
    let text = serde_json::to_string_pretty(&json).unwrap();
    let text = text.strip_suffix("\n}").unwrap_or(&text);
    let sum: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(file, format!("{text},\n  \"checksum\": \"sha256:{sum}\"\n}}\n")).unwrap();
}

pub(crate) fn writer(dir: &Path) -> ImageWriter {
    writer_of(dir, extents())
}

pub(crate) fn writer_of(dir: &Path, extents: Extents) -> ImageWriter {
    let meta = Meta { extents, ..meta() };
    let id = ImageId::unused(dir, &meta.guest, meta.created);
    ImageWriter::create(dir, id, meta).unwrap()
}

/// Every third page is zero; page `n` has the contents of seed `n + add`.
pub(crate) fn fill(writer: &mut ImageWriter, add: u64) {
    for slot in 0..writer.extents().pages() {
        if slot % 3 == 0 {
            writer.put_zero(slot).unwrap();
        } else {
            let page = page(slot + add);
            writer.put_page(slot, &page, page_checksum(&page)).unwrap();
        }
    }
    writer.set_state(state());
}

pub(crate) fn image(dir: &Path) -> Image {
    let mut writer = writer(dir);
    fill(&mut writer, 0);
    writer.commit(serde_json::json!({ "rounds": [] })).unwrap()
}

/// All pages of an image by slot.
pub(crate) fn pages(image: &Image) -> Vec<Page> {
    let slots = image.slots().unwrap();
    (0..image.extents().pages())
        .map(|slot| {
            let mut page = [0xaa; PAGE_SIZE];
            slots.read(slot, &mut page).unwrap();
            page
        })
        .collect()
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
