use etherparse::checksum::Sum16BitWords;
use etherparse::{PacketBuilder, PacketBuilderStep, TcpOptionElement, ip_number};

use super::*;
use crate::port::Offloads;
use crate::segment::segment;

const MTU: u16 = 1500;
const SRC: [u8; 4] = [10, 0, 0, 2];
const DST: [u8; 4] = [10, 0, 0, 3];

fn ipv4() -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]).ipv4(SRC, DST, 64)
}

fn tcp(payload_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let build = ipv4().tcp(4000, 80, 1, 64_240).ack(2);
    build
        .options(&[TcpOptionElement::Timestamp(1, 2)])
        .unwrap()
        .write(&mut bytes, &vec![0x5a; payload_len])
        .unwrap();
    bytes
}

fn udp(payload_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ipv4().udp(4000, 53).write(&mut bytes, &vec![0x5a; payload_len]).unwrap();
    bytes
}

/// Lengths of the packets that the frame becomes where a device cannot cut it.
fn cut(bytes: &[u8], offload: Offload) -> Vec<usize> {
    let (mut scratch, mut lens) = (Vec::new(), Vec::new());
    segment(&Frame { bytes, offload }, Offloads::NONE, &mut scratch, &mut |piece| {
        lens.push(piece.bytes.len() - 14);
    })
    .expect("it can be cut");
    lens
}

#[test]
fn a_super_frame_of_tcp_is_cut_as_the_mtu_and_both_ends_want_it() {
    let bytes = tcp(20_000);
    let offload = left_to_device(&bytes, MTU, None);
    assert_eq!((offload.gso, offload.gso_size, offload.header_len), (Gso::TcpV4, 1448, 66));
    assert_eq!((offload.needs_checksum, offload.csum_start, offload.csum_offset), (true, 34, 16));
    assert!(offload.is_consistent(bytes.len()));
    let lens = cut(&bytes, offload);
    assert_eq!((lens.len(), lens[0]), (14, 1500));
    assert_eq!(left_to_device(&bytes, MTU, Some(1380)).gso_size, 1368);
    assert_eq!(left_to_device(&bytes, MTU, Some(9000)).gso_size, 1448, "the MTU still counts");
    assert_eq!(left_to_device(&bytes, 65_535, None), Offload::NONE, "no super-frame there");
}

#[test]
fn udp_and_ipv6_are_cut_too() {
    let bytes = udp(5000);
    let offload = left_to_device(&bytes, MTU, None);
    let Offload { gso, gso_size, csum_start, csum_offset, .. } = offload;
    assert_eq!((gso, gso_size, csum_start, csum_offset), (Gso::Udp, 1472, 34, 6));
    assert_eq!(cut(&bytes, offload)[0], 1500);

    let mut bytes = Vec::new();
    let build = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]);
    build.ipv6([0xfd; 16], [0xfe; 16], 64).tcp(1, 2, 3, 4).write(&mut bytes, &[0x5a; 5000]).unwrap();
    let offload = left_to_device(&bytes, MTU, None);
    assert_eq!((offload.gso, offload.gso_size, offload.csum_start), (Gso::TcpV6, 1440, 54));
    assert_eq!(cut(&bytes, offload)[0], 1500);
}

#[test]
fn what_no_device_cuts_is_as_it_is() {
    let mut echo = Vec::new();
    ipv4().icmpv4_echo_request(7, 1).write(&mut echo, &[0x5a; 5000]).unwrap();
    let mut fragment = udp(5000);
    fragment[20] = 0x20;
    for bytes in [echo, fragment, tcp(1000), vec![0; 20], vec![]] {
        assert_eq!(left_to_device(&bytes, MTU, None), Offload::NONE);
    }
}

#[test]
fn a_checksum_that_is_none_yet_is_seen() {
    let mut bytes = tcp(100);
    let len = (bytes.len() - 34) as u16;
    let sum = Sum16BitWords::new().add_4bytes(SRC).add_4bytes(DST).add_2bytes([0, ip_number::TCP.0]);
    let sum = sum.add_2bytes(len.to_be_bytes()).ones_complement();
    bytes[50..52].copy_from_slice(&(!sum).to_ne_bytes());
    let expected = Offload { needs_checksum: true, csum_start: 34, csum_offset: 16, ..Offload::NONE };
    assert_eq!(left_to_device(&bytes, MTU, None), expected);
}

#[test]
fn what_both_ends_announced_is_found_in_the_capture() {
    let build = |from: [u8; 4], to: [u8; 4], ports: (u16, u16), flags: u8, size: u16| {
        let build = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]).ipv4(from, to, 64);
        let build = build.tcp(ports.0, ports.1, 1, 64_240);
        let mut bytes = Vec::new();
        build.options(&[TcpOptionElement::MaximumSegmentSize(size)]).unwrap().write(&mut bytes, &[]).unwrap();
        bytes[47] = flags;
        bytes
    };
    let capture = [
        build(SRC, DST, (4001, 80), 0x02, 500),
        build(SRC, DST, (4000, 80), 0x02, 1460),
        build(DST, SRC, (80, 4000), 0x12, 1380),
        // Only a SYN announces.
        build(SRC, DST, (4000, 80), 0x10, 600),
        udp(10),
        vec![0; 3],
    ];
    let frames = || capture.iter().map(Vec::as_slice);
    assert_eq!(agreed_segment_size(&tcp(20_000), frames()), Some(1380));
    assert_eq!(agreed_segment_size(&tcp(20_000), frames().take(1)), None);
    assert_eq!(agreed_segment_size(&udp(10), frames()), None);
}
