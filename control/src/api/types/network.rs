//! Networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Connection, Endpoint, Interface, Link, Mac, NatMapping, Publication, Rule, SnatIp, Uplink};
use crate::id::Id;

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
