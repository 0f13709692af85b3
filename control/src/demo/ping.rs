//! Ping by a raw socket, from the namespace of the calling thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::icmp::{echo_reply, echo_request};

/// Larger than any IPv4 packet.
const BUFFER: usize = 65_536;

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
            let left = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
            self.socket.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
            let n = match self.socket.read(&mut self.buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
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
