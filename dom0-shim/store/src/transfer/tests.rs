//! Images that travel, whole or not.

use super::*;
use crate::writer::tests::ready;
use crate::{Damage, list};

/// An image of raw pages, records and zero pages, as a stream.
fn sent(dir: &Path) -> (Image, Vec<u8>) {
    let mut writer = ready(dir, None);
    writer.put_zero(3).unwrap();
    let image = writer.commit(serde_json::json!({"disks": ["xvda"]})).unwrap();
    let mut stream = Vec::new();
    send(image.path(), &mut stream).unwrap();
    (image, stream)
}

fn files(image: &Image) -> Vec<Vec<u8>> {
    ["manifest.json", "pages", "state", "memory"].map(|f| fs::read(image.path().join(f)).unwrap()).into()
}

/// What is left in a directory.
fn left(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn an_image_arrives_octet_by_octet_and_its_holes_take_no_room() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (image, stream) = sent(from.path());
    let memory = fs::metadata(image.path().join("memory")).unwrap().len();
    let rest = fs::read(image.path().join("manifest.json")).unwrap().len() + 8 * 16;
    assert!((stream.len() as u64) < memory + rest as u64, "{} of {memory}", stream.len());
    let received = receive(to.path(), &mut &stream[..]).unwrap();
    assert_eq!(files(&received), files(&image));
    assert_eq!(received.manifest().report["disks"][0], "xvda");
    assert_eq!(list(to.path()).unwrap().len(), 1);
    // Once more, under another name.
    let again = receive(to.path(), &mut &stream[..]).unwrap();
    assert_ne!(again.path(), received.path());
    assert_eq!(list(to.path()).unwrap().len(), 2);
}

#[test]
fn a_stream_that_is_cut_off_anywhere_leaves_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, stream) = sent(from.path());
    let some = (0..stream.len()).step_by(97).chain([stream.len() - 1, stream.len() - 12]);
    for end in some {
        let error = receive(to.path(), &mut &stream[..end]).unwrap_err();
        assert!(matches!(error, Error::Transfer { .. }), "{end}: {error}");
        assert_eq!(left(to.path()), 0, "{end}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_leaves_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, stream) = sent(from.path());
    for at in (0..stream.len()).step_by(61) {
        let mut bad = stream.clone();
        bad[at] ^= 0x10;
        let error = receive(to.path(), &mut &bad[..]).map(drop).unwrap_err();
        assert_eq!(left(to.path()), 0, "{at}: {error}");
    }
    // In a page, it is the page that is named.
    let mut bad = stream.clone();
    let at = stream.windows(PAGE_SIZE).position(|page| page == [2; PAGE_SIZE]).unwrap();
    bad[at + 7] ^= 1;
    let Err(Error::Damaged { first, .. }) = receive(to.path(), &mut &bad[..]) else { panic!() };
    assert!(matches!(first[..], [Damage::Page { .. }]), "{first:?}");
}

#[test]
fn pieces_out_of_place_and_more_than_pages_can_take_are_refused() {
    let piece = |at: u64, octets: &[u8]| {
        let mut piece = at.to_le_bytes().to_vec();
        piece.extend((octets.len() as u32).to_le_bytes());
        piece.extend(octets);
        piece
    };
    let page = [1; BLOCK];
    let length = 4 * BLOCK as u64;
    let twice = [piece(0, &page), piece(0, &page)].concat();
    let beyond = piece(length - 1, &page);
    let wraps = piece(u64::MAX - 5, &page);
    let most = [piece(0, &page), piece(BLOCK as u64, &page), piece(2 * BLOCK as u64, &page)].concat();
    let mut long = piece(0, &page);
    long[8..12].copy_from_slice(&(MAX_PIECE as u32 + 1).to_le_bytes());
    for (bad, why) in [(twice, "place"), (beyond, "place"), (wraps, "place"), (most, "take"), (long, "long")]
    {
        let dir = tempfile::tempdir().unwrap();
        let stream = [bad, piece(length, &[])].concat();
        let told = receive_memory(&dir.path().join("memory"), length, 2 * BLOCK as u64, &mut &stream[..]);
        let Err(Error::Transfer { why: told }) = told else { panic!("{told:?}") };
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn whoever_takes_the_folder_away_ends_it() {
    struct Away<'a>(&'a [u8], std::path::PathBuf);
    impl Read for Away<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.read(into)?;
            if self.0.len() < 2 * PAGE_SIZE {
                let _ = fs::remove_dir_all(&self.1);
            }
            Ok(n)
        }
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, stream) = sent(from.path());
    let folder = to.path().join("x");
    fs::create_dir(&folder).unwrap();
    let error = receive_into(&folder, &mut Away(&stream, folder.clone()), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
}

#[test]
fn one_that_builds_on_another_does_not_travel_alone() {
    let dir = tempfile::tempdir().unwrap();
    let parent = ready(dir.path(), None).commit(serde_json::Value::Null).unwrap();
    let child = ready(dir.path(), Some(parent.path())).commit(serde_json::Value::Null).unwrap();
    assert!(matches!(send(child.path(), &mut Vec::new()), Err(Error::NotAlone { .. })));
}

#[test]
fn what_has_no_room_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(room(dir.path(), 1 << 60), Err(Error::Full { .. })));
    room(dir.path(), 1).unwrap();
}

#[test]
fn what_a_killed_receiver_left_is_replaced_and_a_living_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.partial");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("half"), b"x").unwrap();
    let living = Partial::create(path.clone()).unwrap();
    assert_eq!(left(&path), 0);
    assert!(matches!(Partial::create(path.clone()), Err(Error::InUse { .. })));
    drop(living);
    assert_eq!(left(dir.path()), 0);
}
