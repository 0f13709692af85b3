//! The engine's tables as control sees them, and the snapshots made from them.

use std::sync::Arc;

use super::{EngineError, NetworkSpec, PortSpec, Reader};
use crate::addr::MacAddr;
use crate::counters::PortCounters;
use crate::edge::config::{EdgeConfig, UplinkChoice};
use crate::fdb::{Fdb, FdbConfig};
use crate::network::{MAX_NETWORKS, MAX_PORTS, Network, NetworkId, Place, Port, PortId, Snapshot};
use crate::worker::PortIo;

/// Devices by port number, as workers send by them.
pub(super) type Devices = Arc<[Option<Arc<PortIo>>]>;

#[derive(Debug)]
pub(super) struct Tables {
    workers: usize,
    snapshot: Snapshot,
    devices: Vec<Option<Arc<PortIo>>>,
    /// The worker that each port was given.
    homes: Vec<usize>,
    /// The worker that reads from it.
    readers: Vec<usize>,
    /// Where the search for a free port number starts: numbers are reused as late as possible, so that a reader of
    /// old statistics does not take a new port for an old one.
    next_port: usize,
}

impl Tables {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            snapshot: Snapshot::default(),
            devices: Vec::new(),
            homes: Vec::new(),
            readers: Vec::new(),
            next_port: 0,
        }
    }

    pub(super) fn set_edge(&mut self, edge: EdgeConfig) {
        self.snapshot.edge = Arc::new(edge);
    }

    /// The next snapshot.
    pub(super) fn snapshot(&mut self) -> (Arc<Snapshot>, Devices) {
        self.snapshot.generation += 1;
        (Arc::new(self.snapshot.clone()), self.devices.clone().into())
    }

    pub(super) fn network(&self, id: NetworkId) -> Result<&Network, EngineError> {
        self.snapshot.network(id).ok_or(EngineError::NoSuchNetwork(id))
    }

    pub(super) fn port(&self, id: PortId) -> Result<&Port, EngineError> {
        self.snapshot.port(id).ok_or(EngineError::NoSuchPort(id))
    }

    pub(super) fn port_mut(&mut self, id: PortId) -> Result<&mut Port, EngineError> {
        let port = self.snapshot.ports.get_mut(id.index()).and_then(Option::as_mut);
        port.ok_or(EngineError::NoSuchPort(id))
    }

    pub(super) fn add_network(&mut self, spec: NetworkSpec) -> Result<NetworkId, EngineError> {
        let networks = &mut self.snapshot.networks;
        let index = networks.iter().position(Option::is_none).unwrap_or(networks.len());
        if index >= MAX_NETWORKS {
            return Err(EngineError::Full { what: "networks", limit: MAX_NETWORKS });
        }
        if index == networks.len() {
            networks.push(None);
        }
        let id = NetworkId(index as u16);
        let fdb = Arc::new(Fdb::new(FdbConfig { ageing: spec.ageing, ..FdbConfig::default() }));
        let NetworkSpec { gateway, mtu, edge, .. } = spec;
        networks[index] = Some(Arc::new(Network {
            id,
            gateway,
            mtu,
            fdb,
            flooded: Arc::default(),
            members: Vec::new(),
            edge,
        }));
        Ok(id)
    }

    pub(super) fn set_network(&mut self, id: NetworkId, spec: NetworkSpec) -> Result<(), EngineError> {
        self.network(id)?.fdb.set_ageing(spec.ageing);
        self.change_network(id, |network| {
            network.gateway = spec.gateway;
            network.mtu = spec.mtu;
            network.edge = spec.edge;
        });
        Ok(())
    }

    pub(super) fn set_uplinks(&mut self, id: NetworkId, uplinks: UplinkChoice) -> Result<(), EngineError> {
        self.network(id)?;
        self.change_network(id, |network| network.edge.uplinks = uplinks);
        Ok(())
    }

    pub(super) fn remove_network(&mut self, id: NetworkId) -> Result<(), EngineError> {
        if !self.network(id)?.members.is_empty() {
            return Err(EngineError::NetworkInUse(id));
        }
        self.snapshot.networks[id.index()] = None;
        Ok(())
    }

    /// A port without a device, and the worker that shall read from it: the one with the fewest. `own_mac` is the interface's own.
    pub(super) fn add_port(
        &mut self,
        spec: PortSpec,
        own_mac: Option<MacAddr>,
    ) -> Result<(PortId, usize), EngineError> {
        if let Some(network) = spec.place.network() {
            self.network(network)?;
        }
        let free = |index: &usize| self.snapshot.ports.get(*index).is_none_or(Option::is_none);
        let index = (self.next_port..MAX_PORTS)
            .chain(0..self.next_port)
            .find(free)
            .ok_or(EngineError::Full { what: "ports", limit: MAX_PORTS })?;
        self.next_port = (index + 1) % MAX_PORTS;
        if self.snapshot.ports.len() <= index {
            self.snapshot.ports.resize_with(index + 1, || None);
            self.devices.resize_with(index + 1, || None);
            self.homes.resize(index + 1, 0);
            self.readers.resize(index + 1, 0);
        }
        let id = PortId(index as u16);
        // What comes by an uplink is the edge's business, and worker 0 has the edge.
        let home = if spec.place == Place::Uplink { 0 } else { self.least_busy_worker() };
        (self.homes[index], self.readers[index]) = (home, home);
        self.snapshot.ports[index] = Some(Port {
            id,
            place: spec.place,
            settings: spec.settings,
            identity: spec.identity.map(Arc::new),
            own_mac,
            mtu: spec.mtu,
            counters: (0..self.workers).map(|_| PortCounters::default()).collect(),
        });
        if let Some(network) = spec.place.network() {
            self.join(network, id);
        }
        Ok((id, home))
    }

    /// Takes a member out of its network for as long as it is in a loop, or puts it back. Returns the network if anything changed.
    pub(super) fn set_blocked(
        &mut self,
        id: PortId,
        blocked: bool,
    ) -> Result<Option<NetworkId>, EngineError> {
        let port = self.port_mut(id)?;
        let network = match (port.place, blocked) {
            (Place::Member(network), true) => {
                port.place = Place::Blocked(network);
                self.change_network(network, |it| it.members.retain(|&member| member != id));
                network
            }
            (Place::Blocked(network), false) => {
                port.place = Place::Member(network);
                self.join(network, id);
                network
            }
            _ => return Ok(None),
        };
        Ok(Some(network))
    }

    fn join(&mut self, network: NetworkId, id: PortId) {
        self.change_network(network, |network| {
            network.members.push(id);
            network.members.sort_unstable();
        });
    }

    pub(super) fn device(&self, id: PortId) -> Result<Arc<PortIo>, EngineError> {
        self.devices.get(id.index()).and_then(Clone::clone).ok_or(EngineError::NoSuchPort(id))
    }

    /// The ports that the FDBs have entries behind, with these FDBs.
    pub(super) fn ports_with_stations(&self) -> Vec<(Arc<PortIo>, Arc<Fdb>)> {
        let ports = self.snapshot.ports.iter().flatten();
        ports
            .filter_map(|port| {
                let fdb = &self.snapshot.network(port.place.home()?)?.fdb;
                let io = self.devices.get(port.id.index())?.as_ref()?;
                (fdb.port_entries(port.id) > 0).then(|| (Arc::clone(io), Arc::clone(fdb)))
            })
            .collect()
    }

    pub(super) fn set_device(&mut self, id: PortId, device: Option<Arc<PortIo>>) {
        if let Some(slot) = self.devices.get_mut(id.index()) {
            *slot = device;
        }
    }

    pub(super) fn remove_port(&mut self, id: PortId) -> Result<(), EngineError> {
        let place = self.port(id)?.place;
        self.snapshot.ports[id.index()] = None;
        self.set_device(id, None);
        if let Some(network) = place.home() {
            self.change_network(network, |network| network.members.retain(|&member| member != id));
        }
        Ok(())
    }

    fn change_network(&mut self, id: NetworkId, change: impl FnOnce(&mut Network)) {
        if let Some(network) = self.snapshot.networks.get_mut(id.index()).and_then(Option::as_mut) {
            change(Arc::make_mut(network));
        }
    }

    /// The worker that reads a port.
    pub(super) fn reader(&self, port: PortId) -> usize {
        self.readers.get(port.index()).copied().unwrap_or_default()
    }

    /// Another worker reads a port that there is. Returns who did, and who does.
    pub(super) fn set_reader(&mut self, port: PortId, reader: Reader) -> (usize, usize) {
        let to = match reader {
            Reader::Home => self.homes[port.index()],
            Reader::Edge => 0,
        };
        (std::mem::replace(&mut self.readers[port.index()], to), to)
    }

    fn least_busy_worker(&self) -> usize {
        let mut load = vec![0usize; self.workers];
        for port in self.snapshot.ports.iter().flatten() {
            load[self.homes[port.id.index()]] += 1;
        }
        (0..self.workers).min_by_key(|&worker| load[worker]).unwrap_or(0)
    }
}
