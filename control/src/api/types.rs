//! What goes over the API, into the store, and out of `--json`: the field names here are stable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::StormLimits;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::Id;

mod connect;
mod dns;
mod edge;
mod inspect;
mod published;
mod sandbox;

pub use connect::{ConnectRequest, DisconnectRequest, SandboxName};
pub use dns::{DnsAnswer, DnsCount, DnsName, DnsPlace, DnsRecord, DnsStats, DnsUpstream};
pub use edge::{
    ByProtocol, Connection, Flow, Link, LinkBody, NatFlushed, NatGauge, NatMapping, NatSession, NatSessions,
    NatStats, Publication, PublicationRequest, Rule, RuleAction, RuleBody, RuleRequest, SnatIp, Trace,
    TraceFrame, TraceRequest, Uplink, UplinkState,
};
pub use inspect::{Attachment, ConfigFrom, Inspected, Ipam, IpamConfig};
pub use published::{PortRange, PortsError, Protocol, PublishedPorts};
pub use sandbox::{LinkTarget, Membership, Sandbox, SandboxRequest};

/// A MAC address, written `02:42:0a:00:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "02:42:0a:00:00:02")]
pub struct Mac(pub MacAddr);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = pontoon_dataplane::addr::MacParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Mac {
    type Err = pontoon_dataplane::addr::MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Mac)
    }
}

/// `POST /networks`: a network to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRequest {
    /// Its name: letters, digits, `_`, `.` and `-`, starting with a letter or digit, at most 63 bytes; neither `none` nor `host`.
    pub name: String,
    /// Its id; a random one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Its subnet in CIDR notation; IPv4, a prefix of at most 30 bits. When left out the first of Docker's default pools (172.17.0.0/16
    /// to 172.31.0.0/16, then 192.168.0.0/20 on) that overlaps neither a network nor an address or route of the host.
    #[schema(value_type = Option<String>, example = "10.88.0.0/24")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// The part of the subnet that addresses are chosen from; all of it when left out.
    #[schema(value_type = Option<String>, example = "10.88.0.128/25")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
    /// Whether the subnet is a pool that whoever asks has requested before. Not for the API: nobody there has one.
    #[serde(skip)]
    pub pooled: bool,
    /// The gateway's address; the subnet's first when left out.
    #[schema(value_type = Option<String>, example = "10.88.0.1")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Addresses that no endpoint gets, by the names of who has them.
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// The driver that it says it has, without effect; `pontoon` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Shown by `network inspect`, without effect; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachable: Option<bool>,
    /// An IPv6 subnet as well: true is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// Labels, for those who ask for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options under Docker's keys, such as `com.docker.network.driver.mtu`; keys that mean nothing to pontoon are kept, without effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Largest layer-3 packet in bytes, 576 to 65521; when left out that of the interface that `uplink` names, else of the default route's; 1500 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// How long learned addresses live, in seconds; 300 when left out, 0 keeps nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// The host reaches the endpoints, and they reach the host; true when left out, unless `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_access: Option<bool>,
    /// Which interfaces its packets may leave by: `auto`, `none` or an interface's name; `auto` when left out, unless `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// It reaches neither the host nor the outside; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// Endpoints may talk to one another; true when left out. Without, only links allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icc: Option<bool>,
    /// The source address of what leaves the host: `auto` (when left out) or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat_ip: Option<SnatIp>,
    /// How NAT maps ports; `port-dependent` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_mapping: Option<NatMapping>,
    /// Names can be asked for at the gateway's address; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<bool>,
    /// Whom its endpoints' names of the outside are asked for instead of the host's resolvers: three addresses at most.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
}

/// A network as it is (`GET /networks/NAME`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// The driver that it says it has.
    pub driver: String,
    /// Its subnet.
    #[schema(value_type = String)]
    pub subnet: IpNet,
    /// The part of the subnet that addresses are chosen from; absent when that is all of it.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
    /// Addresses that no endpoint gets, by the names of who has them.
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, Ipv4Addr>,
    /// The gateway's address.
    #[schema(value_type = String)]
    pub gateway: Ipv4Addr,
    /// The gateway's MAC.
    pub gateway_mac: Mac,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// How long learned addresses live, in seconds.
    pub ageing_seconds: u32,
    /// How it is connected to the host and the outside.
    #[serde(flatten)]
    pub connection: Connection,
    /// The interface by which the host sits on it; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_interface: Option<String>,
    /// The address of the host that publications stand on which name none; absent when that is every one.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_address: Option<Ipv4Addr>,
    /// What interfaces in sandboxes are called, before their number.
    pub ifname_prefix: String,
    /// Shown, without effect.
    pub attachable: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options under Docker's keys, as they were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// Its endpoints by name.
    pub endpoints: Vec<Endpoint>,
    /// Its existing interfaces by name.
    pub interfaces: Vec<Interface>,
    /// Ports of the host that lead to its endpoints.
    pub publications: Vec<Publication>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
    /// Its links.
    pub links: Vec<Link>,
    /// What should be known about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `PATCH /networks/NAME`: what to change; fields left out stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkPatch {
    /// How long learned addresses live, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`Connection::host_access`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_access: Option<bool>,
    /// See [`Connection::uplink`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// See [`Connection::internal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// See [`Connection::icc`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icc: Option<bool>,
    /// See [`Connection::snat_ip`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat_ip: Option<SnatIp>,
    /// See [`Connection::nat_mapping`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_mapping: Option<NatMapping>,
    /// See [`Connection::resolver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<bool>,
    /// See [`Connection::dns`].
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
}

