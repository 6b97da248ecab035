//! Messages of pages as a stub sends them, good and bad, and what is in the image then.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use livesave::codec::{Encoded, Encoder};
use store::{Extents, ImageId, MemoryFigures, Meta, PageState, XenVersion};

use super::*;

const SLOTS: u64 = 16;

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("luthier-sink-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn writer(&self) -> ImageWriter {
        let id = ImageId::unused(&self.0, "web", SystemTime::now());
        ImageWriter::create(&self.0, id, meta()).unwrap()
    }

    fn sink(&self, codecs: Codecs) -> Sink {
        Sink::new(self.writer(), codecs).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn meta() -> Meta {
    Meta {
        guest: "web".into(),
        uuid: "0f010203-0405-0607-0809-0a0b0c0d0eff".into(),
        created: SystemTime::now(),
        xen: XenVersion { major: 4, minor: 17 },
        vcpus: 1,
        memory: MemoryFigures::default(),
        extents: Extents::new([store::Extent { pfn: 0, count: SLOTS }]).unwrap(),
        policy: "live-save".into(),
    }
}

/// A ring's contents, and a disk that may be full.
struct Bytes<'a> {
    left: &'a [u8],
    full: bool,
}

impl<'a> Bytes<'a> {
    fn next(&mut self, len: usize) -> &'a [u8] {
        let (next, left) = self.left.split_at(len);
        self.left = left;
        next
    }
}

impl Contents for Bytes<'_> {
    type Error = std::convert::Infallible;

    fn move_to(
        &mut self,
        file: &File,
        offset: u64,
        len: usize,
    ) -> std::result::Result<io::Result<()>, Self::Error> {
        let bytes = self.next(len);
        Ok(if self.full { Err(io::ErrorKind::StorageFull.into()) } else { file.write_all_at(bytes, offset) })
    }

    fn take(&mut self, into: &mut [u8]) -> std::result::Result<(), Self::Error> {
        into.copy_from_slice(self.next(into.len()));
        Ok(())
    }

    fn skip(&mut self, len: usize) -> std::result::Result<(), Self::Error> {
        self.next(len);
        Ok(())
    }
}

/// A message in the making.
#[derive(Default)]
struct Message {
    entries: Vec<PageEntry>,
    bytes: Vec<u8>,
}

impl Message {
    fn with(mut self, slot: u32, content: Content, bytes: &[u8], checksum: u64) -> Self {
        self.entries.push(PageEntry { slot, content, checksum });
        self.bytes.extend(bytes);
        self
    }

    fn raw(self, slot: u32, page: &Page) -> Self {
        self.with(slot, Content::Raw, page, store::page_checksum(page))
    }

    /// Whether the snapshot failed with it. The ring must be in step however it ends.
    fn fails(&self, sink: &mut Sink) -> bool {
        self.fails_on(sink, false)
    }

    fn fails_on(&self, sink: &mut Sink, full: bool) -> bool {
        let mut contents = Bytes { left: &self.bytes, full };
        let Ok(failed) = sink.store(&self.entries, &mut contents);
        assert_eq!(contents.left.len(), 0, "the ring is out of step");
        failed
    }
}

fn page(seed: u8) -> Page {
    std::array::from_fn(|i| {
        (i as u32).wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed) * 77) as u8 ^ seed
    })
}

fn coded(coding: Coding, len: usize) -> Content {
    Content::Coded { coding, len: len as u16 }
}

const ALL: Codecs = Codecs::Chosen { lz4: true, delta: true, blocks: true };
const LZ4: Codecs = Codecs::Chosen { lz4: true, delta: false, blocks: false };

/// Encodes as the stub does.
fn encode(encoder: &mut Encoder<HeapPage>, message: Message, slot: u32, page: &Page) -> Message {
    let mut out = [0; PAGE_SIZE];
    let sum = store::page_checksum(page);
    match encoder.encode(slot, page, &mut out, || 0) {
        Encoded::Zero => message.with(slot, Content::Zero, &[], 0),
        Encoded::Raw => message.with(slot, Content::Raw, page, sum),
        Encoded::Coded(coding, len) => {
            let coding = match coding {
                codec::Coding::Lz4 => Coding::Lz4,
                codec::Coding::Delta => Coding::Delta,
                codec::Coding::Blocks => Coding::Blocks,
            };
            message.with(slot, self::coded(coding, len), &out[..len], sum)
        }
    }
}

