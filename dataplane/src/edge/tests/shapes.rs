//! What packets look like: fragments, super-frames, errors, sizes, and answers by the host's own address.

use super::*;
use crate::edge::specimen::Checksum;
use crate::offload::Gso;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;

/// A datagram in three fragments.
fn fragments(of: &Specimen) -> [Specimen; 3] {
    let len = of.datagram().len();
    [(0, 400, true), (400, 400, true), (800, len - 800, false)]
        .map(|part| Specimen { part: Some(part), ..of.clone() })
}

fn long(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Specimen {
    Specimen { payload: (0..1000u16).map(|i| i as u8).collect(), ..udp(src, dst) }
}

/// An ICMP error about the packet that `quoted` is, from `src` to its sender.
pub(super) fn error(kind: u8, code: u8, mtu: u16, src: Ipv4Addr, quoted: &[u8]) -> Vec<u8> {
    use etherparse::{Icmpv4Header, Icmpv4Type};
    let [high, low] = mtu.to_be_bytes();
    let header = Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: [0, 0, high, low] };
    let message = [&Icmpv4Header::with_checksum(header, quoted).to_bytes()[..], quoted].concat();
    let dst = Ipv4Addr::new(quoted[12], quoted[13], quoted[14], quoted[15]);
    crate::testing::ipv4(src, dst, 1, &message)
}

/// The ICMP error in a frame: its source, type and code, and what it quotes, all checksums checked.
#[track_caller]
pub(super) fn read_error(left: &Left) -> (Ipv4Addr, [u8; 2], Vec<u8>) {
    let (header, rest) = etherparse::Ipv4Header::from_slice(left.packet()).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    let message = &rest[..usize::from(header.total_len) - 20];
    assert_eq!(crate::checksum::checksum(message), 0);
    (header.source.into(), [message[0], message[1]], message[8..].to_vec())
}

#[test]
fn fragments_follow_their_first_in_any_order_both_ways() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut world = World::ready();
        let sent = fragments(&long((address(2), 40_000), (REMOTE, 53)));
        let mut left = Vec::new();
        for index in order {
            left.extend(world.inside(2, &sent[index]).1);
            left.extend(world.resume().into_iter().flat_map(|(_, left)| left));
        }
        left.retain(|left| left.bytes[12..14] == [0x08, 0x00]);
        left.sort_by_key(|left| left.packet()[6..8].to_vec()[1]);
        let port = left[0].ports().0;
        for (left, expected) in left.iter().zip(fragments(&long((HOST, port), (REMOTE, 53)))) {
            assert_left(std::slice::from_ref(left), UPLINK, OUT, &expected);
        }
        assert_eq!((left.len(), world.sessions()), (3, 1), "{order:?}");

        let sent = fragments(&long((REMOTE, 53), (HOST, port)));
        let mut left = Vec::new();
        for index in order {
            left.extend(world.outside(&sent[index]).1);
            left.extend(world.resume().into_iter().flat_map(|(_, left)| left));
        }
        left.sort_by_key(|left| left.packet()[6..8].to_vec()[1]);
        for (left, expected) in left.iter().zip(fragments(&long((REMOTE, 53), (address(2), 40_000)))) {
            assert_left(std::slice::from_ref(left), 2, to_endpoint(2), &expected);
        }
        assert_eq!(left.len(), 3, "{order:?}");
    }
}

#[test]
fn fragments_wait_with_their_first_for_what_that_waits_for() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut world = World::new();
        world.answer(&Answer::PortsHeld { protocol: Protocol::Udp, ports: vec![POOL] });
        let sent = fragments(&long((address(2), 40_000), (REMOTE, 53)));
        for index in order {
            assert!(matches!(world.inside(2, &sent[index]).0, Verdict::Wait(_)), "{order:?}");
        }
        assert_eq!(world.resume(), []);
        world.learn_route(REMOTE);
        let left: Vec<_> = world.resume().into_iter().flat_map(|(_, left)| left).collect();
        let left: Vec<_> = left.iter().filter(|left| left.bytes[12..14] == [0x08, 0x00]).collect();
        assert_eq!((left.len(), world.sessions()), (3, 1), "{order:?}");
        assert_eq!(world.drops(2, DropReason::FragmentLost), 0);
    }
}

