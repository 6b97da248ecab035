//! Datagrams of a hash chain, for ever: what is lost, doubled, out of order or changed is named.
//!
//! UDP itself loses nothing in this lab as long as nobody's queue runs over, so whatever is missing is
//! the fault of what carries them. Lines on the console: `datagrams N lost L wrong W` now and then, and
//! one for each fault: `datagrams LOST`, `DOUBLED`, `REORDERED` or `CHANGED`.

use crate::token::{TOKEN, Token, number};
use std::collections::{BTreeSet, VecDeque};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// How often the count is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Says whether the guest's vif has a link.
const CARRIER: &str = "/sys/class/net/eth0/carrier";
/// And how often that has changed.
const CHANGES: &str = "/sys/class/net/eth0/carrier_changes";
/// How many of the last datagrams are remembered, to tell what comes late from what comes twice.
const REMEMBERED: usize = 1024;
/// The widest gap that is believed: beyond it the number itself must be wrong.
const WIDEST: u64 = 1_000_000;

/// The number of a datagram that is sent again, as the link went while it was sent; others have 0.
const AGAIN: u32 = 1;

/// Sends the next datagram each `millis` milliseconds, for ever. Not while there is no link, as between
/// a guest's restore and the moment at which its new back end takes it: what is sent then, the guest's own
/// kernel drops, whatever brought the guest back. Nobody can know whether one that is sent just when the
/// link goes is dropped: that one is sent again, and says so. Both are told on the console.
pub(crate) fn count_out(to: &str, millis: &str) -> Result<String, String> {
    let pause = Duration::from_millis(number(millis)?);
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
    socket.connect(to).map_err(|e| format!("{to}: {e}"))?;
    let mut token = Token::first(0);
    loop {
        let changes = await_link(token.link);
        // Before the receiver listens, its kernel says so: that one is sent again.
        while socket.send(&token.emit()).is_err() {
            std::thread::sleep(pause);
        }
        if link_changes() != changes {
            println!("link changed while datagram {} was sent: again", token.link);
            await_link(token.link);
            let again = Token { number: AGAIN, ..token };
            socket.send(&again.emit()).map_err(|e| e.to_string())?;
        }
        token = token.next();
        std::thread::sleep(pause);
    }
}

/// How often the link has come and gone.
fn link_changes() -> Option<String> {
    std::fs::read_to_string(CHANGES).ok()
}

