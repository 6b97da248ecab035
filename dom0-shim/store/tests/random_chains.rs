//! Images on each other, written in every way, merged and removed at random: each is what it should be.

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Random, child_of, memory_dir, names, page, pages, record, soft_page, state, writer_of};
use serde_json::Value;
use store::{
    Error, Extent, Extents, Image, ImageWriter, PAGE_SIZE, Page, Rest, merge, page_checksum, remove,
};

/// What an image should be.
type Model = Vec<Page>;

/// Puts a page in one of the ways that there are.
fn put(w: &mut ImageWriter, slot: u64, page: &Page, how: u64) {
    let sum = page_checksum(page);
    let is_zero = page == &[0; PAGE_SIZE];
    match how {
        0 if is_zero => w.put_zero(slot).unwrap(),
        1 => {
            let offset = w.offset(slot).unwrap();
            w.memory_fd().write_all_at(page, offset).unwrap();
            w.put_data_at(slot, sum).unwrap();
        }
        2 => w.put_lz4(slot, &common::record(&soft(page)), page_checksum(&soft(page))).unwrap(),
        3 => {
            let record = record(&soft(page));
            // The room has something before and behind it that nobody will ask for.
            let offset = w.append(record.len() + 20).unwrap() + 7;
            w.memory_fd().write_all_at(&record, offset).unwrap();
            w.put_lz4_at(slot, offset, record.len(), page_checksum(&soft(page))).unwrap();
        }
        4 => {
            let offset = w.append(3 * PAGE_SIZE).unwrap() + PAGE_SIZE as u64;
            w.memory_fd().write_all_at(page, offset).unwrap();
            w.put_raw_at(slot, offset, sum).unwrap();
        }
        _ => w.put_page(slot, page, sum).unwrap(),
    }
}

/// The page itself if LZ4 makes it shorter, else one that it does.
fn soft(page: &Page) -> Page {
    match page[..8] == page[256..264] || page == &[0; PAGE_SIZE] {
        true => *page,
        false => soft_page(u64::from(page[9]) + 1),
    }
}

/// What [`put`] has put.
fn put_page(page: &Page, how: u64) -> Page {
    if matches!(how, 2 | 3) { soft(page) } else { *page }
}

fn random_page(random: &mut Random) -> Page {
    // Few enough that a page often comes back to what it was in a parent.
    match random.below(3) {
        0 => page(0),
        1 => page(1 + random.below(3)),
        _ => soft_page(1 + random.below(3)),
    }
}

fn assert_is(path: &Path, model: &Model, seed: u64) {
    let image = Image::open(path).unwrap();
    image.verify(&mut |_, _| {}).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(&pages(&image) == model, "seed {seed}: {}", path.display());
}

/// Images on each other in a random tree, with random merges and removals: each is what it should be
/// at any time.
fn random_chains(seed: u64) {
    let dir = memory_dir();
    let mut random = Random(seed + 1);
    let frames = Extents::new([(0, 3), (0xfeffc, 4)].map(Extent::from)).unwrap();
    let slots = frames.pages();
    let mut there: Vec<(PathBuf, Model)> = Vec::new();
    for _ in 0..6 {
        let parent = match random.below(6) {
            0 => None,
            _ => there.get(random.below(there.len().max(1) as u64) as usize),
        };
        let rest = if random.below(2) == 0 { Rest::Required } else { Rest::AsInParent };
        let (mut w, mut model) = match parent {
            None => (writer_of(dir.path(), frames.clone()), vec![page(0); slots as usize]),
            Some((path, model)) => (child_of(path, rest), model.clone()),
        };
        w.compress(random.below(2) == 0);
        w.set_state(state());
        let must = parent.is_none() || rest == Rest::Required;
        for slot in (0..slots).filter(|_| must) {
            put(&mut w, slot, &model[slot as usize], 5);
        }
        for _ in 0..random.below(12) {
            let (slot, page, how) = (random.below(slots), random_page(&mut random), random.below(7));
            put(&mut w, slot, &page, how);
            model[slot as usize] = put_page(&page, how);
        }
        let mut now = [1; PAGE_SIZE];
        for slot in 0..slots {
            w.read(slot, &mut now).unwrap();
            assert!(now == model[slot as usize], "seed {seed}: slot {slot} while it is written");
        }
        let path = w.commit(Value::Null).unwrap().path().to_path_buf();
        there.push((path, model));

        let at = random.below(there.len() as u64) as usize;
        match random.below(4) {
            0 => drop(merge(&there[at].0, &mut |_, _| {}).unwrap()),
            1 => match remove(&there[at].0) {
                Ok(()) => drop(there.remove(at)),
                Err(e) => assert!(matches!(e, Error::HasChildren { .. }), "seed {seed}: {e}"),
            },
            _ => {}
        }
    }
    for (path, model) in &there {
        assert_is(path, model, seed);
    }
    assert_eq!(names(dir.path()).len(), there.len(), "seed {seed}");
}

#[test]
fn a_thousand_random_chains_are_what_they_should_be() {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || (part * 250..part * 250 + 250).for_each(random_chains));
        }
    });
}
