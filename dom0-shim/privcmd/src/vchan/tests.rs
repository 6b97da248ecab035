//! The client against a model of a server, over ordinary shared memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::connect::{Bytes, Parts, interface};
use super::doorbell::{Bell, Doorbell};
use super::ring::{self, Interface, Layout, NOTIFY_READ, NOTIFY_WRITE, Place};
use super::{Channel, Client, Error};
use crate::device::Mapping;
use crate::gntdev::GrantMapping;

struct Wire {
    incoming: Mutex<mpsc::Receiver<()>>,
    outgoing: mpsc::Sender<()>,
}

impl Bell for Wire {
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        Ok(self.incoming.lock().unwrap().recv_timeout(timeout).is_ok())
    }

    fn notify(&self) -> io::Result<()> {
        // A server that is gone hears nothing.
        let _ = self.outgoing.send(());
        Ok(())
    }
}

/// The server's end.
struct Server {
    page: GrantMapping,
    left: GrantMapping,
    right: GrantMapping,
    layout: Layout,
    bell: Wire,
    /// Whether its domain lives.
    alive: Arc<AtomicBool>,
}

fn memory(bytes: usize) -> File {
    // SAFETY: a name that ends in zero; the result is checked.
    let fd = unsafe { libc::memfd_create(c"vchan".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: a new file descriptor that nobody else owns.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes as u64).unwrap();
    file
}

/// A client and its server, with rings of these orders.
fn pair(left: u16, right: u16) -> (Client, Server) {
    let layout = Layout::new(left, right).unwrap();
    let pages = |place| match place {
        Place::InPage(_) => 0,
        Place::Granted { count, .. } => count,
    };
    let (left, right) = (pages(layout.left.1), pages(layout.right.1));
    let file = memory((1 + left + right) * 4096);
    let map = |pages, offset: usize, writable| {
        let mapping = Mapping::device(file.as_fd(), pages, offset as u64 * 4096, writable);
        GrantMapping::of_memory(mapping.unwrap())
    };
    // Rings in the page are found from the page; the server then needs no mapping of its own, but
    // has one of the page.
    let place = |pages, offset, writable| match pages {
        0 => map(1, 0, writable),
        pages => map(pages, offset, writable),
    };
    let bytes = |place, offset, writable| match place {
        Place::InPage(at) => Bytes::InPage(at),
        Place::Granted { count, .. } => Bytes::Mapped(map(count, offset, writable)),
    };
    let (to_server, from_client) = mpsc::channel();
    let (to_client, from_server) = mpsc::channel();
    let page = map(1, 0, true);
    let shared = interface(&page);
    shared.srv_live.store(1, Ordering::SeqCst);
    shared.cli_live.store(1, Ordering::SeqCst);
    let parts = Parts {
        page,
        layout,
        left: bytes(layout.left.1, 1, true),
        right: bytes(layout.right.1, 1 + left, false),
        doorbell: Doorbell::new(Wire { incoming: Mutex::new(from_server), outgoing: to_server }),
        closing: AtomicBool::new(false),
    };
    let alive = Arc::new(AtomicBool::new(true));
    let lives = alive.clone();
    let client = Client::new(Channel::new(Box::new(move || Ok(lives.load(Ordering::SeqCst))), parts));
    let server = Server {
        page: map(1, 0, true),
        left: place(left, 1, false),
        right: place(right, 1 + left, true),
        layout,
        bell: Wire { incoming: Mutex::new(from_client), outgoing: to_client },
        alive,
    };
    (client, server)
}

impl Server {
    fn shared(&self) -> &Interface {
        interface(&self.page)
    }

    fn base(mapping: &GrantMapping, place: Place) -> *mut u8 {
        match place {
            Place::InPage(offset) => mapping.addr().as_ptr().wrapping_add(offset),
            Place::Granted { .. } => mapping.addr().as_ptr(),
        }
    }

    /// Blocks until `test` is not 0; 0 when the client is gone.
    fn wait_for(&self, what: u8, test: impl Fn() -> u32) -> u32 {
        let start = Instant::now();
        loop {
            let live = self.shared().cli_live.load(Ordering::SeqCst) == 1;
            self.shared().cli_notify.fetch_or(what, Ordering::SeqCst);
            let got = test();
            if got != 0 || !live {
                return got;
            }
            // Never by time: a client that forgets to notify would go unnoticed.
            assert!(self.bell.wait(Duration::from_secs(20)).unwrap(), "the client did not notify");
            assert!(start.elapsed() < Duration::from_secs(60));
        }
    }

    fn notify(&self, what: u8) {
        if self.shared().srv_notify.fetch_and(!what, Ordering::SeqCst) & what != 0 {
            self.bell.notify().unwrap();
        }
    }

    fn read(&self) -> Option<u8> {
        let (size, place) = self.layout.left;
        let (prod, cons) = (&self.shared().left.prod, &self.shared().left.cons);
        let at = cons.load(Ordering::SeqCst);
        let ready = || ring::ready(prod.load(Ordering::SeqCst), at, size).unwrap();
        if ready() == 0 && self.wait_for(NOTIFY_WRITE, ready) == 0 {
            return None;
        }
        let from = Server::base(&self.left, place).wrapping_add((at & (size - 1)) as usize);
        // SAFETY: within the mapping; the client has published this byte.
        let byte = unsafe { from.read_volatile() };
        cons.store(at.wrapping_add(1), Ordering::SeqCst);
        self.notify(NOTIFY_READ);
        Some(byte)
    }

    fn write(&self, byte: u8) {
        let (size, place) = self.layout.right;
        let (prod, cons) = (&self.shared().right.prod, &self.shared().right.cons);
        let at = prod.load(Ordering::SeqCst);
        let space = || size - ring::ready(at, cons.load(Ordering::SeqCst), size).unwrap();
        if space() == 0 && self.wait_for(NOTIFY_READ, space) == 0 {
            return;
        }
        let to = Server::base(&self.right, place).wrapping_add((at & (size - 1)) as usize);
        // SAFETY: within the mapping; the client is done with this byte.
        unsafe { to.write_volatile(byte) };
        prod.store(at.wrapping_add(1), Ordering::SeqCst);
        self.notify(NOTIFY_WRITE);
    }

    fn close(&self) {
        self.shared().srv_live.store(0, Ordering::SeqCst);
        self.bell.notify().unwrap();
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Both indices of both rings start here, as if so much had been sent already.
fn start_at(server: &Server, index: u32) {
    let shared = server.shared();
    let set = |value: &AtomicU32| value.store(index, Ordering::SeqCst);
    for ring in [&shared.left, &shared.right] {
        set(&ring.prod);
        set(&ring.cons);
    }
}

#[test]
fn two_threads_get_back_what_they_send_over_rings_of_all_kinds() {
    for (left, right) in [(10, 11), (11, 10), (12, 10), (11, 13), (12, 12), (14, 16)] {
        let (client, server) = pair(left, right);
        let (mut reader, mut writer) = client.split();
        reader.set_timeout(Some(Duration::from_secs(20)));
        writer.set_timeout(Some(Duration::from_secs(20)));
        let echo = thread::spawn(move || {
            while let Some(byte) = server.read() {
                server.write(byte);
            }
        });
        let data = bytes(100_000);
        let sent = data.clone();
        let sender = thread::spawn(move || {
            let mut rest = sent.as_slice();
            let mut size = 1;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                let (one, two) = piece.split_at(piece.len() / 3);
                writer.write_all(&[one, &[], two]).unwrap();
                rest = after;
                size = size * 5 % 9001 + 1;
            }
            writer
        });
        let mut back = vec![0; data.len()];
        for piece in back.chunks_mut(1999) {
            reader.read_exact(piece).unwrap();
        }
        assert!(back == data, "rings {left} and {right}");
        drop((reader, sender.join().unwrap()));
        echo.join().unwrap();
    }
}

#[test]
fn bytes_go_from_the_ring_into_a_file_in_order() {
    let (mut client, server) = pair(12, 12);
    let data = bytes(50_000);
    let sent = data.clone();
    let sender = thread::spawn(move || {
        sent.iter().for_each(|&byte| server.write(byte));
        server
    });
    let file = memory(0);
    client.reader().skip(100).unwrap();
    client.reader().write_to(&file, 5000, 30_000).unwrap();
    client.reader().write_to(&file, 0, 5000).unwrap();
    let mut back = vec![0; 35_000];
    file.read_exact_at(&mut back, 0).unwrap();
    assert!(back[5000..] == data[100..30_100]);
    assert!(back[..5000] == data[30_100..35_100]);
    // A file that fails costs its own bytes only.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let failed = client.reader().write_to(&full, 0, 10_000);
    assert!(matches!(failed, Err(Error::File(_))));
    let mut rest = vec![0; 4900];
    client.reader().read_exact(&mut rest).unwrap();
    assert!(rest == data[45_100..]);
    drop(sender.join());
}

#[test]
fn indices_wrap_around_at_32_bits() {
    let (client, server) = pair(10, 11);
    start_at(&server, u32::MAX - 700);
    // The halves take their indices from the page when they are made.
    let channel = client.reader.closer().channel;
    drop(client);
    server.shared().cli_live.store(1, Ordering::SeqCst);
    let (mut reader, mut writer) = (super::Reader::new(channel.clone()), super::Writer::new(channel));
    let data = bytes(1000);
    writer.write_all(&[&data]).unwrap();
    let echo: Vec<u8> = (0..1000).map(|_| server.read().unwrap()).collect();
    assert_eq!(echo, data);
    data.iter().for_each(|&byte| server.write(byte));
    let mut back = vec![0; 1000];
    reader.read_exact(&mut back).unwrap();
    assert_eq!(back, data);
}

#[test]
fn what_a_server_wrote_before_it_closed_is_still_delivered() {
    let (mut client, server) = pair(10, 11);
    bytes(10).into_iter().for_each(|byte| server.write(byte));
    server.close();
    let mut back = [0; 10];
    client.reader().read_exact(&mut back).unwrap();
    assert_eq!(back.to_vec(), bytes(10));
    assert!(matches!(client.reader().wait(None), Err(Error::Closed)));
    assert!(matches!(client.writer().write_all(&[b"x"]), Err(Error::Closed)));
}

#[test]
fn a_server_that_closes_wakes_both_blocked_halves() {
    let (client, server) = pair(10, 11);
    let (mut reader, mut writer) = client.split();
    let reading = thread::spawn(move || reader.wait(None));
    let writing = thread::spawn(move || writer.write_all(&[&[0; 4096]]));
    thread::sleep(Duration::from_millis(50));
    server.close();
    assert!(matches!(reading.join().unwrap(), Err(Error::Closed)));
    assert!(matches!(writing.join().unwrap(), Err(Error::Closed)));
}

#[test]
fn the_death_of_the_servers_domain_ends_a_blocked_call_though_nothing_rings() {
    let (mut client, server) = pair(10, 11);
    server.alive.store(false, Ordering::SeqCst);
    assert!(matches!(client.reader().wait(None), Err(Error::Closed)));
}

#[test]
fn a_silent_server_is_a_timeout_and_a_closer_ends_the_wait() {
    let (mut client, _server) = pair(10, 11);
    let wait = client.reader().wait(Some(Duration::from_millis(20)));
    assert!(matches!(wait, Err(Error::Timeout)));
    let closer = client.closer();
    let closing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        closer.close();
    });
    assert!(matches!(client.reader().wait(None), Err(Error::Cancelled)));
    closing.join().unwrap();
}

