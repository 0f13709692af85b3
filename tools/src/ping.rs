//! Ping from a namespace, by raw sockets; ICMP errors that come back are told from silence.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pontoon_dataplane::checksum::checksum;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{LabError, Namespace};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Largest payload of an echo request in an IPv4 packet.
pub const MAX_PAYLOAD: usize = 65_535 - 20 - 8;

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The echo reply, with the same payload.
    Reply,
    /// An ICMP error (IPv4 only) that quotes the request.
    Error {
        /// Its sender.
        from: Ipv4Addr,
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Nothing, for as long as was waited.
    Silence,
}

/// Sends echo requests from one namespace.
#[derive(Debug)]
pub struct Pinger {
    socket: Socket,
    id: u16,
    sequence: u16,
    buffer: Vec<u8>,
    ipv6: bool,
}

impl Pinger {
    /// Opens a raw socket in the namespace, for addresses of the same family as `like`.
    ///
    /// # Errors
    /// No privilege.
    pub fn new(from: &Namespace, like: impl Into<IpAddr>) -> Result<Pinger, LabError> {
        let ipv6 = like.into().is_ipv6();
        let (domain, protocol) =
            if ipv6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let socket = from.run(|| Socket::new(domain, Type::RAW, Some(protocol)))??;
        // Room for the largest packet in fragments.
        socket.set_send_buffer_size(1 << 20)?;
        socket.set_recv_buffer_size(1 << 20)?;
        Ok(Pinger { socket, id: 0x7067, sequence: 0, buffer: vec![0; 65_536], ipv6 })
    }

    /// Routers that the requests may pass.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl_v4(ttl)
    }

    /// Sends one request with `len` bytes of payload and waits for what comes back.
    ///
    /// # Errors
    /// The request cannot be sent.
    pub fn ping(&mut self, to: impl Into<IpAddr>, len: usize, patience: Duration) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request(len);
        let end = Instant::now() + patience;
        self.socket.send_to(&request, &SocketAddr::from((to.into(), 0)).into())?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Answer::Silence);
            }
            self.socket.set_read_timeout(Some(left))?;
            let read = match self.socket.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Answer::Silence),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Some(answer) = self.answer(&self.buffer[..read], &request) {
                return Ok(answer);
            }
        }
    }

    fn request(&self, len: usize) -> Vec<u8> {
        let mut request = vec![if self.ipv6 { 128 } else { 8 }, 0, 0, 0];
        request.extend(self.id.to_be_bytes());
        request.extend(self.sequence.to_be_bytes());
        request.extend((0..len).map(|n| (n as u16 ^ self.sequence) as u8));
        if !self.ipv6 {
            // The kernel fills in that of ICMPv6.
            let sum = checksum(&request);
            request[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        request
    }

    fn answer(&self, packet: &[u8], request: &[u8]) -> Option<Answer> {
        if self.ipv6 {
            return (packet.first() == Some(&129) && packet.get(4..) == Some(&request[4..]))
                .then_some(Answer::Reply);
        }
        let message = past_header(packet)?;
        let (kind, code) = (*message.first()?, *message.get(1)?);
        match kind {
            0 if checksum(message) == 0 && message.get(4..) == Some(&request[4..]) => Some(Answer::Reply),
            3 | 11 => {
                let quoted = past_header(message.get(8..)?)?;
                let ours = checksum(message) == 0 && quoted.get(4..8) == Some(&request[4..8]);
                let from = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
                ours.then_some(Answer::Error { from, kind, code })
            }
            _ => None,
        }
    }
}

fn past_header(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0x0f) * 4..)
}
