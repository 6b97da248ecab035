//! The stream of stock `xl`: what we write reads back the same, and what we read is checked.

mod builder;
#[path = "../common/mod.rs"]
mod common;

use std::io::Cursor;

use builder::{Builder, STATIC_END, start};
use common::{config, context, fill, image, page, pages, state, writer};
use serde_json::Value;
use store::xl::reader::{Content, Item, XlReader};
use store::{
    Error, ExportOptions, Exported, Image, ImportOptions, PAGE_SIZE, Page, State, StateKind, diff, export_xl,
    import_xl, page_checksum, spool,
};

fn export(image: &Image, options: ExportOptions<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let exported = export_xl(image, &mut out, options).unwrap();
    assert_eq!(exported, Exported { pages: image.extents().pages(), octets: out.len() as u64 });
    out
}

fn import(dir: &tempfile::TempDir, stream: &[u8]) -> Result<Image, Error> {
    import_xl(dir.path(), Cursor::new(stream), ImportOptions::default())
}

fn import_error(stream: &[u8]) -> Error {
    let dir = common::memory_dir();
    let e = import(&dir, stream).unwrap_err();
    assert!(common::names(dir.path()).is_empty(), "something was left after: {e}");
    e
}

#[test]
fn an_exported_image_imports_as_the_same_image() {
    let dir = common::memory_dir();
    let first = image(dir.path());
    let stream = export(&first, ExportOptions::default());
    let second = import(&dir, &stream).unwrap();
    second.verify(&mut |_, _| {}).unwrap();
    assert_ne!(first.path(), second.path());
    assert_eq!(first.extents(), second.extents());
    assert!(pages(&first) == pages(&second));
    let (a, b) = (first.manifest(), second.manifest());
    assert_eq!((a.xen, a.vcpus, a.memory, a.zero_pages), (b.xen, b.vcpus, b.memory, b.zero_pages));
    assert_eq!((&a.guest, &a.uuid), (&b.guest, &b.uuid));
    for kind in StateKind::ALL.into_iter().filter(|k| *k != StateKind::DomainConfig) {
        assert_eq!(first.state().unwrap().get(kind), second.state().unwrap().get(kind), "{kind}");
    }
    // And again, now octet for octet.
    assert!(export(&second, ExportOptions::default()) == stream);
    assert!(diff(&first, &stream[..]).unwrap().is_same());
}

#[test]
fn the_stream_has_the_layout_that_stock_tools_write() {
    let dir = common::memory_dir();
    let stream = export(&image(dir.path()), ExportOptions::default());
    assert_eq!(&stream[..32], b"Xen saved domain, xl format\n \0 \r");
    let word = |at: usize| u32::from_le_bytes(stream[at..at + 4].try_into().unwrap());
    assert_eq!((word(32), word(36), word(40)), (0x0102_0304, 3, 0));
    assert_eq!(word(44), word(48) + 4);
    let end = 52 + word(48) as usize;
    assert_eq!(stream[end - 1], 0, "xl's configuration ends with NUL");
    let mut at = end;
    assert_eq!(&stream[at..at + 16], b"LibxlFmt\0\0\0\x02\0\0\0\0");
    assert_eq!(&stream[at + 16..at + 24], [1, 0, 0, 0, 0, 0, 0, 0]);
    at += 24 + 24 + 16;
    let mut kinds = Vec::new();
    while at < stream.len() {
        kinds.push(word(at));
        at += 8 + (word(at + 4) as usize).next_multiple_of(8);
    }
    assert_eq!(at, stream.len());
    assert_eq!(kinds, [0x11, 0x12, 0x10, 0x01, 0x08, 0x0a, 0x09, 0x00, 0x00]);
}

#[test]
fn name_and_uuid_change_when_asked_and_the_domid_never_travels() {
    let dir = common::memory_dir();
    let image = image(dir.path());
    let seen = |options| {
        let stream = export(&image, options);
        let Item::State(StateKind::DomainConfig, text) = XlReader::new(&stream[..]).next_item().unwrap()
        else {
            panic!("no configuration");
        };
        serde_json::from_slice::<Value>(&text).unwrap()
    };
    let plain = seen(ExportOptions::default());
    assert_eq!((&plain["c_info"]["name"], &plain["c_info"]["uuid"]), (&"web".into(), &common::UUID.into()));
    assert_eq!(plain["c_info"].get("domid"), None);
    assert_eq!(plain["on_reboot"], "restart");
    let uuid = "00000000-1111-2222-3333-444444444444";
    let changed =
        seen(ExportOptions { name: Some("copy".into()), uuid: Some(uuid.into()), ..Default::default() });
    assert_eq!((&changed["c_info"]["name"], &changed["c_info"]["uuid"]), (&"copy".into(), &uuid.into()));
    assert_eq!(changed["b_info"], plain["b_info"]);
    let bad = ExportOptions { uuid: Some("x".into()), ..Default::default() };
    assert!(matches!(export_xl(&image, std::io::sink(), bad), Err(Error::BadMeta(_))));
}