#[test]
fn whatever_way_pages_travel_the_image_has_them_as_they_were() {
    let folder = Folder::new();
    let mut ways = std::collections::BTreeSet::new();
    for codecs in [
        ALL,
        Codecs::Auto,
        LZ4,
        Codecs::Chosen { lz4: false, delta: true, blocks: false },
        Codecs::Chosen { lz4: false, delta: false, blocks: true },
    ] {
        let Codecs::Chosen { lz4, delta, blocks } = (if codecs == Codecs::Auto { LZ4 } else { codecs })
        else {
            panic!()
        };
        let config = CodecConfig {
            lz4,
            delta,
            blocks,
            block_cache: BLOCK_CACHE,
            delta_pages: 16,
            ..CodecConfig::raw(16)
        };
        let mut encoder = Encoder::new(config, HeapPage::take).unwrap();
        let mut sink = folder.sink(codecs);
        let mut memory = [[0; PAGE_SIZE]; SLOTS as usize];
        for round in 0..4u8 {
            let mut message = Message::default();
            for slot in 0..SLOTS as u32 {
                let now = &mut memory[slot as usize];
                match (slot + u32::from(round)) % 4 {
                    0 => *now = page(round),
                    1 => now[usize::from(round) * 100] ^= 0xff,
                    2 => *now = [slot as u8; PAGE_SIZE],
                    _ => *now = [0; PAGE_SIZE],
                }
                message = encode(&mut encoder, message, slot, now);
            }
            for entry in &message.entries {
                ways.insert(format!("{:?}", way(sink.writer.as_ref().unwrap(), entry)));
            }
            assert!(!message.fails(&mut sink));
        }
        let (writer, failed) = sink.close();
        assert_eq!(failed, None);
        let mut stored = [0; PAGE_SIZE];
        for (slot, want) in (0..).zip(&memory) {
            writer.as_ref().unwrap().read(slot, &mut stored).unwrap();
            assert_eq!(&stored, want, "slot {slot} by {codecs:?}");
        }
    }
    // Each way was gone.
    assert_eq!(ways.iter().collect::<Vec<_>>(), ["Decode(Blocks)", "Decode(Delta)", "Direct"]);
}

#[test]
fn coded_pages_that_were_not_asked_for_end_the_snapshot() {
    let folder = Folder::new();
    let lz4 =
        Message::default().raw(0, &page(1)).with(1, coded(Coding::Lz4, 5), b"12345", 0).raw(2, &page(2));
    let mut sink = folder.sink(Codecs::Raw);
    assert!(lz4.fails(&mut sink));
    assert!(sink.close().1.unwrap().message.contains("not asked for"));
    let mut sink = folder.sink(Codecs::Chosen { lz4: true, delta: false, blocks: false });
    assert!(Message::default().with(1, coded(Coding::Delta, 1), b"0", 0).fails(&mut sink));
    assert!(sink.close().1.unwrap().message.contains("not asked for"));
}

#[test]
fn coded_bytes_that_make_no_sense_end_the_snapshot_once_and_the_ring_stays_in_step() {
    let folder = Folder::new();
    let bad: [(Coding, &[u8]); 5] = [
        (Coding::Delta, &[0xff; 40]),
        // A run beyond the page's end.
        (Coding::Delta, &[0, 0xff, 0xff, 1, 7]),
        (Coding::Blocks, &[0xff; 9]),
        // A block that was never sent.
        (Coding::Blocks, &[0b01, 9, 9, 9, 9]),
        (Coding::Blocks, &[0; 4096]),
    ];
    for (coding, bytes) in bad {
        let mut sink = folder.sink(ALL);
        let message = Message::default()
            .raw(3, &page(3))
            .with(0, coded(coding, bytes.len()), bytes, 1)
            .raw(4, &page(4));
        assert!(message.fails(&mut sink), "{coding:?} {bytes:?}");
        // What comes then is passed over, and says nothing new.
        assert!(!Message::default().raw(5, &page(5)).fails(&mut sink));
        let (writer, failed) = sink.close();
        assert!(failed.is_some());
        let state = |slot| writer.as_ref().unwrap().read(slot, &mut [0; PAGE_SIZE]).unwrap();
        assert_eq!((state(4), state(5)), (PageState::Absent, PageState::Absent));
    }
}

#[test]
fn a_page_that_decodes_to_another_one_is_noticed_at_once() {
    let folder = Folder::new();
    let mut sink = folder.sink(ALL);
    let page = page(9);
    let message =
        Message::default().with(0, coded(Coding::Blocks, 4096), &page, store::page_checksum(&page) ^ 1);
    assert!(message.fails(&mut sink));
    let why = sink.close().1.unwrap();
    assert!(why.message.contains("another page") && why.hint.unwrap().contains("--codec none"));
}

