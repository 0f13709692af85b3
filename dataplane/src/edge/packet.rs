//! An IPv4 packet as the edge must know it, read once from the frame.
//!
//! What is read is checked: the header lies inside the frame and its checksum is right, the packet inside the frame,
//! the ports and the checksum of TCP, UDP and ICMP inside the packet, and what the frame's metadata says of all this
//! agrees. What follows may rely on it.

use std::net::Ipv4Addr;

pub use super::session::tcp::TcpFlags;
use super::tuple::{Protocol, Tuple};
use crate::checksum::Sum;
use crate::frame::{EthernetView, Frame, ethertype};
use crate::offload::{Gso, Offload};
use crate::verdict::DropReason;

/// Length in bytes of an IPv4 header without options.
pub(super) const IPV4_MIN_HEADER_LEN: usize = 20;
/// Length in bytes of an IPv4 header with all the options that it can have.
pub(super) const IPV4_MAX_HEADER_LEN: usize = 60;
/// Length in bytes of a TCP header without options.
pub(super) const TCP_MIN_HEADER_LEN: usize = 20;
/// Where the checksum stands in a TCP header.
pub(super) const TCP_CHECKSUM_AT: usize = 16;
/// Length in bytes of a UDP header, and of what all ICMP messages begin with.
pub(super) const SHORT_HEADER_LEN: usize = 8;

/// An IPv4 packet, checked against the frame that it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// The protocol's number.
    pub protocol: u8,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Identification, common to all fragments of a datagram.
    pub ident: u16,
    /// It must not be fragmented.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Bytes of the datagram's payload before this fragment.
    pub fragment_offset: u16,
    /// Where the IPv4 header starts in the frame, in bytes from the destination MAC.
    pub network_offset: u16,
    /// Length of the IPv4 header in bytes, options included.
    pub header_len: u8,
    /// Length of the packet in bytes. What follows in the frame is padding.
    pub total_len: u16,
    /// What the packet carries.
    pub content: Content,
}

/// What a packet carries, as far as the edge looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// TCP; a first fragment as well.
    Tcp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Control bits.
        flags: TcpFlags,
    },
    /// UDP; a first fragment as well.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// An ICMP echo request or reply; a first fragment as well.
    Echo {
        /// A request, not a reply.
        request: bool,
        /// Its identifier.
        ident: u16,
    },
    /// An ICMP error: read on with [`Quote::parse`](super::quote::Quote::parse).
    IcmpError,
    /// Another ICMP message, or a fragmented error.
    OtherIcmp,
    /// Not the first fragment of its datagram.
    Fragment,
    /// Another protocol.
    Other,
}

impl Packet {
    /// Reads the packet of a frame.
    ///
    /// The header checksum of a super-frame is not looked at: each segment gets one of its own.
    ///
    /// # Errors
    /// [`DropReason::GatewayTagged`] for a frame in a VLAN, [`DropReason::EdgeProtocol`] for one that is not IPv4,
    /// [`DropReason::EdgeMalformed`] when something is not as it should be.
    // Always: a packet that is moved right after it was written stalls on store forwarding, 10 ns for each move.
    #[inline(always)]
    pub fn parse(view: &EthernetView, frame: &Frame<'_>) -> Result<Packet, DropReason> {
        if view.in_vlan {
            return Err(DropReason::GatewayTagged);
        }
        if view.ethertype != ethertype::IPV4 {
            return Err(DropReason::EdgeProtocol);
        }
        let bytes = frame.bytes.get(view.payload_offset..).ok_or(DropReason::EdgeMalformed)?;
        let header = Header::parse(bytes).ok_or(DropReason::EdgeMalformed)?;
        let header_holds = frame.offload.is_super_frame() || header.sum(bytes).checksum() == 0;
        if !header_holds || header.total_len() > bytes.len() || header.total_len() < header.len() {
            return Err(DropReason::EdgeMalformed);
        }
        let payload = &bytes[header.len()..header.total_len()];
        let end_of_datagram = usize::from(header.fragment_offset()) + payload.len();
        let content = Content::parse(&header, payload).ok_or(DropReason::EdgeMalformed)?;
        let packet = Packet {
            src: header.src(),
            dst: header.dst(),
            protocol: header.protocol(),
            ttl: header.ttl(),
            ident: header.ident(),
            dont_fragment: header.dont_fragment(),
            more_fragments: header.more_fragments(),
            fragment_offset: header.fragment_offset(),
            // Both checked above: the first lies inside a frame of 64 KiB, the second is at most 60.
            network_offset: view.payload_offset as u16,
            header_len: header.len() as u8,
            total_len: header.total_len() as u16,
            content,
        };
        if end_of_datagram > usize::from(u16::MAX) || !packet.agrees_with(&frame.offload) {
            return Err(DropReason::EdgeMalformed);
        }
        Ok(packet)
    }

