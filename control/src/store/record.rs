//! One record for each thing that is to survive, and what changes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{
    CURSORS, CursorRecord, DEFAULT_DRIVER, DEFAULT_PREFIX, ENDPOINTS, INTERFACES, LEASES, LINKS, LeaseRecord,
    NAMESPACES, NETWORKS, POOLS, PUBLICATIONS, PoolRecord, RESERVATIONS, RESTING, RULES, ReservationRecord,
    RestingRecord, STATICS, StoreError, Table,
};
use crate::api::types::{
    Connection, DeviceKind, LinkBody, Mac, PortFlags, PublishedPorts, RuleBody, SandboxRef,
};
use crate::id::Id;
use crate::link::HostStack;
use crate::netns::NetnsId;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// The driver that it says it has.
    #[serde(default = "default_driver")]
    pub driver: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// The part of the subnet that addresses are chosen from; all of it when none.
    #[serde(default)]
    pub range: Option<Ipv4Net>,
    /// Addresses that no endpoint gets, by the names of who has them.
    #[serde(default)]
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// The gateway's address.
    pub gateway: Ipv4Addr,
    /// The gateway's MAC.
    pub gateway_mac: Mac,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// How long learned addresses live, in seconds.
    pub ageing_seconds: u32,
    /// How it is connected to the host and the outside.
    #[serde(default = "Connection::closed")]
    pub connection: Connection,
    /// The name of its host port; none when it has none.
    #[serde(default)]
    pub host_interface: Option<String>,
    /// The name that its host port must have; none: any that is free.
    #[serde(default)]
    pub host_interface_wish: Option<String>,
    /// The address of the host that publications stand on which name none; none: every one.
    #[serde(default)]
    pub publish_address: Option<Ipv4Addr>,
    /// What interfaces in sandboxes are called, before their number.
    #[serde(default = "default_prefix")]
    pub ifname_prefix: String,
    /// Shown to those who ask, without effect.
    #[serde(default)]
    pub attachable: bool,
    /// Labels, for those who ask for them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options under Docker's keys, as they were given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// When it was created.
    pub created: String,
}

fn default_driver() -> String {
    DEFAULT_DRIVER.to_owned()
}

fn default_prefix() -> String {
    DEFAULT_PREFIX.to_owned()
}

/// How far an endpoint has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being made: nobody was told that it is there; the next start removes what there is of it.
    Attaching,
    /// In use.
    Attached,
    /// Being removed: the next start goes on with it.
    Detaching,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Its network.
    pub network: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// Further names of it, in its network only.
    #[serde(default)]
    pub aliases: BTreeSet<String>,
    /// The id of its sandbox: the same for all endpoints there.
    pub sandbox_id: Id,
    /// The sandbox as it was named.
    pub sandbox: SandboxRef,
    /// The sandbox as it is recognised.
    pub netns: NetnsId,
    /// The interface's name inside the sandbox.
    pub ifname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC.
    pub mac: Mac,
    /// The kind of device.
    pub kind: DeviceKind,
    /// A name that no other device has: the veth's host end, and any device's name until it is ready.
    pub device: String,
    /// What its port may do.
    pub flags: PortFlags,
    /// Whether its network's gateway is its sandbox's way to everywhere else.
    #[serde(default)]
    pub default_route: bool,
    /// Names can be asked for in its sandbox.
    #[serde(default)]
    pub resolver: bool,
    /// Whom its sandbox's names of the outside are asked for; those of its networks when empty.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Whether Docker's Engine moves, names and configures its device. `netns` is unknown then: the sandbox may come later than the endpoint.
    #[serde(default)]
    pub docker: bool,
    /// When it was attached.
    pub created: String,
    /// How far it has come.
    pub phase: Phase,
}

/// An existing interface on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRecord {
    /// Its network.
    pub network: String,
    /// Its name.
    pub interface: String,
    /// What its port may do.
    pub flags: PortFlags,
    /// Whether it was up before: it is given back as it was.
    pub was_up: bool,
    /// What the host's own IP stack made of it before; none in records of earlier versions, which did not change that.
    #[serde(default)]
    pub host_stack: Option<HostStack>,
    /// When it was put there.
    pub created: String,
}

/// A static FDB entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRecord {
    /// Its network.
    pub network: String,
    /// The station.
    pub mac: Mac,
    /// The endpoint's or interface's name.
    pub port: String,
}

/// A namespace that pontoon created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its name below /run/netns.
    pub name: String,
    /// What it is recognised by; none until it is made.
    pub netns: Option<NetnsId>,
    /// Names can be asked for in it.
    #[serde(default)]
    pub resolver: bool,
}

/// Ports of the host that lead to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredPublication")]
pub struct PublicationRecord {
    /// Its number.
    pub id: u32,
    /// The network.
    pub network: String,
    /// The endpoint.
    pub endpoint: String,
    /// What is published.
    pub ports: PublishedPorts,
    /// Rules, in order.
    pub rules: Vec<RuleRecord>,
    /// When it was published.
    pub created: String,
}

