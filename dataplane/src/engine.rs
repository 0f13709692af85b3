//! The engine: workers and tables, steered by plain data.
//!
//! Control's commands change the engine's tables under a lock that no worker ever takes; what workers see is the next
//! snapshot. A command that takes something away returns only when every worker has let go of it.

mod event;
mod spec;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::counters::CounterSum;
use crate::edge::config::{EdgeConfig, UplinkChoice};
use crate::edge::punt::{Answer, Request};
use crate::edge::view::{EdgeStats, SessionFilter, SessionView};
use crate::fdb::Fdb;
use crate::network::{Identity, NetworkId, Place, PortId, PortSettings};
use crate::port::Device;
use crate::port::memory::OwnedFrame;
use crate::port::packet::SockFilter;
use crate::time::Timestamp;
use crate::trace::{KnownRoute, Trace};
use crate::worker::{
    Command, Gone, Inspect, Placement, PortIo, Post, Wake, Worker, WorkerSetup, hand_overs, mailbox, settle,
};
pub use event::{Event, Reader};
pub use spec::{NetworkSpec, PortSpec};
use tables::Tables;

/// How an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Worker threads; 0: what is sensible for the machine.
    pub workers: usize,
    /// How long a worker that had traffic goes on looking for more before it sleeps.
    pub spin: Duration,
    /// The workers' nice value, -20 to 19, where the process may set it. The kernel's bridge works in softirqs, which go before every
    /// thread; a worker that every woken receiver pushes off its CPU moves fewer small frames.
    pub niceness: i32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { workers: 0, spin: Duration::from_micros(50), niceness: -5 }
    }
}

/// More threads than this do not help anyone.
pub const MAX_WORKERS: usize = 64;

/// Requests of the edge that control has not yet looked at.
const MAX_WAITING_REQUESTS: usize = 1024;

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
pub struct Engine {
    epoch: Instant,
    workers: Vec<WorkerHandle>,
    events: Receiver<Event>,
    requests: Receiver<Request>,
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct WorkerHandle {
    post: Post<Command>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    fn start(post: Post<Command>, setup: WorkerSetup) -> std::io::Result<Self> {
        let number = setup.number;
        let worker = Worker::new(setup)?;
        let thread =
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || worker.run())?;
        Ok(Self { post, thread: Some(thread) })
    }

    fn tell(&self, command: Command) -> Result<(), EngineError> {
        Ok(self.post.tell(command)?)
    }
}

