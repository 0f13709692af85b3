//! Who may have sent what, where from, and to whom.

use super::shapes::{error, error_to};
use super::*;
use crate::edge::config::{Action, Hits, Rule};

const SYN: u8 = 0x02;
const NO_SESSION: Verdict = Verdict::Drop(DropReason::NoSession);

fn deny_all() -> Arc<[Rule]> {
    let rule = Rule {
        number: 1,
        action: Action::Deny,
        source: None,
        destination: None,
        protocol: None,
        ports: None,
        hits: Arc::new(Hits::default()),
    };
    Arc::from([rule])
}

/// A packet from the endpoint of the other network to its gateway.
fn from_other(world: &mut World, packet: &[u8]) -> Verdict {
    world.step(NEIGHBOUR, &ethernet(OTHER.mac, mac(5), ethertype::IPV4, packet)).0
}

#[test]
fn an_error_from_inside_comes_from_whom_its_packet_was_for() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
    world.inside(2, &udp((address(2), 40_000), (REMOTE, 53)));
    let (_, left) = world.inside(2, &tcp((address(2), 40_000), (HOST, 80), SYN));
    let port = left[0].ports().0;
    let about_answer = udp((REMOTE, 53), (address(2), 40_000)).packet();
    let about_hairpin = tcp((GATEWAY.address, port), (address(3), 8080), SYN).packet();
    let send = |world: &mut World, endpoint: u8, quoted: &[u8]| {
        let packet = error(3, 3, 0, address(endpoint), quoted);
        world.step(endpoint.into(), &ethernet(GATEWAY.mac, mac(endpoint), ethertype::IPV4, &packet)).0
    };
    assert_eq!(send(&mut world, 2, &about_answer), routed(UPLINK, Translation::Source));
    assert_eq!(send(&mut world, 3, &about_hairpin), routed(2, Translation::Both));
    // Neighbours, and another network, which is cut off from all that.
    world.change(|snapshot| Arc::make_mut(snapshot.networks[1].as_mut().unwrap()).edge.internal = true);
    for quoted in [&about_answer, &about_hairpin] {
        for dst in [REMOTE, OTHER.address, HOST] {
            let forged = error_to(3, 3, OTHER_ENDPOINT, dst, quoted);
            let verdict = from_other(&mut world, &forged);
            assert!(matches!(verdict, Verdict::Drop(_)), "{dst}: {verdict}");
        }
        assert_eq!(
            world
                .step(
                    4,
                    &ethernet(
                        GATEWAY.mac,
                        mac(4),
                        ethertype::IPV4,
                        &error_to(3, 3, address(4), REMOTE, quoted)
                    )
                )
                .0,
            NO_SESSION
        );
    }
}

/// A sandbox on two networks sends by whichever its own route names.
#[test]
fn an_error_may_come_by_another_endpoint_of_the_same_sandbox() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    let question = udp((REMOTE, 5000), (HOST, 53));
    world.outside(&question);
    world.change(|snapshot| {
        let port = snapshot.ports[usize::from(NEIGHBOUR)].as_mut().unwrap();
        Arc::make_mut(port.identity.as_mut().unwrap()).sandbox_addresses.push(address(3).into());
    });
    let closed = error(3, 3, 0, address(3), &udp((REMOTE, 5000), (address(3), 53)).packet());
    assert_eq!(from_other(&mut world, &closed), routed(UPLINK, Translation::Source));
}

#[test]
fn rules_that_end_a_session_end_its_errors_too() {
    let mut world = World::ready();
    let (_, left) = world.inside(2, &udp((address(2), 40_000), (REMOTE, 53)));
    let port = left[0].ports().0;
    let closed = error(3, 3, 0, address(2), &udp((REMOTE, 53), (address(2), 40_000)).packet());
    let too_large = error(3, 4, 1280, ROUTER, &udp((HOST, port), (REMOTE, 53)).packet());
    let send = |world: &mut World| {
        let inside = world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &closed)).0;
        let outside = world.step(UPLINK, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::IPV4, &too_large)).0;
        (inside, outside)
    };
    let passes = (routed(UPLINK, Translation::Source), routed(2, Translation::Destination));
    assert_eq!(send(&mut world), passes);
    world.change_edge(|_| {});
    assert_eq!(send(&mut world), passes, "other rules, but none against it");
    world.change_network(|network| network.edge.rules = deny_all());
    world.change_edge(|_| {});
    assert_eq!(send(&mut world), (NO_SESSION, NO_SESSION));
}

