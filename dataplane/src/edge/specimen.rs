//! Packets for tests, built by hand with every checksum computed from scratch: what translation must give is the same
//! packet built with the other addresses.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::packet::Packet;
use super::tuple::{Protocol, Tuple};
use crate::frame::{EthernetView, Frame};
use crate::offload::{Gso, Offload};
use crate::out::Out;
use crate::port::memory::OwnedFrame;
use crate::testing::{GATEWAY, mac};
use crate::verdict::DropReason;

/// How the checksum over the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// As it goes on a wire.
    Complete,
    /// Left to the device.
    Partial,
    /// As a device completes what was left to it: a sum of zero is written as 0xffff, which means the same.
    Completed,
    /// None at all (UDP).
    Absent,
}

/// One packet in a frame.
#[derive(Debug, Clone)]
pub(super) struct Specimen {
    /// Addresses and ports or identifier; for an ICMP echo, whichever port is not zero says request or reply.
    pub(super) tuple: Tuple,
    pub(super) tos: u8,
    pub(super) ident: u16,
    pub(super) flags: u16,
    pub(super) ttl: u8,
    /// Of IPv4; a multiple of four bytes.
    pub(super) options: Vec<u8>,
    pub(super) tcp_flags: u8,
    /// Of TCP; a multiple of four bytes.
    pub(super) tcp_options: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) checksum: Checksum,
    pub(super) gso: Gso,
    /// Offset and length in bytes of the part of the datagram that this packet carries, and whether more follow.
    pub(super) part: Option<(usize, usize, bool)>,
    /// Behind the packet.
    pub(super) padding: Vec<u8>,
    /// A VLAN tag with id 0.
    pub(super) priority_tag: bool,
}

impl Specimen {
    /// Without anything special.
    pub(super) fn new(tuple: Tuple, payload: &[u8]) -> Specimen {
        Specimen {
            tuple,
            tos: 0,
            ident: 7,
            flags: 0,
            ttl: 64,
            options: Vec::new(),
            tcp_flags: 0x10,
            tcp_options: Vec::new(),
            payload: payload.to_vec(),
            checksum: Checksum::Complete,
            gso: Gso::None,
            part: None,
            padding: Vec::new(),
            priority_tag: false,
        }
    }

    /// As it is once a device has done its part.
    pub(super) fn completed(self) -> Specimen {
        match self.checksum {
            Checksum::Partial => Specimen { checksum: Checksum::Completed, ..self },
            _ => self,
        }
    }

    pub(super) fn with_tuple(&self, tuple: Tuple) -> Specimen {
        Specimen { tuple, ..self.clone() }
    }

    fn addresses(&self) -> ([u8; 4], [u8; 4]) {
        let v4 = |address: std::net::Ipv6Addr| address.to_ipv4_mapped().unwrap().octets();
        (v4(self.tuple.src), v4(self.tuple.dst))
    }

    /// TCP, UDP or ICMP with its payload and a checksum.
    pub(super) fn datagram(&self) -> Vec<u8> {
        let ports = [self.tuple.src_port.to_be_bytes(), self.tuple.dst_port.to_be_bytes()].concat();
        let (mut bytes, at) = match self.tuple.protocol {
            Protocol::Tcp => {
                let words = 5 + self.tcp_options.len() as u8 / 4;
                let rest = [1, 2, 3, 4, 5, 6, 7, 8, words << 4, self.tcp_flags, 9, 10, 0, 0, 0, 0];
                ([&ports[..], &rest[..], &self.tcp_options[..], &self.payload[..]].concat(), 16)
            }
            Protocol::Udp => {
                let len = (8 + self.payload.len() as u16).to_be_bytes();
                ([&ports[..], &len[..], &[0, 0], &self.payload[..]].concat(), 6)
            }
            Protocol::Icmp => {
                let (kind, ident) = if self.tuple.dst_port == 0 {
                    (8, self.tuple.src_port)
                } else {
                    (0, self.tuple.dst_port)
                };
                let [a, b] = ident.to_be_bytes();
                ([&[kind, 0, 0, 0, a, b, 0, 9], &self.payload[..]].concat(), 2)
            }
        };
        let pseudo = match self.tuple.protocol {
            Protocol::Icmp => 0,
            protocol => {
                let (src, dst) = self.addresses();
                let len = (bytes.len() as u16).to_be_bytes();
                naive_sum(&[&src[..], &dst[..], &[0, protocol as u8], &len[..]].concat())
            }
        };
        let field = match self.checksum {
            Checksum::Absent => 0,
            Checksum::Partial => pseudo,
            Checksum::Complete | Checksum::Completed => {
                let sum = !naive_sum(&[&pseudo.to_be_bytes()[..], &bytes[..]].concat());
                let is_never_zero =
                    self.tuple.protocol == Protocol::Udp || self.checksum == Checksum::Completed;
                if is_never_zero && sum == 0 { 0xffff } else { sum }
            }
        };
        bytes[at..at + 2].copy_from_slice(&field.to_be_bytes());
        bytes
    }

