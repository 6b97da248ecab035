//! A network that is kept frozen on all hosts while its members are made.
//!
//! On each host a command keeps it so, and waits for one word: a guest that has connected gives up what
//! it sends after 3 s in which nobody was heard, and a new remote shell may take as long.
//!
//! What this must never do: thaw one host before all are to be thawed.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::hosts::{GO, Held, Host, Hosts};
use crate::error::Result;

/// How often the freeze is renewed: the stub thaws what was forgotten after a minute.
pub(super) const REFREEZE: Duration = Duration::from_secs(15);

/// What keeps it so on a host, if that began.
type HeldThere = (Host, Option<Box<dyn Held>>);

/// A network, and the hosts where it is frozen.
pub(super) struct Frozen<'a> {
    hosts: &'a dyn Hosts,
    network: String,
    held: Mutex<Vec<HeldThere>>,
}

impl<'a> Frozen<'a> {
    pub(super) fn new(hosts: &'a dyn Hosts, network: &str) -> Self {
        Self { hosts, network: network.to_owned(), held: Mutex::default() }
    }

    fn note<T>(&self, with: impl FnOnce(&mut Vec<HeldThere>) -> T) -> T {
        with(&mut self.held.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Freezes it on a host, until [`Self::thaw`].
    pub(super) fn begin(&self, host: &Host) -> Result<()> {
        let held = self.hosts.hold(host, &["restore-member", "freeze", &self.network]);
        // Whatever came of it: it may be frozen.
        let (held, result) = held.map_or_else(|e| (None, Err(e)), |held| (Some(held), Ok(())));
        self.note(|all| all.push((host.clone(), held)));
        result
    }

    /// # Errors
    /// A host may have thawed it.
    pub(super) fn check(&self) -> Result<()> {
        self.note(|all| {
            all.iter_mut().filter_map(|(_, held)| held.as_mut()).try_for_each(|held| held.check())
        })
    }

    /// Thaws it everywhere at once; what can't be thawed, the stub thaws itself after a minute.
    pub(super) fn thaw(&self) {
        let mut all = self.note(std::mem::take);
        all.iter_mut().filter_map(|(_, held)| held.as_mut()).for_each(|held| held.tell());
        for (host, held) in all {
            if held.is_some_and(|held| held.ended().is_ok()) {
                continue;
            }
            if let Err(e) = self.hosts.ask(&host, &["restore-member", "thaw", &self.network], &[]) {
                eprintln!("luthier: {}: the stub does it itself after a minute", e.message);
            }
        }
    }
}

/// Renews what was frozen until a word comes; whether it was the one that thaws.
pub(super) fn keep(
    renew: &mut dyn FnMut() -> Result<()>,
    every: Duration,
    words: &Receiver<String>,
) -> Result<bool> {
    loop {
        match words.recv_timeout(every) {
            Ok(word) => return Ok(word.trim() == GO),
            Err(RecvTimeoutError::Timeout) => renew()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::error::Error;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn the_freeze_is_renewed_until_the_word_comes() {
        for (word, thaws) in [(Some("go\n"), true), (Some("no\n"), false), (Some(""), false), (None, false)] {
            let (tell, words) = mpsc::channel();
            let mut tell = Some(tell);
            let mut renewed = 0;
            let mut renew = || {
                renewed += 1;
                if renewed == 3
                    && let Some(tell) = tell.take()
                {
                    word.into_iter().for_each(|word| tell.send(word.to_owned()).unwrap());
                }
                Ok(())
            };
            assert_eq!(keep(&mut renew, SHORT, &words).unwrap(), thaws, "{word:?}");
            assert_eq!(renewed, 3);
        }
    }

    #[test]
    fn who_can_not_renew_it_says_so() {
        let (_tell, words) = mpsc::channel();
        let error = keep(&mut || Err(Error::new("luthierd does not answer")), SHORT, &words);
        assert_eq!(error.unwrap_err().message, "luthierd does not answer");
    }
}
