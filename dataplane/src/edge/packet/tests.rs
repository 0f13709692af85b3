use super::*;
use crate::edge::specimen::{Checksum, Specimen, naive_sum, parse, tcp, v4};
use crate::port::memory::OwnedFrame;

fn specimens() -> [Specimen; 4] {
    [
        Specimen::new(tcp((2, 4000), (77, 80)), b"data"),
        Specimen::new(v4(Protocol::Udp, (2, 4000), (77, 53)), b"data"),
        Specimen::new(v4(Protocol::Icmp, (2, 4000), (77, 0)), b"data"),
        Specimen::new(v4(Protocol::Icmp, (2, 0), (77, 4000)), b"data"),
    ]
}

/// A frame with bytes of its IPv4 header changed, its checksum right again.
fn with_header(specimen: &Specimen, change: impl FnOnce(&mut [u8])) -> OwnedFrame {
    let mut frame = specimen.frame();
    let end = 34 + specimen.options.len();
    change(&mut frame.bytes[14..end]);
    frame.bytes[24..26].fill(0);
    let sum = !naive_sum(&frame.bytes[14..end]);
    frame.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn assert_malformed(frame: &OwnedFrame) {
    assert_eq!(parse(frame), Err(DropReason::EdgeMalformed));
}

#[test]
fn reads_header_and_flow() {
    for specimen in specimens() {
        let options = vec![1; 8];
        let packet =
            parse(&Specimen { options, flags: 0x4000, ttl: 3, ident: 9, ..specimen.clone() }.frame());
        let packet = packet.unwrap();
        assert_eq!(packet.tuple(), Some(specimen.tuple));
        assert_eq!((packet.ttl, packet.ident, packet.dont_fragment), (3, 9, true));
        assert_eq!((packet.header_len, packet.payload_offset()), (28, 42));
        assert_eq!(packet.end(), 42 + specimen.datagram().len());
        assert!(!packet.is_fragment());
    }
}

#[test]
fn reads_the_control_bits_of_tcp() {
    let specimen = Specimen { tcp_flags: 0x12, ..Specimen::new(tcp((2, 4000), (77, 80)), b"") };
    let Content::Tcp { flags, .. } = parse(&specimen.frame()).unwrap().content else { panic!("no TCP") };
    assert_eq!(flags, TcpFlags::SYN_ACK);
}

#[test]
fn padding_is_no_part_of_the_packet() {
    let [specimen, ..] = specimens();
    let padded = Specimen { padding: vec![0; 9], ..specimen }.frame();
    assert_eq!(parse(&padded).unwrap().end() + 9, padded.bytes.len());
}

#[test]
fn only_ipv4_outside_of_vlans() {
    let [specimen, ..] = specimens();
    let mut frame = Specimen { priority_tag: true, ..specimen }.frame();
    assert!(parse(&frame).is_ok());
    frame.bytes[15] = 7;
    assert_eq!(parse(&frame), Err(DropReason::GatewayTagged));
    frame.bytes[15] = 0;
    frame.bytes[17] = 0x06;
    assert_eq!(parse(&frame), Err(DropReason::EdgeProtocol));
}

#[test]
fn cut_frames_are_malformed_wherever_they_are_cut() {
    for specimen in specimens() {
        let whole = Specimen { options: vec![1; 4], ..specimen }.frame();
        for len in 14..whole.bytes.len() {
            assert_malformed(&OwnedFrame { bytes: whole.bytes[..len].to_vec(), offload: Offload::NONE });
        }
    }
}

#[test]
fn headers_that_contradict_themselves_are_malformed() {
    for specimen in specimens() {
        assert_malformed(&with_header(&specimen, |header| header[0] = 0x65));
        assert_malformed(&with_header(&specimen, |header| header[0] = 0x44));
        for total_len in [0, 19, 20, 27] {
            assert_malformed(&with_header(&specimen, |header| header[3] = total_len));
        }
        let mut frame = specimen.frame();
        frame.bytes[22] ^= 1;
        assert_malformed(&frame);
    }
}

#[test]
fn a_tcp_header_longer_than_its_packet_is_malformed_unless_more_follows() {
    let specimen = Specimen::new(tcp((2, 4000), (77, 80)), b"data");
    for (offset, holds) in [(4, false), (5, true), (6, true), (7, false), (15, false)] {
        let mut frame = specimen.frame();
        frame.bytes[46] = offset << 4;
        assert_eq!(parse(&frame).is_ok(), holds, "{offset}");
        let mut first = with_header(&specimen, |header| header[6] = 0x20);
        first.bytes[46] = offset << 4;
        assert_eq!(parse(&first).is_ok(), offset >= 5, "{offset}");
    }
}

#[test]
fn fragments_have_no_flow_but_the_first() {
    for specimen in specimens() {
        let specimen = Specimen { payload: vec![7; 100], ..specimen };
        let first = parse(&Specimen { part: Some((0, 24, true)), ..specimen.clone() }.frame()).unwrap();
        assert_eq!(first.tuple(), Some(specimen.tuple));
        assert!(first.is_fragment() && first.more_fragments);
        let later = parse(&Specimen { part: Some((24, 24, true)), ..specimen.clone() }.frame()).unwrap();
        assert_eq!((later.tuple(), later.content), (None, Content::Fragment));
        assert_eq!(later.fragment_offset, 24);
        let last = parse(&Specimen { part: Some((96, 4, false)), ..specimen }.frame()).unwrap();
        assert!(last.is_fragment() && !last.more_fragments);
    }
}

#[test]
fn fragments_that_split_or_overwrite_a_header_are_malformed() {
    let tcp = Specimen { payload: vec![7; 100], ..Specimen::new(tcp((2, 4000), (77, 80)), b"") };
    for part in [(0, 8, true), (0, 16, true), (8, 100, false), (16, 100, false)] {
        assert_malformed(&Specimen { part: Some(part), ..tcp.clone() }.frame());
    }
    // What the header of a fragment claims must end within the longest packet.
    let [_, udp, ..] = specimens();
    let last = |offset: u16| with_header(&udp, |header| header[6..8].copy_from_slice(&offset.to_be_bytes()));
    assert!(parse(&last(8190)).is_ok());
    assert_malformed(&last(8191));
}

#[test]
fn a_checksum_left_to_do_must_be_the_packets_own() {
    for specimen in specimens() {
        let right = Specimen { checksum: Checksum::Partial, ..specimen.clone() }.frame();
        assert!(parse(&right).is_ok());
        for (start, offset) in [(1, 0), (-1, 0), (0, 2), (0, -2), (-14, 0), (2, -2)] {
            let mut frame = right.clone();
            frame.offload.csum_start = right.offload.csum_start.wrapping_add_signed(start);
            frame.offload.csum_offset = right.offload.csum_offset.wrapping_add_signed(offset);
            assert_malformed(&frame);
        }
        // The checksum of a fragment covers what is not there.
        let part = Some((0, 24, true));
        assert_malformed(
            &Specimen { checksum: Checksum::Partial, payload: vec![7; 99], part, ..specimen }.frame(),
        );
    }
}

#[test]
fn segments_must_be_of_the_packets_protocol() {
    use Gso::{TcpV4, TcpV6, Udp, UdpFragments};
    let [tcp, udp, request, reply] =
        specimens().map(|specimen| Specimen { checksum: Checksum::Partial, ..specimen });
    for (specimen, allowed) in
        [(tcp, &[TcpV4][..]), (udp, &[Udp, UdpFragments]), (request, &[]), (reply, &[])]
    {
        for gso in [TcpV4, TcpV6, Udp, UdpFragments] {
            let frame = Specimen { gso, ..specimen.clone() }.frame();
            assert_eq!(parse(&frame).is_ok(), allowed.contains(&gso), "{gso:?} {specimen:?}");
        }
    }
}

#[test]
fn the_header_checksum_of_a_super_frame_says_nothing() {
    let specimen = Specimen::new(tcp((2, 4000), (77, 80)), &[7; 3000]);
    let mut frame = Specimen { checksum: Checksum::Partial, gso: Gso::TcpV4, ..specimen }.frame();
    frame.bytes[24..26].fill(0);
    assert!(parse(&frame).is_ok());
}

#[test]
fn icmp_is_told_apart() {
    let [_, _, request, _] = specimens();
    for (kind, content) in [
        (3, Content::IcmpError),
        (4, Content::IcmpError),
        (5, Content::OtherIcmp),
        (11, Content::IcmpError),
        (12, Content::IcmpError),
        (13, Content::OtherIcmp),
    ] {
        let mut frame = request.frame();
        frame.bytes[34] = kind;
        let packet = parse(&frame).unwrap();
        assert_eq!((packet.content, packet.tuple()), (content, None));
    }
    // An error is never so long that it needs fragments.
    let mut fragment = Specimen { payload: vec![0; 64], part: Some((0, 64, true)), ..request }.frame();
    fragment.bytes[34] = 3;
    assert_eq!(parse(&fragment).unwrap().content, Content::OtherIcmp);
}
