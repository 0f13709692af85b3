//! Packets that cross the edge: NAT out of a network, into one, and back into it.

use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::PacketBuilder;
use pontoon_dataplane::MacAddr;

use super::frames::{ARP, GATEWAY, address, ethernet, mac};
use super::{Case, Timeline};

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("nat-errors", nat_errors()),
        ("nat-fragments", nat_fragments()),
        ("nat-hairpin", nat_hairpin()),
        ("nat-outbound", nat_outbound()),
        ("nat-published", nat_published()),
        ("nat-sizes", nat_sizes()),
    ]
}

/// The host behind its uplink, port 9, and who is outside.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const HOST_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 9, 9]);
const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 9, 1]);
const UPLINK: u16 = 9;
/// The one port that NAT has in these cases.
const NAT_PORT: u16 = 20_000;

type Side = (Ipv4Addr, u16);

/// Between endpoint `n` and its gateway; between the router and the host.
fn from_endpoint(n: u8) -> PacketBuilderStep {
    PacketBuilder::ethernet2(mac(n).0, mac(GATEWAY).0)
}

fn from_router() -> PacketBuilderStep {
    PacketBuilder::ethernet2(ROUTER_MAC.0, HOST_MAC.0)
}

type PacketBuilderStep = etherparse::PacketBuilderStep<etherparse::Ethernet2Header>;

fn datagram(link: PacketBuilderStep, src: Side, dst: Side, payload: &[u8]) -> Vec<u8> {
    let builder = link.ipv4(src.0.octets(), dst.0.octets(), 64).udp(src.1, dst.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector takes everything");
    frame
}

/// A segment that opens a connection, or answers that; with the largest segment that Ethernet jumbo frames allow.
fn syn(link: PacketBuilderStep, src: Side, dst: Side, answers: bool) -> Vec<u8> {
    let builder = link.ipv4(src.0.octets(), dst.0.octets(), 64).tcp(src.1, dst.1, 1000, 65_000).syn();
    let builder = if answers { builder.ack(1) } else { builder };
    let options = [etherparse::TcpOptionElement::MaximumSegmentSize(8960)];
    let mut frame = Vec::new();
    builder.options(&options).expect("one option").write(&mut frame, b"").expect("a vector takes everything");
    frame
}

fn segment(link: PacketBuilderStep, src: Side, dst: Side, payload: &[u8]) -> Vec<u8> {
    let builder = link.ipv4(src.0.octets(), dst.0.octets(), 64).tcp(src.1, dst.1, 1001, 65_000).ack(1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector takes everything");
    frame
}

/// An ICMP destination unreachable about the packet in `frame`.
fn unreachable(link: PacketBuilderStep, src: Ipv4Addr, dst: Ipv4Addr, code: u8, frame: &[u8]) -> Vec<u8> {
    let quote = &frame[14..];
    let builder = link.ipv4(src.octets(), dst.octets(), 64).icmpv4_raw(3, code, [0, 0, 5, 0]);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, quote).expect("a vector takes everything");
    bytes
}

/// `frame` in fragments of at most `size` bytes of payload.
fn fragmented(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = frame[14..].split_at(20);
    let count = payload.len().div_ceil(size);
    let fragment = |(index, part): (usize, &[u8])| {
        let mut header = etherparse::Ipv4Header::from_slice(header).expect("a header").0;
        header.total_len = 20 + part.len() as u16;
        header.identification = 77;
        header.dont_fragment = false;
        header.more_fragments = index + 1 < count;
        header.fragment_offset = ((index * size / 8) as u16).try_into().expect("a small offset");
        header.header_checksum = header.calc_header_checksum();
        [&frame[..14], &header.to_bytes()[..], part].concat()
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

/// TCP and UDP of endpoint 2 go out and are answered; what nobody asked for is the host's own.
fn nat_outbound() -> Case {
    let (inside, outside, nat) = ((address(2), 40_000), (REMOTE, 53), (HOST, NAT_PORT));
    let web = (REMOTE, 80);
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, outside, b"question"))
        .send(UPLINK, router_answers())
        .send(UPLINK, datagram(from_router(), outside, nat, b"answer"))
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(UPLINK, syn(from_router(), web, nat, true))
        .send(2, segment(from_endpoint(2), inside, web, b"GET /"))
        .send(UPLINK, datagram(from_router(), (REMOTE, 54), nat, b"nobody asked"))
        .send(2, datagram(from_endpoint(2), inside, (Ipv4Addr::new(203, 0, 113, 1), 53), b"no route"))
        .wait(Duration::from_secs(301))
        .send(UPLINK, datagram(from_router(), outside, nat, b"too late"))
        .done()
}

/// A client reaches endpoint 3 by the host's port 80 and keeps its address.
fn nat_published() -> Case {
    let (client, host, server) = ((REMOTE, 5000), (HOST, 80), (address(3), 8080));
    Timeline::default()
        .send(UPLINK, syn(from_router(), client, host, false))
        .send(3, syn(from_endpoint(3), server, client, true))
        .send(UPLINK, segment(from_router(), client, host, b"GET /"))
        .send(3, segment(from_endpoint(3), server, client, b"200 OK"))
        .send(UPLINK, syn(from_router(), client, (HOST, 81), false))
        .done()
}

/// Endpoints 2 and 3 reach endpoint 3 by the host's address; 2 reaches the host itself.
fn nat_hairpin() -> Case {
    let (host, server) = ((HOST, 80), (address(3), 8080));
    let gateway = (Ipv4Addr::new(10, 0, 0, 1), NAT_PORT);
    Timeline::default()
        .send(2, syn(from_endpoint(2), (address(2), 40_000), host, false))
        .send(3, syn(from_endpoint(3), server, gateway, true))
        .send(2, segment(from_endpoint(2), (address(2), 40_000), host, b"GET /"))
        .send(2, syn(from_endpoint(2), (address(2), 40_001), (HOST, 22), false))
        .send(2, datagram(from_endpoint(2), (address(2), 40_001), (address(3), 8080), b"by the gateway"))
        .done()
}

/// Fragments out, the last one first, and back in order; one that is never followed by its first.
fn nat_fragments() -> Case {
    let (inside, outside, nat) = ((address(2), 40_000), (REMOTE, 53), (HOST, NAT_PORT));
    let payload: Vec<u8> = (0..2000u16).map(|i| i as u8).collect();
    let out = fragmented(&datagram(from_endpoint(2), inside, outside, &payload), 800);
    let back = fragmented(&datagram(from_router(), outside, nat, &payload), 800);
    let lost = fragmented(&datagram(from_endpoint(3), (address(3), 1), outside, &payload), 800);
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, outside, b"first"))
        .send(UPLINK, router_answers())
        .send_all(2, out.into_iter().rev())
        .send_all(UPLINK, back)
        .send(3, lost[1].clone())
        .wait(Duration::from_secs(31))
        .done()
}

