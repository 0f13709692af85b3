//! What sessions live through: changes of rules, routes, publications and endpoints; limits; ports.

use super::*;
use crate::edge::config::{Action, Hits, Limits, Mapping, Rule, UplinkChoice};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn rule(number: u32, action: Action, destination: Option<&str>) -> Rule {
    Rule {
        number,
        action,
        source: None,
        destination: destination.map(|net| net.parse().unwrap()),
        protocol: None,
        ports: None,
        hits: Arc::new(Hits::default()),
    }
}

fn query(port: u16) -> Specimen {
    udp((address(2), port), (REMOTE, 53))
}

#[test]
fn rules_are_asked_once_for_a_session_and_again_when_they_change() {
    let mut world = World::ready();
    let rules: Arc<[Rule]> = Arc::from([
        rule(1, Action::Deny, Some("203.0.113.0/24")),
        rule(2, Action::Allow, Some("192.0.2.0/24")),
        rule(3, Action::Deny, None),
    ]);
    world.change_network(|network| network.edge.rules = Arc::clone(&rules));
    let hits = || rules.iter().map(|rule| rule.hits.get()).collect::<Vec<_>>();
    assert_eq!(world.inside(2, &query(40_000)).0, routed(UPLINK, Translation::Source));
    assert_eq!(world.inside(2, &query(40_000)).0, routed(UPLINK, Translation::Source));
    assert_eq!(hits(), [0, 1, 0]);

    let denied = udp((address(2), 40_000), (Ipv4Addr::new(192, 88, 99, 1), 53));
    let (verdict, left) = world.inside(2, &denied);
    assert_eq!(verdict, Verdict::Drop(DropReason::RuleDenied));
    assert_eq!(left[0].packet()[20..22], [3, 13], "and its sender is told");
    assert_eq!(hits(), [0, 1, 1]);
    assert_eq!(world.sessions(), 1);

    world.change_network(|network| network.edge.rules = Arc::from([rule(4, Action::Deny, None)]));
    assert_eq!(world.inside(2, &query(40_000)).0, routed(UPLINK, Translation::Source), "not told yet");
    world.change_edge(|_| {});
    assert_eq!(world.inside(2, &query(40_000)).0, Verdict::Drop(DropReason::RuleDenied));
    assert_eq!(world.sessions(), 0);
}

#[test]
fn a_publications_own_rules_are_asked_as_well() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
    world.change_edge(|edge| {
        let publication = Arc::make_mut(&mut edge.publications[0]);
        let allow = Rule { source: Some("192.0.2.7/32".parse().unwrap()), ..rule(1, Action::Allow, None) };
        publication.rules = Arc::from([allow, rule(2, Action::Deny, None)]);
    });
    assert_eq!(world.outside(&tcp((REMOTE, 5000), (HOST, 80), SYN)).0, routed(3, Translation::Destination));
    let stranger = Ipv4Addr::new(192, 0, 2, 8);
    let (verdict, left) = world.outside(&tcp((stranger, 5000), (HOST, 80), SYN));
    assert_eq!(verdict, Verdict::Drop(DropReason::RuleDenied));
    // From the address that was spoken to, by the way that the packet came.
    assert_eq!((left[0].port, left[0].source()), (UPLINK, HOST));
    assert_eq!(left[0].bytes[..6], ROUTER_MAC.0);
    // What the network allows does not lift it.
    world.change_network(|network| network.edge.rules = Arc::from([rule(1, Action::Allow, None)]));
    world.change_edge(|_| {});
    let (verdict, _) = world.outside(&tcp((stranger, 5000), (HOST, 80), SYN));
    assert_eq!(verdict, Verdict::Drop(DropReason::RuleDenied));
}

