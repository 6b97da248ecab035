//! Damaged, truncated and foreign files: found, named, and never a panic.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{fill, forge, image, memory_dir, names, with_flip, writer_of};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Damage, Error, ExportOptions, Extent, Extents, Image, PAGE_SIZE, StateKind, export_xl, list};

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn fixture() -> Fixture {
    let dir = memory_dir();
    let path = image(dir.path()).path().to_path_buf();
    Fixture { _dir: dir, path }
}

fn check(path: &Path) -> Result<(), Error> {
    Image::open(path)?.verify(&mut |_, _| {}).map(|_| ())
}

#[test]
fn every_flipped_bit_of_the_small_files_is_found() {
    // Six pages, for every bit is one check of the whole image.
    let dir = memory_dir();
    let extents = Extents::new([(0, 2), (0xfeffc, 4)].map(Extent::from)).unwrap();
    let mut writer = writer_of(dir.path(), extents);
    fill(&mut writer, 0);
    let path = writer.commit(Value::Null).unwrap().path().to_path_buf();
    let f = Fixture { _dir: dir, path };
    for name in ["manifest.json", "pages", "state"] {
        let file = f.path.join(name);
        let whole = fs::read(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            with_flip(&file, bit, || {
                let e = check(&f.path).expect_err(&format!("bit {bit} of {name}"));
                assert!(matches!(e, Error::Damaged { .. } | Error::Malformed { .. }), "{name} {bit}: {e}");
            });
        }
    }
    check(&f.path).unwrap();
}

#[test]
fn a_flipped_bit_of_memory_is_found_and_its_page_is_named() {
    let f = fixture();
    let file = f.path.join("memory");
    let whole = fs::read(&file).unwrap();
    // A prime step visits every page, data and zero, at changing places.
    for bit in (0..whole.len() * 8).step_by(7919) {
        with_flip(&file, bit, || match check(&f.path) {
            Err(Error::Damaged { first, total: 1, .. }) => {
                let slot = (bit / 8 / PAGE_SIZE) as u64;
                let pfn = common::extents().pfn_of(slot).unwrap();
                assert_eq!(first, [Damage::Page { pfn, slot }]);
            }
            other => panic!("bit {bit}: {other:?}"),
        });
    }
}

#[test]
fn a_flipped_bit_of_a_records_body_names_the_record() {
    let f = fixture();
    let file = f.path.join("state");
    let whole = fs::read(&file).unwrap();
    let state = Image::open(&f.path).unwrap().state().unwrap();
    let mut at = 16;
    for (kind, body) in state.iter() {
        at += 16;
        for bit in at * 8..(at + body.len()) * 8 {
            with_flip(&file, bit, || match check(&f.path) {
                Err(Error::Damaged { first, .. }) => assert_eq!(first, [Damage::Record(kind)]),
                other => panic!("{other:?}"),
            });
        }
        at += body.len();
    }
    assert_eq!(at, whole.len());
}

