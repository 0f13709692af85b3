//! Frames as they occur on a network, and some that should not.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::icmpv6::NeighborAdvertisementHeader;
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpNumber,
    PacketBuilder,
};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::frame::{ETHERNET_HEADER_LEN, ethertype};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::memory::OwnedFrame;

use crate::random::Random;

/// Somebody who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// His MAC.
    pub mac: MacAddr,
    /// The port that he is behind.
    pub port: usize,
    /// His IPv4 address.
    pub v4: Ipv4Addr,
    /// His IPv6 address.
    pub v6: Ipv6Addr,
}

impl Station {
    /// Number `number`, behind `port`.
    pub fn new(number: u16, port: usize) -> Station {
        let [high, low] = number.to_be_bytes();
        Station {
            mac: MacAddr([0x02, 0x42, 10, 88, high, low]),
            port,
            v4: Ipv4Addr::new(10, 88, high, low),
            v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0x42, 0x0aff, 0xfe58, number),
        }
    }
}

/// What is in a frame behind the MACs.
#[derive(Debug, Clone)]
pub struct Content {
    /// The EtherType, or a length.
    pub ethertype: u16,
    /// What follows.
    pub payload: Vec<u8>,
    /// Where it goes if it says so itself: a group.
    pub group: Option<MacAddr>,
}

impl Content {
    fn new(ethertype: u16, payload: Vec<u8>) -> Content {
        Content { ethertype, payload, group: None }
    }

    fn to(self, group: MacAddr) -> Content {
        Content { group: Some(group), ..self }
    }
}

/// What stations say to one another, most of it fit for an MTU of `mtu` bytes.
pub fn content(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    match random.below(20) {
        0..2 => arp(random, from, to),
        2..5 => udp4(random, from, to, mtu),
        5..8 => tcp4(random, from, to, mtu),
        8 => echo4(random, from, to, mtu),
        9..11 => udp6(random, from, to, mtu),
        11 => tcp6(random, from, to, mtu),
        12 => neighbour6(random, from, to),
        13 => igmp(random, from),
        14 => mld(random, from),
        15 => fragment(random, from, to),
        16 => llc(random),
        17 => unknown(random, mtu),
        18 => link_local(random),
        _ => malformed(random, from, to, mtu),
    }
}

/// A frame of that content; with each of `tags` (TPID and TCI, outer first) between MACs and type.
pub fn ethernet(dst: MacAddr, src: MacAddr, tags: &[(u16, u16)], content: &Content) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()]).flatten();
    let mut bytes: Vec<u8> = dst.0.into_iter().chain(src.0).chain(tags).collect();
    bytes.extend(content.ethertype.to_be_bytes());
    bytes.extend(&content.payload);
    bytes
}

/// A length that is small, full, or anything between, at most `most`.
fn length(random: &mut Random, most: usize) -> usize {
    match random.below(4) {
        0 => random.below(64.min(most + 1)),
        1 => most - random.below(8.min(most + 1)),
        _ => random.below(400.min(most + 1)),
    }
}

fn payload(random: &mut Random, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; length(random, most)];
    random.fill(&mut bytes);
    bytes
}

/// What a builder makes of a payload, without the Ethernet header that it does not have.
macro_rules! built {
    ($builder:expr, $payload:expr) => {{
        let builder = $builder;
        let mut bytes = Vec::with_capacity(builder.size($payload.len()));
        // Writing to memory fails only where a length does not fit its field, and those here do.
        let _ = builder.write(&mut bytes, $payload);
        bytes
    }};
}

fn arp(random: &mut Random, from: &Station, to: &Station) -> Content {
    let kind = random.below(4);
    let operation = if kind < 2 { ArpOperation::REQUEST } else { ArpOperation::REPLY };
    // Gratuitous ones are about the sender himself.
    let target = if kind.is_multiple_of(2) { to.v4 } else { from.v4 };
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        operation,
        &from.mac.0,
        &from.v4.octets(),
        &to.mac.0,
        &target.octets(),
    );
    let mut bytes = packet.map(|packet| packet.to_bytes().to_vec()).unwrap_or_default();
    if random.chance(1, 2) {
        // As a card pads it.
        bytes.resize(46, 0);
    }
    let content = Content::new(ethertype::ARP, bytes);
    if kind < 2 { content.to(MacAddr::BROADCAST) } else { content }
}

fn udp4(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    let data = payload(random, mtu - 28);
    let (ports, kind) = (random.bits() as u32, random.below(8));
    let builder = |to: Ipv4Addr| {
        PacketBuilder::ipv4(from.v4.octets(), to.octets(), 64).udp(ports as u16, (ports >> 16) as u16)
    };
    match kind {
        0 => {
            Content::new(ethertype::IPV4, built!(builder(Ipv4Addr::BROADCAST), &data)).to(MacAddr::BROADCAST)
        }
        1 => {
            // RFC 1112, section 6.4: the low 23 bits of the address.
            let group = Ipv4Addr::new(239, 1, random.below(256) as u8, random.below(256) as u8);
            let [_, b, c, d] = group.octets();
            let mac = MacAddr([0x01, 0, 0x5e, b & 0x7f, c, d]);
            Content::new(ethertype::IPV4, built!(builder(group), &data)).to(mac)
        }
        _ => Content::new(ethertype::IPV4, built!(builder(to.v4), &data)),
    }
}