#[test]
fn lone_fragments_from_outside_do_not_keep_others_from_waiting() {
    let mut world = World::ready();
    let begun = world.inside(2, &udp((address(2), 40_000), (REMOTE, 53))).1;
    let port = begun.iter().find(|left| left.bytes[12..14] == [0x08, 0x00]).unwrap().ports().0;
    for ident in 1000..1200 {
        let [_, lone, _] = fragments(&Specimen { ident, ..long((ROUTER, 53), (HOST, 1024)) });
        assert_eq!(world.outside(&lone).0, Verdict::Wait(Wait::FirstFragment));
    }
    let [first, later, last] = fragments(&long((REMOTE, 53), (HOST, port)));
    for part in [&last, &later] {
        assert_eq!(world.outside(part).0, Verdict::Wait(Wait::FirstFragment));
    }
    assert_eq!(world.outside(&first).0, routed(2, Translation::Destination));
    assert_eq!(world.resume().len(), 2);
}

#[test]
fn a_sender_has_no_more_questions_put_than_packets_kept() {
    let mut world = World::new();
    world.answer(&Answer::PortsHeld { protocol: Protocol::Udp, ports: vec![POOL] });
    let refused = (0..200u8)
        .map(|last| world.inside(2, &udp((address(2), 40_000), (Ipv4Addr::new(192, 0, 2, last), 53))).0)
        .filter(|verdict| *verdict == Verdict::Drop(DropReason::WaitFull))
        .count();
    assert_eq!((refused, world.asked.len()), (136, 64));
}

#[test]
fn many_who_wait_together_do_not_shut_another_one_out() {
    const MANY: std::ops::Range<u8> = 11..27;
    let mut world = World::ready();
    world.change(|snapshot| {
        snapshot.ports.resize_with(usize::from(MANY.end), || None);
        for port in MANY {
            snapshot.ports[usize::from(port)] = Some(guarded_port(port));
        }
    });
    for endpoint in MANY {
        for ident in 0..64 {
            let [_, lone, _] =
                fragments(&Specimen { ident, ..long((address(endpoint), 40_000), (REMOTE, 53)) });
            assert_eq!(world.inside(endpoint, &lone).0, Verdict::Wait(Wait::FirstFragment));
        }
    }
    assert_eq!(world.core.edge().unwrap().stats().waiting, 1024);
    let other = Ipv4Addr::new(192, 0, 2, 8);
    assert_eq!(world.inside(2, &udp((address(2), 40_000), (other, 53))).0, Verdict::Wait(Wait::Route));
    assert_eq!(MANY.map(|port| world.drops(port.into(), DropReason::WaitFull)).sum::<u64>(), 1);
    world.learn_route(other);
    assert_eq!(world.resume()[0].0, routed(UPLINK, Translation::Source));
}

#[test]
fn fragments_without_a_first_are_lost_by_name_inside_and_nobodys_outside() {
    let mut world = World::ready();
    let [_, later, _] = fragments(&long((address(2), 40_000), (REMOTE, 53)));
    assert_eq!(world.inside(2, &later).0, Verdict::Wait(Wait::FirstFragment));
    let [first, other, _] = fragments(&long((REMOTE, 53), (HOST, 1024)));
    assert_eq!(world.outside(&other).0, Verdict::Wait(Wait::FirstFragment));
    world.pass(Duration::from_secs(31));
    assert_eq!(world.drops(2, DropReason::FragmentLost), 1);
    assert_eq!(world.drops(UPLINK, DropReason::FragmentLost), 0);
    // What turns out to be the host's own is that to the last fragment.
    assert_eq!(world.outside(&other).0, Verdict::Wait(Wait::FirstFragment));
    assert_eq!(world.outside(&first).0, Verdict::Taken(Taken::HostsOwn));
    assert_eq!(world.resume(), [(Verdict::Taken(Taken::HostsOwn), vec![])]);
}

