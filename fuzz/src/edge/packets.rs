//! Packets of the fuzzed edge: made by hand, and read by hand, so that nothing is held against itself.

use std::net::Ipv4Addr;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::edge::config::Uplink;
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};

use super::{HOST, ROUTER_MAC, TUNNEL, UPLINK, UPLINK_MAC, gateway, mac};

/// Bytes in front of a packet.
pub(super) const ETHERNET: usize = 14;

/// TCP, UDP or an ICMP echo of that flow, with a right checksum. `flags` are TCP's.
pub(super) fn message(tuple: &Tuple, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [from, to] = [tuple.src_port.to_be_bytes(), tuple.dst_port.to_be_bytes()];
    let mut message = match tuple.protocol {
        Protocol::Tcp => [&from[..], &to, &[0; 8], &[0x50, flags], &[1, 0, 0, 0, 0, 0], payload].concat(),
        Protocol::Udp => {
            let len = (8 + payload.len() as u16).to_be_bytes();
            [&from[..], &to, &len, &[0, 0], payload].concat()
        }
        Protocol::Icmp if tuple.dst_port == 0 => [&[8, 0, 0, 0], &from[..], &[0, 1], payload].concat(),
        Protocol::Icmp => [&[0, 0, 0, 0], &to[..], &[0, 1], payload].concat(),
    };
    let at = checksum_at(tuple.protocol);
    let sum = checksum(&[&pseudo(tuple, message.len())[..], &message].concat());
    let sum = if sum == 0 && tuple.protocol == Protocol::Udp { 0xffff } else { sum };
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ICMP error about what `quoted` begins with.
pub(super) fn error([kind, code]: [u8; 2], word: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &word, quoted].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// Where the checksum stands.
pub(super) fn checksum_at(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => 2,
    }
}

fn pseudo(tuple: &Tuple, len: usize) -> Vec<u8> {
    let [src, dst] = addresses(tuple).map(|address| address.octets());
    match tuple.protocol {
        Protocol::Icmp => Vec::new(),
        protocol => [&src[..], &dst, &[0, protocol as u8], &(len as u16).to_be_bytes()].concat(),
    }
}

/// Whether the checksum over a whole message of that flow is right.
pub(super) fn is_sound(tuple: &Tuple, message: &[u8]) -> bool {
    let has_none = tuple.protocol == Protocol::Udp && message[6..8] == [0, 0];
    has_none || checksum(&[&pseudo(tuple, message.len())[..], message].concat()) == 0
}

/// A packet: its TTL and what says which fragment it is, its identification.
pub(crate) fn ipv4(
    protocol: u8,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    (ttl, place): (u8, u16),
    ident: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + payload.len() as u16).to_be_bytes());
    header.extend([0, ident]);
    header.extend(place.to_be_bytes());
    header.extend([ttl, protocol, 0, 0]);
    header.extend([src.octets(), dst.octets()].concat());
    finish(&mut header);
    [header, payload.to_vec()].concat()
}

/// Sets the checksum of the header that a packet begins with.
pub(super) fn finish(packet: &mut [u8]) {
    let end = header_len(packet).min(packet.len());
    packet[10..12].fill(0);
    let sum = checksum(&packet[..end]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
}

pub(super) fn header_len(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

/// The packet in a frame as whoever is behind that port sends it to us.
pub(super) fn framed(port: u16, packet: &[u8]) -> Vec<u8> {
    let (dst, src) = match port {
        UPLINK => (UPLINK_MAC, ROUTER_MAC),
        TUNNEL => (Uplink::OWN_MAC, Uplink::PEER_MAC),
        HOST => (mac(2), gateway(0).mac),
        port => (gateway(u8::from(port == 5)).mac, mac(port as u8)),
    };
    between(dst, src, packet)
}

pub(super) fn between(dst: MacAddr, src: MacAddr, packet: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &[8, 0], packet].concat()
}

/// Source and destination.
pub(super) fn addresses(tuple: &Tuple) -> [Ipv4Addr; 2] {
    [tuple.src, tuple.dst].map(|address| address.to_ipv4_mapped().expect("all of them are IPv4"))
}

/// Source and destination of a packet.
pub(super) fn ends(packet: &[u8]) -> [Ipv4Addr; 2] {
    [12, 16].map(|at| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]))
}

/// The flow of a packet, as far as it is there: none of what sessions are not kept for and of fragments other than the first.
pub(super) fn flow(packet: &[u8]) -> Option<Tuple> {
    let first: &[u8; 20] = packet.first_chunk()?;
    let begin: &[u8; 8] = packet.get(header_len(first)..)?.first_chunk()?;
    if first[0] >> 4 != 4 || header_len(first) < 20 || first[6] & 0x1f != 0 || first[7] != 0 {
        return None;
    }
    let word = |at: usize| u16::from_be_bytes([begin[at], begin[at + 1]]);
    let (from, to) = match (first[9], begin[0]) {
        (6 | 17, _) => (word(0), word(2)),
        (1, 8) => (word(4), 0),
        (1, 0) => (0, word(4)),
        _ => return None,
    };
    let [src, dst] = ends(first);
    Some(Tuple::v4(Protocol::from_number(first[9])?, (src, from), (dst, to)))
}