    /// Whether what is left to do to the frame is about this packet's own checksum, and its segments are of its protocol.
    #[inline(always)]
    fn agrees_with(&self, offload: &Offload) -> bool {
        let checksum_agrees = !offload.needs_checksum
            || !self.is_fragment()
                && usize::from(offload.csum_start) == self.payload_offset()
                && self.checksum_offset() == Some(offload.csum_offset.into());
        let segments_agree = match (offload.gso, self.content) {
            (Gso::None, _) => true,
            (Gso::TcpV4, Content::Tcp { .. }) => !self.is_fragment(),
            (Gso::Udp | Gso::UdpFragments, Content::Udp { .. }) => !self.is_fragment(),
            _ => false,
        };
        checksum_agrees && segments_agree
    }

    /// Where the checksum stands that covers the payload, in bytes from the payload's start.
    #[inline]
    pub(super) fn checksum_offset(&self) -> Option<usize> {
        match self.content {
            Content::Tcp { .. } => Some(TCP_CHECKSUM_AT),
            Content::Udp { .. } => Some(6),
            Content::Echo { .. } | Content::IcmpError | Content::OtherIcmp => Some(2),
            Content::Fragment | Content::Other => None,
        }
    }

    /// The packet's flow; none for fragments other than the first, and for what sessions are not kept for.
    #[inline(always)]
    pub fn tuple(&self) -> Option<Tuple> {
        let (protocol, src_port, dst_port) = match self.content {
            Content::Tcp { src_port, dst_port, .. } => (Protocol::Tcp, src_port, dst_port),
            Content::Udp { src_port, dst_port } => (Protocol::Udp, src_port, dst_port),
            Content::Echo { request: true, ident } => (Protocol::Icmp, ident, 0),
            Content::Echo { request: false, ident } => (Protocol::Icmp, 0, ident),
            Content::IcmpError | Content::OtherIcmp | Content::Fragment | Content::Other => return None,
        };
        Some(Tuple::v4(protocol, (self.src, src_port), (self.dst, dst_port)))
    }

    /// Whether it is one of several fragments of a datagram.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// The ports of a packet of TCP or UDP that is whole.
    #[inline(always)]
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.content {
            Content::Tcp { src_port, dst_port, .. } | Content::Udp { src_port, dst_port }
                if !self.is_fragment() =>
            {
                Some((src_port, dst_port))
            }
            _ => None,
        }
    }

    /// Where the packet's payload (TCP, UDP, ICMP, a fragment's bytes) starts in the frame.
    #[inline]
    pub fn payload_offset(&self) -> usize {
        usize::from(self.network_offset) + usize::from(self.header_len)
    }

    /// Where the packet ends in the frame.
    #[inline]
    pub fn end(&self) -> usize {
        usize::from(self.network_offset) + usize::from(self.total_len)
    }
}

/// The fixed part of an IPv4 header (RFC 791, section 3.1), of version 4 and with a length that the bytes hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a>(&'a [u8; IPV4_MIN_HEADER_LEN]);

