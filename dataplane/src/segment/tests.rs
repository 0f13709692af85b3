//! Oracle: etherparse reads every segment anew, verifies lengths and checksums, and the payloads put together are
//! the super-frame's.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use smoltcp::wire::{IpProtocol, checksum as smoltcp_checksum};

use super::*;
use crate::frame::ETHERNET_HEADER_LEN;

const PARTIAL: Offloads = Offloads { vnet_header: true, checksum: true, tso: false, uso: false };

/// A super-frame in plain words.
#[derive(Debug, Clone)]
struct Spec {
    gso: Gso,
    v6: bool,
    tags: usize,
    /// IPv4: words of options; IPv6: extension headers (hop-by-hop, then destination options).
    extras: usize,
    tcp_option_words: usize,
    tcp_flags: u8,
    sequence: u32,
    ident: u16,
    dont_fragment: bool,
    payload: Vec<u8>,
    gso_size: u16,
    padding: usize,
}

impl Spec {
    fn tcp_v4(payload: usize, gso_size: u16) -> Spec {
        Spec {
            gso: Gso::TcpV4,
            v6: false,
            tags: 0,
            extras: 0,
            tcp_option_words: 3,
            tcp_flags: 0x18,
            sequence: 1000,
            ident: 7,
            dont_fragment: true,
            payload: (0..payload).map(|i| (i * 7 + i / 256) as u8).collect(),
            gso_size,
            padding: 0,
        }
    }

    fn udp_v4(payload: usize, gso_size: u16) -> Spec {
        Spec { gso: Gso::Udp, ..Spec::tcp_v4(payload, gso_size) }
    }

    fn is_tcp(&self) -> bool {
        matches!(self.gso, Gso::TcpV4 | Gso::TcpV6)
    }