#[test]
fn fragments_to_the_host_and_of_pings_to_the_gateway_find_their_way() {
    let mut world = World::ready();
    let sent = fragments(&long((address(2), 40_000), (HOST, 53)));
    assert_eq!(world.inside(2, &sent[2]).0, Verdict::Wait(Wait::FirstFragment));
    assert_eq!(world.inside(2, &sent[0]).0, Verdict::Forward { egress: PortId(HOST_PORT) });
    let resumed = world.resume();
    assert_eq!(resumed[0].0, Verdict::Forward { egress: PortId(HOST_PORT) });
    assert_eq!(resumed[0].1[0].packet(), sent[2].packet());

    let ping =
        Specimen { payload: vec![7; 1000], ..flow(Protocol::Icmp, (address(2), 7), (GATEWAY.address, 0)) };
    let sent = fragments(&ping);
    assert_eq!(world.inside(2, &sent[1]).0, Verdict::Wait(Wait::FirstFragment));
    assert_eq!(world.inside(2, &sent[0]).0, Verdict::Taken(Taken::Fragment));
    assert_eq!(world.resume()[0].0, Verdict::Taken(Taken::Fragment));
    assert_eq!(world.inside(2, &sent[2]).0, Verdict::Reply(Reply::Echo));
}

#[test]
fn a_super_frame_is_translated_whole() {
    let mut world = World::ready();
    world.inside(2, &tcp((address(2), 40_000), (REMOTE, 80), SYN));
    let data = |src, dst| Specimen {
        payload: vec![0x5a; 20_000],
        checksum: Checksum::Partial,
        gso: Gso::TcpV4,
        ..tcp(src, dst, ACK)
    };
    let sent = data((address(2), 40_000), (REMOTE, 80));
    let OwnedBytes { bytes, offload } = owned(&sent);
    let (verdict, left) = world.step_with(2, &bytes, offload);
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    let expected = data((HOST, left[0].ports().0), (REMOTE, 80));
    let expected = ethernet(OUT.0, OUT.1, ethertype::IPV4, &Specimen { ttl: 63, ..expected }.packet());
    assert_eq!(left, [Left { port: UPLINK, bytes: expected, offload }]);
}

struct OwnedBytes {
    bytes: Vec<u8>,
    offload: Offload,
}

fn owned(specimen: &Specimen) -> OwnedBytes {
    let frame = specimen.frame();
    OwnedBytes { bytes: frame.bytes, offload: frame.offload }
}

#[test]
fn what_is_too_large_is_refused_or_cut() {
    let mut world = World::ready();
    let narrow = Route {
        uplink: PortId(UPLINK),
        next_hop: ROUTER,
        source: HOST,
        mtu: 600,
        neighbour: Some(Neighbour::Learned(ROUTER_MAC)),
    };
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: Some(narrow) });
    let free = long((address(2), 40_000), (REMOTE, 53));
    let fixed = Specimen { flags: 0x4000, ..free.clone() };
    // The first one opens the session, too large as it is.
    let (verdict, left) = world.inside(2, &fixed);
    assert_eq!(verdict, Verdict::Reply(Reply::FragmentationNeeded));
    let told = left.iter().find(|left| left.port == 2).unwrap();
    let (source, kind, quote) = read_error(told);
    assert_eq!((source, kind), (GATEWAY.address, [3, 4]));
    assert_eq!(told.packet()[26..28], 600u16.to_be_bytes());
    assert_eq!(quote, fixed.packet()[..548], "as its sender sent it");

    let (verdict, left) = world.inside(2, &free);
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    assert!(left.iter().all(|left| left.port == UPLINK && left.packet().len() <= 600));
    assert_eq!(left.len(), 2);

    // Segments count, not the super-frame.
    let sent = Specimen {
        payload: vec![0x5a; 20_000],
        checksum: Checksum::Partial,
        gso: Gso::TcpV4,
        flags: 0x4000,
        ..tcp((address(2), 40_000), (REMOTE, 80), ACK)
    };
    let OwnedBytes { bytes, offload } = owned(&sent);
    assert_eq!(world.step_with(2, &bytes, offload).0, Verdict::Reply(Reply::FragmentationNeeded));
    let small = Offload { gso_size: 560, ..offload };
    assert_eq!(world.step_with(2, &bytes, small).0, routed(UPLINK, Translation::Source));
}

