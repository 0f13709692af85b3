//! What the daemon knows: the records of the [store](crate::store), indexed. Nothing else is state, so that what a
//! restart finds is what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::Identity;

use crate::api::types::{Mac, PortFlags, SandboxRef};
use crate::error::Error;
use crate::id::Id;
use crate::ipam::{Memory, Space};
use crate::netns::NetnsId;
use crate::store::{
    Change, EndpointRecord, InterfaceRecord, LeaseRecord, LinkRecord, NamespaceRecord, NetworkRecord, Phase,
    PoolRecord, PublicationRecord, Record, ReservationRecord, RuleRecord, StaticRecord,
};

/// A port's name: `NETWORK/ENDPOINT` or `NETWORK/INTERFACE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName {
    /// The network.
    pub network: String,
    /// The endpoint or interface.
    pub port: String,
}

impl PortName {
    /// The port `port` of `network`.
    pub fn new(network: &str, port: &str) -> PortName {
        PortName { network: network.to_owned(), port: port.to_owned() }
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.port)
    }
}

impl NetworkRecord {
    /// What its endpoints' addresses are taken from.
    pub fn space(&self) -> Space<'_> {
        let NetworkRecord { subnet, range, gateway, ref reserved, .. } = *self;
        Space { subnet, range, gateway: Some(gateway), reserved }
    }
}

impl EndpointRecord {
    /// Its port's name.
    pub fn port(&self) -> PortName {
        PortName::new(&self.network, &self.name)
    }

    /// Whether that is its sandbox, as it is recognised or as it was named.
    pub fn is_in(&self, sandbox: &SandboxRef, netns: NetnsId) -> bool {
        self.netns == netns || (self.netns.ino == 0 && self.sandbox == *sandbox)
    }
}

impl InterfaceRecord {
    /// Its port's name.
    pub fn port(&self) -> PortName {
        PortName::new(&self.network, &self.interface)
    }
}

/// One network and all that is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkState {
    /// The network itself.
    pub record: NetworkRecord,
    /// Endpoints by name.
    pub endpoints: BTreeMap<String, EndpointRecord>,
    /// Existing interfaces by name.
    pub interfaces: BTreeMap<String, InterfaceRecord>,
    /// Static FDB entries.
    pub statics: BTreeMap<Mac, StaticRecord>,
    /// Publications by number.
    pub publications: BTreeMap<u32, PublicationRecord>,
    /// Rules, in order.
    pub rules: Vec<RuleRecord>,
    /// Links.
    pub links: BTreeSet<LinkRecord>,
    /// Endpoints that Docker created, by name: those in a sandbox are in `endpoints` too.
    pub reservations: BTreeMap<String, ReservationRecord>,
}

/// A port's record.
#[derive(Debug, Clone, Copy)]
pub enum PortRecord<'a> {
    /// An endpoint's port.
    Endpoint(&'a EndpointRecord),
    /// An existing interface's port.
    Interface(&'a InterfaceRecord),
}

impl PortRecord<'_> {
    /// What the port may do.
    pub fn flags(&self) -> PortFlags {
        match self {
            PortRecord::Endpoint(it) => it.flags,
            PortRecord::Interface(it) => it.flags,
        }
    }

    /// The port's name.
    pub fn name(&self) -> PortName {
        match self {
            PortRecord::Endpoint(it) => it.port(),
            PortRecord::Interface(it) => it.port(),
        }
    }
}

impl NetworkState {
    /// The network `record` with nothing on it.
    pub fn new(record: NetworkRecord) -> NetworkState {
        NetworkState {
            record,
            endpoints: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            statics: BTreeMap::new(),
            publications: BTreeMap::new(),
            rules: Vec::new(),
            links: BTreeSet::new(),
            reservations: BTreeMap::new(),
        }
    }

    /// Whether a port has that name, or shall have it: an endpoint's, an existing interface's or the host's.
    pub fn has_port(&self, name: &str) -> bool {
        self.port(name).is_some()
            || self.reservations.contains_key(name)
            || self.record.host_interface.as_deref() == Some(name)
    }

