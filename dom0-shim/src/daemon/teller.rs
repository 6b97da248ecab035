//! Tells a client how it goes.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::api::Event;

/// Tells a client how it goes. A client that does not read (a stopped terminal, a pager) must
/// never hold up the snapshot, so a thread does the writing, and what finds no room is dropped.
pub(super) struct Teller {
    events: SyncSender<Event>,
    writer: Option<std::thread::JoinHandle<()>>,
}

/// Events that wait for a slow client.
const UNREAD: usize = 256;

impl Teller {
    pub(super) fn new(client: &UnixStream) -> Self {
        let (events, unread) = sync_channel::<Event>(UNREAD);
        let writer = client.try_clone().ok().map(|mut client| {
            std::thread::spawn(move || {
                for event in unread {
                    let Ok(mut line) = serde_json::to_vec(&event) else { continue };
                    line.push(b'\n');
                    // A client that is gone is noticed elsewhere.
                    if client.write_all(&line).is_err() {
                        break;
                    }
                }
                // Also ends the thread that waits for the client to hang up.
                let _ = client.shutdown(std::net::Shutdown::Both);
            })
        });
        Self { events, writer }
    }

    /// Whether the event will be told; else it is dropped.
    pub(super) fn tell(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// The last event, which is never dropped. Returns when the client can read it, and was hung
    /// up on.
    pub(super) fn end(self, last: Event) {
        let _ = self.events.send(last);
        drop(self.events);
        if let Some(writer) = self.writer {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use serde_json::json;

    use super::*;
    use crate::api;

    #[test]
    fn a_client_that_does_not_read_holds_up_nothing_and_still_gets_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let teller = Teller::new(&ours);
        drop(ours);
        let progress =
            api::Progress { round: 1, remaining: 2, sent: 3, dirty_rate: 4, copy_rate: 5, estimate_ms: None };
        for _ in 0..20_000 {
            teller.tell(Event::Progress(progress));
        }
        let ending = std::thread::spawn(move || teller.end(Event::Done { result: json!("the end") }));
        let lines: Vec<String> = BufReader::new(theirs).lines().map_while(|l| l.ok()).collect();
        ending.join().unwrap();
        assert!(lines.len() < 20_000);
        assert!(lines.last().unwrap().contains("the end"));
        assert!(lines.iter().all(|l| serde_json::from_str::<Event>(l).is_ok()));
    }
}
