use proptest::prelude::*;

use super::*;
use crate::edge::specimen::{
    Checksum, Specimen, any_specimen, any_tcp_options, any_tuple, any_tuple_of, leaving, naive_sum, parse,
    tcp, tcp_options, v4,
};
use crate::network::PortId;
use crate::offload::Gso;
use crate::out::Out;
use crate::port::memory::OwnedFrame;
use crate::testing::{GATEWAY, cases, mac};

fn to(tuple: Option<&Tuple>) -> Change<'_> {
    Change { dst_mac: mac(9), src_mac: GATEWAY.mac, tuple, max_segment_size: None }
}

/// The frame as it leaves.
fn translate(frame: &OwnedFrame, change: &Change<'_>) -> Result<OwnedFrame, DropReason> {
    let packet = parse(frame)?;
    let mut out = Out::new();
    let borrowed = Frame { bytes: &frame.bytes, offload: frame.offload };
    out.forward_rewritten_with(PortId(9), |headers| rewrite(&borrowed, &packet, change, headers))?;
    Ok(leaving(frame, &out))
}

/// Tables of single differences: each must come out as if it had been built for the other side.
fn assert_translated(specimen: &Specimen, tuple: Tuple) {
    let left = translate(&specimen.frame(), &to(Some(&tuple))).unwrap();
    let expected = Specimen { ttl: specimen.ttl - 1, ..specimen.with_tuple(tuple) };
    assert_eq!(left, expected.left(), "{specimen:?}");
}

const PROTOCOLS: [(Protocol, (u16, u16)); 4] = [
    (Protocol::Tcp, (4000, 80)),
    (Protocol::Udp, (4000, 53)),
    (Protocol::Icmp, (4000, 0)),
    (Protocol::Icmp, (0, 4000)),
];

fn each_protocol(run: impl Fn(Specimen, Tuple)) {
    for (protocol, (src, dst)) in PROTOCOLS {
        let before = v4(protocol, (2, src), (77, dst));
        let swapped = |port: u16| if port == 0 { 0 } else { port ^ 0x5555 };
        let after = v4(protocol, (200, swapped(src)), (78, swapped(dst)));
        run(Specimen::new(before, b"Hello, world."), after);
    }
}

#[test]
fn addresses_and_ports_change_and_checksums_follow() {
    each_protocol(|specimen, after| assert_translated(&specimen, after));
}

#[test]
fn dscp_ecn_identification_and_flags_stay() {
    each_protocol(|specimen, after| {
        assert_translated(&Specimen { tos: 0xba, ident: 0xbeef, flags: 0x4000, ..specimen }, after);
    });
}

#[test]
fn options_are_carried_along() {
    each_protocol(|specimen, after| {
        assert_translated(&Specimen { options: vec![0x94, 4, 0, 0, 1, 1, 1, 0], ..specimen.clone() }, after);
        assert_translated(&Specimen { options: vec![1; 40], ..specimen }, after);
    });
}

#[test]
fn padding_is_left_out() {
    each_protocol(|specimen, after| {
        assert_translated(&Specimen { padding: vec![0; 5], ..specimen.clone() }, after);
        let partial = Specimen { padding: vec![0xee; 5], checksum: Checksum::Partial, ..specimen };
        assert_translated(&partial, after);
    });
}

#[test]
fn a_priority_tag_is_left_out_and_the_metadata_moves() {
    each_protocol(|specimen, after| {
        assert_translated(&Specimen { priority_tag: true, ..specimen.clone() }, after);
        assert_translated(&Specimen { priority_tag: true, checksum: Checksum::Partial, ..specimen }, after);
    });
}

#[test]
fn a_partial_checksum_stays_partial() {
    each_protocol(|specimen, after| {
        assert_translated(&Specimen { checksum: Checksum::Partial, ..specimen }, after);
    });
}

