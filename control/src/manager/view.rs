//! What is there, in the API's words. None of this waits for a change in progress.

use std::collections::BTreeMap;

use pontoon_dataplane::counters::TrafficSum;
use pontoon_dataplane::port::Offloads;

use super::{Followed, Manager};
use crate::api::types::{
    DeviceKind, Endpoint, Event, FdbEntry, FdbStats, Interface, Mac, Network, Port, PortStats, Stats, Traffic,
};
use crate::choose::with_prefix;
use crate::error::Error;
use crate::state::{NetworkState, PortName, PortRecord};
use crate::store::{EndpointRecord, InterfaceRecord, NetworkRecord, Phase};

fn endpoint(network: &NetworkRecord, record: &EndpointRecord) -> Endpoint {
    Endpoint {
        name: record.name.clone(),
        network: record.network.clone(),
        sandbox: record.sandbox.clone(),
        ifname: record.ifname.clone(),
        address: with_prefix(network, record.address),
        mac: record.mac,
        kind: record.kind,
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

fn network(state: &NetworkState) -> Network {
    let NetworkRecord { name, subnet, gateway, gateway_mac, mtu, ageing_seconds, created } =
        state.record.clone();
    Network {
        name,
        subnet: subnet.into(),
        gateway,
        gateway_mac,
        mtu,
        ageing_seconds,
        created,
        endpoints: endpoints(state).map(|it| endpoint(&state.record, it)).collect(),
        interfaces: state.interfaces.values().map(interface).collect(),
    }
}

fn offload_names(offloads: Offloads) -> Vec<String> {
    let all = [(offloads.checksum, "checksum"), (offloads.tso, "tso"), (offloads.uso, "uso")];
    all.iter().filter(|(on, _)| *on && offloads.vnet_header).map(|(_, name)| (*name).to_owned()).collect()
}

fn port(network: &NetworkRecord, record: PortRecord<'_>, offloads: Offloads) -> Port {
    let (kind, ifname, sandbox) = match record {
        PortRecord::Endpoint(it) => {
            let kind = match it.kind {
                DeviceKind::Tap => "tap",
                DeviceKind::Veth => "veth",
            };
            (kind, it.ifname.clone(), Some(it.sandbox.clone()))
        }
        PortRecord::Interface(it) => ("packet", it.interface.clone(), None),
    };
    Port {
        port: record.name().to_string(),
        network: network.name.clone(),
        kind: kind.to_owned(),
        ifname,
        sandbox,
        flags: record.flags(),
        mtu: network.mtu,
        offloads: offload_names(offloads),
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

impl Manager {
    /// All networks by name.
    pub fn networks(&self) -> Vec<Network> {
        self.state().networks.values().map(network).collect()
    }

    /// One network.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn network(&self, name: &str) -> Result<Network, Error> {
        self.state().network(name).map(network)
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
        let state = self.state();
        let record = state.port(network, name)?;
        let offloads = self.world.offloads(&record.name()).unwrap_or(Offloads::NONE);
        Ok(port(&state.network(network)?.record, record, offloads))
    }

    /// The engine's ports by name.
    pub fn ports(&self) -> Vec<Port> {
        let state = self.state();
        let mut ports: Vec<Port> = state
            .networks
            .values()
            .flat_map(|network| port_records(network).map(move |record| (network, record)))
            .filter_map(|(network, record)| {
                Some(port(&network.record, record, self.world.offloads(&record.name())?))
            })
            .collect();
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
            (state.networks.keys().cloned().collect(), ports.collect())
        };
        names.sort_by_key(PortName::to_string);
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            workers: self.world.workers() as u64,
            ports: names.iter().filter_map(|name| self.port_stats(name)).collect(),
            fdbs: networks.iter().filter_map(|network| self.fdb_stats(network)).collect(),
        }
    }

    fn port_stats(&self, name: &PortName) -> Option<PortStats> {
        let counters = self.world.counters(name)?;
        let drops: BTreeMap<String, Traffic> =
            counters.drops.iter().map(|(reason, sum)| (reason.name().to_owned(), traffic(*sum))).collect();
        Some(PortStats {
            port: name.to_string(),
            network: name.network.clone(),
            rx: traffic(counters.rx),
            tx: traffic(counters.tx),
            drops,
        })
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