/// The device that an endpoint gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A TAP device; needs nothing but /dev/net/tun.
    #[default]
    Tap,
    /// One end of a veth pair; the other end becomes a packet port.
    Veth,
}

/// Which sandbox: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "SandboxFields")]
pub enum SandboxRef {
    /// A named network namespace (below /run/netns), or the path of one.
    Netns(String),
    /// The network namespace of a process.
    Pid(u32),
}

/// A [`SandboxRef`] as it is read: what serde says of an enum is not for people who write JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with either netns or pid")]
struct SandboxFields {
    netns: Option<String>,
    pid: Option<u32>,
}

impl TryFrom<SandboxFields> for SandboxRef {
    type Error = &'static str;

    fn try_from(fields: SandboxFields) -> Result<Self, Self::Error> {
        match (fields.netns, fields.pid) {
            (Some(name), None) => Ok(SandboxRef::Netns(name)),
            (None, Some(pid)) => Ok(SandboxRef::Pid(pid)),
            _ => Err("give either netns or pid"),
        }
    }
}

/// `POST /networks/NAME/endpoints`: an endpoint to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// Its name, unique in the network; the namespace's name (`pid-N` for a process) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id; a random one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Further names of it, each unique among the names and aliases of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The sandbox that it is put into.
    pub sandbox: SandboxRef,
    /// The interface's name inside the sandbox; when left out the network's prefix with the first number that is free: `eth0`, `eth1`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// Its address; when left out the next one that is free: none is given again while others are.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Whether whoever asks has leased that address before. Not for the API: nobody there has a lease.
    #[serde(skip)]
    pub leased: bool,
    /// Its MAC; 02:42 and the address's four bytes when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The kind of device.
    #[serde(default)]
    pub kind: DeviceKind,
    /// No frame passes between two isolated endpoints.
    #[serde(default)]
    pub isolated: bool,
    /// Names can be asked for at 127.0.0.11 in the sandbox as well, as in those that pontoon makes.
    #[serde(default)]
    pub resolver: bool,
    /// Whom the sandbox's names of the outside are asked for instead of its networks' upstreams: three addresses at most.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
}

impl EndpointRequest {
    /// An endpoint in that sandbox, all else chosen.
    pub fn of(sandbox: SandboxRef) -> EndpointRequest {
        EndpointRequest {
            name: None,
            id: None,
            aliases: Vec::new(),
            sandbox,
            ifname: None,
            ip: None,
            leased: false,
            mac: None,
            kind: DeviceKind::default(),
            isolated: false,
            resolver: false,
            dns: Vec::new(),
        }
    }
}

/// An endpoint as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// Further names of it, in its network only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// The id of its sandbox: the same for all endpoints there.
    pub sandbox_id: Id,
    /// The network that it belongs to.
    pub network: String,
    /// The sandbox as it was named when the endpoint was attached.
    pub sandbox: SandboxRef,
    /// The interface's name inside the sandbox.
    pub ifname: String,
    /// Its address with the subnet's prefix length.
    #[schema(value_type = String, example = "10.88.0.2/24")]
    pub address: IpNet,
    /// Its MAC.
    pub mac: Mac,
    /// The kind of device.
    pub kind: DeviceKind,
    /// Whether its network's gateway is its sandbox's way to everywhere else.
    pub default_route: bool,
    /// When it was attached, RFC 3339 in UTC.
    pub created: String,
}

/// `POST /networks/NAME/interfaces`: an existing interface to put on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceRequest {
    /// The interface's name in the daemon's own network namespace.
    pub interface: String,
}

/// An existing interface on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// The interface's name.
    pub interface: String,
    /// The network that it is on.
    pub network: String,
    /// When it was put there, RFC 3339 in UTC.
    pub created: String,
}