    fn build(&self) -> (Vec<u8>, Offload) {
        let mut transport = vec![0x30, 0x39, 0x1f, 0x90];
        if self.is_tcp() {
            transport.extend(self.sequence.to_be_bytes());
            transport.extend([0, 0, 0, 9, ((5 + self.tcp_option_words) << 4) as u8, self.tcp_flags]);
            transport.extend([0x10, 0, 0, 0, 0, 0]);
            transport.extend([1, 1, 1, 1].repeat(self.tcp_option_words));
        } else {
            transport.extend((8 + self.payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend(&self.payload);

        let protocol = if self.is_tcp() { IpProtocol::Tcp } else { IpProtocol::Udp };
        let len = transport.len() as u32;
        let (ethertype, mut packet, pseudo) = if self.v6 {
            let addresses = ([0xfd; 16].into(), [0xfe; 16].into());
            let mut packet = vec![0x60, 1, 2, 3];
            packet.extend(((self.extras * 8) as u16 + len as u16).to_be_bytes());
            let chain = &[0u8, 60, 60][..self.extras];
            packet.push(*chain.first().unwrap_or(&protocol.into()));
            packet.push(64);
            packet.extend([0xfd; 16]);
            packet.extend([0xfe; 16]);
            for i in 0..self.extras {
                packet.extend([*chain.get(i + 1).unwrap_or(&protocol.into()), 0, 1, 4, 0, 0, 0, 0]);
            }
            (
                [0x86, 0xdd],
                packet,
                smoltcp_checksum::pseudo_header_v6(&addresses.0, &addresses.1, protocol, len),
            )
        } else {
            let header_len = 20 + 4 * self.extras;
            let mut packet = vec![0x40 | (header_len / 4) as u8, 0x02];
            packet.extend((header_len as u16 + len as u16).to_be_bytes());
            packet.extend(self.ident.to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, 64, protocol.into(), 0, 0]);
            packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            packet.extend([1, 1, 1, 0].repeat(self.extras));
            let addresses = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
            ([0x08, 0], packet, smoltcp_checksum::pseudo_header_v4(&addresses.0, &addresses.1, protocol, len))
        };

        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for tag in 0..self.tags {
            bytes.extend([[0x88, 0xa8, 0x00, 0x64], [0x81, 0x00, 0x20, 0x07]][tag % 2]);
        }
        bytes.extend(ethertype);
        let csum_start = bytes.len() + packet.len();
        let csum_offset = if self.is_tcp() { 16 } else { 6 };
        transport[csum_offset..csum_offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        bytes.append(&mut packet);
        bytes.append(&mut transport);
        bytes.extend(vec![0u8; self.padding]);
        let offload = Offload {
            needs_checksum: true,
            gso: self.gso,
            gso_size: self.gso_size,
            csum_start: csum_start as u16,
            csum_offset: csum_offset as u16,
            ..Offload::NONE
        };
        (bytes, offload)
    }
}

type Emitted = Vec<(Vec<u8>, Offload)>;

fn run(bytes: &[u8], offload: Offload, egress: Offloads) -> Result<Emitted, DropReason> {
    let mut emitted = Vec::new();
    let mut scratch = Vec::new();
    let count = segment(&Frame { bytes, offload }, egress, &mut scratch, &mut |frame| {
        emitted.push((frame.bytes.to_vec(), frame.offload));
    })?;
    assert_eq!(count, emitted.len());
    Ok(emitted)
}

/// Everything there is to know of a plain segment.
struct Decoded {
    link: Vec<u8>,
    ip: Vec<u8>,
    ident: u16,
    fragment: (u16, bool, bool),
    transport: Vec<u8>,
    payload: Vec<u8>,
}

/// Reads a plain frame, checks every length and checksum in it.
fn decode(bytes: &[u8]) -> Decoded {
    let sliced = SlicedPacket::from_ethernet(bytes).expect("etherparse reads the segment");
    let ip_payload = sliced.ip_payload().expect("an IP packet").payload;
    let ip_start = bytes.len() - ip_payload.len();
    let link_len = ETHERNET_HEADER_LEN + 4 * sliced.link_exts.len();
    let (ident, fragment) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 header checksum");
            assert_eq!(usize::from(header.total_len), bytes.len() - link_len, "IPv4 total length");
            let offset = header.fragment_offset.byte_offset();
            (header.identification, (offset, header.more_fragments, header.dont_fragment))
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(usize::from(ip.header().payload_length()), bytes.len() - link_len - 40);
            (0, (0, false, false))
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (transport, payload) = match (&sliced.transport, sliced.net.as_ref().unwrap()) {
        (Some(TransportSlice::Tcp(tcp)), net) => {
            let sum = match net {
                NetSlice::Ipv4(ip) => {
                    tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
                }
                NetSlice::Ipv6(ip) => {
                    tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
                }
                NetSlice::Arp(_) => unreachable!(),
            };
            // Both zeros verify; `complete` writes the one that UDP takes as well.
            assert_eq!(tcp.checksum(), if sum == 0 { 0xffff } else { sum }, "TCP checksum");
            (tcp.header_slice().to_vec(), tcp.payload().to_vec())
        }
        (Some(TransportSlice::Udp(udp)), net) => {
            let header = udp.to_header();
            let sum = match net {
                NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()),
                NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()),
                NetSlice::Arp(_) => unreachable!(),
            };
            assert_eq!(usize::from(udp.length()), ip_payload.len(), "UDP length");
            assert_eq!(udp.checksum(), sum.unwrap(), "UDP checksum");
            (udp.header_slice().to_vec(), udp.payload().to_vec())
        }
        _ => (Vec::new(), ip_payload.to_vec()),
    };
    Decoded {
        link: bytes[..link_len].to_vec(),
        ip: bytes[link_len..ip_start].to_vec(),
        ident,
        fragment,
        transport,
        payload,
    }
}

/// `bytes` with the given ranges set to zero: what must be equal in every segment.
fn without(bytes: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for range in ranges {
        bytes[range.clone()].fill(0);
    }
    bytes
}

/// Holds the segments of `spec` against what the table in the module's header says.
fn check_cut(spec: &Spec) {
    let (bytes, offload) = spec.build();
    let whole = &bytes[..bytes.len() - spec.padding];
    let segments = run(&bytes, offload, Offloads::NONE).expect("it can be cut");
    let size = usize::from(spec.gso_size);
    assert_eq!(segments.len(), spec.payload.len().div_ceil(size).max(1));

    let transport_start = usize::from(offload.csum_start);
    let header_end = whole.len() - spec.payload.len();
    let link_len = ETHERNET_HEADER_LEN + 4 * spec.tags;
    let ip_own: &[Range<usize>] = if spec.v6 { &[4..5, 5..6] } else { &[2..6, 10..12] };
    let transport_own: &[Range<usize>] = if spec.is_tcp() { &[4..8, 13..14, 16..18] } else { &[4..6, 6..8] };
    let last = segments.len() - 1;
    let mut payload = Vec::new();
    for (index, (segment, rest)) in segments.iter().enumerate() {
        assert_eq!(*rest, Offload::NONE);
        let seen = decode(segment);
        assert_eq!(seen.link, &whole[..link_len]);
        assert_eq!(without(&seen.ip, ip_own), without(&whole[link_len..transport_start], ip_own));
        let original = &whole[transport_start..header_end];
        assert_eq!(without(&seen.transport, transport_own), without(original, transport_own));
        if !spec.v6 {
            assert_eq!(seen.ident, spec.ident.wrapping_add(index as u16));
            assert_eq!(seen.fragment, (0, false, spec.dont_fragment));
        }
        if spec.is_tcp() {
            let sequence = u32::from_be_bytes(*seen.transport[4..].first_chunk().unwrap());
            assert_eq!(sequence, spec.sequence.wrapping_add((index * size) as u32));
            let mut flags = spec.tcp_flags;
            flags &= if index == last { 0xff } else { !0x09 };
            flags &= if index == 0 { 0xff } else { !0x80 };
            assert_eq!(seen.transport[13], flags, "flags of segment {index} of {last}");
        }
        let expected_len = size.min(spec.payload.len() - payload.len());
        assert_eq!(seen.payload.len(), expected_len);
        payload.extend(seen.payload);
    }
    assert_eq!(payload, spec.payload);
    check_partial(spec, &segments);
}

/// Segments left partial are those same segments once their checksum is completed.
fn check_partial(spec: &Spec, complete_ones: &Emitted) {
    let (bytes, offload) = spec.build();
    let segments = run(&bytes, offload, PARTIAL).unwrap();
    assert_eq!(segments.len(), complete_ones.len());
    // One partial checksum in 65,536 is by chance the complete one.
    let finished = segments.iter().zip(complete_ones).filter(|(partial, whole)| partial.0 == whole.0).count();
    assert!(finished <= 1 + segments.len() / 8, "nothing was left to do in {finished} segments");
    for ((partial, rest), (expected, _)) in segments.iter().zip(complete_ones) {
        let left = Offload {
            needs_checksum: true,
            csum_start: offload.csum_start,
            csum_offset: offload.csum_offset,
            ..Offload::NONE
        };
        assert_eq!(*rest, left);
        assert_eq!(run(partial, *rest, Offloads::NONE).unwrap(), [(expected.clone(), Offload::NONE)]);
    }
}

/// UFO: the fragments put together are the datagram, its checksum completed.
fn check_fragments(spec: &Spec) {
    let (bytes, offload) = spec.build();
    let fragments = run(&bytes, offload, Offloads::NONE).expect("it can be cut");
    let size = usize::from(spec.gso_size) & !7;
    let datagram_len = 8 + spec.payload.len();
    assert_eq!(fragments.len(), datagram_len.div_ceil(size));
    let link_len = ETHERNET_HEADER_LEN + 4 * spec.tags;
    let transport_start = usize::from(offload.csum_start);
    let mut whole = bytes[..transport_start].to_vec();
    for (index, (fragment, rest)) in fragments.iter().enumerate() {
        assert_eq!(*rest, Offload::NONE);
        let more = index + 1 < fragments.len();
        let seen = decode(fragment);
        assert_eq!(seen.link, &bytes[..link_len]);
        assert_eq!(seen.ident, spec.ident);
        assert_eq!(seen.fragment, ((index * size) as u16, more, false));
        let own = [2..4, 6..8, 10..12];
        assert_eq!(without(&seen.ip, &own), without(&bytes[link_len..transport_start], &own));
        whole.extend(&fragment[transport_start..]);
    }
    // What the receiver puts together verifies as one datagram.
    let mut ip = smoltcp::wire::Ipv4Packet::new_unchecked(&mut whole[link_len..]);
    ip.fill_checksum();
    assert_eq!(decode(&whole).payload, spec.payload);
}

#[test]
fn tcp_v4_by_example() {
    let spec = Spec { tcp_flags: 0x80 | 0x18 | 0x01, ident: 0xffff, ..Spec::tcp_v4(4000, 1448) };
    check_cut(&spec);
    let (bytes, offload) = spec.build();
    let lengths: Vec<_> = run(&bytes, offload, Offloads::NONE).unwrap().iter().map(|s| s.0.len()).collect();
    assert_eq!(lengths, [66 + 1448, 66 + 1448, 66 + 1104]);
}

#[test]
fn a_full_super_frame_is_cut() {
    check_cut(&Spec::tcp_v4(65_535 - 52, 1448));
    check_cut(&Spec { v6: true, gso: Gso::TcpV6, ..Spec::tcp_v4(65_535 - 52, 1428) });
    check_cut(&Spec::udp_v4(65_535 - 28, 1472));
    check_fragments(&Spec { gso: Gso::UdpFragments, ..Spec::udp_v4(65_535 - 28, 1480) });
}

#[test]
fn an_ipv6_packet_may_be_longer_than_its_length_field_says() {
    let spec = Spec { gso: Gso::TcpV6, v6: true, ..Spec::tcp_v4(65_500 - 32, u16::MAX) };
    let (bytes, offload) = spec.build();
    assert_eq!(bytes.len(), crate::frame::MAX_FRAME_LEN);
    let emitted = run(&bytes, offload, Offloads::NONE).unwrap();
    assert_eq!(emitted.len(), 1);
    assert_eq!(emitted[0].0[18..20], 65_500u16.to_be_bytes());
}

#[test]
fn what_a_device_takes_passes_untouched() {
    for (spec, egress) in [
        (Spec::tcp_v4(4000, 1448), Offloads { uso: false, ..Offloads::ALL }),
        (Spec::udp_v4(4000, 1448), Offloads { tso: false, ..Offloads::ALL }),
    ] {
        let (bytes, offload) = spec.build();
        assert_eq!(needs_work(&offload, egress), Work::Nothing);
        assert_eq!(run(&bytes, offload, egress), Ok(vec![(bytes, offload)]));
    }
}

#[test]
fn work_depends_on_what_the_device_takes() {
    let (_, tcp) = Spec::tcp_v4(4000, 1448).build();
    let (_, udp) = Spec::udp_v4(4000, 1448).build();
    let partial = Offload { gso: Gso::None, gso_size: 0, ..tcp };
    let fragments = Offload { gso: Gso::UdpFragments, ..udp };
    let only = |checksum, tso, uso| Offloads { vnet_header: true, checksum, tso, uso };
    let headerless = Offloads { vnet_header: false, ..Offloads::ALL };
    for (offload, egress, work) in [
        (Offload::NONE, Offloads::NONE, Work::Nothing),
        (partial, Offloads::ALL, Work::Nothing),
        (partial, only(true, false, false), Work::Nothing),
        (partial, only(false, true, true), Work::Checksum),
        (partial, headerless, Work::Checksum),
        (tcp, only(true, true, false), Work::Nothing),
        (tcp, only(true, false, true), Work::Segment),
        (tcp, only(false, true, true), Work::Segment),
        (tcp, headerless, Work::Segment),
        (udp, only(true, false, true), Work::Nothing),
        (udp, only(true, true, false), Work::Segment),
        (fragments, Offloads::ALL, Work::Segment),
    ] {
        assert_eq!(needs_work(&offload, egress), work, "{offload:?} to {egress:?}");
    }
}

#[test]
fn a_partial_checksum_is_completed() {
    let spec = Spec::tcp_v4(1000, 1448);
    let (bytes, offload) = spec.build();
    let plain = Offload { gso: Gso::None, gso_size: 0, ..offload };
    let emitted = run(&bytes, plain, Offloads::NONE).unwrap();
    assert_eq!(emitted[0].1, Offload::NONE);
    // Only the IPv4 header's own checksum is the sender's to fill, and this one left it empty.
    let mut frame = emitted[0].0.clone();
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    assert_eq!(decode(&frame).payload, spec.payload);
}

#[test]
fn tiny_segments_are_bounded() {
    let (bytes, offload) = Spec::tcp_v4(65_000, 1).build();
    assert_eq!(run(&bytes, offload, Offloads::NONE), Err(DropReason::Unsegmentable));
    check_cut(&Spec::tcp_v4(MAX_SEGMENTS, 1));
    let (bytes, offload) = Spec::tcp_v4(MAX_SEGMENTS + 1, 1).build();
    assert_eq!(run(&bytes, offload, Offloads::NONE), Err(DropReason::Unsegmentable));
}

#[test]
fn metadata_that_contradicts_the_headers_is_refused() {
    let (bytes, good) = Spec::tcp_v4(4000, 1448).build();
    let (v6, good_v6) = Spec { v6: true, gso: Gso::TcpV6, ..Spec::tcp_v4(4000, 1448) }.build();
    let (udp, good_udp) = Spec::udp_v4(4000, 1448).build();
    let patched = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    use DropReason::{MalformedOffload, Unsegmentable};
    let cases = [
        ("checksum starts elsewhere", bytes.clone(), Offload { csum_start: 36, ..good }, MalformedOffload),
        ("checksum stands elsewhere", bytes.clone(), Offload { csum_offset: 6, ..good }, MalformedOffload),
        ("no segment size", bytes.clone(), Offload { gso_size: 0, ..good }, MalformedOffload),
        ("no checksum", bytes.clone(), Offload { needs_checksum: false, ..good }, MalformedOffload),
        ("IPv4 said to be IPv6", bytes.clone(), Offload { gso: Gso::TcpV6, ..good }, MalformedOffload),
        ("IPv6 said to be IPv4", v6.clone(), Offload { gso: Gso::TcpV4, ..good_v6 }, MalformedOffload),
        ("TCP said to be UDP", bytes.clone(), Offload { gso: Gso::Udp, ..good }, MalformedOffload),
        ("UDP said to be TCP", udp.clone(), Offload { gso: Gso::TcpV4, ..good_udp }, MalformedOffload),
        ("cut off", bytes[..900].to_vec(), good, MalformedOffload),
        ("header length too small", patched(&bytes, 14, 0x44), good, MalformedOffload),
        ("not version 4", patched(&bytes, 14, 0x65), good, MalformedOffload),
        ("a fragment", patched(&bytes, 20, 0x20), good, MalformedOffload),
        ("TCP header too small", patched(&bytes, 34 + 12, 0x40), good, MalformedOffload),
        ("UDP length of its own", patched(&udp, 34 + 4, 0x01), good_udp, MalformedOffload),
        ("neither IPv4 nor IPv6", patched(&bytes, 12, 0x88), good, Unsegmentable),
        ("an unknown extension", patched(&v6, 14 + 6, 51), good_v6, Unsegmentable),
        (
            "fragments over IPv6",
            {
                let (bytes, _) = Spec { v6: true, ..Spec::udp_v4(4000, 1448) }.build();
                bytes
            },
            Offload { gso: Gso::UdpFragments, csum_start: 54, ..good_udp },
            Unsegmentable,
        ),
        (
            "fragments of less than 8 bytes",
            udp,
            Offload { gso: Gso::UdpFragments, gso_size: 7, ..good_udp },
            MalformedOffload,
        ),
    ];
    for (what, bytes, offload, reason) in cases {
        assert_eq!(run(&bytes, offload, Offloads::NONE), Err(reason), "{what}");
    }
}

#[test]
fn the_scratch_buffer_does_not_grow_with_use() {
    let mut scratch = Vec::with_capacity(crate::frame::MAX_FRAME_LEN);
    let before = (scratch.as_ptr(), scratch.capacity());
    let (bytes, offload) = Spec::tcp_v4(65_000, 1448).build();
    for egress in [Offloads::NONE, PARTIAL] {
        segment(&Frame { bytes: &bytes, offload }, egress, &mut scratch, &mut |_| {}).unwrap();
    }
    assert_eq!((scratch.as_ptr(), scratch.capacity()), before);
}

prop_compose! {
    fn specs()(
        kind in 0..4usize,
        tags in 0..=3usize,
        extras in 0..=10usize,
        tcp_option_words in 0..=10usize,
        (tcp_flags, sequence, ident, dont_fragment) in any::<(u8, u32, u16, bool)>(),
        payload in prop::collection::vec(any::<u8>(), 0..6000),
        gso_size in 8..3000u16,
        padding in 0..20usize,
    ) -> Spec {
        let (gso, v6) = [(Gso::TcpV4, false), (Gso::TcpV6, true), (Gso::Udp, false), (Gso::Udp, true)][kind];
        let extras = if v6 { extras.min(2) } else { extras };
        Spec { gso, v6, tags, extras, tcp_option_words, tcp_flags, sequence, ident, dont_fragment, payload, gso_size, padding }
    }
}

fn offloads() -> impl Strategy<Value = Offload> {
    let kinds = prop::sample::select(vec![Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp, Gso::UdpFragments]);
    (any::<[bool; 3]>(), kinds, any::<u16>(), 0..64u16, 0..100u16, 0..20u16).prop_map(
        |([needs_checksum, checksum_valid, ecn], gso, header_len, gso_size, csum_start, csum_offset)| {
            Offload {
                needs_checksum,
                checksum_valid,
                gso,
                ecn,
                header_len,
                gso_size,
                csum_start,
                csum_offset,
            }
        },
    )
}

proptest! {
    #[test]
    fn segments_are_the_super_frame(spec in specs()) {
        check_cut(&spec);
    }

    #[test]
    fn fragments_are_the_datagram(spec in specs()) {
        check_fragments(&Spec { gso: Gso::UdpFragments, v6: false, ..spec });
    }

    #[test]
    fn arbitrary_bytes_and_metadata_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), offload in offloads(),
    ) {
        let _ = run(&bytes, offload, Offloads::NONE);
        let _ = run(&bytes, offload, PARTIAL);
    }

    #[test]
    fn damaged_super_frames_never_panic(
        spec in specs(), at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, offload) = spec.build();
        let header = bytes.len() - spec.payload.len();
        bytes[at.index(header)] = value;
        let _ = run(&bytes, offload, Offloads::NONE);
        bytes.truncate(cut.index(bytes.len()));
        let _ = run(&bytes, offload, PARTIAL);
    }
}
