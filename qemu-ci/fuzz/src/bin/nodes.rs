//! What a front end writes to xenstore: numbers are taken only as they stand there, and any
//! sequence of states leads to one that is meant.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use vif::back::node::{Channels, FrontNodes, NAMES};
use vif::back::xenbus::{State, Step, step};

fuzz_target!(|octets: &[u8]| {
    let mut input = Input(octets);
    let present = input.short();
    let mut values = [None; NAMES.len()];
    for (i, value) in values.iter_mut().enumerate() {
        if present & 1 << i != 0 {
            *value = Some(input.string());
        }
    }
    let get = |name: &str| NAMES.iter().position(|known| *known == name).and_then(|i| values[i]);
    if let Ok(nodes) = FrontNodes::parse(get) {
        let stands = |name: &str, number: u32| {
            let text = core::str::from_utf8(get(name).expect("a node that is there")).expect("digits");
            assert_eq!(text.trim_start_matches('0'), number.to_string(), "{name}");
        };
        stands("tx-ring-ref", nodes.tx_ring.0);
        stands("rx-ring-ref", nodes.rx_ring.0);
        assert_ne!(nodes.tx_ring, nodes.rx_ring);
        match nodes.channels {
            Channels::Common(port) => stands("event-channel", port),
            Channels::Split { tx, rx } => {
                stands("event-channel-tx", tx);
                stands("event-channel-rx", rx);
            }
        }
        assert!(nodes.takes.sg || !(nodes.takes.gso_v4 || nodes.takes.gso_v6));
    }
    states(&mut input);
});

/// Follows the steps that any values of the state node, in any order, lead to.
fn states(input: &mut Input<'_>) {
    let mut ours = State::Initialising;
    while !input.is_empty() {
        let value = input.string();
        let front = State::parse(value);
        assert!(front.is_none_or(|state| state.value().as_bytes() == value));
        // Each change of the front end leads to rest within a few steps of ours.
        for round in 0.. {
            assert!(round < 4, "{ours:?} and {front:?} never come to rest");
            ours = match step(ours, front, false) {
                Step::Stay => break,
                Step::Offer => State::InitWait,
                Step::Connect => {
                    assert_eq!(ours, State::InitWait, "connected to what was not offered anew");
                    State::Connected
                }
                Step::Close(state) => {
                    assert!(matches!(state, State::Closing | State::Closed));
                    state
                }
                Step::End => panic!("ended, and nobody removed the device"),
            };
        }
        if front == Some(State::Closed) || front == Some(State::Closing) || front.is_none() {
            assert_ne!(ours, State::Connected, "connected to a front end that is not there");
        }
    }
}