/// A [`PublicationRecord`] as this version and earlier ones wrote it: those knew who may come, and no other rules.
#[derive(Deserialize)]
struct StoredPublication {
    id: u32,
    network: String,
    endpoint: String,
    ports: PublishedPorts,
    #[serde(default)]
    allow: Vec<IpNet>,
    #[serde(default)]
    rules: Vec<RuleRecord>,
    created: String,
}

impl From<StoredPublication> for PublicationRecord {
    fn from(stored: StoredPublication) -> Self {
        let StoredPublication { id, network, endpoint, ports, allow, mut rules, created } = stored;
        rules.extend((1..).zip(RuleBody::admission(&allow)).map(|(id, rule)| RuleRecord { id, rule }));
        PublicationRecord { id, network, endpoint, ports, rules, created }
    }
}

/// A rule of a network or of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// What its hits are counted under, whatever place it has.
    pub id: u32,
    /// What it says.
    pub rule: RuleBody,
}

/// A network's rules, in order. There is no record of none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesRecord {
    /// The network.
    pub network: String,
    /// The rules.
    pub rules: Vec<RuleRecord>,
}

/// A hole in a network's isolation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkRecord {
    /// The network.
    pub network: String,
    /// Who may speak to whom.
    pub link: LinkBody,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// See [`NetworkRecord`].
    Network(NetworkRecord),
    /// See [`EndpointRecord`].
    Endpoint(EndpointRecord),
    /// See [`InterfaceRecord`].
    Interface(InterfaceRecord),
    /// See [`StaticRecord`].
    Static(StaticRecord),
    /// See [`NamespaceRecord`].
    Namespace(NamespaceRecord),
    /// See [`PublicationRecord`].
    Publication(PublicationRecord),
    /// See [`RulesRecord`].
    Rules(RulesRecord),
    /// See [`LinkRecord`].
    Link(LinkRecord),
    /// See [`ReservationRecord`].
    Reservation(ReservationRecord),
    /// See [`PoolRecord`].
    Pool(PoolRecord),
    /// See [`LeaseRecord`].
    Lease(LeaseRecord),
    /// See [`CursorRecord`].
    Cursor(CursorRecord),
    /// See [`RestingRecord`].
    Resting(RestingRecord),
}

impl Record {
    pub(super) fn table(&self) -> Table {
        match self {
            Record::Network(_) => NETWORKS,
            Record::Endpoint(_) => ENDPOINTS,
            Record::Interface(_) => INTERFACES,
            Record::Static(_) => STATICS,
            Record::Namespace(_) => NAMESPACES,
            Record::Publication(_) => PUBLICATIONS,
            Record::Rules(_) => RULES,
            Record::Link(_) => LINKS,
            Record::Reservation(_) => RESERVATIONS,
            Record::Pool(_) => POOLS,
            Record::Lease(_) => LEASES,
            Record::Cursor(_) => CURSORS,
            Record::Resting(_) => RESTING,
        }
    }

    pub(super) fn key(&self) -> String {
        match self {
            Record::Network(it) => it.name.clone(),
            Record::Endpoint(it) => format!("{}/{}", it.network, it.name),
            Record::Interface(it) => format!("{}/{}", it.network, it.interface),
            Record::Static(it) => format!("{}/{}", it.network, it.mac),
            Record::Namespace(it) => it.name.clone(),
            Record::Publication(it) => it.id.to_string(),
            Record::Rules(it) => it.network.clone(),
            Record::Link(it) => format!("{}: {}", it.network, it.link),
            Record::Reservation(it) => format!("{}/{}", it.network, it.name),
            Record::Pool(it) => it.subnet.to_string(),
            Record::Lease(it) => format!("{} {}", it.subnet, it.address),
            Record::Cursor(it) => it.subnet.to_string(),
            Record::Resting(it) => format!("{} {}", it.subnet, it.address),
        }
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        match self {
            Record::Network(it) => serde_json::to_vec(it),
            Record::Endpoint(it) => serde_json::to_vec(it),
            Record::Interface(it) => serde_json::to_vec(it),
            Record::Static(it) => serde_json::to_vec(it),
            Record::Namespace(it) => serde_json::to_vec(it),
            Record::Publication(it) => serde_json::to_vec(it),
            Record::Rules(it) => serde_json::to_vec(it),
            Record::Link(it) => serde_json::to_vec(it),
            Record::Reservation(it) => serde_json::to_vec(it),
            Record::Pool(it) => serde_json::to_vec(it),
            Record::Lease(it) => serde_json::to_vec(it),
            Record::Cursor(it) => serde_json::to_vec(it),
            Record::Resting(it) => serde_json::to_vec(it),
        }
        .map_err(|source| StoreError::Record { key: self.key(), source })
    }
}

/// A change of one record.
// A plan has a handful of these, and they are moved rather than kept.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Add(Record),
    /// It was there, with the same key.
    Replace {
        /// As it was.
        before: Record,
        /// As it will be.
        after: Record,
    },
    /// It will not be there.
    Remove(Record),
}

impl Change {
    /// The change that takes this one back.
    pub fn inverse(&self) -> Change {
        match self.clone() {
            Change::Add(record) => Change::Remove(record),
            Change::Replace { before, after } => Change::Replace { before: after, after: before },
            Change::Remove(record) => Change::Add(record),
        }
    }
}
