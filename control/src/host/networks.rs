//! Networks as the engine has them: their settings, made of records and of the engine's numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pontoon_dataplane::edge::config::{Action, Hits, Link, Mapping, NetworkEdge, Rule, UplinkChoice};
use pontoon_dataplane::engine::{NetworkSpec, PortSpec};
use pontoon_dataplane::network::{Gateway, Place, PortSettings};
use pontoon_dataplane::{NetworkId, PortId};

use super::{Host, Numbers, PortNumber};
use crate::api::types::{NatMapping, RuleAction, SnatIp, Uplink};
use crate::edge::hostport::HostPort;
use crate::edge::{PublicationSpec, UplinkWish};
use crate::error::Error;
use crate::plan::PublicationPlan;
use crate::state::PortName;
use crate::store::{LinkRecord, NetworkRecord, RuleRecord};

/// A network, and what its settings are made of.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) id: NetworkId,
    record: NetworkRecord,
    host_port: Option<PortId>,
    pub(super) resolver_port: Option<PortId>,
    rules: Vec<RuleRecord>,
    links: BTreeSet<LinkRecord>,
    /// By the rules' own numbers: they go on counting when rules move or change places.
    hits: BTreeMap<u32, Arc<Hits>>,
}

/// What a port may do behind which the gateway's address is. The engine does not learn the gateway's MAC; it is known.
pub(super) const HOST_PORT: PortSettings =
    PortSettings { learning: false, flood: false, isolated: false, hairpin: false, guard: false };

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

fn action(action: RuleAction) -> Action {
    match action {
        RuleAction::Allow => Action::Allow,
        RuleAction::Deny => Action::Deny,
    }
}

/// A list of who may come as rules: these may, and nobody else; everybody when it is empty.
fn admission(allow: &[IpNet]) -> Arc<[Rule]> {
    let rule = |number, action, source| Rule {
        number,
        action,
        source,
        destination: None,
        protocol: None,
        ports: None,
        hits: Arc::default(),
    };
    let allowed = (1..).zip(allow).map(|(number, net)| rule(number, Action::Allow, Some(*net)));
    let rest = (!allow.is_empty()).then(|| rule(allow.len() as u32 + 1, Action::Deny, None));
    allowed.chain(rest).collect()
}

impl Network {
    fn rules(&self) -> Arc<[Rule]> {
        let numbered = (1..).zip(&self.rules);
        let rule = |(number, it): (u32, &RuleRecord)| Rule {
            number,
            action: action(it.rule.action),
            source: it.rule.from,
            destination: it.rule.to,
            protocol: it.rule.protocol.map(Into::into),
            ports: it.rule.port.map(|ports| (ports.first, ports.last)),
            hits: self.hits.get(&it.id).cloned().unwrap_or_default(),
        };
        numbered.map(rule).collect()
    }

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
                rules: self.rules(),
                links: self.links(numbers),
            },
        }
    }

    /// How many sessions each rule decided, by the rule's own number.
    pub(super) fn hits(&self) -> BTreeMap<u32, u64> {
        self.hits.iter().map(|(id, hits)| (*id, hits.get())).collect()
    }

    pub(super) fn set_record(&mut self, record: &NetworkRecord) {
        self.record.clone_from(record);
    }

    pub(super) fn set_rules(&mut self, rules: &[RuleRecord]) {
        self.rules = rules.to_vec();
        self.hits.retain(|id, _| rules.iter().any(|it| it.id == *id));
        for rule in rules {
            self.hits.entry(rule.id).or_default();
        }
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
            rules: Vec::new(),
            links: BTreeSet::new(),
            hits: BTreeMap::new(),
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

    fn publication(&self, plan: &PublicationPlan) -> Result<PublicationSpec, Error> {
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
            rules: admission(&record.allow),
        })
    }

    /// Holds the ports and leads them to the endpoint.
    pub(super) fn publish(&self, plan: &PublicationPlan) -> Result<(), Error> {
        let number = self.edge.publish(self.publication(plan)?)?;
        self.change(|numbers| {
            numbers.publications.insert(plan.record.id, number);
        });
        Ok(())
    }

    /// Lets go of published ports, if they are held.
    pub(super) fn unpublish(&self, plan: &PublicationPlan) -> Result<(), Error> {
        let number = self.look(|numbers| numbers.publications.get(&plan.record.id).copied());
        if let Some(number) = number {
            self.edge.unpublish(number)?;
            self.change(|numbers| {
                numbers.publications.remove(&plan.record.id);
            });
        }
        Ok(())
    }

    /// Changes who may come. Old sessions end, for they belong to the publication that was.
    pub(super) fn republish(&self, plan: &PublicationPlan) -> Result<(), Error> {
        let number = self.look(|numbers| numbers.publications.get(&plan.record.id).copied());
        let number =
            number.ok_or_else(|| Error::Internal(format!("{} is not published", plan.record.ports)))?;
        self.edge.republish(number, self.publication(plan)?)
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
    use crate::api::types::{Connection, LinkBody, Mac, Protocol, RuleBody};

    fn network() -> Network {
        let record = NetworkRecord {
            name: "red".into(),
            subnet: "10.1.0.0/24".parse().unwrap(),
            gateway: [10, 1, 0, 1].into(),
            gateway_mac: Mac(pontoon_dataplane::MacAddr([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            ageing_seconds: 300,
            connection: Connection { icc: false, ..Connection::default() },
            host_interface: None,
            created: String::new(),
        };
        let (rules, links, hits) = Default::default();
        Network { id: NetworkId(0), record, host_port: None, resolver_port: None, rules, links, hits }
    }

    fn rule(id: u32, port: &str) -> RuleRecord {
        let body = RuleBody {
            action: RuleAction::Deny,
            from: None,
            to: None,
            protocol: Some(Protocol::Tcp),
            port: Some(port.parse().unwrap()),
        };
        RuleRecord { id, rule: body }
    }

    #[test]
    fn hits_stay_with_their_rule_wherever_it_moves() {
        let mut network = network();
        network.set_rules(&[rule(1, "80"), rule(2, "81")]);
        network.rules()[1].hits.count();
        network.set_rules(&[rule(2, "81"), rule(3, "82"), rule(1, "80")]);
        let rules = network.rules();
        assert_eq!(
            rules.iter().map(|it| (it.number, it.hits.get())).collect::<Vec<_>>(),
            [(1, 1), (2, 0), (3, 0)]
        );
        network.set_rules(&[rule(1, "80")]);
        network.set_rules(&[rule(1, "80"), rule(2, "90")]);
        assert_eq!(network.hits(), BTreeMap::from([(1, 0), (2, 0)]), "a new rule starts from nothing");
    }

    #[test]
    fn who_may_come_is_a_list_that_ends_with_nobody() {
        assert!(admission(&[]).is_empty());
        let rules = admission(&["192.0.2.0/24".parse().unwrap()]);
        let come = |source: [u8; 4]| {
            let to = std::net::IpAddr::from([10, 0, 0, 1]);
            rules.iter().find(|it| it.matches(source.into(), to, Protocol::Tcp.into(), 80)).unwrap().action
        };
        assert_eq!((come([192, 0, 2, 7]), come([198, 51, 100, 1])), (Action::Allow, Action::Deny));
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