    /// The endpoint or interface of that name.
    pub fn port(&self, name: &str) -> Option<PortRecord<'_>> {
        let endpoint = self.endpoints.get(name).map(PortRecord::Endpoint);
        endpoint.or_else(|| self.interfaces.get(name).map(PortRecord::Interface))
    }

    /// The endpoint that has that name or alias, without regard to case, as DNS compares names.
    pub fn named(&self, name: &str) -> Option<&EndpointRecord> {
        let is = |it: &str| it.eq_ignore_ascii_case(name);
        self.endpoints.values().find(|it| is(&it.name) || it.aliases.iter().any(|alias| is(alias)))
    }

    /// Who has which MAC: the gateway, endpoints, static entries.
    pub fn macs(&self) -> BTreeMap<MacAddr, &str> {
        let statics = self.statics.values().map(|it| (it.mac.0, "a static FDB entry"));
        let endpoints = self.endpoints.values().map(|it| (it.mac.0, it.name.as_str()));
        let reservations = self.reservations.values().map(|it| (it.mac.0, it.name.as_str()));
        let gateway = (self.record.gateway_mac.0, "the gateway");
        statics.chain(endpoints).chain(reservations).chain([gateway]).collect()
    }
}

/// A subnet that somebody asked for apart from a network, and who has which address of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// The pool itself.
    pub record: PoolRecord,
    /// Leases by address.
    pub leases: BTreeMap<Ipv4Addr, LeaseRecord>,
}

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// An endpoint.
    Endpoint(&'a EndpointRecord),
    /// An endpoint of Docker's, in a sandbox or not.
    Reservation(&'a ReservationRecord),
    /// Whoever asked for it apart from an endpoint.
    Lease(&'a LeaseRecord),
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Endpoint(EndpointRecord { name, .. })
            | Holder::Reservation(ReservationRecord { name, .. }) => {
                write!(f, "the endpoint {name}")
            }
            Holder::Lease(LeaseRecord { owner: Some(owner), .. }) => write!(f, "{owner}, who has leased it"),
            Holder::Lease(_) => f.write_str("whoever has leased it"),
        }
    }
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Networks by name.
    pub networks: BTreeMap<String, NetworkState>,
    /// Namespaces that pontoon created, by name.
    pub namespaces: BTreeMap<String, NamespaceRecord>,
    /// Pools by subnet.
    pub pools: BTreeMap<Ipv4Net, PoolState>,
    /// What is remembered of the addresses of networks and pools, by subnet.
    pub memories: BTreeMap<Ipv4Net, Memory>,
}

impl State {
    /// The state that the records tell of. Records of networks come first; those of unknown networks are left out.
    pub fn of(records: impl IntoIterator<Item = Record>) -> State {
        let mut state = State::default();
        records.into_iter().for_each(|record| state.put(record));
        state
    }

