//! Large and blank frames of guests: the segments are the frame, no more and no less; a checksum
//! that was filled in stays; and no answer is ever answered.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use violin::segment::{MAX_SEGMENTS, Segments, TOO_BIG_LEN, complete_checksum, too_big};

fuzz_target!(|octets: &[u8]| {
    let mut input = Input(octets);
    let (size, max, mtu) = (input.short(), usize::from(input.short()), input.short());
    let what = input.octet();
    let frame = input.0;
    segments(frame, size, what & 1 != 0, max);
    checksum(frame);
    answer(frame, mtu);
});

fn segments(frame: &[u8], size: u16, v6: bool, max: usize) {
    let Ok(mut segments) = Segments::new(frame, size, v6, max) else { return };
    let count = segments.count();
    assert!((1..=MAX_SEGMENTS).contains(&count));
    let mut all = Vec::new();
    let mut out = vec![0; max];
    while let Some(len) = segments.next_into(&mut out) {
        assert!(len <= max);
        all.push(out[..len].to_vec());
    }
    assert_eq!(all.len(), count, "segments that were announced");
    if count == 1 {
        assert_eq!(all[0].len(), frame.len());
        return;
    }
    // Each has the same headers in front of its part of the payload.
    let sum: usize = all.iter().map(Vec::len).sum();
    assert_eq!((sum - frame.len()) % (count - 1), 0);
    let header = (sum - frame.len()) / (count - 1);
    let payload: Vec<u8> = all.iter().flat_map(|segment| &segment[header..]).copied().collect();
    assert_eq!(payload, frame[header..]);
    for mut segment in all {
        assert!(segment.len() - header <= usize::from(size));
        assert_eq!(segment[..12], frame[..12], "addresses");
        // A segment is a frame that the next one understands, and needs no cutting.
        assert_eq!(Segments::new(&segment, size, v6, max).map(|segments| segments.count()), Ok(1));
        assert_eq!(complete_checksum(&mut segment), Ok(()));
    }
}

fn checksum(frame: &[u8]) {
    let mut once = frame.to_vec();
    let done = complete_checksum(&mut once);
    let changed = frame.iter().zip(&once).filter(|(a, b)| a != b).count();
    assert!(changed <= if done.is_ok() { 2 } else { 0 });
    let mut twice = once.clone();
    assert_eq!(complete_checksum(&mut twice), done);
    assert_eq!(once, twice);
}

fn answer(frame: &[u8], mtu: u16) {
    let mut out = [0xee; TOO_BIG_LEN + 1];
    let Some(len) = too_big(frame, mtu, &mut out) else { return };
    assert!(len <= TOO_BIG_LEN && out[TOO_BIG_LEN] == 0xee);
    let answer = &out[..len];
    assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]));
    assert!(frame[6] & 1 == 0 && frame[0] & 1 == 0, "an answer to or from a group");
    for mtu in [0, 68, 100, 1280, mtu] {
        assert_eq!(too_big(answer, mtu, &mut [0; TOO_BIG_LEN]), None, "an answer to an answer");
    }
}