#[test]
fn from_another_network_the_rules_of_both_are_asked() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
    let dial = |world: &mut World, port| {
        let syn = tcp((OTHER_ENDPOINT, port), (HOST, 80), SYN).packet();
        world.step(NEIGHBOUR, &ethernet(OTHER.mac, mac(5), ethertype::IPV4, &syn)).0
    };
    let through = routed(3, Translation::Both);
    let denied = Verdict::Drop(DropReason::RuleDenied);
    let deny = Rule { source: Some("10.1.0.0/24".parse().unwrap()), ..rule(1, Action::Deny, None) };
    let hits = Arc::clone(&deny.hits);
    assert_eq!(dial(&mut world, 40_000), through);
    world.change_network(|network| network.edge.rules = Arc::from([deny]));
    assert_eq!((dial(&mut world, 40_001), hits.get()), (denied, 1));
    world.change_edge(|_| {});
    assert_eq!(dial(&mut world, 40_000), denied, "what was there before has ended");
    assert_eq!(world.sessions(), 0);

    // Within one network its list is asked once.
    let allow = rule(2, Action::Allow, None);
    let hits = Arc::clone(&allow.hits);
    world.change_network(|network| network.edge.rules = Arc::from([allow]));
    assert_eq!((dial(&mut world, 40_002), hits.get()), (through, 1));
    assert_eq!(world.inside(2, &tcp((address(2), 40_000), (HOST, 80), SYN)).0, through);
    assert_eq!(hits.get(), 2);
}

#[test]
fn unpublishing_ends_sessions_at_once_and_publishing_more_does_not() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    let question = udp((REMOTE, 5000), (HOST, 53));
    assert_eq!(world.outside(&question).0, routed(3, Translation::Destination));
    world.publish(2, None, Protocol::Udp, 54, (3, 54));
    assert_eq!(world.sessions(), 1);
    world.change_edge(|edge| Arc::make_mut(&mut edge.publications[0]).to_address = address(4));
    assert_eq!(world.sessions(), 0, "it leads elsewhere");
    world.change_edge(|edge| Arc::make_mut(&mut edge.publications[0]).to_address = address(3));
    assert_eq!(world.outside(&question).0, routed(3, Translation::Destination));
    world.change_edge(|edge| edge.publications.clear());
    assert_eq!(world.sessions(), 0);
    assert_eq!(world.outside(&question).0, Verdict::Taken(Taken::HostsOwn));
}

#[test]
fn an_endpoint_that_goes_takes_its_sessions_with_it() {
    let mut world = World::ready();
    world.inside(2, &query(40_000));
    world.inside(3, &udp((address(3), 40_000), (REMOTE, 53)));
    assert_eq!(world.sessions(), 2);
    // Another port takes the number at once.
    world.change(|snapshot| snapshot.ports[2] = Some(guarded_port(2)));
    assert_eq!(world.sessions(), 1);
    world.change(|snapshot| snapshot.ports[3] = None);
    assert_eq!(world.sessions(), 0);
}

#[test]
fn who_begins_in_a_guarded_endpoints_name_does_not_get_its_answers() {
    let mut world = World::ready();
    world.change(|snapshot| {
        let port = snapshot.ports[4].as_mut().unwrap();
        (port.settings.guard, port.identity) = (false, None);
    });
    let answers_go_to = |world: &mut World, port| world.outside(&udp((REMOTE, 53), (HOST, port))).1[0].port;
    let by_another = ethernet(GATEWAY.mac, mac(4), ethertype::IPV4, &query(40_000).packet());
    let (_, left) = world.step(4, &by_another);
    let port = left[0].ports().0;
    assert_eq!(answers_go_to(&mut world, port), 4);
    world.inside(2, &query(40_000));
    assert_eq!(answers_go_to(&mut world, port), 2);
    world.step(4, &by_another);
    assert_eq!(answers_go_to(&mut world, port), 2, "whose flow it is now");
    assert_eq!(world.sessions(), 1);
}

#[test]
fn a_session_ends_when_the_route_leads_to_another_address() {
    let mut world = World::ready();
    let (_, left) = world.inside(2, &query(40_000));
    let port = left[0].ports().0;
    let tunnel =
        Route { uplink: PortId(TUNNEL), next_hop: REMOTE, source: TUNNEL_HOST, mtu: 1420, neighbour: None };
    world.answer(&Answer::RoutesChanged);
    assert_eq!(
        world.inside(2, &query(40_000)).0,
        routed(UPLINK, Translation::Source),
        "while it is asked for"
    );
    assert_eq!(world.asked, [Request::Route { network: NETWORK, destination: REMOTE }]);
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: Some(tunnel) });
    world.answer(&Answer::RoutesChanged);
    let (verdict, left) = world.inside(2, &query(40_000));
    assert_eq!(verdict, routed(TUNNEL, Translation::Source));
    assert_eq!(left[0].source(), TUNNEL_HOST);
    assert_eq!(world.sessions(), 1);
    assert_eq!(world.outside(&udp((REMOTE, 53), (HOST, port))).0, Verdict::Taken(Taken::HostsOwn));
}