    /// The IPv4 packet.
    pub(super) fn packet(&self) -> Vec<u8> {
        let datagram = self.datagram();
        let (offset, len, more) = self.part.unwrap_or((0, datagram.len(), false));
        let part = &datagram[offset..(offset + len).min(datagram.len())];
        ipv4(self, (offset, more), part)
    }

    /// The frame from endpoint 2 to its gateway.
    pub(super) fn frame(&self) -> OwnedFrame {
        let mut bytes = [GATEWAY.mac.0, mac(2).0].concat();
        if self.priority_tag {
            bytes.extend([0x81, 0x00, 0x60, 0x00]);
        }
        bytes.extend([0x08, 0x00]);
        let start = bytes.len() + 20 + self.options.len();
        bytes.extend(self.packet());
        bytes.extend(&self.padding);
        let csum_offset = match self.tuple.protocol {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
            Protocol::Icmp => 2,
        };
        let partial = self.checksum == Checksum::Partial;
        let offload = Offload {
            needs_checksum: partial,
            gso: self.gso,
            gso_size: if self.gso == Gso::None { 0 } else { 1400 },
            csum_start: if partial { start as u16 } else { 0 },
            csum_offset: if partial { csum_offset } else { 0 },
            ..Offload::NONE
        };
        OwnedFrame { bytes, offload }
    }

    /// The frame as it leaves towards endpoint 9, if nothing but addresses and TTL changes.
    pub(super) fn left(&self) -> OwnedFrame {
        let untagged = Specimen { priority_tag: false, padding: Vec::new(), ..self.clone() };
        let mut frame = untagged.frame();
        frame.bytes[..12].copy_from_slice(&[mac(9).0, GATEWAY.mac.0].concat());
        frame
    }
}

/// An IPv4 packet with the header fields of `specimen` around `part`.
fn ipv4(specimen: &Specimen, (offset, more): (usize, bool), part: &[u8]) -> Vec<u8> {
    let (src, dst) = specimen.addresses();
    let header_len = 20 + specimen.options.len();
    let place = specimen.flags | if more { 0x2000 } else { 0 } | (offset / 8) as u16;
    let mut header = vec![0x40 | (header_len / 4) as u8, specimen.tos];
    for word in [(header_len + part.len()) as u16, specimen.ident, place] {
        header.extend(word.to_be_bytes());
    }
    header.extend([specimen.ttl, specimen.tuple.protocol as u8, 0, 0]);
    header.extend([src, dst].concat());
    header.extend(&specimen.options);
    let sum = !naive_sum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header[..], part].concat()
}

/// RFC 1071, section 1, word for word.
pub(super) fn naive_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Reads the packet of a frame.
pub(super) fn parse(frame: &OwnedFrame) -> Result<Packet, DropReason> {
    let frame = Frame { bytes: &frame.bytes, offload: frame.offload };
    Packet::parse(&EthernetView::parse(frame.bytes)?, &frame)
}

/// How the one rewritten frame in `out` leaves.
pub(super) fn leaving(frame: &OwnedFrame, out: &Out) -> OwnedFrame {
    let rewritten = out.rewritten().expect("it leaves");
    let bytes = rewritten.assemble(&Frame { bytes: &frame.bytes, offload: frame.offload });
    OwnedFrame { bytes, offload: rewritten.offload }
}

pub(super) fn tcp(src: (u8, u16), dst: (u8, u16)) -> Tuple {
    v4(Protocol::Tcp, src, dst)
}

/// A tuple of addresses 10.0.0.x.
pub(super) fn v4(protocol: Protocol, src: (u8, u16), dst: (u8, u16)) -> Tuple {
    let address = |last| Ipv4Addr::new(10, 0, 0, last);
    Tuple::v4(protocol, (address(src.0), src.1), (address(dst.0), dst.1))
}

/// Any flow of that protocol; of echo, requests or replies.
pub(super) fn any_tuple(protocol: Protocol) -> impl Strategy<Value = Tuple> {
    any::<bool>().prop_flat_map(move |request| any_tuple_of(protocol, request))
}

/// Two flows of that protocol, of which the one may become the other: of echo, both are requests or both replies.
pub(super) fn any_tuples(protocol: Protocol) -> impl Strategy<Value = (Tuple, Tuple)> {
    any::<bool>()
        .prop_flat_map(move |request| (any_tuple_of(protocol, request), any_tuple_of(protocol, request)))
}

/// As [`any_tuple`], with requests and replies of echo told apart.
pub(super) fn any_tuple_of(protocol: Protocol, request: bool) -> impl Strategy<Value = Tuple> {
    (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>()).prop_map(move |(src, dst, a, b)| {
        let (a, b) = match (protocol, request) {
            (Protocol::Icmp, true) => (a.max(1), 0),
            (Protocol::Icmp, false) => (0, a.max(1)),
            _ => (a, b),
        };
        Tuple::v4(protocol, (src.into(), a), (dst.into(), b))
    })
}

