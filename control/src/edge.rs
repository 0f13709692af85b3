//! The edge towards the kernel: which interfaces lead out, which addresses are the host's, which way a packet goes,
//! which ports are held.
//!
//! ```text
//! kernel ──links, addresses, routes, rules──▶ watch  ──▶ EdgeConfig, "routes have changed" ──▶ engine
//! engine ──"which way?", "may I use this port?"──▶ answers ──▶ kernel, leases ──▶ engine
//! ```
//!
//! Two threads, both asleep unless the kernel or the engine has something to say. Nothing of the host's configuration is
//! written but the host ports ([`hostport`]), which are our own; netfilter is neither read nor written.

mod answers;
mod default_route;
mod filter;
pub mod holder;
pub mod hostport;
mod kernel;
pub mod lease;
mod monitor;
pub mod relay;
mod state;
mod uplinks;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use pontoon_dataplane::edge::config::{Limits, Publication, Rule, Timeouts, UplinkChoice};
use pontoon_dataplane::edge::punt::Route;
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::edge::view::SessionFilter;
use pontoon_dataplane::engine::Engine;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::{MacAddr, NetworkId, PortId};
use rustix::event::{EventfdFlags, eventfd};

use crate::error::Error;
use crate::link::Links;
use kernel::{Interface, Kernel};
use lease::{LeaseSettings, Published};
use monitor::Monitor;
use state::{Shared, State};

/// How the host's edge runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Which ports of the host NAT draws from.
    pub leases: LeaseSettings,
    /// How long idle sessions live.
    pub timeouts: Timeouts,
    /// How many sessions there may be.
    pub limits: Limits,
    /// The most that uplinks leave to the kernel.
    pub offloads: Offloads,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            leases: LeaseSettings::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            offloads: Offloads::ALL,
        }
    }
}

/// Which interfaces a network's packets may leave by, as people ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UplinkWish {
    /// Whichever the kernel's route names.
    #[default]
    Auto,
    /// The interface of this name only, whether it is there already or comes later.
    Only(String),
    /// None.
    None,
}

/// Ports of the host that shall lead to an endpoint: a [`Publication`] that has no number yet.
#[derive(Debug, Clone)]
pub struct PublicationSpec {
    /// Its name for people: whoever wants the same port is told that it has it.
    pub name: String,
    /// The address of the host that it stands on; none: every address.
    pub address: Option<Ipv4Addr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First and last port on the host.
    pub ports: (u16, u16),
    /// The endpoint's network.
    pub network: NetworkId,
    /// The endpoint's port.
    pub endpoint: PortId,
    /// The endpoint's address.
    pub to_address: Ipv4Addr,
    /// The endpoint's port that the first of `ports` leads to; the others follow.
    pub to_port: u16,
    /// Checked after the network's own. What none matches passes.
    pub rules: Arc<[Rule]>,
}

impl PublicationSpec {
    /// As the leases know it.
    fn published(&self, id: u32) -> Published {
        let Self { name, address, protocol, ports, network, to_address, to_port, .. } = self.clone();
        Published { id, name, address, protocol, ports, network, to: SocketAddrV4::new(to_address, to_port) }
    }

    /// As the data plane knows it.
    fn numbered(self, id: u32) -> Publication {
        let Self { name: _, address, protocol, ports, network, endpoint, to_address, to_port, rules } = self;
        Publication { id, address, protocol, ports, network, endpoint, to_address, to_port, rules }
    }
}

/// An uplink, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkStatus {
    /// The interface.
    pub name: String,
    /// The engine's port on it.
    pub port: PortId,
    /// Its addresses with their prefixes, primary ones first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// Whether it is up.
    pub up: bool,
}

/// The edge, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EdgeStatus {
    /// The interfaces that are open towards the outside; none as long as no network wants out.
    pub uplinks: Vec<UplinkStatus>,
    /// Every IPv4 address of the host, loopback ones left out.
    pub host_addresses: Vec<Ipv4Addr>,
}

/// Keeps the engine's edge in step with the kernel: uplinks, addresses, routes, neighbours, ports. Dropping it ends its threads.
#[derive(Debug)]
pub struct EdgeControl {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Readable when the watch shall end.
    stop_watch: Arc<OwnedFd>,
    /// Closed when the answers shall end.
    stop_answers: Option<Sender<()>>,
}

