//! The real [`World`]: this machine's namespaces and devices, and the engine.
//!
//! The manager speaks of networks and ports by name; the engine's numbers stay in here.

mod devices;
mod gate;
mod names;
mod networks;
mod ports;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crossbeam_channel::Receiver;
use ipnet::Ipv4Net;
use pontoon_dataplane::counters::CounterSum;
use pontoon_dataplane::edge::config::Limits;
use pontoon_dataplane::edge::view::SessionFilter;
use pontoon_dataplane::engine::{Engine, EngineConfig, Event, Reader};
use pontoon_dataplane::fdb::{EntryKind, FdbStats};
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::port::{Device, Offloads};
use pontoon_dataplane::trace::KnownRoute;
use pontoon_dataplane::{MacAddr, NetworkId, PortId};

use crate::api::types::{SandboxRef, Uplink, UplinkState};
use crate::dns::resolver::Resolver;
use crate::dns::zone::{Asker, Zone};
use crate::edge::{self, EdgeControl, EdgeSettings};
use crate::error::{Error, describe};
use crate::link::{Link, Links};
use crate::netns::{self, Netns, NetnsError, NetnsId};
use crate::plan::Step;
use crate::plugin::resolver::Resolvers;
use crate::state::{PortName, RulesOf};
use crate::store::EndpointRecord;
use crate::world::{FdbView, Ingress, NatUse, NatView, Remains, ResolverView, TraceView, World};
use devices::Devices;
use gate::Gate;
use names::Gatehouse;
use networks::{Network, Published};
use ports::{set_host_stack, set_link_up};

/// This machine and an engine.
#[derive(Debug)]
pub struct Host {
    /// Before the engine, so that its threads end first.
    edge: EdgeControl,
    engine: Arc<Engine>,
    devices: Devices,
    /// Devices that are open and not yet ports.
    opened: Mutex<HashMap<PortName, Device>>,
    /// What keeps the host off the interfaces of this namespace that are ports, or about to be.
    gates: Mutex<HashMap<PortName, Gate>>,
    numbers: RwLock<Numbers>,
    limits: Limits,
    resolver: Resolver,
    gatehouse: Mutex<Gatehouse>,
    /// Sandboxes in which names are served, as they were named: the sockets keep them alive, so the kernel cannot tell us either when
    /// everybody else has left them.
    served: Mutex<BTreeMap<NetnsId, SandboxRef>>,
    /// The machine's own namespace. Looked at once, as the process that started us may end.
    machine: Option<NetnsId>,
    /// Name servers in sandboxes of Docker's.
    resolvers: Resolvers,
}

#[derive(Debug, Clone, Copy)]
struct PortNumber {
    id: PortId,
    offloads: Offloads,
}

/// The engine's numbers by name.
#[derive(Debug, Default)]
struct Numbers {
    networks: BTreeMap<String, Network>,
    ports: BTreeMap<PortName, PortNumber>,
    /// Publications by the numbers of their records. What is down is not in here.
    publications: BTreeMap<u32, Published>,
    /// Existing interfaces that are ports: no uplinks meanwhile.
    claimed: BTreeSet<PortName>,
    /// Endpoints whose TAP was opened inside its sandbox. Its descriptor keeps the namespace alive, so the kernel
    /// cannot tell us when everybody else has left it.
    pinned: BTreeMap<PortName, (SandboxRef, NetnsId)>,
}

