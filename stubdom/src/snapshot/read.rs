//! Reading a batch of pages: what is mapped from its mappings, the rest by a window.

use handoff::{Failure, Verb};
use livesave::{How, ReadDone};
use xen::executor::yield_now;
use xen::grant::Gref;
use xen::time::now;

use super::{CHUNK, Driver, source};

impl Driver<'_> {
    /// Reads the batch. What is mapped is copied while the shim grants the rest.
    pub(super) async fn read(&mut self, how: How) -> Result<ReadDone<'static>, Failure> {
        let copied_us = self.source.micros;
        let mut done = ReadDone::default();
        if how == How::Keep {
            self.split_mapped();
        }
        let asked = match self.batch.is_empty() {
            true => None,
            false => Some(self.ask_window(how == How::SendUnlessDirty).await?),
        };
        done.sent += self.keep_mapped().await;
        let began = now();
        if let Some(seq) = asked {
            self.window_is_open(seq, &mut done).await?;
        }
        let mut waited_us = began.elapsed().as_micros() as u64;
        self.read_window(how, &mut done).await?;
        if !self.mapped.is_empty() {
            // Mapped in vain: the guest had taken them away, or there was no room to keep them.
            self.batch.clear();
            self.batch.extend(self.mapped.drain(..).map(|slot| (slot, Gref(0))));
            let began = now();
            let seq = self.ask_window(false).await?;
            self.window_is_open(seq, &mut done).await?;
            waited_us += began.elapsed().as_micros() as u64;
            self.read_window(how, &mut done).await?;
        }
        done.pool_left = self.pool_left();
        done.copy_us = waited_us + self.source.micros.saturating_sub(copied_us);
        Ok(done)
    }

    /// Takes off the batch what is mapped.
    fn split_mapped(&mut self) {
        let Self { source, batch, mapped, .. } = self;
        batch.retain(|(slot, _)| {
            let stays = mapped.len() == mapped.capacity() || !source.is_prepared(*slot);
            if !stays {
                mapped.push(*slot);
            }
            stays
        });
    }

    /// Copies what is mapped into the pool. What could not be copied is left in `mapped`. Returns how many were.
    async fn keep_mapped(&mut self) -> u32 {
        let (mut at, mut failed, mut copied) = (0, 0, 0);
        while at < self.mapped.len() {
            let Self { link, source, mapped, kept, .. } = self;
            let began = now();
            let upto = mapped.len().min(at + CHUNK);
            while at < upto
                && let Some(&slot) = mapped.get(at)
            {
                let room = if kept.len() < kept.capacity() { link.pool().take() } else { None };
                let page = room.and_then(|mut page| source.read(slot, &mut page).then_some(page));
                if let Some(page) = page {
                    kept.push((slot, page));
                    copied += 1;
                } else {
                    mapped.swap(at, failed);
                    failed += 1;
                }
                at += 1;
            }
            let micros = began.elapsed().as_micros() as u64;
            source.micros += micros;
            self.prepared_us += micros;
            // Other members of a group stand still at the same time.
            yield_now().await;
        }
        self.mapped.truncate(failed);
        self.prepared += copied;
        copied
    }

    /// Copies the batch, on which the window is open, and sends or keeps it.
    async fn read_window(&mut self, how: How, done: &mut ReadDone<'_>) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.batch.len() {
            let count = (self.batch.len() - at).min(CHUNK);
            if how == How::Keep && self.keep(at, count)? {
                done.sent += count as u32;
            } else {
                if how == How::Keep {
                    self.spilled += count as u32;
                }
                let zeros = self.forward(at, count).await?;
                done.sent += count as u32 - zeros;
                done.zero += zeros;
            }
            at += count;
            // The link's reader and other snapshots want their turn.
            yield_now().await;
        }
        Ok(())
    }

    /// Asks the shim to grant the batch.
    async fn ask_window(&mut self, skip_dirty: bool) -> Result<u16, Failure> {
        self.half ^= 1;
        let verb = Verb::Window { half: self.half, skip_dirty, count: self.batch.len() as u16 };
        let batch = core::mem::take(&mut self.batch);
        let seq = self.ask_grants(verb, batch.iter().map(|(slot, _)| *slot)).await;
        self.batch = batch;
        seq
    }

    /// The batch is granted; slots left out drop from it.
    async fn window_is_open(&mut self, seq: u16, done: &mut ReadDone<'_>) -> Result<(), Failure> {
        let first = self.granted(seq).await?;
        let asked = self.batch.len();
        for ((_, gref), i) in self.batch.iter_mut().zip(0..) {
            *gref = Gref(first.0.wrapping_add(i));
        }
        let mut i = 0;
        self.batch.retain(|_| {
            i += 1;
            !self.mailbox.is_left_out(i - 1)
        });
        done.skipped += (asked - self.batch.len()) as u32;
        Ok(())
    }

    /// Copies a part of the batch into the pool. `false`: there is no room for it.
    fn keep(&mut self, at: usize, count: usize) -> Result<bool, Failure> {
        let from = self.batch.get(at..at + count).unwrap_or_default();
        if self.kept.capacity() - self.kept.len() < count {
            return Ok(false);
        }
        let Some(mut into) = source::take(self.link.pool(), count) else { return Ok(false) };
        self.source.copy(from, &mut into)?;
        self.kept.extend(from.iter().map(|(slot, _)| *slot).zip(into));
        Ok(true)
    }

    /// Copies a part of the batch and sends it. Returns how many pages were zero.
    async fn forward(&mut self, at: usize, count: usize) -> Result<u32, Failure> {
        let from = self.batch.get(at..at + count).unwrap_or_default();
        self.source.copy(from, &mut self.staging)?;
        let pages = from.iter().map(|(slot, _)| *slot).zip(&self.staging);
        self.sender.send(pages).await
    }
}
