//! Frames as a test writes them.

use std::net::{Ipv4Addr, Ipv6Addr};

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::checksum::{Sum, checksum};

/// An ethertype for local experiments (IEEE 802), which no stack takes an interest in.
pub(crate) const EXPERIMENTAL: u16 = 0x88b5;

/// Bytes that tell one frame of a test from all others.
pub(crate) type Mark = [u8; 8];

/// The `number`th mark.
pub(crate) fn mark(number: u8) -> Mark {
    *b"pontoon\0".map(|byte| byte ^ 0x80 ^ number).first_chunk().expect("eight bytes")
}

/// Whether a frame carries the mark.
pub(crate) fn has(frame: &[u8], mark: Mark) -> bool {
    frame.windows(mark.len()).any(|window| window == mark)
}

/// An Ethernet frame.
pub(crate) fn ethernet(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &ethertype.to_be_bytes(), payload].concat()
}

/// A frame that carries nothing but the mark.
pub(crate) fn plain(dst: MacAddr, src: MacAddr, mark: Mark) -> Vec<u8> {
    ethernet(dst, src, EXPERIMENTAL, &[&mark[..], &[0; 40]].concat())
}

/// ARP over Ethernet (RFC 826), padded with the mark to the smallest Ethernet frame.
pub(crate) fn arp(
    operation: u16,
    (sender, sender_ip): (MacAddr, Ipv4Addr),
    (target, target_ip): (MacAddr, Ipv4Addr),
    mark: Mark,
) -> Vec<u8> {
    [
        &[0, 1, 8, 0, 6, 4][..],
        &operation.to_be_bytes(),
        &sender.0,
        &sender_ip.octets(),
        &target.0,
        &target_ip.octets(),
        &mark,
        &[0; 10],
    ]
    .concat()
}

/// UDP in IPv4, the checksum of UDP complete, or only its pseudo-header's part.
pub(crate) fn udp(
    (src, src_port): (Ipv4Addr, u16),
    (dst, dst_port): (Ipv4Addr, u16),
    payload: &[u8],
    partial: bool,
) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 8).expect("a packet's length");
    let mut datagram = [src_port, dst_port, len, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let pseudo = Sum::pseudo_v4(src, dst, 17, len);
    let sum = if partial { pseudo.partial() } else { (pseudo + Sum::of(&datagram)).checksum() };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ipv4(src, dst, 17, &datagram)
}

/// The flags of TCP's header.
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;
}

/// What a TCP segment says beside its ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    /// The option of that name, as the only one.
    pub(crate) mss: Option<u16>,
}

/// TCP without payload in IPv4.
pub(crate) fn tcp(
    (src, src_port): (Ipv4Addr, u16),
    (dst, dst_port): (Ipv4Addr, u16),
    segment: Segment,
) -> Vec<u8> {
    let options = segment.mss.map(|mss| [[2, 4], mss.to_be_bytes()].concat()).unwrap_or_default();
    let len = 20 + options.len() as u16;
    let mut header = [src_port, dst_port].map(u16::to_be_bytes).concat();
    header.extend([segment.sequence, segment.acknowledgement].map(u32::to_be_bytes).concat());
    header.extend([(len as u8 / 4) << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    header.extend(options);
    let sum = (Sum::pseudo_v4(src, dst, 6, len) + Sum::of(&header)).checksum();
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(src, dst, 6, &header)
}

/// The sender and the segment of a TCP packet without IP options.
pub(crate) fn segment(packet: &[u8]) -> (Ipv4Addr, u16, Segment) {
    let word = |at: usize| u32::from_be_bytes(*packet[at..].first_chunk().expect("a whole header"));
    let port = (word(20) >> 16) as u16;
    // Linux puts this option first.
    let mss = packet.get(40..44).filter(|option| option[..2] == [2, 4]);
    let mss = mss.map(|option| u16::from_be_bytes([option[2], option[3]]));
    let segment = Segment { sequence: word(24), acknowledgement: word(28), flags: packet[33], mss };
    (Ipv4Addr::from(word(12)), port, segment)
}

/// An IPv4 packet that may not be fragmented, with the identification 0x7067.
pub(crate) fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 20).expect("a packet's length");
    let mut header = vec![0x45, 0];
    header.extend(len.to_be_bytes());
    header.extend([0x70, 0x67, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    with_checksum(&mut header);
    [&header, payload].concat()
}

/// An ICMP error about a packet, of which as much is quoted as is given.
pub(crate) fn icmp_error(src: Ipv4Addr, dst: Ipv4Addr, (kind, code): (u8, u8), quoted: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(src, dst, 1, &message)
}

/// Cuts a packet into fragments that carry `size` bytes each, a multiple of eight.
pub(crate) fn fragments(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let pieces = payload.chunks(size).enumerate();
    let cut = |(number, piece): (usize, &[u8])| {
        let mut header = header.to_vec();
        let more = if number * size + piece.len() < payload.len() { 0x2000 } else { 0 };
        let offset = u16::try_from(number * size / 8).expect("an offset");
        header[2..4].copy_from_slice(&(piece.len() as u16 + 20).to_be_bytes());
        header[6..8].copy_from_slice(&(more | offset).to_be_bytes());
        with_checksum(&mut header);
        [&header, piece].concat()
    };
    pieces.map(cut).collect()
}

fn with_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// ICMPv6 in IPv6.
pub(crate) fn icmpv6(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a packet's length");
    let mut message = message.to_vec();
    let sum = (Sum::pseudo_v6(src, dst, 58, len.into()) + Sum::of(&message)).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[58, 255], &src.octets(), &dst.octets(), &message].concat()
}
