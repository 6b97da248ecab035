//! Copying pieces of any size by grants: into our memory, out of it, and from one domain's grant
//! to another's without passing through it. Many with one hypercall.

use alloc::boxed::Box;
use alloc::vec;
use core::marker::PhantomData;

use xen_sys::errno::Errno;
use xen_sys::grant_table as sys;
use xen_sys::grant_table::{GnttabCopy, GnttabCopyPtr, GrantStatus};
use xen_sys::{DOMID_SELF, DomId, PAGE_SHIFT, PAGE_SIZE};

use super::Gref;

/// A place in a page that another domain granted us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Whose.
    pub dom: DomId,
    /// The grant.
    pub gref: Gref,
    /// First octet within the page: below 4096.
    pub offset: u16,
}

/// The batch has no room for a piece: run it first. Nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Memory for batches; nothing is allocated later.
pub struct Relay {
    ops: Box<[GnttabCopy]>,
    hypercalls: u64,
    copies: u64,
}

impl Relay {
    /// Sets memory aside for so many copies at a time: 40 octets each.
    pub fn new(capacity: usize) -> Relay {
        let end = GnttabCopyPtr { ref_or_frame: 0, domid: DOMID_SELF, offset: 0 };
        let op = GnttabCopy { source: end, dest: end, len: 0, flags: 0, status: 0 };
        Relay { ops: vec![op; capacity].into_boxed_slice(), hypercalls: 0, copies: 0 }
    }

    /// Begins a batch. What it copies from and to in our memory is lent to it until it has run.
    pub fn batch<'a>(&mut self) -> Batch<'_, 'a> {
        Batch { relay: self, used: 0, lent: PhantomData }
    }

    /// Hypercalls and copies made since it was made.
    pub fn counters(&self) -> (u64, u64) {
        (self.hypercalls, self.copies)
    }
}

/// Copies to be made together, in this order.
pub struct Batch<'r, 'a> {
    relay: &'r mut Relay,
    used: usize,
    lent: PhantomData<&'a mut [u8]>,
}

impl<'r, 'a> Batch<'r, 'a> {
    /// Copies that were added: the place that the next one's status will have.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Copies that can still be added.
    pub fn room(&self) -> usize {
        self.relay.ops.len() - self.used
    }

    /// From another domain's page into our memory: a copy for each page of ours that it touches.
    ///
    /// # Errors
    /// [`Full`].
    pub fn fetch(&mut self, from: Remote, into: &'a mut [u8]) -> Result<(), Full> {
        let address = into.as_mut_ptr() as u64;
        self.ours(address, into.len(), |op, at, done| {
            op.source = theirs(from, done);
            op.dest = at;
            op.flags = sys::GNTCOPY_SOURCE_GREF;
        })
    }

    /// From our memory into another domain's page.
    ///
    /// # Errors
    /// [`Full`].
    pub fn store(&mut self, from: &'a [u8], to: Remote) -> Result<(), Full> {
        self.ours(from.as_ptr() as u64, from.len(), |op, at, done| {
            op.source = at;
            op.dest = theirs(to, done);
            op.flags = sys::GNTCOPY_DEST_GREF;
        })
    }

    /// From one domain's page to another's.
    ///
    /// # Errors
    /// [`Full`].
    pub fn relay(&mut self, from: Remote, to: Remote, len: u16) -> Result<(), Full> {
        let op = self.relay.ops.get_mut(self.used).ok_or(Full)?;
        *op = GnttabCopy {
            source: theirs(from, 0),
            dest: theirs(to, 0),
            len,
            flags: sys::GNTCOPY_SOURCE_GREF | sys::GNTCOPY_DEST_GREF,
            status: GrantStatus::GeneralError as i16,
        };
        self.used += 1;
        Ok(())
    }

    /// Adds a copy for each page of ours in `address..address + len`.
    fn ours(
        &mut self,
        address: u64,
        len: usize,
        set: impl Fn(&mut GnttabCopy, GnttabCopyPtr, u16),
    ) -> Result<(), Full> {
        let pages = (address as usize % PAGE_SIZE + len).div_ceil(PAGE_SIZE);
        let ops = self.relay.ops.get_mut(self.used..self.used + pages).ok_or(Full)?;
        let mut done = 0;
        for op in ops {
            let at = address + done as u64;
            let offset = at as usize % PAGE_SIZE;
            let part = (PAGE_SIZE - offset).min(len - done);
            let frame = at >> PAGE_SHIFT;
            set(
                op,
                GnttabCopyPtr { ref_or_frame: frame, domid: DOMID_SELF, offset: offset as u16 },
                done as u16,
            );
            op.len = part as u16;
            op.status = GrantStatus::GeneralError as i16;
            done += part;
        }
        self.used += pages;
        Ok(())
    }

    /// Makes the copies, with one hypercall. Returns the status of each, in order: one that fails
    /// does not keep the others from being made.
    ///
    /// # Errors
    /// Xen refused the call as a whole; nothing may be believed of any copy.
    pub fn run(self) -> Result<impl Iterator<Item = GrantStatus> + use<'r>, Errno> {
        let Batch { relay, used, .. } = self;
        let ops = relay.ops.get_mut(..used).unwrap_or_default();
        if !ops.is_empty() {
            relay.hypercalls += 1;
            relay.copies += used as u64;
            // SAFETY: what is written to in our memory was lent to the batch for `'a`, which
            // is longer than the batch.
            unsafe { sys::copy(ops) }?;
        }
        Ok(ops.iter().map(|op| GrantStatus::from_raw(op.status)))
    }
}

/// `done` octets into a place of another domain.
fn theirs(at: Remote, done: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { ref_or_frame: at.gref.0.into(), domid: at.dom, offset: at.offset.saturating_add(done) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Remote = Remote { dom: 5, gref: Gref(9), offset: 100 };

    #[test]
    fn memory_of_ours_is_split_where_its_pages_end() {
        let mut relay = Relay::new(8);
        let mut memory = vec![0u8; 3 * PAGE_SIZE];
        let start = memory.as_ptr().align_offset(PAGE_SIZE);
        let mut batch = relay.batch();
        batch.fetch(THERE, &mut memory[start + 4000..start + 4196]).unwrap();
        assert_eq!(batch.len(), 2);
        let [first, second] = [batch.relay.ops[0], batch.relay.ops[1]];
        assert_eq!((first.len, second.len), (96, 100));
        assert_eq!((first.dest.offset, second.dest.offset), (4000, 0));
        assert_eq!((first.source.offset, second.source.offset), (100, 196));
        assert_eq!(second.dest.ref_or_frame, first.dest.ref_or_frame + 1);
    }

    #[test]
    fn what_does_not_fit_adds_nothing() {
        let mut relay = Relay::new(1);
        let page = vec![0u8; 2 * PAGE_SIZE];
        let mut batch = relay.batch();
        assert_eq!(batch.store(&page, THERE), Err(Full));
        assert!(batch.is_empty());
        batch.relay(THERE, THERE, 60).unwrap();
        assert_eq!(batch.relay(THERE, THERE, 60), Err(Full));
        assert!(batch.run().is_err(), "there is no Xen here");
    }
}
