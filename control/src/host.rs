//! The real [`World`]: this machine's namespaces and devices, and the engine.
//!
//! The manager speaks of networks and ports by name; the engine's numbers stay in here.

mod devices;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crossbeam_channel::Receiver;
use pontoon_dataplane::counters::CounterSum;
use pontoon_dataplane::engine::{Engine, EngineConfig, Event, PortSpec};
use pontoon_dataplane::fdb::{EntryKind, FdbStats};
use pontoon_dataplane::port::{Device, Offloads};
use pontoon_dataplane::{MacAddr, NetworkId, PortId};

use crate::api::types::{DeviceKind, SandboxRef};
use crate::error::{Error, describe};
use crate::link::{Link, Links};
use crate::netns::{self, Netns, NetnsError, NetnsId};
use crate::plan::{PortPlan, Step, network_spec};
use crate::state::PortName;
use crate::store::{EndpointRecord, StaticRecord};
use crate::world::{FdbView, Remains, World};
use devices::Devices;

/// This machine and an engine.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    devices: Devices,
    /// Devices that are open and not yet ports.
    opened: Mutex<HashMap<PortName, Device>>,
    numbers: RwLock<Numbers>,
    /// The machine's own namespace. Looked at once, as the process that started us may end.
    machine: Option<NetnsId>,
}

#[derive(Debug, Clone, Copy)]
struct PortNumber {
    id: PortId,
    offloads: Offloads,
}

/// The engine's numbers by name.
#[derive(Debug, Default)]
struct Numbers {
    networks: BTreeMap<String, NetworkId>,
    ports: BTreeMap<PortName, PortNumber>,
    /// Endpoints whose TAP was opened inside its sandbox. Its descriptor keeps the namespace alive, so the kernel
    /// cannot tell us when everybody else has left it.
    pinned: BTreeMap<PortName, (SandboxRef, NetnsId)>,
}

