//! What the front end says in xenstore, read with suspicion: the guest writes these nodes.

use core::fmt;

use xen::grant::Gref;

/// The nodes that [`FrontNodes::parse`] wants, below the front end's directory.
pub const NAMES: [&str; 11] = [
    "tx-ring-ref",
    "rx-ring-ref",
    "event-channel-tx",
    "event-channel-rx",
    "event-channel",
    "request-rx-copy",
    "multi-queue-num-queues",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
    "feature-no-csum-offload",
];

/// What a back end offers, in its own directory: node and value.
pub const OFFER: [(&str, &str); 8] = [
    ("feature-sg", "1"),
    ("feature-gso-tcpv4", "1"),
    ("feature-gso-tcpv6", "1"),
    ("feature-ipv6-csum-offload", "1"),
    ("feature-rx-copy", "1"),
    ("feature-rx-flip", "0"),
    ("feature-split-event-channels", "1"),
    ("feature-multicast-control", "0"),
];

/// Why a front end can't be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeError {
    /// The node is missing or not a number in range.
    Number(&'static str),
    /// It wants pages flipped, not copied: a front end of before 2008.
    Flip,
    /// It wants more queues than were offered.
    Queues,
    /// Both rings in one page.
    SameRing,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(node) => write!(f, "its node {node} is no number that can be"),
            Self::Flip => f.write_str("it does not take copied frames (request-rx-copy)"),
            Self::Queues => f.write_str("it wants several queues, which were not offered"),
            Self::SameRing => f.write_str("its two rings are one page"),
        }
    }
}

impl core::error::Error for NodeError {}

/// Event channels of a front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One for both rings.
    Common(u32),
    /// One for each.
    Split {
        /// For the transmit ring.
        tx: u32,
        /// For the receive ring.
        rx: u32,
    },
}

/// What frames the front end takes as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// Frames of several slots.
    pub sg: bool,
    /// Large frames of TCP over IPv4.
    pub gso_v4: bool,
    /// Large frames of TCP over IPv6.
    pub gso_v6: bool,
    /// Frames without transport checksum.
    pub blank: bool,
}

/// What is needed to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontNodes {
    /// Grant of the transmit ring.
    pub tx_ring: Gref,
    /// Grant of the receive ring.
    pub rx_ring: Gref,
    /// Where to notify.
    pub channels: Channels,
    /// What it takes.
    pub takes: Takes,
}

impl FrontNodes {
    /// Makes sense of the nodes. `get` gives a node's value, if there is one.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn parse<'a>(get: impl Fn(&'static str) -> Option<&'a [u8]>) -> Result<Self, NodeError> {
        let needed = |name| get(name).and_then(number).filter(|n| *n > 0).ok_or(NodeError::Number(name));
        let flag = |name| get(name).and_then(number).is_some_and(|n| n != 0);
        if !flag("request-rx-copy") {
            return Err(NodeError::Flip);
        }
        if get("multi-queue-num-queues").is_some_and(|value| number(value) != Some(1)) {
            return Err(NodeError::Queues);
        }
        let channels = match get("event-channel-tx") {
            Some(_) => Channels::Split { tx: needed("event-channel-tx")?, rx: needed("event-channel-rx")? },
            None => Channels::Common(needed("event-channel")?),
        };
        let (tx_ring, rx_ring) = (Gref(needed("tx-ring-ref")?), Gref(needed("rx-ring-ref")?));
        if tx_ring == rx_ring {
            return Err(NodeError::SameRing);
        }
        let sg = flag("feature-sg");
        let takes = Takes {
            sg,
            // A large frame needs several slots.
            gso_v4: sg && flag("feature-gso-tcpv4"),
            gso_v6: sg && flag("feature-gso-tcpv6"),
            blank: !flag("feature-no-csum-offload"),
        };
        Ok(Self { tx_ring, rx_ring, channels, takes })
    }
}

/// A decimal number, no more and no less.
fn number(value: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(nodes: &[(&str, &str)]) -> Result<FrontNodes, NodeError> {
        FrontNodes::parse(|name| nodes.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes()))
    }

    const LINUX: [(&str, &str); 9] = [
        ("tx-ring-ref", "8"),
        ("rx-ring-ref", "768"),
        ("event-channel-tx", "5"),
        ("event-channel-rx", "6"),
        ("request-rx-copy", "1"),
        ("feature-rx-notify", "1"),
        ("feature-sg", "1"),
        ("feature-gso-tcpv4", "1"),
        ("feature-gso-tcpv6", "1"),
    ];

    fn linux_but(name: &str, value: &'static str) -> std::vec::Vec<(&'static str, &'static str)> {
        LINUX.map(|node| if node.0 == name { (node.0, value) } else { node }).to_vec()
    }

    #[test]
    fn what_linux_writes_is_understood() {
        let nodes = parse(&LINUX).unwrap();
        assert_eq!((nodes.tx_ring, nodes.rx_ring), (Gref(8), Gref(768)));
        assert_eq!(nodes.channels, Channels::Split { tx: 5, rx: 6 });
        assert_eq!(nodes.takes, Takes { sg: true, gso_v4: true, gso_v6: true, blank: true });
    }

    #[test]
    fn a_front_end_may_have_one_channel_and_no_features() {
        let nodes =
            [("tx-ring-ref", "8"), ("rx-ring-ref", "9"), ("event-channel", "5"), ("request-rx-copy", "1")];
        let nodes = parse(&nodes).unwrap();
        assert_eq!(nodes.channels, Channels::Common(5));
        assert_eq!(nodes.takes, Takes { sg: false, gso_v4: false, gso_v6: false, blank: true });
    }

    #[test]
    fn numbers_that_can_t_be_are_refused_by_name() {
        for bad in ["", "-1", "+1", " 8", "8 ", "0x8", "99999999999", "0", "eight", "8\u{ff}"] {
            assert_eq!(
                parse(&linux_but("tx-ring-ref", bad)),
                Err(NodeError::Number("tx-ring-ref")),
                "{bad:?}"
            );
        }
        assert_eq!(parse(&LINUX[1..]), Err(NodeError::Number("tx-ring-ref")));
        assert_eq!(parse(&linux_but("rx-ring-ref", "8")), Err(NodeError::SameRing));
        assert_eq!(parse(&linux_but("request-rx-copy", "0")), Err(NodeError::Flip));
        let mut queues = LINUX.to_vec();
        queues.push(("multi-queue-num-queues", "2"));
        assert_eq!(parse(&queues), Err(NodeError::Queues));
    }

    proptest! {
        #[test]
        fn whatever_the_values_are_nothing_panics(values in prop::collection::vec(any::<std::vec::Vec<u8>>(), 11)) {
            let find = |name| NAMES.iter().position(|n| *n == name).map(|i| &values[i][..]);
            if let Ok(nodes) = FrontNodes::parse(find) {
                prop_assert!(nodes.tx_ring != nodes.rx_ring);
            }
        }
    }
}