#[test]
fn outside_is_told_what_does_not_fit_into_a_network() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    world.change_network(|network| network.mtu = 900);
    let sent = Specimen { flags: 0x4000, ..long((REMOTE, 5000), (HOST, 53)) };
    let (verdict, left) = world.outside(&sent);
    assert_eq!(verdict, Verdict::Reply(Reply::FragmentationNeeded));
    let (source, kind, quote) = read_error(&left[0]);
    assert_eq!((left[0].port, source, kind), (UPLINK, HOST, [3, 4]));
    assert_eq!(quote, sent.packet()[..548]);
    assert_eq!(left[0].bytes[..12], [ROUTER_MAC.0, UPLINK_MAC.0].concat());
}

#[test]
fn syns_announce_what_fits_both_ways() {
    let segment = |size: u16| [&[2, 4][..], &size.to_be_bytes()[..]].concat();
    let mut world = World::ready();
    world.change_network(|network| network.mtu = 1300);
    let syn = Specimen { tcp_options: segment(8960), ..tcp((address(2), 40_000), (REMOTE, 80), SYN) };
    let (_, left) = world.inside(2, &syn);
    let port = left[0].ports().0;
    let clamped = Specimen { tcp_options: segment(1260), ..tcp((HOST, port), (REMOTE, 80), SYN) };
    assert_left(&left, UPLINK, OUT, &clamped);
    let answer = Specimen { tcp_options: segment(1460), ..tcp((REMOTE, 80), (HOST, port), SYN_ACK) };
    let (_, left) = world.outside(&answer);
    let clamped = Specimen { tcp_options: segment(1260), ..tcp((REMOTE, 80), (address(2), 40_000), SYN_ACK) };
    assert_left(&left, 2, to_endpoint(2), &clamped);
}

#[test]
fn the_last_hop_is_here() {
    let mut world = World::ready();
    let expiring = Specimen { ttl: 1, ..udp((address(2), 40_000), (REMOTE, 53)) };
    let (verdict, left) = world.inside(2, &expiring);
    assert_eq!((verdict, world.sessions()), (Verdict::Reply(Reply::TimeExceeded), 0));
    assert_eq!(read_error(&left[0]).2, expiring.packet());
    let port = world.inside(2, &udp((address(2), 40_000), (REMOTE, 53))).1[0].ports().0;
    assert_eq!(world.inside(2, &expiring).0, Verdict::Reply(Reply::TimeExceeded));
    let expiring = Specimen { ttl: 1, ..udp((REMOTE, 53), (HOST, port)) };
    let (verdict, left) = world.outside(&expiring);
    assert_eq!(verdict, Verdict::Reply(Reply::TimeExceeded));
    assert_eq!((left[0].port, read_error(&left[0]).2), (UPLINK, expiring.packet()));
}

