//! What becomes of answers and events, in any order, in pieces, and wrong.

use super::*;
use xen_sys::xs_wire::{XS_READ, XS_WATCH, XS_WRITE};

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn submit(mux: &mut Mux, typ: u32, parts: &[&[u8]]) -> u32 {
    match mux.poll_submit(&mut context(), typ, 0, parts) {
        Poll::Ready(Ok(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn message(typ: u32, req_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = XsdSockmsg { typ, req_id, tx_id: 0, len: payload.len() as u32 };
    [&header.to_bytes()[..], payload].concat()
}

#[test]
fn answers_find_their_requests_in_any_order_and_in_pieces() {
    let mut mux = Mux::new();
    let a = submit(&mut mux, XS_READ, &[b"a\0"]);
    let b = submit(&mut mux, XS_READ, &[b"b\0"]);
    assert_eq!(mux.output(), [message(XS_READ, a, b"a\0"), message(XS_READ, b, b"b\0")].concat());
    let answers = [message(XS_READ, b, b"two"), message(XS_READ, a, b"")].concat();
    for byte in answers {
        mux.input(&[byte]);
    }
    assert_eq!(mux.poll_reply(&mut context(), a), Poll::Ready(Ok(Vec::new())));
    assert_eq!(mux.poll_reply(&mut context(), b), Poll::Ready(Ok(b"two".to_vec())));
}

#[test]
fn the_daemon_s_refusal_comes_through_by_name() {
    let mut mux = Mux::new();
    let id = submit(&mut mux, XS_READ, &[b"none\0"]);
    mux.input(&message(XS_ERROR, id, b"ENOENT\0"));
    assert_eq!(mux.poll_reply(&mut context(), id), Poll::Ready(Err(XsError::Refused(Errno::ENOENT))));
}

#[test]
fn a_request_more_than_there_are_slots_waits() {
    let mut mux = Mux::new();
    let ids: Vec<u32> = (0..MAX_REQUESTS).map(|_| submit(&mut mux, XS_READ, &[b"x\0"])).collect();
    let parts: &[&[u8]] = &[b"x\0"];
    assert!(mux.poll_submit(&mut context(), XS_READ, 0, parts).is_pending());
    mux.input(&message(XS_READ, ids[3], b"v"));
    assert!(mux.poll_reply(&mut context(), ids[3]).is_ready());
    assert!(mux.poll_submit(&mut context(), XS_READ, 0, parts).is_ready());
}

#[test]
fn an_abandoned_request_keeps_its_slot_until_its_answer_came() {
    let mut mux = Mux::new();
    let id = submit(&mut mux, XS_WRITE, &[b"x\0v"]);
    mux.abandon(id);
    assert!(mux.requests.iter().any(Option::is_some));
    mux.input(&message(XS_WRITE, id, b"OK\0"));
    assert!(mux.requests.iter().all(Option::is_none));
}

#[test]
fn an_endless_answer_kills_the_connection_and_nothing_else() {
    let mut mux = Mux::new();
    let id = submit(&mut mux, XS_READ, &[b"x\0"]);
    let header = XsdSockmsg { typ: XS_READ, req_id: id, tx_id: 0, len: 4097 };
    mux.input(&header.to_bytes());
    let dead = XsError::Protocol("an answer longer than 4096 bytes");
    assert_eq!(mux.poll_reply(&mut context(), id), Poll::Ready(Err(dead)));
    let again = mux.poll_submit(&mut context(), XS_READ, 0, &[b"x\0"]);
    assert_eq!(again, Poll::Ready(Err(dead)));
}

#[test]
fn a_watch_keeps_a_bounded_number_of_different_paths() {
    let mut mux = Mux::new();
    let token = mux.add_watch().unwrap();
    for i in 0..2 * MAX_EVENTS {
        let event = format!("p{}\0{token}\0", i / 2);
        mux.input(&message(XS_WATCH_EVENT, 0, event.as_bytes()));
    }
    mux.input(&message(XS_WATCH_EVENT, 0, b"q\0 not a token \0"));
    mux.input(&message(XS_WATCH_EVENT, 0, b"broken"));
    for i in 0..MAX_EVENTS {
        let path = Poll::Ready(Ok(format!("p{i}")));
        assert_eq!(mux.poll_event(&mut context(), token), path);
    }
    assert!(mux.poll_event(&mut context(), token).is_pending());
}

#[test]
fn an_answer_of_another_type_is_no_answer() {
    let mut mux = Mux::new();
    let id = submit(&mut mux, XS_READ, &[b"x\0"]);
    mux.input(&message(XS_WATCH, id, b"OK\0"));
    let reply = mux.poll_reply(&mut context(), id);
    assert!(matches!(reply, Poll::Ready(Err(XsError::Protocol(_)))));
}
