//! What is there, in the API's words. None of this waits for a change in progress.

use pontoon_dataplane::DropReason;
use pontoon_dataplane::counters::{CounterSum, TrafficSum};
use pontoon_dataplane::port::Offloads;

use super::{Followed, Manager};
use crate::api::types::{
    DeviceKind, Endpoint, Event, FdbEntry, FdbStats, Interface, Link, Mac, Network, Peer, Port, PortStats,
    Publication, Rule, SnatIp, Stats, Traffic, Uplink,
};
use crate::choose::with_prefix;
use crate::error::Error;
use crate::state::{NetworkState, PortName, PortRecord, RulesOf};
use crate::store::{
    EndpointRecord, InterfaceRecord, LinkRecord, NetworkRecord, Phase, PublicationRecord, RuleRecord,
};

fn endpoint(network: &NetworkRecord, record: &EndpointRecord) -> Endpoint {
    Endpoint {
        name: record.name.clone(),
        id: record.id,
        aliases: record.aliases.clone(),
        sandbox_id: record.sandbox_id,
        network: record.network.clone(),
        sandbox: record.sandbox.clone(),
        ifname: record.ifname.clone(),
        address: with_prefix(network.subnet, record.address),
        mac: record.mac,
        kind: record.kind,
        default_route: record.default_route,
        created: record.created.clone(),
    }
}

fn interface(record: &InterfaceRecord) -> Interface {
    Interface {
        interface: record.interface.clone(),
        network: record.network.clone(),
        created: record.created.clone(),
    }
}

/// Endpoints that somebody was told of.
fn endpoints(network: &NetworkState) -> impl Iterator<Item = &EndpointRecord> {
    network.endpoints.values().filter(|it| it.phase != Phase::Attaching)
}

pub(super) fn link(record: &LinkRecord) -> Link {
    let network = record.network.clone();
    let crate::api::types::LinkBody { from, to, port, protocol } = record.link.clone();
    Link { network, from, to, port, protocol }
}

/// What keeps some people from reaching what is published.
fn note(network: &NetworkRecord) -> Option<String> {
    let name = &network.name;
    let host = !network.connection.has_host_port();
    let outside = network.connection.way_out() == Uplink::None;
    match (host, outside) {
        (false, false) => None,
        (true, false) => {
            Some(format!("the network {name} has no host access: clients on the host itself do not reach it"))
        }
        (false, true) => {
            Some(format!("the network {name} has no uplink: clients outside of the host do not reach it"))
        }
        (true, true) => {
            Some(format!("the network {name} has neither uplink nor host access: only endpoints reach it"))
        }
    }
}

fn offload_names(offloads: Offloads) -> Vec<String> {
    let all = [(offloads.checksum, "checksum"), (offloads.tso, "tso"), (offloads.uso, "uso")];
    all.iter().filter(|(on, _)| *on && offloads.vnet_header).map(|(_, name)| (*name).to_owned()).collect()
}

/// A port's record by itself, to be looked at while the state goes on.
enum Owned {
    Endpoint(Box<EndpointRecord>),
    Interface(InterfaceRecord),
}

impl PortRecord<'_> {
    fn to_owned(self) -> Owned {
        match self {
            PortRecord::Endpoint(it) => Owned::Endpoint(Box::new(it.clone())),
            PortRecord::Interface(it) => Owned::Interface(it.clone()),
        }
    }
}

impl Owned {
    fn as_ref(&self) -> PortRecord<'_> {
        match self {
            Owned::Endpoint(it) => PortRecord::Endpoint(it),
            Owned::Interface(it) => PortRecord::Interface(it),
        }
    }
}

fn traffic(sum: TrafficSum) -> Traffic {
    Traffic { frames: sum.frames, bytes: sum.bytes }
}

/// The ports of a network, endpoints and interfaces alike.
fn port_records(network: &NetworkState) -> impl Iterator<Item = PortRecord<'_>> {
    let interfaces = network.interfaces.values().map(PortRecord::Interface);
    endpoints(network).map(PortRecord::Endpoint).chain(interfaces)
}

/// The port by which the host sits on a network.
fn host_port(network: &NetworkState) -> Option<PortName> {
    Some(PortName::new(&network.record.name, network.record.host_interface.as_ref()?))
}

fn port_stats(port: String, network: String, counters: &CounterSum) -> PortStats {
    let drop = |(reason, sum): &(DropReason, TrafficSum)| (reason.name().to_owned(), traffic(*sum));
    let drops = counters.drops.iter().map(drop).collect();
    PortStats { port, network, worker: None, rx: traffic(counters.rx), tx: traffic(counters.tx), drops }
}

fn uplink_stats((interface, counters): (&String, &CounterSum)) -> PortStats {
    port_stats(format!("uplink:{interface}"), String::new(), counters)
}

