//! What the edge decides by: the host's uplinks and addresses, publications, rules, limits. Part of the snapshot.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::tuple::Protocol;
use crate::addr::MacAddr;
use crate::id::{NetworkId, PortId};

/// Everything about the edge that control decides and that is the same for all networks.
#[derive(Debug, Clone, Default)]
pub struct EdgeConfig {
    /// The host's interfaces towards the outside.
    pub uplinks: Vec<Uplink>,
    /// Every IPv4 address of the host in ascending order, gateways' that it has by host ports included, 127.0.0.0/8 left out.
    pub host_addresses: Vec<Ipv4Addr>,
    /// Subnets of which the host takes every address for its own, by local routes (AnyIP), 127.0.0.0/8 left out.
    pub host_subnets: Vec<Ipv4Net>,
    /// Published ports, those of a single address before those of all (see [`Publication::address`]), no two of which
    /// hold the same port of the same address.
    pub publications: Vec<Arc<Publication>>,
    /// How long idle sessions live.
    pub timeouts: Timeouts,
    /// How many sessions there may be.
    pub limits: Limits,
    /// Counts up whenever rules, links or publications change: sessions that were admitted before are held against the
    /// new ones with their next packet.
    pub rules_generation: u32,
}

/// An interface of the host towards the outside, and the port on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The port.
    pub port: PortId,
    /// The kernel's number of the interface.
    pub interface_index: u32,
    /// The interface's name, for people.
    pub name: String,
    /// Its MAC; none on interfaces that carry bare packets (tun, WireGuard, PPP).
    pub mac: Option<MacAddr>,
    /// Its IPv4 addresses with their prefixes, primary ones first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Its MTU: the largest layer-3 packet in bytes.
    pub mtu: u16,
}

/// How a network is connected to the host and the outside.
#[derive(Debug, Clone, Default)]
pub struct NetworkEdge {
    /// The port by which the host itself sits on the network.
    pub host_port: Option<PortId>,
    /// The port behind which a resolver serves the gateway's address, UDP and TCP port 53. It gets these packets whatever the network
    /// reaches otherwise.
    pub resolver_port: Option<PortId>,
    /// Reaches neither uplink nor host.
    pub internal: bool,
    /// Members may talk only to the gateway's side, and endpoints by links (docker's `--icc=false`).
    pub isolated: bool,
    /// Which uplinks its packets may leave by.
    pub uplinks: UplinkChoice,
    /// The source address of what leaves; the one of the route when none is given.
    pub snat_address: Option<Ipv4Addr>,
    /// What outside packets an open mapping lets in.
    pub mapping: Mapping,
    /// Checked in order once for each new session, before destinations are translated; what none matches passes.
    pub rules: Arc<[Rule]>,
    /// What may pass between its endpoints although they are isolated.
    pub links: Arc<[Link]>,
}

/// Which uplinks a network's packets may leave by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UplinkChoice {
    /// Whichever the kernel's route names.
    #[default]
    Auto,
    /// The interface of this number only.
    Only(u32),
    /// None: no packet leaves the host.
    None,
}

/// How ports are mapped and filtered (RFC 4787, sections 4.1 and 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mapping {
    /// Address- and port-dependent, as docker's masquerading: only who was spoken to may answer.
    #[default]
    PortDependent,
    /// Endpoint-independent: one external port for each internal one, and anybody may send to it.
    EndpointIndependent,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The session may be opened.
    Allow,
    /// It may not.
    Deny,
}

/// One line of an ordered list. What is left open matches everything.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The rule's number, as people name it.
    pub number: u32,
    /// What it does.
    pub action: Action,
    /// The packet's source.
    pub source: Option<IpNet>,
    /// The packet's destination, before it is translated.
    pub destination: Option<IpNet>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// Destination ports, both ends included; with TCP and UDP only.
    pub ports: Option<(u16, u16)>,
    /// How many new sessions it decided.
    pub hits: Arc<Hits>,
}

/// A counter of decisions: of the edge, and of whoever carries clients of the host to published ports.
#[derive(Debug, Default)]
pub struct Hits(AtomicU64);

impl Hits {
    /// Counts one.
    #[inline]
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Ports of the host that lead to an endpoint.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Its number, given once.
    pub id: u32,
    /// The address of the host that it stands on; none: every address.
    pub address: Option<Ipv4Addr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First and last port on the host.
    pub ports: (u16, u16),
    /// The endpoint's network.
    pub network: NetworkId,
    /// The endpoint's port.
    pub endpoint: PortId,
    /// The endpoint's address.
    pub to_address: Ipv4Addr,
    /// The endpoint's port that the first of `ports` leads to; the others follow.
    pub to_port: u16,
    /// Checked in order after the network's own, once for each new session that comes to it. What none matches passes.
    pub rules: Arc<[Rule]>,
}

