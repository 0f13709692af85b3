//! One session: its tuples, where its packets leave, what was seen of them.

use core::time::Duration;

use super::mapping::Transport;
use super::moment::Moment;
use super::owners::Group;
use super::queues::{Class, DNS_PORT};
use super::tcp::{State, TcpFlags};
use crate::addr::MacAddr;
use crate::edge::ports::Lease;
use crate::edge::tuple::{Protocol, Tuple};
use crate::id::PortId;
use crate::verdict::Translation;

/// UDP from inside that nobody has answered does not yield for this long after its last packet.
const ONE_WAY_IDLE: Duration = Duration::from_secs(30);

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It comes from whoever began.
    Original = 0,
    /// It comes from whoever answers.
    Reply = 1,
}

impl Direction {
    /// The other one.
    #[inline]
    #[must_use]
    pub fn opposite(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}

/// Where the packets of one direction leave, remembered so that an established session needs no other lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The port.
    pub egress: PortId,
    /// The largest packet in bytes on the way.
    pub mtu: u16,
    /// The next station.
    pub dst_mac: MacAddr,
    /// The egress port's own MAC, or the gateway's.
    pub src_mac: MacAddr,
    /// What the rest was derived from; it must be derived anew when that has changed.
    pub generation: u32,
}

impl Hop {
    /// Not known yet.
    pub const UNKNOWN: Hop = Hop {
        egress: PortId(u16::MAX),
        mtu: 0,
        dst_mac: MacAddr::ZERO,
        src_mac: MacAddr::ZERO,
        generation: 0,
    };
}

/// A session to be opened.
#[derive(Debug, Clone, Copy)]
pub struct NewSession {
    /// The packets of whoever begins, on his side of the edge.
    pub original: Tuple,
    /// The packets of whoever answers, on his side of the edge.
    pub reply: Tuple,
    /// Where packets leave: those of the original direction, and replies.
    pub hops: [Hop; 2],
    /// The endpoint that it is counted for.
    pub owner: PortId,
    /// How it holds the external port, which is the one that replies come to; with [`Lease::Mapped`] and a session from outside, the one
    /// that the original packets come to.
    pub lease: Lease,
    /// The publication that it came by.
    pub publication: Option<u32>,
    /// The rules that it was admitted by.
    pub rules_generation: u32,
}

/// What a packet needs of its session.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(128))]
pub struct Session {
    pub(super) tuples: [Tuple; 2],
    pub(super) hops: [Hop; 2],
    pub(super) last_seen: Moment,
    pub(super) rules_generation: u32,
    pub(super) owner: PortId,
    pub(super) state: State,
    pub(super) translation: Translation,
}

const _: () = assert!(size_of::<Session>() == 128);

impl Session {
    /// A new one, with its first packet.
    pub(super) fn open(now: Moment, new: &NewSession, flags: Option<TcpFlags>) -> Session {
        Session {
            tuples: [new.original, new.reply],
            hops: new.hops,
            last_seen: now,
            rules_generation: new.rules_generation,
            owner: new.owner,
            state: State::new(new.publication.is_some()).after(Direction::Original, flags),
            translation: translation(&new.original, &new.reply),
        }
    }

    /// The packets of this direction, before they are translated.
    #[inline]
    pub fn tuple(&self, direction: Direction) -> &Tuple {
        &self.tuples[direction as usize]
    }

    /// The packets of this direction, after they were translated.
    #[inline]
    pub fn translated(&self, direction: Direction) -> Tuple {
        self.tuples[1 - direction as usize].inverted()
    }

    /// What is done to packets of this direction.
    #[inline]
    pub fn translation(&self, direction: Direction) -> Translation {
        match (direction, self.translation) {
            (Direction::Reply, Translation::Source) => Translation::Destination,
            (Direction::Reply, Translation::Destination) => Translation::Source,
            (_, translation) => translation,
        }
    }

    /// Where packets of this direction leave.
    #[inline]
    pub fn hop(&self, direction: Direction) -> &Hop {
        &self.hops[direction as usize]
    }

    /// Packets of this direction leave there from now on.
    pub fn set_hop(&mut self, direction: Direction, hop: Hop) {
        self.hops[direction as usize] = hop;
    }

    /// The endpoint that it is counted for.
    #[inline]
    pub fn owner(&self) -> PortId {
        self.owner
    }

