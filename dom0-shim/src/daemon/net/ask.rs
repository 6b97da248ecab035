//! Which answers of the switch belong to which question.
//!
//! The link's reader leaves answers here and must never wait: an asker who does not keep up is
//! dropped, or, for a capture, misses some.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handoff::{NetAnswer, NetError, NetOrder, RequestId};

use crate::daemon::lock;
use crate::error::{Error, Result};
use crate::paths;

/// Answers that may wait for one asker. A MAC table of 10,000 is 313.
const UNREAD: usize = 8192;

/// The same for a capture, whose answers have bulk: 4 MiB.
const UNREAD_CAPTURED: usize = 64;

/// How long the switch may be silent before an order counts as lost.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The same where an answer is good to have, and nobody wants to wait for it.
pub(super) const GLANCE: Duration = Duration::from_secs(2);

/// Where the stub's switch is reached: the link, or a test.
pub(in crate::daemon) trait Switch: Send + Sync {
    /// Sends an order, whose answers are then to be read.
    fn ask(&self, order: NetOrder) -> Result<Answers>;
}

/// Gives an order and hears the answers before the last. The outer error: it did not get there,
/// or no answer came. The inner one: the stub refused.
pub(super) fn order(
    switch: &dyn Switch,
    order: NetOrder,
    patience: Duration,
    hear: &mut dyn FnMut(NetAnswer),
) -> Result<std::result::Result<(), NetError>> {
    let answers = switch.ask(order)?;
    loop {
        match answers.next(patience)? {
            None => {
                return Err(Error::new("the stub domain's switch does not answer")
                    .hint(format!("Its console may say why: xl console {}", paths::STUB_NAME)));
            }
            Some(answer) => match answer.answer {
                NetAnswer::Done => return Ok(Ok(())),
                NetAnswer::Failed(why) => return Ok(Err(why)),
                other => hear(other),
            },
        }
    }
}

/// An answer and its bulk.
#[derive(Debug)]
pub(in crate::daemon) struct Answer {
    pub(in crate::daemon) answer: NetAnswer,
    pub(in crate::daemon) bulk: Vec<u8>,
}

#[derive(Debug, Default)]
struct Book {
    last: RequestId,
    askers: HashMap<RequestId, SyncSender<Box<Answer>>>,
}

/// Everybody who waits for answers.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Asks(Mutex<Book>);

impl Asks {
    /// A number for a question, and where its answers arrive.
    pub(in crate::daemon) fn open(asks: &Arc<Self>, capture: bool) -> Answers {
        let (sender, receiver) = sync_channel(if capture { UNREAD_CAPTURED } else { UNREAD });
        let mut book = lock(&asks.0);
        book.last = book.last.wrapping_add(1).max(1);
        let request = book.last;
        book.askers.insert(request, sender);
        Answers { asks: Arc::clone(asks), request, receiver }
    }

    /// The connection is gone: no more answers to anybody.
    pub(in crate::daemon) fn close_all(&self) {
        lock(&self.0).askers.clear();
    }

    /// Leaves an answer. Nobody misses one whose question is closed.
    pub(in crate::daemon) fn post(&self, request: RequestId, answer: NetAnswer, bulk: Vec<u8>) {
        let captured = matches!(answer, NetAnswer::Captured { .. });
        let mut book = lock(&self.0);
        let Some(asker) = book.askers.get(&request) else { return };
        let full = asker.try_send(Box::new(Answer { answer, bulk }));
        if !captured && matches!(full, Err(TrySendError::Full(_))) {
            book.askers.remove(&request);
        }
    }
}

/// The answers to one question, which is closed when this is dropped.
#[derive(Debug)]
pub(in crate::daemon) struct Answers {
    asks: Arc<Asks>,
    request: RequestId,
    receiver: Receiver<Box<Answer>>,
}

impl Answers {
    /// The question's number.
    pub(in crate::daemon) fn request(&self) -> RequestId {
        self.request
    }

    /// The next answer; `None` if none came in time.
    pub(super) fn next(&self, timeout: Duration) -> Result<Option<Answer>> {
        match self.receiver.recv_timeout(timeout) {
            Ok(answer) => Ok(Some(*answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::new("the connection to the stub domain has ended")
                    .hint("`luthier status` says whether it is back; then try again"))
            }
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        lock(&self.asks.0).askers.remove(&self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured() -> NetAnswer {
        NetAnswer::Captured { count: 0, missed: 0, now_us: 0 }
    }

    #[test]
    fn answers_go_to_who_asked_and_end_when_the_connection_does() {
        let asks = Arc::default();
        let (one, two) = (Asks::open(&asks, false), Asks::open(&asks, false));
        assert_ne!(one.request(), two.request());
        asks.post(two.request(), NetAnswer::Done, vec![2]);
        asks.post(99, NetAnswer::Done, vec![]);
        assert_eq!(two.next(Duration::ZERO).unwrap().unwrap().bulk, [2]);
        assert!(one.next(Duration::ZERO).unwrap().is_none());
        drop(two);
        assert_eq!(lock(&asks.0).askers.len(), 1);
        asks.close_all();
        assert!(one.next(Duration::ZERO).is_err());
    }

    #[test]
    fn who_does_not_read_holds_up_nobody() {
        let asks = Arc::default();
        let (capture, slow) = (Asks::open(&asks, true), Asks::open(&asks, false));
        for _ in 0..=UNREAD {
            asks.post(capture.request(), captured(), vec![]);
            asks.post(slow.request(), NetAnswer::Done, vec![]);
        }
        assert_eq!(slow.receiver.iter().count(), UNREAD);
        assert_eq!(capture.receiver.try_iter().count(), UNREAD_CAPTURED);
        // A capture goes on, with a gap.
        asks.post(capture.request(), captured(), vec![]);
        assert!(capture.next(Duration::ZERO).unwrap().is_some());
    }
}