#[test]
fn a_live_stream_has_pages_in_any_order_and_more_than_once() {
    let (a, b, c) = (page(11), page(12), page(13));
    let stream = start()
        .pages(&[(0, 0xfeffc, Some(&c)), (0, 1, Some(&a))])
        // A page that was there and is no more keeps its contents, as with xl restore.
        .pages(&[(0xf, 1, None), (0xf, 5000, None), (0xe, 2, None), (0xe, 7, None)])
        .pages(&[(0, 2, Some(&b)), (0xe, 2, None), (0, 0, Some(&page(0))), (0, 1 << 20, Some(&a))])
        .end();
    let dir = common::memory_dir();
    let image = import(&dir, &stream).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    let pfns: Vec<u64> = image.extents().pfns().collect();
    assert_eq!(pfns, [0, 1, 2, 7, 0xfeffc, 0xfefff, 1 << 20]);
    let want = [page(0), a, b, page(0), c, page(2), a];
    assert!(pages(&image) == want);
    let report = diff(&image, &stream[..]).unwrap();
    assert!(report.is_same(), "{report:?}");
    assert_eq!((report.compared, report.allocated_only), (6, 1));
}

#[test]
fn the_saved_guest_describes_itself() {
    let dir = common::memory_dir();
    let image = import(&dir, &start().end()).unwrap();
    let m = image.manifest();
    assert_eq!((m.guest.as_str(), m.uuid.as_str(), m.vcpus), ("web", common::UUID, 2));
    assert_eq!((m.xen.major, m.xen.minor, m.memory.max_kib, m.memory.target_kib), (4, 17, 1024, 512));
    assert_eq!(image.state().unwrap(), state());
}

#[test]
fn a_pipe_is_spooled_and_then_imported() {
    let dir = common::memory_dir();
    let stream = start().end();
    let file = spool(dir.path(), &stream[..]).unwrap();
    assert!(common::names(dir.path()).is_empty(), "the spool has no name");
    import_xl(dir.path(), file, ImportOptions::default()).unwrap();
}

#[test]
fn optional_records_are_skipped_and_unknown_mandatory_ones_refused() {
    let dir = common::memory_dir();
    let skipped = start().record(0x8000_0042, &[1; 13]).end();
    assert_eq!(import(&dir, &skipped).unwrap().extents().pages(), 5);
    for kind in [0x13, 0x0b, 0x0f, 0x1000_0000] {
        let at = start().0.len() as u64;
        match import_error(&start().record(kind, &[1; 8]).end()) {
            Error::Unsupported { offset, why, .. } => {
                assert!(offset == at && why.contains(&format!("{kind:#x}")), "{offset} {why}");
            }
            e => panic!("{e}"),
        }
    }
    let libxl = start().state_of(&state()).record(0, &[]);
    let optional = Builder(libxl.0.clone()).record(0x8000_0001, &[3; 9]).record(0, &[]).0;
    import(&dir, &optional).unwrap();
    assert!(matches!(import_error(&libxl.record(6, &[]).0), Error::Unsupported { .. }));
}

#[test]
fn streams_of_other_kinds_are_refused_with_their_reason() {
    let json = config().to_string();
    let libxl = |b: Builder| b.raw(b"LibxlFmt\0\0\0\x02\0\0\0\0");
    let memory = || start().state_of(&state()).record(0, &[]);
    for (stream, reason) in [
        (
            Builder::xl(3, json.as_bytes())
                .raw(b"LibxlFmt\0\0\0\x02\0\0\0\0")
                .record(1, &[])
                .libxc(3, 1, 12)
                .0,
            "PV",
        ),
        (memory().record(2, &[0; 16]).record(0, &[]).0, "device model"),
        (memory().record(3, &[0; 16]).record(0, &[]).0, "device model"),
        (memory().record(4, &[]).0, "checkpointed"),
        (start().record(0x0e, &[]).0, "checkpointed"),
        (Builder::xl(1, json.as_bytes()).0, "before 4.6"),
        (Builder::xl(2, json.as_bytes()).0, "not JSON"),
        (Builder::xl(7, json.as_bytes()).0, "0x7"),
        (Builder::xl(3, json.as_bytes()).raw(b"LibxlFmt\0\0\0\x03\0\0\0\0").0, "version 3"),
        (Builder::xl(3, json.as_bytes()).raw(b"LibxlFmt\0\0\0\x02\0\0\0\x01").0, "big-endian"),
        (libxl(Builder::xl(3, json.as_bytes())).record(1, &[]).libxc(4, 2, 12).0, "version 4"),
        (start().pages(&[(0, 1 << 51, Some(&page(1)))]).end(), "beyond"),
    ] {
        match import_error(&stream) {
            Error::Unsupported { why, .. } => assert!(why.contains(reason), "{reason}: {why}"),
            e => panic!("{reason}: {e}"),
        }
    }
}