impl Manager {
    /// All networks by name.
    pub fn networks(&self) -> Vec<Network> {
        self.state().networks.values().map(|network| self.network_view(network)).collect()
    }

    fn network_view(&self, state: &NetworkState) -> Network {
        let NetworkRecord {
            name,
            id,
            driver,
            subnet,
            range,
            reserved,
            gateway,
            gateway_mac,
            mtu,
            ageing_seconds,
            connection,
            host_interface,
            host_interface_wish: _,
            publish_address,
            ifname_prefix,
            attachable,
            labels,
            options,
            created,
        } = state.record.clone();
        Network {
            name,
            id,
            driver,
            subnet: subnet.into(),
            ip_range: range.map(Into::into),
            aux_addresses: reserved,
            gateway,
            gateway_mac,
            mtu,
            ageing_seconds,
            connection,
            host_interface,
            publish_address,
            ifname_prefix,
            attachable,
            labels,
            options,
            created,
            endpoints: endpoints(state).map(|it| endpoint(&state.record, it)).collect(),
            interfaces: state.interfaces.values().map(interface).collect(),
            publications: state.publications.values().map(|it| self.publication_view(state, it)).collect(),
            rules: self.rule_views(&RulesOf::network(&state.record.name), &state.rules),
            links: state.links.iter().map(link).collect(),
            note: self.note_of(&state.record),
        }
    }

    /// What keeps a network's packets from leaving, as far as its settings are to blame.
    fn note_of(&self, network: &NetworkRecord) -> Option<String> {
        let NetworkRecord { name, connection, .. } = network;
        let SnatIp::Address(address) = connection.snat_ip else { return None };
        let leaves = connection.way_out() != Uplink::None;
        (leaves && !self.world.has_address(address)).then(|| {
            format!("the host does not have the address {address}, so nothing leaves the network {name} until it has")
        })
    }

    fn publication_view(&self, network: &NetworkState, record: &PublicationRecord) -> Publication {
        let cause = self.cause_of(record.id);
        Publication {
            id: record.id,
            network: record.network.clone(),
            endpoint: record.endpoint.clone(),
            ports: record.ports,
            host_address: record.ports.address,
            host_ports: record.ports.host,
            endpoint_ports: record.ports.endpoint,
            protocol: record.ports.protocol,
            rules: self.rule_views(&RulesOf::publication(record), &record.rules),
            state: if cause.is_none() { "up" } else { "down" }.to_owned(),
            cause,
            note: note(&network.record),
            created: record.created.clone(),
        }
    }

    fn rule_views(&self, of: &RulesOf, rules: &[RuleRecord]) -> Vec<Rule> {
        let hits = self.world.rule_hits(of);
        let numbered = (1..).zip(rules);
        let rule = |(number, it): (u32, &RuleRecord)| Rule {
            number,
            rule: it.rule.clone(),
            hits: hits.get(&it.id).copied().unwrap_or(0),
        };
        numbered.map(rule).collect()
    }