fn tcp4(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    let data = payload(random, mtu - 40);
    let numbers = random.bits();
    let builder = PacketBuilder::ipv4(from.v4.octets(), to.v4.octets(), 64).tcp(
        numbers as u16,
        80,
        (numbers >> 16) as u32,
        (numbers >> 48) as u16,
    );
    let bytes = match random.below(4) {
        0 => built!(builder.syn(), &[0u8; 0]),
        1 => built!(builder.fin().ack(numbers as u32), &[0u8; 0]),
        _ => built!(builder.psh().ack(numbers as u32), &data),
    };
    Content::new(ethertype::IPV4, bytes)
}

fn echo4(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    let data = payload(random, mtu - 28);
    let echo = IcmpEchoHeader { id: random.bits() as u16, seq: random.bits() as u16 };
    let kind = if random.chance(1, 2) { Icmpv4Type::EchoRequest(echo) } else { Icmpv4Type::EchoReply(echo) };
    let builder = PacketBuilder::ipv4(from.v4.octets(), to.v4.octets(), 64).icmpv4(kind);
    Content::new(ethertype::IPV4, built!(builder, &data))
}

fn udp6(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    let data = payload(random, mtu - 48);
    let ports = random.bits() as u32;
    let builder = PacketBuilder::ipv6(from.v6.octets(), to.v6.octets(), 64).udp(ports as u16, 53);
    Content::new(ethertype::IPV6, built!(builder, &data))
}

fn tcp6(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    let data = payload(random, mtu - 60);
    let numbers = random.bits();
    let builder = PacketBuilder::ipv6(from.v6.octets(), to.v6.octets(), 64).tcp(
        numbers as u16,
        443,
        numbers as u32,
        512,
    );
    Content::new(ethertype::IPV6, built!(builder.ack(1), &data))
}

/// Neighbour solicitations go to the target's solicited-node group (RFC 4861, section 4.3), advertisements to whoever asked.
fn neighbour6(random: &mut Random, from: &Station, to: &Station) -> Content {
    let [.., a, b, c] = to.v6.octets();
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&[a, b, c]);
    if random.chance(1, 2) {
        let options = [&to.v6.octets()[..], &[1, 1], &from.mac.0].concat();
        let builder =
            PacketBuilder::ipv6(from.v6.octets(), group, 255).icmpv6(Icmpv6Type::NeighborSolicitation);
        return Content::new(ethertype::IPV6, built!(builder, &options))
            .to(MacAddr([0x33, 0x33, 0xff, a, b, c]));
    }
    let options = [&from.v6.octets()[..], &[2, 1], &from.mac.0].concat();
    let header = NeighborAdvertisementHeader { router: false, solicited: true, r#override: true };
    let builder = PacketBuilder::ipv6(from.v6.octets(), to.v6.octets(), 255)
        .icmpv6(Icmpv6Type::NeighborAdvertisement(header));
    Content::new(ethertype::IPV6, built!(builder, &options))
}

/// A report of IGMPv2, or a query: what snooping bridges look at, and this one is told not to.
fn igmp(random: &mut Random, from: &Station) -> Content {
    let kind = *random.pick(&[0x11u8, 0x16, 0x17]);
    let group = if kind == 0x11 { Ipv4Addr::new(224, 0, 0, 1) } else { Ipv4Addr::new(239, 1, 2, 3) };
    let message = [&[kind, 10, 0, 0][..], &group.octets()].concat();
    let builder = PacketBuilder::ipv4(from.v4.octets(), group.octets(), 1);
    let mut bytes = Vec::new();
    let _ = builder.write(&mut bytes, IpNumber::IGMP, &message);
    let [_, b, c, d] = group.octets();
    Content::new(ethertype::IPV4, bytes).to(MacAddr([0x01, 0, 0x5e, b & 0x7f, c, d]))
}

/// A report of MLD (RFC 2710), or a query.
fn mld(random: &mut Random, from: &Station) -> Content {
    let kind = *random.pick(&[130u8, 131, 132, 143]);
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, if kind == 143 { 0x16 } else { 0x1234 });
    let builder = PacketBuilder::ipv6(from.v6.octets(), group.octets(), 1).icmpv6_raw(kind, 0, [0; 4]);
    let [.., a, b, c, d] = group.octets();
    Content::new(ethertype::IPV6, built!(builder, &group.octets())).to(MacAddr([0x33, 0x33, a, b, c, d]))
}

/// A fragment of an IPv4 packet: no bridge puts it together.
fn fragment(random: &mut Random, from: &Station, to: &Station) -> Content {
    let mut content = udp4(random, from, to, 600);
    if let [_, _, _, _, _, _, high, low, ..] = &mut content.payload[..] {
        (*high, *low) = (0x20 | random.below(32) as u8, random.below(256) as u8);
    }
    content
}

