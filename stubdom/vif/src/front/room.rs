//! How many frames can go at once: for who would rather wait than send a part.

use super::{BUFFERS, Front, Tx};

/// When there is less room than was wanted, an event is asked for at so many free buffers: half of
/// them, so that a ring that is full is filled again before it is empty.
const HALF: usize = BUFFERS / 2;

impl Front {
    /// Buffers that are free. If less than half of them are, [`Front::wait`] ends when they are.
    /// 0 without a link.
    pub fn room(&self) -> usize {
        if !self.link_up() {
            return 0;
        }
        let Ok(mut tx) = self.tx.try_borrow_mut() else { return 0 };
        let Some(tx) = tx.as_mut() else { return 0 };
        let room = self.room_of(tx);
        if room >= HALF {
            return room;
        }
        // What was committed must go before an answer can come.
        self.flush_ring(tx);
        self.room_of(tx)
    }

    fn room_of(&self, tx: &mut Tx) -> usize {
        match tx.room(HALF, &self.counters) {
            Ok(room) => room,
            Err(broken) => {
                self.break_link(broken);
                0
            }
        }
    }
}