#[test]
fn a_flipped_checksum_in_the_table_names_the_page_and_the_table() {
    let f = fixture();
    let file = f.path.join("pages");
    with_flip(&file, (17 * 16) * 8 + 3, || match check(&f.path) {
        Err(Error::Damaged { first, total: 2, .. }) => {
            assert_eq!(first, [Damage::Page { pfn: 18, slot: 17 }, Damage::File("pages")]);
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn much_damage_is_counted_and_listed_in_part() {
    let f = fixture();
    fs::write(f.path.join("memory"), vec![0x55; 40 * PAGE_SIZE]).unwrap();
    let e = check(&f.path).unwrap_err();
    assert!(matches!(&e, Error::Damaged { first, total: 40, .. } if first.len() == 8));
    assert!(e.to_string().ends_with("and 32 more"), "{e}");
}

#[test]
fn reading_and_exporting_stop_at_a_damaged_page() {
    let f = fixture();
    let file = f.path.join("memory");
    with_flip(&file, 4 * PAGE_SIZE * 8, || {
        let image = Image::open(&f.path).unwrap();
        let mut page = [0; PAGE_SIZE];
        let named =
            |e| matches!(e, Error::Damaged { first, .. } if first == [Damage::Page { pfn: 4, slot: 4 }]);
        assert!(named(image.slots().unwrap().read(4, &mut page).unwrap_err()));
        assert!(named(export_xl(&image, std::io::sink(), ExportOptions::default()).unwrap_err()));
    });
    let file = f.path.join("state");
    let whole = fs::read(&file).unwrap();
    with_flip(&file, (whole.len() - 1) * 8, || {
        let image = Image::open(&f.path).unwrap();
        let e = export_xl(&image, std::io::sink(), ExportOptions::default()).unwrap_err();
        assert!(
            matches!(e, Error::Damaged { first, .. } if first == [Damage::Record(StateKind::DomainConfig)])
        );
    });
}

#[test]
fn truncated_missing_and_grown_files_are_refused_when_opened() {
    let f = fixture();
    for name in names(&f.path) {
        let file = f.path.join(&name);
        let whole = fs::read(&file).unwrap();
        let step = (whole.len() / 300).max(1);
        for length in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            fs::write(&file, &whole[..length]).unwrap();
            let e = Image::open(&f.path).expect_err(&format!("{name} of {length}"));
            assert!(matches!(e, Error::Malformed { .. }), "{e}");
        }
        let mut grown = whole.clone();
        grown.push(b'\n');
        fs::write(&file, grown).unwrap();
        assert!(matches!(Image::open(&f.path), Err(Error::Malformed { .. })), "{name}");
        fs::remove_file(&file).unwrap();
        let e = Image::open(&f.path).unwrap_err().to_string();
        assert!(e.contains(&name) && e.contains("missing"), "{e}");
        fs::create_dir(&file).unwrap();
        assert!(matches!(Image::open(&f.path), Err(Error::Malformed { .. })), "{name}");
        fs::remove_dir(&file).unwrap();
        fs::write(&file, whole).unwrap();
    }
    check(&f.path).unwrap();
}

#[test]
fn a_forged_manifest_is_believed_only_where_the_files_bear_it_out() {
    let huge = 1u64 << 60;
    type Change = Box<dyn Fn(&mut Value)>;
    let changes: Vec<(&str, Change)> = vec![
        ("pages", Box::new(move |m| m["pages"] = json!(huge))),
        ("extents", Box::new(move |m| m["extents"] = json!([[0, huge]]))),
        (
            "extents and pages",
            Box::new(move |m| {
                m["extents"] = json!([[0, huge]]);
                m["pages"] = json!(huge);
                m["files"]["memory"]["length"] = json!(huge);
                m["files"]["pages"]["length"] = json!(huge);
            }),
        ),
        (
            "consistent, and larger than the files",
            Box::new(|m| {
                m["extents"] = json!([[0, 1 << 30]]);
                m["pages"] = json!(1 << 30);
                m["files"]["memory"]["length"] = json!((1u64 << 30) * 4096);
                m["files"]["pages"]["length"] = json!((1u64 << 30) * 16);
            }),
        ),
        ("overlap", Box::new(|m| m["extents"] = json!([[0, 20], [10, 20]]))),
        ("overflow", Box::new(|m| m["extents"] = json!([[u64::MAX, 40]]))),
        ("no extents", Box::new(|m| m["extents"] = json!([]))),
        ("page size", Box::new(|m| m["page_size"] = json!(8192))),
        ("parent", Box::new(|m| m["parent"] = json!("web@20261121T202439Z"))),
        ("id", Box::new(|m| m["id"] = json!("../../etc"))),
        ("uuid", Box::new(|m| m["uuid"] = json!("x"))),
        ("no hash", Box::new(|m| m["files"]["pages"]["sha256"] = Value::Null)),
        ("negative", Box::new(|m| m["pages"] = json!(-40))),
        ("type", Box::new(|m| m["files"] = json!("none"))),
        ("zero pages", Box::new(|m| m["zero_pages"] = json!(41))),
        ("state", Box::new(move |m| m["files"]["state"]["length"] = json!(huge))),
        ("not an object", Box::new(|m| *m = json!([1]))),
    ];
    for (what, change) in changes {
        let f = fixture();
        forge(&f.path, change);
        match Image::open(&f.path) {
            Err(Error::Malformed { .. } | Error::BadMeta(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert!(list(f._dir.path()).unwrap()[0].manifest.is_err());
    }
    // Forging is detected by verify where the structure is sound.
    let f = fixture();
    forge(&f.path, |m| m["zero_pages"] = json!(13));
    assert!(matches!(check(&f.path), Err(Error::Damaged { .. })));
    let f = fixture();
    forge(&f.path, |m| m["files"]["state"]["sha256"] = json!("00"));
    assert!(matches!(check(&f.path), Err(Error::Damaged { .. })));
}

#[test]
fn another_format_is_refused_with_both_numbers() {
    let f = fixture();
    forge(&f.path, |m| {
        m["format"] = json!(3);
        m["extents"] = json!("elsewhere");
    });
    match Image::open(&f.path) {
        Err(e @ Error::Version { found: 3, known: 2, .. }) => assert!(e.to_string().contains("format 3")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn foreign_things_are_refused() {
    let dir = memory_dir();
    let file = dir.path().join("vm.save");
    fs::write(&file, b"Xen saved domain, xl format\n \0 \r").unwrap();
    let e = Image::open(&file).unwrap_err().to_string();
    assert!(e.contains("imported"), "{e}");
    assert!(matches!(Image::open(dir.path()), Err(Error::Malformed { .. })));
    for text in ["", "{}", "{\"format\": 1}", "\0\0\0\0", &"[".repeat(100_000)] {
        fs::write(dir.path().join("manifest.json"), text).unwrap();
        assert!(matches!(Image::open(dir.path()), Err(Error::Malformed { .. })), "{text:.9}");
    }
    let f = fs::File::create(dir.path().join("manifest.json")).unwrap();
    f.set_len(1 << 40).unwrap();
    assert!(matches!(Image::open(dir.path()), Err(Error::Malformed { .. })));
}

#[test]
fn deeply_nested_json_in_a_forged_manifest_is_no_stack_overflow() {
    let f = fixture();
    let text = format!("{{\"format\": 1, \"policy\": {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let sum: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let text = format!("{text},\n  \"checksum\": \"sha256:{sum}\"\n}}\n");
    fs::write(f.path.join("manifest.json"), text).unwrap();
    assert!(matches!(Image::open(&f.path), Err(Error::Malformed { .. })));
}
