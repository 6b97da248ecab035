//! Incremental images: merging, and what damage in a parent does to it.

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{child, child_of, image, memory_dir, names, page, pages, record, soft_page, state, verify};
use serde_json::{Value, json};
use store::{
    Damage, Error, ExportOptions, Image, PAGE_SIZE, Page, Rest, export_xl, merge, page_checksum, remove,
};

fn assert_is(path: &Path, model: &[Page]) {
    verify(path).unwrap();
    assert!(pages(&Image::open(path).unwrap()) == model);
}

#[test]
fn a_merged_image_stands_alone_and_what_builds_on_it_does_not_notice() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    let mut w = child_of(&first, Rest::AsInParent);
    let soft = soft_page(3);
    w.put_lz4(2, &record(&soft), page_checksum(&soft)).unwrap();
    w.put_zero(4).unwrap();
    let room = w.append(PAGE_SIZE).unwrap();
    w.memory_fd().write_all_at(&page(5), room).unwrap();
    w.put_raw_at(5, room, page_checksum(&page(5))).unwrap();
    let second = w.commit(json!({ "rounds": 3 })).unwrap().path().to_path_buf();
    let third = child(&second, 600);
    let before = Image::open(&second).unwrap();
    let (told, model, above) =
        (before.manifest().clone(), pages(&before), pages(&Image::open(&third).unwrap()));
    drop(before);

    let mut last = (0, 0);
    let merged = merge(&second, &mut |done, all| last = (done, all)).unwrap();
    assert_eq!((merged.parents, merged.image.depth(), last), (1, 1, (40, 40)));
    let now = merged.image.manifest();
    assert_eq!(
        (&now.id, &now.created, &now.report, &now.policy),
        (&told.id, &told.created, &told.report, &told.policy)
    );
    assert_eq!((now.contents(), now.zero_pages), (told.contents(), told.zero_pages));
    let stored = now.stored.unwrap();
    // The record stays one; the raw page is in its place again.
    assert_eq!((stored.lz4, stored.raw, stored.parent), (1, 24, 0));
    assert!(pages(&merged.image) == model);
    assert_eq!(merged.image.state().unwrap(), state());
    drop(merged);
    remove(&first).unwrap();
    assert_is(&second, &model);
    assert_is(&third, &above);
    assert_eq!(Image::open(&third).unwrap().depth(), 2);
    // A second time there is nothing to do.
    assert_eq!(merge(&second, &mut |_, _| {}).unwrap().parents, 0);
    assert_eq!(names(dir.path()).len(), 2);
}

#[test]
fn damage_in_a_parent_is_named_with_the_parent_and_is_not_merged() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    let second = child(&first, 500);
    let third = child(&second, 600);
    let damage = |slot: u64| Damage::Parent {
        image: "web@20261121T202439Z".into(),
        damage: Box::new(Damage::Page { pfn: slot, slot }),
    };
    let memory = first.join("memory");
    common::with_flip(&memory, 4 * PAGE_SIZE * 8 + 5, || {
        for path in [&second, &third] {
            match verify(path) {
                Err(e @ Error::Damaged { .. }) => {
                    let text = "page 0x4 (slot 4) does not match its checksum in web@20261121T202439Z";
                    assert!(e.to_string().contains(text), "{e}");
                    assert!(matches!(e, Error::Damaged { first, total: 1, .. } if first == [damage(4)]));
                }
                other => panic!("{other:?}"),
            }
            let mut out = [0; PAGE_SIZE];
            let slots = Image::open(path).unwrap();
            let e = slots.slots().unwrap().read(4, &mut out).unwrap_err();
            assert!(matches!(e, Error::Damaged { first, .. } if first == [damage(4)]));
            let e = export_xl(&slots, std::io::sink(), ExportOptions::default()).unwrap_err();
            assert!(matches!(e, Error::Damaged { first, .. } if first == [damage(4)]));
            drop(slots);
            assert!(matches!(merge(path, &mut |_, _| {}), Err(Error::Damaged { .. })));
        }
        assert_eq!(names(dir.path()).len(), 3);
        // A child that gets the page again gets one of its own, which is sound.
        let mut w = child_of(&third, Rest::AsInParent);
        w.put_page(4, &page(4), page_checksum(&page(4))).unwrap();
        assert_eq!(w.stored().raw, 1);
        w.commit(Value::Null).unwrap().verify(&mut |_, _| {}).unwrap();
    });
    // What a child has itself, it does not need from its parent.
    common::with_flip(&memory, PAGE_SIZE * 8 + 5, || {
        verify(&second).unwrap();
        verify(&third).unwrap();
        assert!(verify(&first).is_err());
    });
}
