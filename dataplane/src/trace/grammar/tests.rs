use etherparse::{Icmpv4Type, PacketHeaders, SlicedPacket, TransportHeader};
use proptest::prelude::*;

use super::*;
use crate::testing::{GATEWAY, cases, mac};

fn frame(text: &str) -> Vec<u8> {
    text.parse::<Probe>().unwrap_or_else(|error| panic!("{text}: {error}")).frame(mac(2), GATEWAY.mac)
}

fn error(text: &str) -> String {
    text.parse::<Probe>().expect_err(text).to_string()
}

/// Source, destination, TTL, DF and length of the payload behind the transport's header; checksums are verified.
fn read(frame: &[u8]) -> (Ipv4Addr, Ipv4Addr, u8, bool, usize, TransportHeader) {
    let packet = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let ethernet = packet.link.unwrap().ethernet2().unwrap();
    assert_eq!((ethernet.source, ethernet.destination), (mac(2).0, GATEWAY.mac.0));
    let Some(etherparse::NetHeaders::Ipv4(ip, _)) = packet.net else { panic!("no IPv4") };
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let payload = packet.payload.slice();
    let transport = packet.transport.unwrap();
    match &transport {
        TransportHeader::Tcp(tcp) => {
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
        }
        TransportHeader::Udp(udp) => {
            assert_eq!(usize::from(udp.length), payload.len() + 8);
            assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
        }
        TransportHeader::Icmpv4(icmp) => assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload)),
        other => panic!("{other:?}"),
    }
    (ip.source.into(), ip.destination.into(), ip.time_to_live, ip.dont_fragment, payload.len(), transport)
}

#[test]
fn tcp_is_a_syn_unless_told_otherwise() {
    let (src, dst, ttl, df, len, transport) = read(&frame("tcp 10.0.0.2:1234 > 192.0.2.7:80"));
    assert_eq!((src, dst), (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(192, 0, 2, 7)));
    assert_eq!((ttl, df, len), (64, false, 0));
    let TransportHeader::Tcp(tcp) = transport else { panic!() };
    assert_eq!((tcp.source_port, tcp.destination_port), (1234, 80));
    assert_eq!((tcp.syn, tcp.ack, tcp.fin, tcp.rst, tcp.psh), (true, false, false, false, false));
}

#[test]
fn options_come_in_any_order() {
    let text = "tcp 10.0.0.2:1 > 192.0.2.7:80 df len=101 flags=fin,ack,psh,rst ttl=3";
    let (_, _, ttl, df, len, transport) = read(&frame(text));
    assert_eq!((ttl, df, len), (3, true, 101));
    let TransportHeader::Tcp(tcp) = transport else { panic!() };
    assert_eq!((tcp.syn, tcp.ack, tcp.fin, tcp.rst, tcp.psh), (false, true, true, true, true));
}

#[test]
fn udp_and_icmp() {
    let (.., len, transport) = read(&frame("udp 10.0.0.2:53 > 192.0.2.7:5353 len=7"));
    let TransportHeader::Udp(udp) = transport else { panic!() };
    assert_eq!((udp.source_port, udp.destination_port, len), (53, 5353, 7));
    for (text, ident, sequence) in [
        ("icmp 10.0.0.2 > 192.0.2.7", 1, 1),
        ("icmp 10.0.0.2 > 192.0.2.7 id 7 seq 9", 7, 9),
        ("icmp 10.0.0.2 > 192.0.2.7 seq=9 id=7", 7, 9),
    ] {
        let (.., transport) = read(&frame(text));
        let TransportHeader::Icmpv4(icmp) = transport else { panic!() };
        let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type else { panic!("{text}: {icmp:?}") };
        assert_eq!((echo.id, echo.seq), (ident, sequence), "{text}");
    }
}

#[test]
fn the_longest_packet_is_whole() {
    let bytes = frame("udp 10.0.0.2:53 > 192.0.2.7:53 len=65495");
    assert_eq!(read(&bytes).4, 65_495);
}

