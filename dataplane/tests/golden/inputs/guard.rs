//! What the guard lets pass, and what it does not.

use std::net::{Ipv4Addr, Ipv6Addr};

use pontoon_dataplane::MacAddr;

use super::frames::{
    GATEWAY, NOBODY, address, address6, arp, icmpv6_checksum, ip, ipv6, link_local, mac, neighbour, tagged,
    udp, who_has,
};
use super::{Case, Timeline};

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![("guard-drops", guard_drops()), ("guard-passes", guard_passes())]
}

/// One frame for every rule of the guard, on port 2; port 3 is not guarded.
fn guard_drops() -> Case {
    let mut line = Timeline::default();
    let (own, own6) = (address(2), address6(2));
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // What nobody may do: be the gateway.
    for port in [2u8, 3] {
        let from = u16::from(port);
        line.send(from, ip(GATEWAY, 4, address(port), address(4)));
        line.send(from, ip(port, 4, address(GATEWAY), address(4)));
        line.send(
            from,
            arp(port, MacAddr::BROADCAST, 2, (mac(port), address(GATEWAY)), (mac(4), address(4))),
        );
    }
    // What an endpoint may not do: be another.
    line.send(2, ip(4, 3, own, address(3)));
    line.send(2, ip(2, 3, address(4), address(3)));
    // An address of its sandbox, but not towards the gateway.
    line.send(2, ip(2, 3, Ipv4Addr::new(10, 9, 0, 2), address(3)));
    line.send(2, tagged(&ip(2, 3, address(4), address(3)), 0x8100, 7));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(2), address(4)), (MacAddr::ZERO, address(3))));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(4), own), (MacAddr::ZERO, address(3))));
    line.send(2, ipv6(mac(3), mac(2), (address6(4), address6(3)), 59, b""));
    line.send(2, neighbour(2, 136, (own6, all_nodes), address6(4), mac(2)));
    line.send(2, neighbour(2, 136, (own6, all_nodes), own6, mac(4)));
    line.send(2, neighbour(2, 135, (own6, all_nodes), address6(4), mac(4)));
    line.send(2, neighbour(2, 134, (link_local(2), all_nodes), NOWHERE, mac(2)));
    line.send(2, neighbour(2, 137, (link_local(2), all_nodes), address6(4), mac(2)));
    let whole = ip(2, 3, own, address(3));
    line.send(2, whole[..30].to_vec());
    let cut = ipv6(mac(3), mac(2), (own6, address6(3)), 0, &[58, 3, 0, 0]);
    line.send(2, cut);
    line.done()
}

const NOWHERE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// What an honest endpoint says.
fn guard_passes() -> Case {
    let mut line = Timeline::default();
    let (own, own6) = (address(2), address6(2));
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    line.send(2, ip(2, 3, own, address(3)));
    // DHCP, an ARP probe, an announcement, a request.
    line.send(2, udp((mac(2), MacAddr::BROADCAST), (NOBODY, Ipv4Addr::BROADCAST), b"discover"));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(2), NOBODY), (MacAddr::ZERO, own)));
    line.send(2, arp(2, MacAddr::BROADCAST, 1, (mac(2), own), (MacAddr::ZERO, own)));
    line.send(2, who_has(2, 3));
    line.send(2, ipv6(mac(3), mac(2), (own6, address6(3)), 59, b""));
    line.send(2, ipv6(mac(3), mac(2), (link_local(2), address6(3)), 59, b""));
    // Duplicate address detection has no source.
    line.send(2, {
        let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
        let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(own6.octets());
        let checksum = icmpv6_checksum((NOWHERE, solicited), &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        ipv6(group, mac(2), (NOWHERE, solicited), 58, &message)
    });
    line.send(2, neighbour(2, 136, (own6, all_nodes), own6, mac(2)));
    line.send(2, neighbour(2, 135, (own6, all_nodes), address6(3), mac(2)));
    // What is neither IP nor ARP is held against the MAC alone.
    line.talk(2, 2, 3).done()
}
