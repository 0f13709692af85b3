//! Following a packet without sending it: what is told. That it is true is held against `step` in `rehearsal`.

use super::*;
use crate::edge::config::{Action, Hits, Limits, Link, Rule};
use crate::fdb::EntryKind;
use crate::trace::{KnownRoute, Trace};

const SYN: u8 = 0x02;

fn words(trace: &Trace) -> Vec<String> {
    trace.decisions.iter().map(ToString::to_string).collect()
}

fn trace_frame(world: &mut World, port: u16, bytes: &[u8]) -> (Trace, Vec<String>) {
    let trace = world.core.trace(world.now, PortId(port), &Frame::plain(bytes), None);
    let told = words(&trace);
    (trace, told)
}

/// A packet to the gateway, or by the uplink.
fn trace(world: &mut World, port: u16, packet: &Specimen) -> (Trace, Vec<String>) {
    let (dst, src) = if port == UPLINK { (UPLINK_MAC, ROUTER_MAC) } else { (GATEWAY.mac, mac(port as u8)) };
    trace_frame(world, port, &ethernet(dst, src, ethertype::IPV4, &packet.packet()))
}

/// A packet from one endpoint straight to another.
fn between(world: &mut World, from: u8, to: u8, packet: &Specimen) -> (Trace, Vec<String>) {
    trace_frame(world, from.into(), &ethernet(mac(to), mac(from), ethertype::IPV4, &packet.packet()))
}

fn rule(action: Action) -> Rule {
    Rule {
        number: 7,
        action,
        source: None,
        destination: None,
        protocol: None,
        ports: None,
        hits: Arc::new(Hits::default()),
    }
}

/// The frames that leave when so many of the packet's waits are over.
fn leaving(trace: &Trace, after: usize) -> Vec<Left> {
    let then = trace.leaves.iter().filter(|it| it.after == after);
    then.map(|it| Left { port: it.port.0, bytes: it.frame.bytes.clone(), offload: it.frame.offload })
        .collect()
}

#[test]
fn a_new_flow_is_told_step_by_step_and_leaves_nothing_behind() {
    let mut world = World::ready();
    let rule = rule(Action::Allow);
    let hits = Arc::clone(&rule.hits);
    world.change_network(|network| network.edge.rules = Arc::from([rule]));
    let syn = tcp((address(2), 40_000), (REMOTE, 80), SYN);
    let (trace, told) = trace(&mut world, 2, &syn);
    assert_eq!((trace.verdict, &trace.waits[..]), (routed(UPLINK, Translation::Source), &[][..]));
    let left = leaving(&trace, 0);
    let port = left[0].ports().0;
    assert_eq!(
        told,
        [
            "guard: MAC and addresses are port 2's own".to_owned(),
            "to the gateway's MAC".into(),
            "flow tcp 10.0.0.2:40000 > 192.0.2.7:80".into(),
            "no session".into(),
            "rules of network 0: rule 7 allows it".into(),
            "route by port 9 to 198.51.100.1, from 198.51.100.2, MTU 1500".into(),
            "next hop 198.51.100.1 is 02:00:00:00:09:01".into(),
            format!("source port {port} of the host"),
            format!(
                "new session: tcp 10.0.0.2:40000 > 192.0.2.7:80, answered by tcp 192.0.2.7:80 > 198.51.100.2:{port}"
            ),
            format!("becomes tcp 198.51.100.2:{port} > 192.0.2.7:80"),
        ]
    );
    assert_left(&left, UPLINK, OUT, &tcp((HOST, port), (REMOTE, 80), SYN));

    assert_eq!((world.sessions(), hits.get()), (0, 0));
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
            "the session's way: port 2 to 02:42:0a:00:00:02, MTU 1500".into(),
            "becomes tcp 192.0.2.7:80 > 10.0.0.2:40000".into(),
        ]
    );
    world.now = Timestamp::from_secs(1000);
    assert_eq!(world.core.edge().unwrap().page(world.now, Default::default(), 0, 9), before);
}

