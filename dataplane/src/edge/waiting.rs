//! Packets that wait until the edge knows what it must know about them.
//!
//! Bound: 1024 frames and 4 MiB in all, 64 frames and 512 KiB for each port that they came in by: as much as the kernel keeps for
//! a next hop (unres_qlen_bytes, 208 KiB) twice, and a few super-frames. At its own bound a port's next frame is dropped, not one that waits:
//! the first packets of a flow are the ones that open it. Only copies of fragments from outside make way for later ones, lest a few
//! a minute shut out all.
//! Share: at the bound in all the port that has most yields, its oldest fragment or else its latest frame; who has most himself is dropped.
//! So no port loses one while another has more, however many ports work together.
//! Ageing: as long as the answer is worth waiting for, then the packet is given up by name.

use core::time::Duration;
use std::collections::VecDeque;

use super::Held;
use super::fragments::{self, FragmentKey};
use super::neighbour::{self, NeighbourKey};
use super::route::{self, RouteKey};
use super::tuple::Protocol;
use crate::frame::Frame;
use crate::id::MAX_PORTS;
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

/// What a port has of the store.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    frames: usize,
    bytes: usize,
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
#[derive(Debug)]
pub(super) struct Waiting {
    /// In the order in which they came.
    packets: VecDeque<Packet>,
    bytes: usize,
    /// By port.
    shares: Box<[Share]>,
    ready: VecDeque<Held>,
    due: Option<Timestamp>,
}

impl Waiting {
    pub(super) fn new() -> Waiting {
        Waiting {
            packets: VecDeque::with_capacity(MAX_FRAMES),
            bytes: 0,
            shares: vec![Share::default(); MAX_PORTS].into(),
            ready: VecDeque::new(),
            due: None,
        }
    }

