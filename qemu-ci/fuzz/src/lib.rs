//! What the fuzz targets share: an input taken apart piece by piece.
//!
//! Each target is `src/bin/NAME.rs`; its corpus is `corpus/NAME/`. It asserts what must hold of
//! whatever comes, not only that nothing panics.

/// An input. At its end it gives zeroes, so that every input means something.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next octet.
    pub fn octet(&mut self) -> u8 {
        let [octet] = self.array();
        octet
    }

    /// The next number of 16 bits.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next so many octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let part = self.take(N);
        array[..part.len()].copy_from_slice(part);
        array
    }

    /// The next so many octets, or as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        part
    }

    /// A string of octets: its length in one octet, then it.
    pub fn string(&mut self) -> &'a [u8] {
        let len = self.octet();
        self.take(len.into())
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