    /// TCP, UDP or ICMP.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.tuples[0].protocol
    }

    /// The rules that it was admitted by.
    #[inline]
    pub fn rules_generation(&self) -> u32 {
        self.rules_generation
    }

    /// Newer rules admit it too.
    pub fn set_rules_generation(&mut self, generation: u32) {
        self.rules_generation = generation;
    }

    /// Whether it is TCP and its handshake is not complete.
    pub fn is_half_open(&self) -> bool {
        self.group() == Group::HalfOpen
    }

    /// Whether it is such a one of that endpoint.
    pub(super) fn is_half_open_of(&self, owner: PortId) -> bool {
        self.owner == owner && self.is_half_open()
    }

    /// Its state in one word, as people see it.
    pub fn state(&self) -> &'static str {
        match self.protocol() {
            Protocol::Tcp if self.state.is_closed() => "closed",
            Protocol::Tcp if !self.state.is_complete() => "half-open",
            Protocol::Tcp if self.state.is_closing() => "closing",
            Protocol::Tcp => "established",
            Protocol::Udp | Protocol::Icmp if self.state.is_answered() => "two-way",
            Protocol::Udp | Protocol::Icmp => "one-way",
        }
    }

    /// Whether the session counts for its endpoint's share of ports: who closed its connection gives the port to whoever wants it.
    pub(super) fn counts(&self, lease: Lease) -> bool {
        lease != Lease::Shared || self.group() != Group::Closed
    }

    /// Whom it yields with when there is no room.
    #[inline]
    pub(super) fn group(&self) -> Group {
        match self.protocol() {
            Protocol::Tcp if self.state.is_closed() => Group::Closed,
            Protocol::Tcp if !self.state.is_complete() => Group::HalfOpen,
            Protocol::Udp | Protocol::Icmp if self.translation == Translation::Destination => Group::Inbound,
            Protocol::Udp if self.translation == Translation::Source && !self.state.is_answered() => {
                Group::OneWay
            }
            _ => Group::Lasting,
        }
    }

    /// Whether it yields now, if its group does.
    pub(super) fn may_yield(&self, now: Moment) -> bool {
        self.group() != Group::OneWay || self.last_seen.after(ONE_WAY_IDLE) <= now
    }

    /// Which timeout it has.
    #[inline]
    pub(super) fn class(&self) -> Class {
        match self.protocol() {
            Protocol::Tcp if self.state.is_closed() => Class::TcpClosed,
            Protocol::Tcp if !self.state.is_complete() => Class::TcpHalfOpen,
            Protocol::Tcp => Class::TcpEstablished,
            Protocol::Udp if self.is_answered_query() => Class::Dns,
            Protocol::Udp => Class::Udp,
            Protocol::Icmp => Class::Icmp,
        }
    }

    /// Whether it is with a name server outside that has answered.
    fn is_answered_query(&self) -> bool {
        self.translation == Translation::Source
            && self.tuples[0].dst_port == DNS_PORT
            && self.state.is_answered()
    }

    /// Whether a packet of this direction shows that the session is still wanted. With UDP only what comes from inside does
    /// (RFC 4787, REQ-6), or nobody inside could ever end what somebody outside keeps open; a published port is open anyway.
    #[inline]
    pub(super) fn is_refreshed_by(&self, direction: Direction) -> bool {
        match (self.protocol(), self.translation) {
            (Protocol::Udp, Translation::Source) => direction == Direction::Original,
            (Protocol::Udp, Translation::Destination) => {
                direction == Direction::Reply || self.state.is_published()
            }
            _ => true,
        }
    }
}

impl NewSession {
    /// What is done to packets of the original direction.
    pub fn translation(&self) -> Translation {
        translation(&self.original, &self.reply)
    }
}

/// What is done to packets of the original direction.
fn translation(original: &Tuple, reply: &Tuple) -> Translation {
    let source = (original.src, original.src_port) != (reply.dst, reply.dst_port);
    let destination = (original.dst, original.dst_port) != (reply.src, reply.src_port);
    match (source, destination) {
        (false, false) => Translation::None,
        (true, false) => Translation::Source,
        (false, true) => Translation::Destination,
        // A client of a published port, told apart from himself: see `Sessions::tell_apart`.
        (true, true) if original.src == reply.dst => Translation::Destination,
        (true, true) => Translation::Both,
    }
}

/// Both sides of the port of the host that such a session holds: internal, external.
pub(super) fn held(lease: Lease, original: &Tuple, reply: &Tuple) -> Option<(Transport, Transport)> {
    match (lease, translation(original, reply)) {
        (Lease::None, _) => None,
        (Lease::Mapped, Translation::Destination) => {
            Some(((reply.src, reply.src_port), (original.dst, original.dst_port)))
        }
        _ => Some(((original.src, original.src_port), (reply.dst, reply.dst_port))),
    }
}
