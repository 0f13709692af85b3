//! What the daemon knows: the records of the [store](crate::store), indexed. Nothing else is state, so that what a
//! restart finds is what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::Identity;

use crate::api::types::{Mac, PortFlags};
use crate::error::Error;
use crate::netns::NetnsId;
use crate::store::{
    Change, EndpointRecord, InterfaceRecord, LinkRecord, NamespaceRecord, NetworkRecord, Phase,
    PublicationRecord, Record, RuleRecord, StaticRecord,
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

impl EndpointRecord {
    /// Its port's name.
    pub fn port(&self) -> PortName {
        PortName::new(&self.network, &self.name)
    }
}

/// Whose list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesOf {
    /// The network's.
    pub network: String,
    /// That of its publication of this number.
    pub publication: Option<u32>,
}

impl RulesOf {
    /// The network's own.
    pub fn network(name: &str) -> RulesOf {
        RulesOf { network: name.to_owned(), publication: None }
    }

    /// The publication's.
    pub fn publication(record: &PublicationRecord) -> RulesOf {
        RulesOf { network: record.network.clone(), publication: Some(record.id) }
    }
}

impl fmt::Display for RulesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.publication {
            None => write!(f, "the network {}", self.network),
            Some(id) => write!(f, "publication {id} of {}", self.network),
        }
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
        }
    }

    /// Whether a port has that name: an endpoint's, an existing interface's or the host's.
    pub fn has_port(&self, name: &str) -> bool {
        self.port(name).is_some() || self.record.host_interface.as_deref() == Some(name)
    }

    /// The endpoint or interface of that name.
    pub fn port(&self, name: &str) -> Option<PortRecord<'_>> {
        let endpoint = self.endpoints.get(name).map(PortRecord::Endpoint);
        endpoint.or_else(|| self.interfaces.get(name).map(PortRecord::Interface))
    }

    /// Who has which address.
    pub fn addresses(&self) -> BTreeMap<Ipv4Addr, &str> {
        self.endpoints.values().map(|it| (it.address, it.name.as_str())).collect()
    }

    /// Who has which MAC: the gateway, endpoints, static entries.
    pub fn macs(&self) -> BTreeMap<MacAddr, &str> {
        let statics = self.statics.values().map(|it| (it.mac.0, "a static FDB entry"));
        let endpoints = self.endpoints.values().map(|it| (it.mac.0, it.name.as_str()));
        let gateway = (self.record.gateway_mac.0, "the gateway");
        statics.chain(endpoints).chain([gateway]).collect()
    }
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Networks by name.
    pub networks: BTreeMap<String, NetworkState>,
    /// Namespaces that pontoon created, by name.
    pub namespaces: BTreeMap<String, NamespaceRecord>,
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
        }
    }

    /// The network of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn network(&self, name: &str) -> Result<&NetworkState, Error> {
        let missing = || Error::Missing { what: "network", name: name.to_owned(), list: "network ls" };
        self.networks.get(name).ok_or_else(missing)
    }

    /// The endpoint of that name.
    ///
    /// # Errors
    /// There is none, or no such network.
    pub fn endpoint(&self, network: &str, name: &str) -> Result<&EndpointRecord, Error> {
        let missing = || Error::Missing {
            what: "endpoint",
            name: PortName::new(network, name).to_string(),
            list: "network inspect",
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
            list: "network inspect",
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

    /// A list of rules.
    ///
    /// # Errors
    /// There is no such network or publication.
    pub fn rules(&self, of: &RulesOf) -> Result<&[RuleRecord], Error> {
        Ok(match of.publication {
            None => &self.network(&of.network)?.rules,
            Some(id) => &self.publication(&of.network, id)?.rules,
        })
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

    /// Who the endpoints of the sandbox `netns` are: each knows the addresses of all, across networks.
    pub fn identities(&self, netns: NetnsId) -> BTreeMap<PortName, Identity> {
        let here = || self.endpoints().filter(|it| it.netns == netns && it.phase != Phase::Detaching);
        let all: Vec<IpAddr> = here().map(|it| it.address.into()).collect();
        let identity = |it: &EndpointRecord| Identity {
            mac: it.mac.0,
            addresses: vec![it.address.into()],
            sandbox_addresses: all.clone(),
        };
        here().map(|it| (it.port(), identity(it))).collect()
    }
}
