//! The engine: workers and tables, steered by plain data.

use core::time::Duration;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::counters::CounterSum;
use crate::fdb::Fdb;
use crate::network::{Gateway, Identity, NetworkId, PortId, PortSettings};
use crate::port::Device;
use crate::time::Timestamp;

/// How an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Worker threads; 0: what is sensible for the machine.
    pub workers: usize,
    /// How long a worker that had traffic goes on looking for more before it sleeps.
    pub spin: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { workers: 0, spin: Duration::from_micros(50) }
    }
}

/// A network, as control asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The address that the core answers for.
    pub gateway: Option<Gateway>,
    /// Largest layer-3 packet in bytes that the gateway sends.
    pub mtu: u16,
    /// How long learned addresses live.
    pub ageing: Duration,
}

/// A port, as control asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Where it belongs.
    pub network: NetworkId,
    /// What it may do.
    pub settings: PortSettings,
    /// Who is behind it.
    pub identity: Option<Identity>,
    /// Largest layer-3 packet in bytes that may leave by it.
    pub mtu: u16,
}

/// What the engine tells of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The port's device has vanished (its namespace or interface was deleted). No frame enters or leaves by it any more;
    /// [`Engine::remove_port`] takes it out of the tables.
    PortLost {
        /// The port.
        port: PortId,
        /// What the system said.
        cause: String,
    },
}

/// A command that the engine could not carry out.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such network.
    #[error("the engine has no network number {}", .0.0)]
    NoSuchNetwork(NetworkId),
    /// There is no such port.
    #[error("the engine has no {0}")]
    NoSuchPort(PortId),
    /// The network still has ports.
    #[error("network number {} still has ports", .0.0)]
    NetworkInUse(NetworkId),
    /// A bound is reached.
    #[error("the engine is full: it has {limit} {what} already")]
    Full {
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A worker has died.
    #[error("a worker thread has stopped; see the log for its panic message")]
    WorkerLost,
}

/// Workers and tables. Every method is a command in plain data and may be called from any thread.
/// Dropping the engine stops the workers and closes all devices.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    /// When threads or descriptors are not to be had.
    pub fn start(config: EngineConfig) -> Result<Engine, EngineError> {
        let _ = config;
        Ok(Engine {})
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        1
    }

    /// The engine's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO
    }

    /// Events, each delivered to one receiver.
    pub fn events(&self) -> Receiver<Event> {
        crossbeam_channel::never()
    }

    /// Adds a network without ports.
    ///
    /// # Errors
    /// [`EngineError::Full`].
    pub fn add_network(&self, spec: NetworkSpec) -> Result<NetworkId, EngineError> {
        let _ = spec;
        Ok(NetworkId(0))
    }

    /// Changes a network's settings; ports and FDB stay.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn set_network(&self, id: NetworkId, spec: NetworkSpec) -> Result<(), EngineError> {
        let _ = (id, spec);
        Ok(())
    }

    /// Removes a network that has no ports.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`], [`EngineError::NetworkInUse`].
    pub fn remove_network(&self, id: NetworkId) -> Result<(), EngineError> {
        let _ = id;
        Ok(())
    }

    /// The gateway announces itself on all ports of the network (gratuitous ARP).
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn announce(&self, id: NetworkId) -> Result<(), EngineError> {
        let _ = id;
        Ok(())
    }

    /// The network's FDB, to read and to change.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn fdb(&self, id: NetworkId) -> Result<Arc<Fdb>, EngineError> {
        Err(EngineError::NoSuchNetwork(id))
    }

    /// Adds a port; frames flow when it returns.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`], [`EngineError::Full`], a device that cannot be polled.
    pub fn add_port(&self, spec: PortSpec, device: Device) -> Result<PortId, EngineError> {
        let _ = (spec, device);
        Ok(PortId(0))
    }

    /// Changes what a port may do.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), EngineError> {
        let _ = (id, settings);
        Ok(())
    }

    /// Changes who is behind a port.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_identity(&self, id: PortId, identity: Option<Identity>) -> Result<(), EngineError> {
        let _ = (id, identity);
        Ok(())
    }

    /// Removes a port and its FDB entries. When it returns no worker knows the port any more and its device is closed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn remove_port(&self, id: PortId) -> Result<(), EngineError> {
        let _ = id;
        Ok(())
    }

    /// What the port counted, over all workers.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn port_counters(&self, id: PortId) -> Result<CounterSum, EngineError> {
        let _ = id;
        Ok(CounterSum::default())
    }
}