impl EdgeControl {
    /// Starts the threads, in the calling thread's network namespace.
    ///
    /// # Errors
    /// Threads or sockets are not to be had.
    pub fn start(engine: Arc<Engine>, settings: EdgeSettings) -> Result<EdgeControl, Error> {
        let netlink = "open a netlink socket";
        // Before the first look, so that no change is missed.
        let monitor = Monitor::open().map_err(cannot(netlink))?;
        let kernel = Kernel::open().map_err(cannot(netlink))?;
        let stop_watch = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop_watch = Arc::new(stop_watch.map_err(|errno| cannot("make an eventfd")(errno.into()))?);
        let (stop_answers, stopped) = bounded(0);
        let shared = Arc::new(Shared::new(engine, settings)?);
        let mut control =
            EdgeControl { shared, threads: Vec::new(), stop_watch, stop_answers: Some(stop_answers) };
        let (shared, stop) = (Arc::clone(&control.shared), Arc::clone(&control.stop_watch));
        control.spawn("edge-watch", move || watch::run(&shared, monitor, &stop))?;
        let shared = Arc::clone(&control.shared);
        control.spawn("edge-answers", move || answers::run(&shared, kernel, &stopped))?;
        Ok(control)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread =
            thread::Builder::new().name(name.into()).spawn(work).map_err(cannot("start a thread"))?;
        self.threads.push(thread);
        Ok(())
    }

