//! Networks whose endpoints are isolated, and what is let through; the host on a network with rules.

use super::*;
use crate::edge::config::{Action, Hits, Link, Rule};

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const DENIED: Verdict = Verdict::Drop(DropReason::LinkDenied);

fn isolated(links: &[Link]) -> World {
    let mut world = World::ready();
    world.change_network(|network| {
        network.edge.isolated = true;
        network.edge.links = Arc::from(links);
    });
    world
}

const HTTP: Link = Link { from: PortId(2), to: PortId(3), service: Some((Protocol::Tcp, 80)) };

/// A packet from one endpoint straight to another.
fn between(world: &mut World, from: u8, to: u8, packet: &Specimen) -> Verdict {
    let frame = ethernet(mac(to), mac(from), ethertype::IPV4, &packet.packet());
    world.step(from.into(), &frame).0
}

/// All endpoints have been heard of.
fn introduce(world: &mut World) {
    for n in [2, 3, 4] {
        let hello = arp(1, (mac(n), address(n)), (MacAddr::ZERO, GATEWAY.address));
        world.step(n.into(), &ethernet(GATEWAY.mac, mac(n), ethertype::ARP, &hello));
    }
}

#[test]
fn a_link_opens_exactly_one_way_to_one_service() {
    let mut world = isolated(&[HTTP]);
    introduce(&mut world);
    let (client, server) = ((address(2), 40_000), (address(3), 80));
    assert_eq!(between(&mut world, 3, 2, &tcp(server, client, SYN_ACK)), DENIED, "nothing has begun");
    let to_server = Verdict::Forward { egress: PortId(3) };
    assert_eq!(between(&mut world, 2, 3, &tcp(client, server, SYN)), to_server);
    assert_eq!(
        between(&mut world, 3, 2, &tcp(server, client, SYN_ACK)),
        Verdict::Forward { egress: PortId(2) }
    );
    assert_eq!(world.sessions(), 1);

    assert_eq!(between(&mut world, 2, 3, &tcp(client, (address(3), 81), SYN)), DENIED);
    assert_eq!(between(&mut world, 2, 3, &udp(client, server)), DENIED);
    assert_eq!(between(&mut world, 3, 2, &tcp((address(3), 5000), (address(2), 80), SYN)), DENIED);
    assert_eq!(between(&mut world, 4, 3, &tcp((address(4), 40_000), server, SYN)), DENIED);
    assert_eq!(between(&mut world, 2, 4, &tcp(client, (address(4), 80), SYN)), DENIED);

    // Without the link its sessions end with their next packet.
    world.change_network(|network| network.edge.links = Arc::default());
    world.change_edge(|_| {});
    assert_eq!(between(&mut world, 2, 3, &tcp(client, server, 0x10)), DENIED);
    assert_eq!(between(&mut world, 3, 2, &tcp(server, client, 0x10)), DENIED);
}

#[test]
fn a_link_without_a_service_lets_everything_begin() {
    let mut world = isolated(&[Link { service: None, ..HTTP }]);
    introduce(&mut world);
    let ping = flow(Protocol::Icmp, (address(2), 7), (address(3), 0));
    let pong = flow(Protocol::Icmp, (address(3), 0), (address(2), 7));
    assert_eq!(between(&mut world, 2, 3, &ping), Verdict::Forward { egress: PortId(3) });
    assert_eq!(between(&mut world, 3, 2, &pong), Verdict::Forward { egress: PortId(2) });
    let pang = flow(Protocol::Icmp, (address(3), 7), (address(2), 0));
    assert_eq!(between(&mut world, 3, 2, &pang), DENIED);
}

#[test]
fn only_the_linked_hear_each_others_arp() {
    let mut world = isolated(&[HTTP]);
    let ask = |n: u8, whom| {
        let question = arp(1, (mac(n), address(n)), (MacAddr::ZERO, whom));
        ethernet(MacAddr::BROADCAST, mac(n), ethertype::ARP, &question)
    };
    let heard = |left: Vec<Left>| left.iter().map(|left| left.port).collect::<Vec<_>>();
    assert_eq!(heard(world.step(2, &ask(2, address(3))).1), [3, HOST_PORT]);
    assert_eq!(heard(world.step(3, &ask(3, address(2))).1), [2, HOST_PORT]);
    assert_eq!(heard(world.step(4, &ask(4, address(2))).1), [HOST_PORT]);
    let hello = ethernet(
        MacAddr::BROADCAST,
        mac(2),
        ethertype::IPV4,
        &udp((address(2), 1), (Ipv4Addr::BROADCAST, 2)).packet(),
    );
    assert_eq!(heard(world.step(2, &hello).1), [HOST_PORT]);
    let solicit = ethernet(
        mac(3),
        mac(2),
        ethertype::IPV6,
        &crate::testing::ipv6(crate::testing::address6(2), crate::testing::address6(3), 59, &[]),
    );
    assert_eq!(world.step(2, &solicit).0, DENIED);
    // One who has been silent for long is reached all the same.
    world.pass(Duration::from_secs(1000));
    let syn = tcp((address(2), 40_000), (address(3), 80), SYN);
    assert_eq!(between(&mut world, 2, 3, &syn), Verdict::Forward { egress: PortId(3) });
}