/// Errors about translated packets, from outside and from inside, and about none.
fn nat_errors() -> Case {
    let (inside, outside, nat) = ((address(2), 40_000), (REMOTE, 53), (HOST, NAT_PORT));
    let far = Ipv4Addr::new(203, 0, 113, 77);
    let translated = datagram(from_router(), nat, outside, b"question");
    let answer = datagram(from_endpoint(2), outside, inside, b"answer");
    let strange = datagram(from_router(), nat, (REMOTE, 54), b"question");
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, outside, b"question"))
        .send(UPLINK, router_answers())
        .send(UPLINK, unreachable(from_router(), far, HOST, 4, &translated))
        .send(2, unreachable(from_endpoint(2), address(2), REMOTE, 3, &answer))
        .send(UPLINK, unreachable(from_router(), far, HOST, 3, &strange))
        .done()
}

/// A hop of 1280 bytes: what may be is cut, what may not is refused, SYNs are clamped, a super-frame goes whole.
fn nat_sizes() -> Case {
    let (inside, outside) = ((address(2), 40_000), (REMOTE, 53));
    let large = datagram(from_endpoint(2), inside, outside, &[0x5a; 1400]);
    let mut cuttable = large.clone();
    cuttable[20] = 0;
    let sum = etherparse::Ipv4Header::from_slice(&cuttable[14..]).expect("a header").0.calc_header_checksum();
    cuttable[24..26].copy_from_slice(&sum.to_be_bytes());
    let mut super_frame = segment(from_endpoint(2), inside, (REMOTE, 80), &[0x5a; 5000]);
    // What the sender leaves to its device is the pseudo-header's sum.
    let partial = pseudo_header_sum(inside.0, REMOTE, 5020);
    super_frame[50..52].copy_from_slice(&partial.to_be_bytes());
    Timeline::default()
        .send(2, syn(from_endpoint(2), inside, (REMOTE, 80), false))
        .send(UPLINK, router_answers())
        .send(2, large)
        .send(2, cuttable)
        .send(2, super_frame)
        .send(2, segment(from_endpoint(2), inside, (REMOTE, 80), &[0x5a; 1300]))
        .done()
}

fn pseudo_header_sum(src: Ipv4Addr, dst: Ipv4Addr, len: u16) -> u16 {
    let words = [src.octets(), dst.octets()].concat();
    let sum: u32 = words.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>()
        + 6
        + u32::from(len);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
