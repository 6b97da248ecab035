//! What a snapshot's report says of the network.

/// Frames and their octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Their octets.
    pub octets: u64,
}

impl Count {
    pub(super) const fn add(&mut self, octets: u32) {
        self.frames = self.frames.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u64);
    }

    const fn with(self, other: Count) -> Count {
        Count {
            frames: self.frames.wrapping_add(other.frames),
            octets: self.octets.wrapping_add(other.octets),
        }
    }
}

/// What was judged at a port, apart from what was simply delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// From after the cut and held for a while, whatever became of it.
    pub held: Count,
    /// From after the cut and dropped: there was no room to hold it, or it got too old, or the mode is to
    /// drop.
    pub dropped: Count,
    /// From before the cut, delivered after it, and recorded.
    pub recorded: Count,
    /// From before a cut, delivered after it, and not recorded: no cut runs, its channel is
    /// closed, or the guest is not in the snapshot.
    pub late: Count,
}

impl Counts {
    pub(super) const fn with(self, other: &Counts) -> Counts {
        let Self { held, dropped, recorded, late } = other;
        Counts {
            held: self.held.with(*held),
            dropped: self.dropped.with(*dropped),
            recorded: self.recorded.with(*recorded),
            late: self.late.with(*late),
        }
    }
}