/// What a port may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortFlags {
    /// Source addresses go into the FDB.
    pub learning: bool,
    /// Frames to unknown stations leave by it.
    pub flood: bool,
    /// No frame passes between two isolated ports.
    pub isolated: bool,
    /// A frame may leave by the port that it came from.
    pub hairpin: bool,
    /// Frames must carry the endpoint's own addresses.
    pub guard: bool,
    /// Broadcasts a second that are taken from it; 0: any number.
    #[serde(default = "broadcast_limit")]
    pub broadcast_limit: u32,
    /// Frames to groups a second that are taken from it; 0: any number.
    #[serde(default)]
    pub multicast_limit: u32,
    /// Frames to unknown stations a second that are taken from it; 0: any number.
    #[serde(default)]
    pub unknown_limit: u32,
    /// It is blocked for a while when it is in a loop.
    #[serde(default = "loop_guard")]
    pub loop_guard: bool,
}

/// What ports had that were made before there was a choice, and what they have without one.
fn broadcast_limit() -> u32 {
    StormLimits::DEFAULT.broadcast
}

fn loop_guard() -> bool {
    true
}

/// `PATCH /ports/PORT`: flags to change; fields left out stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortPatch {
    /// See [`PortFlags::learning`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning: Option<bool>,
    /// See [`PortFlags::flood`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<bool>,
    /// See [`PortFlags::isolated`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// See [`PortFlags::hairpin`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// See [`PortFlags::guard`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<bool>,
    /// See [`PortFlags::broadcast_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_limit: Option<u32>,
    /// See [`PortFlags::multicast_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast_limit: Option<u32>,
    /// See [`PortFlags::unknown_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_limit: Option<u32>,
    /// See [`PortFlags::loop_guard`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_guard: Option<bool>,
}

/// A port (`GET /ports`): an endpoint's or an interface's place in the data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// `NETWORK/ENDPOINT` or `NETWORK/INTERFACE`: the name that `port set` and the FDB use.
    pub port: String,
    /// The network.
    pub network: String,
    /// `tap`, `veth` or `packet`.
    pub kind: String,
    /// The interface's name as it is now: inside the sandbox for endpoints.
    pub ifname: String,
    /// The interface's number in its namespace; absent when it has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<u32>,
    /// The sandbox; absent for existing interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxRef>,
    /// The inode number of the interface's namespace: what `lsns -t net` calls NS.
    pub netns: u64,
    /// The other end of a veth pair: of an endpoint the one in the daemon's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// What it may do.
    pub flags: PortFlags,
    /// It is in a loop: nothing is taken from it, and nothing is flooded to it, until that has been tried again.
    #[serde(default)]
    pub blocked: bool,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// The offloads in use, a subset of `checksum`, `tso`, `uso`, in that order.
    pub offloads: Vec<String>,
}

/// The other end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its number in the namespace that it is in.
    pub ifindex: u32,
    /// Its name, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}

/// An FDB entry (`GET /fdb`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbEntry {
    /// The network.
    pub network: String,
    /// The station.
    pub mac: Mac,
    /// The port that it is behind.
    pub port: String,
    /// `learned`, `sticky` (learned from a guarded port) or `static`.
    pub kind: String,
    /// Seconds since its last frame; absent for static entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

/// `POST /fdb`: a static entry to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbRequest {
    /// The network.
    pub network: String,
    /// The station.
    pub mac: Mac,
    /// The port: `NETWORK/ENDPOINT`, or the endpoint's or interface's name alone.
    pub port: String,
}

/// Frames and bytes; a super-frame is one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes from the destination MAC on.
    pub bytes: u64,
}

/// Counters of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStats {
    /// The port's name.
    pub port: String,
    /// The network; an uplink has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Frames that came in by it.
    pub rx: Traffic,
    /// Frames that left by it.
    pub tx: Traffic,
    /// Drops by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, Traffic>,
}

/// Counters of one network's FDB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbStats {
    /// The network.
    pub network: String,
    /// Entries now.
    pub entries: u64,
    /// Entries at most.
    pub capacity: u64,
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that moved to another port.
    pub moved: u64,
    /// Moves refused because the address is static or sticky.
    pub kept: u64,
    /// Addresses not learned for want of room.
    pub refused: u64,
    /// Addresses evicted for newer ones.
    pub evicted: u64,
    /// Addresses that aged out.
    pub expired: u64,
}

/// `GET /stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// The daemon's version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Worker threads.
    pub workers: u64,
    /// Ports, in order of their names.
    pub ports: Vec<PortStats>,
    /// Uplinks (`uplink:IFACE`), in order of their interfaces' names.
    #[serde(default)]
    pub uplinks: Vec<PortStats>,
    /// FDBs, in order of their networks' names.
    pub fdbs: Vec<FdbStats>,
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence: what failed, on what, what to do.
    pub error: String,
}

