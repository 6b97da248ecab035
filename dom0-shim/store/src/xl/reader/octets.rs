//! Octets of a stream: headers, bodies of bounded length, and the errors that name where they are.

use super::*;

impl<R: Read> XlReader<R> {
    pub(super) fn start(&mut self, record: &'static str) {
        self.record = (record, self.offset);
    }

    pub(super) fn record_header(&mut self) -> Result<(u32, u32)> {
        let header: [u8; 8] = self.array()?;
        Ok((u32::from_le_bytes(part(&header, 0)), u32::from_le_bytes(part(&header, 4))))
    }

    pub(super) fn exact(&mut self, out: &mut [u8]) -> Result<()> {
        match self.input.read_exact(out) {
            Ok(()) => {
                self.offset = self.offset.saturating_add(out.len() as u64);
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                Err(self.malformed("the stream ends within it"))
            }
            Err(source) => Err(Error::StreamIo { doing: "reading the stream", source }),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.exact(&mut out)?;
        Ok(out)
    }

    /// Reads a body of bounded length, and its padding.
    pub(super) fn body(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(self.malformed(format!("it has {length} octets, more than {MAX_BODY}")));
        }
        // xl's optional data has no padding; all other bodies have.
        let whole = match self.phase {
            Phase::XlHeader => length,
            _ => padded(length),
        };
        let mut out = vec![0; whole];
        self.exact(&mut out)?;
        out.truncate(length);
        Ok(out)
    }

    pub(super) fn skip(&mut self, length: u32) -> Result<Option<Item<'static>>> {
        let mut left = padded(length as usize);
        let mut sink = [0; PAGE_SIZE];
        while left > 0 {
            let now = left.min(PAGE_SIZE);
            if let Some(sink) = sink.get_mut(..now) {
                self.exact(sink)?;
            }
            left -= now;
        }
        Ok(None)
    }

    pub(super) fn empty(&self, length: u32) -> Result<()> {
        match length {
            0 => Ok(()),
            n => Err(self.malformed(format!("it has {n} octets, and should have none"))),
        }
    }

    pub(super) fn malformed(&self, why: impl Into<String>) -> Error {
        Error::Stream { offset: self.record.1, record: self.record.0, why: why.into() }
    }

    pub(super) fn unsupported(&self, why: impl Into<String>) -> Error {
        Error::Unsupported { offset: self.record.1, record: self.record.0, why: why.into() }
    }

    pub(super) fn unknown(&self, kind: u32) -> Error {
        self.unsupported(format!("its mandatory type {kind:#x} is not known"))
    }

    pub(super) fn checkpointed(&self) -> Error {
        self.unsupported("it is a checkpointed stream (Remus or COLO)")
    }
}
