//! The relay: clients on the host itself reach a published port by the very socket that holds it.
//!
//! What arrives on any interface but loopback never gets here: the socket's filter drops it, and the data plane translates what
//! uplinks bring. What the host sends to an address of its own, 127.0.0.1 or another, is carried to the endpoint by connections
//! that are bound to the host's port on its network, whatever the host's routes say; the endpoint sees the gateway's address, as
//! behind docker's userland proxy. Where the host has no port on the network its clients are reset.
//!
//! All sockets are in one epoll set that one task looks at. A published port costs its socket and four bytes;
//! each TCP connection is a task, UDP needs none. Bounds ([`Limits`]): connections and UDP flows, for each
//! publication and in all, so that neither one client nor one publication uses up the memory and the open files of the rest. A TCP
//! client above the bound is reset; of UDP flows the one that has been idle longest gives way.
//!
//! The host is held against no rules, as where it speaks to an endpoint by its own address: rules decide what reaches the host
//! and never what it began. So `--allow 192.0.2.0/24` does not lock the host out of its own port, as people know it from docker.

mod sys;
mod tcp;
mod udp;

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pontoon_dataplane::NetworkId;
use pontoon_dataplane::edge::tuple::Protocol;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::lease::Published;
use udp::Flows;

/// How much is carried at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// TCP connections in all: two open files and 32 KiB each.
    pub connections: usize,
    /// TCP connections of one publication.
    pub connections_each: usize,
    /// How long an endpoint may take to accept a connection.
    pub connect: Duration,
    /// UDP flows in all: one open file each.
    pub flows: usize,
    /// UDP flows of one publication.
    pub flows_each: usize,
    /// How long a UDP flow lives without a datagram.
    pub idle: Duration,
}

impl Limits {
    /// What so many open files allow, within reason. Half of each kind is for one publication.
    pub fn for_files(files: usize) -> Limits {
        let most = (files / 3).clamp(1, 2_048);
        Limits {
            connections: most,
            connections_each: most.div_ceil(2),
            connect: Duration::from_secs(10),
            flows: most,
            flows_each: most.div_ceil(2),
            // As the edge's own sessions (RFC 4787, REQ-5).
            idle: Duration::from_secs(300),
        }
    }

    /// How many open files all of that needs at most.
    pub fn files(&self) -> usize {
        2 * self.connections + self.flows
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::for_files(usize::MAX)
    }
}

/// How much is carried for clients on the host itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// TCP connections.
    pub connections: usize,
    /// UDP flows.
    pub flows: usize,
}

/// Events that are looked at before other tasks have their turn.
const EVENTS: usize = 64;

/// Connections or datagrams that one socket may bring before the next has its turn.
const TURN: usize = 16;

/// Why nothing is carried to a network that the host has no port on.
const AWAY: &str = "the host has no port on the endpoint's network (--host-access=false)";

/// The relay and the thread that it runs on, in the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Relay {
    /// Starts one that has nothing to do yet.
    ///
    /// # Errors
    /// The system's error: no thread, no epoll set.
    pub(crate) fn start(limits: Limits) -> io::Result<Relay> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("pontoon-relay")
            .enable_all()
            .build()?;
        let set = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let shared = Arc::new(Shared {
            set: Arc::clone(&set),
            limits,
            room: Arc::new(Semaphore::new(limits.connections)),
            complaints: Complaints::default(),
            state: Mutex::new(State {
                listeners: HashMap::new(),
                host_ports: HashMap::new(),
                flows: Flows::new(limits),
                spare: spare(),
            }),
        });
        let entered = runtime.enter();
        let set = sys::watch(set)?;
        runtime.spawn(serve(Arc::clone(&shared), set));
        drop(entered);
        Ok(Relay { shared, runtime: Some(runtime) })
    }

    /// Serves clients of a publication by the sockets that hold its ports, in their order.
    ///
    /// # Errors
    /// The system's error, and the sockets as they were.
    pub(crate) fn add(
        &self,
        published: Published,
        sockets: Vec<Socket>,
    ) -> Result<(), (io::Error, Vec<Socket>)> {
        let id = published.id;
        let mut state = self.shared.state();
        for (index, socket) in (0..).zip(&sockets) {
            let token = Token::Listener { id, index }.pack();
            if let Err(error) = epoll::add(&self.shared.set, socket, token, epoll::EventFlags::IN) {
                forget(&self.shared.set, &sockets);
                return Err((error.into(), sockets));
            }
        }
        state.listeners.insert(id, Listener { published, sockets, connections: JoinSet::new() });
        Ok(())
    }

    /// Carries by that interface from now on what goes to the network; nothing without one. What another carries ends.
    pub(crate) fn set_host_port(&self, network: NetworkId, interface: Option<&str>) {
        let state = &mut *self.shared.state();
        let interface: Option<Arc<str>> = interface.map(Into::into);
        if state.host_ports.get(&network) == interface.as_ref() {
            return;
        }
        match interface {
            Some(interface) => state.host_ports.insert(network, interface),
            None => state.host_ports.remove(&network),
        };
        for listener in state.listeners.values_mut().filter(|it| it.published.network == network) {
            listener.end_carried(&mut state.flows);
        }
    }

    /// Ends all that is carried for a publication; its sockets stay.
    pub(crate) fn end_carried(&self, id: u32) {
        let state = &mut *self.shared.state();
        if let Some(listener) = state.listeners.get_mut(&id) {
            listener.end_carried(&mut state.flows);
        }
    }

    /// Ends all that is carried for a publication; its sockets, in the order of its ports.
    pub(crate) fn remove(&self, id: u32) -> Vec<Socket> {
        let mut state = self.shared.state();
        state.flows.close_all(id);
        let Some(Listener { sockets, connections, .. }) = state.listeners.remove(&id) else {
            return Vec::new();
        };
        forget(&self.shared.set, &sockets);
        // Aborts its connections, which are reset.
        drop(connections);
        sockets
    }

    /// How much is carried.
    pub(crate) fn carried(&self) -> Carried {
        let connections = self.shared.limits.connections - self.shared.room.available_permits();
        Carried { connections, flows: self.shared.state().flows.len() }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.listeners.clear();
        state.flows.clear();
        drop(state);
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops us may be on a runtime's thread, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

fn forget(set: &OwnedFd, sockets: &[Socket]) {
    for socket in sockets {
        // One that is not in the set is as good.
        let _ = epoll::delete(set, socket);
    }
}

/// What the task and the relay's owner share.
#[derive(Debug)]
struct Shared {
    set: Arc<OwnedFd>,
    limits: Limits,
    /// A permit for each connection.
    room: Arc<Semaphore>,
    complaints: Complaints,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    listeners: HashMap<u32, Listener>,
    /// The interfaces by which the host is on networks.
    host_ports: HashMap<NetworkId, Arc<str>>,
    flows: Flows,
    /// Given up for a moment to accept, and reset, a connection when no more files can be opened.
    spare: Option<OwnedFd>,
}

/// A publication and the sockets that hold its ports.
#[derive(Debug)]
struct Listener {
    published: Published,
    sockets: Vec<Socket>,
    connections: JoinSet<()>,
}

impl Listener {
    fn end_carried(&mut self, flows: &mut Flows) {
        flows.close_all(self.published.id);
        // Aborts the connections, which are reset.
        self.connections = JoinSet::new();
    }

    /// Where the socket of that number leads to.
    fn target(&self, index: u16) -> SocketAddrV4 {
        let to = self.published.to;
        SocketAddrV4::new(*to.ip(), to.port().wrapping_add(index))
    }
}

/// What an event of the set is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A published port of the publication `id`.
    Listener { id: u32, index: u16 },
    /// The endpoint's side of a UDP flow.
    Flow(u32),
}

