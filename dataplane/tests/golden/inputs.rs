//! What goes into each case. Endpoint `n` has the MAC 02:42:0a:00:00:n, the addresses 10.0.0.n and fd00::n, and
//! unless a case says otherwise it is behind port `n`. The gateway is 10.0.0.1.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::PacketBuilder;
use pontoon_dataplane::{MacAddr, PortId};

type Case = BTreeMap<PortId, Vec<(Duration, Vec<u8>)>>;

/// When every case starts, since 1970: captures have real times, and the replay must not mind.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// Ethertype for experiments (IEEE 802, local experimental ethertype 1): frames without a story.
const EXPERIMENTAL: u16 = 0x88b5;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const GATEWAY: u8 = 1;

/// Every case by the name of its directory.
pub(crate) fn all() -> BTreeMap<&'static str, Case> {
    BTreeMap::from([
        ("ageing", ageing()),
        ("ageing-zero", ageing_zero()),
        ("flood", flood()),
        ("flood-off", flood_off()),
        ("gateway", gateway()),
        ("gateway-fragments", gateway_fragments()),
        ("guard-drops", guard_drops()),
        ("guard-passes", guard_passes()),
        ("hairpin", hairpin()),
        ("isolated", isolated()),
        ("learning-and-forwarding", learning_and_forwarding()),
        ("learning-off", learning_off()),
        ("malformed", malformed()),
        ("nat-errors", nat_errors()),
        ("nat-fragments", nat_fragments()),
        ("nat-hairpin", nat_hairpin()),
        ("nat-outbound", nat_outbound()),
        ("nat-published", nat_published()),
        ("nat-sizes", nat_sizes()),
        ("move", moves()),
        ("mtu", mtu()),
        ("offloads", offloads()),
        ("reserved-groups", reserved_groups()),
        ("sticky", sticky()),
        ("vlan", vlan()),
    ])
}

fn mac(n: u8) -> MacAddr {
    MacAddr([0x02, 0x42, 10, 0, 0, n])
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

fn address6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into())
}

fn link_local(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0042, 0x0aff, 0xfe00, n.into())
}

/// Frames a millisecond apart, unless told to wait.
#[derive(Default)]
struct Timeline {
    now: Duration,
    case: Case,
}

impl Timeline {
    fn send(&mut self, port: u16, frame: Vec<u8>) -> &mut Self {
        self.case.entry(PortId(port)).or_default().push((EPOCH + self.now, frame));
        self.now += Duration::from_millis(1);
        self
    }

    fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// Frames without a story from `src` to `dst`.
    fn talk(&mut self, port: u16, src: u8, dst: u8) -> &mut Self {
        self.send(port, plain(mac(dst), mac(src), 46))
    }

    fn done(&mut self) -> Case {
        std::mem::take(&mut self.case)
    }
}

fn ethernet(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0[..], &ethertype.to_be_bytes()[..], payload].concat()
}

fn plain(dst: MacAddr, src: MacAddr, payload_len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload_len).map(|i| i as u8).collect();
    ethernet(dst, src, EXPERIMENTAL, &payload)
}

fn tagged(frame: &[u8], protocol: u16, control: u16) -> Vec<u8> {
    [&frame[..12], &protocol.to_be_bytes()[..], &control.to_be_bytes()[..], &frame[12..]].concat()
}

/// A UDP datagram with all checksums right.
fn udp(macs: (MacAddr, MacAddr), addresses: (Ipv4Addr, Ipv4Addr), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0.0, macs.1.0)
        .ipv4(addresses.0.octets(), addresses.1.octets(), 64)
        .udp(1000, 2000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector takes everything");
    frame
}

/// From endpoint `src`'s MAC, with any addresses.
fn ip(src: u8, dst: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    udp((mac(src), mac(dst)), (source, destination), b"pontoon")
}

fn ipv6(dst: MacAddr, src: MacAddr, addresses: (Ipv6Addr, Ipv6Addr), next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(addresses.0.octets());
    packet.extend(addresses.1.octets());
    packet.extend(payload);
    ethernet(dst, src, IPV6, &packet)
}