impl From<Gone> for EngineError {
    fn from(Gone: Gone) -> EngineError {
        EngineError::WorkerLost
    }
}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    /// When threads or descriptors are not to be had.
    pub fn start(config: EngineConfig) -> Result<Engine, EngineError> {
        let count = if config.workers == 0 { sensible_workers() } else { config.workers.min(MAX_WORKERS) };
        let system = |source| EngineError::System { action: "start a worker thread", source };
        let epoch = Instant::now();
        let (event_sender, events) = unbounded();
        let (request_sender, requests) = bounded(MAX_WAITING_REQUESTS);
        let wakes = (0..count).map(|_| Wake::new().map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let wakes = wakes.map_err(system)?;
        let hand_overs = hand_overs(&wakes);
        let cpus = cpus();
        let workers = (wakes.into_iter().zip(hand_overs).enumerate())
            .map(|(number, (wake, handover))| {
                let (post, mailbox) = mailbox(wake);
                let setup = WorkerSetup {
                    number,
                    mailbox,
                    events: event_sender.clone(),
                    requests: request_sender.clone(),
                    handover,
                    placement: Placement::new(number, count, cpus),
                    epoch,
                    spin: config.spin,
                    niceness: config.niceness,
                };
                WorkerHandle::start(post, setup).map_err(system)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Engine { epoch, workers, events, requests, tables: Mutex::new(Tables::new(count)) })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The engine's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.epoch.elapsed().as_millis() as u64)
    }

    /// Events, each delivered to one receiver.
    pub fn events(&self) -> Receiver<Event> {
        self.events.clone()
    }

    /// What the edge wants to know, each request delivered to one receiver; [`Engine::answer`] tells it. What does not
    /// fit is dropped: the edge asks again.
    pub fn requests(&self) -> Receiver<Request> {
        self.requests.clone()
    }

    /// Adds a network without ports.
    ///
    /// # Errors
    /// [`EngineError::Full`].
    pub fn add_network(&self, spec: NetworkSpec) -> Result<NetworkId, EngineError> {
        let mut tables = self.lock();
        let id = tables.add_network(spec)?;
        self.publish(&mut tables)?;
        Ok(id)
    }

    /// Changes a network's settings; ports and FDB stay.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn set_network(&self, id: NetworkId, spec: NetworkSpec) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.set_network(id, spec)?;
        self.publish(&mut tables)
    }

    /// Changes which uplinks a network's packets may leave by.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn set_uplinks(&self, id: NetworkId, uplinks: UplinkChoice) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.set_uplinks(id, uplinks)?;
        self.publish(&mut tables)
    }

    /// Removes a network that has no ports.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`], [`EngineError::NetworkInUse`].
    pub fn remove_network(&self, id: NetworkId) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.remove_network(id)?;
        self.publish(&mut tables)
    }

    /// The gateway announces itself on all ports of the network (gratuitous ARP).
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn announce(&self, id: NetworkId) -> Result<(), EngineError> {
        self.lock().network(id)?;
        // One worker is enough: any worker sends by any port.
        self.edge_worker()?.tell(Command::Announce(id))
    }

    /// The network's FDB, to read and to change.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`].
    pub fn fdb(&self, id: NetworkId) -> Result<Arc<Fdb>, EngineError> {
        Ok(Arc::clone(&self.lock().network(id)?.fdb))
    }

    /// Changes what the edge decides by.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`].
    pub fn set_edge(&self, edge: EdgeConfig) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.set_edge(edge);
        self.publish(&mut tables)
    }

    /// Tells the edge something that it asked for, or that has changed.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`].
    pub fn answer(&self, answer: Answer) -> Result<(), EngineError> {
        self.edge_worker()?.tell(Command::Answer(answer))
    }

    /// At most `max` sessions that pass `filter`, from number `from` on, and where to go on.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`].
    pub fn sessions(
        &self,
        filter: SessionFilter,
        from: u32,
        max: usize,
    ) -> Result<(Vec<SessionView>, Option<u32>), EngineError> {
        let (mut views, mut from) = (Vec::new(), Some(from));
        while let Some(place) = from.filter(|_| views.len() < max) {
            let max = max - views.len();
            let (page, next) = self.inspect(|reply| Inspect::Page { filter, from: place, max, reply })?;
            views.extend(page);
            from = next;
        }
        Ok((views, from))
    }

    /// Ends the sessions that pass `filter`. Returns how many there were.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`].
    pub fn flush_sessions(&self, filter: SessionFilter) -> Result<u64, EngineError> {
        let (mut ended, mut from) = (0, Some(0));
        while let Some(place) = from {
            let (more, next) = self.inspect(|reply| Inspect::Flush { filter, from: place, reply })?;
            ended += more;
            from = next;
        }
        Ok(ended)
    }

    /// How much of the edge is used.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`].
    pub fn edge_stats(&self) -> Result<EdgeStats, EngineError> {
        self.inspect(|reply| Inspect::Stats { reply })
    }

    /// Decides about a frame as if it had come in by `ingress`, tells how, and changes nothing: see [`trace`](crate::trace). Where the
    /// edge lacks a route, `known` serves in its place.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`].
    pub fn trace(
        &self,
        ingress: PortId,
        frame: OwnedFrame,
        known: Option<KnownRoute>,
    ) -> Result<Trace, EngineError> {
        // Whoever reads the port counts what it floods.
        let reader = self.lock().reader(ingress);
        let floods = match self.workers.get(reader).filter(|_| reader != 0) {
            Some(worker) => Some(ask(worker, |reply| Inspect::Floods { port: ingress, reply })?),
            None => None,
        };
        self.inspect(|reply| Inspect::Trace { ingress, frame, known, floods, reply })
    }

    /// One short piece of work of the edge's worker, and what came of it.
    fn inspect<T>(&self, what: impl FnOnce(Sender<T>) -> Inspect) -> Result<T, EngineError> {
        ask(self.edge_worker()?, what)
    }

    /// Adds a port; frames flow when it returns.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`], [`EngineError::Full`].
    pub fn add_port(&self, spec: PortSpec, device: Device) -> Result<PortId, EngineError> {
        let mut tables = self.lock();
        let (id, home) = tables.add_port(spec, device.own_mac())?;
        let io = Arc::new(PortIo::new(id, device));
        tables.set_device(id, Some(Arc::clone(&io)));
        // Every worker must know the port before one of them learns from it.
        self.publish(&mut tables)?;
        self.worker(home)?.tell(Command::Own(io))?;
        Ok(id)
    }

    /// Changes what a port may do.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.port_mut(id)?.settings = settings;
        self.publish(&mut tables)
    }

    /// Blocks a member of a network that is in a loop, or lets it take part again. Nothing comes in by a blocked port, and nothing is flooded
    /// to it; what was learned behind it is forgotten. Ports that are no members are never in a loop.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_blocked(&self, id: PortId, blocked: bool) -> Result<(), EngineError> {
        let mut tables = self.lock();
        let Some(network) = tables.set_blocked(id, blocked)? else { return Ok(()) };
        let fdb = Arc::clone(&tables.network(network)?.fdb);
        self.publish(&mut tables)?;
        if blocked {
            fdb.flush_learned(Some(id));
        }
        Ok(())
    }

    /// Forgets what was learned behind ports whose link is down, as bridges do (net/bridge/br_stp_if.c, br_stp_disable_port); static
    /// entries stay. No device of all kinds tells of it, so it is looked for when this is called.
    pub fn forget_behind_lost_links(&self) {
        // Devices are asked without the lock that control's changes wait for.
        let stations = self.lock().ports_with_stations();
        for (io, fdb) in stations.into_iter().filter(|(io, _)| !io.device.has_link()) {
            fdb.flush_learned(Some(io.id));
        }
    }

    /// Whether a port is blocked.
    pub fn is_blocked(&self, id: PortId) -> bool {
        self.lock().port(id).is_ok_and(|port| matches!(port.place, Place::Blocked(_)))
    }

    /// The number of the worker that reads a port; none when there is no such port.
    pub fn reader(&self, id: PortId) -> Option<usize> {
        let tables = self.lock();
        tables.port(id).is_ok().then(|| tables.reader(id))
    }

    /// Exchanges what an uplink's port hears; see [`Packet::set_filter`](crate::port::packet::Packet::set_filter).
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`], [`EngineError::System`] when the kernel does not take the program.
    pub fn set_filter(&self, id: PortId, program: &[SockFilter]) -> Result<(), EngineError> {
        let device = self.lock().device(id)?;
        let system = |source| EngineError::System { action: "set the filter of an uplink", source };
        device.device.set_filter(program).map_err(system)
    }

    /// Changes who is behind a port.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_identity(&self, id: PortId, identity: Option<Identity>) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.port_mut(id)?.identity = identity.map(Arc::new);
        self.publish(&mut tables)
    }

    /// Changes the largest layer-3 packet in bytes that may leave by a port.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_mtu(&self, id: PortId, mtu: u16) -> Result<(), EngineError> {
        let mut tables = self.lock();
        tables.port_mut(id)?.mtu = mtu;
        self.publish(&mut tables)
    }

    /// Removes a port and its FDB entries. When it returns no worker knows the port any more and its device is closed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn remove_port(&self, id: PortId) -> Result<(), EngineError> {
        let mut tables = self.lock();
        let network = tables.port(id)?.place.home();
        let fdb = network.map(|network| tables.network(network).map(|it| Arc::clone(&it.fdb))).transpose()?;
        tables.remove_port(id)?;
        for worker in &self.workers {
            worker.tell(Command::Disown(id))?;
        }
        self.publish(&mut tables)?;
        // Frames of the port may still be on their way to the edge's worker: its number must not be given anew before.
        self.settle(std::slice::from_ref(self.edge_worker()?))?;
        // Only now is it certain that no worker learns from the port any more.
        if let Some(fdb) = fdb {
            fdb.flush_port(id);
        }
        Ok(())
    }

    /// Has a port read by another worker. No frame is lost or overtakes another: the one lets go, and all that it handed over has gone on, before
    /// the other begins.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn set_reader(&self, id: PortId, reader: Reader) -> Result<(), EngineError> {
        let mut tables = self.lock();
        let io = tables.device(id)?;
        let (from, to) = tables.set_reader(id, reader);
        if from == to {
            return Ok(());
        }
        let (from, guest) = (self.worker(from)?, reader != Reader::Home);
        from.tell(Command::Disown(id))?;
        // It has let go when it answers this.
        let floods = ask(from, |reply| Inspect::Floods { port: id, reply })?;
        self.settle(std::slice::from_ref(self.edge_worker()?))?;
        self.worker(to)?.tell(Command::TakeOver { io, floods, guest })
    }

    /// What the port counted, over all workers.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPort`].
    pub fn port_counters(&self, id: PortId) -> Result<CounterSum, EngineError> {
        let counters = Arc::clone(&self.lock().port(id)?.counters);
        Ok(CounterSum::of(&counters))
    }

    /// Hands every worker the tables as they are now, and waits until all have taken them.
    fn publish(&self, tables: &mut Tables) -> Result<(), EngineError> {
        let (snapshot, devices) = tables.snapshot();
        for worker in &self.workers {
            let (snapshot, devices) = (Arc::clone(&snapshot), Arc::clone(&devices));
            worker.tell(Command::Publish { snapshot, devices })?;
        }
        self.settle(&self.workers)
    }

    /// Waits until these workers have carried out everything so far.
    fn settle(&self, workers: &[WorkerHandle]) -> Result<(), EngineError> {
        Ok(settle(workers.iter().map(|worker| &worker.post), Command::Ack)?)
    }

    /// The worker that owns the edge.
    fn edge_worker(&self) -> Result<&WorkerHandle, EngineError> {
        self.worker(0)
    }

    fn worker(&self, number: usize) -> Result<&WorkerHandle, EngineError> {
        self.workers.get(number).ok_or(EngineError::WorkerLost)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // Every change is made whole before anything can panic, so the tables of a poisoned lock are sound.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in &self.workers {
            let _ = worker.tell(Command::Stop);
        }
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// One short piece of work of a worker, and what came of it.
fn ask<T>(worker: &WorkerHandle, what: impl FnOnce(Sender<T>) -> Inspect) -> Result<T, EngineError> {
    let (reply, answer) = bounded(1);
    worker.tell(Command::Inspect(what(reply)))?;
    answer.recv().map_err(|_| EngineError::WorkerLost)
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Two, so that who sends and who answers find one on either of two CPUs; of a large machine a quarter, for senders and receivers need the
/// rest. Where two are too many, one of them gives its ports away ([`Event::ReadElsewhere`]).
fn sensible_workers() -> usize {
    let cpus = cpus();
    (cpus / 4).clamp(cpus.min(2), 8)
}
