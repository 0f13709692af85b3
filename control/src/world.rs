//! The world as the [manager](crate::manager) sees it: namespaces, devices and the engine, behind one small trait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crossbeam_channel::Receiver;
use ipnet::Ipv4Net;
use pontoon_dataplane::counters::CounterSum;
use pontoon_dataplane::edge::config::Limits;
use pontoon_dataplane::edge::view::{EdgeStats, SessionView};
use pontoon_dataplane::engine::{Event, Reader};
use pontoon_dataplane::fdb::FdbStats;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::trace::{Names, Trace};
use pontoon_dataplane::{MacAddr, NetworkId, PortId};

use crate::api::types::{SandboxRef, Uplink, UplinkState};
use crate::dns::count::Count;
use crate::dns::place::Place;
use crate::dns::zone::{Asker, Zone};
use crate::error::Error;
use crate::link::Link;
use crate::netns::NetnsId;
use crate::plan::Step;
use crate::state::{PortName, RulesOf};
use crate::store::EndpointRecord;

/// What is left of an endpoint that an earlier daemon made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Its sandbox and its device.
    All,
    /// Its sandbox alone.
    Sandbox,
    /// Nothing.
    Nothing,
}

/// One FDB entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbView {
    /// The station.
    pub mac: MacAddr,
    /// The port that it is behind.
    pub port: PortName,
    /// `learned`, `sticky` or `static`.
    pub kind: &'static str,
    /// Time since its last frame; none for static entries.
    pub age: Option<Duration>,
}

/// A session, with names in place of the engine's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatView {
    /// The endpoint that it is counted for; none when it was removed.
    pub endpoint: Option<PortName>,
    /// The number of the publication's record that it came by.
    pub publication: Option<u32>,
    /// The rest.
    pub session: SessionView,
}

/// How much of NAT is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatUse {
    /// Counters; `per_endpoint` is left empty.
    pub stats: EdgeStats,
    /// Sessions of each endpoint that has some.
    pub endpoints: Vec<(PortName, u32)>,
    /// What there may be.
    pub limits: Limits,
}

/// The resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolverView {
    /// Where names can be asked for; a sandbox as it was named.
    pub places: Vec<(Place, Option<SandboxRef>)>,
    /// Whom the host asks, and whether he was silent lately.
    pub host_resolvers: Vec<(SocketAddr, bool)>,
    /// Questions to others that are under way.
    pub under_way: usize,
    /// What happened how often.
    pub counts: Vec<(Count, u64)>,
}

/// Where a frame comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingress {
    /// A port of a network.
    Port(PortName),
    /// An uplink, by its interface.
    Uplink(String),
}

/// What would become of a frame, with names for the engine's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceView {
    /// What was decided, and what would leave.
    pub trace: Trace,
    /// Ports: `NETWORK/NAME` or `uplink:IFACE`.
    pub ports: BTreeMap<PortId, String>,
    /// Networks.
    pub networks: BTreeMap<NetworkId, String>,
    /// The numbers of publications' records, by those that the edge knows.
    pub publications: BTreeMap<u32, u32>,
}

impl Names for TraceView {
    fn port(&self, id: PortId) -> String {
        self.ports.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn network(&self, id: NetworkId) -> String {
        self.networks.get(&id).cloned().unwrap_or_else(|| format!("network {}", id.0))
    }

    fn publication(&self, id: u32) -> String {
        format!("publication {}", self.publications.get(&id).unwrap_or(&id))
    }
}

/// Namespaces, devices and the engine. Everything may be called from any thread and may block.
pub trait World: Send + Sync {
    /// Takes one step. Never given [`Step::Store`].
    ///
    /// # Errors
    /// Why it could not be taken; nothing of it is left then.
    fn perform(&self, step: &Step) -> Result<(), Error>;

    /// The namespace that a sandbox is.
    ///
    /// # Errors
    /// There is none, or it is the daemon's own.
    fn sandbox(&self, sandbox: &SandboxRef) -> Result<NetnsId, Error>;

    /// The device of that name in a sandbox; in the daemon's own namespace without one.
    ///
    /// # Errors
    /// It cannot be looked for.
    fn link(&self, sandbox: Option<&SandboxRef>, name: &str) -> Result<Option<Link>, Error>;

    /// The names of a sandbox's interfaces.
    ///
    /// # Errors
    /// They cannot be listed.
    fn interface_names(&self, sandbox: &SandboxRef) -> Result<BTreeSet<String>, Error>;

    /// What is left of an endpoint.
    ///
    /// # Errors
    /// It cannot be looked for.
    fn remains(&self, endpoint: &EndpointRecord) -> Result<Remains, Error>;

    /// Where an endpoint's device is now; none when it has gone.
    fn place(&self, endpoint: &EndpointRecord) -> Option<Link>;

    /// The inode number of the daemon's own namespace; 0 when it cannot be looked at.
    fn own_netns(&self) -> u64;

    /// Whether a namespace that pontoon created is still there under its name.
    fn namespace_is(&self, name: &str, netns: NetnsId) -> bool;

    /// Ports whose sandbox has gone while the kernel could not tell the engine so. Lets go of sandboxes that only a resolver keeps alive.
    fn orphans(&self) -> Vec<PortName>;

    /// These are the names that can be asked for from now on.
    fn set_names(&self, names: Zone);

