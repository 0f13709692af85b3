//! What the core decides by: networks and ports, published as one immutable snapshot.
//!
//! Control builds a [`Snapshot`] whenever something changes; workers pick it up between two batches.
//! Nothing in it changes afterwards but the FDB (lock-free) and the counters (one writer each).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::addr::MacAddr;
use crate::counters::PortCounters;
use crate::edge::config::{EdgeConfig, NetworkEdge};
use crate::fdb::Fdb;
use crate::storm::Flooded;

pub use crate::fdb::DEFAULT_AGEING;
pub use crate::id::{MAX_NETWORKS, MAX_PORTS, NetworkId, PortId};

/// What a port may do. The defaults are those of a kernel bridge port (`bridge link`), guard aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSettings {
    /// Source addresses of ingress frames go into the FDB.
    pub learning: bool,
    /// Frames to stations that the FDB does not know leave by this port. Broadcast and multicast always do.
    pub flood: bool,
    /// No frame passes between two isolated ports.
    pub isolated: bool,
    /// A frame may leave by the port it came from.
    pub hairpin: bool,
    /// Ingress frames must carry the port's [`Identity`]; a port without one is not guarded.
    pub guard: bool,
    /// How much of what is flooded may come in by it.
    pub storm: StormLimits,
    /// A loop that the port is in is looked for, and told.
    pub loop_guard: bool,
}

/// Frames a second that may come in by a port and be flooded, by cause; 0: any number. See [`storm`](crate::storm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormLimits {
    /// Broadcasts.
    pub broadcast: u32,
    /// Frames to groups.
    pub multicast: u32,
    /// Frames to stations that the FDB does not know.
    pub unknown_unicast: u32,
}

impl StormLimits {
    /// Ten thousand broadcasts, and any number of the rest, in which streams may be.
    pub const DEFAULT: StormLimits = StormLimits { broadcast: 10_000, multicast: 0, unknown_unicast: 0 };
    /// Any number of anything.
    pub const NONE: StormLimits = StormLimits { broadcast: 0, multicast: 0, unknown_unicast: 0 };
}

impl Default for StormLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for PortSettings {
    fn default() -> Self {
        Self {
            learning: true,
            flood: true,
            isolated: false,
            hairpin: false,
            guard: false,
            storm: StormLimits::default(),
            loop_guard: true,
        }
    }
}

/// Who an endpoint is: what the spoof guard lets it say of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The endpoint's own MAC.
    pub mac: MacAddr,
    /// The endpoint's own addresses. The IPv6 link-local address made from `mac` (EUI-64) is always its own.
    pub addresses: Vec<IpAddr>,
    /// Every address of the endpoint's sandbox: these may be a packet's source towards the gateway's MAC.
    pub sandbox_addresses: Vec<IpAddr>,
}

/// A network's router address, answered by the core itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 0 to 32.
    pub prefix_len: u8,
}

impl Gateway {
    /// Whether `address` lies in the gateway's subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = self.netmask();
        u32::from(address) & mask == u32::from(self.address) & mask
    }

    /// The subnet's first address: the network's own, in all but the smallest.
    pub fn first_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.netmask())
    }

    /// Whether `address` is the subnet's own broadcast address (none in /31 and /32, RFC 3021).
    pub fn is_subnet_broadcast(&self, address: Ipv4Addr) -> bool {
        self.prefix_len < 31 && self.contains(address) && u32::from(address) | self.netmask() == u32::MAX
    }

    fn netmask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0)
    }
}

/// One bridge domain.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its number.
    pub id: NetworkId,
    /// The router address that the core answers for, if any.
    pub gateway: Option<Gateway>,
    /// Largest layer-3 packet in bytes that the gateway sends.
    pub mtu: u16,
    /// The forwarding database.
    pub fdb: Arc<Fdb>,
    /// What was flooded last.
    pub flooded: Arc<Flooded>,
    /// Its ports, in order of their numbers.
    pub members: Vec<PortId>,
    /// How it is connected to the host and the outside.
    pub edge: NetworkEdge,
}