pub(super) fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(&Protocol::ALL[..])
}

/// A TCP option.
#[derive(Debug, Clone)]
pub(super) enum TcpOption {
    NoOperation,
    EndOfOptions,
    SegmentSize(u16),
    /// Of another kind.
    Other(u8, Vec<u8>),
}

/// Options of a TCP header in their order, as many as have room, filled up to whole words. The segment size that a peer would take
/// from them is brought down to `limit`.
pub(super) fn tcp_options(options: &[TcpOption], limit: Option<u16>) -> Vec<u8> {
    const ROOM: usize = 40;
    let mut limit = limit;
    let mut bytes = Vec::new();
    for option in options {
        let next = match option {
            TcpOption::NoOperation => vec![1],
            TcpOption::EndOfOptions => vec![0],
            TcpOption::SegmentSize(size) => {
                [&[2, 4][..], &limit.take().map_or(*size, |limit| limit.min(*size)).to_be_bytes()].concat()
            }
            TcpOption::Other(kind, data) => [&[*kind, 2 + data.len() as u8][..], data].concat(),
        };
        if bytes.len() + next.len() > ROOM {
            break;
        }
        if matches!(option, TcpOption::EndOfOptions) {
            limit = None;
        }
        bytes.extend(next);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Some that make sense, mostly with a segment size among them.
pub(super) fn any_tcp_options() -> impl Strategy<Value = Vec<TcpOption>> {
    let other = (3..=255u8, prop::collection::vec(any::<u8>(), 0..10));
    let option = prop_oneof![
        4 => Just(TcpOption::NoOperation),
        1 => Just(TcpOption::EndOfOptions),
        4 => any::<u16>().prop_map(TcpOption::SegmentSize),
        3 => other.prop_map(|(kind, data)| TcpOption::Other(kind, data)),
    ];
    prop::collection::vec(option, 0..8)
}

fn words(max: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..=max).prop_flat_map(|words| prop::collection::vec(any::<u8>(), 4 * words))
}

/// Any packet, whole or a part, with any TTL that may be forwarded.
pub(super) fn any_specimen() -> impl Strategy<Value = Specimen> {
    let header = (any_protocol().prop_flat_map(any_tuple), any::<u8>(), any::<u16>(), 0..4u16, 3..=255u8);
    let checksum = prop::sample::select(
        &[Checksum::Complete, Checksum::Complete, Checksum::Partial, Checksum::Absent][..],
    );
    let rest = (
        prop_oneof![3 => Just(Vec::new()), 1 => words(10)],
        any::<u8>(),
        prop_oneof![1 => Just(Vec::new()), 1 => words(10)],
        prop_oneof![8 => prop::collection::vec(any::<u8>(), 0..100), 1 => prop::collection::vec(any::<u8>(), 3000..3100)],
        checksum,
        prop_oneof![2 => Just(None), 1 => (any::<usize>(), any::<usize>()).prop_map(Some)],
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 0..20)],
        any::<bool>(),
        any::<bool>(),
    );
    (header, rest).prop_map(|((tuple, tos, ident, flags, ttl), rest)| {
        let (options, tcp_flags, tcp_options, payload, checksum, part, padding, priority_tag, large) = rest;
        let mut specimen = Specimen {
            tos,
            ident,
            // Reserved and DF.
            flags: flags << 14,
            ttl,
            options,
            tcp_flags,
            tcp_options,
            payload,
            checksum,
            padding,
            priority_tag,
            ..Specimen::new(tuple, &[])
        };
        if checksum == Checksum::Absent && tuple.protocol != Protocol::Udp {
            specimen.checksum = Checksum::Complete;
        }
        if specimen.checksum == Checksum::Partial && large {
            specimen.gso = match (tuple.protocol, tos & 1) {
                (Protocol::Tcp, _) => Gso::TcpV4,
                (Protocol::Udp, 0) => Gso::Udp,
                (Protocol::Udp, _) => Gso::UdpFragments,
                (Protocol::Icmp, _) => Gso::None,
            };
        }
        if let (Some((offset, len)), Checksum::Complete | Checksum::Absent) = (part, specimen.checksum) {
            specimen.part = part_of(specimen.datagram().len(), offset, len);
        }
        specimen
    })
}

/// A part of a datagram, chosen by two numbers; first ones are long enough for what NAT must see.
fn part_of(datagram_len: usize, offset: usize, len: usize) -> Option<(usize, usize, bool)> {
    let blocks = datagram_len.div_ceil(8);
    if blocks < 4 {
        return None;
    }
    let offset = if offset.is_multiple_of(2) { 0 } else { 3 + offset % (blocks - 3) };
    let least = if offset == 0 { 3 } else { 1 };
    let len = least + len % (blocks - offset - least.min(blocks - offset) + 1);
    Some((8 * offset, 8 * len, offset + len < blocks))
}
