//! What a guest of the ring passes on, on its disk: the oracle for a cut of several guests and a disk.
//!
//! A token is on the disk before it is sent on: as a record of a file of fixed size (`slots`, used over
//! and over), and as a line of one that grows (`passed`). Before each token the disk itself is read,
//! past the page cache: it must have exactly the records that memory remembers to have written. A disk
//! that is older than memory lacks one; a disk that is newer has one too many, and has a token that the
//! next guest may never have got. Dom0 checks the file that grows (`guest verify-passed`).
//!
//! Lines on the console: `journal N right`, whenever all records were compared.

use crate::disk::{self, BLOCK, Block, Fixed};
use crate::token::Token;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::thread;

/// Octets of a record: a line, and zeros.
const RECORD: usize = 128;
/// Records of a block.
const EACH: usize = BLOCK / RECORD;
/// Blocks of the file of records: 1,024 tokens.
const BLOCKS: usize = 32;
/// All records are compared once in so many tokens.
const THOROUGH: u64 = 64;
/// Blocks of another file that are overwritten a second, so that requests are under way at the cut.
const LOAD: u64 = 5;

/// The journal of a guest of the ring.
pub(crate) struct Ledger {
    slots: Fixed,
    passed: File,
    /// What the slots must have.
    memory: Vec<[u8; RECORD]>,
    /// How many tokens were put.
    count: u64,
}

impl Ledger {
    /// Makes it on the disk `device`, which has an ext4 file system.
    pub(crate) fn create(device: &str) -> io::Result<Self> {
        disk::start(device)?;
        let load = Fixed::create("load", BLOCKS as u64)?;
        thread::spawn(move || crate::journal::overwrite(&load, LOAD));
        Ok(Self {
            slots: Fixed::create("slots", BLOCKS as u64)?,
            passed: disk::log("passed")?,
            memory: vec![[0; RECORD]; BLOCKS * EACH],
            count: 0,
        })
    }

    /// Puts a token on the disk. What is there must be all before it, and nothing else.
    pub(crate) fn put(&mut self, token: &Token) -> Result<(), String> {
        let text = |e: io::Error| format!("journal at {}: {e}", self.count);
        let slot = (self.count % self.memory.len() as u64) as usize;
        if self.count.is_multiple_of(THOROUGH) {
            self.compare(0..BLOCKS)?;
            println!("journal {} right", self.count);
        } else {
            // The last one that was put, and where this one goes.
            let last = slot.checked_sub(1).unwrap_or(self.memory.len() - 1) / EACH;
            self.compare(last..last + 1)?;
            self.compare(slot / EACH..slot / EACH + 1)?;
        }
        let line = line(self.count, token);
        let record = record(&line);
        self.slots.write(&record, (slot * RECORD) as u64).map_err(text)?;
        self.slots.sync().map_err(text)?;
        self.passed.write_all(line.as_bytes()).map_err(text)?;
        self.passed.sync_all().map_err(text)?;
        if let Some(place) = self.memory.get_mut(slot) {
            *place = record;
        }
        self.count += 1;
        Ok(())
    }

    /// Compares blocks with what they must have.
    fn compare(&self, blocks: std::ops::Range<usize>) -> Result<(), String> {
        let mut block = Block([0; BLOCK]);
        for at in blocks {
            self.slots.read(at as u64, &mut block).map_err(|e| format!("journal at {}: {e}", self.count))?;
            let wanted = self.memory.chunks_exact(EACH).nth(at).unwrap_or_default();
            if let Some(fault) = difference(&block.0, wanted) {
                return Err(format!("journal, before its record {}: {fault}", self.count));
            }
        }
        Ok(())
    }
}

/// What is wrong with a block, in words.
fn difference(disk: &[u8; BLOCK], wanted: &[[u8; RECORD]]) -> Option<String> {
    let text = |record: &[u8]| String::from_utf8_lossy(record).trim_end_matches(['\0', '\n']).to_owned();
    let (found, want) = disk.chunks_exact(RECORD).zip(wanted).find(|(found, want)| found != want)?;
    Some(format!("the disk has {:?}, and memory {:?}", text(found), text(want)))
}

fn line(count: u64, token: &Token) -> String {
    let hash: String = token.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{count} {} {} {hash}\n", token.number, token.link)
}

fn record(line: &str) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    for (place, octet) in record.iter_mut().zip(line.bytes()) {
        *place = octet;
    }
    record
}

/// Checks a file `passed` in Dom0: the lines are all there, and each token comes again `guests` links
/// later, as its hash must be then. The last line may be half written. Says how many there are.
pub(crate) fn verify(file: &str, guests: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    verify_text(&text, crate::token::number(guests)?).map(|count| count.to_string())
}

fn verify_text(text: &str, guests: u64) -> Result<u64, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut expected: BTreeMap<u32, Token> = BTreeMap::new();
    let mut count = 0;
    for found in whole.lines() {
        let words: Vec<&str> = found.split(' ').collect();
        let [_, number, link, _] = words.as_slice() else {
            return Err(format!("line {count} is none: {found:?}"));
        };
        let (number, link) = (crate::token::number(number)?, crate::token::number(link)?);
        let token = match expected.get(&number) {
            Some(token) => *token,
            None if link <= guests => Token::first(number).after(link),
            None => return Err(format!("line {count}: token {number} comes at link {link} first")),
        };
        if line(count, &token).trim_end() != found {
            return Err(format!("line {count} is {found:?}, not {:?}", line(count, &token)));
        }
        expected.insert(number, token.after(guests));
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(tokens: &[Token]) -> String {
        tokens.iter().zip(0..).map(|(token, count)| line(count, token)).collect()
    }

    #[test]
    fn a_record_holds_any_token() {
        let most = line(u64::MAX, &Token { number: u32::MAX, link: u64::MAX, hash: [255; 32] });
        assert!(most.len() <= RECORD);
        assert_eq!(&record(&most)[..most.len()], most.as_bytes());
    }

    #[test]
    fn a_disk_that_is_older_or_newer_than_memory_is_seen() {
        let (old, new) = ([0; RECORD], record(&line(0, &Token::first(1))));
        let mut memory = vec![old; EACH];
        memory[3] = new;
        let mut disk = [0; BLOCK];
        assert!(difference(&disk, &memory).unwrap().starts_with("the disk has \"\", and memory \"0 1 0 "));
        disk[3 * RECORD..4 * RECORD].copy_from_slice(&new);
        assert_eq!(difference(&disk, &memory), None);
        disk[4 * RECORD..5 * RECORD].copy_from_slice(&new);
        assert!(difference(&disk, &memory).unwrap().ends_with("and memory \"\""));
    }

    #[test]
    fn what_was_passed_on_is_whole_or_the_line_is_named() {
        let (a, b) = (Token::first(0).next(), Token::first(1).next());
        let good = [a, b, a.after(4), b.after(4), a.after(8)];
        let text = passed(&good);
        assert_eq!(verify_text(&text, 4), Ok(5));
        assert_eq!(verify_text(&text[..text.len() - 9], 4), Ok(4));
        assert_eq!(verify_text("", 4), Ok(0));
        for (what, bad) in [
            ("lost", vec![a, b, b.after(4), a.after(8)]),
            ("doubled", vec![a, a, b]),
            ("changed", vec![a, Token { hash: [7; 32], ..b }]),
        ] {
            verify_text(&passed(&bad), 4).expect_err(what);
        }
        let missing_line: String =
            text.split_inclusive('\n').filter(|line| !line.starts_with("2 ")).collect();
        verify_text(&missing_line, 4).unwrap_err();
    }
}