/// A neighbour discovery message with one link-layer address option.
fn neighbour(
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

fn icmpv6_checksum(addresses: (Ipv6Addr, Ipv6Addr), message: &[u8]) -> u16 {
    use etherparse::Icmpv6Type;
    let bytes5to8 = [message[4], message[5], message[6], message[7]];
    let unknown = Icmpv6Type::Unknown { type_u8: message[0], code_u8: message[1], bytes5to8 };
    unknown.calc_checksum(addresses.0.octets(), addresses.1.octets(), &message[8..]).expect("a short message")
}

/// An ARP message, padded to the least that Ethernet carries.
fn arp(
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

fn who_has(src: u8, target: u8) -> Vec<u8> {
    arp(src, MacAddr::BROADCAST, 1, (mac(src), address(src)), (MacAddr::ZERO, address(target)))
}

fn learning_and_forwarding() -> Case {
    let mut line = Timeline::default();
    // 2 is not known yet: flooded. Its answer goes to 3... and from then on both are known.
    line.talk(2, 2, 3).talk(3, 3, 2).talk(2, 2, 3);
    // A second station behind port 2 is reached through it, and the two do not need us.
    line.talk(2, 22, 3).talk(3, 3, 22).talk(2, 22, 2);
    // Port 4 hears only what is flooded.
    line.talk(4, 4, 2).done()
}

fn flood() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 99);
    line.send(2, who_has(2, 3));
    line.send(2, plain(MacAddr([0x01, 0x00, 0x5e, 0, 0, 251]), mac(2), 46));
    line.send(2, plain(MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]), mac(2), 46));
    line.done()
}

fn flood_off() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 99).send(2, plain(MacAddr::BROADCAST, mac(2), 46));
    line.send(2, plain(MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]), mac(2), 46));
    // Towards port 3 alone: nobody takes it.
    line.talk(4, 4, 99);
    // Known addresses are reached all the same.
    line.talk(3, 3, 2).talk(2, 2, 3).done()
}

fn reserved_groups() -> Case {
    let mut line = Timeline::default();
    for last in 0..=0x10 {
        line.send(2, plain(MacAddr([0x01, 0x80, 0xc2, 0, 0, last]), mac(2), 46));
    }
    line.done()
}

fn malformed() -> Case {
    let mut line = Timeline::default();
    let whole = plain(mac(3), mac(2), 46);
    for len in [0, 1, 12, 13, 14] {
        line.send(2, whole[..len].to_vec());
    }
    let tag = tagged(&whole, 0x8100, 5);
    line.send(2, tag[..16].to_vec()).send(2, tag[..17].to_vec()).send(2, tag[..18].to_vec());
    let mut stacked = whole.clone();
    for _ in 0..8 {
        stacked = tagged(&stacked, 0x8100, 5);
    }
    line.send(2, stacked.clone()).send(2, tagged(&stacked, 0x8100, 5));
    line.send(2, plain(mac(3), MacAddr::BROADCAST, 46));
    line.send(2, plain(mac(3), MacAddr([0x33, 0x33, 0, 0, 0, 1]), 46));
    line.send(2, plain(mac(3), MacAddr::ZERO, 46));
    // Frames 14 and 15: metadata whose checksum lies outside, or that cannot be cut (see case.txt).
    line.send(2, whole.clone()).send(2, whole).done()
}

fn isolated() -> Case {
    let mut line = Timeline::default();
    // 2 and 3 are isolated, 4 is not.
    line.send(2, who_has(2, 3)).send(3, who_has(3, 2)).send(4, who_has(4, 2));
    line.talk(2, 2, 3).talk(2, 2, 4).talk(4, 4, 3).done()
}

fn hairpin() -> Case {
    let mut line = Timeline::default();
    // Two stations behind port 2, which may send frames back, and two behind port 3, which may not.
    line.send(2, who_has(2, 22)).talk(2, 22, 2);
    line.send(3, who_has(3, 33)).talk(3, 33, 3).done()
}

fn learning_off() -> Case {
    let mut line = Timeline::default();
    // Port 2 does not learn: frames for 2 are flooded for ever.
    line.talk(2, 2, 3).talk(3, 3, 2).talk(2, 2, 3).talk(3, 3, 2).done()
}

fn ageing() -> Case {
    let mut line = Timeline::default();
    let seconds = Duration::from_secs;
    line.talk(2, 2, 3);
    // Known after 9 s, and still 9 s after it was seen again; not 11 s after that.
    line.wait(seconds(9)).talk(3, 3, 2).talk(2, 2, 3);
    line.wait(seconds(9)).talk(3, 3, 2);
    line.wait(seconds(2)).talk(3, 3, 2).done()
}

fn ageing_zero() -> Case {
    Timeline::default().talk(2, 2, 3).talk(3, 3, 2).talk(2, 2, 3).done()
}

fn moves() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 9).talk(3, 3, 2);
    // 2 turns up behind port 4.
    line.talk(4, 2, 9).talk(3, 3, 2).done()
}

fn sticky() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 9).talk(3, 3, 2);
    // Port 4 is not guarded and says it were 2: that is bridged, but 2 stays where the guard vouches for it.
    line.talk(4, 2, 9).talk(3, 3, 2).done()
}

