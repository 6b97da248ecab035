//! When to connect and disconnect: the states of both ends (`io/xenbus.h`), as a function.
//!
//! The front end's state is written by the guest: any number may come, in any order, as often as
//! it likes. Whatever comes, what follows is one of the steps below.

/// `enum xenbus_state`, as far as a back end cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `XenbusStateInitialising`.
    Initialising = 1,
    /// `XenbusStateInitWait`: the back end has said what it offers.
    InitWait = 2,
    /// `XenbusStateInitialised`.
    Initialised = 3,
    /// `XenbusStateConnected`.
    Connected = 4,
    /// `XenbusStateClosing`.
    Closing = 5,
    /// `XenbusStateClosed`.
    Closed = 6,
}

impl State {
    /// Reads a node's value. `None`: it is no state that means anything here.
    pub fn parse(value: &[u8]) -> Option<State> {
        Some(match value {
            b"1" => State::Initialising,
            b"2" => State::InitWait,
            b"3" => State::Initialised,
            b"4" => State::Connected,
            b"5" => State::Closing,
            b"6" => State::Closed,
            _ => return None,
        })
    }

    /// The node's value.
    pub fn value(self) -> &'static str {
        match self {
            State::Initialising => "1",
            State::InitWait => "2",
            State::Initialised => "3",
            State::Connected => "4",
            State::Closing => "5",
            State::Closed => "6",
        }
    }
}

/// What a back end does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes.
    Stay,
    /// Offers its features and goes to `InitWait`, disconnected if it was not yet.
    Offer,
    /// Connects to the front end's rings, then goes to `Connected`.
    Connect,
    /// Disconnects and goes to this state.
    Close(State),
    /// Disconnects, goes to `Closed` and ends.
    End,
}

/// What follows from our state, the front end's, and whether the toolstack removes the device.
pub fn step(ours: State, front: Option<State>, removed: bool) -> Step {
    use State::*;
    match (ours, front) {
        _ if removed => Step::End,
        (InitWait, Some(Initialised | Connected)) => Step::Connect,
        // A guest that begins anew (resumed elsewhere, a second kernel) may not have closed.
        (Closed | Closing | Connected | Initialising, Some(Initialising)) => Step::Offer,
        (Initialising, None) => Step::Offer,
        (Connected | InitWait, Some(Closing)) => Step::Close(Closing),
        (Connected | InitWait | Closing, Some(Closed)) => Step::Close(Closed),
        // The front end's nodes are gone, so its rings are no longer to be believed.
        (Connected | Closing, None) => Step::Close(Closed),
        // A guest of a driver domain that started later than it.
        (Initialising, Some(_)) => Step::Offer,
        _ => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    /// Follows the steps until nothing changes.
    fn settle(mut ours: State, front: Option<State>) -> State {
        for _ in 0..4 {
            ours = match step(ours, front, false) {
                Step::Stay => return ours,
                Step::Offer => InitWait,
                Step::Connect => Connected,
                Step::Close(state) => state,
                Step::End => unreachable!(),
            };
        }
        panic!("{ours:?} and {front:?} never settle");
    }

    #[test]
    fn a_guest_boots_and_shuts_down() {
        assert_eq!(settle(Initialising, Some(Initialising)), InitWait);
        assert_eq!(settle(InitWait, Some(Initialising)), InitWait);
        assert_eq!(settle(InitWait, Some(Connected)), Connected);
        assert_eq!(settle(Connected, Some(Closing)), Closing);
        assert_eq!(settle(Closing, Some(Closed)), Closed);
    }

    #[test]
    fn a_guest_that_closed_or_was_restored_connects_again() {
        assert_eq!(settle(Closed, Some(Initialising)), InitWait);
        // Without having closed.
        assert_eq!(step(Connected, Some(Initialising), false), Step::Offer);
        // A stub that started anew finds a guest that was connected to the one before.
        assert_eq!(step(Initialising, Some(Connected), false), Step::Offer);
    }

    #[test]
    fn a_closed_port_connects_only_after_its_front_end_began_anew() {
        assert_eq!(settle(Closed, Some(Connected)), Closed);
        assert_eq!(settle(Closing, Some(Connected)), Closing);
    }

    #[test]
    fn a_device_that_is_removed_ends_whatever_the_guest_says() {
        for front in [None, Some(Initialising), Some(Connected), Some(Closed)] {
            assert_eq!(step(Connected, front, true), Step::End);
        }
    }

    #[test]
    fn whatever_the_guest_says_the_states_settle() {
        let states = [Initialising, InitWait, Initialised, Connected, Closing, Closed];
        for ours in states {
            for front in states.map(Some).into_iter().chain([None]) {
                settle(ours, front);
            }
        }
    }

    #[test]
    fn only_states_are_states() {
        assert_eq!(State::parse(b"4"), Some(Connected));
        for value in [&b""[..], b"0", b"7", b"44", b"4\n", b"-1", b"\xff"] {
            assert_eq!(State::parse(value), None);
        }
    }
}