impl Host {
    /// Starts an engine whose ports leave at most `offloads` to the kernel.
    ///
    /// # Errors
    /// Threads or descriptors are not to be had.
    pub fn start(config: EngineConfig, offloads: Offloads) -> Result<Host, Error> {
        Ok(Host {
            engine: Engine::start(config)?,
            devices: Devices::new(offloads),
            opened: Mutex::default(),
            numbers: RwLock::default(),
            machine: netns::of_the_machine(),
        })
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<PortName, Device>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up in the engine's numbers.
    fn look<T>(&self, look: impl FnOnce(&Numbers) -> T) -> T {
        look(&self.numbers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.numbers.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn network(&self, name: &str) -> Result<NetworkId, Error> {
        let missing = || Error::Missing { what: "network", name: name.to_owned(), list: "network ls" };
        self.look(|numbers| numbers.networks.get(name).copied()).ok_or_else(missing)
    }

    fn port(&self, name: &PortName) -> Option<PortNumber> {
        self.look(|numbers| numbers.ports.get(name).copied())
    }

    /// The port's number, for a step that cannot do without.
    fn known_port(&self, name: &PortName) -> Result<PortId, Error> {
        let missing = || Error::Missing { what: "port", name: name.to_string(), list: "port ls" };
        self.port(name).map(|number| number.id).ok_or_else(missing)
    }

    fn add_port(&self, plan: &PortPlan) -> Result<(), Error> {
        let network = self.network(&plan.port.network)?;
        let device = self
            .opened()
            .remove(&plan.port)
            .ok_or_else(|| Error::Internal(format!("no device was opened for the port {}", plan.port)))?;
        let offloads = device.offloads();
        let spec =
            PortSpec { network, settings: plan.settings, identity: plan.identity.clone(), mtu: plan.mtu };
        let id = self.engine.add_port(spec, device)?;
        self.change(|numbers| {
            numbers.ports.insert(plan.port.clone(), PortNumber { id, offloads });
        });
        Ok(())
    }

    fn remove_port(&self, port: &PortName) -> Result<(), Error> {
        self.opened().remove(port);
        if let Some(number) = self.port(port) {
            self.engine.remove_port(number.id)?;
        }
        self.change(|numbers| {
            numbers.ports.remove(port);
            numbers.pinned.remove(port);
        });
        Ok(())
    }

    fn add_static(&self, record: &StaticRecord) -> Result<(), Error> {
        let port = self.known_port(&PortName::new(&record.network, &record.port))?;
        let fdb = self.engine.fdb(self.network(&record.network)?)?;
        fdb.add_static(record.mac.0, port).map_err(|error| Error::Fdb(error.to_string()))
    }
}

impl World for Host {
    fn perform(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Store(_) => Err(Error::Internal("a step was taken to the wrong place".into())),
            Step::CreateNamespace(name) => Ok(netns::create(name).map(drop)?),
            Step::DeleteNamespace(name) => match netns::delete(name) {
                Err(NetnsError::NoSuchName { .. }) => Ok(()),
                done => Ok(done?),
            },
            Step::AddNetwork(record) => {
                let id = self.engine.add_network(network_spec(record))?;
                self.change(|numbers| {
                    numbers.networks.insert(record.name.clone(), id);
                });
                Ok(())
            }
            Step::SetNetwork { after, .. } => {
                Ok(self.engine.set_network(self.network(&after.name)?, network_spec(after))?)
            }
            Step::RemoveNetwork(record) => {
                self.engine.remove_network(self.network(&record.name)?)?;
                self.change(|numbers| {
                    numbers.networks.remove(&record.name);
                });
                Ok(())
            }
            Step::CreateDevice(plan) => {
                let device = self.devices.create(plan)?;
                self.opened().insert(plan.endpoint.port(), device);
                Ok(())
            }
            Step::ConfigureDevice(plan) => self.devices.configure(plan),
            Step::OpenDevice(plan) => {
                let port = plan.endpoint.port();
                let device = self.devices.open(&plan.endpoint)?;
                if plan.endpoint.kind == DeviceKind::Tap {
                    let sandbox = (plan.endpoint.sandbox.clone(), plan.endpoint.netns);
                    self.change(|numbers| {
                        numbers.pinned.insert(port.clone(), sandbox);
                    });
                }
                self.opened().insert(port, device);
                Ok(())
            }
            Step::DeleteDevice(endpoint) => {
                self.opened().remove(&endpoint.port());
                self.devices.delete(endpoint)
            }
            Step::OpenInterface(record) => {
                let device = self.devices.open_packet(&record.interface)?;
                self.opened().insert(record.port(), device);
                Ok(())
            }
            Step::CloseDevice(port) => {
                self.opened().remove(port);
                Ok(())
            }
            Step::SetLinkUp { interface, up } => {
                let links = Links::open()?;
                match links.find(interface)? {
                    Some(link) => Ok(links.set_up(&link, *up)?),
                    None if *up => Err(Error::NoInterface(interface.clone())),
                    None => Ok(()),
                }
            }
            Step::AddPort(plan) => self.add_port(plan),
            Step::RemovePort(port) => self.remove_port(port),
            // A port whose device was lost has no number: its record alone changes.
            Step::SetPort { port, after, .. } => match self.port(port) {
                Some(number) => Ok(self.engine.set_port(number.id, *after)?),
                None => Ok(()),
            },
            Step::SetIdentity { port, after, .. } => match self.port(port) {
                Some(number) => Ok(self.engine.set_identity(number.id, after.clone())?),
                None => Ok(()),
            },
            Step::AddStatic(record) => self.add_static(record),
            Step::RemoveStatic(record) => {
                self.engine.fdb(self.network(&record.network)?)?.remove(record.mac.0);
                Ok(())
            }
            Step::Announce(network) => Ok(self.engine.announce(self.network(network)?)?),
        }
    }

    fn sandbox(&self, sandbox: &SandboxRef) -> Result<NetnsId, Error> {
        let found = Netns::find(sandbox)?.id();
        if found == Netns::current()?.id() || self.machine == Some(found) {
            return Err(Error::OwnNamespace(describe(sandbox)));
        }
        Ok(found)
    }

    fn link(&self, sandbox: Option<&SandboxRef>, name: &str) -> Result<Option<Link>, Error> {
        match sandbox {
            None => Ok(Links::open()?.find(name)?),
            Some(sandbox) => Ok(netns::run_in(&Netns::find(sandbox)?, || Links::open()?.find(name))??),
        }
    }

    fn remains(&self, endpoint: &EndpointRecord) -> Result<Remains, Error> {
        self.devices.remains(endpoint)
    }

    fn namespace_is(&self, name: &str, netns: NetnsId) -> bool {
        netns::still_names(&SandboxRef::Netns(name.to_owned()), netns)
    }

    fn orphans(&self) -> Vec<PortName> {
        let pinned = self.look(|numbers| numbers.pinned.clone());
        let unnamed =
            |(_, (sandbox, id)): &(PortName, (SandboxRef, NetnsId))| !netns::still_names(sandbox, *id);
        let mut suspects = pinned.into_iter().filter(unnamed).peekable();
        if suspects.peek().is_none() {
            return Vec::new();
        }
        let inhabited = netns::inhabited();
        suspects.filter(|(_, (_, id))| !inhabited.contains(id)).map(|(port, _)| port).collect()
    }

    fn events(&self) -> Receiver<Event> {
        self.engine.events()
    }

    fn name_of(&self, id: PortId) -> Option<PortName> {
        self.look(|numbers| {
            let mut ports = numbers.ports.iter();
            ports.find(|(_, number)| number.id == id).map(|(name, _)| name.clone())
        })
    }

    fn offloads(&self, port: &PortName) -> Option<Offloads> {
        self.port(port).map(|number| number.offloads)
    }

    fn counters(&self, port: &PortName) -> Option<CounterSum> {
        self.engine.port_counters(self.port(port)?.id).ok()
    }

    fn fdb(&self, network: &str) -> Result<Vec<FdbView>, Error> {
        let fdb = self.engine.fdb(self.network(network)?)?;
        let entries = fdb.entries(self.engine.now());
        let names: HashMap<PortId, PortName> = self
            .look(|numbers| numbers.ports.iter().map(|(name, number)| (number.id, name.clone())).collect());
        // A port that was removed between the two looks has taken its entries along.
        let view = |entry: pontoon_dataplane::fdb::FdbEntry| {
            let (kind, age) = match entry.kind {
                EntryKind::Learned => ("learned", Some(entry.age)),
                EntryKind::Sticky => ("sticky", Some(entry.age)),
                EntryKind::Static => ("static", None),
            };
            Some(FdbView { mac: entry.mac, port: names.get(&entry.port)?.clone(), kind, age })
        };
        Ok(entries.into_iter().filter_map(view).collect())
    }

    fn fdb_counts(&self, network: &str) -> Result<FdbStats, Error> {
        Ok(self.engine.fdb(self.network(network)?)?.stats())
    }

    fn flush(&self, network: &str, port: Option<&PortName>) -> Result<(), Error> {
        let fdb = self.engine.fdb(self.network(network)?)?;
        let port = port.map(|port| self.known_port(port)).transpose()?;
        fdb.flush_learned(port);
        Ok(())
    }

    fn forget(&self, network: &str, mac: MacAddr) -> Result<bool, Error> {
        Ok(self.engine.fdb(self.network(network)?)?.remove(mac))
    }

    fn workers(&self) -> usize {
        self.engine.workers()
    }
}
