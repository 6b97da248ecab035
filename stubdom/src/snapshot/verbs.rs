//! The verbs of the shim: asked for, and answered, one after the other.
//!
//! A verb may be asked for before its turn, when it is certain that it comes next, so that the shim does it
//! without a message from here: each way to Dom0 and back wakes two vCPUs. No more than one at a time.

use handoff::{Failure, Outcome, ToShim, Verb, WINDOW_SLOTS};
use xen::grant::Gref;

use super::Driver;
use crate::mailbox::Answer;

impl Driver<'_> {
    /// Asks the shim for a verb and waits for its answer.
    pub(super) async fn verb(&mut self, verb: Verb, bulk: &[&[u8]]) -> Result<Outcome, Failure> {
        let seq = match self.ahead.take() {
            Some((sent, seq)) if sent == verb => seq,
            other => {
                if let Some((_, seq)) = other {
                    // Not wanted any more: what came of it is for nobody.
                    self.drop_answer(seq).await?;
                }
                self.ask(verb, bulk).await?
            }
        };
        self.answer(seq).await
    }

    /// As [`Driver::verb`], without bulk, and asks for the verb that comes next.
    pub(super) async fn verb_before(&mut self, verb: Verb, next: Option<Verb>) -> Result<Outcome, Failure> {
        let seq = self.ask(verb, &[]).await?;
        if let Some(next) = next {
            self.ahead = Some((next, self.ask(next, &[]).await?));
        }
        self.answer(seq).await
    }

    /// Asks for access to slots; [`Driver::granted`] waits for the answer.
    pub(super) async fn ask_grants(
        &mut self,
        verb: Verb,
        slots: impl Iterator<Item = u32>,
    ) -> Result<u16, Failure> {
        let mut bulk = [0u8; WINDOW_SLOTS * 4];
        let mut len = 0;
        for (slot, bytes) in slots.zip(bulk.as_chunks_mut().0) {
            *bytes = slot.to_le_bytes();
            len += bytes.len();
        }
        self.ask(verb, &[bulk.get(..len).unwrap_or_default()]).await
    }

    /// Where the grants begin that were asked for.
    pub(super) async fn granted(&mut self, seq: u16) -> Result<Gref, Failure> {
        match self.answer(seq).await? {
            Outcome::Window { first_ref } => Ok(Gref(first_ref)),
            _ => Err(Failure::Protocol),
        }
    }

    /// Asks for a verb. Returns its number.
    async fn ask(&mut self, verb: Verb, bulk: &[&[u8]]) -> Result<u16, Failure> {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        let message = ToShim::Verb { job: self.mailbox.job, seq, verb };
        if self.mailbox.lost.get() {
            return Err(Failure::Cancelled);
        }
        self.link.send(&message, bulk).await.map_err(|_| Failure::Cancelled)?;
        Ok(seq)
    }

    /// Waits for the answer to a verb, the next one that comes.
    async fn answer(&mut self, seq: u16) -> Result<Outcome, Failure> {
        match self.mailbox.answer().await {
            Answer::Reply(to, result) if to == seq => result.map_err(Failure::Verb),
            Answer::Reply(..) => Err(Failure::Protocol),
            Answer::Lost => Err(Failure::Cancelled),
        }
    }

    async fn drop_answer(&mut self, seq: u16) -> Result<(), Failure> {
        match self.answer(seq).await {
            Ok(_) | Err(Failure::Verb(_)) => Ok(()),
            Err(why) => Err(why),
        }
    }
}