/// A fresh daemon knows neither route nor next hop nor the port, and the whole way is told.
#[test]
fn what_a_packet_waits_for_is_told_and_it_goes_on_as_if_that_had_come() {
    let mut world = World::new();
    world.answer(&Answer::PortsHeld { protocol: Protocol::Udp, ports: vec![POOL] });
    let packet = udp((address(2), 5060), (REMOTE, 53));
    let (first, told) = trace(&mut world, 2, &packet);
    assert_eq!(first.verdict, Verdict::Wait(Wait::Route));
    assert_eq!(told.last().unwrap(), "network 0 has no rules");
    assert_eq!((first.lacks, first.leaves.len()), (Some((NETWORK, REMOTE)), 0));
    assert_eq!(first.asks, [Request::Route { network: NETWORK, destination: REMOTE }]);

    let route = Route { uplink: PortId(UPLINK), next_hop: ROUTER, source: HOST, mtu: 1500, neighbour: None };
    let known = KnownRoute { network: NETWORK, destination: REMOTE, route: Some(route) };
    let frame = ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &packet.packet());
    let whole = world.core.trace(world.now, PortId(2), &Frame::plain(&frame), Some(known));
    assert_eq!(whole.verdict, routed(UPLINK, Translation::Source));
    assert_eq!(whole.waits, [Wait::Route, Wait::Neighbour, Wait::Port]);
    let told = words(&whole);
    let otherwise = told[8].rsplit_once("otherwise port ").unwrap().1;
    assert!((20_000..=20_999).contains(&otherwise.strip_suffix(" does").unwrap().parse().unwrap()));
    assert_eq!(
        [&told[5], &told[7], &told[9]],
        [
            "the route to 192.0.2.7 is not known: the kernel is asked, and the packet waits for its answer, by which this goes on",
            "next hop 198.51.100.1 is not resolved: ARP asks for it, and the packet waits for the answer; from here on as if that had come",
            "source port 5060 of the host",
        ]
    );
    // The question leaves once the route is known, the packet in the end; to whom is not known yet.
    let question = leaving(&whole, 1);
    assert_eq!(
        (question.len(), &question[0].bytes[..6], &question[0].bytes[12..14]),
        (1, &[0xff; 6][..], &[8, 6][..])
    );
    let sent = udp((HOST, 5060), (REMOTE, 53));
    assert_left(&leaving(&whole, 3), UPLINK, (MacAddr::ZERO, UPLINK_MAC), &sent);
    assert_eq!((leaving(&whole, 0).len(), leaving(&whole, 2).len()), (0, 0));
    // Nobody was asked.
    assert_eq!(world.inside(2, &packet).0, Verdict::Wait(Wait::Route));
    assert_eq!(world.asked, [Request::Route { network: NETWORK, destination: REMOTE }]);
}

#[test]
fn a_kernel_without_a_route_a_silent_next_hop_and_ports_that_have_run_out_are_told() {
    let mut world = World::new();
    let packet = udp((address(2), 40_000), (REMOTE, 53));
    let frame = ethernet(GATEWAY.mac, mac(2), ethertype::IPV4, &packet.packet());
    let known = KnownRoute { network: NETWORK, destination: REMOTE, route: None };
    let none = world.core.trace(world.now, PortId(2), &Frame::plain(&frame), Some(known));
    assert_eq!((none.verdict, &none.waits[..]), (Verdict::Drop(DropReason::NoRoute), &[Wait::Route][..]));

    world.learn_route(REMOTE);
    let (waits, told) = trace(&mut world, 2, &packet);
    assert_eq!((waits.verdict, &waits.waits[..]), (routed(UPLINK, Translation::Source), &[Wait::Port][..]));
    assert!(told[7].starts_with("no port of the host is left for udp: more are asked for"), "{told:?}");
    assert_eq!(told.last().unwrap(), "becomes udp 198.51.100.2:0 > 192.0.2.7:53");
    world.inside(2, &packet);
    world.answer(&Answer::PortsHeld { protocol: Protocol::Udp, ports: vec![] });
    let (none, _) = trace(&mut world, 2, &packet);
    assert_eq!(none.verdict, Verdict::Drop(DropReason::PortsExhausted));

    let silent =
        Route { uplink: PortId(UPLINK), next_hop: address(9), source: HOST, mtu: 1500, neighbour: None };
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: Some(silent) });
    world.inside(2, &packet);
    world.pass(Duration::from_millis(3500));
    let (refused, _) = trace(&mut world, 2, &packet);
    assert_eq!(refused.verdict, Verdict::Drop(DropReason::NeighbourTimeout));
}

#[test]
fn a_bridged_frame_is_told_with_the_answer_of_the_fdb() {
    let mut world = World::ready();
    let packet = udp((address(2), 1), (address(3), 2));
    let (flooded, told) = between(&mut world, 2, 3, &packet);
    assert!(matches!(flooded.verdict, Verdict::Flood { copies: 3, .. }), "{}", flooded.verdict);
    assert_eq!(told[1..], ["FDB: nobody knows where 02:42:0a:00:00:03 is"]);
    let hello = ethernet(
        GATEWAY.mac,
        mac(3),
        ethertype::ARP,
        &arp(1, (mac(3), address(3)), (MacAddr::ZERO, GATEWAY.address)),
    );
    world.step(3, &hello);
    world.now = world.now + Duration::from_secs(5);
    let (forwarded, told) = between(&mut world, 2, 3, &packet);
    assert_eq!(forwarded.verdict, Verdict::Forward { egress: PortId(3) });
    assert_eq!(told[1..], ["FDB: 02:42:0a:00:00:03 is behind port 3 (sticky, seen 5 s ago)"]);
    assert_eq!(
        world.core.snapshot().networks[0].as_ref().unwrap().fdb.entry(mac(3), world.now).unwrap().kind,
        EntryKind::Sticky
    );
}

