//! The resolver at the gateway's address: what goes to it, what comes from it, and what must not.

use super::*;
use crate::edge::config::{Action, Hits, Rule};

const SYN: u8 = 0x02;
const RESOLVER: u16 = 11;
const TO_RESOLVER: Verdict = Verdict::Forward { egress: PortId(RESOLVER) };
const TO_HOST: Verdict = Verdict::Forward { egress: PortId(HOST_PORT) };

fn with_resolver() -> World {
    let mut world = World::ready();
    world.change(|snapshot| {
        snapshot.ports.resize_with(usize::from(RESOLVER) + 1, || None);
        let port = Port { place: Place::Resolver(NETWORK), ..open_port(RESOLVER as u8) };
        snapshot.ports[usize::from(RESOLVER)] = Some(port);
        let network = Arc::make_mut(snapshot.networks[0].as_mut().unwrap());
        network.members.push(PortId(RESOLVER));
        network.edge.resolver_port = Some(PortId(RESOLVER));
    });
    world
}

fn question() -> Specimen {
    udp((address(2), 40_000), (GATEWAY.address, 53))
}

/// What the resolver sends to an endpoint that has been heard of.
fn answer(world: &mut World, to: u8, packet: &Specimen) -> Verdict {
    let hello = arp(1, (mac(to), address(to)), (MacAddr::ZERO, GATEWAY.address));
    world.step(to.into(), &ethernet(GATEWAY.mac, mac(to), ethertype::ARP, &hello));
    world.step(RESOLVER, &ethernet(mac(to), GATEWAY.mac, ethertype::IPV4, &packet.packet())).0
}

#[test]
fn port_53_of_the_gateway_is_the_resolvers_and_nothing_else_is() {
    let mut world = with_resolver();
    for packet in [question(), tcp((address(2), 40_000), (GATEWAY.address, 53), SYN)] {
        let (verdict, left) = world.inside(2, &packet);
        assert_eq!(verdict, TO_RESOLVER);
        assert_eq!(left[0].packet(), packet.packet(), "as it was, TTL included");
    }
    for (dst, port) in [(GATEWAY.address, 54), (HOST, 53)] {
        assert_eq!(world.inside(2, &udp((address(2), 40_000), (dst, port))).0, TO_HOST);
    }
    // A published port 53 is reached by the host's other addresses.
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    assert_eq!(world.inside(2, &question()).0, TO_RESOLVER);
    let by_host = world.inside(2, &udp((address(2), 40_000), (HOST, 53))).0;
    assert_eq!(by_host, routed(3, Translation::Both));
    // Without a resolver it is the host's.
    assert_eq!(World::ready().inside(2, &question()).0, TO_HOST);
}

#[test]
fn it_is_there_whatever_the_network_reaches_otherwise() {
    let changes: [fn(&mut Network); 3] = [
        |network| network.edge.internal = true,
        |network| network.edge.host_port = None,
        |network| network.edge.isolated = true,
    ];
    for change in changes {
        let mut world = with_resolver();
        world.change_network(change);
        assert_eq!(world.inside(2, &question()).0, TO_RESOLVER);
        let back = udp((GATEWAY.address, 53), (address(2), 40_000));
        assert_eq!(answer(&mut world, 2, &back), Verdict::Forward { egress: PortId(2) });
    }
}

#[test]
fn fragments_of_a_question_follow_their_first() {
    let mut world = with_resolver();
    let whole = Specimen { payload: vec![0x5a; 2_000], ..question() };
    let parts = [(0, 1_000, true), (1_000, 1_008, false)];
    let [first, last] = parts.map(|part| Specimen { part: Some(part), ..whole.clone() });
    assert_eq!(world.inside(2, &last).0, Verdict::Wait(Wait::FirstFragment));
    assert_eq!(world.inside(2, &first).0, TO_RESOLVER);
    assert_eq!(world.resume().into_iter().map(|(verdict, _)| verdict).collect::<Vec<_>>(), [TO_RESOLVER]);
}

