//! The header of datagrams between switches: what is understood is exactly what is written.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use violin::frame::Header;
use violin::id::{Epoch, NetworkId, SwitchId};
use violin::wire::{Body, Datagram, Flags, HEADER_LEN, OVERHEAD, Repr, VERSION};

fuzz_target!(|octets: &[u8]| {
    read(octets);
    write(&mut Input(octets));
    // The Ethernet header inside, too: it is measured within the octets that are there.
    if let Ok(header) = Header::parse(octets) {
        assert!((14..=22).contains(&header.header_len()) && header.header_len() <= octets.len());
        assert_eq!(header.dst.0[..], octets[..6]);
    } else {
        assert!(octets.len() < 14);
    }
});

/// What is understood, written again, is what it was.
fn read(octets: &[u8]) {
    let Ok(datagram) = Datagram::new_checked(octets) else { return };
    assert!(octets.len() >= OVERHEAD && octets[0] == VERSION);
    let Ok(repr) = Repr::parse(&datagram) else { return };
    let mut again = [0xee; HEADER_LEN];
    repr.emit(&mut again);
    assert_eq!(again, octets[..HEADER_LEN]);
}

/// What is written is understood to be what it was.
fn write(input: &mut Input<'_>) {
    let mut number = || u64::from_be_bytes(input.array());
    let (source, destination) = (SwitchId(number()), SwitchId(number()));
    let (key, counter, epoch) = (number() as u32, number(), Epoch(number() as u32));
    let flags = [Flags::NONE, Flags::CHECKSUM_BLANK, Flags::DATA_VALIDATED][number() as usize % 3];
    let body = match number() % 5 {
        0 => Body::Initiation,
        1 => Body::Response { key },
        2 => Body::Frame { key, counter, network: NetworkId(number() as u32), epoch, flags },
        3 => Body::Control { key, counter },
        _ => Body::Group { key, counter },
    };
    let repr = Repr { source, destination, body };
    let mut octets = [0xee; OVERHEAD];
    repr.emit(octets.first_chunk_mut().expect("longer than a header"));
    assert_eq!(Datagram::new_checked(&octets[..]).and_then(|datagram| Repr::parse(&datagram)), Ok(repr));
}