/// A hole in the isolation of a network: `from` may open sessions to `to`, which may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Who may begin.
    pub from: PortId,
    /// Who may be spoken to.
    pub to: PortId,
    /// What may be spoken to: a protocol and a port; none: everything.
    pub service: Option<(Protocol, u16)>,
}

/// How long sessions live without a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP with both sides established (RFC 5382, REQ-5: at least 2 h 4 min).
    pub tcp_established: Duration,
    /// TCP whose handshake is not complete (RFC 5382, REQ-5; RFC 7857, section 2.1: 4 min).
    pub tcp_half_open: Duration,
    /// TCP that both sides have closed, or one has reset (the same: 4 min).
    pub tcp_closed: Duration,
    /// UDP (RFC 4787, REQ-5: 5 min), refreshed by outbound packets (REQ-6). With port 53 outside it is 30 s at most once that has
    /// answered (REQ-5a).
    pub udp: Duration,
    /// ICMP queries (RFC 5508, REQ-2: 60 s).
    pub icmp: Duration,
    /// A port is not given to a new flow for this long after its last one ended, where others are free.
    pub port_reuse: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(2 * 3600 + 4 * 60),
            tcp_half_open: Duration::from_secs(4 * 60),
            tcp_closed: Duration::from_secs(4 * 60),
            udp: Duration::from_secs(5 * 60),
            icmp: Duration::from_secs(60),
            port_reuse: Duration::from_secs(120),
        }
    }
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub sessions: u32,
    /// For one endpoint.
    pub sessions_per_endpoint: u32,
}

impl Default for Limits {
    /// As the kernel's conntrack on a machine of 4 GiB and more, an eighth of it for one endpoint.
    fn default() -> Self {
        Self { sessions: 262_144, sessions_per_endpoint: 32_768 }
    }
}

impl EdgeConfig {
    /// The uplink whose port that is.
    pub fn uplink(&self, port: PortId) -> Option<&Uplink> {
        self.uplinks.iter().find(|uplink| uplink.port == port)
    }

    /// Whether `source` cannot be behind the uplink of that port, for it lies in the subnet of another one. The longest prefix counts;
    /// with the same one on both it may be behind either.
    pub fn is_elsewhere(&self, port: PortId, source: Ipv4Addr) -> bool {
        let here = self.uplink(port).and_then(|uplink| uplink.prefix_around(source));
        self.uplinks.iter().any(|uplink| uplink.prefix_around(source) > here)
    }

    /// Whether the host has that address (127.0.0.0/8 aside).
    #[inline(always)]
    pub fn is_host_address(&self, address: Ipv4Addr) -> bool {
        self.host_addresses.binary_search(&address).is_ok()
            || self.host_subnets.iter().any(|net| net.contains(&address))
    }
}

impl Uplink {
    /// What stands for its own MAC where it has none.
    pub const OWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    /// What stands for the MAC of whoever is at the other end of an interface without MACs.
    pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// The address to ask for `neighbour` with: the one whose subnet it lies in, else the first.
    pub fn address_towards(&self, neighbour: Ipv4Addr) -> Option<Ipv4Addr> {
        let found = self.subnets_around(neighbour).next().or_else(|| self.addresses.first());
        found.map(|(address, _)| *address)
    }

    /// The length of the longest prefix that `address` has in common with one of its subnets; none: it lies in none of them.
    fn prefix_around(&self, address: Ipv4Addr) -> Option<u8> {
        self.subnets_around(address).map(|(_, prefix_len)| *prefix_len).max()
    }

    /// Its addresses in whose subnets `address` lies.
    fn subnets_around(&self, address: Ipv4Addr) -> impl Iterator<Item = &(Ipv4Addr, u8)> {
        self.addresses.iter().filter(move |&&(own, prefix_len)| {
            Ipv4Net::new(own, prefix_len).is_ok_and(|net| net.contains(&address))
        })
    }
}

impl Rule {
    /// Whether the rule is about a packet with these properties, as it came.
    pub fn matches(&self, source: IpAddr, destination: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.source.is_none_or(|net| net.contains(&source))
            && self.destination.is_none_or(|net| net.contains(&destination))
            && self.protocol.is_none_or(|it| it == protocol)
            && self.ports.is_none_or(|(first, last)| {
                matches!(protocol, Protocol::Tcp | Protocol::Udp) && (first..=last).contains(&port)
            })
    }
}

impl Publication {
    /// Whether a packet to this address and port of the host is meant.
    #[inline]
    pub fn matches(&self, address: Ipv4Addr, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol
            && (self.ports.0..=self.ports.1).contains(&port)
            && self.address.is_none_or(|it| it == address)
    }

    /// The endpoint's port that `port` of the host leads to.
    #[inline]
    pub fn target_port(&self, port: u16) -> u16 {
        self.to_port.wrapping_add(port.wrapping_sub(self.ports.0))
    }
}
