//! Networks as the engine has them: their settings, made of records and of the engine's numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pontoon_dataplane::edge::config::{Link, Mapping, NetworkEdge, UplinkChoice};
use pontoon_dataplane::engine::{NetworkSpec, PortSpec};
use pontoon_dataplane::network::{Gateway, Place, PortSettings, StormLimits};
use pontoon_dataplane::{NetworkId, PortId};

use super::rules::RuleList;
use super::{Host, Numbers, PortNumber};
use crate::api::types::{NatMapping, SnatIp, Uplink};
use crate::edge::hostport::HostPort;
use crate::edge::{PublicationSpec, UplinkWish};
use crate::error::Error;
use crate::plan::PublicationPlan;
use crate::state::{PortName, RulesOf};
use crate::store::{LinkRecord, NetworkRecord, RuleRecord};

/// A network, and what its settings are made of.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) id: NetworkId,
    record: NetworkRecord,
    host_port: Option<PortId>,
    pub(super) resolver_port: Option<PortId>,
    pub(super) rules: RuleList,
    links: BTreeSet<LinkRecord>,
}

/// A publication, as the edge has it.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// The edge's number of it.
    pub(super) number: u32,
    rules: RuleList,
}

/// What a port may do behind which the gateway's address is. The engine does not learn the gateway's MAC; it is known.
pub(super) const HOST_PORT: PortSettings = PortSettings {
    learning: false,
    flood: false,
    isolated: false,
    hairpin: false,
    guard: false,
    storm: StormLimits::NONE,
    loop_guard: false,
};

fn host_port(record: &NetworkRecord) -> Result<(PortName, HostPort), Error> {
    let missing = || Error::Internal(format!("the network {} has no host port", record.name));
    let interface = record.host_interface.clone().ok_or_else(missing)?;
    let name = PortName::new(&record.name, &interface);
    let NetworkRecord { gateway_mac, gateway, subnet, mtu, .. } = *record;
    Ok((name, HostPort { interface, mac: gateway_mac.0, address: gateway, subnet, mtu }))
}

pub(super) fn wish(record: &NetworkRecord) -> UplinkWish {
    match record.connection.way_out() {
        Uplink::Auto => UplinkWish::Auto,
        Uplink::None => UplinkWish::None,
        Uplink::Interface(name) => UplinkWish::Only(name),
    }
}

impl Network {
    /// Links between ports that are there.
    fn links(&self, numbers: &Numbers) -> Arc<[Link]> {
        let port = |name: &str| Some(numbers.ports.get(&PortName::new(&self.record.name, name))?.id);
        let link = |it: &LinkRecord| {
            let service = it.link.port.and_then(|port| Some((it.link.protocol?.into(), port)));
            Some(Link { from: port(&it.link.from)?, to: port(&it.link.to)?, service })
        };
        self.links.iter().filter_map(link).collect()
    }

    fn spec(&self, uplinks: UplinkChoice, numbers: &Numbers) -> NetworkSpec {
        let NetworkRecord { gateway, gateway_mac, subnet, mtu, ageing_seconds, ref connection, .. } =
            self.record;
        NetworkSpec {
            gateway: Some(Gateway { mac: gateway_mac.0, address: gateway, prefix_len: subnet.prefix_len() }),
            mtu,
            ageing: Duration::from_secs(ageing_seconds.into()),
            edge: NetworkEdge {
                host_port: self.host_port,
                resolver_port: self.resolver_port,
                internal: connection.internal,
                isolated: !connection.icc,
                uplinks,
                snat_address: match connection.snat_ip {
                    SnatIp::Auto => None,
                    SnatIp::Address(address) => Some(address),
                },
                mapping: match connection.nat_mapping {
                    NatMapping::PortDependent => Mapping::PortDependent,
                    NatMapping::EndpointIndependent => Mapping::EndpointIndependent,
                },
                rules: self.rules.rules(),
                links: self.links(numbers),
            },
        }
    }

    pub(super) fn set_record(&mut self, record: &NetworkRecord) {
        self.record.clone_from(record);
    }

    pub(super) fn set_links(&mut self, links: &BTreeSet<LinkRecord>) {
        self.links.clone_from(links);
    }
}