/// Where a port belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A network: endpoints and existing interfaces.
    Member(NetworkId),
    /// A network, on which it is the host's own: it carries the gateway's MAC and address.
    Host(NetworkId),
    /// A network, on which it is the resolver's at the gateway: it carries the gateway's MAC and address too.
    Resolver(NetworkId),
    /// The outside of all networks.
    Uplink,
    /// A network of which it was a member, and is none as long as it is in a loop: nothing comes in by it, and nothing is flooded to it.
    Blocked(NetworkId),
}

impl Place {
    /// The network that frames come into by it; an uplink has none, nor has a port that is blocked.
    #[inline]
    pub fn network(self) -> Option<NetworkId> {
        match self {
            Place::Member(network) | Place::Host(network) | Place::Resolver(network) => Some(network),
            Place::Uplink | Place::Blocked(_) => None,
        }
    }

    /// The network that it belongs to, be it blocked or not.
    pub fn home(self) -> Option<NetworkId> {
        match self {
            Place::Blocked(network) => Some(network),
            place => place.network(),
        }
    }
}

/// One place where frames enter and leave.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// Where it belongs.
    pub place: Place,
    /// What it may do.
    pub settings: PortSettings,
    /// Who is behind it, when that is known.
    pub identity: Option<Arc<Identity>>,
    /// The MAC that the kernel gives the interface itself, where it is an existing one: nobody of the network has it, unless he is
    /// known to be elsewhere.
    pub own_mac: Option<MacAddr>,
    /// Largest layer-3 packet in bytes that may leave by it. A super-frame is measured by its segments.
    pub mtu: u16,
    /// One block of counters for each worker.
    pub counters: Arc<[PortCounters]>,
}

impl Port {
    /// Whether it is the host's own port on its network.
    #[inline]
    pub fn is_host(&self) -> bool {
        matches!(self.place, Place::Host(_))
    }

    /// Whether it is the resolver's on its network.
    #[inline]
    pub fn is_resolver(&self) -> bool {
        matches!(self.place, Place::Resolver(_))
    }

    /// Whether whoever is behind it has the gateway's MAC and address: the host, or the resolver.
    #[inline]
    pub fn has_gateway_address(&self) -> bool {
        matches!(self.place, Place::Host(_) | Place::Resolver(_))
    }

    /// Whether it is a member of its network: an endpoint's, or an existing interface.
    #[inline]
    pub fn is_member(&self) -> bool {
        matches!(self.place, Place::Member(_))
    }

    /// Whether `mac` is that of the endpoint behind it.
    pub fn has_mac(&self, mac: MacAddr) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.mac == mac)
    }
}

/// Everything that the core decides by, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts up with every change.
    pub generation: u64,
    /// Networks by number.
    pub networks: Vec<Option<Arc<Network>>>,
    /// Ports by number.
    pub ports: Vec<Option<Port>>,
    /// What the edge decides by.
    pub edge: Arc<EdgeConfig>,
}

impl Snapshot {
    /// The port of that number, if there is one.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())?.as_ref()
    }

    /// The network of that number, if there is one.
    #[inline]
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.get(id.index())?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_knows_its_subnet() {
        let gateway =
            |prefix_len| Gateway { mac: MacAddr::ZERO, address: Ipv4Addr::new(10, 1, 2, 1), prefix_len };
        assert!(gateway(24).contains(Ipv4Addr::new(10, 1, 2, 200)));
        assert!(!gateway(24).contains(Ipv4Addr::new(10, 1, 3, 1)));
        assert!(gateway(24).is_subnet_broadcast(Ipv4Addr::new(10, 1, 2, 255)));
        assert!(!gateway(31).is_subnet_broadcast(Ipv4Addr::new(10, 1, 2, 1)));
        assert!(gateway(0).contains(Ipv4Addr::new(192, 0, 2, 1)));
    }
}