#[test]
fn errors_are_translated_both_ways() {
    let mut world = World::ready();
    let sent = udp((address(2), 40_000), (REMOTE, 53));
    let (_, left) = world.inside(2, &sent);
    let port = left[0].ports().0;
    let router = Ipv4Addr::new(203, 0, 113, 77);
    let too_large = error(3, 4, 1280, router, &udp((HOST, port), (REMOTE, 53)).packet());
    let (verdict, left) = world.step(UPLINK, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::IPV4, &too_large));
    assert_eq!(verdict, routed(2, Translation::Destination));
    let (source, kind, quote) = read_error(&left[0]);
    assert_eq!((left[0].port, source, kind), (2, router, [3, 4]));
    assert_eq!(quote, sent.packet(), "as its sender sent it");
    assert_eq!(left[0].packet()[16..20], address(2).octets());
    assert_eq!(left[0].packet()[26..28], 1280u16.to_be_bytes());

    let answer = udp((REMOTE, 53), (address(2), 40_000));
    let closed = error(3, 3, 0, address(2), &answer.packet());
    let back = ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &closed);
    let mut swapped = back.clone();
    // It goes to whoever sent what it is about.
    swapped[14..].copy_from_slice(&error_to(3, 3, address(2), REMOTE, &answer.packet()));
    let (verdict, left) = world.step(2, &swapped);
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    let (source, kind, quote) = read_error(&left[0]);
    assert_eq!((left[0].port, source, kind), (UPLINK, HOST, [3, 3]), "nobody inside is named");
    assert_eq!(quote, udp((REMOTE, 53), (HOST, port)).packet());

    let unknown = error(3, 3, 0, router, &udp((HOST, port), (REMOTE, 54)).packet());
    let (verdict, _) = world.step(UPLINK, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::IPV4, &unknown));
    assert_eq!(verdict, Verdict::Taken(Taken::HostsOwn));
}

pub(super) fn error_to(kind: u8, code: u8, src: Ipv4Addr, dst: Ipv4Addr, quoted: &[u8]) -> Vec<u8> {
    use etherparse::{Icmpv4Header, Icmpv4Type};
    let header = Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: [0; 4] };
    let message = [&Icmpv4Header::with_checksum(header, quoted).to_bytes()[..], quoted].concat();
    crate::testing::ipv4(src, dst, 1, &message)
}

#[test]
fn a_published_port_is_reached_from_inside_by_the_hosts_address() {
    // Another endpoint, the endpoint itself, and by the gateway's own address.
    for (client, host) in [(2, HOST), (3, HOST), (2, GATEWAY.address)] {
        let mut world = World::ready();
        world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
        let syn = tcp((address(client), 40_000), (host, 80), SYN);
        let (verdict, left) = world.inside(client, &syn);
        assert_eq!(verdict, routed(3, Translation::Both));
        let port = left[0].ports().0;
        assert_left(&left, 3, to_endpoint(3), &tcp((GATEWAY.address, port), (address(3), 8080), SYN));
        let (verdict, left) = world.inside(3, &tcp((address(3), 8080), (GATEWAY.address, port), SYN_ACK));
        assert_eq!(verdict, routed(client.into(), Translation::Both));
        assert_left(
            &left,
            client.into(),
            to_endpoint(client),
            &tcp((host, 80), (address(client), 40_000), SYN_ACK),
        );
        let closed = error_to(
            3,
            3,
            address(3),
            GATEWAY.address,
            &tcp((GATEWAY.address, port), (address(3), 8080), SYN).packet(),
        );
        let (_, left) = world.step(3, &ethernet(GATEWAY.mac, mac(3), ethertype::IPV4, &closed));
        let (source, _, quote) = read_error(&left[0]);
        assert_eq!((source, quote), (host, syn.packet()));
    }
}

#[test]
fn other_networks_are_reached_by_the_hosts_address_alone() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
    let from_other = |world: &mut World, dst, port| {
        let packet = tcp((OTHER_ENDPOINT, 40_000), (dst, port), SYN).packet();
        world.step(NEIGHBOUR, &ethernet(OTHER.mac, mac(5), ethertype::IPV4, &packet))
    };
    let (verdict, left) = from_other(&mut world, HOST, 80);
    assert_eq!(verdict, routed(3, Translation::Both));
    let port = left[0].ports().0;
    let (verdict, left) = world.inside(3, &tcp((address(3), 8080), (GATEWAY.address, port), SYN_ACK));
    assert_eq!(verdict, routed(NEIGHBOUR, Translation::Both));
    let expected = tcp((HOST, 80), (OTHER_ENDPOINT, 40_000), SYN_ACK);
    assert_left(&left, NEIGHBOUR, (mac(5), OTHER.mac), &expected);

    for dst in [address(3), address(200), GATEWAY.address] {
        let (verdict, left) = from_other(&mut world, dst, 8080);
        assert_eq!(verdict, Verdict::Drop(DropReason::NetworkIsolated), "{dst}");
        assert_eq!(left[0].packet()[20..22], [3, 13]);
    }
    let (verdict, _) = from_other(&mut world, HOST, 22);
    assert_eq!(verdict, Verdict::Drop(DropReason::NoHostPort), "its network has no port of the host");
    // With one, the host is the host by whichever of its addresses.
    assert_eq!(
        world.inside(2, &tcp((address(2), 40_000), (OTHER.address, 22), SYN)).0,
        Verdict::Forward { egress: PortId(HOST_PORT) }
    );
}

