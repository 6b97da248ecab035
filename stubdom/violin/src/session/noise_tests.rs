//! The handshake against published vectors and against another implementation.

use std::vec::Vec;

use super::*;

/// From the vectors of cacophony, which other implementations test themselves with too:
/// `Noise_IK_25519_ChaChaPoly_BLAKE2s`.
mod vector {
    pub(super) const PROLOGUE: &str = "4a6f686e2047616c74";
    pub(super) const INIT_STATIC: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
    pub(super) const INIT_EPHEMERAL: &str =
        "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
    pub(super) const INIT_REMOTE: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
    pub(super) const RESP_STATIC: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
    pub(super) const RESP_EPHEMERAL: &str =
        "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
    pub(super) const TRANSCRIPT: &str = "48f3cb8bc9319da4ba1e9933991b1c4ed4034f1f126a76d3a1fbcfd7f94248d4";
    /// Payload and cipher text of each message, by turns from the initiator and the responder.
    pub(super) const MESSAGES: [(&str, &str); 4] = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d06a1b23b71670e32e76c28239a7ca4ac8f784de7e44c1adbfc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4eca690f6d896f543be02c996ab2b86b76",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac9655ef76833bc7e5561f42e691ac8404efd6fbd6308b6a27c",
        ),
        ("462e20412e20486179656b", "2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b"),
        ("4361726c204d656e676572", "d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3"),
    ];
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn key(text: &str) -> [u8; KEY_LEN] {
    hex(text).try_into().unwrap()
}

/// A buffer for a message with this payload, which goes before the tag at the end.
fn buffer(overhead: usize, payload: &[u8]) -> Vec<u8> {
    let mut message = std::vec![0; overhead - TAG_LEN];
    message.extend(payload);
    message.extend([0; TAG_LEN]);
    message
}

fn seal(key: &[u8; KEY_LEN], payload: &[u8]) -> Vec<u8> {
    let mut text = payload.to_vec();
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag = cipher.encrypt_inout_detached(&nonce(0).into(), &[], text.as_mut_slice().into()).unwrap();
    text.extend(tag);
    text
}

#[test]
fn the_published_vector_is_made_octet_by_octet() {
    let (own, responder) = (key(vector::INIT_STATIC).into(), key(vector::RESP_STATIC).into());
    let [first, second, third, fourth] = vector::MESSAGES;
    let prologue = hex(vector::PROLOGUE);

    let mut message = buffer(INITIATION_OVERHEAD, &hex(first.0));
    let ephemeral = key(vector::INIT_EPHEMERAL).into();
    let initiator =
        Initiator::new(&own, ephemeral, &key(vector::INIT_REMOTE), &prologue, &mut message).unwrap();
    assert_eq!(message, hex(first.1));

    let expected = PublicKey::from(&own).to_bytes();
    let (payload, answering) = Responder::new(&responder, &expected, &prologue, &mut message).unwrap();
    assert_eq!(payload, hex(first.0));
    let mut message = buffer(RESPONSE_OVERHEAD, &hex(second.0));
    let theirs = answering.respond(&key(vector::RESP_EPHEMERAL).into(), &mut message).unwrap();
    assert_eq!(message, hex(second.1));

    let (payload, ours) = initiator.finish(&own, &mut message).unwrap();
    assert_eq!(payload, hex(second.0));
    for keys in [&ours, &theirs] {
        assert_eq!(keys.transcript, key(vector::TRANSCRIPT));
        assert_eq!(seal(&keys.to_responder, &hex(third.0)), hex(third.1));
        assert_eq!(seal(&keys.to_initiator, &hex(fourth.0)), hex(fourth.1));
    }
}

#[test]
fn another_implementation_understands_both_our_messages_and_we_its() {
    let secrets = [[0x11; 32], [0x22; 32]];
    let [a, b] = secrets.map(StaticSecret::from);
    let [a_public, b_public] = [&a, &b].map(|secret| PublicKey::from(secret).to_bytes());
    fn snow(own: &[u8; 32]) -> snow::Builder<'_> {
        let name = "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
        snow::Builder::new(name).local_private_key(own).unwrap().prologue(b"both").unwrap()
    }

    // We begin.
    let mut message = buffer(INITIATION_OVERHEAD, b"first");
    let ours = Initiator::new(&a, [0x33; 32].into(), &b_public, b"both", &mut message).unwrap();
    let mut theirs = snow(&secrets[1]).build_responder().unwrap();
    let mut text = [0; 256];
    let len = theirs.read_message(&message, &mut text).unwrap();
    assert_eq!(&text[..len], b"first");
    assert_eq!(theirs.get_remote_static(), Some(&a_public[..]));
    let len = theirs.write_message(b"second", &mut text).unwrap();
    let (payload, keys) = ours.finish(&a, &mut text[..len]).unwrap();
    assert_eq!(payload, b"second");
    let mut theirs = theirs.into_transport_mode().unwrap();
    let len = theirs.write_message(b"third", &mut text).unwrap();
    assert_eq!(text[..len], seal(&keys.to_initiator, b"third"));

    // It begins.
    let mut theirs = snow(&secrets[0]).remote_public_key(&b_public).unwrap().build_initiator().unwrap();
    let len = theirs.write_message(b"first", &mut text).unwrap();
    let (payload, ours) = Responder::new(&b, &a_public, b"both", &mut text[..len]).unwrap();
    assert_eq!(payload, b"first");
    let mut message = buffer(RESPONSE_OVERHEAD, b"second");
    let keys = ours.respond(&[0x44; 32].into(), &mut message).unwrap();
    let len = theirs.read_message(&message, &mut text).unwrap();
    assert_eq!(&text[..len], b"second");
    let mut theirs = theirs.into_transport_mode().unwrap();
    let len = theirs.write_message(b"third", &mut text).unwrap();
    assert_eq!(text[..len], seal(&keys.to_responder, b"third"));
}

#[test]
fn a_key_of_small_order_and_short_messages_are_refused() {
    let own = StaticSecret::from([1; 32]);
    let mut message = buffer(INITIATION_OVERHEAD, b"");
    assert!(Initiator::new(&own, [2; 32].into(), &[0; 32], b"", &mut message).is_err());
    let public = PublicKey::from(&own).to_bytes();
    for len in 0..INITIATION_OVERHEAD {
        let mut message = buffer(INITIATION_OVERHEAD, b"");
        assert!(Initiator::new(&own, [2; 32].into(), &public, b"", &mut message[..len]).is_err());
        assert!(Responder::new(&own, &public, b"", &mut message[..len]).is_err());
    }
}
