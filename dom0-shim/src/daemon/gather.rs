//! From Xen's dirty bitmap, which is by frame number, to the stub's, which is by slot.

use store::Extents;

/// Picks the bits of populated frames, in the order of their slots. Frames beyond `by_pfn` count
/// as clean.
pub(super) fn gather(frames: &Extents, by_pfn: &[u64]) -> Vec<u64> {
    let mut by_slot = vec![0u64; frames.pages().div_ceil(64) as usize];
    let mut first = 0;
    for extent in frames.runs() {
        let mut done = 0;
        while done < extent.count {
            // As many bits at once as are left in both words.
            let (from, to) = (extent.pfn + done, first + done);
            let n = (64 - from % 64).min(64 - to % 64).min(extent.count - done);
            let mask = if n == 64 { u64::MAX } else { (1 << n) - 1 };
            let word = by_pfn.get((from / 64) as usize).copied().unwrap_or(0);
            if let Some(target) = by_slot.get_mut((to / 64) as usize) {
                *target |= (word >> (from % 64) & mask) << (to % 64);
            }
            done += n;
        }
        first += extent.count;
    }
    by_slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_moves_to_its_slot() {
        let frames = Extents::new([(0, 100), (130, 3), (1000, 70)].map(Into::into)).unwrap();
        for slot in 0..frames.pages() {
            let pfn = frames.pfn_of(slot).unwrap();
            let mut by_pfn = vec![0u64; 17];
            by_pfn[(pfn / 64) as usize] |= 1 << (pfn % 64);
            let mut want = vec![0u64; 3];
            want[(slot / 64) as usize] |= 1 << (slot % 64);
            assert_eq!(gather(&frames, &by_pfn), want, "slot {slot}");
        }
        let all = gather(&frames, &[u64::MAX; 17]);
        assert_eq!(all.iter().map(|w| w.count_ones()).sum::<u32>(), 173);
        assert_eq!(gather(&frames, &[]), vec![0; 3]);
    }
}