impl Host {
    pub(super) fn add_network(&self, record: &NetworkRecord) -> Result<(), Error> {
        let mut network = Network {
            id: NetworkId(0),
            record: record.clone(),
            host_port: None,
            resolver_port: None,
            rules: RuleList::default(),
            links: BTreeSet::new(),
        };
        let choice = self.edge.choice(&wish(record));
        let spec = self.look(|numbers| network.spec(choice, numbers));
        network.id = self.engine.add_network(spec)?;
        let id = network.id;
        if let Err(error) = self.edge.connect(id, record.gateway, wish(record)) {
            let _ = self.engine.remove_network(id);
            return Err(error);
        }
        self.change(|numbers| {
            numbers.networks.insert(record.name.clone(), network);
        });
        Ok(())
    }

    pub(super) fn remove_network(&self, record: &NetworkRecord) -> Result<(), Error> {
        let id = self.network(&record.name)?;
        self.engine.remove_network(id)?;
        self.edge.disconnect(id);
        self.change(|numbers| {
            numbers.networks.remove(&record.name);
        });
        Ok(())
    }

    /// Changes a network, here and in the engine, or nowhere.
    pub(super) fn change_network(&self, name: &str, change: impl FnOnce(&mut Network)) -> Result<(), Error> {
        let missing = || Error::Missing { what: "network", name: name.to_owned(), list: "network ls" };
        let before = self.look(|numbers| numbers.networks.get(name).cloned()).ok_or_else(missing)?;
        let mut after = before.clone();
        change(&mut after);
        self.put_network(after).inspect_err(|_| {
            // That error is what matters.
            let _ = self.put_network(before);
        })
    }

    fn put_network(&self, network: Network) -> Result<(), Error> {
        let (id, gateway, wish) = (network.id, network.record.gateway, wish(&network.record));
        let choice = self.edge.choice(&wish);
        let spec = self.look(|numbers| network.spec(choice, numbers));
        self.engine.set_network(id, spec)?;
        self.edge.connect(id, gateway, wish)?;
        self.change(|numbers| {
            numbers.networks.insert(network.record.name.clone(), network);
        });
        // Sessions that were admitted before are held against what holds now.
        self.edge.rules_changed();
        Ok(())
    }

    /// Makes a network's host port and puts it on the network. Nothing of it is left when it fails.
    pub(super) fn add_host_port(&self, record: &NetworkRecord) -> Result<(), Error> {
        let (name, port) = host_port(record)?;
        self.edge.claim(&port.interface);
        let added = self.devices.open_host_port(&port).and_then(|device| {
            let offloads = device.offloads();
            let place = Place::Host(self.network(&record.name)?);
            let spec = PortSpec { place, settings: HOST_PORT, identity: None, mtu: record.mtu };
            let id = self.engine.add_port(spec, device)?;
            self.change(|numbers| {
                numbers.ports.insert(name, PortNumber { id, offloads });
            });
            self.change_network(&record.name, |network| network.host_port = Some(id))?;
            self.edge.set_host_port(self.network(&record.name)?, Some(&port.interface));
            Ok(())
        });
        added.inspect_err(|_| {
            // That error is what matters.
            let _ = self.remove_host_port(record);
        })
    }

    /// Takes a network's host port away, as far as it is there.
    pub(super) fn remove_host_port(&self, record: &NetworkRecord) -> Result<(), Error> {
        let (name, port) = host_port(record)?;
        if let Ok(network) = self.network(&record.name) {
            self.edge.set_host_port(network, None);
        }
        if self.port(&name).is_some() {
            self.change_network(&record.name, |network| network.host_port = None)?;
            self.remove_port(&name)?;
        }
        port.delete()?;
        self.edge.give_back(&port.interface);
        // The host's addresses are others now.
        self.change_network(&record.name, |_| ())
    }

    fn publication(&self, plan: &PublicationPlan, rules: &RuleList) -> Result<PublicationSpec, Error> {
        let PublicationPlan { record, address } = plan;
        let name = PortName::new(&record.network, &record.endpoint);
        let ports = record.ports;
        Ok(PublicationSpec {
            name: name.to_string(),
            address: ports.address,
            protocol: ports.protocol.into(),
            ports: (ports.host.first, ports.host.last),
            network: self.network(&record.network)?,
            endpoint: self.known_port(&name)?,
            to_address: *address,
            to_port: ports.endpoint.first,
            rules: rules.rules(),
        })
    }

