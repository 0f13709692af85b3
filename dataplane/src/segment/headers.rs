//! Where a super-frame's headers lie, and the IP header of each of its pieces.

use smoltcp::wire::{
    IPV6_HEADER_LEN, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UDP_HEADER_LEN, UdpPacket,
};

use crate::checksum::checksum;
use crate::frame::{EthernetView, Frame, ethertype};
use crate::offload::Gso;
use crate::verdict::DropReason;

/// The transport of a super-frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn of(gso: Gso) -> Transport {
        match gso {
            Gso::TcpV4 | Gso::TcpV6 => Transport::Tcp,
            Gso::None | Gso::Udp | Gso::UdpFragments => Transport::Udp,
        }
    }

    fn protocol(self) -> IpProtocol {
        match self {
            Transport::Tcp => IpProtocol::Tcp,
            Transport::Udp => IpProtocol::Udp,
        }
    }

    /// Where the checksum stands, in bytes from the transport header.
    pub(super) fn checksum_offset(self) -> usize {
        match self {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// Offsets in bytes from the destination MAC, all checked to lie in order inside the frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers {
    version: Version,
    /// The kind of transport.
    pub(super) kind: Transport,
    /// The IP header, behind all tags.
    network: usize,
    /// The TCP or UDP header, behind IPv4 options and IPv6 extension headers.
    pub(super) transport: usize,
    /// What is cut.
    pub(super) payload: usize,
    /// The end of the packet; what follows is padding.
    pub(super) end: usize,
}

impl Headers {
    /// Finds the headers of a super-frame and holds its metadata against them.
    pub(super) fn locate(frame: &Frame<'_>) -> Result<Headers, DropReason> {
        let view = EthernetView::parse(frame.bytes)?;
        let kind = Transport::of(frame.offload.gso);
        let network = view.payload_offset;
        let packet = &frame.bytes[network..];
        let (version, header_len, packet_len) = match (view.ethertype, frame.offload.gso) {
            (ethertype::IPV4, gso) if gso != Gso::TcpV6 => {
                let (header_len, packet_len) = measure_v4(packet, kind)?;
                (Version::V4, header_len, packet_len)
            }
            (ethertype::IPV6, gso) if gso != Gso::TcpV4 => {
                let (header_len, packet_len) = measure_v6(packet, kind)?;
                (Version::V6, header_len, packet_len)
            }
            (ethertype::IPV4 | ethertype::IPV6, _) => return Err(DropReason::MalformedOffload),
            _ => return Err(DropReason::Unsegmentable),
        };
        let segment = &packet[header_len..packet_len];
        let transport = network + header_len;
        let headers = Headers {
            version,
            kind,
            network,
            transport,
            payload: transport + transport_header_len(segment, kind)?,
            end: network + packet_len,
        };
        let checksum_agrees = usize::from(frame.offload.csum_start) == transport
            && usize::from(frame.offload.csum_offset) == kind.checksum_offset();
        if frame.offload.needs_checksum && !checksum_agrees {
            return Err(DropReason::MalformedOffload);
        }
        Ok(headers)
    }

    pub(super) fn is_v4(&self) -> bool {
        self.version == Version::V4
    }

    /// Writes what the IP header of segment number `index` says of it alone.
    pub(super) fn finish_ip(&self, segment: &mut [u8], index: usize) {
        let packet = &mut segment[self.network..];
        // No longer than the super-frame's, which was read from the same field of 16 bits.
        match self.version {
            Version::V4 => {
                let len = packet.len() as u16;
                let mut ip = Ipv4Packet::new_unchecked(packet);
                ip.set_total_len(len);
                ip.set_ident(ip.ident().wrapping_add(index as u16));
                fill_checksum(ip);
            }
            Version::V6 => {
                // The header does not count: the packet itself may be longer than 65,535 bytes.
                let len = (packet.len() - IPV6_HEADER_LEN) as u16;
                Ipv6Packet::new_unchecked(packet).set_payload_len(len);
            }
        }
    }

    /// Writes the IPv4 header of the fragment that starts `offset` bytes into the datagram.
    pub(super) fn finish_fragment(&self, fragment: &mut [u8], offset: usize, is_last: bool) {
        let packet = &mut fragment[self.network..];
        let len = packet.len() as u16;
        let mut ip = Ipv4Packet::new_unchecked(packet);
        ip.set_total_len(len);
        ip.clear_flags();
        ip.set_more_frags(!is_last);
        ip.set_frag_offset(offset as u16);
        fill_checksum(ip);
    }
}

fn fill_checksum(mut ip: Ipv4Packet<&mut [u8]>) {
    ip.set_checksum(0);
    let header_len = usize::from(ip.header_len());
    let packet = ip.into_inner();
    let sum = checksum(&packet[..header_len]);
    Ipv4Packet::new_unchecked(packet).set_checksum(sum);
}

/// Lengths in bytes of the IPv4 header and of the packet.
fn measure_v4(packet: &[u8], kind: Transport) -> Result<(usize, usize), DropReason> {
    let ip = Ipv4Packet::new_checked(packet).map_err(|_| DropReason::MalformedOffload)?;
    let is_fragment = ip.more_frags() || ip.frag_offset() != 0;
    if ip.version() != 4 || is_fragment || ip.next_header() != kind.protocol() {
        return Err(DropReason::MalformedOffload);
    }
    Ok((usize::from(ip.header_len()), usize::from(ip.total_len())))
}

/// Lengths in bytes of the IPv6 header with its extension headers, and of the packet.
fn measure_v6(packet: &[u8], kind: Transport) -> Result<(usize, usize), DropReason> {
    /// More than the one of each kind (destination options: two) that RFC 8200, section 4.1, allows.
    const MAX_EXTENSIONS: usize = 8;
    let ip = Ipv6Packet::new_checked(packet).map_err(|_| DropReason::MalformedOffload)?;
    if ip.version() != 6 {
        return Err(DropReason::MalformedOffload);
    }
    let packet = &packet[..ip.total_len()];
    let (mut next, mut offset) = (ip.next_header(), IPV6_HEADER_LEN);
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            found if found == kind.protocol() => return Ok((offset, packet.len())),
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let &[following, units] = packet
                    .get(offset..)
                    .and_then(|rest| rest.first_chunk::<2>())
                    .ok_or(DropReason::MalformedOffload)?;
                next = IpProtocol::from(following);
                // In units of eight bytes, not counting the first (RFC 8200, section 4.3).
                offset += 8 * (usize::from(units) + 1);
                if offset > packet.len() {
                    return Err(DropReason::MalformedOffload);
                }
            }
            IpProtocol::Tcp | IpProtocol::Udp => return Err(DropReason::MalformedOffload),
            _ => return Err(DropReason::Unsegmentable),
        }
    }
    Err(DropReason::Unsegmentable)
}

/// Length in bytes of the transport header that starts `segment`, options included.
fn transport_header_len(segment: &[u8], kind: Transport) -> Result<usize, DropReason> {
    let len = match kind {
        Transport::Tcp => TcpPacket::new_checked(segment).map(|tcp| usize::from(tcp.header_len())),
        Transport::Udp if segment.len() >= UDP_HEADER_LEN => {
            // The datagram is the whole of the packet, else its own length would cut it otherwise than we do.
            let whole = usize::from(UdpPacket::new_unchecked(segment).len()) == segment.len();
            if whole { Ok(UDP_HEADER_LEN) } else { Err(smoltcp::wire::Error) }
        }
        Transport::Udp => Err(smoltcp::wire::Error),
    };
    len.map_err(|_| DropReason::MalformedOffload)
}
