//! Ranges of addresses, and small ordered sets of them.
//!
//! Plain arithmetic on `u64`: nothing here touches memory, panics or overflows.

use core::fmt;
use heapless::Vec;

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// How many separate ranges a [`SpanSet`] holds.
pub const MAX_SPANS: usize = 192;

/// The addresses from `start` up to, not including, `end`. Empty when `end <= start`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First address.
    pub start: u64,
    /// First address after the range.
    pub end: u64,
}

impl Span {
    /// From `start` up to, not including, `end`.
    pub const fn new(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    /// `size` bytes from `start`; cut at the end of the address space.
    pub const fn sized(start: u64, size: u64) -> Span {
        Span::new(start, start.saturating_add(size))
    }

    /// Length in bytes.
    pub const fn size(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// True when no address is in it.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// True when `address` is in it.
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// What both have in common (perhaps empty).
    pub fn overlap(&self, other: Span) -> Span {
        Span::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The whole pages inside it.
    pub fn pages_inside(&self) -> Span {
        let start = self.start.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        Span::new(start, self.end & !(PAGE - 1))
    }

    /// The pages that it touches; cut at the end of the address space.
    pub fn pages_touched(&self) -> Span {
        if self.is_empty() {
            return Span::default();
        }
        let end = self.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        Span::new(self.start & !(PAGE - 1), end)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

/// A set of addresses, kept as at most [`MAX_SPANS`] ranges in rising order that neither overlap
/// nor touch.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct SpanSet(Vec<Span, MAX_SPANS>);

/// The set would need more than [`MAX_SPANS`] ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySpans;

impl SpanSet {
    /// The empty set.
    pub const fn new() -> SpanSet {
        SpanSet(Vec::new())
    }

    /// The ranges in rising order.
    pub fn as_slice(&self) -> &[Span] {
        &self.0
    }

    /// The ranges in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().copied()
    }

    /// Sum of the sizes in bytes.
    pub fn size(&self) -> u64 {
        self.iter().fold(0, |sum, span| sum.saturating_add(span.size()))
    }

    /// The largest range; the lower one of equals; `None` when the set is empty.
    pub fn largest(&self) -> Option<Span> {
        self.iter().reduce(|best, span| if span.size() > best.size() { span } else { best })
    }

    /// Adds every address of `span`.
    pub fn add(&mut self, span: Span) -> Result<(), TooManySpans> {
        if span.is_empty() {
            return Ok(());
        }
        let mut merged = span;
        let mut result = Vec::new();
        let mut placed = false;
        for old in self.iter() {
            if old.end < merged.start {
                result.push(old).map_err(|_| TooManySpans)?;
            } else if old.start > merged.end {
                if !placed {
                    result.push(merged).map_err(|_| TooManySpans)?;
                    placed = true;
                }
                result.push(old).map_err(|_| TooManySpans)?;
            } else {
                merged = Span::new(old.start.min(merged.start), old.end.max(merged.end));
            }
        }
        if !placed {
            result.push(merged).map_err(|_| TooManySpans)?;
        }
        self.0 = result;
        Ok(())
    }

    /// Takes every address of `span` out.
    pub fn remove(&mut self, span: Span) -> Result<(), TooManySpans> {
        if span.is_empty() {
            return Ok(());
        }
        let mut result = Vec::new();
        for old in self.iter() {
            let before = Span::new(old.start, old.end.min(span.start));
            let after = Span::new(old.start.max(span.end), old.end);
            for rest in [before, after] {
                if !rest.is_empty() {
                    result.push(rest).map_err(|_| TooManySpans)?;
                }
            }
        }
        self.0 = result;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_inwards_or_outwards() {
        let span = Span::new(0x9fc01, 0x101001);
        assert_eq!(span.pages_inside(), Span::new(0xa0000, 0x101000));
        assert_eq!(span.pages_touched(), Span::new(0x9f000, 0x102000));
        assert!(Span::new(1, 2).pages_inside().is_empty());
        assert!(Span::new(5, 5).pages_touched().is_empty());
        assert!(!Span::new(u64::MAX - 1, u64::MAX).pages_touched().is_empty());
        assert!(Span::new(u64::MAX - 1, u64::MAX).pages_inside().is_empty());
    }

    #[test]
    fn touching_ranges_become_one() {
        let mut set = SpanSet::new();
        set.add(Span::new(10, 20)).unwrap();
        set.add(Span::new(30, 40)).unwrap();
        set.add(Span::new(20, 30)).unwrap();
        assert_eq!(set.as_slice(), [Span::new(10, 40)]);
    }

    #[test]
    fn more_ranges_than_fit_are_refused_and_leave_the_set_alone() {
        let mut set = SpanSet::new();
        for i in 0..MAX_SPANS as u64 {
            set.add(Span::sized(i * 10, 5)).unwrap();
        }
        let before = set.clone();
        assert_eq!(set.add(Span::sized(1_000_000, 5)), Err(TooManySpans));
        assert_eq!(set.remove(Span::sized(2, 1)), Err(TooManySpans));
        assert_eq!(set, before);
    }

    #[test]
    fn any_order_of_adding_and_removing_agrees_with_a_bitmap() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..2000 {
            let mut set = SpanSet::new();
            let mut model = [false; 64];
            for _ in 0..12 {
                let span = Span::sized(next(60), next(8)).overlap(Span::new(0, 64));
                let adding = next(3) > 0;
                if adding {
                    set.add(span).unwrap()
                } else {
                    set.remove(span).unwrap()
                }
                for i in span.start..span.end {
                    model[i as usize] = adding;
                }
            }
            for (i, expected) in model.iter().enumerate() {
                assert_eq!(set.iter().any(|s| s.contains(i as u64)), *expected);
            }
            assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start));
            assert_eq!(set.size(), model.iter().filter(|x| **x).count() as u64);
        }
    }
}
