//! Packets that cross the edge: who sends them, and how they are made. All are right to the last checksum unless a name says otherwise.

mod errors;
mod flows;
mod shapes;

use std::net::Ipv4Addr;

use etherparse::{Ipv4Header, PacketBuilder, TcpOptionElement};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::edge::config::Uplink;

use super::Case;
use super::frames::{ARP, GATEWAY, address, ethernet, mac};

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    [flows::cases(), shapes::cases(), errors::cases()].concat()
}

/// The host behind its uplink, port 9, and who is outside.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const HOST_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 9, 9]);
const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 9, 1]);
const UPLINK: u16 = 9;
/// The host behind its other uplink, which carries bare packets, and who is there.
const TUNNEL_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const TUNNEL_REMOTE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);
const TUNNEL: u16 = 10;
/// The one port that NAT has in these cases.
const NAT_PORT: u16 = 20_000;
/// The identifiers of ICMP that it draws first: the replay's seed is always the same.
const NAT_IDENTIFIERS: [u16; 2] = [58_890, 47_534];

const GATEWAY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

type Side = (Ipv4Addr, u16);

/// Where a frame is between: endpoint `n` and its gateway.
fn from_endpoint(n: u8) -> Link {
    PacketBuilder::ethernet2(mac(n).0, mac(GATEWAY).0)
}

/// Between the router and the host.
fn from_router() -> Link {
    PacketBuilder::ethernet2(ROUTER_MAC.0, HOST_MAC.0)
}

/// Between whoever is behind the tunnel and the host.
fn from_tunnel() -> Link {
    PacketBuilder::ethernet2(Uplink::PEER_MAC.0, Uplink::OWN_MAC.0)
}

type Link = etherparse::PacketBuilderStep<etherparse::Ethernet2Header>;

fn datagram(link: Link, src: Side, dst: Side, payload: &[u8]) -> Vec<u8> {
    let builder = link.ipv4(src.0.octets(), dst.0.octets(), 64).udp(src.1, dst.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector takes everything");
    frame
}

/// A segment that opens a connection, or answers that; with the largest segment that Ethernet jumbo frames allow.
fn syn(link: Link, src: Side, dst: Side, answers: bool) -> Vec<u8> {
    syn_with(link, src, dst, answers, &[TcpOptionElement::MaximumSegmentSize(8960)])
}

fn syn_with(link: Link, src: Side, dst: Side, answers: bool, options: &[TcpOptionElement]) -> Vec<u8> {
    let builder = link.ipv4(src.0.octets(), dst.0.octets(), 64).tcp(src.1, dst.1, 1000, 65_000).syn();
    let builder = if answers { builder.ack(1) } else { builder };
    let mut frame = Vec::new();
    builder.options(options).expect("few options").write(&mut frame, b"").expect("a vector takes everything");
    frame
}

fn segment(link: Link, src: Side, dst: Side, payload: &[u8]) -> Vec<u8> {
    let builder = link.ipv4(src.0.octets(), dst.0.octets(), 64).tcp(src.1, dst.1, 1001, 65_000).ack(1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector takes everything");
    frame
}

fn echo_request(link: Link, src: Ipv4Addr, dst: Ipv4Addr, ident: u16, data: &[u8]) -> Vec<u8> {
    let builder = link.ipv4(src.octets(), dst.octets(), 64).icmpv4_echo_request(ident, 1);
    let mut frame = Vec::new();
    builder.write(&mut frame, data).expect("a vector takes everything");
    frame
}

fn echo_reply(link: Link, src: Ipv4Addr, dst: Ipv4Addr, ident: u16, data: &[u8]) -> Vec<u8> {
    let builder = link.ipv4(src.octets(), dst.octets(), 64).icmpv4_echo_reply(ident, 1);
    let mut frame = Vec::new();
    builder.write(&mut frame, data).expect("a vector takes everything");
    frame
}

/// An ICMP error of a type and code about `quoted`, which starts with an IPv4 header. `word` is the second one of its header: a pointer,
/// an MTU, nothing.
fn error(
    link: Link,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    (kind, code): (u8, u8),
    word: u32,
    quoted: &[u8],
) -> Vec<u8> {
    let builder = link.ipv4(src.octets(), dst.octets(), 64).icmpv4_raw(kind, code, word.to_be_bytes());
    let mut frame = Vec::new();
    builder.write(&mut frame, quoted).expect("a vector takes everything");
    frame
}

/// The packet in a frame.
fn packet(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

/// `frame` with another IPv4 header; its lengths and its checksum follow.
fn with_header(frame: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let (mut header, payload) = Ipv4Header::from_slice(packet(frame)).expect("a header");
    change(&mut header);
    header.set_payload_len(payload.len()).expect("a short packet");
    header.header_checksum = header.calc_header_checksum();
    [&frame[..14], &header.to_bytes(), payload].concat()
}

/// As it comes over several hops, or leaves in the end.
fn with_ttl(frame: &[u8], ttl: u8) -> Vec<u8> {
    with_header(frame, |header| header.time_to_live = ttl)
}

fn may_be_cut(frame: &[u8]) -> Vec<u8> {
    with_header(frame, |header| header.dont_fragment = false)
}

/// `frame` in fragments of at most `size` bytes of payload.
fn fragmented(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet(frame).split_at(20);
    let count = payload.len().div_ceil(size);
    let fragment = |(index, part): (usize, &[u8])| {
        with_header(&[&frame[..14], header, part].concat(), |header| {
            header.identification = 77;
            header.dont_fragment = false;
            header.more_fragments = index + 1 < count;
            header.fragment_offset = ((index * size / 8) as u16).try_into().expect("a small offset");
        })
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

fn router_answers() -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 2];
    for (mac, address) in [(ROUTER_MAC, ROUTER), (HOST_MAC, HOST)] {
        message.extend(mac.0);
        message.extend(address.octets());
    }
    message.resize(46, 0);
    ethernet(HOST_MAC, ROUTER_MAC, ARP, &message)
}

/// Endpoint `n` with a port of its own.
fn endpoint(n: u8) -> Side {
    (address(n), 40_000)
}

/// Bytes that are no two words alike.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 256 + i) as u8).collect()
}
