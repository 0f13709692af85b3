//! Asking others: does what an [exchange](super::exchange) says.
//!
//! Every question has a socket of its own, so that its port is as random as its id (RFC 5452, section 9.2), connected, so that nobody but
//! who was asked can answer. A question that came by TCP is asked by TCP: who had to ask again for the answer was too long
//! gets it whole. Sockets are made in the daemon's own namespace, where 127.0.0.53 is the host's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::sleep_until;

use super::count::Count;
use super::exchange::{Exchange, Next};
use super::message::{Query, Transport, set_id};
use super::serve::Shared;
use super::zone::Asker;

/// A question for others.
pub(super) struct Asked {
    /// What is asked.
    pub(super) query: Query,
    /// The message as it came.
    pub(super) message: Vec<u8>,
}

/// What is said to `asker`, after others were asked.
pub(super) async fn forward(shared: &Shared, asker: &Asker, transport: Transport, asked: &Asked) -> Vec<u8> {
    let query = &asked.query;
    let failed = || query.answer(ResponseCode::ServFail, Vec::new(), query.room(transport));
    let upstreams = shared.upstreams(asker);
    if upstreams.is_empty() {
        shared.counters.count(Count::NoUpstream);
        return failed();
    }
    shared.counters.count(Count::Forwarded);
    match ask(shared, transport, asked, upstreams).await {
        Some(answer) => {
            shared.counters.count(Count::ForwardAnswered);
            query.pass_on(answer, query.room(transport))
        }
        None => {
            shared.counters.count(Count::ForwardSilent);
            failed()
        }
    }
}

async fn ask(
    shared: &Shared,
    transport: Transport,
    asked: &Asked,
    upstreams: Vec<SocketAddr>,
) -> Option<Vec<u8>> {
    let mut exchange = Exchange::new(Instant::now(), upstreams);
    let mut attempts = FuturesUnordered::new();
    let mut unheard: Vec<SocketAddr> = Vec::new();
    loop {
        let now = Instant::now();
        match exchange.next(now) {
            Next::Ask(upstream) => {
                unheard.iter().for_each(|silent| shared.health().note(now, *silent, false));
                unheard.push(upstream);
                attempts.push(async move { (upstream, ask_one(transport, asked, upstream).await) });
            }
            Next::Wait(until) => tokio::select! {
                Some((upstream, answer)) = attempts.next() => {
                    let now = Instant::now();
                    shared.health().note(now, upstream, answer.is_ok());
                    unheard.retain(|it| *it != upstream);
                    exchange.heard(now, answer.ok());
                }
                () = sleep_until(until.into()) => {}
            },
            Next::Answer(answer) => return Some(answer),
            Next::GiveUp => {
                unheard.iter().for_each(|silent| shared.health().note(now, *silent, false));
                return None;
            }
        }
    }
}

/// The answer of one upstream, whenever it comes.
async fn ask_one(transport: Transport, asked: &Asked, upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let id = u16::from_ne_bytes(id);
    let mut message = asked.message.clone();
    set_id(&mut message, id);
    let query = &asked.query;
    match transport {
        Transport::Udp => ask_by_datagram(query, id, &message, upstream).await,
        Transport::Tcp => ask_by_stream(query, id, &message, upstream).await,
    }
}

async fn ask_by_datagram(
    query: &Query,
    id: u16,
    message: &[u8],
    upstream: SocketAddr,
) -> io::Result<Vec<u8>> {
    let any = match upstream {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(message).await?;
    // One byte more than may be passed on tells what is too long.
    let mut answer = Vec::with_capacity(query.room(Transport::Udp) + 1);
    loop {
        socket.recv_buf(&mut answer).await?;
        if query.is_answered_by(id, &answer) {
            return Ok(answer);
        }
        answer.clear();
    }
}

async fn ask_by_stream(query: &Query, id: u16, message: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_framed(&mut stream, message).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if query.is_answered_by(id, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Writes a message behind its length, in one piece (RFC 7766, section 8).
pub(super) async fn write_framed(to: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&[&length.to_be_bytes(), message].concat()).await
}