    /// Changes the state as the store was changed.
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Add(record) | Change::Replace { after: record, .. } => self.put(record),
            Change::Remove(record) => self.remove(&record),
        }
    }

    fn put(&mut self, record: Record) {
        match record {
            Record::Network(it) => match self.networks.get_mut(&it.name) {
                Some(network) => network.record = it,
                None => {
                    self.networks.insert(it.name.clone(), NetworkState::new(it));
                }
            },
            Record::Endpoint(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.endpoints.insert(it.name.clone(), it);
                }
            }
            Record::Interface(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.interfaces.insert(it.interface.clone(), it);
                }
            }
            Record::Static(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.statics.insert(it.mac, it);
                }
            }
            Record::Namespace(it) => {
                self.namespaces.insert(it.name.clone(), it);
            }
            Record::Publication(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.publications.insert(it.id, it);
                }
            }
            Record::Rules(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.rules = it.rules;
                }
            }
            Record::Link(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.links.insert(it);
                }
            }
            Record::Reservation(it) => {
                if let Some(network) = self.networks.get_mut(&it.network) {
                    network.reservations.insert(it.name.clone(), it);
                }
            }
            Record::Pool(it) => match self.pools.get_mut(&it.subnet) {
                Some(pool) => pool.record = it,
                None => {
                    self.pools.insert(it.subnet, PoolState { record: it, leases: BTreeMap::new() });
                }
            },
            Record::Lease(it) => {
                if let Some(pool) = self.pools.get_mut(&it.subnet) {
                    pool.leases.insert(it.address, it);
                }
            }
            Record::Cursor(it) => self.memories.entry(it.subnet).or_default().cursor = Some(it.address),
            Record::Resting(it) => {
                self.memories.entry(it.subnet).or_default().resting.insert(it.address, it.order);
            }
        }
    }

    fn remove(&mut self, record: &Record) {
        let network =
            |networks: &mut BTreeMap<String, NetworkState>, name: &str, then: &dyn Fn(&mut NetworkState)| {
                networks.get_mut(name).into_iter().for_each(then);
            };
        match record {
            Record::Network(it) => {
                self.networks.remove(&it.name);
            }
            Record::Endpoint(it) => network(&mut self.networks, &it.network, &|of| {
                of.endpoints.remove(&it.name);
            }),
            Record::Interface(it) => network(&mut self.networks, &it.network, &|of| {
                of.interfaces.remove(&it.interface);
            }),
            Record::Static(it) => network(&mut self.networks, &it.network, &|of| {
                of.statics.remove(&it.mac);
            }),
            Record::Namespace(it) => {
                self.namespaces.remove(&it.name);
            }
            Record::Publication(it) => network(&mut self.networks, &it.network, &|of| {
                of.publications.remove(&it.id);
            }),
            Record::Rules(it) => network(&mut self.networks, &it.network, &|of| of.rules.clear()),
            Record::Link(it) => network(&mut self.networks, &it.network, &|of| {
                of.links.remove(it);
            }),
            Record::Reservation(it) => network(&mut self.networks, &it.network, &|of| {
                of.reservations.remove(&it.name);
            }),
            Record::Pool(it) => {
                self.pools.remove(&it.subnet);
            }
            Record::Lease(it) => {
                if let Some(pool) = self.pools.get_mut(&it.subnet) {
                    pool.leases.remove(&it.address);
                }
            }
            Record::Cursor(it) => self.change_memory(it.subnet, |memory| memory.cursor = None),
            Record::Resting(it) => self.change_memory(it.subnet, |memory| {
                memory.resting.remove(&it.address);
            }),
        }
    }

    /// Changes what is remembered of a subnet. Nothing to remember is no memory.
    fn change_memory(&mut self, subnet: Ipv4Net, change: impl FnOnce(&mut Memory)) {
        if let Some(memory) = self.memories.get_mut(&subnet) {
            change(memory);
            if *memory == Memory::default() {
                self.memories.remove(&subnet);
            }
        }
    }

    /// What is remembered of a subnet's addresses.
    pub fn memory(&self, subnet: Ipv4Net) -> &Memory {
        static NOTHING: Memory = Memory { cursor: None, resting: BTreeMap::new() };
        self.memories.get(&subnet).unwrap_or(&NOTHING)
    }

    /// The network on that subnet.
    pub fn network_on(&self, subnet: Ipv4Net) -> Option<&NetworkState> {
        self.networks.values().find(|it| it.record.subnet == subnet)
    }

    /// Who has which address of a subnet. An endpoint comes before the lease that it has its address by.
    pub fn holders(&self, subnet: Ipv4Net) -> BTreeMap<Ipv4Addr, Holder<'_>> {
        let leases = self.pools.get(&subnet).into_iter().flat_map(|pool| pool.leases.values());
        let endpoints = self.network_on(subnet).into_iter().flat_map(|it| it.endpoints.values());
        let reservations = self.network_on(subnet).into_iter().flat_map(|it| it.reservations.values());
        let reservations = reservations.map(|it| (it.address, Holder::Reservation(it)));
        let leases = leases.map(|it| (it.address, Holder::Lease(it)));
        leases.chain(reservations).chain(endpoints.map(|it| (it.address, Holder::Endpoint(it)))).collect()
    }

    /// Whether a lease says that the address is somebody's.
    pub fn is_leased(&self, subnet: Ipv4Net, address: Ipv4Addr) -> bool {
        self.pools.get(&subnet).is_some_and(|pool| pool.leases.contains_key(&address))
    }

    /// The subnets of networks, and those of pools that no network is on, with what they belong to.
    pub fn subnets(&self) -> impl Iterator<Item = (String, Ipv4Net)> {
        let networks = self.networks.values();
        let networks = networks.map(|it| (format!("the network {}", it.record.name), it.record.subnet));
        let pools = self.pools.keys().filter(|subnet| self.network_on(**subnet).is_none());
        networks.chain(pools.map(|subnet| (format!("the pool {subnet}"), *subnet)))
    }

    /// The network of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn network(&self, name: &str) -> Result<&NetworkState, Error> {
        let missing = || Error::Missing { what: "network", name: name.to_owned(), list: "network ls" };
        self.networks.get(name).ok_or_else(missing)
    }

    /// The network of that id.
    pub fn network_by_id(&self, id: Id) -> Option<&NetworkState> {
        self.networks.values().find(|it| it.record.id == id)
    }

    /// The endpoint of that id.
    pub fn endpoint_by_id(&self, id: Id) -> Option<&EndpointRecord> {
        self.endpoints().find(|it| it.id == id)
    }

    /// The endpoint of that name.
    ///
    /// # Errors
    /// There is none, or no such network.
    pub fn endpoint(&self, network: &str, name: &str) -> Result<&EndpointRecord, Error> {
        let missing = || Error::Missing {
            what: "endpoint",
            name: PortName::new(network, name).to_string(),
            list: "network show",
        };
        self.network(network)?.endpoints.get(name).ok_or_else(missing)
    }

    /// The interface of that name.
    ///
    /// # Errors
    /// There is none, or no such network.
    pub fn interface(&self, network: &str, name: &str) -> Result<&InterfaceRecord, Error> {
        let missing = || Error::Missing {
            what: "interface",
            name: PortName::new(network, name).to_string(),
            list: "network show",
        };
        self.network(network)?.interfaces.get(name).ok_or_else(missing)
    }

    /// The port of that name.
    ///
    /// # Errors
    /// There is none, or no such network.
    pub fn port(&self, network: &str, name: &str) -> Result<PortRecord<'_>, Error> {
        let missing = || Error::Missing {
            what: "port",
            name: PortName::new(network, name).to_string(),
            list: "port ls",
        };
        self.network(network)?.port(name).ok_or_else(missing)
    }

    /// The publication of that number.
    ///
    /// # Errors
    /// There is none, or no such network.
    pub fn publication(&self, network: &str, id: u32) -> Result<&PublicationRecord, Error> {
        let missing =
            || Error::Missing { what: "publication", name: format!("{id} of {network}"), list: "ports" };
        self.network(network)?.publications.get(&id).ok_or_else(missing)
    }

    /// Every endpoint of every network.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointRecord> {
        self.networks.values().flat_map(|network| network.endpoints.values())
    }

    /// Every interface of every network.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterfaceRecord> {
        self.networks.values().flat_map(|network| network.interfaces.values())
    }

    /// Every publication of every network.
    pub fn publications(&self) -> impl Iterator<Item = &PublicationRecord> {
        self.networks.values().flat_map(|network| network.publications.values())
    }

    /// Who the endpoints of a sandbox are: each knows the addresses of all, across networks.
    pub fn identities(&self, sandbox: Id) -> BTreeMap<PortName, Identity> {
        let here = || self.endpoints().filter(|it| it.sandbox_id == sandbox && it.phase != Phase::Detaching);
        let all: Vec<IpAddr> = here().map(|it| it.address.into()).collect();
        let identity = |it: &EndpointRecord| Identity {
            mac: it.mac.0,
            addresses: vec![it.address.into()],
            sandbox_addresses: all.clone(),
        };
        here().map(|it| (it.port(), identity(it))).collect()
    }
}
