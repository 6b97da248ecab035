//! The client against the other end of a socket.

use super::*;
use std::thread;

/// A client, and what xenstored would see and say.
fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::over(File::from(OwnedFd::from(ours))), theirs)
}

fn message(ty: u32, req_id: u32, payload: &[u8]) -> Vec<u8> {
    wire::request(ty, req_id, &[payload]).unwrap()
}

#[test]
fn an_event_before_the_reply_is_kept_for_later() {
    let (mut client, mut server) = pair();
    server.write_all(&message(wire::XS_WATCH_EVENT, 0, b"/x\0tok\0")).unwrap();
    server.write_all(&message(wire::XS_READ, 1, b"value")).unwrap();
    assert_eq!(client.read("/a").unwrap().as_deref(), Some("value"));
    let event = client.wait(Duration::ZERO).unwrap().unwrap();
    assert_eq!((event.path.as_str(), event.token.as_str()), ("/x", "tok"));
    assert_eq!(client.wait(Duration::from_millis(1)).unwrap(), None);
}

#[test]
fn a_reply_in_small_pieces_is_put_together() {
    let (mut client, mut server) = pair();
    let writer = thread::spawn(move || {
        for byte in message(wire::XS_DIRECTORY, 1, b"a\0b\0") {
            server.write_all(&[byte]).unwrap();
        }
        server
    });
    assert_eq!(client.directory("/").unwrap(), ["a", "b"]);
    drop(writer.join());
}

#[test]
fn a_missing_node_is_none_and_its_removal_is_done() {
    let (mut client, mut server) = pair();
    server.write_all(&message(wire::XS_ERROR, 1, b"ENOENT\0")).unwrap();
    server.write_all(&message(wire::XS_ERROR, 2, b"ENOENT\0")).unwrap();
    server.write_all(&message(wire::XS_ERROR, 3, b"EACCES\0")).unwrap();
    assert_eq!(client.read("/a").unwrap(), None);
    client.rm("/a").unwrap();
    assert!(matches!(client.write("/a", "1"), Err(Error::Refused { .. })));
}

#[test]
fn a_dead_or_babbling_server_is_an_error() {
    let (mut client, server) = pair();
    drop(server);
    assert!(matches!(client.read("/a"), Err(Error::Connection(_))));
    let (mut client, mut server) = pair();
    server.write_all(&message(wire::XS_READ, 99, b"")).unwrap();
    assert!(matches!(client.read("/a"), Err(Error::Protocol)));
}

#[test]
fn the_same_event_twice_is_one_and_their_number_is_bounded() {
    let (mut client, _server) = pair();
    let header = Header { ty: wire::XS_WATCH_EVENT, req_id: 0, tx_id: 0, len: 0 };
    for n in 0..2 * MAX_EVENTS {
        client.queue_event(header, format!("/{n}\0t\0").as_bytes()).unwrap();
        client.queue_event(header, format!("/{n}\0t\0").as_bytes()).unwrap();
    }
    assert_eq!(client.events.len(), MAX_EVENTS);
}