    /// A network wants out by `wish` from now on, instead of what it wanted before. Opens uplinks when it is the first,
    /// closes them when it was the last, and sets [`NetworkEdge::uplinks`](pontoon_dataplane::edge::config::NetworkEdge)
    /// in the engine now and whenever the interface comes or goes. Where the host has the gateway's address (by a host port)
    /// routes are asked for in its name, so that the kernel's policy rules about the subnet hold.
    ///
    /// To be called after the engine's `add_network`, and after each `set_network`; when the host port has been made or deleted
    /// it may be called again, so that the host's addresses are known when it returns.
    ///
    /// # Errors
    /// The kernel cannot be asked, or a worker has died.
    pub fn connect(&self, network: NetworkId, gateway: Ipv4Addr, wish: UplinkWish) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if wish != UplinkWish::None {
            self.shared.hold_pool(&mut state)?;
        }
        state.connect(network, gateway, wish);
        self.shared.look(&mut state)?;
        self.shared.apply(&mut state, &BTreeSet::new())?;
        Ok(self.shared.routes_changed()?)
    }

    /// The host has a port on the network from now on, of that name, or none. Its own clients reach published ports by it alone.
    pub fn set_host_port(&self, network: NetworkId, interface: Option<&str>) {
        self.shared.leases.set_host_port(network, interface);
    }

    /// The network is gone, or about to go.
    pub fn disconnect(&self, network: NetworkId) {
        let mut state = self.shared.lock();
        if state.disconnect(network) {
            self.apply(&mut state);
        }
    }

    /// What `wish` comes to with the interfaces as they are: for the [`NetworkSpec`](pontoon_dataplane::engine::NetworkSpec)
    /// that [`EdgeControl::connect`] follows.
    pub fn choice(&self, wish: &UplinkWish) -> UplinkChoice {
        self.shared.lock().choice(wish)
    }

    /// An interface of the host is a port of some network from now on, so it is no uplink. Closes it if it is one.
    pub fn claim(&self, interface: &str) {
        let mut state = self.shared.lock();
        if state.claim(interface) {
            self.apply(&mut state);
        }
    }

    /// The interface is the host's own again.
    pub fn give_back(&self, interface: &str) {
        let mut state = self.shared.lock();
        if state.give_back(interface) {
            self.apply(&mut state);
        }
    }

    /// For changes that are made whether the kernel agrees or not; the next one tries again.
    fn apply(&self, state: &mut State) {
        let applied = self.shared.apply(state, &BTreeSet::new());
        let told = applied.and_then(|()| Ok(self.shared.routes_changed()?));
        if let Err(error) = told {
            tracing::warn!("the uplinks are not in step: {error}");
        }
    }

    /// The way that packets of a network take to a destination, asked for as the data plane asks; none: no way by an uplink.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn route(&self, network: NetworkId, destination: Ipv4Addr) -> Result<Option<Route>, Error> {
        let mut kernel = Kernel::open().map_err(cannot("open a netlink socket"))?;
        Ok(answers::route(&mut kernel, &self.shared.ways(), network, destination))
    }

    /// Holds the ports by sockets of the kernel, then has the data plane lead them to the endpoint. Returns the publication's
    /// number. Nothing of it is left when it fails.
    ///
    /// # Errors
    /// A port is taken.
    pub fn publish(&self, publication: PublicationSpec) -> Result<u32, Error> {
        let id = self.shared.lock().number();
        // Without the lock, for many sockets take their time.
        let held = self.shared.leases.publish(&publication.published(id));
        let lost = self.shared.give_up_lost()?;
        let mut state = self.shared.lock();
        if let Err(error) = held {
            if lost {
                self.shared.follow_leases(&state)?;
            }
            return Err(error.into());
        }
        state.add_publication(Arc::new(publication.numbered(id)));
        let done = self.shared.follow_leases(&state).and_then(|()| self.shared.publish_config(&state));
        drop(state);
        done.inspect_err(|_| {
            // That error is what matters.
            let _ = self.unpublish(id);
        })?;
        Ok(id)
    }

    /// Publishes anew, with other rules; the ports stay held, and the sessions end.
    ///
    /// # Errors
    /// There is none of that number, or a worker has died.
    pub fn republish(&self, id: u32, publication: PublicationSpec) -> Result<(), Error> {
        self.shared.leases.end_relayed(id);
        let mut state = self.shared.lock();
        if !state.replace_publication(Arc::new(publication.numbered(id))) {
            return Err(Error::Internal(format!("there is no publication number {id}")));
        }
        self.shared.publish_config(&state)?;
        drop(state);
        let filter = SessionFilter { publication: Some(id), ..SessionFilter::default() };
        Ok(self.shared.engine.flush_sessions(filter).map(drop)?)
    }

    /// Changes the rules of a publication; its sessions are held against them with their next packet.
    ///
    /// # Errors
    /// There is none of that number, or a worker has died.
    pub fn set_rules(&self, id: u32, rules: Arc<[Rule]>) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if !state.set_publication_rules(id, rules) {
            return Err(Error::Internal(format!("there is no publication number {id}")));
        }
        Ok(self.shared.publish_config(&state)?)
    }

    /// Takes a publication back; its sessions end. Everything is tried, whatever fails on the way.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn unpublish(&self, id: u32) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if !state.remove_publication(id) {
            return Err(Error::Internal(format!("there is no publication number {id}")));
        }
        let published = self.shared.publish_config(&state);
        drop(state);
        let filter = SessionFilter { publication: Some(id), ..SessionFilter::default() };
        let flushed = self.shared.engine.flush_sessions(filter);
        self.shared.leases.unpublish(id);
        let followed = self.shared.follow_leases(&self.shared.lock());
        Ok(published.and(flushed.map(drop)).and(followed)?)
    }

    /// Rules or links of some network have changed: sessions are held against them again.
    pub fn rules_changed(&self) {
        let mut state = self.shared.lock();
        state.change_rules();
        if let Err(error) = self.shared.publish_config(&state) {
            tracing::warn!("sessions are not held against the new rules: {error}");
        }
    }

    /// Whether the host has that address, 127.0.0.0/8 aside.
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        let ways = self.shared.ways();
        ways.host_addresses.binary_search(&address).is_ok()
            || ways.host_subnets.iter().any(|net| net.contains(&address))
    }

    /// How often the host's interfaces or addresses have changed so far.
    pub fn interface_changes(&self) -> u64 {
        self.shared.interface_changes.load(Relaxed)
    }

    /// The edge, as people see it.
    pub fn status(&self) -> EdgeStatus {
        let state = self.shared.lock();
        let status = |(port, interface): (PortId, &Interface)| UplinkStatus {
            name: interface.name.clone(),
            port,
            addresses: interface.addresses.clone(),
            mtu: interface.mtu,
            up: interface.up,
        };
        EdgeStatus {
            uplinks: state.uplinks.iter().map(status).collect(),
            host_addresses: self.shared.ways().host_addresses.clone(),
        }
    }
}

impl Drop for EdgeControl {
    fn drop(&mut self) {
        self.stop_answers = None;
        // A full eventfd is readable already, which is all that is wanted.
        let _ = rustix::io::write(&*self.stop_watch, &1u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            // A panic of it has been reported already.
            let _ = thread.join();
        }
    }
}

/// The MAC of a station on an interface by the kernel's ARP table, in the calling thread's namespace.
///
/// # Errors
/// The kernel cannot be asked.
pub fn neighbour(interface: &str, address: Ipv4Addr) -> Result<Option<MacAddr>, Error> {
    let Some(link) = Links::open()?.find(interface)? else { return Ok(None) };
    let mut kernel = Kernel::open().map_err(cannot("open a netlink socket"))?;
    kernel.known_neighbour(link.index, address).map_err(cannot("ask for a neighbour"))
}

/// A system call's error as the control plane's.
pub(crate) use default_route::mtu as default_mtu;

fn cannot(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Kernel { action, source }
}