#[test]
fn isolated_endpoints_do_not_reach_each_other_by_the_gateway_but_by_publications() {
    let mut world = isolated(&[]);
    let (verdict, left) = world.inside(2, &tcp((address(2), 40_000), (address(3), 80), SYN));
    assert_eq!(verdict, DENIED);
    assert_eq!(left[0].packet()[20..22], [3, 13]);
    world.publish(1, None, Protocol::Tcp, 80, (3, 80));
    let (verdict, _) = world.inside(2, &tcp((address(2), 40_000), (HOST, 80), SYN));
    assert_eq!(verdict, routed(3, Translation::Both));
}

#[test]
fn fragments_of_a_linked_flow_follow_it() {
    let mut world = isolated(&[Link { service: Some((Protocol::Udp, 53)), ..HTTP }]);
    introduce(&mut world);
    let whole = Specimen { payload: vec![1; 1000], ..udp((address(2), 40_000), (address(3), 53)) };
    let part = |part| Specimen { part: Some(part), ..whole.clone() };
    assert_eq!(between(&mut world, 2, 3, &part((504, 504, false))), Verdict::Wait(Wait::FirstFragment));
    assert_eq!(between(&mut world, 2, 3, &part((0, 504, true))), Verdict::Forward { egress: PortId(3) });
    assert_eq!(world.resume()[0].0, Verdict::Forward { egress: PortId(3) });
}

/// The port of an existing interface of the network: anybody may be behind it.
const INTERFACE: u8 = 6;

fn with_interface(world: &mut World) {
    world.change(|snapshot| {
        snapshot.ports[usize::from(INTERFACE)] =
            Some(Port { own_mac: Some(mac(60)), ..open_port(INTERFACE) });
        let network = Arc::make_mut(snapshot.networks[0].as_mut().unwrap());
        network.members.push(PortId(INTERFACE.into()));
    });
}

#[test]
fn isolation_holds_for_whoever_is_behind_an_interface() {
    let mut world = isolated(&[HTTP]);
    with_interface(&mut world);
    introduce(&mut world);
    let ask = |n: u8, whom| {
        let question = arp(1, (mac(n), address(n)), (MacAddr::ZERO, whom));
        ethernet(MacAddr::BROADCAST, mac(n), ethertype::ARP, &question)
    };
    let heard = |left: Vec<Left>| left.iter().map(|left| left.port).collect::<Vec<_>>();
    assert_eq!(heard(world.step(INTERFACE.into(), &ask(INTERFACE, address(2))).1), [HOST_PORT]);
    assert_eq!(heard(world.step(4, &ask(4, address(INTERFACE))).1), [HOST_PORT]);
    let syn = |from: u8, to: u8| tcp((address(from), 40_000), (address(to), 80), SYN);
    for (from, to) in [(INTERFACE, 3), (3, INTERFACE)] {
        assert_eq!(between(&mut world, from, to, &syn(from, to)), DENIED, "{from} to {to}");
        assert_eq!(world.inside(from, &syn(from, to)).0, DENIED, "by the gateway");
    }
    // The gateway's side is there for all.
    let out = tcp((address(INTERFACE), 40_000), (REMOTE, 80), SYN);
    assert_eq!(world.inside(INTERFACE, &out).0, routed(UPLINK, Translation::Source));
    // And without isolation they are as any others.
    world.change_network(|network| network.edge.isolated = false);
    assert_eq!(between(&mut world, INTERFACE, 3, &syn(INTERFACE, 3)), Verdict::Forward { egress: PortId(3) });
}

#[test]
fn what_is_for_an_interface_itself_goes_nowhere() {
    let mut world = World::ready();
    with_interface(&mut world);
    let hello = |from: u8, to: MacAddr| ethernet(to, mac(from), ethertype::IPV6, &[0; 40]);
    let (verdict, left) = world.step(INTERFACE.into(), &hello(INTERFACE, mac(60)));
    assert_eq!((verdict, left), (Verdict::Drop(DropReason::InterfaceMac), vec![]));
    assert_eq!(world.drops(INTERFACE.into(), DropReason::InterfaceMac), 1);
    // Unless somebody elsewhere has the same MAC.
    world.change(|snapshot| snapshot.ports[2] = Some(open_port(2)));
    world.step(2, &ethernet(MacAddr::BROADCAST, mac(60), ethertype::IPV6, &[0; 40]));
    let (verdict, _) = world.step(INTERFACE.into(), &hello(INTERFACE, mac(60)));
    assert_eq!(verdict, Verdict::Forward { egress: PortId(2) });
}

