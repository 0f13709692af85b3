//! Packets that wait until the edge knows what it must know about them.
//!
//! Bound: 1024 frames and 4 MiB in all, 64 frames and 512 KiB for each port that they came in by: as much as the kernel keeps for
//! a next hop (unres_qlen_bytes, 208 KiB) twice, and a few super-frames. Who comes too late is dropped, not who waits: the first
//! packets of a flow are the ones that open it. Only copies of fragments from outside make way for later ones, lest a few a minute
//! shut out all.
//! Ageing: as long as the answer is worth waiting for, then the packet is given up by name.

use core::time::Duration;
use std::collections::VecDeque;

use super::Held;
use super::fragments::{self, FragmentKey};
use super::neighbour::{self, NeighbourKey};
use super::route::{self, RouteKey};
use super::tuple::Protocol;
use crate::frame::Frame;
use crate::network::PortId;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Wait};

const MAX_FRAMES: usize = 1024;
const MAX_BYTES: usize = 4 << 20;
const PORT_FRAMES: usize = 64;
const PORT_BYTES: usize = 512 << 10;
/// How long a packet waits for a port of its own before it makes do with another, or for any port.
const PORT_PATIENCE: Duration = Duration::from_secs(1);

/// What a packet waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Route(RouteKey),
    Neighbour(NeighbourKey),
    Port(Protocol, u16),
    /// Any port, when none is left and more were asked for.
    MorePorts(Protocol),
    FirstFragment(FragmentKey),
}

impl Awaited {
    /// What people are told.
    pub(super) fn wait(self) -> Wait {
        match self {
            Awaited::Route(_) => Wait::Route,
            Awaited::Neighbour(_) => Wait::Neighbour,
            Awaited::Port(..) | Awaited::MorePorts(_) => Wait::Port,
            Awaited::FirstFragment(_) => Wait::FirstFragment,
        }
    }

    fn patience(self) -> Duration {
        match self {
            Awaited::Route(_) => route::PATIENCE,
            Awaited::Neighbour(_) => neighbour::PATIENCE,
            Awaited::Port(..) | Awaited::MorePorts(_) => PORT_PATIENCE,
            Awaited::FirstFragment(_) => fragments::PATIENCE,
        }
    }
}

#[derive(Debug)]
struct Packet {
    awaited: Awaited,
    until: Timestamp,
    held: Held,
}

impl Packet {
    /// Whether it came in by that port and waits for a first fragment.
    fn is_fragment_by(&self, ingress: PortId) -> bool {
        self.held.ingress == ingress && matches!(self.awaited, Awaited::FirstFragment(_))
    }
}

/// The store.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In the order in which they came.
    packets: VecDeque<Packet>,
    bytes: usize,
    ready: VecDeque<Held>,
    due: Option<Timestamp>,
}