    /// Keeps a copy of `frame` until `awaited` is there. What must yield to it is given to `lost`.
    ///
    /// # Errors
    /// [`DropReason::WaitFull`] when the port has its share, or the store is full and nobody has more of it.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        awaited: Awaited,
        ingress: PortId,
        frame: &Frame<'_>,
        mut lost: impl FnMut(Awaited, &Held),
    ) -> Result<Wait, DropReason> {
        let len = frame.bytes.len();
        if !self.has_room(ingress, len) {
            return Err(DropReason::WaitFull);
        }
        while self.is_full(len) {
            let victim = self.most(ingress, self.lacks_bytes(len)).and_then(|(port, _)| self.yielding(port));
            let packet = victim.and_then(|index| self.remove(index)).ok_or(DropReason::WaitFull)?;
            lost(packet.awaited, &packet.held);
        }
        let until = now + awaited.patience();
        let held = Held { ingress, bytes: frame.bytes.to_vec(), offload: frame.offload };
        self.count(&held, true);
        self.packets.push_back(Packet { awaited, until, held });
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
        Ok(awaited.wait())
    }

    /// Whether a frame of `len` bytes would be kept that came in by `ingress`.
    pub(super) fn has_room(&self, ingress: PortId, len: usize) -> bool {
        self.has_room_after(Share::default(), ingress, len)
    }

    /// The same, after all that came in by `ingress` and waits for a first fragment has made way.
    pub(super) fn has_room_after_fragments(&self, ingress: PortId, len: usize) -> bool {
        let mut gone = Share::default();
        for packet in self.packets.iter().filter(|packet| packet.is_fragment_by(ingress)) {
            gone.frames += 1;
            gone.bytes += packet.held.bytes.len();
        }
        self.has_room_after(gone, ingress, len)
    }

    /// The same, after so much that came in by `ingress` has made way.
    fn has_room_after(&self, gone: Share, ingress: PortId, len: usize) -> bool {
        let share = self.share(ingress);
        let (frames, bytes) = (share.frames - gone.frames, share.bytes - gone.bytes);
        let lacks_bytes = self.bytes - gone.bytes + len > MAX_BYTES;
        let is_full = self.packets.len() - gone.frames >= MAX_FRAMES || lacks_bytes;
        let own = if lacks_bytes { bytes + len } else { frames + 1 };
        frames < PORT_FRAMES
            && bytes + len <= PORT_BYTES
            && (!is_full || self.most(ingress, lacks_bytes).is_some_and(|(_, most)| most > own))
    }

    fn is_full(&self, len: usize) -> bool {
        self.packets.len() >= MAX_FRAMES || self.lacks_bytes(len)
    }

    fn lacks_bytes(&self, len: usize) -> bool {
        self.bytes + len > MAX_BYTES
    }

    /// The port, other than `ingress`, that has most of what a frame lacks, bytes or places, and how much.
    fn most(&self, ingress: PortId, lacks_bytes: bool) -> Option<(PortId, usize)> {
        let weight = |share: &Share| if lacks_bytes { share.bytes } else { share.frames };
        let others = self.shares.iter().enumerate().filter(|(port, _)| *port != ingress.index());
        others.map(|(port, share)| (PortId(port as u16), weight(share))).max_by_key(|(_, weight)| *weight)
    }

    /// Which frame of a port yields.
    fn yielding(&self, port: PortId) -> Option<usize> {
        self.oldest_fragment(port)
            .or_else(|| self.packets.iter().rposition(|packet| packet.held.ingress == port))
    }

    fn oldest_fragment(&self, port: PortId) -> Option<usize> {
        self.packets.iter().position(|packet| packet.is_fragment_by(port))
    }

    fn share(&self, port: PortId) -> Share {
        self.shares.get(port.index()).copied().unwrap_or_default()
    }

    fn remove(&mut self, index: usize) -> Option<Packet> {
        let packet = self.packets.remove(index)?;
        self.count(&packet.held, false);
        Some(packet)
    }

    /// A frame more, or one less.
    fn count(&mut self, held: &Held, more: bool) {
        let (frames, bytes) = (1, held.bytes.len());
        let change = |sum: &mut usize, by| *sum = if more { *sum + by } else { sum.saturating_sub(by) };
        change(&mut self.bytes, bytes);
        if let Some(share) = self.shares.get_mut(held.ingress.index()) {
            change(&mut share.frames, frames);
            change(&mut share.bytes, bytes);
        }
    }

    /// Ends what has waited longest for a first fragment of those that came in by `ingress`. Returns whether there was one.
    pub(super) fn forget_oldest_fragment(&mut self, ingress: PortId) -> bool {
        self.oldest_fragment(ingress).and_then(|index| self.remove(index)).is_some()
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
                self.count(&packet.held, false);
                then(&mut self.ready, packet);
            } else {
                self.packets.push_back(packet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP_80: Awaited = Awaited::Port(Protocol::Tcp, 80);

    fn hop(last: u8) -> Awaited {
        Awaited::Neighbour(NeighbourKey { uplink: PortId(9), address: [10, 0, 0, last].into() })
    }

    fn hold(waiting: &mut Waiting, awaited: Awaited, port: u16, len: usize) -> Result<Wait, DropReason> {
        hold_and_lose(waiting, awaited, port, len).map(|(wait, _)| wait)
    }

    /// Whose frames had to yield, too.
    fn hold_and_lose(
        waiting: &mut Waiting,
        awaited: Awaited,
        port: u16,
        len: usize,
    ) -> Result<(Wait, Vec<u16>), DropReason> {
        let (frame, mut lost) = (vec![0; len], Vec::new());
        let wait = waiting.hold(Timestamp::ZERO, awaited, PortId(port), &Frame::plain(&frame), |_, held| {
            lost.push(held.ingress.0);
        });
        wait.map(|wait| (wait, lost))
    }

    fn ready(waiting: &mut Waiting) -> Vec<usize> {
        std::iter::from_fn(|| waiting.next_ready()).map(|held| held.bytes.len()).collect()
    }

    #[test]
    fn what_was_awaited_is_released_in_order_and_the_rest_stays() {
        let mut waiting = Waiting::new();
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
        let mut waiting = Waiting::new();
        for _ in 0..PORT_FRAMES {
            assert!(hold(&mut waiting, hop(1), 1, 60).is_ok());
        }
        assert_eq!(hold(&mut waiting, hop(1), 1, 60), Err(DropReason::WaitFull));
        assert!(hold(&mut waiting, hop(1), 2, PORT_BYTES).is_ok());
        assert_eq!(hold(&mut waiting, hop(1), 2, 1), Err(DropReason::WaitFull));
        waiting.forget_ports(|port| port == PortId(2));
        assert!(hold(&mut waiting, hop(1), 2, 1).is_ok());
    }

    /// However many ports fill the store together, another one finds room, and who has most yields.
    #[test]
    fn who_has_most_yields_when_the_store_is_full() {
        let mut waiting = Waiting::new();
        for _ in 0..PORT_FRAMES {
            for port in 0..15 {
                hold(&mut waiting, hop(1), port, 60).unwrap();
            }
        }
        for _ in 0..63 {
            hold(&mut waiting, hop(1), 15, 60).unwrap();
        }
        hold(&mut waiting, hop(1), 16, 61).unwrap();
        assert_eq!(waiting.len(), MAX_FRAMES);
        let mut lost = Vec::new();
        for _ in 0..14 {
            lost.extend(hold_and_lose(&mut waiting, hop(1), 17, 60).unwrap().1);
        }
        lost.sort_unstable();
        assert_eq!(lost, (0..14).map(|it| it + 1).collect::<Vec<u16>>(), "each of those with most, in turn");
        assert_eq!(waiting.len(), MAX_FRAMES);
        waiting.release(hop(1));
        assert!(ready(&mut waiting).contains(&61), "who has least keeps it");
        assert!(waiting.shares.iter().all(|share| share.frames == 0 && share.bytes == 0));
    }

    #[test]
    fn the_store_is_bounded_in_all() {
        for (ports, len, expected) in [(100, PORT_BYTES, (8, MAX_BYTES)), (32, 1, (MAX_FRAMES, MAX_FRAMES))] {
            let mut waiting = Waiting::new();
            for number in 0..2000 {
                let held = hold(&mut waiting, hop(1), number % ports, len);
                assert_eq!(held.is_ok(), usize::from(number) < expected.0, "nobody has more");
            }
            assert_eq!((waiting.len(), waiting.bytes), expected);
        }
    }

    #[test]
    fn fragments_yield_first_the_oldest_of_them_and_then_what_came_last() {
        let key = |ident| FragmentKey {
            ingress: PortId(1),
            src: [10, 0, 0, 2].into(),
            dst: [192, 0, 2, 7].into(),
            ident,
            protocol: 17,
        };
        let mut waiting = Waiting::new();
        hold(&mut waiting, hop(1), 1, PORT_BYTES - 200).unwrap();
        hold(&mut waiting, Awaited::FirstFragment(key(1)), 1, 61).unwrap();
        hold(&mut waiting, Awaited::FirstFragment(key(2)), 1, 62).unwrap();
        hold(&mut waiting, hop(1), 1, 63).unwrap();
        for port in 2..9 {
            hold(&mut waiting, hop(2), port, PORT_BYTES - 250).unwrap();
        }
        let room = MAX_BYTES - waiting.bytes;
        hold(&mut waiting, hop(2), 9, room).unwrap();
        let mut left = Vec::new();
        for len in [10, 60, 60] {
            assert_eq!(hold_and_lose(&mut waiting, hop(2), 10, len), Ok((Wait::Neighbour, vec![1])));
            let of_one = waiting.packets.iter().filter(|packet| packet.held.ingress == PortId(1));
            left.push(of_one.skip(1).map(|packet| packet.held.bytes.len()).collect::<Vec<_>>());
        }
        assert_eq!(left, [vec![62, 63], vec![63], vec![]]);
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
        let mut waiting = Waiting::new();
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
        let mut waiting = Waiting::new();
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
