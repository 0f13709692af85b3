//! Following a packet without sending it.

use super::*;
use crate::edge::config::{Action, Hits, Rule};
use crate::edge::explain::Trace;

const SYN: u8 = 0x02;

fn trace(world: &mut World, port: u16, packet: &Specimen) -> (Trace, Vec<String>) {
    let (dst, src) = if port == UPLINK { (UPLINK_MAC, ROUTER_MAC) } else { (GATEWAY.mac, mac(port as u8)) };
    let bytes = ethernet(dst, src, ethertype::IPV4, &packet.packet());
    let asked = &mut world.asked;
    let trace =
        world.core.trace(world.now, PortId(port), &Frame::plain(&bytes), |request| asked.push(*request));
    let told = trace.decisions.iter().map(ToString::to_string).collect();
    (trace, told)
}

#[test]
fn a_new_flow_is_told_step_by_step_and_leaves_nothing_behind() {
    let mut world = World::ready();
    let rule = Rule {
        number: 7,
        action: Action::Allow,
        source: None,
        destination: None,
        protocol: None,
        ports: None,
        hits: Arc::new(Hits::default()),
    };
    let hits = Arc::clone(&rule.hits);
    world.change_network(|network| network.edge.rules = Arc::from([rule]));
    let syn = tcp((address(2), 40_000), (REMOTE, 80), SYN);
    let (trace, told) = trace(&mut world, 2, &syn);
    assert_eq!(trace.verdict, routed(UPLINK, Translation::Source));
    let (egress, left) = &trace.leaves[0];
    let port = u16::from_be_bytes([left.bytes[34], left.bytes[35]]);
    assert_eq!(
        told,
        [
            "flow tcp 10.0.0.2:40000 > 192.0.2.7:80".to_owned(),
            "no session".into(),
            "the network's rules: rule 7 allows".into(),
            "route by port 9 to 198.51.100.1, from 198.51.100.2, MTU 1500".into(),
            "next hop 198.51.100.1 is 02:00:00:00:09:01".into(),
            format!("source port {port} of the host"),
            format!(
                "new session: tcp 10.0.0.2:40000 > 192.0.2.7:80, answered by tcp 192.0.2.7:80 > 198.51.100.2:{port}"
            ),
            format!("becomes tcp 198.51.100.2:{port} > 192.0.2.7:80"),
        ]
    );
    let left = Left { port: egress.0, bytes: left.bytes.clone(), offload: left.offload };
    assert_left(&[left], UPLINK, OUT, &tcp((HOST, port), (REMOTE, 80), SYN));

    assert_eq!((world.sessions(), hits.get(), trace.leaves.len()), (0, 0, 1));
    let counted = CounterSum::of(&world.core.snapshot().port(PortId(2)).unwrap().counters);
    assert_eq!(counted, CounterSum::default());
    assert!(world.core.snapshot().networks[0].as_ref().unwrap().fdb.entries(world.now).is_empty());
    // What is said is what happens.
    let (verdict, left) = world.inside(2, &syn);
    assert_eq!(verdict, trace.verdict);
    assert_eq!(left[0].ports().0, port);
}

#[test]
fn a_session_is_told_and_does_not_change() {
    let mut world = World::ready();
    let port = world.inside(2, &tcp((address(2), 40_000), (REMOTE, 80), SYN)).1[0].ports().0;
    let before = world.core.edge().unwrap().page(world.now, Default::default(), 0, 9);
    world.now = world.now + Duration::from_secs(60);
    let (trace, told) = trace(&mut world, UPLINK, &tcp((REMOTE, 80), (HOST, port), 0x14));
    assert_eq!(trace.verdict, routed(2, Translation::Destination));
    assert_eq!(
        told[1..],
        [
            "session 0, half-open: a packet of whoever answers".to_owned(),
            "becomes tcp 192.0.2.7:80 > 10.0.0.2:40000".into(),
        ]
    );
    world.now = Timestamp::from_secs(1000);
    assert_eq!(world.core.edge().unwrap().page(world.now, Default::default(), 0, 9), before);
}

#[test]
fn a_drop_is_told_with_its_reason_and_a_missing_route_is_asked_for() {
    let mut world = World::new();
    let packet = udp((address(2), 5060), (REMOTE, 5060));
    let (first, _) = trace(&mut world, 2, &packet);
    assert_eq!(first.verdict, Verdict::Wait(Wait::Route));
    assert_eq!(world.asked, [Request::Route { network: NETWORK, destination: REMOTE }]);
    world.learn_route(REMOTE);
    let (second, told) = trace(&mut world, 2, &packet);
    assert_eq!(second.verdict, Verdict::Drop(DropReason::PortsExhausted));
    assert_eq!(
        told.last().unwrap(),
        "port 5060 of the host would be asked for, to be kept; here another one does"
    );
    assert_eq!(world.asked.len(), 1, "the port is not");
    assert_eq!(world.resume(), []);
    let to_network = trace(&mut world, 2, &udp((address(2), 1), (OTHER_ENDPOINT, 2))).0;
    assert_eq!(to_network.verdict, Verdict::Drop(DropReason::NetworkIsolated));
    assert_eq!(to_network.leaves.len(), 1, "what its sender would be told");
}
