use std::net::Ipv4Addr;

use etherparse::Ipv4HeaderSlice;
use proptest::prelude::*;

use super::*;
use crate::edge::packet::Packet;
use crate::edge::rewrite::{Change, rewrite};
use crate::edge::specimen::{Checksum, Specimen, any_specimen, parse, tcp, v4};
use crate::edge::tuple::Protocol;
use crate::offload::Gso;
use crate::port::memory::OwnedFrame;
use crate::testing::{GATEWAY, cases, mac};

/// The frames that leave instead of that one, towards endpoint 9.
fn cut(frame: &OwnedFrame, mtu: u16, out: &mut Out) -> Result<Vec<Vec<u8>>, DropReason> {
    let packet: Packet = parse(frame).unwrap();
    let borrowed = Frame { bytes: &frame.bytes, offload: frame.offload };
    let change = Change { dst_mac: mac(9), src_mac: GATEWAY.mac, tuple: None, max_segment_size: None };
    out.clear();
    out.forward_rewritten_with(PortId(9), |headers| rewrite(&borrowed, &packet, &change, headers))?;
    let count = Fragmenter::default().cut(&borrowed, mtu, out);
    assert!(out.rewritten().is_none(), "the whole does not leave as well");
    let made: Vec<_> = out
        .made()
        .map(|(egress, made)| {
            assert_eq!((egress, made.offload), (PortId(9), Offload::NONE));
            made.bytes.to_vec()
        })
        .collect();
    assert_eq!(count.unwrap_or(0), made.len());
    count.map(|_| made)
}

/// Offset in bytes, whether more follow, options, payload; everything else is as in `whole`.
type Fragment = (usize, bool, Vec<u8>, Vec<u8>);

fn read(bytes: &[u8], mtu: usize, whole: &Specimen) -> Fragment {
    assert_eq!(bytes[..14], *[&mac(9).0[..], &GATEWAY.mac.0[..], &[8, 0]].concat());
    let packet = &bytes[14..];
    assert!(packet.len() <= mtu, "{} bytes", packet.len());
    let ip = Ipv4HeaderSlice::from_slice(packet).unwrap();
    assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
    assert_eq!(usize::from(ip.total_len()), packet.len());
    assert_eq!((ip.identification(), ip.ttl(), packet[1]), (whole.ident, whole.ttl - 1, whole.tos));
    let source: Ipv4Addr = whole.tuple.src.to_ipv4_mapped().unwrap();
    assert_eq!((ip.source_addr(), ip.dont_fragment()), (source, false));
    let payload = packet[ip.slice().len()..].to_vec();
    (usize::from(ip.fragments_offset().value()) * 8, ip.more_fragments(), ip.options().to_vec(), payload)
}

/// Puts fragments of a datagram, or of a part of one, together again.
fn joined(fragments: &[Fragment], start: usize, more_behind: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, (offset, more, _, bytes)) in fragments.iter().enumerate() {
        assert_eq!(*offset, start + payload.len());
        assert_eq!(*more, more_behind || index + 1 < fragments.len());
        payload.extend(bytes);
    }
    payload
}

fn fragments(specimen: &Specimen, mtu: u16) -> Vec<Fragment> {
    let made = cut(&specimen.frame(), mtu, &mut Out::new()).unwrap();
    made.iter().map(|bytes| read(bytes, mtu.into(), specimen)).collect()
}

fn udp(len: usize) -> Specimen {
    let payload: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
    Specimen::new(v4(Protocol::Udp, (2, 4000), (77, 53)), &payload)
}

#[test]
fn the_fragments_together_are_the_packet() {
    let specimen = udp(3001);
    let fragments = fragments(&specimen, 1280);
    assert_eq!(fragments.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [0, 1256, 2512]);
    assert_eq!(joined(&fragments, 0, false), specimen.datagram());
}

#[test]
fn what_fits_leaves_as_one() {
    let specimen = udp(1252);
    assert_eq!(fragments(&specimen, 1280).len(), 1);
    assert_eq!(fragments(&udp(1253), 1280).len(), 2);
}

#[test]
fn a_fragments_fragments_take_its_place() {
    let specimen = udp(4000);
    let middle = Specimen { part: Some((800, 1600, true)), ..specimen.clone() };
    let (first, datagram) = (fragments(&middle, 600), specimen.datagram());
    assert_eq!(joined(&first, 800, true), datagram[800..2400]);
    let last = Specimen { part: Some((2400, 1608, false)), ..specimen };
    assert_eq!(joined(&fragments(&last, 600), 2400, false), datagram[2400..]);
}