#[test]
fn malformed_streams_are_refused_and_the_record_named() {
    let json = config().to_string();
    let length = |record: Builder, length: u32| {
        // Writes another length into the record header that starts at `start()`'s end.
        let (at, mut all) = (start().0.len() + 4, record.0);
        all[at..at + 4].copy_from_slice(&length.to_le_bytes());
        all
    };
    let one = page(1);
    let data = || start().pages(&[(0, 3, Some(&one))]);
    for (stream, record) in [
        (b"Xen saved domain, xm format\n \0 \r and so on and on and on".to_vec(), "xl's file header"),
        (Builder::xl(3, json.as_bytes()).raw(&[0; 16]).0, "the libxl header"),
        (Builder::headers().0[..].to_vec(), "a libxc record"),
        (Builder::headers().pages(&[(0, 1, Some(&one))]).0, "a PAGE_DATA record"),
        (length(data(), 8 + 8 + 4096 - 8), "a PAGE_DATA record"),
        (length(data(), 4), "a PAGE_DATA record"),
        (length(data(), 12), "a PAGE_DATA record"),
        (length(data(), u32::MAX), "a PAGE_DATA record"),
        (start().record(1, &[0; 8]).end(), "a PAGE_DATA record"),
        (start().record(1, &[0xff; 16]).end(), "a PAGE_DATA record"),
        (start().pages(&[(1, 3, Some(&one))]).end(), "a PAGE_DATA record"),
        (start().pages(&[(5, 3, Some(&one))]).end(), "a PAGE_DATA record"),
        (length(start().record(9, &context()), 100 << 20), "HVM_CONTEXT"),
        (start().record(2, &[8, 4, 0, 0, 0, 0, 0, 0]).end(), "a libxc record"),
        (start().record(9, &context()).record(9, &context()).end(), "HVM_CONTEXT"),
        (start().record(0, &[1; 8]).0, "libxc's END record"),
        (
            Builder::xl(3, json.as_bytes()).raw(b"LibxlFmt\0\0\0\x02\0\0\0\0").record(0, &[]).0,
            "libxl's END record",
        ),
    ] {
        match import_error(&stream) {
            Error::Stream { record: found, why, .. } => assert_eq!(found, record, "{why}"),
            e => panic!("{record}: {e}"),
        }
    }
    let mut lies = Builder::xl(3, json.as_bytes());
    lies.0[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(import_error(&lies.0), Error::Stream { offset: 0, .. }));
    let no_context = start().record(8, &[0; 24]).record(0x0a, &[0; 24]).record(0, &[]).record(0, &[]).0;
    assert!(matches!(import_error(&no_context), Error::BadRecord { kind: StateKind::HvmParams, .. }));
    let no_context = start().record(8, &[0; 24]).record(0, &[]).record(0, &[]).0;
    assert!(matches!(import_error(&no_context), Error::MissingRecord(_)));
    let no_pages = Builder::headers().record(STATIC_END, &[]).end();
    assert!(matches!(import_error(&no_pages), Error::BadMeta(_)));
}

#[test]
fn a_stream_cut_anywhere_is_refused_and_leaves_nothing() {
    let whole = start().end();
    let memory = start().0.len();
    // Everywhere in headers and state, and here and there in the pages.
    for cut in (0..whole.len()).filter(|c| *c < 700 || *c > memory - 20 || c % 997 == 0) {
        match import_error(&whole[..cut]) {
            Error::Stream { why, .. } => assert!(why.contains("ends within"), "{cut}: {why}"),
            e => panic!("cut at {cut}: {e}"),
        }
    }
}

