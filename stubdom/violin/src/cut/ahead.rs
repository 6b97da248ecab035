//! Epochs that frames have told us of before anybody else.

use super::Channel;
use crate::id::{Epoch, NetworkId};
use crate::switch::MAX_NETWORKS;

/// A frame came with an epoch that is higher than its port's, and no cut is known that leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The network.
    pub network: NetworkId,
    /// The epoch.
    pub epoch: Epoch,
    /// Who should know more.
    pub from: Channel,
}

/// The highest such epoch of each network, and whether the driver was told.
#[derive(Default)]
pub(super) struct News(heapless::Vec<(Ahead, bool), MAX_NETWORKS>);

impl News {
    /// A frame says so. With more networks than there can be, it is said again by the next frame.
    pub(super) fn heard(&mut self, ahead: Ahead) {
        match self.0.iter_mut().find(|(known, _)| known.network == ahead.network) {
            Some((known, told)) if known.epoch < ahead.epoch => (*known, *told) = (ahead, false),
            Some(_) => {}
            None => _ = self.0.push((ahead, false)),
        }
    }

    /// It is known otherwise.
    pub(super) fn known(&mut self, network: NetworkId, epoch: Epoch) {
        self.0.retain(|(known, _)| known.network != network || known.epoch > epoch);
    }

    /// The next that was not told yet.
    pub(super) fn next(&mut self) -> Option<Ahead> {
        let (ahead, told) = self.0.iter_mut().find(|(_, told)| !*told)?;
        *told = true;
        Some(*ahead)
    }
}