#[test]
fn indices_that_run_apart_are_an_error_and_nothing_is_copied() {
    let (mut client, server) = pair(10, 11);
    server.shared().right.prod.store(2049, Ordering::SeqCst);
    assert!(matches!(client.reader().read_exact(&mut [0]), Err(Error::Protocol(_))));
    server.shared().left.cons.store(1, Ordering::SeqCst);
    assert!(matches!(client.writer().write_all(&[b"x"]), Err(Error::Protocol(_))));
}

#[test]
fn many_parts_are_one_event() {
    let (mut client, server) = pair(10, 11);
    server.shared().cli_notify.store(NOTIFY_WRITE, Ordering::SeqCst);
    client.writer().write_all(&[b"a", b"b", b"c"]).unwrap();
    assert!(server.bell.wait(Duration::ZERO).unwrap());
    assert!(!server.bell.wait(Duration::ZERO).unwrap());
    // Nobody asked: no event.
    client.writer().write_all(&[b"d"]).unwrap();
    assert!(!server.bell.wait(Duration::ZERO).unwrap());
}

#[test]
fn a_server_that_waits_for_room_is_told_when_there_is_a_quarter_or_when_we_wait() {
    let (mut client, server) = pair(10, 12);
    let told = || server.bell.wait(Duration::ZERO).unwrap();
    bytes(4096).into_iter().for_each(|byte| server.write(byte));
    while told() {}
    let ask = || server.shared().cli_notify.store(NOTIFY_READ, Ordering::SeqCst);
    ask();
    client.reader().read_exact(&mut [0; 20]).unwrap();
    client.reader().read_exact(&mut [0; 1003]).unwrap();
    assert!(!told());
    client.reader().read_exact(&mut [0]).unwrap();
    assert!(told());
    ask();
    client.reader().read_exact(&mut [0; 100]).unwrap();
    assert!(!told());
    assert_eq!(client.reader().wait(Some(Duration::ZERO)).unwrap(), 4096 - 1124);
    assert!(told());
    // Nor is it left waiting while we wait for more than there is.
    ask();
    client.reader().set_timeout(Some(Duration::from_millis(1)));
    client.reader().read_exact(&mut [0; 1000]).unwrap();
    assert!(!told());
    assert!(matches!(client.reader().read_exact(&mut [0; 4096]), Err(Error::Timeout)));
    assert!(told());
}

#[test]
fn the_client_says_goodbye_when_both_halves_are_gone() {
    let (client, server) = pair(10, 11);
    let (reader, writer) = client.split();
    drop(reader);
    assert_eq!(server.shared().cli_live.load(Ordering::SeqCst), 1);
    drop(writer);
    assert_eq!(server.shared().cli_live.load(Ordering::SeqCst), 0);
    assert!(server.bell.wait(Duration::ZERO).unwrap());
}