    /// What the engine has of the publication whose record has that number, unless it is down.
    fn published(&self, id: u32) -> Option<Published> {
        self.look(|numbers| numbers.publications.get(&id).cloned())
    }

    fn put_published(&self, id: u32, published: Published) {
        self.change(|numbers| {
            numbers.publications.insert(id, published);
        });
    }

    /// Holds the ports and leads them to the endpoint.
    pub(super) fn publish(&self, plan: &PublicationPlan) -> Result<(), Error> {
        let mut rules = RuleList::default();
        rules.set(&plan.record.rules);
        let number = self.edge.publish(self.publication(plan, &rules)?)?;
        self.put_published(plan.record.id, Published { number, rules });
        Ok(())
    }

    /// Lets go of published ports, if they are held.
    pub(super) fn unpublish(&self, plan: &PublicationPlan) -> Result<(), Error> {
        if let Some(Published { number, .. }) = self.published(plan.record.id) {
            self.edge.unpublish(number)?;
            self.change(|numbers| {
                numbers.publications.remove(&plan.record.id);
            });
        }
        Ok(())
    }

    /// Publishes anew with other rules. Old sessions end, for they belong to the publication that was.
    pub(super) fn republish(&self, plan: &PublicationPlan) -> Result<(), Error> {
        let missing = || Error::Internal(format!("{} is not published", plan.record.ports));
        let Published { number, mut rules } = self.published(plan.record.id).ok_or_else(missing)?;
        rules.set(&plan.record.rules);
        self.edge.republish(number, self.publication(plan, &rules)?)?;
        self.put_published(plan.record.id, Published { number, rules });
        Ok(())
    }

    /// Changes a list of rules; sessions are held against it with their next packet. What is down has none here.
    pub(super) fn set_rules(&self, of: &RulesOf, after: &[RuleRecord]) -> Result<(), Error> {
        let Some(id) = of.publication else {
            return self.change_network(&of.network, |network| network.rules.set(after));
        };
        if let Some(Published { number, mut rules }) = self.published(id) {
            rules.set(after);
            self.edge.set_rules(number, rules.rules())?;
            self.put_published(id, Published { number, rules });
        }
        Ok(())
    }

    /// See [`World::rule_hits`](crate::world::World::rule_hits).
    pub(super) fn hits(&self, of: &RulesOf) -> BTreeMap<u32, u64> {
        let hits = self.look(|numbers| match of.publication {
            None => numbers.networks.get(&of.network).map(|it| it.rules.hits()),
            Some(id) => numbers.publications.get(&id).map(|it| it.rules.hits()),
        });
        hits.unwrap_or_default()
    }
}

/// Addresses with their prefixes, as people write them.
pub(super) fn with_prefixes(addresses: &[(Ipv4Addr, u8)]) -> Vec<IpNet> {
    addresses
        .iter()
        .filter_map(|(address, prefix_len)| IpNet::new((*address).into(), *prefix_len).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Connection, LinkBody, Protocol};

    fn network() -> Network {
        let record = NetworkRecord {
            connection: Connection { icc: false, ..Connection::default() },
            host_interface: None,
            ..crate::testing::network_record("red", "10.1.0.0/24")
        };
        let (rules, links) = Default::default();
        Network { id: NetworkId(0), record, host_port: None, resolver_port: None, rules, links }
    }

    #[test]
    fn links_are_between_ports_that_are_there() {
        let mut network = network();
        let link = |from: &str, to: &str, port, protocol| LinkRecord {
            network: "red".into(),
            link: LinkBody { from: from.into(), to: to.into(), port, protocol },
        };
        network.set_links(&BTreeSet::from([
            link("a", "b", Some(80), Some(Protocol::Tcp)),
            link("b", "a", None, None),
            link("a", "gone", None, None),
        ]));
        let mut numbers = Numbers::default();
        for (name, id) in [("a", 3), ("b", 5)] {
            let number = PortNumber { id: PortId(id), offloads: pontoon_dataplane::port::Offloads::NONE };
            numbers.ports.insert(PortName::new("red", name), number);
        }
        let spec = network.spec(UplinkChoice::None, &numbers);
        assert!(spec.edge.isolated);
        assert_eq!(
            spec.edge.links.to_vec(),
            [
                Link { from: PortId(3), to: PortId(5), service: Some((Protocol::Tcp.into(), 80)) },
                Link { from: PortId(5), to: PortId(3), service: None },
            ]
        );
    }
}
