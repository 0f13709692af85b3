//! Frames, and who sends them. Endpoint `n` has the MAC 02:42:0a:00:00:n and the addresses 10.0.0.n and fd00::n; the gateway is
//! 10.0.0.1.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use pontoon_dataplane::MacAddr;

/// Ethertype for experiments (IEEE 802, local experimental ethertype 1): frames without a story.
pub(super) const EXPERIMENTAL: u16 = 0x88b5;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const ARP: u16 = 0x0806;
pub(super) const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
pub(super) const GATEWAY: u8 = 1;

pub(super) fn mac(n: u8) -> MacAddr {
    MacAddr([0x02, 0x42, 10, 0, 0, n])
}

pub(super) fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

pub(super) fn address6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into())
}

pub(super) fn link_local(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0042, 0x0aff, 0xfe00, n.into())
}

pub(super) fn ethernet(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0[..], &ethertype.to_be_bytes()[..], payload].concat()
}

pub(super) fn plain(dst: MacAddr, src: MacAddr, payload_len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload_len).map(|i| i as u8).collect();
    ethernet(dst, src, EXPERIMENTAL, &payload)
}

pub(super) fn tagged(frame: &[u8], protocol: u16, control: u16) -> Vec<u8> {
    [&frame[..12], &protocol.to_be_bytes()[..], &control.to_be_bytes()[..], &frame[12..]].concat()
}

/// A UDP datagram with all checksums right.
pub(super) fn udp(macs: (MacAddr, MacAddr), addresses: (Ipv4Addr, Ipv4Addr), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0.0, macs.1.0)
        .ipv4(addresses.0.octets(), addresses.1.octets(), 64)
        .udp(1000, 2000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector takes everything");
    frame
}

/// From endpoint `src`'s MAC, with any addresses.
pub(super) fn ip(src: u8, dst: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    udp((mac(src), mac(dst)), (source, destination), b"pontoon")
}

pub(super) fn ipv6(
    dst: MacAddr,
    src: MacAddr,
    addresses: (Ipv6Addr, Ipv6Addr),
    next: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(addresses.0.octets());
    packet.extend(addresses.1.octets());
    packet.extend(payload);
    ethernet(dst, src, IPV6, &packet)
}

/// A neighbour discovery message with one link-layer address option.
pub(super) fn neighbour(
    src: u8,
    kind: u8,
    addresses: (Ipv6Addr, Ipv6Addr),
    target: Ipv6Addr,
    option: MacAddr,
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([if kind == 136 { 2 } else { 1 }, 1]);
    message.extend(option.0);
    let checksum = icmpv6_checksum(addresses, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    ipv6(group, mac(src), addresses, 58, &message)
}

pub(super) fn icmpv6_checksum(addresses: (Ipv6Addr, Ipv6Addr), message: &[u8]) -> u16 {
    use etherparse::Icmpv6Type;
    let bytes5to8 = [message[4], message[5], message[6], message[7]];
    let unknown = Icmpv6Type::Unknown { type_u8: message[0], code_u8: message[1], bytes5to8 };
    unknown.calc_checksum(addresses.0.octets(), addresses.1.octets(), &message[8..]).expect("a short message")
}

/// An ARP message, padded to the least that Ethernet carries.
pub(super) fn arp(
    src: u8,
    dst: MacAddr,
    operation: u16,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        message.extend(mac.0);
        message.extend(address.octets());
    }
    message.resize(46, 0);
    ethernet(dst, mac(src), ARP, &message)
}

pub(super) fn who_has(src: u8, target: u8) -> Vec<u8> {
    arp(src, MacAddr::BROADCAST, 1, (mac(src), address(src)), (MacAddr::ZERO, address(target)))
}

/// Puts the pseudo-header's sum into the checksum field of the transport behind an IPv4 header without options: what a sender
/// leaves to its device.
pub(super) fn leave_partial(frame: &mut [u8], protocol: u8, csum_offset: usize) {
    let len = (frame.len() - 34) as u32;
    let words = frame[26..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + len;
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    frame[34 + csum_offset..36 + csum_offset].copy_from_slice(&(sum as u16).to_be_bytes());
}