/// IEEE 802.3 with a length: LLC, SNAP, IPX without any.
fn llc(random: &mut Random) -> Content {
    const HEADS: [&[u8]; 5] = [
        &[0x42, 0x42, 0x03],
        &[0xaa, 0xaa, 0x03, 0, 0, 0, 0x08, 0x00],
        &[0xaa, 0xaa, 0x03, 0, 0, 0x0c, 0x20, 0x00],
        &[0xff, 0xff, 0, 0x22],
        &[0xe0, 0xe0, 0x03],
    ];
    let head = *random.pick(&HEADS);
    let body = [head, &payload(random, 100)].concat();
    // A length that fits, or one that does not.
    let len = if random.chance(3, 4) { body.len() as u16 } else { random.below(0x0600) as u16 };
    Content::new(len, body)
}

fn unknown(random: &mut Random, mtu: usize) -> Content {
    let kind = match random.below(3) {
        // LLDP, MACsec, MPLS, PPPoE, EAPOL, PTP, the old loop-back test: names that a kernel might know.
        0 => *random.pick(&[0x88cc, 0x88e5, 0x8847, 0x8864, 0x888e, 0x88f7, 0x9000, 0x8808, 0x8809]),
        1 => random.between(0x0600, 0xffff) as u16,
        _ => 0x88b5,
    };
    // A tag would make the rest a type.
    let kind = if matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN) { 0x88b6 } else { kind };
    Content::new(kind, payload(random, mtu))
}

/// Groups that no bridge forwards (IEEE 802.1Q, table 8-1), and their neighbours, which it does.
fn link_local(random: &mut Random) -> Content {
    let last = random.below(0x30) as u8;
    let content = if random.chance(1, 2) { llc(random) } else { unknown(random, 200) };
    content.to(MacAddr([0x01, 0x80, 0xc2, 0, 0, last]))
}

/// Something valid that was damaged, or cut.
fn malformed(random: &mut Random, from: &Station, to: &Station, mtu: usize) -> Content {
    let mut content = match random.below(3) {
        0 => arp(random, from, to),
        1 => udp4(random, from, to, mtu),
        _ => tcp6(random, from, to, mtu),
    };
    let len = content.payload.len();
    if random.chance(1, 2) {
        content.payload.truncate(random.below(len + 1));
    } else if len > 0 {
        for _ in 0..random.between(1, 8) {
            content.payload[random.below(len.min(64))] = random.bits() as u8;
        }
    }
    content
}

/// A frame whose checksum is left to whoever sends it, or a super-frame: what a sandbox's kernel hands over. `None`: those that it
/// never does so with.
pub fn left_undone(random: &mut Random, from: &Station, to: &Station) -> Option<OwnedFrame> {
    let is_v6 = random.chance(1, 3);
    let network_len = if is_v6 { 40 } else { 20 };
    let segment = 1500 - network_len - 20;
    let is_super = random.chance(1, 2);
    let data = if is_super { random.between(segment + 1, 20_000) } else { random.below(segment + 1) };
    let mut data = vec![0; data];
    let varied = data.len().min(64);
    random.fill(&mut data[..varied]);
    let bytes = if is_v6 {
        let builder = PacketBuilder::ipv6(from.v6.octets(), to.v6.octets(), 64).tcp(4000, 80, 1, 512);
        built!(builder.ack(1), &data)
    } else {
        let builder = PacketBuilder::ipv4(from.v4.octets(), to.v4.octets(), 64).tcp(4000, 80, 1, 512);
        built!(builder.ack(1), &data)
    };
    let content = Content::new(if is_v6 { ethertype::IPV6 } else { ethertype::IPV4 }, bytes);
    let mut bytes = ethernet(to.mac, from.mac, &[], &content);
    let csum_start = ETHERNET_HEADER_LEN + network_len;
    let pseudo = pseudo_header_sum(&bytes[ETHERNET_HEADER_LEN..], network_len)?;
    bytes.get_mut(csum_start + 16..csum_start + 18)?.copy_from_slice(&pseudo.to_be_bytes());
    let offload = Offload {
        needs_checksum: true,
        gso: match (is_super, is_v6) {
            (false, _) => Gso::None,
            (true, false) => Gso::TcpV4,
            (true, true) => Gso::TcpV6,
        },
        gso_size: if is_super { segment as u16 } else { 0 },
        header_len: if is_super { csum_start as u16 + 20 } else { 0 },
        csum_start: csum_start as u16,
        csum_offset: 16,
        ..Offload::NONE
    };
    Some(OwnedFrame { bytes, offload })
}

/// The sum that a partial checksum holds: of addresses, protocol and length (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn pseudo_header_sum(packet: &[u8], network_len: usize) -> Option<u16> {
    let addresses = if network_len == 40 { packet.get(8..40)? } else { packet.get(12..20)? };
    let words = addresses.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let len = u32::try_from(packet.len() - network_len).ok()?;
    let mut sum = words.sum::<u32>() + u32::from(IpNumber::TCP.0) + (len >> 16) + (len & 0xffff);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    Some(sum as u16)
}