#[test]
fn sources_and_destinations_that_cannot_be_are_dropped_in_silence() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    world.change(|snapshot| {
        let port = snapshot.ports[4].as_mut().unwrap();
        (port.settings.guard, port.identity) = (false, None);
    });
    let elsewhere = Ipv4Addr::new(10, 7, 0, 1);
    for src in [elsewhere, HOST, OTHER_ENDPOINT, Ipv4Addr::UNSPECIFIED] {
        let (verdict, left) = world.inside(4, &udp((src, 40_000), (REMOTE, 53)));
        assert_eq!((verdict, left), (Verdict::Drop(DropReason::EdgeSource), vec![]), "{src}");
    }
    for dst in
        [[224, 0, 0, 1], [255, 255, 255, 255], [127, 0, 0, 1], [0, 0, 0, 1], [240, 0, 0, 1], [10, 0, 0, 255]]
    {
        let (verdict, left) = world.inside(2, &udp((address(2), 40_000), (dst.into(), 53)));
        assert_eq!((verdict, left), (Verdict::Drop(DropReason::EdgeDestination), vec![]), "{dst:?}");
    }
    for src in [address(2), OTHER_ENDPOINT, HOST, Ipv4Addr::new(224, 0, 0, 1)] {
        let (verdict, left) = world.outside(&udp((src, 5000), (HOST, 53)));
        assert_eq!((verdict, left), (Verdict::Drop(DropReason::EdgeSource), vec![]), "{src} from outside");
    }
    assert_eq!(world.sessions(), 0);
    // Nobody outside speaks for an endpoint.
    let port = world.inside(2, &udp((address(2), 40_000), (REMOTE, 53))).1[0].ports().0;
    let spoofed = udp((address(2), 40_000), (REMOTE, 53));
    assert_eq!(world.outside(&spoofed).0, Verdict::Taken(Taken::HostsOwn));
    // And nobody inside for the outside.
    let (verdict, _) = world.inside(4, &udp((REMOTE, 53), (HOST, port)));
    assert_eq!(verdict, Verdict::Drop(DropReason::EdgeSource));
}

#[test]
fn other_protocols_reach_the_host_and_nobody_else() {
    let mut world = World::ready();
    let packet = |dst| crate::testing::ipv4(address(2), dst, 47, &[0; 20]);
    let send = |world: &mut World, dst| {
        world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &packet(dst))).0
    };
    assert_eq!(send(&mut world, HOST), Verdict::Forward { egress: PortId(HOST_PORT) });
    assert_eq!(send(&mut world, REMOTE), Verdict::Drop(DropReason::EdgeProtocol));
    assert_eq!(send(&mut world, address(77)), Verdict::Reply(Reply::HostUnreachable));
    // Queries of ICMP other than echo: timestamp, address mask, router solicitation.
    for query in [13, 17, 10] {
        let message = [query, 0, !query, 0xff, 0, 0, 0, 0];
        for (dst, verdict) in [
            (HOST, Verdict::Forward { egress: PortId(HOST_PORT) }),
            (REMOTE, Verdict::Drop(DropReason::NoSession)),
        ] {
            let packet = crate::testing::ipv4(address(2), dst, 1, &message);
            let frame = ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &packet);
            assert_eq!(world.step(2, &frame).0, verdict, "type {query} to {dst}");
        }
    }
}