impl Waiting {
    /// Keeps a copy of `frame` until `awaited` is there.
    ///
    /// # Errors
    /// [`DropReason::WaitFull`] when the port has its share or the store is full.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        awaited: Awaited,
        ingress: PortId,
        frame: &Frame<'_>,
    ) -> Result<Wait, DropReason> {
        let len = frame.bytes.len();
        if !self.has_room(ingress, len) {
            return Err(DropReason::WaitFull);
        }
        let until = now + awaited.patience();
        let held = Held { ingress, bytes: frame.bytes.to_vec(), offload: frame.offload };
        self.packets.push_back(Packet { awaited, until, held });
        self.bytes += len;
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
        Ok(awaited.wait())
    }

    /// Whether a frame of `len` bytes would be kept that came in by `ingress`.
    pub(super) fn has_room(&self, ingress: PortId, len: usize) -> bool {
        self.has_room_after((0, 0), ingress, len)
    }

    /// The same, after all that came in by `ingress` and waits for a first fragment has made way.
    pub(super) fn has_room_after_fragments(&self, ingress: PortId, len: usize) -> bool {
        let fragments = self.packets.iter().filter(|packet| packet.is_fragment_by(ingress));
        self.has_room_after(frames_and_bytes(fragments), ingress, len)
    }

    /// The same, after so many frames and bytes that came in by `ingress` have made way.
    fn has_room_after(&self, (gone, gone_bytes): (usize, usize), ingress: PortId, len: usize) -> bool {
        let own = self.packets.iter().filter(|packet| packet.held.ingress == ingress);
        let (frames, bytes) = frames_and_bytes(own);
        self.packets.len() - gone < MAX_FRAMES
            && self.bytes - gone_bytes + len <= MAX_BYTES
            && frames - gone < PORT_FRAMES
            && bytes - gone_bytes + len <= PORT_BYTES
    }

    /// Ends what has waited longest for a first fragment of those that came in by `ingress`. Returns whether there was one.
    pub(super) fn forget_oldest_fragment(&mut self, ingress: PortId) -> bool {
        let oldest = self
            .packets
            .iter()
            .position(|packet| packet.is_fragment_by(ingress))
            .and_then(|index| self.packets.remove(index));
        self.bytes -= oldest.as_ref().map_or(0, |packet| packet.held.bytes.len());
        oldest.is_some()
    }

    /// `awaited` is there: whoever waited for it may go on, in order.
    pub(super) fn release(&mut self, awaited: Awaited) {
        self.take_out(|packet| packet.awaited == awaited, |ready, packet| ready.push_back(packet.held));
    }

    /// A packet that may go on.
    pub(super) fn next_ready(&mut self) -> Option<Held> {
        self.ready.pop_front()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Ends what came in by ports for which `gone` holds.
    pub(super) fn forget_ports(&mut self, gone: impl Fn(PortId) -> bool) {
        self.take_out(|packet| gone(packet.held.ingress), |_, _| {});
        self.ready.retain(|held| !gone(held.ingress));
    }

    /// Gives up what has waited too long; `lost` is told. A packet that waits for a port of its own goes on without one.
    /// Returns when it wants to be called again.
    pub(super) fn tick(&mut self, now: Timestamp, mut lost: impl FnMut(Awaited, &Held)) -> Option<Timestamp> {
        if self.due.is_none_or(|due| now < due) {
            return self.due;
        }
        self.take_out(
            |packet| packet.until <= now,
            |ready, packet| match packet.awaited {
                Awaited::Port(..) => ready.push_back(packet.held),
                awaited => lost(awaited, &packet.held),
            },
        );
        self.due = self.packets.iter().map(|packet| packet.until).min();
        self.due
    }

    fn take_out(
        &mut self,
        mut which: impl FnMut(&Packet) -> bool,
        mut then: impl FnMut(&mut VecDeque<Held>, Packet),
    ) {
        for _ in 0..self.packets.len() {
            let Some(packet) = self.packets.pop_front() else { return };
            if which(&packet) {
                self.bytes -= packet.held.bytes.len();
                then(&mut self.ready, packet);
            } else {
                self.packets.push_back(packet);
            }
        }
    }
}

