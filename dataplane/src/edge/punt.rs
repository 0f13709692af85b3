//! What the edge asks control for, and what it is answered: routes of the kernel, and ports held by the kernel's sockets.
//!
//! A question is asked once and again after a while if nobody answers; frames that need the answer wait meanwhile, few and
//! not for long (see `waiting`).

use std::net::Ipv4Addr;

use super::tuple::Protocol;
use crate::addr::MacAddr;
use crate::id::{NetworkId, PortId};

/// What the edge cannot know by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Which way do packets of `network` to `destination` go?
    Route {
        /// The network that they come from.
        network: NetworkId,
        /// Where they go.
        destination: Ipv4Addr,
    },
    /// May NAT use this one port of the host? Somebody inside uses it as its source port.
    KeepPort {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// NAT does not use this kept port any more: the kernel may have it back.
    ReleasePort {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// Few ports of the pool are left.
    MorePorts {
        /// TCP or UDP.
        protocol: Protocol,
    },
}

/// What control tells the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Route`].
    Route {
        /// The network asked for.
        network: NetworkId,
        /// The destination asked for.
        destination: Ipv4Addr,
        /// The way; none: the kernel has no route, or one that refuses.
        route: Option<Route>,
    },
    /// The kernel's routes, rules, links or addresses have changed: every route must be asked for again.
    RoutesChanged,
    /// These ports are of NAT's pool from now on, as far as they were not before. None: there are no more to be had (to
    /// [`Request::MorePorts`]).
    PortsHeld {
        /// TCP or UDP.
        protocol: Protocol,
        /// Ports, both ends included.
        ports: Vec<(u16, u16)>,
    },
    /// The port of a [`Request::KeepPort`] is held for NAT until [`Request::ReleasePort`] or [`Answer::PortsLost`].
    PortKept {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// Kept ports that are held no longer, for they are published: what used them ends.
    PortsLost {
        /// TCP or UDP.
        protocol: Protocol,
        /// The ports.
        ports: Vec<u16>,
    },
    /// The port of a [`Request::KeepPort`] is taken.
    PortRefused {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

/// The kernel's way to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The uplink's port.
    pub uplink: PortId,
    /// The router to send to; the destination itself when it is on the link.
    pub next_hop: Ipv4Addr,
    /// The address that the kernel would send from.
    pub source: Ipv4Addr,
    /// Largest packet in bytes on the way, as far as the kernel knows.
    pub mtu: u16,
    /// The next hop's MAC, if the kernel's neighbour table has it.
    pub neighbour: Option<Neighbour>,
}

/// What the kernel's neighbour table says of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// The kernel has asked, and this was the answer some time: a hint.
    Learned(MacAddr),
    /// Nobody is to be asked (NUD_PERMANENT, NUD_NOARP): the administrator or the interface's kind says so.
    Fixed(MacAddr),
}

impl Neighbour {
    /// The station's MAC.
    pub fn mac(self) -> MacAddr {
        match self {
            Neighbour::Learned(mac) | Neighbour::Fixed(mac) => mac,
        }
    }
}
