//! What a flow is recognised by.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocols that sessions are kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// ICMP echo; the identifier takes the place of a port.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

    /// The protocol of that number in the IP header, if sessions are kept for it.
    #[inline]
    pub fn from_number(number: u8) -> Option<Protocol> {
        match number {
            1 => Some(Protocol::Icmp),
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        }
    }

    /// `tcp`, `udp` or `icmp`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Icmp => "icmp",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One direction of a flow, as its packets are on one side of the edge. IPv4 addresses are written as IPv6 ones
/// (`::ffff:a.b.c.d`), so that one table holds both.
///
/// An ICMP echo request has its identifier as source port and destination port 0, the reply the other way round: so
/// that [`Tuple::inverted`] holds for all protocols, and no request passes for a reply.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl Tuple {
    /// A tuple of IPv4 addresses.
    #[inline]
    pub fn v4(protocol: Protocol, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Tuple {
        // As `to_ipv6_mapped`, but written as whole words: bytes that are read as words right after stall on store forwarding.
        let mapped = |address: Ipv4Addr| Ipv6Addr::from_bits(0xffff << 32 | u128::from(address.to_bits()));
        Tuple { src: mapped(src.0), dst: mapped(dst.0), src_port: src.1, dst_port: dst.1, protocol }
    }

    /// The tuple of the answers.
    #[inline]
    #[must_use]
    pub fn inverted(&self) -> Tuple {
        Tuple {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }

    /// The source as people write it.
    pub fn source(&self) -> IpAddr {
        self.src.to_canonical()
    }

    /// The destination as people write it.
    pub fn destination(&self) -> IpAddr {
        self.dst.to_canonical()
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.source(), self.destination());
        match self.protocol {
            Protocol::Icmp => {
                write!(
                    f,
                    "icmp {src} > {dst} id {}",
                    if self.src_port != 0 { self.src_port } else { self.dst_port }
                )
            }
            protocol => write!(f, "{protocol} {src}:{} > {dst}:{}", self.src_port, self.dst_port),
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