impl Host {
    /// Starts an engine, its edge and the resolver; `resolv_conf` names those whom the host asks. Ports leave at most as much to the kernel as `settings` say that uplinks do.
    ///
    /// # Errors
    /// Threads or descriptors are not to be had.
    pub fn start(config: EngineConfig, settings: EdgeSettings, resolv_conf: PathBuf) -> Result<Host, Error> {
        let engine = Arc::new(Engine::start(config)?);
        let (limits, offloads) = (settings.limits, settings.offloads);
        Ok(Host {
            edge: EdgeControl::start(Arc::clone(&engine), settings)?,
            engine,
            devices: Devices::new(offloads),
            opened: Mutex::default(),
            gates: Mutex::default(),
            numbers: RwLock::default(),
            limits,
            resolver: Resolver::start(resolv_conf)?,
            gatehouse: Mutex::default(),
            served: Mutex::default(),
            machine: netns::of_the_machine(),
            resolvers: Resolvers::start()?,
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
        self.look(|numbers| numbers.networks.get(name).map(|it| it.id)).ok_or_else(missing)
    }

    fn port(&self, name: &PortName) -> Option<PortNumber> {
        self.look(|numbers| numbers.ports.get(name).copied())
    }

    /// The port's number, for a step that cannot do without.
    fn known_port(&self, name: &PortName) -> Result<PortId, Error> {
        let missing = || Error::Missing { what: "port", name: name.to_string(), list: "port ls" };
        self.port(name).map(|number| number.id).ok_or_else(missing)
    }

    /// The names of all ports by number.
    fn names(&self) -> HashMap<PortId, PortName> {
        self.look(|numbers| numbers.ports.iter().map(|(name, number)| (number.id, name.clone())).collect())
    }

    /// The numbers of publications' records, by those that the edge knows.
    fn publication_records(&self) -> BTreeMap<u32, u32> {
        let record = |(record, published): (&u32, &Published)| (published.number, *record);
        self.look(|numbers| numbers.publications.iter().map(record).collect())
    }

    fn filter(&self, endpoint: Option<&PortName>) -> Result<SessionFilter, Error> {
        let owner = endpoint.map(|endpoint| self.known_port(endpoint)).transpose()?;
        Ok(SessionFilter { owner, publication: None })
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
            Step::AddNetwork(record) => self.add_network(record),
            Step::SetNetwork { after, .. } => {
                self.change_network(&after.name, |network| network.set_record(after))
            }
            Step::RemoveNetwork(record) => self.remove_network(record),
            Step::AddHostPort(record) => self.add_host_port(record),
            Step::RemoveHostPort(record) => self.remove_host_port(record),
            Step::SetRules { of, after, .. } => self.set_rules(of, after),
            Step::SetLinks { network, after, .. } => {
                self.change_network(network, |network| network.set_links(after))
            }
            Step::AddResolver(plan) => self.add_resolver(plan),
            Step::RemoveResolver(plan) => self.remove_resolver(plan),
            Step::Publish(plan) => self.publish(plan),
            Step::Unpublish(plan) => self.unpublish(plan),
            Step::Republish { after, .. } => self.republish(after),
            Step::CreateDevice(plan) => self.create_device(plan),
            Step::ConfigureDevice(plan) => self.devices.configure(plan),
            Step::AddDefaultRoute(plan) => self.devices.set_default_route(plan, true),
            Step::RemoveDefaultRoute(plan) => self.devices.set_default_route(plan, false),
            Step::OpenDevice(plan) => self.open_device(plan),
            Step::DeleteDevice(endpoint) => self.delete_device(endpoint),
            Step::DeleteReserved(reservation) => self.devices.delete_reserved(reservation),
            Step::ServeNames(sandbox) => {
                self.resolvers.serve(sandbox);
                Ok(())
            }
            Step::EndNames(sandbox) => {
                self.resolvers.end(sandbox);
                Ok(())
            }
            Step::OpenInterface(record) => self.open_interface(record.port()),
            Step::CloseDevice(port) => {
                self.close_device(port);
                Ok(())
            }
            Step::SetLinkUp { interface, up } => set_link_up(interface, *up),
            Step::SetHostStack { interface, after, .. } => set_host_stack(interface, *after),
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

    fn interface_names(&self, sandbox: &SandboxRef) -> Result<BTreeSet<String>, Error> {
        let all = netns::run_in(&Netns::find(sandbox)?, || Links::open()?.all())??;
        Ok(all.into_iter().map(|link| link.name).collect())
    }

    fn remains(&self, endpoint: &EndpointRecord) -> Result<Remains, Error> {
        self.devices.remains(endpoint)
    }

    fn place(&self, endpoint: &EndpointRecord) -> Option<Link> {
        devices::place(endpoint)
    }

    fn own_netns(&self) -> u64 {
        Netns::current().map_or(0, |netns| netns.id().ino)
    }

    fn namespace_is(&self, name: &str, netns: NetnsId) -> bool {
        netns::still_names(&SandboxRef::Netns(name.to_owned()), netns)
    }

    fn orphans(&self) -> Vec<PortName> {
        let pinned = self.look(|numbers| numbers.pinned.clone());
        let unnamed =
            |(_, (sandbox, id)): &(PortName, (SandboxRef, NetnsId))| !netns::still_names(sandbox, *id);
        let mut suspects = pinned.into_iter().filter(unnamed).peekable();
        let unserved = self.served_without_a_name();
        if suspects.peek().is_none() && unserved.is_empty() {
            return Vec::new();
        }
        let inhabited = netns::inhabited();
        self.leave(unserved.into_iter().filter(|netns| !inhabited.contains(netns)));
        suspects.filter(|(_, (_, id))| !inhabited.contains(id)).map(|(port, _)| port).collect()
    }

    fn set_names(&self, names: Zone) {
        self.resolver.set_zone(names);
    }

    fn resolver(&self) -> ResolverView {
        self.resolver_view()
    }

    fn ask(&self, asker: Asker, message: &[u8]) -> Option<(Vec<u8>, bool)> {
        self.resolver.ask(asker, message)
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

    fn set_blocked(&self, port: &PortName, blocked: bool) -> Result<(), Error> {
        self.port(port).map_or(Ok(()), |number| Ok(self.engine.set_blocked(number.id, blocked)?))
    }

    fn is_blocked(&self, port: &PortName) -> bool {
        self.port(port).is_some_and(|number| self.engine.is_blocked(number.id))
    }

    fn reader(&self, port: &PortName) -> Option<usize> {
        self.engine.reader(self.port(port)?.id)
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
        let names = self.names();
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

    fn forget_behind_lost_links(&self) {
        self.engine.forget_behind_lost_links();
    }

    fn set_reader(&self, port: PortId, reader: Reader) {
        // It may have been removed since; that a worker is lost is an event of its own.
        if let Err(error) = self.engine.set_reader(port, reader) {
            tracing::debug!("{port} is read by the same worker as before: {error}");
        }
    }

    fn forget(&self, network: &str, mac: MacAddr) -> Result<bool, Error> {
        Ok(self.engine.fdb(self.network(network)?)?.remove(mac))
    }

    fn workers(&self) -> usize {
        self.engine.workers()
    }

    fn free_host_interface(&self, network: &str, wish: Option<&str>) -> Result<String, Error> {
        edge::hostport::free_name(network, wish)
    }

    fn check_subnet(&self, subnet: Ipv4Net, gateway: Ipv4Addr, own: Option<&str>) -> Result<(), Error> {
        edge::hostport::check_subnet(subnet, gateway, own)
    }

    fn subnets_in_use(&self) -> Result<Vec<Ipv4Net>, Error> {
        edge::hostport::subnets_in_use()
    }

    fn default_mtu(&self, uplink: &Uplink) -> Result<Option<u32>, Error> {
        match uplink {
            Uplink::Interface(name) => Ok(Links::open()?.find(name)?.map(|link| link.mtu)),
            Uplink::Auto | Uplink::None => edge::default_mtu(),
        }
    }

    fn has_address(&self, address: Ipv4Addr) -> bool {
        self.edge.has_address(address)
    }

    fn interface_changes(&self) -> u64 {
        self.edge.interface_changes()
    }

    fn uplinks(&self) -> Vec<UplinkState> {
        let state = |it: edge::UplinkStatus| UplinkState {
            interface: it.name,
            addresses: networks::with_prefixes(&it.addresses),
            mtu: it.mtu,
            up: it.up,
        };
        self.edge.status().uplinks.into_iter().map(state).collect()
    }

    fn uplink_counters(&self) -> BTreeMap<String, CounterSum> {
        let uplinks = self.edge.status().uplinks.into_iter();
        uplinks.filter_map(|it| Some((it.name, self.engine.port_counters(it.port).ok()?))).collect()
    }

    fn rule_hits(&self, of: &RulesOf) -> BTreeMap<u32, u64> {
        self.hits(of)
    }

    fn sessions(
        &self,
        endpoint: Option<&PortName>,
        from: u32,
        max: usize,
    ) -> Result<(Vec<NatView>, Option<u32>), Error> {
        let (page, next) = self.engine.sessions(self.filter(endpoint)?, from, max)?;
        let names = self.names();
        let records = self.publication_records();
        let view = |session: pontoon_dataplane::edge::view::SessionView| NatView {
            endpoint: names.get(&session.owner).cloned(),
            publication: session.publication.and_then(|number| records.get(&number).copied()),
            session,
        };
        Ok((page.into_iter().map(view).collect(), next))
    }

    fn flush_sessions(&self, endpoint: Option<&PortName>) -> Result<u64, Error> {
        Ok(self.engine.flush_sessions(self.filter(endpoint)?)?)
    }

    fn nat_use(&self) -> Result<NatUse, Error> {
        let mut stats = self.engine.edge_stats()?;
        let names = self.names();
        let counts = std::mem::take(&mut stats.per_endpoint);
        let endpoints = counts.iter().filter_map(|(port, count)| Some((names.get(port)?.clone(), *count)));
        Ok(NatUse { stats, endpoints: endpoints.collect(), limits: self.limits })
    }

    fn neighbour(
        &self,
        endpoint: Option<&EndpointRecord>,
        interface: &str,
        address: Ipv4Addr,
    ) -> Option<MacAddr> {
        let look = || edge::neighbour(interface, address);
        let found = match endpoint {
            None => look(),
            Some(it) => {
                netns::run_in(&Netns::recover(&it.sandbox, it.netns)?, look).map_err(Error::from).flatten()
            }
        };
        found.unwrap_or_else(|error| {
            tracing::debug!(interface, %address, "cannot look for a neighbour: {error}");
            None
        })
    }

    fn trace(&self, ingress: &Ingress, frame: &OwnedFrame) -> Result<TraceView, Error> {
        let uplinks = self.edge.status().uplinks;
        let port = match ingress {
            Ingress::Port(name) => self.known_port(name)?,
            Ingress::Uplink(interface) => {
                let missing =
                    || Error::Missing { what: "uplink", name: interface.clone(), list: "uplink ls" };
                uplinks.iter().find(|it| it.name == *interface).map(|it| it.port).ok_or_else(missing)?
            }
        };
        let mut trace = self.engine.trace(port, frame.clone(), None)?;
        if let Some((network, destination)) = trace.lacks {
            let route = self.edge.route(network, destination)?;
            let known = KnownRoute { network, destination, route };
            trace = self.engine.trace(port, frame.clone(), Some(known))?;
        }
        let ports = self.names().into_iter().map(|(id, name)| (id, name.to_string()));
        let resolvers = self.look(|numbers| {
            let port =
                |(name, it): (&String, &Network)| Some((it.resolver_port?, format!("resolver:{name}")));
            numbers.networks.iter().filter_map(port).collect::<Vec<_>>()
        });
        let ports = ports.chain(resolvers);
        let ports =
            ports.chain(uplinks.into_iter().map(|it| (it.port, format!("uplink:{}", it.name)))).collect();
        let networks = self.look(|numbers| {
            numbers.networks.iter().map(|(name, network)| (network.id, name.clone())).collect()
        });
        Ok(TraceView { trace, ports, networks, publications: self.publication_records() })
    }
}
