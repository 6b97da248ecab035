//! Which guest frames a saver must store: a scan that asks few questions. Sans-I/O.
//!
//! An `xl save` looks at every frame up to the highest. A PVH guest's highest frame is near 2^20
//! however small the guest, and each question costs Xen a walk of its tables. Xen knows how many
//! pages the guest has, and RAM comes in few ranges: so the scan goes up from frame 0 while it
//! finds pages, then down from the top, and stops when all pages have been found. A guest that
//! does not fit the pattern gets the full scan.

use crate::memory::PageType;

/// Frames in a question.
const BATCH: u64 = crate::abi::domctl::PFINFO_BATCH as u64;

/// A run of guest frames that have contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First frame.
    pub pfn: u64,
    /// How many frames, at least 1.
    pub count: u64,
}

impl Extent {
    /// The frame after the last.
    pub fn end(&self) -> u64 {
        self.pfn.saturating_add(self.count)
    }
}

/// Frames in all extents.
pub fn total(extents: &[Extent]) -> u64 {
    extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.count))
}

/// Someone who knows the types of frames.
pub trait PageTypes {
    /// Why it could not tell.
    type Error;
    /// The types of these frames, in order: as many answers as questions.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    fn page_types(&mut self, pfns: &[u64]) -> Result<Vec<PageType>, Self::Error>;
}

/// All frames with contents from 0 to `max_gpfn`, ascending, in extents that do not touch.
/// `tot_pages` is the number of pages that Xen counts for the guest. Holes where a guest has
/// ballooned out, special pages that are counted but not stored, and pages counted but not in the
/// guest's map only make the scan longer, never its answer wrong.
///
/// # Errors
/// Those of the questions.
pub fn populated<T: PageTypes>(
    guest: &mut T,
    max_gpfn: u64,
    tot_pages: u64,
) -> Result<Vec<Extent>, T::Error> {
    // Batches are aligned, so the two directions meet without overlap.
    let batches = max_gpfn / BATCH + 1;
    let (mut low, mut high) = (Vec::new(), Vec::new());
    let mut found = 0u64;

    let mut bottom = 0;
    while bottom < batches && found < tot_pages {
        let seen = query(guest, bottom, max_gpfn, &mut low)?;
        bottom += 1;
        found += seen;
        if seen == 0 {
            break;
        }
    }
    // From the top: the special pages of a PVH guest, or the RAM above 4 GiB of a large one.
    let mut top = batches;
    while top > bottom && found < tot_pages {
        top -= 1;
        let mut batch = Vec::new();
        found += query(guest, top, max_gpfn, &mut batch)?;
        high.push(batch);
    }
    for batch in high.into_iter().rev() {
        for extent in batch {
            append(&mut low, extent);
        }
    }
    Ok(low)
}

/// Asks for one batch and appends what has contents; says how many of its frames have a page.
fn query<T: PageTypes>(
    guest: &mut T,
    batch: u64,
    max_gpfn: u64,
    extents: &mut Vec<Extent>,
) -> Result<u64, T::Error> {
    let first = batch * BATCH;
    let last = (first + BATCH - 1).min(max_gpfn);
    let pfns: Vec<u64> = (first..=last).collect();
    let types = guest.page_types(&pfns)?;
    let mut pages = 0;
    for (&pfn, &ty) in pfns.iter().zip(&types) {
        if ty != PageType::Hole {
            pages += 1;
        }
        if ty.has_data() {
            append(extents, Extent { pfn, count: 1 });
        }
    }
    Ok(pages)
}

/// Appends an extent that lies above all others, joined to the last if they touch.
fn append(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last_mut() {
        Some(last) if last.end() == extent.pfn => last.count += extent.count,
        _ => extents.push(extent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Model {
        ram: Vec<Extent>,
        broken: Vec<u64>,
        asked: usize,
    }

    impl Model {
        fn new(ram: &[(u64, u64)]) -> Model {
            let ram = ram.iter().map(|&(pfn, count)| Extent { pfn, count }).collect();
            Model { ram, broken: Vec::new(), asked: 0 }
        }
    }

    impl PageTypes for Model {
        type Error = std::convert::Infallible;

        fn page_types(&mut self, pfns: &[u64]) -> Result<Vec<PageType>, Self::Error> {
            assert!(pfns.len() <= 1024);
            self.asked += 1;
            let ty = |&pfn: &u64| {
                if self.broken.contains(&pfn) {
                    PageType::Broken
                } else if self.ram.iter().any(|e| e.pfn <= pfn && pfn < e.end()) {
                    PageType::Normal
                } else {
                    PageType::Hole
                }
            };
            Ok(pfns.iter().map(ty).collect())
        }
    }

    fn scan(model: &mut Model, max_gpfn: u64, tot: u64) -> Vec<Extent> {
        populated(model, max_gpfn, tot).unwrap()
    }

    #[test]
    fn a_pvh_guest_of_256_mib_takes_a_query_per_4_mib_and_a_few() {
        let mut guest = Model::new(&[(0, 65536), (0xfeff8, 6)]);
        let ram = guest.ram.clone();
        assert_eq!(scan(&mut guest, 0xfeffd, 65542), ram);
        assert_eq!(guest.asked, 64 + 1 + 1);
    }

    #[test]
    fn ram_above_4_gib_is_found() {
        let mut guest = Model::new(&[(0, 0xf0000), (0xfeff8, 6), (0x10_0000, 300_000)]);
        let ram = guest.ram.clone();
        assert_eq!(scan(&mut guest, 0x10_0000 + 299_999, 0xf0000 + 6 + 300_000), ram);
    }

    #[test]
    fn a_ballooned_guest_with_a_hole_in_the_middle_is_scanned_to_the_end() {
        let mut guest = Model::new(&[(0, 5000), (20_000, 5000), (0xfeff8, 6)]);
        let ram = guest.ram.clone();
        assert_eq!(scan(&mut guest, 0xfeffd, 10_006), ram);
    }

    #[test]
    fn a_guest_without_frame_0_is_found() {
        let mut guest = Model::new(&[(4096, 5000)]);
        let ram = guest.ram.clone();
        assert_eq!(scan(&mut guest, 9095, 5000), ram);
    }

    #[test]
    fn pages_that_xen_counts_but_does_not_show_cost_a_full_scan_only() {
        let mut guest = Model::new(&[(0, 3000), (0xfeff8, 6)]);
        let ram = guest.ram.clone();
        assert_eq!(scan(&mut guest, 0xfeffd, 4000), ram);
        assert_eq!(guest.asked as u64, 0xfeffd / 1024 + 1);
    }

    #[test]
    fn broken_pages_count_but_are_not_stored() {
        let mut guest = Model::new(&[(0, 2048)]);
        guest.broken = vec![1000];
        let found = scan(&mut guest, 0xfffff, 2048);
        assert_eq!(found, [Extent { pfn: 0, count: 1000 }, Extent { pfn: 1001, count: 1047 }]);
        assert_eq!(total(&found), 2047);
        assert_eq!(guest.asked, 2);
    }

    #[test]
    fn extents_across_the_meeting_point_are_joined() {
        // The first batch is empty, so everything is found from the top.
        let mut guest = Model::new(&[(1024, 4096)]);
        let ram = guest.ram.clone();
        assert_eq!(scan(&mut guest, 6000, 9999), ram);
    }

    #[test]
    fn an_empty_guest_has_no_extents() {
        assert_eq!(scan(&mut Model::new(&[]), 0, 0), []);
        assert_eq!(scan(&mut Model::new(&[]), 5, 1), []);
    }
}