impl<'a> Header<'a> {
    #[inline]
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Header<'a>> {
        let header = Header(bytes.first_chunk()?);
        let holds = header.0[0] >> 4 == 4 && (IPV4_MIN_HEADER_LEN..=bytes.len()).contains(&header.len());
        holds.then_some(header)
    }

    /// In bytes, options included.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// Over the whole header, options included; `bytes` begin with it.
    #[inline(always)]
    fn sum(&self, bytes: &[u8]) -> Sum {
        let fixed = Sum::of_header(self.0);
        match bytes.get(IPV4_MIN_HEADER_LEN..self.len()) {
            None | Some([]) => fixed,
            Some(options) => fixed + Sum::of(options),
        }
    }

    #[inline]
    pub(super) fn total_len(&self) -> usize {
        self.word(2).into()
    }

    #[inline]
    fn ident(&self) -> u16 {
        self.word(4)
    }

    #[inline]
    pub(super) fn dont_fragment(&self) -> bool {
        self.0[6] & 0x40 != 0
    }

    #[inline]
    pub(super) fn more_fragments(&self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// In bytes.
    #[inline]
    pub(super) fn fragment_offset(&self) -> u16 {
        (self.word(6) & 0x1fff) << 3
    }

    #[inline]
    fn ttl(&self) -> u8 {
        self.0[8]
    }

    #[inline]
    pub(super) fn protocol(&self) -> u8 {
        self.0[9]
    }

    #[inline]
    pub(super) fn src(&self) -> Ipv4Addr {
        self.address(12)
    }

    #[inline]
    pub(super) fn dst(&self) -> Ipv4Addr {
        self.address(16)
    }

    #[inline]
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    #[inline]
    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3])
    }
}

impl Content {
    /// What `payload` begins with; none when it is too short for that.
    #[inline(always)]
    fn parse(header: &Header<'_>, payload: &[u8]) -> Option<Content> {
        if header.fragment_offset() != 0 {
            // Ports and checksum of TCP were in the first fragment; this one would overwrite them (RFC 3128).
            let overlaps = header.protocol() == Protocol::Tcp as u8
                && usize::from(header.fragment_offset()) < TCP_MIN_HEADER_LEN;
            return (!overlaps).then_some(Content::Fragment);
        }
        let whole = !header.more_fragments();
        match Protocol::from_number(header.protocol()) {
            Some(Protocol::Tcp) => {
                let tcp: &[u8; TCP_MIN_HEADER_LEN] = payload.first_chunk()?;
                let (src_port, dst_port) = ports(tcp);
                let header_len = usize::from(tcp[12] >> 4) * 4;
                // The options of a first fragment may go on in the next.
                let holds = header_len >= TCP_MIN_HEADER_LEN && (header_len <= payload.len() || !whole);
                holds.then_some(Content::Tcp { src_port, dst_port, flags: TcpFlags(tcp[13]) })
            }
            Some(Protocol::Udp) => {
                let udp: &[u8; SHORT_HEADER_LEN] = payload.first_chunk()?;
                let (src_port, dst_port) = ports(udp);
                Some(Content::Udp { src_port, dst_port })
            }
            Some(Protocol::Icmp) => {
                let message: &[u8; SHORT_HEADER_LEN] = payload.first_chunk()?;
                let ident = u16::from_be_bytes([message[4], message[5]]);
                Some(match message[0] {
                    icmp::ECHO_REPLY | icmp::ECHO_REQUEST => {
                        Content::Echo { request: message[0] == icmp::ECHO_REQUEST, ident }
                    }
                    kind if whole && icmp::is_error(kind) => Content::IcmpError,
                    _ => Content::OtherIcmp,
                })
            }
            None => Some(Content::Other),
        }
    }
}

/// Source and destination port, with which TCP and UDP begin alike.
#[inline]
pub(super) fn ports<const N: usize>(transport: &[u8; N]) -> (u16, u16) {
    const { assert!(N >= 4) };
    (u16::from_be_bytes([transport[0], transport[1]]), u16::from_be_bytes([transport[2], transport[3]]))
}

/// Types of ICMP messages (RFC 792).
pub(super) mod icmp {
    pub(in crate::edge) const ECHO_REPLY: u8 = 0;
    pub(in crate::edge) const DESTINATION_UNREACHABLE: u8 = 3;
    pub(in crate::edge) const SOURCE_QUENCH: u8 = 4;
    pub(in crate::edge) const ECHO_REQUEST: u8 = 8;
    pub(in crate::edge) const TIME_EXCEEDED: u8 = 11;
    pub(in crate::edge) const PARAMETER_PROBLEM: u8 = 12;

    /// Whether messages of that type quote a packet and may be translated. Redirects quote one as well, but only a
    /// router on the link may send them, about its own link.
    pub(in crate::edge) fn is_error(kind: u8) -> bool {
        matches!(kind, DESTINATION_UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

#[cfg(test)]
mod tests;