    /// The resolver as it is.
    fn resolver(&self) -> ResolverView;

    /// What the resolver says to a message of `asker`'s, and whether it has asked somebody else. Nothing when it has nothing to say.
    fn ask(&self, asker: Asker, message: &[u8]) -> Option<(Vec<u8>, bool)>;

    /// What the engine tells of its own accord.
    fn events(&self) -> Receiver<Event>;

    /// The name of the engine's port; none when it was removed.
    fn name_of(&self, id: PortId) -> Option<PortName>;

    /// Takes a port out of its network for as long as it is in a loop, or puts it back.
    ///
    /// # Errors
    /// The engine's.
    fn set_blocked(&self, port: &PortName, blocked: bool) -> Result<(), Error>;

    /// Whether a port is out of its network because it is in a loop.
    fn is_blocked(&self, port: &PortName) -> bool;

    /// The worker that reads a port; none when the engine has no such port.
    fn reader(&self, port: &PortName) -> Option<usize>;

    /// The offloads of a port; none when the engine has no such port.
    fn offloads(&self, port: &PortName) -> Option<Offloads>;

    /// A port's counters; none when the engine has no such port.
    fn counters(&self, port: &PortName) -> Option<CounterSum>;

    /// A network's FDB.
    ///
    /// # Errors
    /// The engine has no such network.
    fn fdb(&self, network: &str) -> Result<Vec<FdbView>, Error>;

    /// What a network's FDB counted.
    ///
    /// # Errors
    /// The engine has no such network.
    fn fdb_counts(&self, network: &str) -> Result<FdbStats, Error>;

    /// Forgets learned addresses of a network, or of one port of it.
    ///
    /// # Errors
    /// The engine has no such network or port.
    fn flush(&self, network: &str, port: Option<&PortName>) -> Result<(), Error>;

    /// Forgets what was learned behind ports whose link is down.
    fn forget_behind_lost_links(&self);

    /// Has a port read by another worker, if it is still there.
    fn set_reader(&self, port: PortId, reader: Reader);

    /// Forgets one learned address. Returns whether there was one.
    ///
    /// # Errors
    /// The engine has no such network.
    fn forget(&self, network: &str, mac: MacAddr) -> Result<bool, Error>;

    /// How many workers the engine has.
    fn workers(&self) -> usize;

    /// A name for the host port of a network that no interface of the host has: `wish`, if there is one.
    ///
    /// # Errors
    /// Interfaces cannot be listed, or one has the name that is wished for.
    fn free_host_interface(&self, network: &str, wish: Option<&str>) -> Result<String, Error>;

    /// Refuses a subnet that the host is on already, or whose gateway's address it has. `own` is the host port of the
    /// network, if it is there.
    ///
    /// # Errors
    /// One sentence that names the interface.
    fn check_subnet(&self, subnet: Ipv4Net, gateway: Ipv4Addr, own: Option<&str>) -> Result<(), Error>;

    /// Subnets that the host has addresses or routes in.
    ///
    /// # Errors
    /// They cannot be listed.
    fn subnets_in_use(&self) -> Result<Vec<Ipv4Net>, Error>;

    /// The MTU in bytes of what a network leaves the host by: of that interface, else of the one that the default route names; none
    /// where there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    fn default_mtu(&self, uplink: &Uplink) -> Result<Option<u32>, Error>;

    /// Whether the host has that address, 127.0.0.0/8 aside.
    fn has_address(&self, address: Ipv4Addr) -> bool;

    /// How often the host's interfaces or addresses have changed so far.
    fn interface_changes(&self) -> u64;

    /// The interfaces that networks leave by.
    fn uplinks(&self) -> Vec<UplinkState>;

    /// The counters of each uplink, by its interface.
    fn uplink_counters(&self) -> BTreeMap<String, CounterSum>;

    /// How many sessions each rule of a list decided, by the rule's own number.
    fn rule_hits(&self, of: &RulesOf) -> BTreeMap<u32, u64>;

    /// At most `max` sessions from place `from` on, of one endpoint or of all, and where to go on.
    ///
    /// # Errors
    /// The engine has ended, or has no such port.
    fn sessions(
        &self,
        endpoint: Option<&PortName>,
        from: u32,
        max: usize,
    ) -> Result<(Vec<NatView>, Option<u32>), Error>;

    /// Ends the sessions of one endpoint, or all. Returns how many there were.
    ///
    /// # Errors
    /// The engine has ended, or has no such port.
    fn flush_sessions(&self, endpoint: Option<&PortName>) -> Result<u64, Error>;

    /// How much of NAT is used.
    ///
    /// # Errors
    /// The engine has ended.
    fn nat_use(&self) -> Result<NatUse, Error>;

    /// The MAC of a station by the ARP table of an endpoint's namespace, or of the host without one, on an interface there. None where
    /// that does not know, or cannot be looked at.
    fn neighbour(
        &self,
        endpoint: Option<&EndpointRecord>,
        interface: &str,
        address: Ipv4Addr,
    ) -> Option<MacAddr>;

    /// Follows a frame through the decisions without sending it, and with nothing left of it. Where the edge lacks the kernel's route,
    /// the kernel is asked.
    ///
    /// # Errors
    /// There is no such port, or the kernel cannot be asked.
    fn trace(&self, ingress: &Ingress, frame: &OwnedFrame) -> Result<TraceView, Error>;
}
