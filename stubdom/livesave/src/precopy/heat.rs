//! Pages that are dirty time and again: put off for the last round, and made ready for it.

use super::Precopy;
use crate::policy::Policy;

impl<P: Policy> Precopy<P> {
    /// Puts off the pages that were dirty at two fetches in a row, after a round that read all
    /// that it was asked to: then `to_send` is exactly what was dirty.
    pub(super) fn defer_hot(&mut self) {
        if self.left > 0 {
            return;
        }
        if self.config.defer_hot {
            self.deferred_pages = self.to_send.split_hot(&mut self.before, &mut self.deferred);
        } else if self.config.prepare > 0 {
            self.before.copy_from(&self.to_send);
        }
    }

    /// Lists the pages that the last round will most likely read: those known, then those that
    /// were dirty the last time. False if there are none, or none are wanted.
    pub(super) fn fill_prepare(&mut self) -> bool {
        let max = self.config.prepare as usize;
        self.batch.clear();
        self.to_send.list(&[], &mut self.batch, max);
        self.deferred.list(&[&self.to_send], &mut self.batch, max);
        self.before.list(&[&self.to_send, &self.deferred], &mut self.batch, max);
        !self.batch.is_empty()
    }
}
