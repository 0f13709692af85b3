//! Queries of a sandbox's programs to the Engine's ports, answers back. Of a query only its id is changed, for one socket
//! serves all who ask.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Place;
use super::sockets::{Found, RESOLVER, Transport, in_proc};
use crate::error::describe;
use crate::netns::{Netns, run_in};

/// The most queries of one sandbox that wait for an answer.
const MAX_PENDING: usize = 1000;
/// The most clients of one sandbox over TCP.
const MAX_CLIENTS: usize = 32;
/// How long a query may stay unread before the Engine's server is taken for one that was never started.
const UNREAD: Duration = Duration::from_secs(1);
/// How long it is taken for that before it is asked again.
const AVOID: Duration = Duration::from_secs(5);
/// How long an answer is waited for. The Engine gives up on servers outside after 4 s each, and those who ask after 5 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often what waits is looked through.
const LOOK: Duration = Duration::from_millis(50);
/// A DNS header in bytes (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// Serves until it fails.
pub(super) async fn run(
    place: Arc<Place>,
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    upstream: std::net::UdpSocket,
) -> io::Result<()> {
    let (udp, tcp, upstream) =
        (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?, UdpSocket::from_std(upstream)?);
    let mut datagrams = Datagrams {
        place: Arc::clone(&place),
        udp,
        upstream,
        pending: HashMap::new(),
        next: 0,
        engine: None,
        avoid: None,
        told: false,
    };
    tokio::try_join!(datagrams.run(), streams(place, tcp)).map(drop)
}

impl Place {
    /// The Engine's socket, if it is there.
    fn find(&self, transport: Transport) -> Option<Found> {
        let by_proc = || {
            let netns = Netns::find(&self.sandbox).ok()?;
            run_in(&netns, || in_proc(transport, RESOLVER)).ok()?.ok()?
        };
        match self.looker.find(transport) {
            Some(answer) => answer.ok()?,
            None => by_proc(),
        }
    }

    /// A TCP socket inside the sandbox.
    fn tcp_socket(&self) -> io::Result<Socket> {
        let netns = Netns::find(&self.sandbox).map_err(io::Error::other)?;
        let open = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        run_in(&netns, open).map_err(io::Error::other)?
    }
}

/// A query that waits for its answer.
struct Pending {
    client: SocketAddr,
    id: [u8; 2],
    query: Vec<u8>,
    since: Instant,
}

struct Datagrams {
    place: Arc<Place>,
    udp: UdpSocket,
    upstream: UdpSocket,
    pending: HashMap<u16, Pending>,
    next: u16,
    /// The Engine's port, once it was found.
    engine: Option<u16>,
    /// Until when nothing is asked of a server that does not read.
    avoid: Option<Instant>,
    told: bool,
}