#[test]
fn answers_of_published_ports_go_where_the_client_came_from_last() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (3, 53));
    let question = udp((REMOTE, 5000), (HOST, 53));
    let answer = udp((address(3), 53), (REMOTE, 5000));
    world.outside(&question);
    let other = MacAddr([2, 0, 0, 0, 9, 2]);
    world.step(UPLINK, &ethernet(UPLINK_MAC, other, ethertype::IPV4, &question.packet()));
    let (_, left) = world.inside(3, &answer);
    assert_left(&left, UPLINK, (other, UPLINK_MAC), &udp((HOST, 53), (REMOTE, 5000)));
    let by_tunnel = ethernet(Uplink::OWN_MAC, Uplink::PEER_MAC, ethertype::IPV4, &question.packet());
    assert_eq!(world.step(TUNNEL, &by_tunnel).0, routed(3, Translation::Destination));
    assert_eq!(world.inside(3, &answer).0, routed(TUNNEL, Translation::Source));
    // With the uplink gone, the kernel's route decides.
    world.change_edge(|edge| edge.uplinks.retain(|uplink| uplink.port != PortId(TUNNEL)));
    let (_, left) = world.inside(3, &answer);
    assert_left(&left, UPLINK, OUT, &udp((HOST, 53), (REMOTE, 5000)));
}

#[test]
fn a_full_share_is_refused_by_name_and_old_sessions_live() {
    let mut world = World::ready();
    world.change_edge(|edge| edge.limits = Limits { sessions: 100, sessions_per_endpoint: 2 });
    for port in [40_000, 40_001] {
        assert_eq!(world.inside(2, &query(port)).0, routed(UPLINK, Translation::Source));
    }
    let (verdict, left) = world.inside(2, &query(40_002));
    assert_eq!(verdict, Verdict::Drop(DropReason::SessionShare));
    assert_eq!(left[0].packet()[20..22], [3, 13]);
    assert_eq!(world.inside(2, &query(40_000)).0, routed(UPLINK, Translation::Source));
    let other = udp((address(3), 40_000), (REMOTE, 53));
    assert_eq!(world.inside(3, &other).0, routed(UPLINK, Translation::Source), "others have theirs");
    assert_eq!(world.core.edge().unwrap().stats().refused_other, 1);
}

#[test]
fn datagrams_that_nobody_answers_do_not_cut_connections_that_begin() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (2, 80));
    world.change_edge(|edge| edge.limits = Limits { sessions: 100, sessions_per_endpoint: 2 });
    world.inside(2, &query(40_000));
    world.pass(Duration::from_secs(40));
    world.learn_route(REMOTE);
    let router = arp(2, (ROUTER_MAC, ROUTER), (UPLINK_MAC, HOST));
    let router = ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::ARP, &router);
    let calls = |world: &mut World, flags| world.outside(&tcp((REMOTE, 5000), (HOST, 80), flags)).0;
    assert_eq!(calls(&mut world, SYN), routed(2, Translation::Destination));
    // It is a while ago that the router was heard.
    assert_eq!(world.inside(2, &query(40_001)).0, Verdict::Wait(Wait::Neighbour));
    world.step(UPLINK, &router);
    assert_eq!(world.resume()[0].0, routed(UPLINK, Translation::Source));
    let answer = tcp((address(2), 80), (REMOTE, 5000), SYN | ACK);
    let (_, left) = world.inside(2, &answer);
    assert_left(&left, UPLINK, OUT, &tcp((HOST, 80), (REMOTE, 5000), SYN | ACK));
    assert_eq!(calls(&mut world, ACK), routed(2, Translation::Destination));
    assert_eq!(world.sessions(), 2);
}

