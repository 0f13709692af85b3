use etherparse::{IpNumber, Ipv4Header};
use proptest::prelude::*;

use super::*;
use crate::edge::specimen::{
    Checksum, Specimen, any_protocol, any_tuples, leaving, naive_sum, parse, tcp, v4,
};
use crate::network::PortId;
use crate::offload::Offload;
use crate::out::Out;
use crate::port::memory::OwnedFrame;
use crate::testing::{GATEWAY, cases, ethernet, mac, rewrite as with_header};

const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// An ICMP error of `kind` from `src` to `dst` about `quoted`, from endpoint 2.
fn error(kind: u8, (src, dst): (Ipv4Addr, Ipv4Addr), quoted: &[u8]) -> OwnedFrame {
    let mut message = [&[kind, 4, 0, 0, 0, 0, 0x05, 0x00], quoted].concat();
    let sum = !naive_sum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header =
        Ipv4Header::new(message.len() as u16, 64, IpNumber::ICMP, src.octets(), dst.octets()).unwrap();
    let packet = with_header(header, |_| {}, &message);
    OwnedFrame { bytes: ethernet(GATEWAY.mac, mac(2), 0x0800, &packet), offload: Offload::NONE }
}

/// As it leaves.
fn left(kind: u8, (src, dst): (Ipv4Addr, Ipv4Addr), quoted: &[u8]) -> OwnedFrame {
    let mut frame = error(kind, (src, dst), quoted);
    frame.bytes[..12].copy_from_slice(&[mac(9).0, GATEWAY.mac.0].concat());
    frame.bytes[22] = 63;
    frame.bytes[24..26].fill(0);
    let sum = !naive_sum(&frame.bytes[14..34]);
    frame.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// With its checksum left to whoever sends it.
fn left_partial(mut frame: OwnedFrame) -> OwnedFrame {
    frame.bytes[36..38].fill(0);
    frame.offload = Offload { needs_checksum: true, csum_start: 34, csum_offset: 2, ..Offload::NONE };
    frame
}

fn read(frame: &OwnedFrame) -> Result<Quote, DropReason> {
    Quote::parse(&Frame { bytes: &frame.bytes, offload: frame.offload }, &parse(frame)?)
}

fn translate(frame: &OwnedFrame, source: Ipv4Addr, tuple: &Tuple) -> Result<OwnedFrame, DropReason> {
    translate_cut(frame, source, tuple, u16::MAX)
}

/// The same towards a hop that takes so much.
fn translate_cut(
    frame: &OwnedFrame,
    source: Ipv4Addr,
    tuple: &Tuple,
    mtu: u16,
) -> Result<OwnedFrame, DropReason> {
    let packet = parse(frame)?;
    let borrowed = Frame { bytes: &frame.bytes, offload: frame.offload };
    let quote = Quote::parse(&borrowed, &packet)?;
    let change = Change { dst_mac: mac(9), src_mac: GATEWAY.mac, tuple: Some(tuple), max_segment_size: None };
    let mut out = Out::new();
    out.forward_rewritten_with(PortId(9), |headers| {
        let head = rewrite(&borrowed, &packet, &quote, source, &change, headers)?;
        cut(&borrowed, &packet, &quote, head, mtu, headers)
    })?;
    Ok(leaving(frame, &out))
}

/// Errors of every kind about the first `len` bytes of `outside` become those about `inside`.
fn assert_translated(outside: &Specimen, inside: Tuple, len: usize) {
    let host = outside.tuple.src.to_ipv4_mapped().unwrap();
    let endpoint = inside.src.to_ipv4_mapped().unwrap();
    let (before, after) = (outside.packet(), outside.with_tuple(inside).packet());
    for kind in [3, 4, 11, 12] {
        let frame = error(kind, (ROUTER, host), &before[..len]);
        assert_eq!(read(&frame).unwrap().tuple, outside.tuple);
        let there = translate(&frame, ROUTER, &inside).unwrap();
        assert_eq!(
            there,
            left(kind, (ROUTER, endpoint), &after[..len]),
            "kind {kind}, {len} bytes of {outside:?}"
        );
    }
}

/// Whether a quote of `len` bytes ends inside the checksum of TCP, which then stays as it is.
fn half_a_checksum(quoted: &Specimen, len: usize) -> bool {
    quoted.tuple.protocol == Protocol::Tcp && len == 20 + quoted.options.len() + 17
}

fn flows() -> [(Specimen, Tuple); 4] {
    [
        (tcp((100, 40_000), (77, 80)), tcp((2, 4000), (77, 80))),
        (v4(Protocol::Udp, (100, 40_000), (77, 53)), v4(Protocol::Udp, (2, 4000), (77, 53))),
        (v4(Protocol::Icmp, (100, 40_000), (77, 0)), v4(Protocol::Icmp, (2, 4000), (77, 0))),
        (v4(Protocol::Icmp, (100, 0), (77, 40_000)), v4(Protocol::Icmp, (2, 0), (77, 4000))),
    ]
    .map(|(outside, inside)| (Specimen::new(outside, &[0x5a; 100]), inside))
}

#[test]
fn the_quoted_packet_becomes_what_its_sender_sent() {
    for (outside, inside) in flows() {
        let whole = outside.packet().len();
        assert_translated(&outside, inside, whole);
    }
}

#[test]
fn eight_bytes_of_the_quoted_payload_are_enough() {
    for (outside, inside) in flows() {
        for len in (28..60).filter(|&len| !half_a_checksum(&outside, len)) {
            assert_translated(&outside, inside, len);
        }
    }
}

#[test]
fn options_of_the_quoted_packet_are_passed_over() {
    for (outside, inside) in flows() {
        for options in [vec![1; 4], vec![0x94, 4, 0, 0], vec![0xff; 40]] {
            let outside = Specimen { options, ..outside.clone() };
            let least = outside.packet().len() - outside.datagram().len() + 8;
            assert_translated(&outside, inside, least);
            assert_translated(&outside, inside, least + 90);
        }
    }
}

#[test]
fn a_quoted_first_fragment_is_enough() {
    for (outside, inside) in flows() {
        assert_translated(&Specimen { part: Some((0, 24, true)), ..outside }, inside, 44);
    }
}

#[test]
fn extensions_behind_the_quote_stay() {
    // RFC 4884: the quote is padded to 128 bytes, an extension structure follows.
    for (outside, inside) in flows() {
        let extended = |specimen: &Specimen| {
            let mut quoted = specimen.packet();
            quoted.resize(128, 0);
            quoted.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0xde, 0xad, 0xbe, 0xef]);
            quoted
        };
        let host = Ipv4Addr::new(10, 0, 0, 100);
        let there = translate(&error(11, (ROUTER, host), &extended(&outside)), ROUTER, &inside).unwrap();
        let expected = left(11, (ROUTER, Ipv4Addr::new(10, 0, 0, 2)), &extended(&outside.with_tuple(inside)));
        assert_eq!(there, expected);
    }
}