#[test]
fn short_runs_are_written_at_once_and_long_ones_in_their_own_places() {
    struct Counted<'a>(Bytes<'a>, u32);
    impl Contents for Counted<'_> {
        type Error = std::convert::Infallible;
        fn move_to(
            &mut self,
            file: &File,
            offset: u64,
            len: usize,
        ) -> std::result::Result<io::Result<()>, Self::Error> {
            self.1 += 1;
            self.0.move_to(file, offset, len)
        }
        fn take(&mut self, into: &mut [u8]) -> std::result::Result<(), Self::Error> {
            self.0.take(into)
        }
        fn skip(&mut self, len: usize) -> std::result::Result<(), Self::Error> {
            self.0.skip(len)
        }
    }
    let folder = Folder::new();
    let long: Vec<u32> = (0..16).collect();
    for (slots, own_place) in
        [(vec![5], true), (long, true), (vec![1, 3, 5, 7, 15], false), (vec![3, 2, 1], false)]
    {
        let mut sink = folder.sink(ALL);
        let mut message = Message::default();
        for &slot in &slots {
            // Zero pages have no bytes: they part nothing.
            message = message.raw(slot, &page(slot as u8)).with(0, Content::Zero, &[], 0);
        }
        let mut message = if own_place { Message::default() } else { message };
        if own_place {
            message = slots.iter().fold(message, |m, &slot| m.raw(slot, &page(slot as u8)));
        }
        let mut contents = Counted(Bytes { left: &message.bytes, full: false }, 0);
        assert!(!sink.store(&message.entries, &mut contents).unwrap());
        assert_eq!(contents.1, 1, "{slots:?}");
        let (writer, _) = sink.close();
        for slot in slots {
            let mut stored = [0; PAGE_SIZE];
            let state = writer.as_ref().unwrap().read(slot.into(), &mut stored).unwrap();
            assert_eq!(stored, page(slot as u8));
            assert_eq!(matches!(state, PageState::Raw { .. }), own_place, "{slot}");
        }
    }
}

#[test]
fn a_slot_that_there_is_not_ends_the_snapshot() {
    let folder = Folder::new();
    for bad in [SLOTS as u32, u32::MAX] {
        let mut sink = folder.sink(ALL);
        assert!(Message::default().raw(bad - 1, &page(1)).raw(bad, &page(2)).fails(&mut sink), "{bad}");
        assert!(sink.close().1.is_some());
    }
}

#[test]
fn a_full_disk_is_told_in_the_stores_words() {
    let folder = Folder::new();
    let mut sink = folder.sink(ALL);
    assert!(Message::default().raw(1, &page(1)).raw(2, &page(2)).fails_on(&mut sink, true));
    let why = sink.close().1.unwrap().message;
    assert!(why.contains("full") || why.contains("space"), "{why}");
}

#[test]
fn pages_as_in_the_parent_take_no_room_and_others_go_the_fast_way() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    for slot in 0..SLOTS {
        let page = page(slot as u8);
        writer.put_page(slot, &page, store::page_checksum(&page)).unwrap();
    }
    writer.set_state(state());
    let parent = writer.commit(serde_json::Value::Null).unwrap();
    let id = ImageId::unused(&folder.0, "web", SystemTime::now());
    let child = ImageWriter::create_on(&folder.0, id, meta(), parent, store::Rest::AsInParent).unwrap();
    let mut sink = Sink::new(child, ALL).unwrap();
    let message = Message::default().raw(1, &page(1)).raw(2, &page(102)).raw(3, &page(103));
    assert!(!message.fails(&mut sink));
    let (writer, _) = sink.close();
    let writer = writer.unwrap();
    let mut stored = [0; PAGE_SIZE];
    for (slot, seed) in [(0, 0), (1, 1), (2, 102), (3, 103)] {
        writer.read(slot, &mut stored).unwrap();
        assert_eq!(stored, page(seed), "slot {slot}");
    }
    assert_eq!((writer.stored().raw, writer.stored().parent), (2, SLOTS - 2));
}

/// The records that an image must have.
fn state() -> store::State {
    use store::StateKind as K;
    let mut state = store::State::new();
    let params = store::state::hvm_params(&[(1, 1), (17, 2)]);
    for (kind, body) in [
        (K::CpuidPolicy, vec![1; 48]),
        (K::MsrPolicy, vec![2; 32]),
        (K::TscInfo, store::state::tsc_info(0, 2_596_131, 18_482_296_758, 1)),
        (K::HvmParams, params),
        (K::HvmContext, vec![7; 24]),
        (K::DomainConfig, br#"{"c_info": {}, "b_info": {}}"#.to_vec()),
    ] {
        state.insert(kind, body).unwrap();
    }
    state
}