#[test]
fn rules_hold_for_questions_too() {
    let mut world = with_resolver();
    let rule = |action| Rule {
        number: 1,
        action,
        source: None,
        destination: None,
        protocol: Some(Protocol::Udp),
        ports: Some((53, 53)),
        hits: Arc::<Hits>::default(),
    };
    world.change_network(|network| network.edge.rules = Arc::from([rule(Action::Deny)]));
    world.change_edge(|_| {});
    assert_eq!(world.inside(2, &question()).0, Verdict::Drop(DropReason::RuleDenied));
    world.change_network(|network| network.edge.rules = Arc::from([rule(Action::Allow)]));
    world.change_edge(|_| {});
    for _ in 0..2 {
        assert_eq!(
            world.inside(2, &question()).0,
            TO_RESOLVER,
            "the first opens a session, the next is of it"
        );
    }
    let back = udp((GATEWAY.address, 53), (address(2), 40_000));
    assert_eq!(answer(&mut world, 2, &back), Verdict::Forward { egress: PortId(2) });
    assert_eq!(world.sessions(), 1);
}

#[test]
fn it_speaks_as_the_gateway_and_for_nobody_else() {
    let mut world = with_resolver();
    let strange = udp((REMOTE, 53), (address(2), 40_000));
    assert_eq!(answer(&mut world, 2, &strange), Verdict::Drop(DropReason::HostForwards));
    let hosts = udp((HOST, 53), (address(2), 40_000));
    assert_eq!(answer(&mut world, 2, &hosts), Verdict::Drop(DropReason::HostForwards));
    let itself = ethernet(GATEWAY.mac, GATEWAY.mac, ethertype::IPV4, &question().packet());
    assert_eq!(world.step(RESOLVER, &itself).0, Verdict::Drop(DropReason::HostForwards));
}

#[test]
fn it_asks_endpoints_for_their_macs_and_the_host_hears_nothing_of_it() {
    let mut world = with_resolver();
    let ask = arp(1, (GATEWAY.mac, GATEWAY.address), (MacAddr::ZERO, address(2)));
    let (_, left) = world.step(RESOLVER, &ethernet(MacAddr::BROADCAST, GATEWAY.mac, ethertype::ARP, &ask));
    assert_eq!(left.iter().map(|it| it.port).collect::<Vec<_>>(), [2, 3, 4]);
    let reply = arp(2, (mac(2), address(2)), (GATEWAY.mac, GATEWAY.address));
    let (_, left) = world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::ARP, &reply));
    assert_eq!(left.iter().map(|it| it.port).collect::<Vec<_>>(), [RESOLVER, HOST_PORT], "whoever has asked");
    // What is for all is not for it.
    let ask = arp(1, (mac(3), address(3)), (MacAddr::ZERO, address(4)));
    let (_, left) = world.step(3, &ethernet(MacAddr::BROADCAST, mac(3), ethertype::ARP, &ask));
    assert!(left.iter().all(|it| it.port != RESOLVER), "{left:?}");
}

#[test]
fn one_endpoint_asks_so_much_and_no_more() {
    let mut world = with_resolver();
    let refused = Verdict::Drop(DropReason::ResolverShare);
    let asked = (0..10_000).take_while(|_| world.inside(2, &question()).0 == TO_RESOLVER).count();
    assert_eq!(asked, 500);
    assert_eq!(world.inside(2, &question()).0, refused);
    assert!(world.drops(2, DropReason::ResolverShare) >= 1);
    let others = udp((address(3), 40_000), (GATEWAY.address, 53));
    assert_eq!(world.inside(3, &others).0, TO_RESOLVER);
    world.pass(Duration::from_millis(4));
    let asked = (0..10_000).take_while(|_| world.inside(2, &question()).0 == TO_RESOLVER).count();
    assert_eq!(asked, 100);
}
