//! When to connect and disconnect: the states of both ends (`io/xenbus.h`), as a function.

use crate::back::xenbus::State;

/// Where we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// Our node says `Initialising`; no rings.
    Initialising,
    /// Our node says `Connected`: rings are there, the back end has not said so yet.
    Offered,
    /// Both say `Connected`.
    Live,
    /// Our node says `Closing`: we want the back end to let go.
    Closing,
    /// Our node says `Closed`.
    Closed,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until something changes.
    Stay,
    /// Say `Initialising`.
    Begin,
    /// Make rings, tell where they are, say `Connected`.
    Offer,
    /// Use the rings.
    GoLive,
    /// Stop using the rings and say this.
    Close(State),
}

/// What follows from our place, the back end's state (`None`: it has no node, or nonsense in it)
/// and whether it broke the rings' protocol.
pub(super) fn step(ours: Ours, back: Option<State>, broken: bool) -> Step {
    use State::{Closed, Closing, Connected, InitWait, Initialising};
    match (ours, back) {
        (Ours::Offered | Ours::Live, _) if broken => Step::Close(Closing),
        (Ours::Initialising, Some(InitWait)) => Step::Offer,
        (Ours::Offered, Some(Connected)) => Step::GoLive,
        // It begins anew, without our rings.
        (Ours::Live, Some(InitWait | Initialising)) => Step::Close(Closing),
        (Ours::Offered | Ours::Live, Some(Closing | Closed) | None) => Step::Close(Closed),
        (Ours::Closing, Some(Closing | Closed) | None) => Step::Close(Closed),
        // Only one that has let go of our rings may be told to begin anew.
        (Ours::Closed, Some(Closed | InitWait | Initialising)) => Step::Begin,
        _ => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    fn after(ours: Ours, step: Step) -> Ours {
        match step {
            Step::Stay => ours,
            Step::Begin => Ours::Initialising,
            Step::Offer => Ours::Offered,
            Step::GoLive => Ours::Live,
            Step::Close(Closing) => Ours::Closing,
            Step::Close(_) => Ours::Closed,
        }
    }

    fn node(ours: Ours) -> State {
        match ours {
            Ours::Initialising => Initialising,
            Ours::Offered | Ours::Live => Connected,
            Ours::Closing => Closing,
            Ours::Closed => Closed,
        }
    }

    /// What a back end that behaves does next, about as Linux's: one state at a time.
    fn back(back: State, front: State) -> State {
        match (back, front) {
            (Initialising, _) | (Closed, Initialising | Connected) => InitWait,
            (InitWait, Connected) => Connected,
            (Connected, Initialising | Closing | Closed) | (InitWait, Closing | Closed) => Closing,
            (Closing, _) => Closed,
            _ => back,
        }
    }

    /// Both go on until nothing changes.
    fn settle(mut ours: Ours, mut theirs: State) -> (Ours, State) {
        for _ in 0..20 {
            let was = (ours, theirs);
            ours = after(ours, step(ours, Some(theirs), false));
            theirs = back(theirs, node(ours));
            if was == (ours, theirs) {
                return was;
            }
        }
        panic!("{ours:?} and {theirs:?} never settle")
    }

    #[test]
    fn wherever_both_ends_begin_they_end_connected() {
        use Ours::{Live, Offered};
        for ours in [Ours::Initialising, Offered, Live, Ours::Closing, Ours::Closed] {
            for theirs in [Initialising, InitWait, Connected, Closing, Closed] {
                // Rings that a back end was never told of are not among the beginnings.
                if ours == Live && theirs == InitWait {
                    continue;
                }
                assert_eq!(settle(ours, theirs), (Live, Connected), "from {ours:?}, {theirs:?}");
            }
        }
    }

    #[test]
    fn rings_are_used_only_when_both_are_connected() {
        for theirs in [None, Some(Initialising), Some(InitWait), Some(Closing), Some(Closed)] {
            for ours in [Ours::Initialising, Ours::Offered, Ours::Closing, Ours::Closed] {
                assert_ne!(step(ours, theirs, false), Step::GoLive);
            }
            assert!(matches!(step(Ours::Live, theirs, false), Step::Close(_)), "{theirs:?}");
        }
        assert_eq!(step(Ours::Live, Some(Connected), false), Step::Stay);
        assert_eq!(step(Ours::Live, Some(Initialised), false), Step::Stay);
    }

    #[test]
    fn a_broken_link_is_closed_before_it_is_made_anew() {
        assert_eq!(step(Ours::Live, Some(Connected), true), Step::Close(Closing));
        assert_eq!(step(Ours::Closing, Some(Connected), false), Step::Stay);
        assert_eq!(step(Ours::Closing, Some(Closing), false), Step::Close(Closed));
        assert_eq!(settle(Ours::Closing, Connected), (Ours::Live, Connected));
    }

    #[test]
    fn a_back_end_that_is_gone_is_waited_for() {
        assert_eq!(step(Ours::Live, None, false), Step::Close(Closed));
        assert_eq!(step(Ours::Closed, None, false), Step::Stay);
        assert_eq!(step(Ours::Initialising, None, false), Step::Stay);
    }
}