#[test]
fn streams_of_version_2_and_pages_that_only_verify_are_understood() {
    let json = config().to_string();
    let (a, b) = (page(1), page(2));
    let stream = Builder::xl(3, json.as_bytes())
        .raw(b"LibxlFmt\0\0\0\x02\0\0\0\0")
        .record(1, &[])
        .libxc(2, 2, 12)
        .pages(&[(0, 0, Some(&a)), (0, 0xfeffc, Some(&a)), (0, 0xfefff, Some(&a))])
        .record(0x0d, &[])
        .pages(&[(0, 0, Some(&b))])
        .end();
    let dir = common::memory_dir();
    let image = import(&dir, &stream).unwrap();
    assert!(pages(&image) == [a, a, a]);
}

#[test]
fn a_difference_is_found_and_named() {
    let dir = common::memory_dir();
    let first = image(dir.path());
    let mut w = writer(dir.path());
    fill(&mut w, 0);
    let p = page(99);
    for slot in [5, 16] {
        w.put_page(slot, &p, page_checksum(&p)).unwrap();
    }
    let mut changed = state();
    let mut other = context();
    let last = other.len() - 1;
    other[last] ^= 1;
    changed.insert(StateKind::HvmContext, other).unwrap();
    // The same parameters in another order are the same.
    let params = store::state::hvm_params(&[(17, 0xfefff), (1, 0xfeffc)]);
    changed.insert(StateKind::HvmParams, params).unwrap();
    w.set_state(changed);
    let second = w.commit(Value::Null).unwrap();
    let report = diff(&second, &export(&first, ExportOptions::default())[..]).unwrap();
    assert!(!report.is_same() && !report.is_same_memory());
    assert_eq!((report.compared, report.differing.count), (40, 2));
    assert_eq!(report.differing.first, [5, 17]);
    let differing: Vec<_> = report.records.iter().filter(|r| !r.1).collect();
    assert_eq!(differing, [&(StateKind::HvmContext, false)]);
    assert_eq!(report.context_differs, [(2, 0)]);

    let report = diff(&first, &start().end()[..]).unwrap();
    assert_eq!((report.only_in_image.count, report.only_in_stream.count), (35, 0));
    let more = start().pages(&[(0, 16, Some(&p)), (0, 0x70000, Some(&p))]).end();
    assert_eq!(diff(&first, &more[..]).unwrap().only_in_stream.first, [16, 0x70000]);
}

#[test]
fn a_reader_hands_out_items_in_order() {
    let stream = start().pages(&[(0xe, 9, None), (0xf, 10, None)]).end();
    let mut reader = XlReader::new(&stream[..]);
    let mut seen = Vec::new();
    loop {
        seen.push(match reader.next_item().unwrap() {
            Item::State(kind, _) => kind.name().to_string(),
            Item::Xen(v) => format!("Xen {}.{}", v.major, v.minor),
            Item::Page { pfn, content: Content::Data(_) } => format!("{pfn:#x}"),
            Item::Page { pfn, content: Content::Allocated } => format!("{pfn:#x} allocated"),
            Item::Page { pfn, content: Content::Invalid } => format!("{pfn:#x} invalid"),
            Item::End => break,
        });
    }
    assert_eq!(seen[..2], ["xl's domain configuration", "Xen 4.17"]);
    assert_eq!(seen[2..9], ["0x0", "0x1", "0x2", "0xfeffc", "0xfefff", "0x9 allocated", "0xa invalid"]);
    assert_eq!(
        seen[9..],
        ["X86_CPUID_POLICY", "X86_MSR_POLICY", "X86_TSC_INFO", "HVM_PARAMS", "HVM_CONTEXT"]
    );
    assert!(matches!(reader.next_item(), Ok(Item::End)));
}

#[test]
fn large_images_go_out_in_batches() {
    let dir = common::memory_dir();
    let extents = store::Extents::new([(0, 3000), (0xfeff8, 8)].map(store::Extent::from)).unwrap();
    let mut w = common::writer_of(dir.path(), extents);
    fill(&mut w, 0);
    let image = w.commit(Value::Null).unwrap();
    let mut calls = Vec::new();
    let mut note = |done, all| calls.push((done, all));
    let stream = export(&image, ExportOptions { progress: Some(&mut note), ..Default::default() });
    assert_eq!(calls, [(1024, 3008), (2048, 3008), (3008, 3008)]);
    assert!(stream.len() < 3008 * (PAGE_SIZE + 8) + 4096);
    assert!(diff(&image, &stream[..]).unwrap().is_same());
}
