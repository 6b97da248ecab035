//! `guest verify-chain`: checks the console logs of guests in Dom0.
//!
//! A log is what xenconsoled wrote: lines in any number, of which `chain N HEX` count. A
//! restored guest's log may begin in the middle of a line (the rest of one that the saved guest
//! had begun), and a log that is still written may end in one.

use crate::chain::Link;
use std::collections::BTreeMap;
use std::fmt;

/// Why a log, or a pair of logs, is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The file cannot be read.
    Unreadable(String),
    /// No whole link in the log.
    Empty,
    /// A line that begins like a link and is none (line number from 1).
    Malformed(usize, String),
    /// A number that does not follow the one before.
    Gap { line: usize, before: u64, found: u64 },
    /// A link that does not follow from the one before.
    Broken { line: usize, number: u64 },
    /// The guest itself found memory that was not what it had written.
    Corrupt(usize, String),
    /// The second log begins with a link whose predecessor is not in the first.
    Apart { first: u64, a_first: u64, a_last: u64 },
    /// The second log's first link does not follow from the first log's.
    OtherChain(u64),
    /// An error in the named log.
    In(String, Box<Error>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Self::Empty => write!(f, "no whole link"),
            Self::Malformed(line, text) => write!(f, "line {line} is no link: {text:?}"),
            Self::Gap { line, before, found } => {
                write!(f, "line {line}: gap: link {found} after link {before}")
            }
            Self::Broken { line, number } => {
                write!(f, "line {line}: link {number} does not follow from the one before")
            }
            Self::Corrupt(line, text) => write!(f, "line {line}: the guest says: {text}"),
            Self::Apart { first, a_first, a_last } => {
                write!(f, "gap: starts with link {first}, which follows none of links {a_first} to {a_last}")
            }
            Self::OtherChain(number) => {
                write!(f, "link {number} does not follow from the first log's")
            }
            Self::In(file, error) => write!(f, "{file}: {error}"),
        }
    }
}

/// The links of one log, checked: each follows from the one before.
fn links(text: &str) -> Result<Vec<Link>, Error> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut links: Vec<Link> = Vec::new();
    for (number, line) in whole.split('\n').enumerate() {
        let (number, line) = (number + 1, line.trim_end_matches('\r'));
        if line.contains("CORRUPT") {
            return Err(Error::Corrupt(number, line.into()));
        }
        let Some(link) = Link::parse(line) else {
            if line.starts_with("chain ") {
                return Err(Error::Malformed(number, line.into()));
            }
            continue;
        };
        if let Some(last) = links.last() {
            let next = last.next();
            if link.number != next.number {
                return Err(Error::Gap { line: number, before: last.number, found: link.number });
            }
            if link != next {
                return Err(Error::Broken { line: number, number: link.number });
            }
        }
        links.push(link);
    }
    if links.is_empty() { Err(Error::Empty) } else { Ok(links) }
}

fn read(file: &str) -> Result<Vec<Link>, Error> {
    let inside = |error| Error::In(file.into(), Box::new(error));
    let bytes = std::fs::read(file).map_err(|e| inside(Error::Unreadable(e.to_string())))?;
    links(&String::from_utf8_lossy(&bytes)).map_err(inside)
}

fn summary(file: &str, links: &[Link]) -> String {
    let number = |link: Option<&Link>| link.map_or(0, |link| link.number);
    format!(
        "{file}: links {} to {}, {} in a row, no gap",
        number(links.first()),
        number(links.last()),
        links.len()
    )
}

/// Checks each log by itself.
pub(crate) fn each(files: &[&str]) -> Result<String, Error> {
    let reports: Result<Vec<_>, _> = files.iter().map(|file| Ok(summary(file, &read(file)?))).collect();
    Ok(reports?.join("\n"))
}

