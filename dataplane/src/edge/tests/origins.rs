//! Who may have sent what, and where from.

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
