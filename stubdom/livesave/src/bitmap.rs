//! A set of slots with a fixed upper bound, 64 to a word.
//!
//! Every index is checked: a slot out of range is simply not in the set.

use alloc::vec::Vec;

#[derive(Debug)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    /// Slots are below this.
    len: u32,
}

impl Bitmap {
    /// An empty set for slots below `len`, or `None` if memory is short.
    pub(crate) fn new(len: u32) -> Option<Self> {
        let count = len.div_ceil(64) as usize;
        let mut words = Vec::new();
        words.try_reserve_exact(count).ok()?;
        words.resize(count, 0);
        Some(Self { words, len })
    }

    /// Puts in every slot.
    pub(crate) fn fill(&mut self) {
        self.words.fill(u64::MAX);
        self.trim();
    }

    pub(crate) fn insert(&mut self, slot: u32) {
        if slot < self.len
            && let Some(word) = self.words.get_mut(slot as usize / 64)
        {
            *word |= 1 << (slot % 64);
        }
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(word) = self.words.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Moves everything in `other` over to this set.
    pub(crate) fn absorb(&mut self, other: &mut Bitmap) {
        for (mine, theirs) in self.words.iter_mut().zip(&mut other.words) {
            *mine |= core::mem::take(theirs);
        }
    }

    /// Becomes equal to `other`.
    pub(crate) fn copy_from(&mut self, other: &Bitmap) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine = *theirs;
        }
    }

    /// Moves the slots that are also in `before`, or in `hot` already, over to `hot`; `before`
    /// becomes what this set was. Returns how many are in `hot` now.
    pub(crate) fn split_hot(&mut self, before: &mut Bitmap, hot: &mut Bitmap) -> u32 {
        let mut count = 0;
        for ((mine, before), hot) in self.words.iter_mut().zip(&mut before.words).zip(&mut hot.words) {
            *hot |= *mine & *before;
            *before = *mine;
            *mine &= !*hot;
            count += hot.count_ones();
        }
        count
    }

    /// Appends the slots to `list` that are in none of `others`, in ascending order, until it
    /// holds `max`. Never grows `list` beyond its capacity.
    pub(crate) fn list(&self, others: &[&Bitmap], list: &mut Vec<u32>, max: usize) {
        let max = max.min(list.capacity());
        for (at, word) in self.words.iter().enumerate() {
            let others = others.iter().filter_map(|other| other.words.get(at)).fold(0, |all, w| all | w);
            let mut word = word & !others;
            while word != 0 {
                if list.len() >= max {
                    return;
                }
                list.push(at as u32 * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }

    /// Puts in the slots whose bits are set in `bytes`, bit 0 of byte 0 being slot
    /// `8 * first_byte`. Returns how many bits were set, or `None` (and changes nothing) if the
    /// bytes go beyond the last word. Bits beyond the last slot within that word are ignored.
    pub(crate) fn insert_bytes(&mut self, first_byte: usize, bytes: &[u8]) -> Option<u32> {
        let end = first_byte.checked_add(bytes.len())?;
        if end > self.words.len().checked_mul(8)? {
            return None;
        }
        let to_word_boundary = (first_byte.wrapping_neg() % 8).min(bytes.len());
        let (head, rest) = bytes.split_at(to_word_boundary);
        let (whole, tail) = rest.as_chunks::<8>();

        let mut set = self.insert_part(first_byte, head);
        let first_word = (first_byte + head.len()) / 8;
        for (word, chunk) in self.words.iter_mut().skip(first_word).zip(whole) {
            let bits = u64::from_le_bytes(*chunk);
            set += bits.count_ones();
            *word |= bits;
        }
        set += self.insert_part(end - tail.len(), tail);
        Some(set.saturating_sub(self.trim()))
    }

    /// Fewer than 8 bytes that lie in one word.
    fn insert_part(&mut self, first_byte: usize, bytes: &[u8]) -> u32 {
        let mut bits = 0;
        for (byte, place) in bytes.iter().zip(first_byte % 8..8) {
            bits |= u64::from(*byte) << (8 * place);
        }
        if let Some(word) = self.words.get_mut(first_byte / 8) {
            *word |= bits;
        }
        bits.count_ones()
    }

    /// Takes out bits beyond the last slot; returns how many there were.
    fn trim(&mut self) -> u32 {
        let beyond = match self.len % 64 {
            0 => 0,
            used => u64::MAX << used,
        };
        match self.words.last_mut() {
            Some(word) => {
                let stray = *word & beyond;
                *word &= !beyond;
                stray.count_ones()
            }
            None => 0,
        }
    }

    /// Takes the lowest slots out of the set, from word `*cursor` on, and appends them to
    /// `batch` in ascending order until it holds `max`. `*cursor` moves to the next word to look
    /// at; with a `stride` beyond 1, words in between are left as they are. Never grows `batch`
    /// beyond its capacity.
    pub(crate) fn take(&mut self, cursor: &mut usize, stride: usize, batch: &mut Vec<u32>, max: usize) {
        let max = max.min(batch.capacity());
        while let Some(word) = self.words.get_mut(*cursor) {
            let base = *cursor as u32 * 64;
            while *word != 0 {
                if batch.len() >= max {
                    return;
                }
                batch.push(base + word.trailing_zeros());
                *word &= *word - 1;
            }
            *cursor = cursor.saturating_add(stride.max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(set: &mut Bitmap) -> Vec<u32> {
        let mut all = Vec::with_capacity(1000);
        set.take(&mut 0, 1, &mut all, 1000);
        all
    }

    #[test]
    fn a_full_set_holds_exactly_the_slots_below_its_length() {
        for len in [1, 63, 64, 65, 200] {
            let mut set = Bitmap::new(len).unwrap();
            set.fill();
            assert_eq!(set.count(), len);
            assert_eq!(drain(&mut set), (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn slots_out_of_range_are_never_in_the_set() {
        let mut set = Bitmap::new(70).unwrap();
        set.insert(70);
        set.insert(u32::MAX);
        set.remove(u32::MAX);
        assert_eq!(set.count(), 0);
    }

    #[test]
    fn bytes_may_be_cut_anywhere() {
        let bytes: Vec<u8> = (0..40u32).map(|i| (i * 37 + 11) as u8).collect();
        let mut whole = Bitmap::new(320).unwrap();
        let set = whole.insert_bytes(0, &bytes).unwrap();
        assert_eq!(set, whole.count());
        let expected = drain(&mut whole);
        for slot in 0..320 {
            let bit = bytes[slot as usize / 8] >> (slot % 8) & 1;
            assert_eq!(bit == 1, expected.binary_search(&slot).is_ok());
        }
        for a in 0..=40 {
            for b in a..=40 {
                let mut cut = Bitmap::new(320).unwrap();
                let mut count = cut.insert_bytes(0, &bytes[..a]).unwrap();
                count += cut.insert_bytes(a, &bytes[a..b]).unwrap();
                count += cut.insert_bytes(b, &bytes[b..]).unwrap();
                assert_eq!((count, drain(&mut cut)), (set, expected.clone()));
            }
        }
    }

    #[test]
    fn padding_is_ignored_and_bytes_beyond_it_are_refused() {
        let mut set = Bitmap::new(9).unwrap();
        assert_eq!(set.insert_bytes(0, &[0, 0xff]), Some(1));
        assert_eq!(set.insert_bytes(2, &[0xff; 6]), Some(0));
        assert_eq!(set.insert_bytes(2, &[0xff; 7]), None);
        assert_eq!(set.insert_bytes(usize::MAX, &[1]), None);
        assert_eq!(drain(&mut set), [8]);
    }

    #[test]
    fn a_batch_stops_at_its_bound_and_goes_on_where_it_stopped() {
        let mut set = Bitmap::new(200).unwrap();
        for slot in [3, 64, 65, 199] {
            set.insert(slot);
        }
        let (mut cursor, mut batch) = (0, Vec::with_capacity(2));
        set.take(&mut cursor, 1, &mut batch, 100);
        assert_eq!(batch, [3, 64]);
        batch.clear();
        set.take(&mut cursor, 1, &mut batch, 2);
        assert_eq!(batch, [65, 199]);
        assert_eq!(set.count(), 0);
    }
}
