//! Lists of points, in pages that fit in a message.

use alloc::vec::Vec;

use crate::Point;
use crate::message::{PAGE, PAGES_MAX, Points};

/// Page `page` of a list; none beyond its end. An empty list is one empty page.
pub(crate) fn page(list: &[Point], page: u8) -> Option<Points> {
    let pages = u8::try_from(list.len().div_ceil(PAGE).clamp(1, PAGES_MAX)).ok()?;
    if page >= pages {
        return None;
    }
    let rest = list.get(usize::from(page).checked_mul(PAGE)?..)?;
    let points = heapless::Vec::from_slice(rest.get(..rest.len().min(PAGE))?).ok()?;
    Some(Points { page, pages, points })
}

/// A list that comes page by page, in any order, maybe twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    pages: u8,
    seen: u8,
    points: Vec<Point>,
}

impl Gathered {
    /// Takes a page in; a page of another list is ignored.
    pub(crate) fn take(&mut self, page: &Points) {
        if self.pages == 0 {
            self.pages = page.pages;
        }
        let bit = 1_u8.checked_shl(u32::from(page.page)).unwrap_or(0);
        if self.pages == page.pages && self.seen & bit == 0 {
            self.seen |= bit;
            self.points.extend_from_slice(&page.points);
        }
    }

    /// Whether all pages came.
    pub(crate) fn is_complete(&self) -> bool {
        self.pages > 0 && self.seen.count_ones() == u32::from(self.pages)
    }

    /// What came.
    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }
}

/// Which pages the other has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard(u8);

impl Heard {
    /// It has this one.
    pub(crate) fn take(&mut self, page: u8) {
        self.0 |= 1_u8.checked_shl(u32::from(page)).unwrap_or(0);
    }

    /// The pages of this list that it does not have yet.
    pub(crate) fn missing(self, list: &[Point]) -> impl Iterator<Item = Points> {
        (0_u8..8).filter(move |page| self.0 & (1 << page) == 0).filter_map(move |number| page(list, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeqPoint;

    #[test]
    fn a_list_comes_together_from_its_pages_in_any_order_and_twice() {
        for len in [0_usize, 1, 39, 40, 41, 255] {
            let point = |id| (id as u64, SeqPoint { key: 1, counter: id as u64 });
            let list: Vec<Point> = (0..len).map(point).collect();
            let mut heard = Heard::default();
            let mut gathered = Gathered::default();
            for turn in 0..3 {
                let mut pages: Vec<_> = heard.missing(&list).collect();
                if turn == 0 {
                    pages.reverse();
                    pages.truncate(3);
                }
                for page in pages.iter().chain(&pages) {
                    gathered.take(page);
                }
                if turn == 1 {
                    assert!(gathered.is_complete(), "{len} points");
                    (0..8).for_each(|page| heard.take(page));
                }
            }
            assert!(heard.missing(&list).next().is_none());
            let mut points = gathered.points().to_vec();
            points.sort_unstable_by_key(|(id, _)| *id);
            assert_eq!(points, list);
        }
    }
}