#[test]
fn what_a_flooded_frame_is_kept_from_is_told() {
    let mut world = World::ready();
    world.change(|snapshot| {
        let ports = &mut snapshot.ports;
        ports[3].as_mut().unwrap().mtu = 20;
        for isolated in [2, 4] {
            ports[isolated].as_mut().unwrap().settings.isolated = true;
        }
    });
    let to_all =
        ethernet(MacAddr::BROADCAST, mac(2), ethertype::IPV4, &udp((address(2), 1), (HOST, 2)).packet());
    let (none, told) = trace_frame(&mut world, 2, &to_all);
    assert_eq!(none.verdict, Verdict::Drop(DropReason::TooBig));
    assert_eq!(
        told[1..],
        [
            "not to port 3: the packet is larger than its MTU of 20",
            "not to port 4: both ports are isolated",
            "not to port 8: the host takes ARP, and IPv4 that is meant for all",
        ]
    );
}

#[test]
fn the_link_that_admits_a_session_is_told_and_that_none_does() {
    let mut world = World::ready();
    let link = Link { from: PortId(2), to: PortId(3), service: Some((Protocol::Tcp, 80)) };
    world.change_network(|network| (network.edge.isolated, network.edge.links) = (true, Arc::from([link])));
    let (admitted, told) = between(&mut world, 2, 3, &tcp((address(2), 40_000), (address(3), 80), SYN));
    assert_eq!(admitted.verdict, Verdict::Forward { egress: PortId(3) });
    assert_eq!(
        told[2..],
        [
            "flow tcp 10.0.0.2:40000 > 10.0.0.3:80",
            "no session",
            "the link from port 2 to port 3 lets what it begins with port 80/tcp pass",
            "new session: tcp 10.0.0.2:40000 > 10.0.0.3:80, answered by tcp 10.0.0.3:80 > 10.0.0.2:40000",
        ]
    );
    let (denied, told) = between(&mut world, 3, 2, &tcp((address(3), 40_000), (address(2), 80), SYN));
    assert_eq!(denied.verdict, Verdict::Drop(DropReason::LinkDenied));
    assert_eq!(
        told.last().unwrap(),
        "endpoints are isolated, and no link lets port 3 begin this with port 2"
    );
    world.inside(4, &udp((address(4), 1), (REMOTE, 2)));
    let (denied, told) = between(&mut world, 2, 4, &tcp((address(2), 40_000), (address(4), 80), SYN));
    assert_eq!(denied.verdict, Verdict::Drop(DropReason::LinkDenied));
    assert_eq!(told.last().unwrap(), "endpoints are isolated, and no link joins port 2 and port 4");
}

#[test]
fn a_publication_and_who_it_is_for_are_told() {
    let mut world = World::ready();
    world.publish(4, None, Protocol::Tcp, 80, (3, 8080));
    let syn = tcp((REMOTE, 5000), (HOST, 80), SYN);
    let (trace_, told) = trace(&mut world, UPLINK, &syn);
    assert_eq!(trace_.verdict, routed(3, Translation::Destination));
    assert_eq!(
        told[1..5],
        [
            "no session",
            "publication 4 leads to 10.0.0.3:8080",
            "network 0 has no rules",
            "publication 4 is for anybody",
        ]
    );
    world.change_edge(|edge| {
        let publication = Arc::make_mut(&mut edge.publications[0]);
        publication.rules = Arc::from([rule(Action::Deny)]);
    });
    let (denied, told) = trace(&mut world, UPLINK, &syn);
    assert_eq!(denied.verdict, Verdict::Drop(DropReason::RuleDenied));
    assert_eq!(told.last().unwrap(), "publication 4 is for others, not for this sender");
    let (own, told) = trace(&mut world, UPLINK, &tcp((REMOTE, 5000), (HOST, 22), SYN));
    assert_eq!(own.verdict, Verdict::Taken(Taken::HostsOwn));
    assert_eq!(told.last().unwrap(), "to the host, and to no published port");
}

#[test]
fn who_makes_room_is_told_and_when_nobody_does() {
    let mut world = World::ready();
    world.change_edge(|edge| edge.limits = Limits { sessions: 100, sessions_per_endpoint: 1 });
    world.inside(2, &tcp((address(2), 40_000), (REMOTE, 80), SYN));
    let (_, told) = trace(&mut world, 2, &tcp((address(2), 40_001), (REMOTE, 80), SYN));
    assert!(told.contains(&"session 0, half-open, ends to make room for the new one".to_owned()), "{told:?}");
    world.inside(3, &udp((address(3), 40_000), (REMOTE, 53)));
    let (full, _) = trace(&mut world, 3, &udp((address(3), 40_001), (REMOTE, 53)));
    assert_eq!(full.verdict, Verdict::Drop(DropReason::SessionShare));
    assert_eq!(world.sessions(), 2);
}

