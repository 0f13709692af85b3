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
    let mut header = vec![0x45, 0];
    header.extend((len + 20).to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, datagram].concat()
}

/// ICMPv6 in IPv6.
pub(crate) fn icmpv6(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a packet's length");
    let mut message = message.to_vec();
    let sum = (Sum::pseudo_v6(src, dst, 58, len.into()) + Sum::of(&message)).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[58, 255], &src.octets(), &dst.octets(), &message].concat()
}
