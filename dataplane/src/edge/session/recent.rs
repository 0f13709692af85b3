//! Flows whose packets have just gone through, and how: most packets are followed by another one of their flow.
//!
//! What becomes of a packet of an established session follows from the packet's addresses and ports, where it came from, and what the edge
//! knows. While nothing of that is another, what became of the last one becomes of the next: its session need not be looked for, nor be
//! asked about rules, hops and who sends. A flow that is not here pays a comparison.
//!
//! There are few, each at a place that its ports choose. None outlives its session, or a change of it ([`Recents::forget`]), or what its hop
//! was derived from ([`Hop::generation`], which also counts up with every new snapshot: rules and addresses are as they were).

use super::entry::Direction;
use super::{Session, SessionId};
use crate::addr::MacAddr;
use crate::edge::packet::Packet;
use crate::id::PortId;

/// How many: as many flows as one expects in a batch of frames.
const PLACES: usize = 16;

/// What a packet of TCP or UDP must have in common with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowKey {
    /// Source and destination.
    addresses: u64,
    /// Source port and destination port.
    ports: u32,
    /// The protocol, and the port of the switch that it came by.
    ingress: u32,
    /// The station that sent it.
    station: u64,
}

impl FlowKey {
    /// No flow's: there is no such protocol.
    const NONE: FlowKey = FlowKey { addresses: 0, ports: 0, ingress: 0, station: 0 };

    /// The flow of a packet that station `station` sent, if it is one of TCP or UDP that is whole.
    #[inline(always)]
    pub fn of(packet: &Packet, ingress: PortId, station: MacAddr) -> Option<FlowKey> {
        let (src, dst) = packet.ports()?;
        Some(FlowKey {
            addresses: u64::from(packet.src.to_bits()) << 32 | u64::from(packet.dst.to_bits()),
            ports: ports_word(src, dst),
            ingress: u32::from(packet.protocol) << 16 | u32::from(ingress.0),
            station: station.to_u64(),
        })
    }
}

#[inline(always)]
fn ports_word(src: u16, dst: u16) -> u32 {
    u32::from(src) << 16 | u32::from(dst)
}

/// Fibonacci hashing: the upper bits of a product hang on all bits of both ports.
#[inline(always)]
fn place(ports: u32) -> usize {
    (ports.wrapping_mul(0x9e37_79b1) >> 28) as usize % PLACES
}

/// The recent flows.
#[derive(Debug)]
pub(super) struct Recents {
    places: [(FlowKey, SessionId, Direction); PLACES],
}

impl Recents {
    pub(super) fn new() -> Recents {
        Recents { places: [(FlowKey::NONE, SessionId(0), Direction::Original); PLACES] }
    }

    /// The session of the flow's last packet, and its direction there.
    #[inline(always)]
    pub(super) fn find(&self, key: &FlowKey) -> Option<(SessionId, Direction)> {
        let &(ref known, id, direction) = &self.places[place(key.ports)];
        (known == key).then_some((id, direction))
    }

    /// A packet of that flow went on.
    #[inline(always)]
    pub(super) fn remember(&mut self, key: FlowKey, id: SessionId, direction: Direction) {
        self.places[place(key.ports)] = (key, id, direction);
    }

    /// The session is another one from now on, or none.
    #[inline]
    pub(super) fn forget(&mut self, session: &Session) {
        for tuple in &session.tuples {
            self.places[place(ports_word(tuple.src_port, tuple.dst_port))].0 = FlowKey::NONE;
        }
    }
}