#[test]
fn a_super_frame_is_translated_whole() {
    let payload = vec![0x5a; 60_001];
    for (protocol, gso) in
        [(Protocol::Tcp, Gso::TcpV4), (Protocol::Udp, Gso::Udp), (Protocol::Udp, Gso::UdpFragments)]
    {
        let specimen = Specimen {
            gso,
            checksum: Checksum::Partial,
            ..Specimen::new(v4(protocol, (2, 4000), (77, 80)), &payload)
        };
        assert_translated(&specimen, v4(protocol, (200, 4001), (77, 80)));
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let specimen = Specimen::new(v4(Protocol::Udp, (2, 4000), (77, 53)), b"x");
    let after = v4(Protocol::Udp, (200, 4001), (77, 53));
    assert_translated(&Specimen { checksum: Checksum::Absent, ..specimen }, after);
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_written_as_all_ones() {
    let before = v4(Protocol::Udp, (2, 4000), (77, 53));
    // The source port that makes the sum all ones, and the checksum zero.
    let with_zero = Specimen::new(v4(Protocol::Udp, (200, 0), (77, 53)), b"data").datagram();
    let port = u16::from_be_bytes([with_zero[6], with_zero[7]]);
    let after = v4(Protocol::Udp, (200, port), (77, 53));
    let left = translate(&Specimen::new(before, b"data").frame(), &to(Some(&after))).unwrap();
    assert_eq!(left.bytes[40..42], [0xff, 0xff]);
    assert_translated(&Specimen::new(before, b"data"), after);
    // And back again, from all ones.
    assert_translated(&Specimen::new(after, b"data"), before);
}

#[test]
fn fragments_share_the_checksum_in_the_first() {
    each_protocol(|specimen, after| {
        let specimen = Specimen { payload: (0..=255).collect(), ..specimen };
        let len = specimen.datagram().len();
        for part in [(0, 24, true), (0, 64, true), (24, 8, true), (64, len - 64, false)] {
            assert_translated(&Specimen { part: Some(part), ..specimen.clone() }, after);
        }
    });
}

#[test]
fn without_a_tuple_only_the_hop_counts() {
    each_protocol(|specimen, _| {
        for specimen in [specimen.clone(), Specimen { checksum: Checksum::Partial, ..specimen }] {
            let left = translate(&specimen.frame(), &to(None)).unwrap();
            assert_eq!(left, Specimen { ttl: specimen.ttl - 1, ..specimen }.left());
        }
    });
}

#[test]
fn what_has_no_tuple_is_not_translated_but_may_be_routed() {
    let mut frame = Specimen::new(tcp((2, 4000), (77, 80)), b"esp").frame();
    frame.bytes[14 + 9] = 50;
    frame.bytes[14 + 10..14 + 12].fill(0);
    let sum = !naive_sum(&frame.bytes[14..34]);
    frame.bytes[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
    let after = tcp((200, 4000), (77, 80));
    assert_eq!(translate(&frame, &to(Some(&after))), Err(DropReason::EdgeProtocol));
    let left = translate(&frame, &to(None)).unwrap();
    assert_eq!(left.bytes[34..], frame.bytes[34..]);
    assert_eq!(naive_sum(&left.bytes[14..34]), 0xffff);
    assert_eq!(left.bytes[22], 63);
}

#[test]
fn the_frame_of_another_packet_is_refused() {
    let long = Specimen { tcp_options: vec![1; 40], ..Specimen::new(tcp((2, 1), (77, 80)), b"") };
    let packet = parse(&long.frame()).unwrap();
    let mut headers = [0; MAX_HEADERS_LEN];
    let whole = long.frame();
    for len in 0..54 {
        let frame = Frame::plain(&whole.bytes[..len]);
        let after = tcp((200, 1), (77, 80));
        assert_eq!(rewrite(&frame, &packet, &to(Some(&after)), &mut headers), Err(DropReason::EdgeMalformed));
    }
}

mod announced_segment_size {
    use super::*;

    const SYN: u8 = 0x02;

    fn syn(options: &[u8]) -> Specimen {
        let tuple = tcp((2, 4000), (77, 80));
        Specimen { tcp_flags: SYN, tcp_options: options.to_vec(), ..Specimen::new(tuple, b"") }
    }

    /// A SYN with these options leaves with those.
    fn assert_clamped(specimen: &Specimen, options: &[u8]) {
        let after = tcp((200, 4001), (77, 80));
        let checksums = if specimen.part.is_some() {
            &[Checksum::Complete][..]
        } else {
            &[Checksum::Complete, Checksum::Partial]
        };
        for (&checksum, tuple) in checksums.iter().flat_map(|c| [(c, Some(&after)), (c, None)]) {
            let before = Specimen { checksum, ..specimen.clone() };
            let change = Change { max_segment_size: Some(1240), ..to(tuple) };
            let left = translate(&before.frame(), &change).unwrap();
            let expected = Specimen {
                ttl: 63,
                tcp_options: options.to_vec(),
                ..before.with_tuple(*tuple.unwrap_or(&before.tuple))
            };
            assert_eq!(left, expected.left(), "{before:?}");
        }
    }

    #[test]
    fn is_clamped_wherever_it_stands() {
        assert_clamped(&syn(&[2, 4, 0x05, 0xb4]), &[2, 4, 0x04, 0xd8]);
        // As Linux sends it: MSS, SACK permitted, timestamps, window scale.
        let before = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
        let after = [2, 4, 0x04, 0xd8, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_clamped(&syn(&before), &after);
        // At an odd place its bytes lie in two words.
        assert_clamped(&syn(&[1, 2, 4, 0x05, 0xb4, 1, 1, 0]), &[1, 2, 4, 0x04, 0xd8, 1, 1, 0]);
        // Behind everything else, at the end of the longest header.
        let before = [&[1; 36][..], &[2, 4, 0xff, 0xff]].concat();
        let after = [&[1; 36][..], &[2, 4, 0x04, 0xd8]].concat();
        assert_clamped(&syn(&before), &after);
    }

    #[test]
    fn is_clamped_with_data_and_in_a_syn_ack() {
        let with_data = Specimen { payload: b"odd".to_vec(), ..syn(&[2, 4, 0x05, 0xb4]) };
        assert_clamped(&with_data, &[2, 4, 0x04, 0xd8]);
        assert_clamped(&Specimen { tcp_flags: SYN | 0x10, ..syn(&[2, 4, 0x05, 0xb4]) }, &[2, 4, 0x04, 0xd8]);
    }

    #[test]
    fn stays_when_small_enough() {
        assert_clamped(&syn(&[2, 4, 0x04, 0xd8]), &[2, 4, 0x04, 0xd8]);
        assert_clamped(&syn(&[2, 4, 0x02, 0x18]), &[2, 4, 0x02, 0x18]);
    }

    #[test]
    fn stays_in_other_segments() {
        assert_clamped(&Specimen { tcp_flags: 0x10, ..syn(&[2, 4, 0x05, 0xb4]) }, &[2, 4, 0x05, 0xb4]);
    }

    #[test]
    fn stays_behind_options_that_make_no_sense() {
        for options in [
            &[][..],
            &[0, 2, 4, 0xff, 0xff, 0, 0, 0],
            &[2, 3, 0xff, 0xff],
            &[1, 1, 2, 4],
            &[1, 2, 4, 0xff],
            &[8, 0, 2, 4, 0xff, 0xff, 0, 0],
            &[8, 1, 2, 4, 0xff, 0xff, 0, 0],
            &[8, 200, 2, 4, 0xff, 0xff, 0, 0],
            &[1, 1, 1, 2],
            &[1, 1, 1, 77],
        ] {
            assert_clamped(&syn(options), options);
        }
    }

    #[test]
    fn stays_in_a_header_that_goes_on_in_the_next_fragment() {
        let options = [&[1; 20][..], &[2, 4, 0xff, 0xff]].concat();
        let cut = Specimen { part: Some((0, 40, true)), payload: vec![7; 30], ..syn(&options) };
        assert_clamped(&cut, &options);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2000)))]

    /// Checksums computed from scratch, complete and partial, whole packets, fragments and super-frames.
    #[test]
    fn any_translated_packet_is_as_if_built_for_the_other_side(
        (specimen, tuple) in any_specimen().prop_flat_map(|specimen| {
            let tuple = any_tuple_of(specimen.tuple.protocol, specimen.tuple.dst_port == 0);
            (Just(specimen), tuple)
        }),
    ) {
        let frame = specimen.frame();
        let there = translate(&frame, &to(Some(&tuple))).unwrap();
        prop_assert_eq!(&there, &Specimen { ttl: specimen.ttl - 1, ..specimen.with_tuple(tuple) }.left());
        // And back again: the identity, but for the hops.
        let back = translate(&there, &to(Some(&specimen.tuple))).unwrap();
        prop_assert_eq!(back, Specimen { ttl: specimen.ttl - 2, ..specimen }.left());
    }

    /// The same of SYNs whose segment size is brought down, wherever it stands; partial checksums know nothing of it.
    #[test]
    fn any_clamped_syn_is_as_if_its_sender_had_announced_less(
        (before, after) in (any_tuple(Protocol::Tcp), any_tuple(Protocol::Tcp)), specimen in any_specimen(),
        options in any_tcp_options(), limit in any::<u16>(), partial in any::<bool>(), more in any::<bool>(),
    ) {
        let announcing = |limit| {
            let tcp_options = tcp_options(&options, limit);
            let first = 8 * (20 + tcp_options.len()).div_ceil(8);
            Specimen {
                tcp_flags: specimen.tcp_flags | 0x02,
                tcp_options,
                checksum: if partial && !more { Checksum::Partial } else { Checksum::Complete },
                gso: Gso::None,
                part: more.then_some((0, first, true)),
                ..specimen.with_tuple(before)
            }
        };
        let change = Change { max_segment_size: Some(limit), ..to(Some(&after)) };
        let there = translate(&announcing(None).frame(), &change).unwrap();
        let clamped = announcing(Some(limit));
        prop_assert_eq!(&there, &Specimen { ttl: specimen.ttl - 1, ..clamped.with_tuple(after) }.left());
        // Back again it is what it was but for the size, which nobody brings up.
        let back = translate(&there, &to(Some(&before))).unwrap();
        prop_assert_eq!(back, Specimen { ttl: specimen.ttl - 2, ..clamped }.left());
    }

    #[test]
    fn no_frame_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<[u8; 10]>(),
        limit in any::<Option<u16>>(), flags in any::<u8>(), sane in any::<bool>(),
    ) {
        let mut frame = OwnedFrame { bytes, offload: Offload::parse(&header).unwrap_or(Offload::NONE) };
        if sane && frame.bytes.len() > 40 {
            frame.bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45 + (flags & 3), 0]);
            frame.offload = Offload { gso: Gso::TcpV4, gso_size: 1, ..Offload::NONE };
            frame.bytes[23] = [6, 17, 1, 6][usize::from(flags >> 6)];
        }
        let after = tcp((200, 4000), (77, 80));
        for tuple in [None, Some(&after)] {
            let _ = translate(&frame, &Change { max_segment_size: limit, ..to(tuple) });
        }
    }
}
