//! What follows a packet of its flow goes the short way (`session/recent.rs`), and nobody can tell.

use super::*;
use crate::edge::view::SessionFilter;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;

fn query() -> Specimen {
    udp((address(2), 40_000), (REMOTE, 53))
}

/// A world in which the next [`query`] goes the short way.
fn warm() -> World {
    let mut world = World::ready();
    for _ in 0..2 {
        assert_eq!(world.inside(2, &query()).0, routed(UPLINK, Translation::Source));
    }
    world
}

#[test]
fn a_packet_that_follows_is_translated_as_the_one_before() {
    let mut world = warm();
    let (_, before) = world.inside(2, &query());
    let port = before[0].ports().0;
    assert_left(&before, UPLINK, OUT, &udp((HOST, port), (REMOTE, 53)));
    for _ in 0..3 {
        let (_, left) = world.outside(&udp((REMOTE, 53), (HOST, port)));
        assert_left(&left, 2, to_endpoint(2), &udp((REMOTE, 53), (address(2), 40_000)));
    }
}

#[test]
fn a_session_that_has_ended_is_opened_anew() {
    let mut world = warm();
    let now = world.now;
    world.core.edge_mut().unwrap().flush(now, SessionFilter::default(), 0);
    assert_eq!(world.sessions(), 0);
    assert_eq!(world.inside(2, &query()).0, routed(UPLINK, Translation::Source));
    assert_eq!((world.sessions(), world.core.edge().unwrap().stats().opened), (1, 2));
}

#[test]
fn a_packet_without_hops_left_is_refused() {
    let mut world = warm();
    let expiring = Specimen { ttl: 1, ..query() };
    assert_eq!(world.inside(2, &expiring).0, Verdict::Reply(Reply::TimeExceeded));
}

#[test]
fn answers_follow_whoever_asks_wherever_he_has_gone() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    let question = udp((REMOTE, 5000), (HOST, 53));
    let first_part = Specimen { part: Some((0, 16, true)), ..question.clone() };
    let ask = |world: &mut World, by: u16, station: MacAddr, question: &Specimen| {
        let own = if by == UPLINK { UPLINK_MAC } else { Uplink::OWN_MAC };
        world.step(by, &ethernet(own, station, ethertype::IPV4, &question.packet()))
    };
    let answered = |world: &mut World| {
        let (_, left) = world.inside(3, &udp((address(3), 53), (REMOTE, 5000)));
        (left[0].port, MacAddr::from_prefix(&left[0].bytes))
    };
    let other = MacAddr([2, 0, 0, 0, 9, 2]);
    for station in [ROUTER_MAC, ROUTER_MAC, ROUTER_MAC, other] {
        ask(&mut world, UPLINK, station, &question);
        assert_eq!(answered(&mut world), (UPLINK, station));
    }
    // A fragment does not go the short way, and what it changes counts all the same.
    for _ in 0..2 {
        ask(&mut world, UPLINK, ROUTER_MAC, &question);
    }
    ask(&mut world, UPLINK, other, &first_part);
    assert_eq!(answered(&mut world), (UPLINK, other));
    ask(&mut world, UPLINK, ROUTER_MAC, &question);
    assert_eq!(answered(&mut world), (UPLINK, ROUTER_MAC));
    // The same station by another interface.
    ask(&mut world, TUNNEL, ROUTER_MAC, &question);
    assert_eq!(answered(&mut world).0, TUNNEL);
}

#[test]
fn protocols_with_the_same_ports_are_apart() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    world.publish(2, None, Protocol::Tcp, 53, (4, 53));
    let ask = |flags| tcp((REMOTE, 5000), (HOST, 53), flags);
    world.outside(&ask(SYN));
    world.inside(4, &tcp((address(4), 53), (REMOTE, 5000), SYN | ACK));
    for _ in 0..3 {
        assert_eq!(world.outside(&ask(ACK)).0, routed(4, Translation::Destination));
    }
    for _ in 0..3 {
        let (verdict, _) = world.outside(&udp((REMOTE, 5000), (HOST, 53)));
        assert_eq!(verdict, routed(3, Translation::Destination));
    }
}

#[test]
fn a_connection_is_closed_by_packets_that_follow() {
    let mut world = World::ready();
    let sends = |world: &mut World, flags| world.inside(2, &tcp((address(2), 40_000), (REMOTE, 80), flags));
    let port = sends(&mut world, SYN).1[0].ports().0;
    let hears = |world: &mut World, flags| world.outside(&tcp((REMOTE, 80), (HOST, port), flags));
    let state =
        |world: &World| world.core.edge().unwrap().page(world.now, SessionFilter::default(), 0, 1).0[0].state;
    hears(&mut world, SYN | ACK);
    for _ in 0..2 {
        sends(&mut world, ACK);
        hears(&mut world, ACK);
    }
    assert_eq!(state(&world), "established");
    sends(&mut world, FIN | ACK);
    assert_eq!(state(&world), "closing");
    hears(&mut world, FIN | ACK);
    assert_eq!(state(&world), "closed");
}

#[test]
fn a_fragment_that_follows_is_the_first_of_others() {
    let mut world = warm();
    let part = |from, len, more| Specimen { part: Some((from, len, more)), ..query() };
    let begin = world.inside(2, &part(0, 16, true)).0;
    let end = world.inside(2, &part(16, 11, false)).0;
    assert_eq!([begin, end], [routed(UPLINK, Translation::Source); 2]);
}

#[test]
fn a_trace_tells_of_the_whole_way() {
    let mut world = warm();
    let frame = ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &query().packet());
    let trace = world.core.trace(world.now, PortId(2), &Frame::plain(&frame), None);
    let told: Vec<String> = trace.decisions.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("session")), "{told:?}");
}