#[test]
fn without_ports_a_flow_waits_for_more_and_is_refused_when_there_are_none() {
    let mut world = World::new();
    world.learn_route(REMOTE);
    let held = |ports| Answer::PortsHeld { protocol: Protocol::Udp, ports };
    world.answer(&held(vec![(20_000, 20_000)]));
    assert_eq!(world.inside(2, &query(40_000)).0, routed(UPLINK, Translation::Source));
    assert_eq!(world.asked, [Request::MorePorts { protocol: Protocol::Udp }]);
    assert_eq!(world.inside(2, &query(40_001)).0, Verdict::Wait(Wait::Port));
    world.answer(&held(vec![(20_001, 20_001)]));
    let [(verdict, left)] = &world.resume()[..] else { panic!("it goes on") };
    assert_eq!((*verdict, left[0].ports().0), (routed(UPLINK, Translation::Source), 20_001));
    assert_eq!(world.asked.len(), 2, "and more are asked for at once");

    assert_eq!(world.inside(2, &query(40_002)).0, Verdict::Wait(Wait::Port));
    // TCP has a supply of its own.
    let connect = tcp((address(2), 40_000), (REMOTE, 80), SYN);
    assert_eq!(world.inside(2, &connect).0, Verdict::Wait(Wait::Port));
    assert_eq!(world.asked[2..], [Request::MorePorts { protocol: Protocol::Tcp }]);
    world.answer(&held(vec![]));
    for refused in [world.resume().remove(0), world.inside(2, &query(40_003))] {
        assert_eq!(refused.0, Verdict::Drop(DropReason::PortsExhausted));
        assert_eq!(refused.1[0].packet()[20..22], [3, 13]);
    }
    assert_eq!(world.asked.len(), 3, "not asked again at once");
    // The same ports serve another remote.
    let other = Ipv4Addr::new(192, 0, 2, 8);
    world.learn_route(other);
    let elsewhere = udp((address(2), 40_001), (other, 53));
    assert!((20_000..=20_001).contains(&world.inside(2, &elsewhere).1[0].ports().0));
    // Silence is a refusal as well, and later the question is asked again.
    world.pass(Duration::from_secs(1));
    assert_eq!(world.drops(2, DropReason::PortsExhausted), 3);
    let stats = world.core.edge().unwrap().stats();
    assert_eq!((stats.refused_tcp, stats.refused_other), (1, 2), "each of them counts");
    world.inside(2, &connect);
    assert_eq!(world.asked.last(), Some(&Request::MorePorts { protocol: Protocol::Tcp }));
}

#[test]
fn half_open_connections_yield_their_ports_when_there_are_no_more() {
    let mut world = World::new();
    world.learn_route(REMOTE);
    let held = |ports| Answer::PortsHeld { protocol: Protocol::Tcp, ports };
    let connect = |port| tcp((address(2), port), (REMOTE, 80), SYN);
    world.answer(&held(vec![(20_000, 20_000)]));
    assert_eq!(world.inside(2, &connect(40_000)).0, routed(UPLINK, Translation::Source));
    assert_eq!(world.inside(2, &connect(40_001)).0, Verdict::Wait(Wait::Port), "more may come");
    world.answer(&held(vec![]));
    assert_eq!(world.resume()[0].0, routed(UPLINK, Translation::Source));
    assert_eq!(world.sessions(), 1);
    let answer = tcp((REMOTE, 80), (HOST, 20_000), SYN | ACK);
    assert_left(
        &world.outside(&answer).1,
        2,
        to_endpoint(2),
        &tcp((REMOTE, 80), (address(2), 40_001), SYN | ACK),
    );
    let acknowledge = tcp((address(2), 40_001), (REMOTE, 80), ACK);
    assert_eq!(world.inside(2, &acknowledge).0, routed(UPLINK, Translation::Source));
    let (verdict, left) = world.inside(2, &connect(40_002));
    assert_eq!(verdict, Verdict::Drop(DropReason::PortsExhausted), "it is established");
    assert_eq!(left[0].packet()[20..22], [3, 13]);
}