#[test]
fn a_drop_is_told_with_what_its_sender_hears() {
    let mut world = World::ready();
    let (isolated, _) = trace(&mut world, 2, &udp((address(2), 1), (OTHER_ENDPOINT, 2)));
    assert_eq!(isolated.verdict, Verdict::Drop(DropReason::NetworkIsolated));
    assert_eq!(leaving(&isolated, 0)[0].packet()[20..22], [3, 13]);
    let (spoofed, told) = trace(&mut world, 2, &udp((address(3), 1), (REMOTE, 2)));
    assert_eq!((spoofed.verdict, told.len()), (Verdict::Drop(DropReason::GuardIpv4), 0));
}

/// What a network's rules do not admit any more ends, in a trace only for the trace.
#[test]
fn a_session_that_may_not_go_on_ends_for_the_trace_alone() {
    let mut world = World::ready();
    let packet = udp((address(2), 40_000), (REMOTE, 53));
    world.inside(2, &packet);
    world.change_network(|network| network.edge.rules = Arc::from([rule(Action::Deny)]));
    world.change_edge(|_| {});
    let (denied, told) = trace(&mut world, 2, &packet);
    assert_eq!(denied.verdict, Verdict::Drop(DropReason::RuleDenied));
    assert_eq!(
        told[4..],
        [
            "the session ends: rules, links or publications have changed, and do not admit it any more",
            "rules of network 0: rule 7 denies it",
        ]
    );
    assert_eq!(world.sessions(), 1);
}

#[test]
fn a_flood_that_is_one_too_many_now_is_told_and_no_token_is_taken() {
    let mut world = World::new();
    world.change(|snapshot| snapshot.ports[2].as_mut().unwrap().settings.storm.broadcast = 2);
    let question = arp(1, (mac(2), address(2)), (MacAddr::ZERO, address(9)));
    let frame = ethernet(MacAddr::BROADCAST, mac(2), ethertype::ARP, &question);
    let passes = |verdict: Verdict| matches!(verdict, Verdict::Flood { .. });
    for _ in 0..5 {
        assert!(passes(trace_frame(&mut world, 2, &frame).0.verdict));
    }
    assert!(passes(world.step(2, &frame).0) && passes(world.step(2, &frame).0), "all of them are there yet");
    let (trace, _) = trace_frame(&mut world, 2, &frame);
    assert_eq!(trace.verdict, Verdict::Drop(DropReason::BroadcastStorm));
    assert_eq!((trace.leaves.len(), world.step(2, &frame).0), (0, trace.verdict));
    world.now = world.now + Duration::from_millis(500);
    assert!(passes(trace_frame(&mut world, 2, &frame).0.verdict) && passes(world.step(2, &frame).0));
    // Another worker that reads the port knows better.
    let floods = world.core.floods(PortId(2));
    let mut edge = World::of(Core::new(0));
    edge.core.adopt(edge.now, Arc::clone(world.core.snapshot()));
    let known = edge.core.trace_flooding(world.now, PortId(2), &Frame::plain(&frame), None, Some(floods));
    assert_eq!(known.verdict, Verdict::Drop(DropReason::BroadcastStorm));
}

#[test]
fn what_comes_back_by_a_port_in_a_loop_is_told_and_does_not_count() {
    let mut world = World::new();
    world.change(|snapshot| {
        let port = snapshot.ports[4].as_mut().unwrap();
        (port.settings.guard, port.identity) = (false, None);
    });
    let question = arp(1, (mac(2), address(2)), (MacAddr::ZERO, address(9)));
    let frame = ethernet(MacAddr::BROADCAST, mac(2), ethertype::ARP, &question);
    let mut came_back = 0;
    loop {
        world.step(2, &frame);
        // The next one by port 4 is the one that makes a loop of it, and traces leave it to that.
        let told = [0; 3].map(|_| trace_frame(&mut world, 4, &frame).0.verdict);
        let happens = world.step(4, &frame).0;
        came_back += 1;
        assert_eq!(told, [happens; 3], "{came_back}");
        if happens == Verdict::Drop(DropReason::Loop) {
            break;
        }
    }
    assert_eq!(came_back, crate::storm::RETURNS);
    world.now = world.now + Duration::from_secs(2);
    world.change(|snapshot| snapshot.ports[4].as_mut().unwrap().place = Place::Blocked(NETWORK));
    assert_eq!(trace_frame(&mut world, 4, &frame).0.verdict, Verdict::Drop(DropReason::Loop));
}
