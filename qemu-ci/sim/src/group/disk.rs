//! What survives a crash of the shim and of the host: images that are durable and undecided, the
//! channel's frames, parts, and the manifest whose rename is the commit.

use std::collections::{BTreeMap, BTreeSet};

use vnsnap::GroupId;

use super::oracle::{FrameNo, Vif};

/// One group snapshot's folder and images on one host.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// Images that are durable, by guest.
    pub images: BTreeSet<u32>,
    /// The channel's frames; none before they are durable.
    pub channel: Option<Vec<(Vif, FrameNo)>>,
    /// The part: there once everything of this host is durable.
    pub part: Option<Vec<u8>>,
    /// The manifest; in a folder that is not committed, written and not renamed.
    pub manifest: Option<Vec<u8>>,
    /// Renamed: committed here.
    pub committed: bool,
    /// All switches that take part.
    pub members: Vec<u64>,
    /// This host coordinated, and does not know that all others have it.
    pub unconfirmed: bool,
}

/// A host's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// All folders.
    pub folders: BTreeMap<GroupId, Folder>,
}

/// What one host says of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The host.
    pub host: u32,
    /// Its members.
    pub guests: Vec<u32>,
    /// Their vifs in the network.
    pub vifs: Vec<Vif>,
    /// Frames recorded.
    pub recorded: u32,
}

/// Octets that a real part has for each guest, about.
const GUEST_WORDS: usize = 90;

impl Part {
    /// As octets: about as long as the real one.
    pub fn emit(&self) -> Vec<u8> {
        let (guests, vifs) = (self.guests.len() as u32, self.vifs.len() as u32);
        let head = [self.host, guests, vifs, self.recorded];
        let words = head.iter().chain(&self.guests).chain(&self.vifs);
        let mut octets: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        octets.resize(octets.len() + self.guests.len() * GUEST_WORDS * 4, 0);
        octets
    }

    /// Understood again.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let mut words = octets.chunks_exact(4).map(|word| {
            let [a, b, c, d] = *word else { return 0 };
            u32::from_le_bytes([a, b, c, d])
        });
        let (host, guests, vifs, recorded) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let guests = words.by_ref().take(guests as usize).collect();
        let vifs = words.by_ref().take(vifs as usize).collect();
        Some(Self { host, guests, vifs, recorded })
    }
}

/// All parts, as they come to the coordinator and as the manifest has them: each preceded by its switch
/// (u64) and length (u32), little endian.
pub fn parts(manifest: &[u8]) -> Vec<Part> {
    let mut rest = manifest;
    let mut parts = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<12>() {
        let [_, _, _, _, _, _, _, _, a, b, c, d] = *head;
        let Some((part, after)) = after.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize) else {
            break;
        };
        parts.extend(Part::parse(part));
        rest = after;
    }
    parts
}