impl Token {
    const FLOW: u64 = 1 << 63;

    fn pack(self) -> epoll::EventData {
        epoll::EventData::new_u64(match self {
            Token::Listener { id, index } => (u64::from(id) << 16) | u64::from(index),
            Token::Flow(number) => Self::FLOW | u64::from(number),
        })
    }

    #[allow(clippy::cast_possible_truncation, reason = "each part is cut out as it was put in")]
    fn unpack(data: epoll::EventData) -> Token {
        let bits = data.u64();
        if bits & Self::FLOW != 0 {
            Token::Flow(bits as u32)
        } else {
            Token::Listener { id: (bits >> 16) as u32, index: bits as u16 }
        }
    }
}

/// Looks at the sockets for ever.
async fn serve(shared: Arc<Shared>, set: AsyncFd<Arc<OwnedFd>>) {
    let mut sweep = tokio::time::interval(shared.limits.idle / 4);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Nothing ticks while there is nothing to expire.
        let has_flows = shared.state().flows.len() > 0;
        tokio::select! {
            ready = set.readable() => {
                let Ok(mut ready) = ready else { return };
                if !shared.turn() {
                    ready.clear_ready();
                }
                tokio::task::yield_now().await;
            }
            _ = sweep.tick(), if has_flows => shared.state().flows.expire(Instant::now()),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what there is to do; false: there was nothing.
    fn turn(self: &Arc<Self>) -> bool {
        let mut space = [MaybeUninit::uninit(); EVENTS];
        let events = match epoll::wait(&self.set, &mut space, Some(&Timespec::default())) {
            Ok(([], _)) => return false,
            Ok((events, _)) => events,
            Err(Errno::INTR) => return true,
            Err(error) => {
                self.complaints.say(|| format!("cannot wait for local clients: {error}"));
                return false;
            }
        };
        let state = &mut *self.state();
        for event in events.iter() {
            // One that is gone since is passed over.
            match Token::unpack(event.data) {
                Token::Listener { id, index } => {
                    let Some(listener) = state.listeners.get_mut(&id) else { continue };
                    let by = state.host_ports.get(&listener.published.network);
                    if listener.published.protocol == Protocol::Tcp {
                        tcp::accept(self, listener, index, by, &mut state.spare);
                    } else {
                        state.flows.pass_on(self, listener, index, by);
                    }
                }
                Token::Flow(number) => state.flows.answer(number, &state.listeners),
            }
        }
        true
    }
}

/// A file that can be done without.
fn spare() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

/// Warnings, at most one in ten seconds.
#[derive(Debug, Default)]
struct Complaints(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn say(&self, sentence: impl FnOnce() -> String) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < Duration::from_secs(10)) {
            told.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut told.unsaid);
        told.last = Some(Instant::now());
        match unsaid {
            0 => tracing::warn!("{}", sentence()),
            more => tracing::warn!("{} (and {more} other failures for local clients before)", sentence()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        for token in [
            Token::Listener { id: 0, index: 0 },
            Token::Listener { id: u32::MAX, index: 1 },
            Token::Listener { id: 1, index: u16::MAX },
            Token::Flow(0),
            Token::Flow(u32::MAX),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