fn frames_and_bytes<'a>(packets: impl Iterator<Item = &'a Packet>) -> (usize, usize) {
    packets.fold((0, 0), |(n, sum), packet| (n + 1, sum + packet.held.bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP_80: Awaited = Awaited::Port(Protocol::Tcp, 80);

    fn hop(last: u8) -> Awaited {
        Awaited::Neighbour(NeighbourKey { uplink: PortId(9), address: [10, 0, 0, last].into() })
    }

    fn hold(waiting: &mut Waiting, awaited: Awaited, port: u16, len: usize) -> Result<Wait, DropReason> {
        waiting.hold(Timestamp::ZERO, awaited, PortId(port), &Frame::plain(&vec![0; len]))
    }

    fn ready(waiting: &mut Waiting) -> Vec<usize> {
        std::iter::from_fn(|| waiting.next_ready()).map(|held| held.bytes.len()).collect()
    }

    #[test]
    fn what_was_awaited_is_released_in_order_and_the_rest_stays() {
        let mut waiting = Waiting::default();
        for (awaited, len) in [(hop(1), 60), (hop(2), 61), (hop(1), 62)] {
            assert_eq!(hold(&mut waiting, awaited, 1, len), Ok(Wait::Neighbour));
        }
        waiting.release(hop(1));
        assert_eq!(ready(&mut waiting), [60, 62]);
        assert_eq!((waiting.len(), waiting.bytes), (1, 61));
        waiting.release(hop(2));
        assert_eq!((ready(&mut waiting), waiting.len(), waiting.bytes), (vec![61], 0, 0));
    }

    #[test]
    fn a_port_at_its_share_does_not_shut_others_out() {
        let mut waiting = Waiting::default();
        for _ in 0..PORT_FRAMES {
            assert!(hold(&mut waiting, hop(1), 1, 60).is_ok());
        }
        assert_eq!(hold(&mut waiting, hop(1), 1, 60), Err(DropReason::WaitFull));
        assert!(hold(&mut waiting, hop(1), 2, PORT_BYTES).is_ok());
        assert_eq!(hold(&mut waiting, hop(1), 2, 1), Err(DropReason::WaitFull));
        waiting.forget_ports(|port| port == PortId(2));
        assert!(hold(&mut waiting, hop(1), 2, 1).is_ok());
    }

    #[test]
    fn the_store_is_bounded_in_all() {
        let mut waiting = Waiting::default();
        let held = (0..100).filter(|&port| hold(&mut waiting, hop(1), port, PORT_BYTES).is_ok()).count();
        assert_eq!(held * PORT_BYTES, MAX_BYTES);
        let mut waiting = Waiting::default();
        let held = (0..2000).filter(|port| hold(&mut waiting, hop(1), port / 32, 1).is_ok()).count();
        assert_eq!(held, MAX_FRAMES);
    }

    #[test]
    fn the_oldest_fragment_of_a_port_makes_way() {
        let key = |ident| FragmentKey {
            ingress: PortId(1),
            src: [10, 0, 0, 2].into(),
            dst: [192, 0, 2, 7].into(),
            ident,
            protocol: 17,
        };
        let mut waiting = Waiting::default();
        hold(&mut waiting, hop(1), 1, 60).unwrap();
        hold(&mut waiting, Awaited::FirstFragment(key(0)), 2, 61).unwrap();
        hold(&mut waiting, Awaited::FirstFragment(key(1)), 1, 62).unwrap();
        hold(&mut waiting, Awaited::FirstFragment(key(2)), 1, 63).unwrap();
        assert!(waiting.forget_oldest_fragment(PortId(1)));
        (0..3).for_each(|ident| waiting.release(Awaited::FirstFragment(key(ident))));
        assert_eq!((ready(&mut waiting), waiting.bytes), (vec![61, 63], 60));
        assert!(!waiting.forget_oldest_fragment(PortId(1)), "the other one waits for a next hop");
    }

    #[test]
    fn patience_ends_by_what_is_awaited() {
        let mut waiting = Waiting::default();
        hold(&mut waiting, hop(1), 1, 60).unwrap();
        hold(&mut waiting, TCP_80, 1, 61).unwrap();
        let mut lost = Vec::new();
        let mut tick = |secs| waiting.tick(Timestamp::from_secs(secs), |awaited, _| lost.push(awaited));
        assert_eq!(tick(0), Some(Timestamp::from_secs(1)));
        assert_eq!(tick(1), Some(Timestamp::from_secs(4)));
        assert_eq!(tick(4), None);
        assert_eq!(lost, [hop(1)]);
        assert_eq!(ready(&mut waiting), [61], "a port of its own is a wish, not a need");
    }
}
