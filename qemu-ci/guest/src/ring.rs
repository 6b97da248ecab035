//! Work that a consistent cut of several guests must carry through: tokens that go round in a ring
//! of guests.
//!
//! Whoever has a token hashes it on, so that each guest knows exactly what must come to it next: the
//! same token, as many links further as the ring has guests. A link that was lost, doubled or changed
//! places is seen at once by the guest that it reaches. Several tokens are under way at a time on the
//! same connections, so that there is always something in the wires. A guest with a disk has each token
//! there before it sends it on (see [`crate::ledger`]). Whatever is wrong is told in one line with the
//! word `BROKEN`, and that guest's part ends.

use crate::ledger::Ledger;
use crate::token::{TOKEN, Token, number};
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long a guest holds a token before it passes it on, unless it is told.
const PAUSE: Duration = Duration::from_millis(5);
/// The same for one that journals it: its disk is slow enough in an emulated machine.
const PAUSE_OF_JOURNAL: Duration = Duration::from_millis(50);
/// How often the place of the ring is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How long to wait for the next guest to listen.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a guest must see next of each token.
struct Expected {
    guests: u64,
    tokens: Vec<Option<Token>>,
}

impl Expected {
    fn new(tokens: u32, guests: u64) -> Self {
        Self { guests, tokens: vec![None; tokens as usize] }
    }

    /// Notes that this token comes next, after so many more links.
    fn expect(&mut self, token: &Token, links: u64) {
        if let Some(place) = self.tokens.get_mut(token.number as usize) {
            *place = Some(token.after(links));
        }
    }

    /// Checks what came, and notes what must come after it.
    fn check(&mut self, token: &Token) -> Result<(), String> {
        let place = self.tokens.get(token.number as usize);
        let place = place.ok_or_else(|| format!("a token {} that nobody made", token.number))?;
        if let Some(expected) = place
            && expected != token
        {
            return Err(match token.link == expected.link {
                true => format!("token {} came to link {} with another hash", token.number, token.link),
                false => format!("token {} came at link {}, not {}", token.number, token.link, expected.link),
            });
        }
        self.expect(token, self.guests);
        Ok(())
    }
}

/// Takes part in a ring of `guests`: listens on `port`, passes on to `next`. Of the words beyond, `start`
/// has it make the `tokens`, `journal=DISK` has it journal what it passes on, and `pause=MS` is how long it
/// holds each token.
pub(crate) fn run(
    port: &str,
    next: &str,
    guests: &str,
    tokens: &str,
    more: &[&str],
) -> Result<String, String> {
    let (port, guests, tokens): (u16, u64, u32) = (number(port)?, number(guests)?, number(tokens)?);
    let guests = guests.max(1);
    let (mut starts, mut ledger, mut pause) = (false, None, None);
    for word in more {
        match word.split_once('=') {
            None if *word == "start" => starts = true,
            Some(("journal", disk)) => ledger = Some(Ledger::create(disk).map_err(broken)?),
            Some(("pause", ms)) => pause = Some(Duration::from_millis(number(ms)?)),
            _ => return Err(format!("{word}: neither `start` nor `journal=DISK` nor `pause=MS`")),
        }
    }
    let pause = pause.unwrap_or(if ledger.is_some() { PAUSE_OF_JOURNAL } else { PAUSE });
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|e| e.to_string())?;
    let mut to = connect(next)?;
    let (from, _) = listener.accept().map_err(|e| e.to_string())?;
    let mut from = BufReader::new(from);
    let mut expected = Expected::new(tokens, guests);
    for token in (0..tokens).filter(|_| starts).map(Token::first) {
        expected.expect(&token, guests - 1);
        to.write_all(&token.emit()).map_err(broken)?;
    }
    let (mut links, mut told) = (0_u64, Instant::now());
    loop {
        let mut bytes = [0; TOKEN];
        from.read_exact(&mut bytes).map_err(broken)?;
        let token = Token::parse(&bytes);
        expected.check(&token).map_err(broken)?;
        std::thread::sleep(pause);
        let next = token.next();
        if let Some(ledger) = &mut ledger {
            ledger.put(&next).map_err(broken)?;
        }
        links += 1;
        to.write_all(&next.emit()).map_err(broken)?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("ring {links} token {} link {}", token.number, token.link);
        }
    }
}

fn broken(what: impl std::fmt::Display) -> String {
    let line = format!("ring BROKEN: {what}");
    println!("{line}");
    line
}

/// Connects as soon as somebody listens.
fn connect(next: &str) -> Result<TcpStream, String> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(next) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|e| e.to_string())?;
                return Ok(stream);
            }
            Err(e) if start.elapsed() > PATIENCE => return Err(format!("{next}: {e}")),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_changed_is_seen_when_it_comes_round() {
        let round = |token: Token| token.after(4);
        let first = Token::first(0);
        let mut good = Expected::new(1, 4);
        good.check(&first).unwrap();
        good.check(&round(first)).unwrap();
        let cases = [
            ("doubled", first),
            ("lost", round(round(first))),
            ("changed", Token { hash: [7; 32], ..round(first) }),
            ("invented", Token { number: 1, ..first }),
        ];
        for (what, token) in cases {
            let mut expected = Expected::new(1, 4);
            expected.check(&first).unwrap();
            expected.check(&token).expect_err(what);
        }
    }
}
