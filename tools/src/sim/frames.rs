//! Frames byte by byte, for those who send what no honest stack would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::frame::ethertype;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, IPV6_HEADER_LEN, Icmpv6Packet, Icmpv6Repr, IpAddress,
    IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
    TcpPacket, UdpPacket,
};

/// A station's two addresses.
pub(super) type Station = (MacAddr, Ipv4Addr);

/// The IPv6 address of whoever has that IPv4 address; a LAN's are a /64.
pub(super) fn ipv6_of(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, last] = address.octets().map(u16::from);
    Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, last)
}

/// Ethernet, padded to the shortest frame there is.
pub(super) fn ethernet(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&dst.0[..], &src.0[..], &ethertype.to_be_bytes()[..], payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An ARP reply that says that `sender` is who he is, to `target`.
pub(super) fn arp_reply(src: MacAddr, sender: Station, target: Station) -> Vec<u8> {
    arp(ArpOperation::Reply, target.0, src, sender, target)
}

/// Any ARP message.
pub(super) fn arp(
    operation: ArpOperation,
    dst: MacAddr,
    src: MacAddr,
    sender: Station,
    target: Station,
) -> Vec<u8> {
    let message = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(sender.0.0),
        source_protocol_addr: sender.1,
        target_hardware_addr: EthernetAddress(target.0.0),
        target_protocol_addr: target.1,
    };
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    ethernet(dst, src, ethertype::ARP, &bytes)
}

/// Where a fragment belongs in its packet: identification, bytes before it, and whether more follow.
pub(super) type Piece = (u16, u16, bool);

/// A neighbour advertisement, to everybody, that says that `stolen` is at `liar` (RFC 4861, section 4.4).
pub(super) fn advertisement(liar: MacAddr, from: Ipv6Addr, stolen: Ipv6Addr) -> Vec<u8> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: stolen,
        lladdr: Some(RawHardwareAddress::from_bytes(&liar.0)),
    });
    let mut bytes = vec![0; IPV6_HEADER_LEN + message.buffer_len()];
    let header = Ipv6Repr {
        src_addr: from,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[..]);
    header.emit(&mut packet);
    let mut icmp = Icmpv6Packet::new_unchecked(packet.payload_mut());
    message.emit(&from, &group, &mut icmp, &ChecksumCapabilities::default());
    ethernet(MacAddr([0x33, 0x33, 0, 0, 0, 1]), liar, ethertype::IPV6, &bytes)
}

/// An IPv4 packet, or a piece of one.
pub(super) fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, piece: Piece, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes.extend_from_slice(payload);
    let len = bytes.len() as u16;
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len(len);
    packet.set_ident(piece.0);
    packet.set_frag_offset(piece.1);
    packet.set_more_frags(piece.2);
    packet.set_hop_limit(64);
    packet.set_next_header(IpProtocol::from(protocol));
    packet.set_src_addr(src);
    packet.set_dst_addr(dst);
    packet.fill_checksum();
    bytes
}

/// A UDP datagram in its packet.
pub(super) fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(payload);
    let len = bytes.len() as u16;
    let mut datagram = UdpPacket::new_unchecked(&mut bytes[..]);
    datagram.set_src_port(src.1);
    datagram.set_dst_port(dst.1);
    datagram.set_len(len);
    datagram.fill_checksum(&IpAddress::Ipv4(src.0), &IpAddress::Ipv4(dst.0));
    ipv4(src.0, dst.0, 17, (0, 0, false), &bytes)
}

/// A TCP segment that asks for a connection, in its packet.
pub(super) fn syn(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    let mut segment = TcpPacket::new_unchecked(&mut bytes[..]);
    segment.set_src_port(src.1);
    segment.set_dst_port(dst.1);
    segment.set_header_len(20);
    segment.set_syn(true);
    segment.set_window_len(1000);
    segment.fill_checksum(&IpAddress::Ipv4(src.0), &IpAddress::Ipv4(dst.0));
    ipv4(src.0, dst.0, 6, (0, 0, false), &bytes)
}

/// An ICMP echo request.
pub(super) fn echo_request(payload_len: usize) -> Vec<u8> {
    let mut message = vec![0; 8 + payload_len];
    message[0] = 8;
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The answer to the DNS question that `query` holds (RFC 1035, section 4): one address, or that there is no such name.
pub(super) fn dns_answer(query: &[u8], address: Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let name_len = question.iter().position(|&byte| byte == 0)? + 1;
    let question = question.get(..name_len + 4)?;
    let mut answer = query.get(..2)?.to_vec();
    let code = if address.is_some() { 0x80 } else { 0x83 };
    answer.extend([0x81, code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend_from_slice(question);
    if let Some(address) = address {
        // The name as a pointer, A, IN, 60 s.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that a DNS query asks for.
pub(super) fn dns_name(query: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    let mut rest = query.get(12..)?;
    loop {
        let (&len, behind) = rest.split_first()?;
        if len == 0 {
            return Some(labels.join("."));
        }
        let label = behind.get(..usize::from(len))?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = behind.get(usize::from(len)..)?;
    }
}

/// Whether a frame asks who has `address`.
pub(super) fn is_arp_request_for(frame: &[u8], address: Ipv4Addr) -> bool {
    frame.get(12..14) == Some(&[8, 6])
        && frame.get(20..22) == Some(&[0, 1])
        && frame.get(38..42) == Some(&address.octets())
}

/// Who opens a TCP connection to `server` with this frame, if it does: address, port and first sequence number.
pub(super) fn opening_client(frame: &[u8], server: Ipv4Addr) -> Option<(IpAddr, u16, i32)> {
    let payload = frame.get(14..)?;
    let (src, dst, protocol, bytes): (IpAddr, IpAddr, _, _) = match &frame[12..14] {
        [8, 0] => {
            let packet = Ipv4Packet::new_checked(payload).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
        [0x86, 0xdd] => {
            let packet = Ipv6Packet::new_checked(payload).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
        _ => return None,
    };
    let segment = TcpPacket::new_checked(bytes).ok().filter(|_| protocol == IpProtocol::Tcp)?;
    let is_server = dst == server || dst == ipv6_of(server);
    let opens = is_server && segment.syn() && !segment.ack();
    opens.then(|| (src, segment.src_port(), segment.seq_number().0))
}
