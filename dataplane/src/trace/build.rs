//! Frames made from their description.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IPV4_HEADER_LEN,
    Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

use super::grammar::{Options, Transport};
use crate::addr::MacAddr;
use crate::frame::ETHERNET_HEADER_LEN;

/// Length in bytes of an ARP message for Ethernet and IPv4.
const ARP_LEN: usize = 28;

pub(super) fn arp_request(src_mac: MacAddr, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(src_mac.0),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress(MacAddr::ZERO.0),
        target_protocol_addr: target,
    };
    ethernet((src_mac, MacAddr::BROADCAST), EthernetProtocol::Arp, ARP_LEN, |bytes| {
        request.emit(&mut ArpPacket::new_unchecked(bytes));
    })
}

pub(super) fn packet(
    macs: (MacAddr, MacAddr),
    (source, destination): (Ipv4Addr, Ipv4Addr),
    transport: &Transport,
    options: &Options,
) -> Vec<u8> {
    let (protocol, header_len) = match transport {
        Transport::Tcp { .. } => (IpProtocol::Tcp, 20),
        Transport::Udp { .. } => (IpProtocol::Udp, 8),
        Transport::Echo { .. } => (IpProtocol::Icmp, 8),
    };
    let total_len = IPV4_HEADER_LEN + header_len + usize::from(options.payload_len);
    ethernet(macs, EthernetProtocol::Ipv4, total_len, |bytes| {
        let mut packet = Ipv4Packet::new_unchecked(bytes);
        packet.set_version(4);
        packet.set_header_len(IPV4_HEADER_LEN as u8);
        // The grammar allows no more payload than a packet has room for.
        packet.set_total_len(total_len as u16);
        packet.set_dont_frag(options.dont_fragment);
        packet.set_hop_limit(options.ttl);
        packet.set_next_header(protocol);
        packet.set_src_addr(source);
        packet.set_dst_addr(destination);
        packet.fill_checksum();
        fill(packet.payload_mut(), transport, (source, destination));
    })
}

/// Writes the header in front of a payload of zeros.
fn fill(bytes: &mut [u8], transport: &Transport, (source, destination): (Ipv4Addr, Ipv4Addr)) {
    const WINDOW: u16 = 64_240;
    let (source, destination) = (source.into(), destination.into());
    match *transport {
        Transport::Tcp { ports: (src, dst), flags } => {
            // The bits first: their setter of the header's length shares a word with them.
            bytes[13] = flags.0;
            let mut tcp = TcpPacket::new_unchecked(bytes);
            tcp.set_header_len(20);
            tcp.set_src_port(src);
            tcp.set_dst_port(dst);
            tcp.set_window_len(WINDOW);
            tcp.fill_checksum(&source, &destination);
        }
        Transport::Udp { ports: (src, dst) } => {
            let len = bytes.len() as u16;
            let mut udp = UdpPacket::new_unchecked(bytes);
            udp.set_src_port(src);
            udp.set_dst_port(dst);
            udp.set_len(len);
            udp.fill_checksum(&source, &destination);
        }
        Transport::Echo { ident, sequence } => {
            let mut echo = Icmpv4Packet::new_unchecked(bytes);
            echo.set_msg_type(Icmpv4Message::EchoRequest);
            echo.set_echo_ident(ident);
            echo.set_echo_seq_no(sequence);
            echo.fill_checksum();
        }
    }
}

fn ethernet(
    (src, dst): (MacAddr, MacAddr),
    ethertype: EthernetProtocol,
    payload_len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER_LEN + payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_dst_addr(EthernetAddress(dst.0));
    frame.set_src_addr(EthernetAddress(src.0));
    frame.set_ethertype(ethertype);
    fill(frame.payload_mut());
    bytes
}
