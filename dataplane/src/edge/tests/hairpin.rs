//! Endpoints that reach others by the port of the host that those have outside.

use super::super::config::{Action, Link, Mapping, Rule, UplinkChoice};
use super::super::view::SessionFilter;
use super::*;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The port that an endpoint's socket has in all.
const OWN: u16 = 40_000;

/// A network whose mappings are endpoint-independent.
fn world() -> World {
    let mut world = World::ready();
    world.change_network(|network| network.edge.mapping = Mapping::EndpointIndependent);
    world
}

/// The port that an endpoint of the network has outside.
fn mapped(world: &mut World, endpoint: u8) -> u16 {
    let (verdict, left) = world.inside(endpoint, &udp((address(endpoint), OWN), (REMOTE, 53)));
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    left.iter().find(|left| left.bytes[12..14] == [0x08, 0x00]).unwrap().ports().0
}

/// A packet of the other network's endpoint.
fn neighbour(world: &mut World, packet: &Specimen) -> (Verdict, Vec<Left>) {
    let frame = ethernet(OTHER.mac, mac(NEIGHBOUR as u8), ethertype::IPV4, &packet.packet());
    world.step(NEIGHBOUR, &frame)
}

#[test]
fn peers_look_to_one_another_as_they_look_outside() {
    let mut world = world();
    let ports = [2, 3].map(|endpoint| mapped(&mut world, endpoint));
    for round in 0..2 {
        for (from, to) in [(0, 1), (1, 0)] {
            let (sender, target) = (from as u8 + 2, to as u8 + 2);
            let (verdict, left) = world.inside(sender, &udp((address(sender), OWN), (HOST, ports[to])));
            assert_eq!(verdict, routed(target.into(), Translation::Both), "round {round}");
            let expected = udp((HOST, ports[from]), (address(target), OWN));
            assert_left(&left, target.into(), to_endpoint(target), &expected);
        }
    }
    assert_eq!(world.sessions(), 3, "one between the two, whoever began");
    // Who has spoken to nobody outside gets his mapping now.
    let (_, left) = world.inside(4, &udp((address(4), OWN), (HOST, ports[0])));
    let (source, _) = left[0].ports();
    assert_left(&left, 2, to_endpoint(2), &udp((HOST, source), (address(2), OWN)));
    assert_eq!(mapped(&mut world, 4), source);
    // Even one's own address leads back.
    let (_, left) = world.inside(2, &udp((address(2), OWN), (HOST, ports[0])));
    assert_left(&left, 2, to_endpoint(2), &udp((HOST, ports[0]), (address(2), OWN)));
    let now = world.now;
    world.core.edge_mut().unwrap().flush(now, SessionFilter::default(), 0);
    assert_eq!((world.sessions(), world.core.edge().unwrap().stats().ports_used), (0, (0, 0)));
}

#[test]
fn connections_go_by_mappings_as_well() {
    let mut world = world();
    let (_, left) = world.inside(3, &tcp((address(3), OWN), (REMOTE, 80), SYN));
    let port = left.iter().find(|left| left.bytes[12..14] == [0x08, 0x00]).unwrap().ports().0;
    let (verdict, left) = world.inside(2, &tcp((address(2), OWN), (HOST, port), SYN));
    assert_eq!(verdict, routed(3, Translation::Both));
    let peer = (HOST, left[0].ports().0);
    let (_, left) = world.inside(3, &tcp((address(3), OWN), peer, SYN | ACK));
    assert_left(&left, 2, to_endpoint(2), &tcp((HOST, port), (address(2), OWN), SYN | ACK));
    // What begins nothing is no mapping's, and a ping of the host is the host's.
    assert_eq!(
        world.inside(2, &tcp((address(2), 41_000), (HOST, port), SYN | ACK)).0,
        Verdict::Drop(DropReason::NoSession)
    );
    let ping = Specimen { payload: vec![1; 8], ..flow(Protocol::Icmp, (address(2), port), (HOST, 0)) };
    assert_eq!(world.inside(2, &ping).0, Verdict::Forward { egress: PortId(HOST_PORT) });
}

/// Nobody may speak to the host.
fn deny() -> Arc<[Rule]> {
    Arc::from([Rule {
        number: 1,
        action: Action::Deny,
        source: None,
        destination: Some(ipnet::IpNet::from(std::net::IpAddr::from(HOST))),
        protocol: None,
        ports: None,
        hits: Arc::default(),
    }])
}

