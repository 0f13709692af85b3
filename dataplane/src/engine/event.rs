//! What the engine tells of its own accord.

use crate::network::PortId;
use crate::storm::Loop;

/// What the engine tells of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The port's device has vanished (its namespace or interface was deleted). No frame enters or leaves by it any more;
    /// [`Engine::remove_port`](super::Engine::remove_port) takes it out of the tables.
    PortLost {
        /// The port.
        port: PortId,
        /// What the system said.
        cause: String,
    },
    /// What is flooded comes back by a port. [`Engine::set_blocked`](super::Engine::set_blocked) ends that; until then the
    /// data plane drops what the port would flood, and tells again, once a second at most.
    LoopSeen(Loop),
    /// The port had better be read by another worker: [`Engine::set_reader`](super::Engine::set_reader). Told once; if nothing
    /// is done the port goes on as it is.
    ReadElsewhere {
        /// The port.
        port: PortId,
        /// Who should read it.
        reader: Reader,
    },
    /// A worker has ended of its own accord: frames of its ports are not moved any more.
    WorkerStopped {
        /// The worker's number.
        worker: usize,
        /// What the system said.
        cause: String,
    },
}

/// Who reads a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The worker that it was given when it was added.
    Home,
    /// The edge's worker.
    Edge,
}
