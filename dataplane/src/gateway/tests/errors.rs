use super::*;
use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};

const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// What is decided about a packet to [`FAR`].
const NO_ROUTE: Verdict = Verdict::Drop(DropReason::NoRoute);

/// A UDP datagram without a checksum.
fn udp(data: &[u8]) -> Vec<u8> {
    let len = (8 + data.len() as u16).to_be_bytes();
    [&[0x11, 0x11, 0x22, 0x22], &len[..], &[0, 0], data].concat()
}

fn refuse(header: DestUnreachableHeader) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(header)
}

#[test]
fn each_dead_end_has_its_error() {
    let network = refuse(DestUnreachableHeader::Network);
    let host = refuse(DestUnreachableHeader::Host);
    let expired = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);
    let port = refuse(DestUnreachableHeader::Port);
    let protocol = refuse(DestUnreachableHeader::Protocol);
    let table = [
        (FAR, UDP, 64, NO_ROUTE, network.clone()),
        (FAR, ICMP, 2, NO_ROUTE, network),
        (address(77), TCP, 64, Verdict::Reply(Reply::HostUnreachable), host),
        (FAR, UDP, 1, Verdict::Reply(Reply::TimeExceeded), expired.clone()),
        (FAR, UDP, 0, Verdict::Reply(Reply::TimeExceeded), expired.clone()),
        (address(77), ICMP, 1, Verdict::Reply(Reply::TimeExceeded), expired),
        (GATEWAY.address, UDP, 64, Verdict::Reply(Reply::PortUnreachable), port.clone()),
        (GATEWAY.address, UDP, 1, Verdict::Reply(Reply::PortUnreachable), port.clone()),
        (GATEWAY.address, TCP, 64, Verdict::Reply(Reply::PortUnreachable), port),
        (GATEWAY.address, 132, 64, Verdict::Reply(Reply::ProtocolUnreachable), protocol),
    ];
    for (dst, kind, ttl, verdict, expected) in table {
        let mut lab = Lab::new([ASKER, 3]);
        let payload = match kind {
            ICMP => echo_request(b"probe"),
            UDP => udp(&pattern(24)),
            _ => [vec![0x11; 12], vec![5 << 4], pattern(19)].concat(),
        };
        let plain = ipv4(address(ASKER), dst, kind, &payload);
        let header = Ipv4Header::from_slice(&plain).unwrap().0;
        let packet = rewrite(header, |header| header.time_to_live = ttl, &payload);
        assert_eq!(lab.ask(&packet), verdict, "{dst} {kind} {ttl}");
        let (kind, quote) = read_icmp(&lab.made(), to_asker(), 576);
        assert_eq!(kind, expected);
        assert_eq!(quote, packet, "the quote");
    }
}

#[test]
fn the_quote_is_as_long_as_576_bytes_allow() {
    let mut lab = Lab::new([ASKER]);
    for len in [8, 527, 528, 529, 1400] {
        let packet = ipv4(address(ASKER), FAR, UDP, &udp(&pattern(len - 8)));
        // Padding of the frame is no part of the packet.
        assert_eq!(lab.ask(&[&packet[..], &[0xee; 20]].concat()), NO_ROUTE);
        let (_, quote) = read_icmp(&lab.made(), to_asker(), 576);
        assert_eq!(quote, packet[..packet.len().min(548)], "{len} bytes");
    }
}

