//! Whatever comes to be decoded: a page or a clear error, never a panic, never more than a page.

use livesave::PAGE_SIZE;
use livesave::codec::{CodecConfig, CodecError, Coding, Decoder, Encoded, Encoder, HeapPage, Page, lz4};
use proptest::prelude::*;

use crate::guest::Guest;

const CONFIG: CodecConfig = CodecConfig {
    pages: 16,
    lz4: true,
    delta: true,
    blocks: true,
    auto: false,
    block_cache: 10,
    delta_pages: 16,
};

const CODINGS: [Coding; 3] = [Coding::Lz4, Coding::Delta, Coding::Blocks];

/// A decoder that has seen some pages, and messages that it could see next.
fn stream(seed: u64) -> (Decoder<HeapPage>, Vec<(Coding, Vec<u8>)>) {
    let mut guest = Guest::new(16, seed);
    let lz4_only = CodecConfig { blocks: false, delta: false, ..CONFIG };
    let mut encoders = [CONFIG, lz4_only].map(|config| Encoder::<_>::new(config, HeapPage::take).unwrap());
    let mut decoder = Decoder::new(&CONFIG, HeapPage::take).unwrap();
    let mut messages = Vec::new();
    let mut out = [0; PAGE_SIZE];
    for round in 0..2 {
        for slot in 0..16 {
            let page = guest.pages[slot];
            for encoder in &mut encoders {
                let Encoded::Coded(coding, len) = encoder.encode(slot as u32, &page, &mut out, || 0) else {
                    continue;
                };
                if round == 0 && coding != Coding::Lz4 {
                    decode(&mut decoder, coding, &out[..len]).unwrap();
                }
                messages.push((coding, out[..len].to_vec()));
            }
            guest.write(slot);
        }
    }
    (decoder, messages)
}

/// Decodes between two guards that must stay.
fn decode(decoder: &mut Decoder<HeapPage>, coding: Coding, bytes: &[u8]) -> Result<Page, CodecError> {
    let mut guarded = [[0xee; PAGE_SIZE]; 3];
    let base = |base: &mut Page| {
        base.fill(0x55);
        Ok(())
    };
    let result = decoder.decode(coding, bytes, base, &mut guarded[1]);
    assert!(guarded[0] == [0xee; PAGE_SIZE] && guarded[2] == [0xee; PAGE_SIZE]);
    result.map(|()| guarded[1])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn random_bytes_give_a_page_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..5000), kind in 0..3usize) {
        let mut decoder = Decoder::new(&CONFIG, HeapPage::take).unwrap();
        let result = decode(&mut decoder, CODINGS[kind], &bytes);
        if bytes.is_empty() || bytes.len() > PAGE_SIZE {
            prop_assert_eq!(result, Err(CodecError::Length(bytes.len())));
        } else if let Err(error) = result {
            let text = error.to_string();
            prop_assert!(text.starts_with("a coded page can't be decoded: ") && text.contains("anew"));
            // Then nothing until a new beginning.
            prop_assert_eq!(decode(&mut decoder, Coding::Blocks, &[0]), Err(CodecError::Broken));
            decoder.reset();
            prop_assert_eq!(decode(&mut decoder, Coding::Blocks, &[0]), Ok([0; PAGE_SIZE]));
        }
    }

    #[test]
    fn mutated_messages_give_a_page_or_an_error(
        seed in 0..50u64,
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        other in proptest::option::of(0..3usize),
    ) {
        let (mut decoder, messages) = stream(seed);
        let (mut coding, mut bytes) = which.get(&messages).clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Some(other) = other {
            coding = CODINGS[other];
        }
        let _ = decode(&mut decoder, coding, &bytes);
    }

    #[test]
    fn records_of_an_image_give_a_page_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let mut page = [0; PAGE_SIZE];
        let result = lz4::decompress_page(&bytes, &mut page);
        prop_assert!(matches!(result, Ok(()) | Err(CodecError::Lz4)));
    }
}

#[test]
fn what_decompresses_beyond_a_page_is_refused() {
    // A match of a million bytes: literal 0, offset 1, length by 255s.
    let bomb = [&[0x1f, 0, 1, 0][..], &[255; 4000], &[0]].concat();
    let mut decoder = Decoder::new(&CONFIG, HeapPage::take).unwrap();
    assert_eq!(decode(&mut decoder, Coding::Lz4, &bomb), Err(CodecError::Lz4));
    // The same as packed runs of a delta, and as packed blocks.
    for (coding, head) in [(Coding::Delta, 2), (Coding::Blocks, 0xff)] {
        decoder.reset();
        assert_eq!(decode(&mut decoder, coding, &[&[head], &bomb[..4000]].concat()), Err(CodecError::Lz4));
    }
}

#[test]
fn what_decompresses_to_less_than_it_must_is_refused() {
    // Ten literals.
    let short = [&[0xa0][..], b"0123456789"].concat();
    let mut decoder = Decoder::new(&CONFIG, HeapPage::take).unwrap();
    assert_eq!(decode(&mut decoder, Coding::Lz4, &short), Err(CodecError::Lz4));
    decoder.reset();
    let blocks = [&[0b11][..], &short].concat();
    assert_eq!(decode(&mut decoder, Coding::Blocks, &blocks), Err(CodecError::Lz4));
    assert_eq!(lz4::decompress_page(&short, &mut [0; PAGE_SIZE]), Err(CodecError::Lz4));
}

#[test]
fn runs_beyond_the_page_and_unknown_blocks_and_flags_are_refused() {
    let refused = |coding, bytes: &[u8], error| {
        let mut decoder = Decoder::new(&CONFIG, HeapPage::take).unwrap();
        assert_eq!(decode(&mut decoder, coding, bytes), Err(error), "{bytes:?}");
    };
    // 4095 equal bytes, then two changed ones; half a varint; a run of nothing; too few bytes.
    refused(Coding::Delta, &[0, 0xff, 0x1f, 2, 1, 1], CodecError::Delta);
    refused(Coding::Delta, &[0, 0x80], CodecError::Delta);
    refused(Coding::Delta, &[0, 1, 0], CodecError::Delta);
    refused(Coding::Delta, &[0, 1, 3, 1, 1], CodecError::Delta);
    refused(Coding::Delta, &[4], CodecError::Delta);
    refused(Coding::Blocks, &[1, 0, 0, 0, 0], CodecError::UnknownBlock(0));
    refused(Coding::Blocks, &[1, 0, 0, 0], CodecError::Blocks);
    refused(Coding::Blocks, &[0, 0], CodecError::Blocks);
    refused(Coding::Blocks, &[2, 1, 2, 3], CodecError::Blocks);
    refused(Coding::Blocks, &[3], CodecError::Blocks);
}

#[test]
fn what_the_receiver_says_of_its_base_is_passed_on() {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Codec(CodecError),
        Disk,
    }
    impl From<CodecError> for Mine {
        fn from(error: CodecError) -> Self {
            Self::Codec(error)
        }
    }
    let mut decoder = Decoder::new(&CONFIG, HeapPage::take).unwrap();
    let mut decode = || decoder.decode(Coding::Delta, &[0], |_| Err(Mine::Disk), &mut [0; PAGE_SIZE]);
    assert_eq!(decode(), Err(Mine::Disk));
    assert_eq!(decode(), Err(Mine::Codec(CodecError::Broken)));
}
