//! The words of the command line.

use crate::frame::Mac;

/// What the guest was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) attacks: &'static str,
    pub(crate) me: [u8; 4],
    pub(crate) peer: [u8; 4],
    pub(crate) victim: Mac,
    pub(crate) seconds: u64,
    pub(crate) count: u32,
    pub(crate) stay: bool,
}

impl Settings {
    /// Reads them; words that it does not know, or can't read, change nothing.
    pub(crate) fn parse(command_line: &'static str) -> Settings {
        let mut settings = Settings {
            attacks: "none",
            me: [10, 1, 0, 9],
            peer: [10, 1, 0, 1],
            victim: [0x00, 0x16, 0x3e, 0, 0, 1],
            seconds: 5,
            count: 100_000,
            stay: false,
        };
        for word in command_line.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "attack" => settings.attacks = value,
                "me" => settings.me = numbers(value, '.', 10).unwrap_or(settings.me),
                "peer" => settings.peer = numbers(value, '.', 10).unwrap_or(settings.peer),
                "victim" => settings.victim = numbers(value, ':', 16).unwrap_or(settings.victim),
                "seconds" => settings.seconds = value.parse().unwrap_or(settings.seconds),
                "count" => settings.count = value.parse().unwrap_or(settings.count),
                "stay" => settings.stay = true,
                _ => {}
            }
        }
        settings
    }
}

/// Exactly N numbers of one octet with `between` between them.
pub(crate) fn numbers<const N: usize>(text: &str, between: char, radix: u32) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut parts = text.split(between);
    for octet in &mut octets {
        *octet = u8::from_str_radix(parts.next()?, radix).ok()?;
    }
    parts.next().is_none().then_some(octets)
}