#[test]
fn an_error_keeps_no_session_alive() {
    let mut world = World::ready();
    let sent = udp((address(2), 40_000), (REMOTE, 4242));
    let port = world.inside(2, &sent).1[0].ports().0;
    let from_outside = error(3, 1, 0, ROUTER, &udp((HOST, port), (REMOTE, 4242)).packet());
    let from_outside = ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::IPV4, &from_outside);
    // UDP lives for five minutes.
    world.pass(Duration::from_secs(290));
    assert_eq!(world.step(UPLINK, &from_outside).0, routed(2, Translation::Destination));
    assert_eq!(world.sessions(), 1, "nor does it end one");
    world.pass(Duration::from_secs(15));
    assert_eq!(world.sessions(), 0);
}

#[test]
fn errors_about_what_the_host_began_reach_the_host_and_nobody_else() {
    let mut world = World::ready();
    world.change_network(|network| network.edge.rules = deny_all());
    let begun = udp((GATEWAY.address, 5353), (address(2), 7)).packet();
    let hello = arp(1, (mac(2), address(2)), (MacAddr::ZERO, GATEWAY.address));
    world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::ARP, &hello));
    world.step(HOST_PORT, &ethernet(mac(2), GATEWAY.mac, ethertype::IPV4, &begun));
    let send = |world: &mut World, src: u8, dst| {
        let packet = error_to(3, 3, address(src), dst, &begun);
        world.step(src.into(), &ethernet(GATEWAY.mac, mac(src), ethertype::IPV4, &packet)).0
    };
    assert_eq!(send(&mut world, 2, GATEWAY.address), Verdict::Forward { egress: PortId(HOST_PORT) });
    assert_eq!(send(&mut world, 2, REMOTE), NO_SESSION);
    assert_eq!(send(&mut world, 3, GATEWAY.address), Verdict::Drop(DropReason::RuleDenied), "nothing to it");
}

/// A packet by the tunnel.
fn by_tunnel(world: &mut World, packet: &Specimen) -> Verdict {
    world.step(TUNNEL, &ethernet(Uplink::OWN_MAC, Uplink::PEER_MAC, ethertype::IPV4, &packet.packet())).0
}

#[test]
fn nobody_has_an_address_of_another_uplinks_subnet() {
    const SPOOFED: Verdict = Verdict::Drop(DropReason::EdgeSource);
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    let to_endpoint = routed(3, Translation::Destination);
    let behind_tunnel = (Ipv4Addr::new(203, 0, 113, 7), 5000);
    world.learn_route(behind_tunnel.0);
    let question = udp(behind_tunnel, (HOST, 53));
    assert_eq!(world.outside(&question).0, SPOOFED, "nothing is opened");
    assert_eq!((world.sessions(), world.drops(UPLINK, DropReason::EdgeSource)), (0, 1));
    assert_eq!(by_tunnel(&mut world, &question), to_endpoint);
    assert_eq!(world.outside(&question).0, SPOOFED, "and nothing taken over");
    let answer = udp((address(3), 53), behind_tunnel);
    assert_eq!(world.inside(3, &answer).0, routed(TUNNEL, Translation::Source));
    // Who is on neither may come by both.
    let remote = udp((REMOTE, 5000), (HOST, 53));
    assert_eq!((world.outside(&remote).0, by_tunnel(&mut world, &remote)), (to_endpoint, to_endpoint));

    // The narrower of two subnets has him; the same on both sides, either.
    let subnet = |world: &mut World, (address, prefix_len): (Ipv4Addr, u8)| {
        world.change_edge(|edge| edge.uplinks[0].addresses.push((address, prefix_len)));
    };
    subnet(&mut world, (Ipv4Addr::new(203, 0, 2, 2), 16));
    assert_eq!(world.outside(&question).0, SPOOFED);
    subnet(&mut world, (Ipv4Addr::new(203, 0, 113, 3), 24));
    assert_eq!(world.outside(&question).0, to_endpoint);
    assert_eq!(world.inside(3, &answer).0, routed(UPLINK, Translation::Source));
}