#[test]
fn an_arp_request_goes_to_everybody() {
    let bytes = frame("arp who-has 10.0.0.1 tell 10.0.0.2");
    let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
    assert_eq!(bytes[..6], MacAddr::BROADCAST.0);
    let Some(etherparse::NetSlice::Arp(arp)) = packet.net else { panic!("no ARP") };
    assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
    assert_eq!((arp.sender_hw_addr(), arp.sender_protocol_addr()), (&mac(2).0[..], &[10, 0, 0, 2][..]));
    assert_eq!(arp.target_protocol_addr(), [10, 0, 0, 1]);
}

#[test]
fn errors_name_the_place_and_what_should_stand_there() {
    for (text, message) in [
        ("", "column 1: expected tcp, udp, icmp or arp, found the end"),
        ("  sctp 1", "column 3: expected tcp, udp, icmp or arp, found \"sctp\""),
        (
            "tcp 10.0.0.2 > 192.0.2.7:80",
            "column 5: expected an IPv4 address and a port such as 10.0.0.2:1234, found \"10.0.0.2\"",
        ),
        (
            "udp 10.0.0.2:70000 > 192.0.2.7:80",
            "column 5: expected an IPv4 address and a port such as 10.0.0.2:1234, found \"10.0.0.2:70000\"",
        ),
        ("tcp 10.0.0.2:1 192.0.2.7:80", "column 16: expected \">\", found \"192.0.2.7:80\""),
        ("icmp 10.0.0.2 >", "column 16: expected an IPv4 address such as 10.0.0.2, found the end"),
        ("icmp fd00::2 > 10.0.0.1", "column 6: expected an IPv4 address such as 10.0.0.2, found \"fd00::2\""),
        (
            "udp 10.0.0.2:1 > 192.0.2.7:80 flags=syn",
            "column 31: expected ttl=, len=, df or the end, found \"flags\"",
        ),
        (
            "tcp 10.0.0.2:1 > 192.0.2.7:80 flags=syn,urgent",
            "column 37: expected some of syn, ack, fin, rst and psh, commas between them, found \"syn,urgent\"",
        ),
        (
            "tcp 10.0.0.2:1 > 192.0.2.7:80 ttl=256",
            "column 35: expected a number from 0 to 255, found \"256\"",
        ),
        (
            "tcp 10.0.0.2:1 > 192.0.2.7:80 len=65496",
            "column 35: expected a number from 0 to 65495, found \"65496\"",
        ),
        (
            "arp who-has 10.0.0.1 tell 10.0.0.2 ttl=3",
            "column 36: expected the end, for an ARP request has no options, found \"ttl\"",
        ),
        ("arp who-is 10.0.0.1", "column 5: expected \"who-has\", found \"who-is\""),
        ("tcp 10.0.0.2:1 → 192.0.2.7:80", "column 16: expected \">\", found \"→\""),
        (
            "icmp 10.0.0.2 > 10.0.0.1 ünd",
            "column 26: expected id, seq, ttl=, len=, df or the end, found \"ünd\"",
        ),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(256)))]

    #[test]
    fn no_text_panics(text in "(tcp|udp|icmp|arp)?[ =a-z0-9.:>,é]{0,60}") {
        if let Ok(probe) = text.parse::<Probe>() {
            probe.frame(mac(2), GATEWAY.mac);
        }
    }

    #[test]
    fn every_packet_that_can_be_described_is_built_right(
        kind in 0..3, src in any::<[u8; 4]>(), dst in any::<[u8; 4]>(), ports in any::<(u16, u16)>(),
        len in 0u16..2000, ttl in any::<u8>(),
    ) {
        let (src, dst) = (Ipv4Addr::from(src), Ipv4Addr::from(dst));
        let text = match kind {
            0 => format!("tcp {src}:{} > {dst}:{} len={len} ttl={ttl}", ports.0, ports.1),
            1 => format!("udp {src}:{} > {dst}:{} len={len} ttl={ttl}", ports.0, ports.1),
            _ => format!("icmp {src} > {dst} id {} seq {} len={len} ttl={ttl}", ports.0, ports.1),
        };
        let (s, d, t, _, l, _) = read(&frame(&text));
        prop_assert_eq!((s, d, t, l), (src, dst, ttl, usize::from(len)));
    }
}