#[test]
fn what_is_too_large_is_cut_as_if_less_had_been_quoted() {
    let (host, endpoint) = (Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 0, 0, 2));
    for (outside, inside) in flows() {
        let (before, after) = (outside.packet(), outside.with_tuple(inside).packet());
        let whole = before.len() as u16 + 28;
        for (kind, partial) in [(3, false), (4, false), (11, false), (12, false), (3, true)] {
            let frame = |frame: OwnedFrame| if partial { left_partial(frame) } else { frame };
            let error = frame(error(kind, (ROUTER, host), &before));
            for mtu in 68..whole + 3 {
                let len = usize::from(if mtu < whole { mtu & !3 } else { whole }) - 28;
                let expected = frame(left(kind, (ROUTER, endpoint), &after[..len]));
                let there = translate_cut(&error, ROUTER, &inside, mtu).unwrap();
                assert_eq!(there, expected, "kind {kind}, {mtu} bytes, {outside:?}");
            }
        }
    }
}

#[test]
fn headers_of_the_quote_are_not_cut() {
    let host = Ipv4Addr::new(10, 0, 0, 100);
    for (outside, inside) in flows() {
        let least = if inside.protocol == Protocol::Tcp { 18 } else { 8 };
        for options in [0, 40] {
            let quoted = Specimen { options: vec![1; options], ..outside.clone() };
            let error = error(11, (ROUTER, host), &quoted.packet());
            let least = (28 + 20 + options + least).next_multiple_of(4) as u16;
            assert!(translate_cut(&error, ROUTER, &inside, least).is_ok(), "{least} bytes of {quoted:?}");
            let narrower = translate_cut(&error, ROUTER, &inside, least - 1);
            assert_eq!(narrower, Err(DropReason::TooBig), "{least} bytes of {quoted:?}");
        }
    }
}

