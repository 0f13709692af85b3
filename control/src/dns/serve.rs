//! Serving one place: a datagram socket and a listener, each with a task of its own.
//!
//! What is of our own is answered at once by the task that read the question, so that nothing which others are asked holds it up. Whatever
//! others are asked has a task of its own, and a [share](super::share). A socket that is never silent lets the others have their turn
//! after [`TURN`] messages.

mod stream;
mod waiting;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::count::{Count, Counters};
use super::decide::{Decision, decide};
use super::exchange::Health;
use super::forward::{Asked, forward};
use super::message::Transport;
use super::place::{Place, Sockets};
use super::share::{CONNECTIONS, Holder, Permit, QUESTIONS, Shares};
use super::upstreams::HostResolvers;
use super::zone::{Asker, Forwarding, PORT, Zone};
use waiting::Waiting;

/// Messages that are answered before another socket has its turn.
const TURN: usize = 32;

/// Datagrams that are read before the first of them is answered.
const AT_ONCE: usize = 1_024;

/// No query is longer: a name of 255 bytes, and options.
const LONGEST_QUERY: usize = 2_048;

/// How long a socket that fails is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// What all places share.
#[derive(Debug)]
pub(super) struct Shared {
    zone: RwLock<Arc<Zone>>,
    pub(super) counters: Counters,
    pub(super) questions: Shares,
    connections: Shares,
    health: Mutex<Health>,
    host: Mutex<HostResolvers>,
}

impl Shared {
    pub(super) fn new(host: HostResolvers) -> Shared {
        Shared {
            zone: RwLock::default(),
            counters: Counters::default(),
            questions: Shares::new(QUESTIONS),
            connections: Shares::new(CONNECTIONS),
            health: Mutex::default(),
            host: Mutex::new(host),
        }
    }

    pub(super) fn zone(&self) -> Arc<Zone> {
        Arc::clone(&self.zone.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_zone(&self, zone: Zone) {
        *self.zone.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(zone);
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those whom the host asks.
    pub(super) fn hosts(&self) -> Vec<SocketAddr> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).now().to_vec()
    }

    /// Whom `asker` may ask for what is elsewhere, the best first.
    pub(super) fn upstreams(&self, asker: &Asker) -> Vec<SocketAddr> {
        let zone = self.zone();
        let mut upstreams = match zone.forwarding(asker) {
            Forwarding::No => Vec::new(),
            Forwarding::To(upstreams) => upstreams.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect(),
            Forwarding::ToTheHosts => self.hosts(),
        };
        upstreams.retain(|upstream| !zone.is_loop(asker, *upstream));
        self.health().order(Instant::now(), &mut upstreams);
        upstreams
    }

    /// What is said to a message at once, or what others are to be asked. Counts it.
    pub(super) fn receive(&self, asker: &Asker, transport: Transport, message: &[u8]) -> Reaction {
        self.counters.count(match transport {
            Transport::Udp => Count::Udp,
            Transport::Tcp => Count::Tcp,
        });
        let zone = self.zone();
        match decide(&zone, asker, transport, message) {
            Decision::Answer(answer, count) => {
                self.counters.count(count);
                Reaction::Say(answer)
            }
            Decision::Ignore(count) => {
                self.counters.count(count);
                Reaction::Nothing
            }
            Decision::Forward(query) => match self.questions.take(holder(&zone, asker)) {
                Some(permit) => Reaction::Ask(Asked { query, message: message.to_vec() }, permit),
                None => {
                    self.counters.count(Count::TooMany);
                    Reaction::Say(query.answer(ResponseCode::ServFail, Vec::new(), query.room(transport)))
                }
            },
        }
    }
}

/// What a message leads to.
pub(super) enum Reaction {
    Say(Vec<u8>),
    Ask(Asked, Permit),
    Nothing,
}

/// Whom something is counted for that `asker` takes up.
fn holder(zone: &Zone, asker: &Asker) -> Holder {
    match (zone.identity(asker), asker) {
        (Some(netns), _) => Holder::Sandbox(netns),
        (None, Asker::Sandbox(netns)) => Holder::Sandbox(*netns),
        (None, Asker::Station { network, .. }) => Holder::Strangers(network.clone()),
    }
}

/// Who asks at a place, from `address`.
fn asker(place: &Place, address: Ipv4Addr) -> Asker {
    match place {
        Place::Gateway(network) => Asker::Station { network: network.clone(), address },
        Place::Sandbox(netns) => Asker::Sandbox(*netns),
    }
}

/// Serves a place for ever.
///
/// # Errors
/// The sockets cannot be served.
pub(super) async fn serve(shared: Arc<Shared>, place: Place, sockets: Sockets) -> io::Result<()> {
    let Sockets { datagrams, listener } = sockets;
    let datagrams = Arc::new(UdpSocket::from_std(datagrams)?);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::join!(serve_datagrams(&shared, &place, &datagrams), stream::serve(&shared, &place, &listener));
    Ok(())
}

async fn serve_datagrams(shared: &Arc<Shared>, place: &Place, socket: &Arc<UdpSocket>) {
    let mut under_way = JoinSet::new();
    let mut waiting = Waiting::default();
    let mut buffer = vec![0; LONGEST_QUERY];
    loop {
        // Only a runtime that ends fails here.
        if socket.readable().await.is_err() {
            return;
        }
        let mut has_more = true;
        while has_more {
            if let Err(error) = read_all(shared, socket, &mut waiting, &mut buffer) {
                tracing::warn!(%place, %error, "cannot receive questions");
                tokio::time::sleep(PAUSE).await;
            }
            for _ in 0..TURN {
                let Some((from, message)) = waiting.pop() else {
                    has_more = false;
                    break;
                };
                let asker = asker(place, *from.ip());
                match shared.receive(&asker, Transport::Udp, &message) {
                    Reaction::Say(answer) => send(shared, socket, &answer, from.into()),
                    Reaction::Nothing => {}
                    Reaction::Ask(asked, permit) => {
                        let (shared, socket) = (Arc::clone(shared), Arc::downgrade(socket));
                        under_way.spawn(answer_later(shared, socket, asker, asked, permit, from.into()));
                    }
                }
            }
            while under_way.try_join_next().is_some() {}
            tokio::task::yield_now().await;
        }
    }
}

/// Reads what has come, [`AT_ONCE`] at most.
fn read_all(shared: &Shared, socket: &UdpSocket, waiting: &mut Waiting, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..AT_ONCE {
        match socket.try_recv_from(buffer) {
            Ok((length, SocketAddr::V4(from))) => {
                if !waiting.push(from, buffer.get(..length).unwrap_or_default()) {
                    shared.counters.count(Count::Overrun);
                }
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks others and says what they have answered. Does not keep the socket: a place that is closed is closed at once.
async fn answer_later(
    shared: Arc<Shared>,
    socket: Weak<UdpSocket>,
    asker: Asker,
    asked: Asked,
    permit: Permit,
    from: SocketAddr,
) {
    let answer = forward(&shared, &asker, Transport::Udp, &asked).await;
    drop(permit);
    if let Some(socket) = socket.upgrade() {
        send(&shared, &socket, &answer, from);
    }
}

fn send(shared: &Shared, socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    // Whoever asked asks again; to wait for room would hold up the others.
    if answer.is_empty() || socket.try_send_to(answer, to).is_err() {
        shared.counters.count(Count::Unsent);
    }
}
