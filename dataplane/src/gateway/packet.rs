//! Frames that the gateway and the edge send of their own accord.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IPV4_HEADER_LEN, IpProtocol, Ipv4Packet,
};

use super::Received;
use crate::addr::MacAddr;
use crate::frame::ETHERNET_HEADER_LEN;
use crate::network::PortId;
use crate::out::Out;

/// Bytes of headers in front of an ICMP message.
pub(super) const HEADERS_LEN: usize = ETHERNET_HEADER_LEN + IPV4_HEADER_LEN;
/// TTL of what a gateway sends (RFC 1700: 64).
const TTL: u8 = 64;

/// The way back to whoever sent a frame, and who speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back {
    /// The port that the frame came in by.
    pub(crate) egress: PortId,
    /// The MAC that it was sent to.
    pub(crate) from_mac: MacAddr,
    /// The address that answers.
    pub(crate) from: Ipv4Addr,
    /// The MAC that it was sent from.
    pub(crate) to_mac: MacAddr,
}

impl Back {
    /// From the gateway to the sender of what it received.
    pub(crate) fn of(received: &Received<'_>) -> Back {
        Back {
            egress: received.port.id,
            from_mac: received.gateway.mac,
            from: received.gateway.address,
            to_mac: received.view.src,
        }
    }
}

/// An Ethernet frame from `src` with `payload_len` bytes that `fill` writes. Returns whether there was room.
pub(super) fn make_ethernet(
    src: MacAddr,
    (egresses, dst): (&[PortId], MacAddr),
    ethertype: EthernetProtocol,
    payload_len: usize,
    out: &mut Out,
    fill: impl FnOnce(&mut [u8]),
) -> bool {
    out.make(egresses, ETHERNET_HEADER_LEN + payload_len, |bytes| {
        let mut frame = EthernetFrame::new_unchecked(bytes);
        frame.set_dst_addr(EthernetAddress(dst.0));
        frame.set_src_addr(EthernetAddress(src.0));
        frame.set_ethertype(ethertype);
        fill(frame.payload_mut());
    })
}

/// What the IPv4 headers of such packets differ in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) dst: Ipv4Addr,
    pub(super) dscp: u8,
    pub(super) ident: u16,
    /// Bytes of the packet's payload before this fragment.
    pub(super) offset: u16,
    /// More fragments follow.
    pub(super) more: bool,
}

/// An IPv4 packet (or fragment) with ICMP inside, back to whoever sent the frame. Fragmentation is never forbidden.
pub(super) fn make_icmp(
    back: &Back,
    header: Header,
    payload_len: usize,
    out: &mut Out,
    fill: impl FnOnce(&mut [u8]),
) -> bool {
    let packet_len = IPV4_HEADER_LEN + payload_len;
    // Never more than 65,535: a reply is as long as its request, an error shorter than 577.
    let Ok(total_len) = u16::try_from(packet_len) else { return false };
    let to = (&[back.egress][..], back.to_mac);
    make_ethernet(back.from_mac, to, EthernetProtocol::Ipv4, packet_len, out, |bytes| {
        let mut packet = Ipv4Packet::new_unchecked(bytes);
        packet.set_version(4);
        packet.set_header_len(IPV4_HEADER_LEN as u8);
        packet.set_dscp(header.dscp);
        packet.set_total_len(total_len);
        packet.set_ident(header.ident);
        packet.set_more_frags(header.more);
        packet.set_frag_offset(header.offset);
        packet.set_hop_limit(TTL);
        packet.set_next_header(IpProtocol::Icmp);
        packet.set_src_addr(back.from);
        packet.set_dst_addr(header.dst);
        packet.fill_checksum();
        fill(packet.payload_mut());
    })
}
