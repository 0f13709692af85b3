//! Fragments follow their first one: only that says by its ports which flow they are of (RFC 4787, REQ-14; RFC 5508, section 3.1).
//!
//! The tuple of a first fragment is remembered, and the others are decided about as if it stood in them. Those that come before
//! the first wait for it in [`waiting`](super::waiting). Nothing is reassembled: fragments leave as many and as long as they came.
//!
//! What comes by an uplink is mostly the host's own, and its kernel has it anyway. So a fragment there waits only as a copy that may
//! be needed: when its first one turns out to be the host's, or never comes, the copy is forgotten without a drop being counted.
//!
//! Bound: 2048 packets, half of every eight for one port at most where others want them ([`Cache`]); who has to go loses the rest of
//! that packet. A port has its own packets: nobody can send the first fragment for another's.
//! Ageing: 30 s after the first fragment (the kernel's ipfrag_time). A first fragment with the same identification begins anew.

use core::time::Duration;
use std::net::Ipv4Addr;

use super::cache::{Cache, Key};
use super::tuple::Tuple;
use crate::network::PortId;
use crate::time::Timestamp;

/// Packets that are remembered at most.
const CAPACITY: usize = 2048;
/// How long after its first fragment a packet is remembered, and how long others wait for that.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What fragments of one packet have in common (RFC 791), and where they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub(super) ingress: PortId,
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    pub(super) ident: u16,
    pub(super) protocol: u8,
}

impl Key for FragmentKey {
    fn owner(&self) -> u16 {
        self.ingress.0
    }
}

/// The memory of first fragments.
#[derive(Debug)]
pub(super) struct Fragments(Cache<FragmentKey, (Tuple, Timestamp)>);

impl Fragments {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cache::new(CAPACITY, seed))
    }

    /// The first fragment of a packet is of this flow.
    pub(super) fn first(&mut self, now: Timestamp, key: FragmentKey, tuple: Tuple) {
        self.0.insert(key, now, (tuple, now + PATIENCE));
    }

    /// The flow of another fragment, if the first has come.
    pub(super) fn flow(&mut self, now: Timestamp, key: &FragmentKey) -> Option<Tuple> {
        // Whoever is in use goes last when there is no room.
        self.0.get(key, now);
        self.rehearse(now, key)
    }

    /// As [`Fragments::flow`], without a change.
    pub(super) fn rehearse(&self, now: Timestamp, key: &FragmentKey) -> Option<Tuple> {
        self.0.peek(key).filter(|(_, until)| now < *until).map(|(tuple, _)| *tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::tuple::Protocol;

    #[test]
    fn the_first_fragment_speaks_for_thirty_seconds_and_on_its_port_alone() {
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(192, 0, 2, 7));
        let key = FragmentKey { ingress: PortId(2), src, dst, ident: 7, protocol: 17 };
        let tuple = |port| Tuple::v4(Protocol::Udp, (src, port), (dst, 53));
        let mut fragments = Fragments::new(7);
        fragments.first(Timestamp::ZERO, key, tuple(1000));
        assert_eq!(fragments.flow(Timestamp::from_millis(29_999), &key), Some(tuple(1000)));
        assert_eq!(fragments.flow(Timestamp::ZERO, &FragmentKey { ingress: PortId(3), ..key }), None);
        assert_eq!(fragments.flow(Timestamp::from_secs(30), &key), None);
        fragments.first(Timestamp::from_secs(30), key, tuple(2000));
        assert_eq!(fragments.flow(Timestamp::from_secs(31), &key), Some(tuple(2000)));
    }
}
