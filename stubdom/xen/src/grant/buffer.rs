//! Pages that stay granted and are used again and again, for data on its way to another domain
//! ([`OutPage`]) or from it ([`InPage`]).

use xen_sys::{DomId, PAGE_SIZE};

use super::{Access, GrantError, GrantedPage, Gref};
use crate::page::PoolPage;

/// A page that another domain may read and only we write. What is in it is seen over there at any
/// moment, so it is for octets that are meant for it.
pub struct OutPage(GrantedPage);

impl OutPage {
    /// Zeroes the page (what was in it before is nobody's business) and lets `dom` read it.
    ///
    /// # Errors
    /// See [`GrantError`]; the page goes back to its pool.
    pub fn new(mut page: PoolPage, dom: DomId) -> Result<OutPage, GrantError> {
        page.fill(0);
        GrantedPage::new(page, dom, Access::ReadOnly).map(OutPage)
    }

    /// The reference, for the other domain.
    pub fn gref(&self) -> Gref {
        self.0.gref()
    }

    /// The page, to look at.
    pub fn peek(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: the page is ours as long as `self` lives, and only `bytes` writes to it, with
        // `&mut self`.
        unsafe { &*self.0.as_ptr().cast() }
    }

    /// The page.
    pub fn bytes(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: the page is ours as long as `self` lives, and `&mut self` makes this the only
        // reference in this domain. The other domain can read, not write: nothing changes
        // behind the reference's back.
        unsafe { &mut *self.0.as_ptr().cast() }
    }
}

/// A page that another domain may write, at any moment. What is in it is copied out before it is
/// looked at.
pub struct InPage(GrantedPage);

impl InPage {
    /// Zeroes the page and lets `dom` write (and read) it.
    ///
    /// # Errors
    /// See [`GrantError`]; the page goes back to its pool.
    pub fn new(mut page: PoolPage, dom: DomId) -> Result<InPage, GrantError> {
        page.fill(0);
        GrantedPage::new(page, dom, Access::ReadWrite).map(InPage)
    }

    /// The reference, for the other domain.
    pub fn gref(&self) -> Gref {
        self.0.gref()
    }

    /// Copies octets from `offset` on into `to`, once. `false`, and nothing is copied: they don't
    /// all lie in the page.
    #[must_use]
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) -> bool {
        if offset > PAGE_SIZE || to.len() > PAGE_SIZE - offset {
            return false;
        }
        // SAFETY: the range lies in the page, which is ours as long as `self` lives, and `to` is
        // other memory. The other domain may write meanwhile: what arrives is an allegation.
        unsafe { core::ptr::copy_nonoverlapping(self.0.as_ptr().add(offset), to.as_mut_ptr(), to.len()) };
        true
    }
}