impl Datagrams {
    async fn run(&mut self) -> io::Result<()> {
        let mut question = vec![0; 65_535];
        let mut answer = vec![0; 65_535];
        let mut clock = interval(LOOK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                query = self.udp.recv_from(&mut question) => match query {
                    Ok((len, client)) => self.ask(&question[..len], client).await,
                    // The client of an earlier answer has gone.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error),
                },
                got = self.upstream.recv(&mut answer), if self.engine.is_some() => match got {
                    Ok(len) => self.answer(&mut answer[..len]).await,
                    // It has moved: an Engine that starts again opens other ports.
                    Err(_) => self.engine = None,
                },
                _ = clock.tick(), if !self.pending.is_empty() => self.look_through().await,
            }
        }
    }

    async fn ask(&mut self, query: &[u8], client: SocketAddr) {
        let Some((&[high, low], _)) = query.split_first_chunk().filter(|_| query.len() >= HEADER) else {
            return;
        };
        let now = Instant::now();
        if self.avoid.is_some_and(|until| now < until) || self.pending.len() >= MAX_PENDING {
            return self.fail(query, client).await;
        }
        while self.pending.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let mut query = query.to_vec();
        query[..2].copy_from_slice(&number.to_be_bytes());
        self.pending.insert(number, Pending { client, id: [high, low], query, since: now });
        if self.engine.is_none() {
            self.find().await;
        } else {
            self.send(number).await;
        }
    }

    /// Looks for the Engine's port and asks it everything that waits.
    async fn find(&mut self) {
        let Some(found) = self.place.find(Transport::Udp) else { return };
        if self.upstream.connect((RESOLVER, found.port)).await.is_err() {
            return;
        }
        self.engine = Some(found.port);
        let waiting: Vec<u16> = self.pending.keys().copied().collect();
        for number in waiting {
            self.send(number).await;
        }
    }

    async fn send(&mut self, number: u16) {
        let Some(pending) = self.pending.get(&number) else { return };
        if self.upstream.send(&pending.query).await.is_err() {
            self.engine = None;
        }
    }

    async fn answer(&mut self, answer: &mut [u8]) {
        let Some((number, _)) = answer.split_first_chunk().filter(|_| answer.len() >= HEADER) else { return };
        let Some(pending) = self.pending.remove(&u16::from_be_bytes(*number)) else { return };
        answer[..2].copy_from_slice(&pending.id);
        // A client that has gone is none of our concern.
        let _ = self.udp.send_to(answer, pending.client).await;
    }

    /// Answers that the server failed (RFC 1035, 4.1.1: QR set, RCODE 2), with the question as it came.
    async fn fail(&self, query: &[u8], client: SocketAddr) {
        let mut answer = query.to_vec();
        if let [_, _, flags, code, ..] = answer.as_mut_slice() {
            *flags |= 0x80;
            *code = (*code & 0x70) | 2;
        }
        let _ = self.udp.send_to(&answer, client).await;
    }

    async fn look_through(&mut self) {
        let now = Instant::now();
        self.pending.retain(|_, it| now.duration_since(it.since) < PATIENCE);
        if self.engine.is_none() {
            return self.find().await;
        }
        let is_late = |it: &Pending| now.duration_since(it.since) >= UNREAD;
        if !self.pending.values().any(is_late) {
            return;
        }
        match self.place.find(Transport::Udp) {
            Some(found) if Some(found.port) != self.engine => self.engine = None,
            Some(found) if found.unread > 0 => self.give_up(now).await,
            // It reads, and asks elsewhere itself.
            Some(_) => {}
            None => self.engine = None,
        }
    }

    /// The Engine opened its ports and started no server on them.
    async fn give_up(&mut self, now: Instant) {
        self.avoid = Some(now + AVOID);
        if !self.told {
            self.told = true;
            let sandbox = describe(&self.place.sandbox);
            tracing::warn!(
                "the Engine serves no names in {sandbox}: it opened its ports and does not read them, as Engines from version 24 on do when they cannot set NAT up; containers there reach one another by address only"
            );
        }
        for (_, Pending { client, id, mut query, .. }) in std::mem::take(&mut self.pending) {
            query[..2].copy_from_slice(&id);
            self.fail(&query, client).await;
        }
    }
}

/// Relays clients that come by TCP: for answers that do not fit a datagram.
async fn streams(place: Arc<Place>, tcp: TcpListener) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        // Whoever comes when all places are taken waits in the kernel's queue.
        let place_taken = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        let (client, _) = match tcp.accept().await {
            Ok(accepted) => accepted,
            // The client has gone already, or descriptors are short for a while.
            Err(_) => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        while clients.try_join_next().is_some() {}
        let place = Arc::clone(&place);
        clients.spawn(async move {
            let _place_taken = place_taken;
            // Whatever goes wrong closes the connection, which tells the client.
            let _ = timeout(PATIENCE, relay(&place, client)).await;
        });
    }
}

async fn relay(place: &Arc<Place>, mut client: TcpStream) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::NotConnected);
    let inside = Arc::clone(place);
    let open = move || -> io::Result<(Found, Socket)> {
        Ok((inside.find(Transport::Tcp).ok_or_else(missing)?, inside.tcp_socket()?))
    };
    let (found, socket) = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
    let socket = TcpSocket::from_std_stream(socket.into());
    let mut engine = socket.connect((RESOLVER, found.port).into()).await?;
    copy_bidirectional(&mut client, &mut engine).await.map(drop)
}