#[test]
fn who_cuts_an_error_takes_its_extensions_away() {
    // RFC 4884: the sixth byte of these says where extensions begin, in words of the quote.
    let (host, endpoint) = (Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 0, 0, 2));
    let (outside, inside) = &flows()[0];
    let (before, after) = (outside.packet(), outside.with_tuple(*inside).packet());
    for (kind, becomes) in [(3, 0), (4, 32), (11, 0), (12, 0)] {
        let extended = |mut frame: OwnedFrame, words| {
            frame.bytes[39] = words;
            frame.bytes[36..38].fill(0);
            let sum = !naive_sum(&frame.bytes[34..]);
            frame.bytes[36..38].copy_from_slice(&sum.to_be_bytes());
            frame
        };
        let error = extended(error(kind, (ROUTER, host), &before), 32);
        let expected = |len: usize, words| extended(left(kind, (ROUTER, endpoint), &after[..len]), words);
        let there = |mtu| translate_cut(&error, ROUTER, inside, mtu).unwrap();
        assert_eq!(there(1500), expected(after.len(), 32), "kind {kind}");
        assert_eq!(there(100), expected(72, becomes), "kind {kind}");
    }
}

#[test]
fn a_wrong_checksum_in_the_quote_does_not_matter_and_stays_wrong() {
    // Many a router quotes the packet after it has counted down its TTL.
    let (outside, inside) = &flows()[0];
    let host = Ipv4Addr::new(10, 0, 0, 100);
    let counted_down = |specimen: &Specimen| {
        let mut quoted = specimen.packet();
        quoted[8] -= 1;
        quoted
    };
    let there = translate(&error(11, (ROUTER, host), &counted_down(outside)), ROUTER, inside).unwrap();
    let expected = counted_down(&outside.with_tuple(*inside));
    assert_eq!(there, left(11, (ROUTER, Ipv4Addr::new(10, 0, 0, 2)), &expected));
}

#[test]
fn an_endpoints_error_leaves_from_the_given_source() {
    // The endpoint says that its port is closed; the client must hear it from the address that it spoke to.
    let (client, endpoint, host) = (ROUTER, Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(192, 0, 2, 1));
    let inside = Tuple::v4(Protocol::Udp, (client, 5000), (endpoint, 8080));
    let outside = Tuple::v4(Protocol::Udp, (client, 5000), (host, 80));
    let quoted = Specimen::new(inside, b"request");
    let there = translate(&error(3, (endpoint, client), &quoted.packet()), host, &outside).unwrap();
    assert_eq!(there, left(3, (host, client), &quoted.with_tuple(outside).packet()));
}

#[test]
fn a_message_whose_checksum_is_left_to_do_is_translated_too() {
    let (outside, inside) = &flows()[0];
    let host = Ipv4Addr::new(10, 0, 0, 100);
    let there =
        translate(&left_partial(error(3, (ROUTER, host), &outside.packet())), ROUTER, inside).unwrap();
    let expected = left(3, (ROUTER, Ipv4Addr::new(10, 0, 0, 2)), &outside.with_tuple(*inside).packet());
    assert_eq!(there, left_partial(expected));
}