#[test]
fn some_packets_must_not_be_answered() {
    let own = address(ASKER);
    let icmp = |kind: u8| {
        let unknown = Icmpv4Type::Unknown { type_u8: kind, code_u8: 0, bytes5to8: [0; 4] };
        Icmpv4Header::with_checksum(unknown, &[]).to_bytes().to_vec()
    };
    let fragment =
        |offset, more| ipv4_fragment(own, FAR, UDP, &[0x11; 64], FragmentOf { id: 5, offset, more });
    let silent = [
        ("destination unreachable", ipv4(own, FAR, ICMP, &icmp(3))),
        ("source quench", ipv4(own, FAR, ICMP, &icmp(4))),
        ("redirect", ipv4(own, FAR, ICMP, &icmp(5))),
        ("time exceeded", ipv4(own, FAR, ICMP, &icmp(11))),
        ("parameter problem", ipv4(own, FAR, ICMP, &icmp(12))),
        ("an unknown ICMP type", ipv4(own, FAR, ICMP, &icmp(200))),
        ("ICMP without a type", ipv4(own, FAR, ICMP, &[])),
        ("a later fragment", fragment(64, false)),
        ("from nobody", ipv4(Ipv4Addr::UNSPECIFIED, FAR, UDP, &udp(b""))),
        ("from this network", ipv4([0, 1, 2, 3].into(), FAR, UDP, &udp(b""))),
        ("from loopback", ipv4([127, 1, 2, 3].into(), FAR, UDP, &udp(b""))),
        ("from a group", ipv4([224, 0, 0, 5].into(), FAR, UDP, &udp(b""))),
        ("from class E", ipv4([240, 0, 0, 1].into(), FAR, UDP, &udp(b""))),
        ("from everybody", ipv4(Ipv4Addr::BROADCAST, FAR, UDP, &udp(b""))),
        ("from the subnet's broadcast", ipv4([10, 0, 0, 255].into(), FAR, UDP, &udp(b""))),
        ("to a group", ipv4(own, [239, 1, 2, 3].into(), UDP, &udp(b""))),
        ("to everybody", ipv4(own, Ipv4Addr::BROADCAST, UDP, &udp(b""))),
        ("to the subnet's broadcast", ipv4(own, [10, 0, 0, 255].into(), UDP, &udp(b""))),
        ("to class E", ipv4(own, [250, 0, 0, 1].into(), UDP, &udp(b""))),
    ];
    let mut lab = Lab::new([ASKER]);
    for (what, packet) in silent {
        let verdict = lab.ask(&packet);
        assert!(matches!(verdict, Verdict::Drop(_) | Verdict::Wait(_)), "{what}: {verdict}");
        assert_eq!(lab.made(), [], "{what}");
    }
    for (what, packet) in
        [("echo request", ipv4(own, FAR, ICMP, &icmp(8))), ("the first fragment", fragment(0, true))]
    {
        assert_eq!(lab.ask(&packet), NO_ROUTE, "{what}");
    }
}

#[test]
fn a_super_frame_without_header_checksum_is_answered_once() {
    let mut lab = Lab::new([ASKER]);
    let mut packet =
        ipv4(address(ASKER), FAR, TCP, &[vec![0x11; 12], vec![5 << 4], pattern(20_000)].concat());
    packet[10..12].fill(0);
    let frame = ethernet(GATEWAY.mac, mac(ASKER), ethertype::IPV4, &packet);
    let offload = Offload {
        needs_checksum: true,
        gso: crate::offload::Gso::TcpV4,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    assert_eq!(lab.send_with(ASKER, &frame, offload), NO_ROUTE);
    assert_eq!(lab.made().len(), 1);
    assert_eq!(lab.send(ASKER, &frame), Verdict::Drop(DropReason::EdgeMalformed));
}

#[test]
fn errors_are_limited_for_each_port() {
    let packet = |port| ipv4(address(port), FAR, UDP, &udp(b""));
    let mut lab = Lab::new([ASKER, 3]);
    let from = |lab: &mut Lab, port| {
        lab.send(port, &ethernet(GATEWAY.mac, mac(port), ethertype::IPV4, &packet(port)))
    };
    // The packet is dropped all the same; what counts is whether its sender hears of it.
    let from = |lab: &mut Lab, port| {
        assert_eq!(from(lab, port), NO_ROUTE);
        !lab.made().is_empty()
    };
    let (answered, limited) = (true, false);
    for _ in 0..50 {
        assert_eq!(from(&mut lab, ASKER), answered);
    }
    assert_eq!(from(&mut lab, ASKER), limited);
    assert_eq!(lab.made(), []);
    assert_eq!(from(&mut lab, 3), answered, "the other port has its own");
    lab.wait(Duration::from_millis(9));
    assert_eq!(from(&mut lab, ASKER), limited);
    lab.wait(Duration::from_millis(1));
    assert_eq!(from(&mut lab, ASKER), answered);
    assert_eq!(from(&mut lab, ASKER), limited);
    // A second refills no more than the burst.
    lab.wait(Duration::from_secs(1));
    let sent = (0..100).filter(|_| from(&mut lab, ASKER) == answered).count();
    assert_eq!(sent, 50);
    // Pings are not errors.
    assert_eq!(
        lab.ask(&ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(b"x"))),
        Verdict::Reply(Reply::Echo)
    );
    // What must not be answered takes nothing from the bucket.
    lab.wait(Duration::from_millis(10));
    for _ in 0..10 {
        lab.ask(&ipv4(address(ASKER), Ipv4Addr::BROADCAST, UDP, &[]));
    }
    assert_eq!(from(&mut lab, ASKER), answered);
}
