//! The wire holds what was said, and refuses what was not.

use handoff::*;
use proptest::prelude::*;

fn detail() -> Detail {
    Detail::try_from("x".repeat(200).as_str()).unwrap()
}

fn through<M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(message: M) {
    let mut buf = [0; HEADER_LEN + MAX_BODY];
    let bytes = encode(&message, 7, &mut buf).unwrap();
    let header = Header::parse(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
    assert_eq!(header.bulk, 7);
    assert_eq!(header.body, bytes.len() - HEADER_LEN);
    assert_eq!(decode::<M>(&bytes[HEADER_LEN..]).unwrap(), message);
}

#[test]
fn every_message_fits_and_comes_back_as_it_was() {
    let error = VerbError { kind: VerbErrorKind::Hypervisor, detail: detail() };
    let tally = Tally { pages: u64::MAX, bytes: u64::MAX };
    let report = Report {
        rounds: u16::MAX,
        stop: Stop::TooMuchSent,
        sent: u64::MAX,
        zero: u64::MAX,
        skipped: u64::MAX,
        kept: u32::MAX,
        overflow: u32::MAX,
        prepared: u32::MAX,
        prepared_us: u32::MAX,
        estimate_us: u32::MAX,
        fixed_us: u32::MAX,
        throttle: u8::MAX,
        copy_hypercalls: u64::MAX,
        copy_micros: u64::MAX,
        codec_micros: u64::MAX,
        raw: tally,
        lz4: tally,
        delta: tally,
        blocks: tally,
    };
    through(ToStub::Hello(Hello::new(u32::MAX)));
    let plan = Plan {
        prepare: u32::MAX,
        pool_pages: u32::MAX,
        copy_batch: u16::MAX,
        codecs: Codecs::Chosen { lz4: true, delta: true, blocks: true },
        fixed_us: u32::MAX,
        prepared_ns: u32::MAX,
        ..Plan::new(Policy::Downtime { target_us: u32::MAX, strict: true })
    };
    through(ToStub::Start { job: u32::MAX, guest: u16::MAX, pages: u32::MAX, plan });
    through(ToStub::Reply { job: 1, seq: 2, result: Err(error.clone()) });
    through(ToStub::Reply { job: 1, seq: 2, result: Ok(Outcome::Window { first_ref: u32::MAX }) });
    through(ToStub::Cancel { job: 3 });
    through(ToShim::Verb { job: 1, seq: 9, verb: Verb::Window { half: 1, skip_dirty: true, count: 4096 } });
    through(ToShim::Verb { job: 1, seq: 9, verb: Verb::Prepare { at: u32::MAX, count: 4096 } });
    through(ToShim::Pages { job: 1, count: 32 });
    through(ToShim::Round { job: 1, round: Round { micros: u64::MAX, ..Round::default() } });
    through(ToShim::Progress { job: 1, progress: Progress { sent: u64::MAX, ..Progress::default() } });
    through(ToShim::Ended { job: 1, result: Ok(report) });
    through(ToShim::Ended { job: 1, result: Err(Failure::Verb(error)) });
}

#[test]
fn a_hello_of_another_version_is_understood_and_does_not_fit() {
    let other = Hello { version: VERSION + 1, ..Hello::new(5) };
    through(ToShim::Hello(other));
    assert!(!other.fits());
    assert!(Hello::new(0).fits());
}

#[test]
fn bytes_after_a_message_are_refused() {
    let mut buf = [0; HEADER_LEN + MAX_BODY];
    let mut body = encode(&ToStub::Cancel { job: 3 }, 0, &mut buf).unwrap()[HEADER_LEN..].to_vec();
    body.push(0);
    assert_eq!(decode::<ToStub>(&body), Err(WireError::BadBody));
}

#[test]
fn headers_beyond_the_bounds_are_refused() {
    let head = |body: u16, reserved: u16, bulk: u32| {
        let mut bytes = [0; HEADER_LEN];
        bytes[..2].copy_from_slice(&body.to_le_bytes());
        bytes[2..4].copy_from_slice(&reserved.to_le_bytes());
        bytes[4..].copy_from_slice(&bulk.to_le_bytes());
        Header::parse(&bytes)
    };
    assert!(head(1, 0, MAX_BULK as u32).is_ok());
    assert!(head(0, 0, 0).is_err());
    assert!(head(1, 1, 0).is_err());
    assert!(head(MAX_BODY as u16 + 1, 0, 0).is_err());
    assert!(head(1, 0, MAX_BULK as u32 + 1).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<ToStub>(&body);
        let _ = decode::<ToShim>(&body);
    }

    #[test]
    fn page_entries_come_back(slot: u32, kind in 0usize..5, len in 1u16..4096, checksum: u64) {
        let coded = |coding| Content::Coded { coding, len };
        let content = [
            Content::Zero,
            Content::Raw,
            coded(Coding::Lz4),
            coded(Coding::Delta),
            coded(Coding::Blocks),
        ][kind];
        let entry = PageEntry { slot, content, checksum };
        prop_assert_eq!(PageEntry::parse(&entry.emit()), Ok(entry));
    }

    #[test]
    fn entries_of_impossible_lengths_are_refused(kind in 0u16..7, len: u16) {
        let mut bytes = [0; PAGE_ENTRY_LEN];
        bytes[4..6].copy_from_slice(&kind.to_le_bytes());
        bytes[6..8].copy_from_slice(&len.to_le_bytes());
        let possible = match kind {
            0 | 1 => len == 0,
            2 | 3 => (1..4096).contains(&len),
            4 => (1..=4096).contains(&len),
            _ => false,
        };
        prop_assert_eq!(PageEntry::parse(&bytes).is_ok(), possible);
    }
}