#[test]
fn from_another_network_the_rules_of_both_hold() {
    type Change = fn(&mut Network);
    let table: [(Change, usize, DropReason); 5] = [
        (|network| network.edge.rules = deny(), 0, DropReason::RuleDenied),
        (|network| network.edge.rules = deny(), 1, DropReason::RuleDenied),
        (|network| network.edge.internal = true, 0, DropReason::NetworkInternal),
        (|network| network.edge.internal = true, 1, DropReason::NetworkInternal),
        (|network| network.edge.uplinks = UplinkChoice::None, 0, DropReason::NoRoute),
    ];
    for (change, which, reason) in table {
        let mut world = world();
        let port = mapped(&mut world, 3);
        let packet = |source| udp((OTHER_ENDPOINT, source), (HOST, port));
        let (verdict, left) = neighbour(&mut world, &packet(OWN));
        assert_eq!(verdict, routed(3, Translation::Both));
        assert_left(&left, 3, to_endpoint(3), &udp((HOST, left[0].ports().0), (address(3), OWN)));
        world.change(|snapshot| change(Arc::make_mut(snapshot.networks[which].as_mut().unwrap())));
        world.change_edge(|_| {});
        assert_eq!(neighbour(&mut world, &packet(OWN + 1)).0, Verdict::Drop(reason), "a new one");
        if reason != DropReason::NoRoute {
            assert_eq!(neighbour(&mut world, &packet(OWN)).0, Verdict::Drop(reason), "the one that was open");
        }
    }
}

#[test]
fn who_waits_for_a_port_is_counted_once() {
    let mut world = World::new();
    world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
    let allow = Rule { action: Action::Allow, ..deny()[0].clone() };
    let hits = Arc::clone(&allow.hits);
    world.change_network(|network| network.edge.rules = [allow].into());
    assert_eq!(world.inside(2, &tcp((address(2), OWN), (HOST, 80), SYN)).0, Verdict::Wait(Wait::Port));
    assert_eq!(hits.get(), 0);
    world.answer(&Answer::PortsHeld { protocol: Protocol::Tcp, ports: vec![POOL] });
    let [(verdict, _)] = &world.resume()[..] else { panic!("one packet waits") };
    assert_eq!((*verdict, hits.get()), (routed(3, Translation::Both), 1));
}

#[test]
fn isolated_endpoints_stay_so() {
    let mut world = world();
    let port = mapped(&mut world, 3);
    let packet = udp((address(2), OWN), (HOST, port));
    assert_eq!(world.inside(2, &packet).0, routed(3, Translation::Both));
    world.change_network(|network| network.edge.isolated = true);
    world.change_edge(|_| {});
    assert_eq!(world.inside(2, &packet).0, Verdict::Drop(DropReason::LinkDenied));
    // A link is for the bridge.
    let link = Link { from: PortId(2), to: PortId(3), service: None };
    world.change_network(|network| network.edge.links = Arc::from([link]));
    world.change_edge(|_| {});
    assert_eq!(world.inside(2, &packet).0, Verdict::Drop(DropReason::LinkDenied));
    assert_eq!(
        neighbour(&mut world, &udp((OTHER_ENDPOINT, OWN), (HOST, port))).0,
        routed(3, Translation::Both)
    );
}

#[test]
fn a_session_ends_when_somebody_else_has_the_mapping() {
    let mut world = world();
    world.change_edge(|edge| edge.timeouts.port_reuse = Duration::ZERO);
    let port = mapped(&mut world, 3);
    let packet = udp((address(2), OWN), (HOST, port));
    assert_eq!(world.inside(2, &packet).0, routed(3, Translation::Both));
    let (now, filter) = (world.now, SessionFilter { owner: Some(PortId(3)), ..SessionFilter::default() });
    world.core.edge_mut().unwrap().flush(now, filter, 0);
    world.now = world.now + Duration::from_secs(1);
    assert_eq!(world.inside(2, &packet).0, routed(3, Translation::Both), "nobody else wants it");
    let (_, left) = world.inside(4, &udp((address(4), port), (REMOTE, 53)));
    assert_eq!(left.iter().find(|left| left.bytes[12..14] == [0x08, 0x00]).unwrap().ports().0, port);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.inside(2, &packet).0, routed(4, Translation::Both));
}

#[test]
fn where_mappings_are_one_remotes_each_nobody_gets_in_by_them() {
    let mut world = World::ready();
    let port = mapped(&mut world, 3);
    let (verdict, left) = world.inside(2, &udp((address(2), OWN), (HOST, port)));
    assert_eq!((verdict, left[0].port), (Verdict::Forward { egress: PortId(HOST_PORT) }, HOST_PORT));
}