#[test]
fn only_options_that_say_so_are_in_every_fragment() {
    // Record route (not copied), strict source route (copied), a no-operation, router alert (copied), the end.
    let options =
        [&[7, 7, 4, 0, 0, 0, 0][..], &[0x89, 7, 4, 1, 2, 3, 4], &[1], &[0x94, 4, 0, 0], &[0]].concat();
    let fragments = fragments(&Specimen { options: options.clone(), ..udp(1000) }, 576);
    assert_eq!(fragments[0].2, options);
    for (.., later, _) in &fragments[1..] {
        assert_eq!(later, &[0x89, 7, 4, 1, 2, 3, 4, 0x94, 4, 0, 0, 0]);
    }
    assert!(fragments.len() > 1);
}

#[test]
fn options_that_make_no_sense_are_left_behind() {
    for nonsense in [[0x89, 0, 0, 0], [0x89, 1, 0, 0], [0x89, 5, 0, 0], [1, 1, 1, 0x89]] {
        let fragments = fragments(&Specimen { options: nonsense.to_vec(), ..udp(1000) }, 576);
        assert!(fragments[1..].iter().all(|(.., later, _)| later.is_empty()), "{nonsense:?}");
        assert!(fragments.len() > 1);
    }
}

#[test]
fn a_partial_checksum_is_completed_first() {
    let complete = udp(2001);
    let partial = Specimen { checksum: Checksum::Partial, ..complete.clone() };
    assert_eq!(joined(&fragments(&partial, 1280), 0, false), complete.datagram());
}

#[test]
fn super_frames_are_cut_into_segments_first() {
    let partial = Specimen { checksum: Checksum::Partial, gso: Gso::Udp, ..udp(2800) };
    let made = cut(&partial.frame(), 1280, &mut Out::new()).unwrap();
    let whole = partial.datagram();
    // Two datagrams of 1400 bytes, of which neither fits.
    assert_eq!(made.len(), 4);
    for (number, pair) in made.chunks(2).enumerate() {
        let ident = partial.ident + number as u16;
        let pair: Vec<_> =
            pair.iter().map(|bytes| read(bytes, 1280, &Specimen { ident, ..partial.clone() })).collect();
        let datagram = joined(&pair, 0, false);
        assert_eq!(datagram[8..], whole[8 + 1400 * number..][..1400]);
        let alone = Specimen::new(partial.tuple, &datagram[8..]);
        assert_eq!(datagram, alone.datagram(), "length and checksum are its own");
    }
    let tcp = Specimen {
        checksum: Checksum::Partial,
        gso: Gso::TcpV4,
        ..Specimen::new(tcp((2, 4000), (77, 80)), &[7; 2000])
    };
    assert_eq!(cut(&tcp.frame(), 1280, &mut Out::new()).unwrap().len(), 3);
}

#[test]
fn the_longest_packet_finds_room_at_the_least_mtu_of_hosts() {
    let fragments = fragments(&udp(65_507), 576);
    assert_eq!(joined(&fragments, 0, false).len(), 65_515);
}

#[test]
fn nothing_leaves_when_not_all_can() {
    let mut out = Out::new();
    for (specimen, mtu) in [
        (Specimen { flags: 0x4000, ..udp(1000) }, 576),
        // No room for a single block of eight bytes.
        (udp(1000), 27),
        (udp(1000), 0),
        (Specimen { options: vec![1; 40], ..udp(1000) }, 67),
        // More headers than there is room for.
        (udp(60_000), 28),
        (Specimen { checksum: Checksum::Partial, gso: Gso::Udp, ..udp(60_000) }, 28),
    ] {
        assert_eq!(cut(&specimen.frame(), mtu, &mut out), Err(DropReason::TooBig), "{mtu}");
        assert!(!out.has_made());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(500)))]

    #[test]
    fn any_packet_is_whole_again_from_its_fragments(specimen in any_specimen(), mtu in 68u16..1600) {
        let specimen = Specimen { flags: 0, gso: Gso::None, ..specimen };
        let expected = specimen.clone().completed().datagram();
        let (start, len, more) = specimen.part.unwrap_or((0, expected.len(), false));
        let expected = &expected[start..(start + len).min(expected.len())];
        prop_assert_eq!(joined(&fragments(&specimen, mtu), start, more), expected);
    }
}

#[test]
fn a_sum_of_zero_is_completed_as_any_device_does() {
    // What found that the two ways to write it are not the same bytes.
    let mut specimen = Specimen::new(v4(Protocol::Icmp, (2, 0), (77, 0)), &[0; 4]);
    specimen.checksum = Checksum::Partial;
    let sum = u16::from_be_bytes(
        *Specimen { checksum: Checksum::Complete, ..specimen.clone() }.datagram()[2..].first_chunk().unwrap(),
    );
    specimen.payload[..2].copy_from_slice(&sum.to_be_bytes());
    let written = |specimen: &Specimen| specimen.datagram()[2..4].to_vec();
    assert_eq!(written(&Specimen { checksum: Checksum::Complete, ..specimen.clone() }), [0, 0]);
    assert_eq!(joined(&fragments(&specimen, 576), 0, false)[2..4], [0xff, 0xff]);
    assert_eq!(written(&Specimen { checksum: Checksum::Completed, ..specimen }), [0xff, 0xff]);
}
