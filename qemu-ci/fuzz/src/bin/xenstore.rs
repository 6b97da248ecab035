//! Whatever the xenstore daemon says, in whatever pieces: what comes of it is bounded, and does
//! not depend on the pieces.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use xen::hostile::StoreClient;
use xen::xenstore::{MAX_EVENTS, MAX_PAYLOAD};

/// Requests under way and watches set, of which the daemon may speak: their numbers are 1 to 8.
const EACH: u32 = 4;

fn client() -> (StoreClient, Vec<u32>, Vec<u32>) {
    let mut client = StoreClient::new();
    let requests = (0..EACH).filter_map(|_| client.read("a")).collect();
    let watches = (0..EACH).filter_map(|_| client.watch()).collect();
    (client, requests, watches)
}

fuzz_target!(|octets: &[u8]| {
    let mut input = Input(octets);
    let piece = usize::from(input.octet()).max(1);
    let said = input.0;
    let (mut whole, requests, watches) = client();
    let (mut parts, ..) = client();
    whole.input(said);
    said.chunks(piece).for_each(|part| parts.input(part));
    for &request in &requests {
        let answer = whole.answer(request);
        assert!(!matches!(&answer, Some(Ok(value)) if value.len() > MAX_PAYLOAD));
        assert_eq!(answer, parts.answer(request));
    }
    for &watch in &watches {
        for count in 0.. {
            let event = whole.event(watch);
            assert_eq!(event, parts.event(watch));
            let Some(Ok(path)) = event else { break };
            assert!(count < MAX_EVENTS && path.len() <= MAX_PAYLOAD);
        }
    }
});
