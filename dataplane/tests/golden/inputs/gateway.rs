//! What the gateway answers itself.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

use super::frames::{GATEWAY, IPV4, address, ethernet, ip, mac, tagged, who_has};
use super::{Case, Timeline};

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![("gateway", gateway()), ("gateway-fragments", gateway_fragments())]
}

/// The gateway speaks for itself.
fn gateway() -> Case {
    let mut line = Timeline::default();
    line.send(2, who_has(2, GATEWAY));
    let echo = |ttl, destination: Ipv4Addr, data: &[u8]| {
        let builder = PacketBuilder::ethernet2(mac(2).0, mac(GATEWAY).0)
            .ipv4(address(2).octets(), destination.octets(), ttl)
            .icmpv4_echo_request(7, 1);
        let mut frame = Vec::new();
        builder.write(&mut frame, data).expect("a vector takes everything");
        frame
    };
    line.send(2, echo(64, address(GATEWAY), b"are you there"));
    // Nothing is routed yet.
    line.send(2, echo(64, Ipv4Addr::new(192, 0, 2, 1), b"far away"));
    line.send(2, echo(1, Ipv4Addr::new(192, 0, 2, 1), b"too far away"));
    line.send(2, ip(2, GATEWAY, Ipv4Addr::new(10, 9, 0, 2), address(GATEWAY)));
    line.send(2, ethernet(mac(GATEWAY), mac(2), IPV4, &[0x45; 10]));
    line.send(2, tagged(&echo(64, address(GATEWAY), b"in a VLAN"), 0x8100, 100));
    line.done()
}

/// Echo requests in fragments: in order, turned round, and one that never becomes whole.
fn gateway_fragments() -> Case {
    let mut line = Timeline::default();
    let fragment = |id: u16, message: &[u8], offset: usize, more: bool| {
        let mut header = etherparse::Ipv4Header::new(
            message.len() as u16,
            64,
            etherparse::IpNumber::ICMP,
            address(2).octets(),
            address(GATEWAY).octets(),
        )
        .expect("a short message");
        header.identification = id;
        header.more_fragments = more;
        header.fragment_offset = ((offset / 8) as u16).try_into().expect("a small offset");
        header.header_checksum = header.calc_header_checksum();
        ethernet(mac(GATEWAY), mac(2), IPV4, &[&header.to_bytes()[..], message].concat())
    };
    let echo = etherparse::Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id: 7, seq: 1 });
    let data: Vec<u8> = (0..2000).map(|i| (i / 256 + i) as u8).collect();
    let message = [&etherparse::Icmpv4Header::with_checksum(echo, &data).to_bytes()[..], &data].concat();
    let (first, second) = message.split_at(1480);
    line.send(2, fragment(1, first, 0, true)).send(2, fragment(1, second, 1480, false));
    line.send(2, fragment(2, second, 1480, false)).send(2, fragment(2, first, 0, true));
    line.send(2, fragment(3, first, 0, true)).done()
}
