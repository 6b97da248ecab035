//! Nothing that a guest may write panics, and nothing is written beyond what was said.

use proptest::prelude::*;
use violin::segment::{MAX_SEGMENTS, Segments, TOO_BIG_LEN, complete_checksum, too_big};

use crate::build::{TCP, UDP, around};

/// Hands over `frame` everywhere; what comes out must be sane.
fn survive(frame: &[u8], size: u16, max: usize, mtu: u16) {
    for v6 in [false, true] {
        let Ok(mut segments) = Segments::new(frame, size, v6, max) else { continue };
        let mut out = vec![0; max];
        let mut count = 0;
        while let Some(len) = segments.next_into(&mut out) {
            assert!(len <= max);
            count += 1;
        }
        assert_eq!(count, segments.count());
        assert!(count <= MAX_SEGMENTS);
    }
    let mut out = [0; TOO_BIG_LEN];
    assert!(too_big(frame, mtu, &mut out).is_none_or(|len| len <= TOO_BIG_LEN));
    let mut completed = frame.to_vec();
    if complete_checksum(&mut completed).is_err() {
        assert_eq!(completed, frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_octets_do_no_harm(
        frame in proptest::collection::vec(any::<u8>(), 0..400),
        (size, max, mtu) in (any::<u16>(), 0..2000usize, any::<u16>()),
    ) {
        survive(&frame, size, max, mtu);
    }

    #[test]
    fn random_octets_in_and_behind_good_headers_do_no_harm(
        around in around(),
        tcp in any::<bool>(),
        transport in proptest::collection::vec(any::<u8>(), 0..400),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0..40usize,
        (size, max, mtu) in (any::<u16>(), 0..600usize, 0..600u16),
    ) {
        let mut frame = around.frame(if tcp { TCP } else { UDP }, &transport);
        for (at, octet) in changes {
            // In the headers, most of the time.
            let at = at.index(frame.len().min(80));
            frame[at] = octet;
        }
        frame.truncate(frame.len().saturating_sub(cut.saturating_sub(20)));
        survive(&frame, size, max, mtu);
    }
}