#[test]
fn the_host_speaks_for_itself_and_for_nobody_else() {
    let mut world = World::ready();
    let hello = arp(1, (mac(2), address(2)), (MacAddr::ZERO, GATEWAY.address));
    world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::ARP, &hello));
    let speak = |world: &mut World, src| {
        let packet = udp((src, 5353), (address(2), 7)).packet();
        let question = arp(1, (GATEWAY.mac, src), (MacAddr::ZERO, address(2)));
        let packet = ethernet(mac(2), GATEWAY.mac, ethertype::IPV4, &packet);
        let question = ethernet(mac(2), GATEWAY.mac, ethertype::ARP, &question);
        [packet.clone(), crate::testing::tagged(&packet, 0x8100, 5), question]
            .map(|frame| world.step(HOST_PORT, &frame).0)
    };
    for own in [GATEWAY.address, HOST, TUNNEL_HOST, Ipv4Addr::UNSPECIFIED] {
        assert_eq!(speak(&mut world, own), [Verdict::Forward { egress: PortId(2) }; 3], "{own}");
    }
    let forwarded = DropReason::HostForwards;
    for other in [ROUTER, REMOTE, OTHER_ENDPOINT, address(3), Ipv4Addr::LOCALHOST] {
        assert_eq!(speak(&mut world, other), [Verdict::Drop(forwarded); 3], "{other}");
    }
    assert_eq!(world.drops(HOST_PORT, forwarded), 15);
    // Addresses that the host gets are its own, and its network's gateway always is.
    world.change_edge(|edge| edge.host_addresses = vec![REMOTE]);
    for own in [GATEWAY.address, REMOTE] {
        assert_eq!(speak(&mut world, own), [Verdict::Forward { egress: PortId(2) }; 3], "{own}");
    }
}

#[test]
fn the_host_hears_of_groups_what_is_meant_for_all() {
    let mut world = World::ready();
    let group = MacAddr([0x01, 0, 0x5e, 0, 0, 0xfb]);
    let group6 = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let mdns = Ipv4Addr::new(224, 0, 0, 251);
    let subnet_broadcast = address(255);
    let packet = |dst| udp((address(2), 5353), (dst, 5353)).packet();
    // Everybody else on the network hears all of it.
    let host_hears = |world: &mut World, frame: &[u8]| {
        let (verdict, left) = world.step(2, frame);
        let ports: Vec<u16> = left.iter().map(|left| left.port).collect();
        assert!(ports.starts_with(&[3, 4]), "{verdict}");
        ports.contains(&HOST_PORT)
    };
    let ipv4 = |to: MacAddr, dst| ethernet(to, mac(2), ethertype::IPV4, &packet(dst));
    let broadcast = MacAddr::BROADCAST;
    let for_all = [
        ipv4(group, mdns),
        ipv4(broadcast, mdns),
        ipv4(broadcast, Ipv4Addr::BROADCAST),
        ipv4(broadcast, subnet_broadcast),
    ];
    for frame in &for_all {
        assert!(host_hears(&mut world, frame));
    }
    let question = arp(1, (mac(2), address(2)), (MacAddr::ZERO, HOST));
    assert!(host_hears(&mut world, &ethernet(broadcast, mac(2), ethertype::ARP, &question)));

    let ipv6 = crate::testing::ipv6(crate::testing::address6(2), "ff02::1".parse().unwrap(), 17, &[0; 8]);
    let not_for_it = [
        ipv4(broadcast, HOST),
        ipv4(group, GATEWAY.address),
        ipv4(broadcast, Ipv4Addr::new(198, 51, 100, 255)),
        ethernet(group6, mac(2), ethertype::IPV6, &ipv6),
        ethernet(broadcast, mac(2), 0x88b5, &[0; 46]),
        crate::testing::tagged(&for_all[0], 0x8100, 5),
    ];
    for (number, frame) in not_for_it.iter().enumerate() {
        assert!(!host_hears(&mut world, frame), "frame {number}");
    }

    // Rules decide about each.
    let allow = Rule {
        action: Action::Allow,
        destination: Some("224.0.0.0/4".parse().unwrap()),
        ..deny_all()[0].clone()
    };
    world.change_network(|network| network.edge.rules = Arc::from([allow, deny_all()[0].clone()]));
    assert_eq!(for_all.map(|frame| host_hears(&mut world, &frame)), [true, true, false, false]);
}
