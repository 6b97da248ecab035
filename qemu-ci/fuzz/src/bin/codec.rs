//! Coded pages as the shim gets them from the stub: a page or an error, never more than a page. What
//! an encoder makes of any page arrives as it was.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use livesave::codec::{CodecConfig, CodecError, Coding, Decoder, Encoded, Encoder, HeapPage, Page, lz4};

const SLOTS: u32 = 4;

fuzz_target!(|octets: &[u8]| {
    let mut input = Input(octets);
    match input.octet() % 3 {
        0 => decode(&mut input),
        1 => encode(&mut input),
        _ => drop(lz4::decompress_page(input.0, &mut [0; 4096])),
    }
});

/// All codecs, with as few blocks and bases as the input says.
fn config(input: &mut Input<'_>) -> CodecConfig {
    let [blocks, bases] = input.array();
    let (block_cache, delta_pages) = (u32::from(blocks % 9), u32::from(bases % 5));
    CodecConfig { lz4: true, delta: true, blocks: true, block_cache, delta_pages, ..CodecConfig::raw(SLOTS) }
}

/// A stream of messages: coding, length, bytes.
fn decode(input: &mut Input<'_>) {
    let mut decoder = Decoder::new(&config(input), HeapPage::take).expect("little memory");
    let mut page = [0; 4096];
    while !input.is_empty() {
        let coding = [Coding::Lz4, Coding::Delta, Coding::Blocks][usize::from(input.octet() % 3)];
        let len = usize::from(input.short() % 4100);
        let before = page;
        let base = |base: &mut Page| {
            *base = before;
            Ok::<_, CodecError>(())
        };
        if let Err(error) = decoder.decode(coding, input.take(len), base, &mut page) {
            assert!(error != CodecError::Broken);
            let again = decoder.decode(coding, &[0], |_| Ok::<_, CodecError>(()), &mut page);
            assert_eq!(again, Err(CodecError::Broken));
            return;
        }
    }
}

/// Pages of few slots, changed bit by bit.
fn encode(input: &mut Input<'_>) {
    let config = config(input);
    let mut encoder = Encoder::<_>::new(config, HeapPage::take).expect("little memory");
    let mut decoder = Decoder::new(&config, HeapPage::take).expect("little memory");
    let mut pages = [[0; 4096]; SLOTS as usize];
    let mut image = pages;
    let mut out = [0; 4096];
    while !input.is_empty() {
        let slot = usize::from(input.octet()) % pages.len();
        let (at, len) = (usize::from(input.short()) % 4096, usize::from(input.octet()));
        let page = &mut pages[slot];
        for (byte, new) in page[at..].iter_mut().zip(input.take(len).iter().cycle().take(len * 16)) {
            *byte = *new;
        }
        if input.octet() == 0 {
            // A block, from one page to another.
            let block = pages[slot][..1024].to_vec();
            pages[(slot + 1) % pages.len()][2048..3072].copy_from_slice(&block);
        }
        let mine = &mut image[slot];
        match encoder.encode(slot as u32, &pages[slot], &mut out, || 0) {
            Encoded::Zero => mine.fill(0),
            Encoded::Raw => *mine = pages[slot],
            Encoded::Coded(coding, len) => {
                assert!(len <= 4096);
                let before = *mine;
                let base = |base: &mut Page| {
                    *base = before;
                    Ok::<_, CodecError>(())
                };
                decoder.decode(coding, &out[..len], base, mine).expect("what was encoded");
            }
        }
        assert!(*mine == pages[slot]);
    }
}