/// Waits for the link, and tells of it; returns [`link_changes`] before it was there for good.
fn await_link(next: u64) -> Option<String> {
    // Without a device of this name there is nothing to wait for.
    let down = || std::fs::read_to_string(CARRIER).is_ok_and(|carrier| carrier.trim() != "1");
    let since = Instant::now();
    let mut waited = false;
    loop {
        let changes = link_changes();
        if !down() {
            if waited {
                println!("link was down for {} ms before datagram {next}", since.elapsed().as_millis());
            }
            return changes;
        }
        waited = true;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes datagrams, for ever: each must be the one after the last.
pub(crate) fn count_in(port: &str) -> Result<String, String> {
    let socket = UdpSocket::bind(("0.0.0.0", number::<u16>(port)?)).map_err(|e| e.to_string())?;
    let (mut count, mut told) = (Count::default(), Instant::now());
    loop {
        let mut bytes = [0; TOKEN + 1];
        let got = socket.recv(&mut bytes).map_err(|e| e.to_string())?;
        if let Err(fault) = count.take(bytes.get(..got).unwrap_or_default()) {
            println!("datagrams {fault}");
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("datagrams {} lost {} wrong {}", count.last(), count.lost.len(), count.wrong);
        }
    }
}

/// What came so far.
#[derive(Default)]
struct Count {
    /// The newest, at the end, and what came before it.
    seen: VecDeque<Token>,
    /// What should have come before the newest and did not.
    lost: BTreeSet<u64>,
    /// Faults of other kinds.
    wrong: u64,
}

impl Count {
    /// Number of the newest.
    fn last(&self) -> u64 {
        self.seen.back().map_or(0, |token| token.link)
    }

    /// Judges what came. The first may be any: what was sent before its receiver listened is nobody's.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Ok(bytes) = <&[u8; TOKEN]>::try_from(bytes) else {
            self.wrong += 1;
            return Err(format!("CHANGED: {} octets came, not {TOKEN}", bytes.len()));
        };
        let mut token = Token::parse(bytes);
        if token.number == AGAIN {
            token.number = 0;
            if self.seen.back() == Some(&token) {
                return Ok(());
            }
        }
        let fault = match self.seen.back() {
            Some(last) if token.link > last.link => self.newer(*last, &token),
            Some(_) => Some(self.older(&token)),
            None => None,
        };
        let keep = self.seen.back().is_none_or(|last| token.link > last.link)
            && !fault.as_ref().is_some_and(|fault| fault.starts_with("CHANGED"));
        if keep {
            self.seen.push_back(token);
            if self.seen.len() > REMEMBERED {
                self.seen.pop_front();
            }
        }
        fault.map_or(Ok(()), Err)
    }

    fn newer(&mut self, last: Token, token: &Token) -> Option<String> {
        let gap = token.link - last.link;
        if gap > WIDEST || last.after(gap) != *token {
            self.wrong += 1;
            return Some(format!("CHANGED: {} came after {} with another hash", token.link, last.link));
        }
        if gap == 1 {
            return None;
        }
        self.lost.extend(last.link + 1..token.link);
        Some(format!("LOST: {} came after {}", token.link, last.link))
    }

    fn older(&mut self, token: &Token) -> String {
        self.wrong += 1;
        // The nearest that came before where it belongs tells what it must be.
        let before = self.seen.iter().rev().find(|seen| seen.link <= token.link);
        if before.is_some_and(|before| before.after(token.link - before.link) != *token) {
            return format!("CHANGED: {} came with another hash", token.link);
        }
        match self.lost.remove(&token.link) {
            true => format!("REORDERED: {} came after {}", token.link, self.last()),
            false => format!("DOUBLED: {} came again after {}", token.link, self.last()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of each of these links, and how many are lost and wrong at the end.
    fn judge(links: &[u64]) -> (Vec<String>, usize, u64) {
        let mut count = Count::default();
        let first = Token::first(0);
        let said = links.iter().filter_map(|link| count.take(&first.after(*link).emit()).err());
        (said.collect(), count.lost.len(), count.wrong)
    }

    #[test]
    fn a_chain_in_order_is_right_wherever_it_begins() {
        assert_eq!(judge(&[5, 6, 7, 8]), (vec![], 0, 0));
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(judge(&[0, 1, 4, 5]), (vec!["LOST: 4 came after 1".into()], 2, 0));
        assert_eq!(judge(&[0, 1, 1, 2]), (vec!["DOUBLED: 1 came again after 1".into()], 0, 1));
        let swapped = vec!["LOST: 2 came after 0".into(), "REORDERED: 1 came after 2".into()];
        assert_eq!(judge(&[0, 2, 1, 3]), (swapped, 0, 1));
    }

    #[test]
    fn what_is_sent_again_may_come_once_or_twice_and_nothing_else() {
        let token = |link| Token::first(0).after(link);
        let again = |link| Token { number: AGAIN, ..token(link) }.emit();
        let mut count = Count::default();
        count.take(&token(0).emit()).unwrap();
        count.take(&again(0)).unwrap();
        count.take(&again(1)).unwrap();
        count.take(&token(2).emit()).unwrap();
        assert!(count.take(&again(1)).unwrap_err().starts_with("DOUBLED"));
        assert!(count.take(&again(4)).unwrap_err().starts_with("LOST"));
    }

    #[test]
    fn what_was_changed_is_seen_whatever_its_number() {
        for link in [1, 2, 3, 9, u64::MAX] {
            let mut count = Count::default();
            for good in 0..3 {
                count.take(&Token::first(0).after(good).emit()).unwrap();
            }
            let bad = Token { link, ..Token::first(7) };
            assert!(count.take(&bad.emit()).unwrap_err().starts_with("CHANGED"), "{link}");
            // And it is not what the next is measured by.
            count.take(&Token::first(0).after(3).emit()).unwrap();
        }
        assert!(Count::default().take(&[0; TOKEN + 1]).unwrap_err().starts_with("CHANGED"));
    }
}