    /// One publication.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn publication(&self, network: &str, id: u32) -> Result<Publication, Error> {
        let state = self.state();
        Ok(self.publication_view(state.network(network)?, state.publication(network, id)?))
    }

    /// All publications by network and number.
    pub fn publications(&self) -> Vec<Publication> {
        let state = self.state();
        let of = |network: &NetworkState| -> Vec<Publication> {
            network.publications.values().map(|it| self.publication_view(network, it)).collect()
        };
        state.networks.values().flat_map(of).collect()
    }

    /// A list of rules in order.
    ///
    /// # Errors
    /// There is no such network or publication.
    pub fn rules(&self, of: &RulesOf) -> Result<Vec<Rule>, Error> {
        self.state().rules(of).map(|rules| self.rule_views(of, rules))
    }

    /// All links.
    pub fn links(&self) -> Vec<Link> {
        let state = self.state();
        state.networks.values().flat_map(|network| network.links.iter().map(link)).collect()
    }

    /// One network.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn network(&self, name: &str) -> Result<Network, Error> {
        self.state().network(name).map(|network| self.network_view(network))
    }

    /// One endpoint.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn endpoint(&self, network: &str, name: &str) -> Result<Endpoint, Error> {
        let state = self.state();
        Ok(endpoint(&state.network(network)?.record, state.endpoint(network, name)?))
    }

    /// One existing interface.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn interface(&self, network: &str, name: &str) -> Result<Interface, Error> {
        self.state().interface(network, name).map(interface)
    }

    /// One port.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn port(&self, network: &str, name: &str) -> Result<Port, Error> {
        let (record, mtu) = {
            let state = self.state();
            (state.port(network, name)?.to_owned(), state.network(network)?.record.mtu)
        };
        let offloads = self.world.offloads(&record.as_ref().name()).unwrap_or(Offloads::NONE);
        Ok(self.port_view(record.as_ref(), mtu, offloads))
    }

    /// Looks into the sandbox, so the state is not to be held meanwhile.
    fn port_view(&self, record: PortRecord<'_>, mtu: u16, offloads: Offloads) -> Port {
        let name = record.name();
        let (kind, link, ifname, sandbox, netns) = match record {
            PortRecord::Endpoint(it) => {
                let kind = match it.kind {
                    DeviceKind::Tap => "tap",
                    DeviceKind::Veth => "veth",
                };
                // Docker's sandboxes come after their endpoints.
                let found = || self.world.sandbox(&it.sandbox).map_or(it.netns.ino, |found| found.ino);
                let netns = if it.docker { found() } else { it.netns.ino };
                (kind, self.world.place(it), &it.ifname, Some(it.sandbox.clone()), netns)
            }
            PortRecord::Interface(it) => {
                let link = self.world.link(None, &it.interface).ok().flatten();
                ("packet", link, &it.interface, None, self.world.own_netns())
            }
        };
        let other_end = match record {
            PortRecord::Endpoint(it) => Some(it.device.clone()),
            PortRecord::Interface(_) => None,
        };
        let peer =
            link.as_ref().filter(|link| kind == "veth" || link.kind == "veth").and_then(|link| link.peer);
        let blocked = self.world.is_blocked(&name);
        Port {
            port: name.to_string(),
            network: name.network,
            kind: kind.to_owned(),
            ifindex: link.as_ref().map(|link| link.index),
            ifname: link.map_or_else(|| ifname.clone(), |link| link.name),
            sandbox,
            netns,
            peer: peer.map(|ifindex| Peer { ifindex, ifname: other_end }),
            flags: record.flags(),
            blocked,
            mtu,
            offloads: offload_names(offloads),
        }
    }

    /// The engine's ports by name.
    pub fn ports(&self) -> Vec<Port> {
        let records: Vec<(Owned, u16)> = {
            let state = self.state();
            let of = |network: &NetworkState| -> Vec<(Owned, u16)> {
                port_records(network).map(|record| (record.to_owned(), network.record.mtu)).collect()
            };
            state.networks.values().flat_map(of).collect()
        };
        let view = |(record, mtu): &(Owned, u16)| {
            let offloads = self.world.offloads(&record.as_ref().name())?;
            Some(self.port_view(record.as_ref(), *mtu, offloads))
        };
        let mut ports: Vec<Port> = records.iter().filter_map(view).collect();
        ports.sort_by(|a, b| a.port.cmp(&b.port));
        ports
    }

    /// The FDB of one network, or of all.
    ///
    /// # Errors
    /// There is no such network.
    pub fn fdb(&self, network: Option<&str>) -> Result<Vec<FdbEntry>, Error> {
        let names: Vec<String> = match network {
            Some(name) => vec![self.state().network(name)?.record.name.clone()],
            None => self.state().networks.keys().cloned().collect(),
        };
        let mut entries = Vec::new();
        for network in names {
            // A network may go between the two looks.
            for view in self.world.fdb(&network).unwrap_or_default() {
                entries.push(FdbEntry {
                    network: network.clone(),
                    mac: Mac(view.mac),
                    port: view.port.to_string(),
                    kind: view.kind.to_owned(),
                    age_seconds: view.age.map(|age| age.as_secs()),
                });
            }
        }
        Ok(entries)
    }

    /// Counters of everything.
    pub fn stats(&self) -> Stats {
        let (networks, mut names): (Vec<String>, Vec<PortName>) = {
            let state = self.state();
            let ports = state.networks.values().flat_map(port_records).map(|record| record.name());
            let hosts = state.networks.values().filter_map(host_port);
            (state.networks.keys().cloned().collect(), ports.chain(hosts).collect())
        };
        names.sort_by_key(PortName::to_string);
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            workers: self.world.workers() as u64,
            ports: names.iter().filter_map(|name| self.port_stats(name)).collect(),
            uplinks: self.world.uplink_counters().iter().map(uplink_stats).collect(),
            fdbs: networks.iter().filter_map(|network| self.fdb_stats(network)).collect(),
        }
    }

    fn port_stats(&self, name: &PortName) -> Option<PortStats> {
        let counters = self.world.counters(name)?;
        let stats = port_stats(name.to_string(), name.network.clone(), &counters);
        Some(PortStats { worker: self.world.reader(name), ..stats })
    }

    fn fdb_stats(&self, network: &str) -> Option<FdbStats> {
        let counts = self.world.fdb_counts(network).ok()?;
        Some(FdbStats {
            network: network.to_owned(),
            entries: counts.entries as u64,
            capacity: counts.capacity as u64,
            learned: counts.learned,
            moved: counts.moved,
            kept: counts.kept,
            refused: counts.refused,
            evicted: counts.evicted,
            expired: counts.expired,
        })
    }

    /// The last events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.journal.follow().past
    }

    /// The last events and those to come.
    pub fn follow_events(&self) -> Followed {
        self.journal.follow()
    }
}