#[test]
fn a_wrong_checksum_of_the_message_is_malformed() {
    let (outside, _) = &flows()[0];
    let mut frame = error(3, (ROUTER, Ipv4Addr::new(10, 0, 0, 100)), &outside.packet());
    frame.bytes[40] ^= 1;
    assert_eq!(read(&frame), Err(DropReason::EdgeMalformed));
    let vouched = Offload { checksum_valid: true, ..Offload::NONE };
    assert!(read(&OwnedFrame { offload: vouched, ..frame }).is_ok());
}

#[test]
fn quotes_that_are_cut_or_contradict_themselves_are_malformed() {
    let host = Ipv4Addr::new(10, 0, 0, 100);
    for (outside, _) in flows() {
        let whole = Specimen { options: vec![1; 8], ..outside }.packet();
        for len in 0..36 {
            let frame = error(3, (ROUTER, host), &whole[..len]);
            assert_eq!(read(&frame), Err(DropReason::EdgeMalformed), "{len} bytes");
        }
        for (at, byte) in [(0, 0x65), (0, 0x44), (0, 0x4f), (3, 35), (3, 27), (3, 0)] {
            let mut quoted = whole[..60].to_vec();
            (quoted[2], quoted[at]) = (0, byte);
            assert_eq!(
                read(&error(3, (ROUTER, host), &quoted)),
                Err(DropReason::EdgeMalformed),
                "{at}: {byte}"
            );
        }
    }
}

#[test]
fn errors_about_errors_and_later_fragments_belong_to_no_session() {
    let host = Ipv4Addr::new(10, 0, 0, 100);
    let [(tcp, _), _, (request, _), _] = flows();
    for kind in [3, 4, 5, 11, 12, 13, 40] {
        let mut about = request.packet();
        about[20] = kind;
        assert_eq!(read(&error(3, (ROUTER, host), &about)), Err(DropReason::NoSession), "{kind}");
    }
    let later = Specimen { part: Some((24, 24, true)), ..tcp.clone() };
    assert_eq!(read(&error(3, (ROUTER, host), &later.packet())), Err(DropReason::NoSession));
    let mut another_protocol = tcp.packet();
    another_protocol[9] = 50;
    assert_eq!(read(&error(3, (ROUTER, host), &another_protocol)), Err(DropReason::NoSession));
    assert_eq!(read(&tcp.frame()), Err(DropReason::EdgeMalformed), "not an error at all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(500)))]

    #[test]
    fn any_quote_is_as_if_its_sender_had_it_and_back(
        (outside, inside) in any_protocol().prop_flat_map(any_tuples),
        options in 0..=10usize, len in 8..80usize, tos in any::<u8>(), absent in any::<bool>(),
    ) {
        let checksum = match outside.protocol {
            Protocol::Udp if absent => Checksum::Absent,
            _ => Checksum::Complete,
        };
        let specimen =
            Specimen { options: vec![1; 4 * options], tos, checksum, ..Specimen::new(outside, &[0x3c; 90]) };
        let len = 20 + 4 * options + len;
        let len = if half_a_checksum(&specimen, len) { len + 1 } else { len };
        assert_translated(&specimen, inside, len);
        assert_translated(&specimen.with_tuple(inside), outside, len);
    }

    #[test]
    fn no_quote_panics(quoted in prop::collection::vec(any::<u8>(), 0..100), sane in any::<bool>(), kind in any::<u8>()) {
        let mut quoted = quoted;
        if sane && quoted.len() > 20 {
            quoted[0] = 0x40 | (quoted[0] & 0x0f).max(5);
            (quoted[2], quoted[6], quoted[7]) = (0, 0, 0);
            quoted[9] = [1, 6, 17, 1][usize::from(kind & 3)];
        }
        let frame = error([3, 4, 11, 12][usize::from(kind >> 6)], (ROUTER, Ipv4Addr::new(10, 0, 0, 100)), &quoted);
        if let Ok(quote) = read(&frame) {
            translate(&frame, ROUTER, &quote.tuple).unwrap();
        }
    }
}
