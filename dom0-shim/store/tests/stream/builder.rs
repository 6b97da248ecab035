//! Streams, record by record.

use super::*;

/// Builds streams that nobody should write.
pub(crate) struct Builder(pub(crate) Vec<u8>);

impl Builder {
    pub(crate) fn xl(mandatory: u32, config: &[u8]) -> Builder {
        let mut b = Builder(b"Xen saved domain, xl format\n \0 \r".to_vec());
        let length = config.len() as u32;
        for word in [0x0102_0304, mandatory, 0, length + 4, length] {
            b.0.extend_from_slice(&u32::to_le_bytes(word));
        }
        b.0.extend_from_slice(config);
        b
    }

    /// All headers up to the first libxc record.
    pub(crate) fn headers() -> Builder {
        let b = Builder::xl(3, config().to_string().as_bytes());
        b.raw(b"LibxlFmt\0\0\0\x02\0\0\0\0").record(1, &[]).libxc(3, 2, 12)
    }

    pub(crate) fn libxc(self, version: u32, guest: u32, shift: u16) -> Builder {
        self.raw(&[0xff; 8])
            .raw(b"XENF")
            .raw(&version.to_be_bytes())
            .raw(&[0; 8])
            .raw(&guest.to_le_bytes())
            .raw(&shift.to_le_bytes())
            .raw(&[0, 0, 4, 0, 0, 0, 17, 0, 0, 0])
    }

    pub(crate) fn raw(mut self, octets: &[u8]) -> Builder {
        self.0.extend_from_slice(octets);
        self
    }

    pub(crate) fn record(self, kind: u32, body: &[u8]) -> Builder {
        let padding = vec![0; body.len().next_multiple_of(8) - body.len()];
        self.raw(&kind.to_le_bytes()).raw(&(body.len() as u32).to_le_bytes()).raw(body).raw(&padding)
    }

    /// A PAGE_DATA record of (type, frame, contents).
    pub(crate) fn pages(self, pages: &[(u64, u64, Option<&Page>)]) -> Builder {
        let mut body = (pages.len() as u64).to_le_bytes().to_vec();
        for (kind, pfn, _) in pages {
            body.extend_from_slice(&(kind << 60 | pfn).to_le_bytes());
        }
        for page in pages.iter().filter_map(|p| p.2) {
            body.extend_from_slice(page);
        }
        self.record(1, &body)
    }

    pub(crate) fn state_of(mut self, state: &State) -> Builder {
        for (kind, body) in state.iter().filter(|(k, _)| *k != StateKind::DomainConfig) {
            self = self.record(kind.number(), body);
        }
        self
    }

    /// The state, and both ENDs.
    pub(crate) fn end(self) -> Vec<u8> {
        self.state_of(&state()).record(0, &[]).record(0, &[]).0
    }
}

pub(crate) const STATIC_END: u32 = 0x10;

/// A whole guest of five pages that `state()` can be restored into.
pub(crate) fn start() -> Builder {
    let (a, b) = (page(1), page(2));
    Builder::headers().record(STATIC_END, &[]).pages(&[
        (0, 0, Some(&a)),
        (0, 1, Some(&b)),
        (0, 2, Some(&page(0))),
        (0, 0xfeffc, Some(&a)),
        (0, 0xfefff, Some(&b)),
    ])
}
