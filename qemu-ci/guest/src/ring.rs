//! Work that a consistent cut of several guests must carry through: tokens that go round in a ring
//! of guests, and datagrams with numbers.
//!
//! A token has a number and a hash; whoever has it hashes it on, so that each guest knows exactly
//! what must come to it next: the same token, as many links further as the ring has guests. A link
//! that was lost, doubled or changed places is seen at once by the guest that it reaches. Several
//! tokens are under way at a time on the same connections, so that there is always something in the
//! wires. Whatever is wrong is told in one line with the word `BROKEN`, and that guest's part ends.

use sha2::{Digest, Sha256};
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Octets of a token: its number, its link, its hash.
const TOKEN: usize = 4 + 8 + 32;
/// How long a guest holds a token before it passes it on.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the place of the ring is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How long to wait for the next guest to listen.
const PATIENCE: Duration = Duration::from_secs(120);

type Hash = [u8; 32];

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

fn step(hash: &Hash) -> Hash {
    Sha256::digest(hash).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    number: u32,
    link: u64,
    hash: Hash,
}

impl Token {
    fn first(number: u32) -> Self {
        Self { number, link: 0, hash: Sha256::digest(number.to_be_bytes()).into() }
    }

    fn next(&self) -> Self {
        Self { link: self.link + 1, hash: step(&self.hash), ..*self }
    }

    fn emit(&self) -> [u8; TOKEN] {
        let mut bytes = [0; TOKEN];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.link.to_be_bytes());
        bytes[12..].copy_from_slice(&self.hash);
        bytes
    }

    fn parse(bytes: &[u8; TOKEN]) -> Self {
        let [n0, n1, n2, n3, rest @ ..] = *bytes;
        let [l0, l1, l2, l3, l4, l5, l6, l7, hash @ ..] = rest;
        Self {
            number: u32::from_be_bytes([n0, n1, n2, n3]),
            link: u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            hash,
        }
    }
}

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
            *place = Some((0..links).fold(*token, |token, _| token.next()));
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

/// Takes part in a ring of `guests`: listens on `port`, passes on to `next`. The one that is told to
/// starts `tokens`.
pub(crate) fn run(
    port: &str,
    next: &str,
    guests: &str,
    tokens: &str,
    starts: bool,
) -> Result<String, String> {
    let (port, guests, tokens): (u16, u64, u32) = (number(port)?, number(guests)?, number(tokens)?);
    let guests = guests.max(1);
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
        links += 1;
        std::thread::sleep(PAUSE);
        to.write_all(&token.next().emit()).map_err(broken)?;
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

/// Sends a numbered datagram each `millis` milliseconds, for ever.
pub(crate) fn count_out(to: &str, millis: &str) -> Result<String, String> {
    let pause = Duration::from_millis(number(millis)?);
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
    socket.connect(to).map_err(|e| format!("{to}: {e}"))?;
    let mut numbers = 0_u64..;
    let mut hash: Hash = Sha256::digest(b"datagrams").into();
    loop {
        let count = numbers.next().unwrap_or_default();
        let datagram = Token { number: 0, link: count, hash }.emit();
        // Before the receiver listens, its kernel says so: that one is sent again.
        while socket.send(&datagram).is_err() {
            std::thread::sleep(pause);
        }
        hash = step(&hash);
        std::thread::sleep(pause);
    }
}

/// Takes numbered datagrams, for ever: each must be the one after the last.
pub(crate) fn count_in(port: &str) -> Result<String, String> {
    let socket = UdpSocket::bind(("0.0.0.0", number::<u16>(port)?)).map_err(|e| e.to_string())?;
    let (mut next, mut told) = (None::<Token>, Instant::now());
    let (mut lost, mut wrong) = (0, 0);
    loop {
        let mut bytes = [0; TOKEN];
        let got = socket.recv(&mut bytes).map_err(|e| e.to_string())?;
        let token = Token::parse(&bytes);
        match next {
            Some(expected) if token.link > expected.link => {
                lost += token.link - expected.link;
                println!("datagrams LOST: {} came, not {}", token.link, expected.link);
            }
            Some(expected) if got != TOKEN || token != expected => {
                wrong += 1;
                println!("datagrams BROKEN: {} came, not {}", token.link, expected.link);
            }
            _ => {}
        }
        next = Some(token.next());
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("datagrams {} lost {lost} wrong {wrong}", token.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = Token::first(3).next().next();
        assert_eq!(Token::parse(&token.emit()), token);
    }

    #[test]
    fn what_is_lost_doubled_or_changed_is_seen_when_it_comes_round() {
        let round = |token: Token| (0..4).fold(token, |token, _| token.next());
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