/// One frame for every rule of the guard, on port 2; port 3 is not guarded.
fn guard_drops() -> Case {
    let mut line = Timeline::default();
    let (own, own6) = (address(2), address6(2));
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // What nobody may do: be the gateway.
    for port in [2u8, 3] {
        let from = u16::from(port);
        line.send(from, ip(GATEWAY, 4, address(port), address(4)));
        line.send(from, ip(port, 4, address(GATEWAY), address(4)));
        line.send(
            from,
            arp(port, MacAddr::BROADCAST, 2, (mac(port), address(GATEWAY)), (mac(4), address(4))),
        );
    }
    // What an endpoint may not do: be another.
    line.send(2, ip(4, 3, own, address(3)));
    line.send(2, ip(2, 3, address(4), address(3)));
    // An address of its sandbox, but not towards the gateway.
    line.send(2, ip(2, 3, Ipv4Addr::new(10, 9, 0, 2), address(3)));
    line.send(2, tagged(&ip(2, 3, address(4), address(3)), 0x8100, 7));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(2), address(4)), (MacAddr::ZERO, address(3))));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(4), own), (MacAddr::ZERO, address(3))));
    line.send(2, ipv6(mac(3), mac(2), (address6(4), address6(3)), 59, b""));
    line.send(2, neighbour(2, 136, (own6, all_nodes), address6(4), mac(2)));
    line.send(2, neighbour(2, 136, (own6, all_nodes), own6, mac(4)));
    line.send(2, neighbour(2, 135, (own6, all_nodes), address6(4), mac(4)));
    line.send(2, neighbour(2, 134, (link_local(2), all_nodes), NOWHERE, mac(2)));
    line.send(2, neighbour(2, 137, (link_local(2), all_nodes), address6(4), mac(2)));
    let whole = ip(2, 3, own, address(3));
    line.send(2, whole[..30].to_vec());
    let cut = ipv6(mac(3), mac(2), (own6, address6(3)), 0, &[58, 3, 0, 0]);
    line.send(2, cut);
    line.done()
}

const NOWHERE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// What an honest endpoint says.
fn guard_passes() -> Case {
    let mut line = Timeline::default();
    let (own, own6) = (address(2), address6(2));
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    line.send(2, ip(2, 3, own, address(3)));
    // DHCP, an ARP probe, an announcement, a request.
    line.send(2, udp((mac(2), MacAddr::BROADCAST), (NOBODY, Ipv4Addr::BROADCAST), b"discover"));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(2), NOBODY), (MacAddr::ZERO, own)));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(2), own), (MacAddr::ZERO, own)));
    line.send(2, who_has(2, 3));
    line.send(2, ipv6(mac(3), mac(2), (own6, address6(3)), 59, b""));
    line.send(2, ipv6(mac(3), mac(2), (link_local(2), address6(3)), 59, b""));
    // Duplicate address detection has no source.
    line.send(2, {
        let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
        let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(own6.octets());
        let checksum = icmpv6_checksum((NOWHERE, solicited), &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        ipv6(group, mac(2), (NOWHERE, solicited), 58, &message)
    });
    line.send(2, neighbour(2, 136, (own6, all_nodes), own6, mac(2)));
    line.send(2, neighbour(2, 135, (own6, all_nodes), address6(3), mac(2)));
    // What is neither IP nor ARP is held against the MAC alone.
    line.talk(2, 2, 3).done()
}

fn vlan() -> Case {
    let mut line = Timeline::default();
    let whole = ip(2, 3, address(2), address(3));
    let back = ip(3, 2, address(3), address(2));
    line.send(3, tagged(&back, 0x8100, 100));
    line.send(2, tagged(&whole, 0x8100, 100));
    line.send(2, tagged(&tagged(&whole, 0x8100, 200), 0x88a8, 100));
    line.send(2, tagged(&whole, 0x8100, 0xe000));
    line.send(2, tagged(&who_has(2, 3), 0x8100, 100));
    // Frame 5: a super-frame in a VLAN.
    line.send(2, tagged(&tcp(2, 3, 3000), 0x8100, 100));
    line.done()
}

fn mtu() -> Case {
    let mut line = Timeline::default();
    // Port 2 takes 1400 bytes, the others 1500.
    line.send(3, plain(mac(2), mac(3), 1500)).send(3, plain(mac(2), mac(3), 1501));
    line.talk(2, 2, 3);
    line.send(3, plain(mac(2), mac(3), 1400)).send(3, plain(mac(2), mac(3), 1401));
    // A tag is no part of the packet.
    line.send(3, tagged(&plain(mac(2), mac(3), 1400), 0x8100, 100));
    // Frames 6 and 7: super-frames, whose segments count.
    line.send(3, tcp(3, 2, 20_000)).send(3, tcp(3, 2, 20_000)).done()
}

