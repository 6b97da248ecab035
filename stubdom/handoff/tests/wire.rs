//! The wire holds what was said, and refuses what was not.

use handoff::*;
use proptest::prelude::*;

fn detail() -> Detail {
    Detail::try_from("x".repeat(200).as_str()).unwrap()
}

fn why() -> Why {
    "x".repeat(WHY_MAX).as_str().try_into().unwrap()
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

#[test]
fn every_message_of_groups_fits_and_comes_back_as_it_was() {
    let group = GroupId { network: u32::MAX, epoch: u32::MAX, initiator: u64::MAX };
    let name = GroupName::try_from("n".repeat(64).as_str()).unwrap();
    let options = heapless::Vec::from_slice(&[0xff; 512]).unwrap();
    let jobs = (0..MAX_GROUP_JOBS as u32).map(|job| u32::MAX - job).collect();
    let tally = ChannelTally {
        recorded: u64::MAX,
        missed: u64::MAX,
        lost: u64::MAX,
        unknown: u16::MAX,
        held: u64::MAX,
        dropped: u64::MAX,
    };
    let times = CutTimes { ready_us: u64::MAX, asked_us: 1, cut_us: 2, resumed_us: 3 };
    let (mode, first, total) = (GroupMode::Classic, u32::MAX, u32::MAX);
    for order in [
        GroupOrder::Begin { network: 7, mode, name: name.clone(), options: options.clone() },
        GroupOrder::Prepared { group, jobs },
        GroupOrder::Stored { group },
        GroupOrder::Committed { group },
        GroupOrder::Failed { group, why: why() },
        GroupOrder::Cancel { group },
        GroupOrder::Ask { group, committed: true },
        GroupOrder::Decision { group, committed: true, first, total },
        GroupOrder::Raise { network: u32::MAX, epoch: u32::MAX },
        GroupOrder::Inject { network: 7, count: u16::MAX },
    ] {
        through(ToStub::Group(order));
    }
    for news in [
        GroupNews::Begun { group },
        GroupNews::Refused { group: Some(group), why: why() },
        GroupNews::Prepare { group, mode, name, options },
        GroupNews::Cut { group, job: u32::MAX, times },
        GroupNews::Channel { group, count: u16::MAX },
        GroupNews::Drained { group, tally },
        GroupNews::Manifest { group, first, total },
        GroupNews::Commit { group, first, total },
        GroupNews::Abort { group, why: why() },
        GroupNews::Question { group },
        GroupNews::Ended { group },
    ] {
        through(ToShim::Group(news));
    }
}

#[test]
fn a_channel_record_comes_back_and_a_cut_or_senseless_one_does_not() {
    let record = ChannelRecord {
        time_us: 1 << 40,
        network: 7,
        mac: [0, 0x16, 0x3e, 1, 2, 3],
        checksum: 2,
        gso: 6,
        gso_size: 1348,
        len: 5,
    };
    let mut bulk = record.emit().to_vec();
    bulk.extend(b"framerest");
    let (back, octets, rest) = ChannelRecord::take(&bulk).unwrap();
    assert_eq!((back, octets, rest), (record, &b"frame"[..], &b"rest"[..]));
    for len in 0..CHANNEL_RECORD_LEN + 5 {
        assert_eq!(ChannelRecord::take(&bulk[..len]), Err(WireError::BadBulk), "{len} octets");
    }
    for (at, wrong) in [(18, 3), (19, 5), (22, 1), (26, 1), (28, 1)] {
        let mut bulk = bulk.clone();
        bulk[at] = wrong;
        assert_eq!(ChannelRecord::take(&bulk), Err(WireError::BadBulk), "octet {at}");
    }
}
