//! What is decided about a packet's way, and what becomes of it there.

use std::net::Ipv4Addr;

use super::Names;
use crate::addr::MacAddr;
use crate::edge::punt::Route;
use crate::edge::tuple::{Protocol, Tuple};
use crate::id::PortId;

/// A decision about a packet's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// The destination is one of the host's own addresses.
    Host,
    /// The destination is the resolver at the gateway.
    Resolver,
    /// The kernel is asked for the route to that destination; the packet waits for its answer, and what follows is by it.
    AsksRoute(Ipv4Addr),
    /// The kernel's route.
    Route(Route),
    /// The next hop's MAC is known.
    NextHop {
        /// The next hop.
        address: Ipv4Addr,
        /// Its MAC.
        mac: MacAddr,
    },
    /// That next hop is not resolved: the packet waits for its answer to ARP, and what follows is as if it had come.
    AsksNextHop(Ipv4Addr),
    /// The flow's own source port is asked for: the packet waits for it, and what follows is as if it were granted.
    AsksPort {
        /// The port.
        port: u16,
        /// The port that the flow gets if not; none: the packet is dropped then.
        otherwise: Option<u16>,
    },
    /// No port is left: the packet waits for those that control is asked for, and what follows is as if they had come.
    AsksPorts(Protocol),
    /// The source is translated to this port.
    Port(u16),
    /// The way that the session remembers.
    Remembered {
        /// The port.
        egress: PortId,
        /// The next station.
        mac: MacAddr,
        /// Largest packet in bytes.
        mtu: u16,
    },
    /// What the packet becomes.
    Becomes(Tuple),
    /// The packet is larger than the MTU on its way.
    TooLarge {
        /// The packet's length in bytes; of a super-frame, a segment's.
        len: usize,
        /// The MTU.
        mtu: u16,
    },
}

impl Routing {
    pub(super) fn words(&self, names: &dyn Names) -> String {
        match self {
            Routing::Host => "the destination is the host".into(),
            Routing::Resolver => "the destination is the resolver at the gateway".into(),
            Routing::AsksRoute(destination) => format!(
                "the route to {destination} is not known: the kernel is asked, and the packet waits for its answer, by which this goes on"
            ),
            Routing::Route(Route { uplink, next_hop, source, mtu, .. }) => {
                format!("route by {} to {next_hop}, from {source}, MTU {mtu}", names.port(*uplink))
            }
            Routing::NextHop { address, mac } => format!("next hop {address} is {mac}"),
            Routing::AsksNextHop(address) => format!(
                "next hop {address} is not resolved: ARP asks for it, and the packet waits for the answer; from here on as if that had come"
            ),
            Routing::AsksPort { port, otherwise } => {
                let otherwise =
                    otherwise.map_or("the packet is dropped".into(), |port| format!("port {port} does"));
                format!(
                    "port {port} of the host is asked for, to be kept, and the packet waits for it, a second at most; from here on as if it were granted, otherwise {otherwise}"
                )
            }
            Routing::AsksPorts(protocol) => format!(
                "no port of the host is left for {protocol}: more are asked for, and the packet waits for one, a second at most; from here on as if one had come, 0 standing for it"
            ),
            Routing::Port(port) => format!("source port {port} of the host"),
            Routing::Remembered { egress, mac, mtu } => {
                format!("the session's way: {} to {mac}, MTU {mtu}", names.port(*egress))
            }
            Routing::Becomes(tuple) => format!("becomes {tuple}"),
            Routing::TooLarge { len, mtu } => format!("{len} bytes are too many for an MTU of {mtu}"),
        }
    }
}
