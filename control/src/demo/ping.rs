//! Ping by a raw socket, from the namespace of the calling thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::icmp::{echo_reply, echo_request, echo_requester};

/// Larger than any IPv4 packet.
const BUFFER: usize = 65_536;

/// One packet; TimedOut if none comes.
fn receive(mut socket: &Socket, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Hears who pings the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Ears {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Ears {
    /// From now on.
    pub(super) fn open() -> io::Result<Ears> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        Ok(Ears { socket, buffer: vec![0; BUFFER] })
    }

    /// Whom the next echo request comes from, and its identifier.
    pub(super) fn next(&mut self, patience: Duration) -> io::Result<(Ipv4Addr, u16)> {
        let start = Instant::now();
        loop {
            let n = receive(&self.socket, &mut self.buffer, patience.saturating_sub(start.elapsed()))?;
            if let Some(requester) = echo_requester(&self.buffer[..n]) {
                return Ok(requester);
            }
        }
    }
}

/// Pings one address.
#[derive(Debug)]
pub(super) struct Pinger {
    /// Connected: the kernel hands over what comes from the target only.
    socket: Socket,
    id: u16,
    sequence: u16,
    buffer: Vec<u8>,
}

impl Pinger {
    /// Opens the socket. Replies to another `id` are not taken for ours.
    pub(super) fn new(target: Ipv4Addr, id: u16) -> io::Result<Pinger> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.connect(&SocketAddr::from((target, 0)).into())?;
        Ok(Pinger { socket, id, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Sends one echo request with `len` bytes of payload and waits for the reply; the time that it took.
    /// The reply must carry the same payload.
    pub(super) fn ping(&mut self, len: usize, patience: Duration) -> io::Result<Duration> {
        self.sequence = self.sequence.wrapping_add(1);
        let payload: Vec<u8> = (0..len).map(|i| (i as u16 ^ self.sequence) as u8).collect();
        let request = echo_request(self.id, self.sequence, &payload);
        let start = Instant::now();
        self.socket.write_all(&request)?;
        loop {
            let n = receive(&self.socket, &mut self.buffer, patience.saturating_sub(start.elapsed()))?;
            let elapsed = start.elapsed();
            match echo_reply(&self.buffer[..n], self.id, self.sequence) {
                Some(echoed) if echoed == payload => return Ok(elapsed),
                Some(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the reply's payload differs"));
                }
                None => {}
            }
        }
    }

    /// The median of `count` pings after a first one, which may have to wait for ARP.
    pub(super) fn median(&mut self, count: usize, patience: Duration) -> io::Result<Duration> {
        const LEN: usize = 56;
        self.ping(LEN, patience)?;
        let mut times = (0..count).map(|_| self.ping(LEN, patience)).collect::<Result<Vec<_>, _>>()?;
        times.sort_unstable();
        Ok(times.get(times.len() / 2).copied().unwrap_or_default())
    }
}