#[test]
fn a_chosen_source_port_is_kept_when_it_can_be_had() {
    let mut world = World::ready();
    let call = |port| udp((address(2), port), (REMOTE, 5060));
    assert_eq!(world.inside(2, &call(5060)).0, Verdict::Wait(Wait::Port));
    assert_eq!(world.asked, [Request::KeepPort { protocol: Protocol::Udp, port: 5060 }]);
    world.answer(&Answer::PortKept { protocol: Protocol::Udp, port: 5060 });
    let [(_, left)] = &world.resume()[..] else { panic!("it goes on") };
    assert_left(left, UPLINK, OUT, &udp((HOST, 5060), (REMOTE, 5060)));
    // A refusal and silence both lead to the pool.
    assert_eq!(world.inside(2, &call(5061)).0, Verdict::Wait(Wait::Port));
    world.answer(&Answer::PortRefused { protocol: Protocol::Udp, port: 5061 });
    let pooled = |resumed: &[(Verdict, Vec<Left>)]| (POOL.0..=POOL.1).contains(&resumed[0].1[0].ports().0);
    assert!(pooled(&world.resume()));
    assert_eq!(world.inside(2, &call(5062)).0, Verdict::Wait(Wait::Port));
    world.pass(Duration::from_secs(1));
    assert!(pooled(&world.resume()));
    // The ports of the host's own services are not to be had by whoever sends from one.
    assert_eq!(world.inside(2, &call(123)).0, routed(UPLINK, Translation::Source));
}

#[test]
fn a_burst_of_chosen_ports_takes_few_of_the_hosts_and_gives_all_back() {
    let mut world = World::ready();
    for port in 1024..3024 {
        world.inside(2, &udp((address(2), port), (REMOTE, 5060)));
    }
    let mut wished = std::mem::take(&mut world.asked);
    wished.retain(|request| matches!(request, Request::KeepPort { .. }));
    assert_eq!(wished.len(), 28, "an endpoint's share");
    // Control answers when nobody waits any more.
    world.pass(Duration::from_secs(2));
    world.resume();
    world.asked.clear();
    let mut kept = Vec::new();
    for request in wished {
        let Request::KeepPort { protocol, port } = request else { panic!("{request:?}") };
        world.answer(&Answer::PortKept { protocol, port });
        kept.push(Request::ReleasePort { protocol, port });
    }
    assert_eq!(world.core.edge().unwrap().stats().ports_held.1, 1000 + 28);
    // Others get theirs meanwhile, and none is for everybody.
    assert_eq!(world.inside(3, &udp((address(3), 5060), (REMOTE, 5060))).0, Verdict::Wait(Wait::Port));
    world.asked.clear();
    let other = udp((address(3), 40_000), (REMOTE, 53));
    assert!((POOL.0..=POOL.1).contains(&world.inside(3, &other).1[0].ports().0), "none is for everybody");
    world.pass(Duration::from_secs(3));
    world.asked.retain(|request| kept.contains(request));
    assert_eq!(world.asked, kept);
    assert_eq!(world.core.edge().unwrap().stats().ports_held.1, 1000);
}

/// As [`World::inside`], with a port that control keeps at once.
fn call_and_keep(world: &mut World, endpoint: u8, port: u16) -> Vec<Left> {
    let call = udp((address(endpoint), port), (REMOTE, 5060));
    assert_eq!(world.inside(endpoint, &call).0, Verdict::Wait(Wait::Port));
    world.answer(&Answer::PortKept { protocol: Protocol::Udp, port });
    world.resume().remove(0).1
}

#[test]
fn a_kept_port_goes_back_soon_after_its_last_session_however_that_ends() {
    let flush = |world: &mut World| {
        let filter = super::super::view::SessionFilter::default();
        let now = world.now;
        world.core.edge_mut().unwrap().flush(now, filter, 0);
    };
    let detach = |world: &mut World| world.change(|snapshot| snapshot.ports[2] = None);
    let deny = |world: &mut World| {
        world.change_network(|network| network.edge.internal = true);
        world.change_edge(|_| {});
        let again = udp((address(2), 5060), (REMOTE, 5060));
        assert_eq!(world.inside(2, &again).0, Verdict::Drop(DropReason::NetworkInternal));
    };
    let silence = |world: &mut World| drop(world.pass(Duration::from_secs(310)));
    for end in [&flush as &dyn Fn(&mut World), &detach, &deny, &silence] {
        let mut world = World::ready();
        call_and_keep(&mut world, 2, 5060);
        world.pass(Duration::from_secs(60));
        end(&mut world);
        world.pass(Duration::from_secs(3));
        let back = Request::ReleasePort { protocol: Protocol::Udp, port: 5060 };
        assert_eq!(world.asked.iter().filter(|request| **request == back).count(), 1);
    }
}