#[test]
fn another_worker_hands_tracked_frames_over() {
    let mut worker = Core::new(1);
    let snapshot = isolated(&[HTTP]).core.snapshot().clone();
    // A second block of counters for the second worker.
    let mut snapshot = Snapshot::clone(&snapshot);
    for port in snapshot.ports.iter_mut().flatten() {
        port.counters = (0..2).map(|_| crate::counters::PortCounters::default()).collect();
    }
    worker.adopt(Timestamp::ZERO, Arc::new(snapshot));
    let mut out = Out::new();
    let mut step = |bytes: &[u8]| worker.step(Timestamp::ZERO, PortId(2), &Frame::plain(bytes), &mut out);
    let syn = tcp((address(2), 40_000), (address(3), 80), SYN).packet();
    assert_eq!(step(&ethernet(mac(3), mac(2), ethertype::IPV4, &syn)), Verdict::HandOver);
    assert_eq!(step(&ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &syn)), Verdict::HandOver);
    let ping = flow(Protocol::Icmp, (address(2), 7), (GATEWAY.address, 0)).packet();
    assert_eq!(step(&ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &ping)), Verdict::Reply(Reply::Echo));
}

#[test]
fn rules_decide_what_reaches_the_host_and_never_what_it_began() {
    let mut world = World::ready();
    introduce(&mut world);
    world.change_network(|network| {
        let deny = |protocol| Rule {
            number: 1,
            action: Action::Deny,
            source: None,
            destination: Some("10.0.0.1/32".parse().unwrap()),
            protocol,
            ports: None,
            hits: Arc::new(Hits::default()),
        };
        network.edge.rules = Arc::from([deny(None)]);
    });
    let denied = Verdict::Drop(DropReason::RuleDenied);
    let to_host = Verdict::Forward { egress: PortId(HOST_PORT) };
    let ours = tcp((address(2), 40_000), (GATEWAY.address, 22), SYN);
    assert_eq!(world.inside(2, &ours).0, denied);
    assert_eq!(world.inside(2, &tcp((address(2), 40_000), (HOST, 22), SYN)).0, to_host);

    let begun = udp((GATEWAY.address, 5353), (address(2), 7));
    let answer = udp((address(2), 7), (GATEWAY.address, 5353));
    assert_eq!(world.inside(2, &answer).0, denied);
    let frame = ethernet(mac(2), GATEWAY.mac, ethertype::IPV4, &begun.packet());
    assert_eq!(world.step(HOST_PORT, &frame).0, Verdict::Forward { egress: PortId(2) });
    assert_eq!(world.inside(2, &answer).0, to_host);
    // Newer rules do not change that.
    world.change_edge(|_| {});
    assert_eq!(world.inside(2, &answer).0, to_host);
    let other = crate::testing::ipv4(address(2), GATEWAY.address, 132, &[0; 20]);
    assert_eq!(world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &other)).0, denied);
}

#[test]
fn rules_about_what_is_for_all_and_the_host_count_it() {
    let mut world = World::ready();
    introduce(&mut world);
    let rule = |number, action, port| Rule {
        number,
        action,
        source: None,
        destination: Some("255.255.255.255/32".parse().unwrap()),
        protocol: None,
        ports: Some((port, port)),
        hits: Arc::default(),
    };
    let rules: Arc<[Rule]> = Arc::from([rule(1, Action::Allow, 67), rule(2, Action::Deny, 68)]);
    world.change_network(|network| network.edge.rules = Arc::clone(&rules));
    let to_all = |port: u16| {
        let packet = udp((address(2), 1), (Ipv4Addr::BROADCAST, port)).packet();
        ethernet(MacAddr::BROADCAST, mac(2), ethertype::IPV4, &packet)
    };
    let heard = |left: Vec<Left>| left.iter().map(|left| left.port).collect::<Vec<_>>();
    let hits = || rules.iter().map(|rule| rule.hits.get()).collect::<Vec<_>>();
    assert_eq!(heard(world.step(2, &to_all(67)).1), [3, 4, HOST_PORT]);
    assert_eq!((hits(), world.drops(2, DropReason::RuleDenied)), (vec![1, 0], 0));
    // The others are not the host.
    assert_eq!(heard(world.step(2, &to_all(68)).1), [3, 4]);
    assert_eq!((hits(), world.drops(2, DropReason::RuleDenied)), (vec![1, 1], 1));
    assert_eq!(heard(world.step(2, &to_all(69)).1), [3, 4, HOST_PORT]);
    assert_eq!((hits(), world.drops(2, DropReason::RuleDenied)), (vec![1, 1], 1));
    // Where there is nobody else.
    world.change_network(|network| network.edge.isolated = true);
    assert_eq!(world.step(2, &to_all(68)).0, Verdict::Drop(DropReason::RuleDenied));
    assert_eq!((hits(), world.drops(2, DropReason::RuleDenied)), (vec![1, 2], 2));
    // To follow one is not to count it.
    let frame = to_all(68);
    let trace = world.core.trace(world.now, PortId(2), &Frame::plain(&frame), None);
    assert_eq!(trace.verdict, Verdict::Drop(DropReason::RuleDenied));
    let told: Vec<String> = trace.decisions.iter().map(ToString::to_string).collect();
    assert_eq!(told[1], "rules of network 0: rule 2 denies it");
    assert_eq!(told.last().unwrap(), "not to port 8: the rules keep it from the host");
    assert_eq!((hits(), world.drops(2, DropReason::RuleDenied)), (vec![1, 2], 2));
}
