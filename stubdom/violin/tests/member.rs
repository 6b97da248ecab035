//! What one membership makes of messages: in the wrong order, wrong, forged by another member, or
//! too many. How many of them get along is tested in the simulator (crate `sim`).

use std::net::{Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use violin::id::{NetworkId, SwitchId};
use violin::member::{
    Config, Dropped, Event, MESSAGE_MAX, Member, Membership, NETWORKS_MAX, Outgoing, Seed, State,
    TooManyNetworks, Why,
};

fn id_of(key: &[u8; 32]) -> SwitchId {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    SwitchId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

fn key(number: u16) -> [u8; 32] {
    let mut key = [9; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    key
}

fn id(number: u16) -> SwitchId {
    id_of(&key(number))
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from((
        Ipv6Addr::from([0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        40_000 + number,
    ))
}

fn switch_in(number: u16, incarnation: u64, config: Config) -> Membership {
    Membership::new(
        Member::new(id_of, key(number), address(number), incarnation),
        id_of,
        config,
        number.into(),
    )
}

fn switch(number: u16) -> Membership {
    switch_in(number, 1, Config::default())
}

fn seed(number: u16) -> Seed {
    Seed { key: key(number), at: address(number) }
}

/// All that a switch wants to send now.
fn sent(switch: &mut Membership, now_ms: u64) -> Vec<(Outgoing, Vec<u8>)> {
    let mut buffer = [0; MESSAGE_MAX];
    let mut all = Vec::new();
    while let Some(sent) = switch.poll(now_ms, &mut buffer) {
        all.push((sent, buffer[..sent.len].to_vec()));
    }
    all
}

/// Hands all that one wants to send to the other: what the other says to it.
fn pass(from: &mut Membership, to: &mut Membership, now_ms: u64) -> Vec<Result<(), Dropped>> {
    let whom = to.me().id;
    let messages = sent(from, now_ms).into_iter().filter(|(sent, _)| sent.to.id == whom);
    messages.map(|(_, message)| to.receive(now_ms, from.me().id, &message)).collect()
}

fn events(switch: &mut Membership) -> Vec<Event> {
    std::iter::from_fn(|| switch.next_event()).collect()
}

/// Switches 1 and 2, who know each other.
fn pair() -> (Membership, Membership) {
    let (mut one, mut two) = (switch(1), switch(2));
    one.join(0, seed(2));
    for now_ms in 0..3 {
        pass(&mut one, &mut two, now_ms);
        pass(&mut two, &mut one, now_ms);
    }
    assert_eq!(events(&mut one), [Event::Up(two.me().clone())]);
    assert_eq!(events(&mut two), [Event::Up(one.me().clone())]);
    (one, two)
}

#[test]
fn an_old_announcement_that_comes_late_changes_nothing() {
    let (mut one, mut two) = pair();
    one.set_networks(10, &[NetworkId(1)]).unwrap();
    let old = sent(&mut one, 10);
    one.set_networks(11, &[NetworkId(2)]).unwrap();
    assert_eq!(pass(&mut one, &mut two, 11), [Ok(())]);
    assert_eq!(two.receive(12, id(1), &old[0].1), Err(Dropped::Stale));
    assert_eq!(events(&mut two), [Event::Changed(one.me().clone())]);
}

#[test]
fn an_earlier_life_does_not_come_back() {
    let (mut one, mut two) = pair();
    one.set_networks(10, &[NetworkId(1)]).unwrap();
    let old = sent(&mut one, 10);
    let mut anew = switch_in(1, 2, Config::default());
    anew.join(11, seed(2));
    pass(&mut anew, &mut two, 11);
    assert_eq!(events(&mut two), [Event::Down(id(1), Why::Restarted), Event::Up(anew.me().clone())]);
    assert_eq!(two.receive(12, id(1), &old[0].1), Err(Dropped::Stale));
    assert_eq!(events(&mut two), []);
}

#[test]
fn who_left_is_not_brought_back_by_what_it_sent_before() {
    let (mut one, mut two) = pair();
    let heartbeat = sent(&mut one, 1_000);
    assert!(!heartbeat.is_empty());
    one.leave(1_001);
    assert_eq!(pass(&mut one, &mut two, 1_001), [Ok(())]);
    assert_eq!(events(&mut two), [Event::Down(id(1), Why::Left)]);
    assert_eq!(pass(&mut two, &mut one, 1_002), [Ok(())]);
    assert!(one.is_gone());
    assert_eq!(two.receive(1_003, id(1), &heartbeat[0].1), Err(Dropped::Stale));
    assert_eq!(events(&mut two), []);
}

#[test]
fn nobody_speaks_for_another() {
    let (mut one, mut two) = pair();
    one.set_networks(10, &[NetworkId(1)]).unwrap();
    let message = &sent(&mut one, 10)[0].1;
    assert_eq!(two.receive(11, id(3), message), Err(Dropped::NotItsOwn));
    assert_eq!(two.receive(11, id(2), message), Err(Dropped::Own));
    assert_eq!(events(&mut two), []);
    assert!(sent(&mut two, 12).is_empty(), "and gets no answer");
}

#[test]
fn hearsay_is_a_reason_to_call_and_nothing_more() {
    let (mut one, two) = pair();
    let mut three = switch(3);
    three.join(10, seed(1));
    pass(&mut three, &mut one, 10);
    events(&mut one);
    // A joiner asks for the list, and hears of 2.
    pass(&mut one, &mut three, 11);
    assert_eq!(events(&mut three), [Event::Up(one.me().clone())]);
    let calls: Vec<_> = sent(&mut three, 12).into_iter().map(|(sent, _)| sent.to.id).collect();
    assert_eq!(calls, [id(2)]);
    let heard = three.members().find(|peer| peer.member.id == id(2)).unwrap();
    assert_eq!((heard.state, heard.heard_ms_ago), (State::Calling, None));
    assert_eq!(two.up(), 1);
}

#[test]
fn the_longest_messages_fit_and_lists_are_complete() {
    let config = Config { members: 1000, ..Config::default() };
    let mut hub = switch_in(0, u64::MAX, config);
    let networks: Vec<_> = (0..NETWORKS_MAX as u32).map(|n| NetworkId(u32::MAX - n)).collect();
    hub.set_networks(0, &networks).unwrap();
    for number in 1..=200 {
        let mut other = switch_in(number, u64::MAX - 1, config);
        other.set_networks(0, &networks).unwrap();
        other.join(0, seed(0));
        let answers = pass(&mut other, &mut hub, 0);
        assert_eq!(answers, [Ok(())]);
        events(&mut hub);
        let answers = sent(&mut hub, 0);
        assert_eq!(answers.len(), usize::from(number - 1).div_ceil(18).max(1));
        for (_, message) in answers {
            other.receive(0, id(0), &message).unwrap();
        }
        assert_eq!(sent(&mut other, 0).len(), usize::from(number - 1), "calls all the others");
    }
    let mut short = [0; 1100];
    hub.set_networks(0, &[]).unwrap();
    while hub.poll(1, &mut short).is_some() {}
}

#[test]
fn a_full_list_takes_no_more_until_someone_left() {
    let config = Config { members: 2, ..Config::default() };
    let mut hub = switch_in(0, 1, config);
    let mut others: Vec<_> = (1..=3).map(switch).collect();
    let mut join = |hub: &mut Membership, other: usize| {
        others[other].join(0, seed(0));
        let answer = pass(&mut others[other], hub, 0).pop();
        events(hub);
        sent(hub, 0);
        answer
    };
    assert_eq!(
        [0, 1, 2].map(|other| join(&mut hub, other)),
        [Some(Ok(())), Some(Ok(())), Some(Err(Dropped::Full))]
    );
    let mut first = switch_in(1, 2, Config::default());
    first.join(1, seed(0));
    pass(&mut first, &mut hub, 1);
    pass(&mut hub, &mut first, 1);
    first.leave(2);
    assert_eq!(pass(&mut first, &mut hub, 2), [Ok(())]);
    others[2].join(3, seed(0));
    sent(&mut others[2], 0);
    assert_eq!(pass(&mut others[2], &mut hub, 600), [Ok(())]);
}

#[test]
fn a_switch_has_thirty_two_networks_at_most() {
    let (mut one, _) = pair();
    let many: Vec<_> = (0..33).map(NetworkId).collect();
    assert_eq!(one.set_networks(10, &many), Err(TooManyNetworks));
    assert!(one.me().networks.is_empty());
    let twice = [many[5], many[3], many[5]];
    assert_eq!(one.set_networks(10, &twice), Ok(()));
    assert_eq!(one.me().networks[..], [many[3], many[5]]);
}

#[test]
fn an_address_that_is_no_hosts_is_refused() {
    for at in ["0.0.0.0:4790", "255.255.255.255:4790", "239.1.1.1:4790", "[ff02::1]:4790", "10.0.0.1:0"] {
        let me = Member::new(id_of, key(5), at.parse().unwrap(), 1);
        let mut liar = Membership::new(me, id_of, Config::default(), 1);
        liar.join(0, seed(2));
        assert_eq!(pass(&mut liar, &mut switch(2), 0), [Err(Dropped::Malformed)], "{at}");
    }
}

#[test]
fn a_message_that_is_cut_or_longer_is_refused() {
    let (mut one, mut two) = pair();
    one.set_networks(10, &[NetworkId(1), NetworkId(500)]).unwrap();
    let (_, message) = sent(&mut one, 10).remove(0);
    for len in 0..message.len() {
        assert_eq!(two.receive(11, id(1), &message[..len]), Err(Dropped::Malformed), "{len}");
    }
    let longer = [&message[..], &[0]].concat();
    assert_eq!(two.receive(11, id(1), &longer), Err(Dropped::Malformed));
    assert_eq!(two.receive(11, id(1), &[0; MESSAGE_MAX + 1]), Err(Dropped::Malformed));
}

proptest! {
    #[test]
    fn no_message_and_no_time_makes_it_panic_or_grow(
        messages in prop::collection::vec((any::<u64>(), 1u16..6, prop::collection::vec(any::<u8>(), 0..300)), 0..40),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (mut one, mut two) = pair();
        one.set_networks(10, &[NetworkId(1)]).unwrap();
        let (_, mut message) = sent(&mut one, 10).remove(0);
        for (at, octet) in flips {
            let at = at.index(message.len());
            message[at] = octet;
        }
        let _ = two.receive(10, id(1), &message);
        for (now_ms, from, message) in messages {
            let _ = two.receive(now_ms, id(from), &message);
            sent(&mut two, now_ms);
            two.poll_at();
            prop_assert!(two.members().count() <= 256);
        }
    }
}

/// Two switches on machines that are so slow: how long after the other's last word each takes it for failed, in
/// halves of a second, and how many heartbeats the first sent in ten seconds before.
fn patience(slow_percent: [u64; 2]) -> ([u64; 2], usize) {
    let (mut one, mut two) = pair();
    one.set_slow_percent(slow_percent[0]);
    two.set_slow_percent(slow_percent[1]);
    let mut beats = 0;
    for now_ms in (100..=10_000).step_by(100) {
        beats += pass(&mut one, &mut two, now_ms).len();
        pass(&mut two, &mut one, now_ms);
    }
    let mut failed = [0; 2];
    for now_ms in (10_100..=60_000).step_by(100) {
        for (switch, failed) in [&mut one, &mut two].into_iter().zip(&mut failed) {
            sent(switch, now_ms);
            if events(switch).iter().any(|event| matches!(event, Event::Down(_, Why::Failed))) {
                *failed = switch.members().next().unwrap().heard_ms_ago.unwrap() / 500;
            }
        }
    }
    (failed, beats)
}

#[test]
fn a_slow_machine_waits_longer_and_is_waited_for_longer_and_two_fast_ones_wait_as_ever() {
    assert_eq!(patience([100, 100]), ([7, 7], 10));
    for slow in [[200, 100], [100, 200], [200, 200]] {
        assert_eq!(patience(slow), ([14, 14], 10), "{slow:?}");
    }
    // Never longer than a guest may stand still; a fast one is not made impatient.
    assert_eq!(patience([100_000, 400]), ([28, 28], 10));
    assert_eq!(patience([1, 100]), ([7, 7], 10));
}