#[test]
fn what_uses_a_kept_port_ends_when_that_is_lost_and_goes_on_by_another() {
    let mut world = World::ready();
    assert_eq!(call_and_keep(&mut world, 2, 5060)[0].ports().0, 5060);
    assert_eq!(call_and_keep(&mut world, 2, 5062)[0].ports().0, 5062);
    world.answer(&Answer::PortsLost { protocol: Protocol::Udp, ports: vec![5061, 5060] });
    assert_eq!(world.sessions(), 1, "the other one lives");
    let answer = udp((REMOTE, 5060), (HOST, 5060));
    assert_eq!(world.outside(&answer).0, Verdict::Taken(Taken::HostsOwn));
    let call = udp((address(2), 5060), (REMOTE, 5060));
    assert_eq!(world.inside(2, &call).0, Verdict::Wait(Wait::Port));
    world.answer(&Answer::PortRefused { protocol: Protocol::Udp, port: 5060 });
    let [(_, left)] = &world.resume()[..] else { panic!("it goes on") };
    assert!((POOL.0..=POOL.1).contains(&left[0].ports().0));
}

/// From one port to two publications of one service: the endpoint must be able to answer both.
#[test]
fn a_client_speaks_to_a_service_by_two_published_ports_at_once() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut world = World::ready();
        for (id, port) in [(1, 8080), (2, 8081)] {
            world.publish(id, None, protocol, port, (3, 80));
        }
        let client = (REMOTE, 123);
        let packet = |src, dst| match protocol {
            Protocol::Tcp => tcp(src, dst, SYN),
            _ => udp(src, dst),
        };
        let mut seen = Vec::new();
        for port in [8080, 8081] {
            let (verdict, left) = world.outside(&packet(client, (HOST, port)));
            assert_eq!(verdict, routed(3, Translation::Destination));
            let from = (REMOTE, left[0].ports().0);
            assert_left(&left, 3, to_endpoint(3), &packet(from, (address(3), 80)));
            seen.push(from);
        }
        assert_eq!(seen[0], client);
        assert_ne!(seen[1].1, client.1);
        for (from, port) in seen.into_iter().zip([8080, 8081]) {
            let answer = |src, dst| match protocol {
                Protocol::Tcp => tcp(src, dst, SYN | ACK),
                _ => udp(src, dst),
            };
            let (verdict, left) = world.inside(3, &answer((address(3), 80), from));
            assert_eq!(verdict, routed(UPLINK, Translation::Source));
            assert_left(&left, UPLINK, OUT, &answer((HOST, port), client));
            // And on, by the hops of now.
            world.answer(&Answer::RoutesChanged);
            let (_, left) = world.outside(&packet(client, (HOST, port)));
            assert_left(&left, 3, to_endpoint(3), &packet(from, (address(3), 80)));
        }
        assert_eq!(world.sessions(), 2);
        // Rules that change do not end them.
        world.change_edge(|_| {});
        let (_, left) = world.outside(&packet(client, (HOST, 8081)));
        assert_eq!((left[0].port, world.sessions()), (3, 2));
    }
}

#[test]
fn a_port_rests_from_when_its_endpoint_went() {
    let mut world = World::ready();
    let neighbour = Some(Neighbour::Fixed(ROUTER_MAC));
    let route = Route { uplink: PortId(UPLINK), next_hop: ROUTER, source: HOST, mtu: 1500, neighbour };
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: Some(route) });
    let (own, minute) = (POOL.0, Duration::from_secs(60));
    let port = |world: &mut World, endpoint: u8| {
        world.inside(endpoint, &udp((address(endpoint), own), (REMOTE, 53))).1[0].ports().0
    };
    assert_eq!(port(&mut world, 2), own, "kept");
    // Nobody says anything for longer than a port rests.
    world.pass(3 * minute);
    world.change(|snapshot| snapshot.ports[2] = None);
    assert_eq!(world.sessions(), 0);
    world.pass(minute);
    assert_ne!(port(&mut world, 3), own, "it rests");
    // Sessions count time in units of 64 ms.
    world.pass(minute + Duration::from_secs(1));
    assert_eq!(port(&mut world, 4), own, "it has rested for two minutes");
}

