//! What a sender had left to its device of a frame that a capture shows. Captures have no place for that metadata, and where offloads
//! are in use they show frames as the device is given them: TCP of 20 kB with DF, and checksums that are none yet.

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::checksum::Sum;
use crate::edge::packet::{Content, Packet, TcpFlags};
use crate::edge::rewrite::announced_segment_size;
use crate::frame::{EthernetView, Frame, ethertype};
use crate::offload::{Gso, Offload};

/// TCP's congestion window reduced (RFC 3168, section 6.1), in the byte of its control bits.
const CWR: u8 = 0x80;
const TCP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;

/// The transport's header in a frame, as far as its device must know it.
struct Transport<'a> {
    protocol: IpProtocol,
    is_ipv6: bool,
    /// Length of the packet in bytes.
    packet_len: usize,
    /// Where the transport's header starts, in bytes from the packet's start.
    start: usize,
    /// The transport's header and payload.
    bytes: &'a [u8],
    /// What the checksum's field holds while the device is to do the rest.
    partial_checksum: u16,
}

/// What the frame's sender must have left to its device, if links carry packets of `mtu` bytes. That it is a super-frame is seen by its
/// length; into what it is to be cut is assumed: segments as large as the MTU allows, and `segment_size`, which is what both
/// ends of a TCP connection have announced.
pub fn left_to_device(bytes: &[u8], mtu: u16, segment_size: Option<u16>) -> Offload {
    let Ok(view) = EthernetView::parse(bytes) else { return Offload::NONE };
    let Some(transport) = transport(&view, bytes) else { return Offload::NONE };
    let headers_of =
        |len: usize| (transport.start + len, usize::from(mtu).saturating_sub(transport.start + len));
    let (gso, csum_offset, (headers_len, room)) = match transport.protocol {
        IpProtocol::Tcp => {
            let Some(len) = tcp_header_len(transport.bytes) else { return Offload::NONE };
            let (headers_len, room) = headers_of(len);
            // What is announced leaves options out of account (RFC 6691).
            let announced = segment_size.map(|size| usize::from(size).saturating_sub(len - TCP_HEADER_LEN));
            let gso = if transport.is_ipv6 { Gso::TcpV6 } else { Gso::TcpV4 };
            (gso, 16, (headers_len, room.min(announced.unwrap_or(room))))
        }
        IpProtocol::Udp if transport.bytes.len() >= UDP_HEADER_LEN => {
            (Gso::Udp, 6, headers_of(UDP_HEADER_LEN))
        }
        _ => return Offload::NONE,
    };
    let is_super_frame = transport.packet_len > usize::from(mtu) && room > 0;
    let field = transport.bytes.get(csum_offset..csum_offset + 2).unwrap_or_default();
    let is_partial = field == transport.partial_checksum.to_be_bytes();
    // Every length fits: the frame is no longer than 64 KiB and a header.
    let of_frame = |len: usize| (view.payload_offset + len) as u16;
    let partial = Offload {
        needs_checksum: true,
        csum_start: of_frame(transport.start),
        csum_offset: csum_offset as u16,
        ..Offload::NONE
    };
    match (is_super_frame, is_partial) {
        (false, false) => Offload::NONE,
        (false, true) => partial,
        (true, _) => Offload {
            gso,
            ecn: gso != Gso::Udp && transport.bytes.get(13).is_some_and(|flags| flags & CWR != 0),
            gso_size: room as u16,
            header_len: of_frame(headers_len),
            ..partial
        },
    }
}

/// The largest segment in bytes that both ends of the frame's TCP connection have announced, as far as their SYNs are in the `capture`.
pub fn agreed_segment_size<'a>(bytes: &[u8], capture: impl IntoIterator<Item = &'a [u8]>) -> Option<u16> {
    let (_, of) = read(bytes)?;
    let tuple = of.tuple().filter(|_| matches!(of.content, Content::Tcp { .. }))?;
    let announced = |bytes: &[u8]| {
        let (frame, packet) = read(bytes)?;
        let Content::Tcp { flags, .. } = packet.content else { return None };
        let is_of_it = packet.tuple().is_some_and(|it| it == tuple || it == tuple.inverted());
        (is_of_it && flags.has(TcpFlags::SYN)).then(|| announced_segment_size(&frame, &packet))?
    };
    capture.into_iter().filter_map(announced).min()
}

fn read(bytes: &[u8]) -> Option<(Frame<'_>, Packet)> {
    let view = EthernetView::parse(bytes).ok()?;
    // The header's checksum of a super-frame says nothing, and that of another one not much.
    let offload = Offload { gso: Gso::TcpV4, ..Offload::NONE };
    let packet = Packet::parse(&view, &Frame { bytes, offload }).ok()?;
    Some((Frame::plain(bytes), packet))
}

fn transport<'a>(view: &EthernetView, bytes: &'a [u8]) -> Option<Transport<'a>> {
    let packet = view.payload(bytes);
    let (protocol, start, packet_len, addresses) = match view.ethertype {
        ethertype::IPV4 => {
            let ip = Ipv4Packet::new_checked(packet).ok().filter(|ip| ip.version() == 4)?;
            let is_whole = !ip.more_frags() && ip.frag_offset() == 0;
            let addresses = Sum::of(&ip.src_addr().octets()) + Sum::of(&ip.dst_addr().octets());
            is_whole.then_some((
                ip.next_header(),
                ip.header_len().into(),
                ip.total_len().into(),
                addresses,
            ))?
        }
        ethertype::IPV6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            let addresses = Sum::of(&ip.src_addr().octets()) + Sum::of(&ip.dst_addr().octets());
            (ip.next_header(), ip.header_len(), ip.total_len(), addresses)
        }
        _ => return None,
    };
    let bytes = packet.get(start..packet_len)?;
    // Neither header counts more than 65,535 bytes behind it.
    let pseudo_header = addresses + Sum::word(u8::from(protocol).into()) + Sum::word(bytes.len() as u16);
    let is_ipv6 = view.ethertype == ethertype::IPV6;
    Some(Transport { protocol, is_ipv6, packet_len, start, bytes, partial_checksum: pseudo_header.partial() })
}

/// Length in bytes of a TCP header with its options, if all of it is there.
fn tcp_header_len(bytes: &[u8]) -> Option<usize> {
    let len = usize::from(bytes.get(12)? >> 4) * 4;
    (TCP_HEADER_LEN..=bytes.len()).contains(&len).then_some(len)
}

#[cfg(test)]
mod tests;