/// Checks both logs, and that `b` goes on exactly after some link of `a`.
pub(crate) fn continues(a: &str, b: &str) -> Result<String, Error> {
    let (a_links, b_links) = (read(a)?, read(b)?);
    let cut = cut(&a_links, &b_links).map_err(|error| Error::In(b.into(), Box::new(error)))?;
    let (a_report, b_report) = (summary(a, &a_links), summary(b, &b_links));
    Ok(format!("{a_report}\n{b_report}\n{b} continues {a} after link {cut}"))
}

/// The link of `a` after which `b` begins.
fn cut(a: &[Link], b: &[Link]) -> Result<u64, Error> {
    let by_number: BTreeMap<u64, &Link> = a.iter().map(|link| (link.number, link)).collect();
    let first = b.first().ok_or(Error::Empty)?;
    let before = first.number.checked_sub(1).and_then(|number| by_number.get(&number));
    let Some(before) = before else {
        return Err(Error::Apart {
            first: first.number,
            a_first: a.first().map_or(0, |link| link.number),
            a_last: a.last().map_or(0, |link| link.number),
        });
    };
    if before.next() != *first {
        return Err(Error::OtherChain(first.number));
    }
    Ok(before.number)
}

/// The number of the last whole link of a log, for scripts.
pub(crate) fn last_link(file: &str) -> Result<String, Error> {
    let links = read(file)?;
    Ok(links.last().map_or(0, |link| link.number).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(seed: &str, numbers: std::ops::Range<u64>) -> String {
        std::iter::successors(Some(Link::first(seed)), |link| Some(link.next()))
            .skip_while(|link| link.number < numbers.start)
            .take_while(|link| link.number < numbers.end)
            .map(|link| format!("{link}\r\n"))
            .collect()
    }

    #[test]
    fn a_right_log_passes_with_other_lines_and_half_lines_at_its_ends() {
        let text = format!("0123abcd\r\nLinux boots\n{}chain 9 01", log("a", 3..9));
        let links = links(&text).unwrap();
        assert_eq!((links[0].number, links.len()), (3, 6));
    }

    #[test]
    fn a_missing_link_is_a_gap() {
        let text = log("a", 0..3) + &log("a", 4..6);
        assert_eq!(links(&text), Err(Error::Gap { line: 4, before: 2, found: 4 }));
    }

    #[test]
    fn a_repeated_link_is_a_gap_too() {
        let text = log("a", 0..3) + &log("a", 2..6);
        assert_eq!(links(&text), Err(Error::Gap { line: 4, before: 2, found: 2 }));
    }

    #[test]
    fn a_wrong_hash_is_a_broken_link() {
        let text = log("a", 0..3) + &log("b", 3..6);
        assert_eq!(links(&text), Err(Error::Broken { line: 4, number: 3 }));
    }

    #[test]
    fn lines_in_a_mess_and_what_the_guest_says_are_errors() {
        let text = log("a", 0..2) + "chain 2 0ff\n" + &log("a", 3..4);
        assert!(matches!(links(&text), Err(Error::Malformed(3, _))));
        let text = log("a", 0..2) + "CORRUPT page=1\n" + &log("a", 2..4);
        assert!(matches!(links(&text), Err(Error::Corrupt(3, _))));
        assert_eq!(links("nothing\n"), Err(Error::Empty));
    }

    #[test]
    fn a_restored_guest_goes_on_after_a_link_of_the_first_log() {
        let a = links(&log("a", 0..9)).unwrap();
        assert_eq!(cut(&a, &links(&log("a", 5..20)).unwrap()), Ok(4));
        assert_eq!(cut(&a, &links(&log("a", 9..20)).unwrap()), Ok(8));
    }

    #[test]
    fn a_restored_guest_that_jumps_or_has_another_past_is_refused() {
        let a = links(&log("a", 3..9)).unwrap();
        let apart = |first| Err(Error::Apart { first, a_first: 3, a_last: 8 });
        assert_eq!(cut(&a, &links(&log("a", 10..20)).unwrap()), apart(10));
        assert_eq!(cut(&a, &links(&log("a", 0..20)).unwrap()), apart(0));
        assert_eq!(cut(&a, &links(&log("b", 5..20)).unwrap()), Err(Error::OtherChain(5)));
    }
}