/// A declared state (`pontoon up -f FILE.toml`, `PUT /apply`): what should be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Network namespaces to create (`create = true`) or to find, by name.
    #[serde(default, rename = "namespace")]
    pub namespaces: Vec<NamespaceDecl>,
    /// Networks.
    #[serde(default, rename = "network")]
    pub networks: Vec<NetworkDecl>,
}

/// A namespace in a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceDecl {
    /// Its name below /run/netns.
    pub name: String,
    /// Create it when it is missing, and let `down` delete it when pontoon created it.
    #[serde(default)]
    pub create: bool,
    /// Names can be asked for at 127.0.0.11 in it, if pontoon creates it; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<bool>,
}

/// A network in a [`Document`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkDecl {
    /// See [`NetworkRequest::name`].
    pub name: String,
    /// See [`NetworkRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// See [`NetworkRequest::subnet`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// See [`NetworkRequest::ip_range`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
    /// See [`NetworkRequest::gateway`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// See [`NetworkRequest::aux_addresses`].
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// See [`NetworkRequest::driver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// See [`NetworkRequest::attachable`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachable: Option<bool>,
    /// See [`NetworkRequest::ipv6`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// See [`NetworkRequest::labels`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// See [`NetworkRequest::options`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// See [`NetworkRequest::mtu`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// See [`NetworkRequest::ageing_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`NetworkRequest::host_access`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_access: Option<bool>,
    /// See [`NetworkRequest::uplink`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// See [`NetworkRequest::internal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// See [`NetworkRequest::icc`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icc: Option<bool>,
    /// See [`NetworkRequest::snat_ip`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat_ip: Option<SnatIp>,
    /// See [`NetworkRequest::nat_mapping`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_mapping: Option<NatMapping>,
    /// See [`NetworkRequest::resolver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<bool>,
    /// See [`NetworkRequest::dns`].
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
    /// Its endpoints.
    #[serde(default, rename = "endpoint")]
    pub endpoints: Vec<EndpointDecl>,
    /// Existing interfaces on it.
    #[serde(default, rename = "interface")]
    pub interfaces: Vec<InterfaceDecl>,
    /// Static FDB entries.
    #[serde(default, rename = "fdb")]
    pub fdb: Vec<FdbDecl>,
    /// Ports of the host that lead to its endpoints.
    #[serde(default, rename = "publish")]
    pub publications: Vec<PublicationRequest>,
    /// Rules, in order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RuleBody>,
    /// Links.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkBody>,
}

/// An endpoint in a [`Document`]; exactly one of `netns` and `pid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointDecl {
    /// See [`EndpointRequest::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// See [`EndpointRequest::aliases`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// A named network namespace, or the path of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// A process whose network namespace it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// See [`EndpointRequest::ifname`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// See [`EndpointRequest::ip`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// See [`EndpointRequest::mac`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// See [`EndpointRequest::kind`].
    #[serde(default)]
    pub kind: DeviceKind,
    /// See [`EndpointRequest::resolver`].
    #[serde(default)]
    pub resolver: bool,
    /// See [`EndpointRequest::dns`].
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Port flags; those left out are the defaults of endpoints.
    #[serde(default)]
    pub port: PortPatch,
}

/// An existing interface in a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceDecl {
    /// The interface's name.
    pub name: String,
    /// Port flags; those left out are the defaults of existing interfaces.
    #[serde(default)]
    pub port: PortPatch,
}

/// A static FDB entry in a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbDecl {
    /// The station.
    pub mac: Mac,
    /// The endpoint's or interface's name on this network.
    pub port: String,
}

/// What `PUT /apply` and `DELETE /apply` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// One line for each change, in order; empty when everything was as declared.
    pub changes: Vec<String>,
}

/// Something that happened in the daemon (`GET /events`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// `network-created`, `network-removed`, `endpoint-attached`, `endpoint-detached`, `endpoint-restored`,
    /// `endpoint-swept`, `interface-added`, `interface-removed`, `interface-swept`, `namespace-created`,
    /// `namespace-deleted`, `port-lost`, `network-changed`, `published`, `unpublished`, `publication-down`,
    /// `publication-up`, `rules-changed`, `linked`, `unlinked`, `uplink-up`, `uplink-down` or `uplink-changed`.
    pub event: String,
    /// The network, port (`NETWORK/NAME`) or namespace.
    pub subject: String,
    /// Why, when nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The daemon's paths and its version (`GET /info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Where it keeps its state.
    #[schema(value_type = String)]
    pub state_dir: PathBuf,
    /// Whether it removes everything when it ends.
    pub ephemeral: bool,
}