/// A TCP segment of `len` bytes of data whose checksum field holds the pseudo-header's sum, 54 bytes of headers.
fn tcp(src: u8, dst: u8, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|i| (i / 256 + i) as u8).collect();
    let builder = PacketBuilder::ethernet2(mac(src).0, mac(dst).0)
        .ipv4(address(src).octets(), address(dst).octets(), 64)
        .tcp(1000, 2000, 0xffff_f000, 8192)
        .ack(1)
        .psh();
    let mut frame = Vec::new();
    builder.write(&mut frame, &payload).expect("a vector takes everything");
    leave_partial(&mut frame, 6, 16);
    frame
}

/// Puts the pseudo-header's sum into a transport's checksum field.
fn leave_partial(frame: &mut [u8], protocol: u8, csum_offset: usize) {
    let len = (frame.len() - 34) as u32;
    let words = frame[26..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + len;
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    frame[34 + csum_offset..36 + csum_offset].copy_from_slice(&(sum as u16).to_be_bytes());
}

/// From port 2 to one that takes everything, one that takes nothing, and one that completes checksums; case.txt has
/// the metadata.
fn offloads() -> Case {
    let mut line = Timeline::default();
    line.talk(3, 3, 99).talk(4, 4, 99).talk(5, 5, 99);
    for dst in 3..=5 {
        line.send(2, tcp(2, dst, 3500));
        line.send(2, tcp(2, dst, 100));
        let data: Vec<u8> = (0..2500).map(|i| i as u8).collect();
        let mut datagrams = udp((mac(2), mac(dst)), (address(2), address(dst)), &data);
        leave_partial(&mut datagrams, 17, 6);
        line.send(2, datagrams);
    }
    // The last one: metadata that says TCP of a frame that is not.
    line.send(2, udp((mac(2), mac(3)), (address(2), address(3)), b"no TCP"));
    line.send(2, udp((mac(2), mac(4)), (address(2), address(4)), b"no TCP"));
    line.done()
}

/// The gateway speaks for itself.
fn gateway() -> Case {
    let mut line = Timeline::default();
    line.send(2, who_has(2, GATEWAY));
    let echo = |ttl, destination: Ipv4Addr, data: &[u8]| {
        let builder = PacketBuilder::ethernet2(mac(2).0, mac(GATEWAY).0)
            .ipv4(address(2).octets(), destination.octets(), ttl)
            .icmpv4_echo_request(7, 1);
        let mut frame = Vec::new();
        builder.write(&mut frame, data).expect("a vector takes everything");
        frame
    };
    line.send(2, echo(64, address(GATEWAY), b"are you there"));
    // Nothing is routed yet.
    line.send(2, echo(64, Ipv4Addr::new(192, 0, 2, 1), b"far away"));
    line.send(2, echo(1, Ipv4Addr::new(192, 0, 2, 1), b"too far away"));
    line.send(2, ip(2, GATEWAY, Ipv4Addr::new(10, 9, 0, 2), address(GATEWAY)));
    line.send(2, ethernet(mac(GATEWAY), mac(2), IPV4, &[0x45; 10]));
    line.send(2, tagged(&echo(64, address(GATEWAY), b"in a VLAN"), 0x8100, 100));
    line.done()
}

/// Echo requests in fragments: in order, turned round, and one that never becomes whole.
fn gateway_fragments() -> Case {
    let mut line = Timeline::default();
    let fragment = |id: u16, message: &[u8], offset: usize, more: bool| {
        let mut header = etherparse::Ipv4Header::new(
            message.len() as u16,
            64,
            etherparse::IpNumber::ICMP,
            address(2).octets(),
            address(GATEWAY).octets(),
        )
        .expect("a short message");
        header.identification = id;
        header.more_fragments = more;
        header.fragment_offset = ((offset / 8) as u16).try_into().expect("a small offset");
        header.header_checksum = header.calc_header_checksum();
        ethernet(mac(GATEWAY), mac(2), IPV4, &[&header.to_bytes()[..], message].concat())
    };
    let echo = etherparse::Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id: 7, seq: 1 });
    let data: Vec<u8> = (0..2000).map(|i| (i / 256 + i) as u8).collect();
    let message = [&etherparse::Icmpv4Header::with_checksum(echo, &data).to_bytes()[..], &data].concat();
    let (first, second) = message.split_at(1480);
    line.send(2, fragment(1, first, 0, true)).send(2, fragment(1, second, 1480, false));
    line.send(2, fragment(2, second, 1480, false)).send(2, fragment(2, first, 0, true));
    line.send(2, fragment(3, first, 0, true)).done()
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
    let mut timeline = Timeline::default();
    timeline.send(2, datagram(from_endpoint(2), inside, outside, b"first")).send(UPLINK, router_answers());
    for fragment in out.into_iter().rev() {
        timeline.send(2, fragment);
    }
    for fragment in back {
        timeline.send(UPLINK, fragment);
    }
    let lost = fragmented(&datagram(from_endpoint(3), (address(3), 1), outside, &payload), 800);
    timeline.send(3, lost[1].clone()).wait(Duration::from_secs(31)).done()
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
