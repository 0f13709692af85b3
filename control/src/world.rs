//! The world as the [manager](crate::manager) sees it: namespaces, devices and the engine, behind one small trait.

use std::time::Duration;

use crossbeam_channel::Receiver;
use pontoon_dataplane::counters::CounterSum;
use pontoon_dataplane::engine::Event;
use pontoon_dataplane::fdb::FdbStats;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::{MacAddr, PortId};

use crate::api::types::SandboxRef;
use crate::error::Error;
use crate::link::Link;
use crate::netns::NetnsId;
use crate::plan::Step;
use crate::state::PortName;
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

    /// What is left of an endpoint.
    ///
    /// # Errors
    /// It cannot be looked for.
    fn remains(&self, endpoint: &EndpointRecord) -> Result<Remains, Error>;

    /// Whether a namespace that pontoon created is still there under its name.
    fn namespace_is(&self, name: &str, netns: NetnsId) -> bool;

    /// Ports whose sandbox has gone while the kernel could not tell the engine so.
    fn orphans(&self) -> Vec<PortName>;

    /// What the engine tells of its own accord.
    fn events(&self) -> Receiver<Event>;

    /// The name of the engine's port; none when it was removed.
    fn name_of(&self, id: PortId) -> Option<PortName>;

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

    /// Forgets one learned address. Returns whether there was one.
    ///
    /// # Errors
    /// The engine has no such network.
    fn forget(&self, network: &str, mac: MacAddr) -> Result<bool, Error>;

    /// How many workers the engine has.
    fn workers(&self) -> usize;
}