#[test]
fn an_endpoint_independent_mapping_is_one_port_for_all_and_open_to_all() {
    let mut world = World::ready();
    world.change_network(|network| network.edge.mapping = Mapping::EndpointIndependent);
    let other = Ipv4Addr::new(192, 0, 2, 8);
    world.learn_route(other);
    let port = world.inside(2, &query(40_000)).1[0].ports().0;
    assert_eq!(world.inside(2, &udp((address(2), 40_000), (other, 99))).1[0].ports().0, port);
    let stranger = (Ipv4Addr::new(192, 0, 2, 99), 1234);
    world.learn_route(stranger.0);
    let (verdict, left) = world.outside(&udp(stranger, (HOST, port)));
    assert_eq!(verdict, routed(2, Translation::Destination));
    assert_left(&left, 2, to_endpoint(2), &udp(stranger, (address(2), 40_000)));
    let (_, left) = world.inside(2, &udp((address(2), 40_000), stranger));
    assert_left(&left, UPLINK, OUT, &udp((HOST, port), stranger));
}

#[test]
fn mappings_of_udp_and_of_tcp_are_apart() {
    let mut world = World::new();
    world.change_network(|network| network.edge.mapping = Mapping::EndpointIndependent);
    let stranger = (Ipv4Addr::new(192, 0, 2, 99), 1234);
    [REMOTE, stranger.0].into_iter().for_each(|to| world.learn_route(to));
    for (protocol, port) in [(Protocol::Udp, 20_000), (Protocol::Tcp, 20_001)] {
        world.answer(&Answer::PortsHeld { protocol, ports: vec![(port, port)] });
    }
    // The same address and port inside.
    assert_eq!(world.inside(2, &query(40_000)).1[0].ports().0, 20_000);
    let call = tcp((address(2), 40_000), (REMOTE, 80), SYN);
    assert_eq!(world.inside(2, &call).1[0].ports().0, 20_001);
    let (inside, hosts_own) = (routed(2, Translation::Destination), Verdict::Taken(Taken::HostsOwn));
    for (port, by_udp, by_tcp) in [(20_000, inside, hosts_own), (20_001, hosts_own, inside)] {
        assert_eq!(world.outside(&udp(stranger, (HOST, port))).0, by_udp, "UDP to {port}");
        assert_eq!(world.outside(&tcp(stranger, (HOST, port), SYN)).0, by_tcp, "TCP to {port}");
    }
}

#[test]
fn what_leads_nowhere_is_named_and_told() {
    type Change = fn(&mut Network);
    let table: [(Change, DropReason, [u8; 2]); 4] = [
        (|network| network.edge.internal = true, DropReason::NetworkInternal, [3, 13]),
        (|network| network.edge.uplinks = UplinkChoice::None, DropReason::NoRoute, [3, 0]),
        (|network| network.edge.uplinks = UplinkChoice::Only(3), DropReason::NoRoute, [3, 0]),
        (|network| network.edge.snat_address = Some(REMOTE), DropReason::SnatAddress, [3, 0]),
    ];
    for (change, reason, kind) in table {
        let mut world = World::ready();
        world.change_network(change);
        let (verdict, left) = world.inside(2, &query(40_000));
        assert_eq!(verdict, Verdict::Drop(reason));
        assert_eq!(left[0].packet()[20..22], kind, "{reason}");
        assert_eq!((world.sessions(), world.drops(2, reason)), (0, 1));
    }
    let mut world = World::new();
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: None });
    assert_eq!(world.inside(2, &query(40_000)).0, Verdict::Drop(DropReason::NoRoute));
    // The host has lost the address that the route names.
    let mut world = World::ready();
    world.change_edge(|edge| edge.host_addresses.retain(|address| *address != HOST));
    let (verdict, left) = world.inside(2, &query(40_000));
    assert_eq!((verdict, &left[0].packet()[20..22]), (Verdict::Drop(DropReason::NoRoute), &[3, 0][..]));
    // A source address of its own is used where the host has it.
    let mut world = World::ready();
    world.change_network(|network| network.edge.snat_address = Some(TUNNEL_HOST));
    assert_eq!(world.inside(2, &query(40_000)).1[0].source(), TUNNEL_HOST);
}

#[test]
fn a_network_without_uplinks_is_not_reached_by_those_of_others() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Udp, 53, (2, 53));
    let call = |port| udp((REMOTE, port), (HOST, 53));
    assert_eq!(world.outside(&call(7000)).0, routed(2, Translation::Destination));
    world.change_network(|network| network.edge.uplinks = UplinkChoice::None);
    let (verdict, left) = world.outside(&call(7001));
    assert_eq!((verdict, left.len()), (Verdict::Drop(DropReason::NoRoute), 0));
    assert_eq!(world.drops(UPLINK, DropReason::NoRoute), 1);
}

#[test]
fn a_router_that_is_silent_is_told_of() {
    let mut world = World::ready();
    world.inside(2, &query(40_000));
    // The kernel's hint is probed three times, and then believed no longer.
    let asked = world.pass(Duration::from_secs(3));
    assert_eq!(asked.len(), 2);
    let (verdict, left) = world.inside(2, &query(40_000));
    assert_eq!(verdict, Verdict::Drop(DropReason::NeighbourTimeout));
    assert_eq!(left[0].packet()[20..22], [3, 1]);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.inside(2, &query(40_000)).0, Verdict::Wait(Wait::Neighbour));
    let reply = arp(2, (ROUTER_MAC, ROUTER), (UPLINK_MAC, HOST));
    world.step(UPLINK, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::ARP, &reply));
    assert_eq!(world.resume()[0].0, routed(UPLINK, Translation::Source));
    assert_eq!(world.sessions(), 1, "the session has lived through it");
}

#[test]
fn a_router_that_takes_over_announces_itself() {
    let taken_over = MacAddr([2, 0, 0, 0, 9, 7]);
    for operation in [1, 2] {
        let mut world = World::ready();
        world.inside(2, &query(40_000));
        let announcement = arp(operation, (taken_over, ROUTER), (MacAddr::ZERO, ROUTER));
        let frame = ethernet(MacAddr::BROADCAST, taken_over, ethertype::ARP, &announcement);
        assert_eq!(world.step(UPLINK, &frame).0, Verdict::Taken(Taken::Neighbour));
        let (verdict, left) = world.inside(2, &query(40_000));
        assert_eq!(verdict, routed(UPLINK, Translation::Source));
        assert_eq!(left[0].bytes[..6], taken_over.0);
        // Somebody who asks for another says nothing of himself here.
        let question = arp(1, (ROUTER_MAC, ROUTER), (MacAddr::ZERO, HOST));
        let frame = ethernet(MacAddr::BROADCAST, ROUTER_MAC, ethertype::ARP, &question);
        assert_eq!(world.step(UPLINK, &frame).0, Verdict::Taken(Taken::HostsOwn));
    }
}

#[test]
fn packets_that_wait_in_vain_are_dropped_by_name() {
    let mut world = World::new();
    assert_eq!(world.inside(2, &query(40_000)).0, Verdict::Wait(Wait::Route));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.drops(2, DropReason::RouteTimeout), 1);
    assert_eq!(world.asked.len(), 6, "asked at once and every second for five");
    assert_eq!(world.resume(), []);
}

#[test]
fn a_connection_that_was_there_before_goes_on_but_its_end_opens_nothing() {
    let mut world = World::ready();
    let packet = |flags| tcp((address(2), 40_000), (REMOTE, 80), flags);
    // RST, FIN and ACK, SYN and ACK.
    for flags in [0x04, 0x11, 0x12] {
        assert_eq!(world.inside(2, &packet(flags)).0, Verdict::Drop(DropReason::NoSession));
    }
    assert_eq!(world.inside(2, &packet(ACK)).0, routed(UPLINK, Translation::Source));
    let reply = flow(Protocol::Icmp, (address(2), 0), (REMOTE, 9));
    assert_eq!(world.inside(2, &reply).0, Verdict::Drop(DropReason::NoSession));
}
