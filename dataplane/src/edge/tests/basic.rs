//! Out, in, published, and the host.

use super::*;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

#[test]
fn a_flow_goes_out_from_the_hosts_address_and_answers_come_back() {
    let mut world = World::ready();
    let out = udp((address(2), 40_000), (REMOTE, 53));
    let (verdict, left) = world.inside(2, &out);
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    let (port, _) = left[0].ports();
    assert!((POOL.0..=POOL.1).contains(&port), "{port} is the kernel's");
    assert_left(&left, UPLINK, OUT, &udp((HOST, port), (REMOTE, 53)));

    let (verdict, left) = world.outside(&udp((REMOTE, 53), (HOST, port)));
    assert_eq!(verdict, routed(2, Translation::Destination));
    assert_left(&left, 2, to_endpoint(2), &udp((REMOTE, 53), (address(2), 40_000)));

    // Nobody else has been spoken to.
    let other = Ipv4Addr::new(192, 0, 2, 8);
    assert_eq!(world.outside(&udp((other, 53), (HOST, port))).0, Verdict::Taken(Taken::HostsOwn));
    assert_eq!(world.outside(&udp((REMOTE, 54), (HOST, port))).0, Verdict::Taken(Taken::HostsOwn));
    assert_eq!(world.sessions(), 1);
}

#[test]
fn a_ping_goes_out_and_back() {
    let mut world = World::ready();
    let (verdict, left) = world.inside(2, &flow(Protocol::Icmp, (address(2), 77), (REMOTE, 0)));
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    let ident = u16::from_be_bytes([left[0].bytes[38], left[0].bytes[39]]);
    assert_left(&left, UPLINK, OUT, &flow(Protocol::Icmp, (HOST, ident), (REMOTE, 0)));
    let (verdict, left) = world.outside(&flow(Protocol::Icmp, (REMOTE, 0), (HOST, ident)));
    assert_eq!(verdict, routed(2, Translation::Destination));
    assert_left(&left, 2, to_endpoint(2), &flow(Protocol::Icmp, (REMOTE, 0), (address(2), 77)));
}

#[test]
fn a_published_port_is_reached_with_the_clients_address() {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (3, 8080));
    let client = (REMOTE, 5000);
    let (verdict, left) = world.outside(&tcp(client, (HOST, 80), SYN));
    assert_eq!(verdict, routed(3, Translation::Destination));
    assert_left(&left, 3, to_endpoint(3), &tcp(client, (address(3), 8080), SYN));

    // The answer goes back to where the client came from.
    let (verdict, left) = world.inside(3, &tcp((address(3), 8080), client, SYN_ACK));
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    assert_left(&left, UPLINK, OUT, &tcp((HOST, 80), client, SYN_ACK));
    assert_eq!(world.asked, []);

    assert_eq!(world.outside(&tcp(client, (HOST, 81), SYN)).0, Verdict::Taken(Taken::HostsOwn));
    assert_eq!(world.outside(&tcp(client, (REMOTE, 80), SYN)).0, Verdict::Taken(Taken::HostsOwn));
}

#[test]
fn the_host_is_reached_by_its_own_port_unchanged() {
    let mut world = World::ready();
    for dst in [GATEWAY.address, HOST, TUNNEL_HOST] {
        let packet = tcp((address(2), 40_000), (dst, 22), SYN);
        let (verdict, left) = world.inside(2, &packet);
        assert_eq!(verdict, Verdict::Forward { egress: PortId(HOST_PORT) }, "{dst}");
        assert_eq!(left[0].packet(), packet.packet(), "as it was, TTL included");
    }
    // Echo requests to the gateway are its own business, those to the host are the host's, and so are all replies.
    let ping = |dst| flow(Protocol::Icmp, (address(2), 7), (dst, 0));
    assert_eq!(world.inside(2, &ping(GATEWAY.address)).0, Verdict::Reply(Reply::Echo));
    assert_eq!(world.inside(2, &ping(HOST)).0, Verdict::Forward { egress: PortId(HOST_PORT) });
    let reply = flow(Protocol::Icmp, (address(2), 0), (GATEWAY.address, 7));
    assert_eq!(world.inside(2, &reply).0, Verdict::Forward { egress: PortId(HOST_PORT) });
    assert_eq!(world.sessions(), 0, "nothing to remember");
}

#[test]
fn the_host_speaks_by_its_own_port() {
    let mut world = World::ready();
    let ask = arp(1, (GATEWAY.mac, GATEWAY.address), (MacAddr::ZERO, address(2)));
    let (verdict, _) =
        world.step(HOST_PORT, &ethernet(MacAddr::BROADCAST, GATEWAY.mac, ethertype::ARP, &ask));
    assert!(matches!(verdict, Verdict::Flood { copies: 3, answered: false, .. }), "{verdict}");
    let reply = arp(2, (mac(2), address(2)), (GATEWAY.mac, GATEWAY.address));
    let (verdict, _) = world.step(2, &ethernet(GATEWAY.mac, mac(2), ethertype::ARP, &reply));
    assert_eq!(verdict, Verdict::Forward { egress: PortId(HOST_PORT) });
    let packet = udp((GATEWAY.address, 5353), (address(2), 7)).packet();
    let (verdict, _) = world.step(HOST_PORT, &ethernet(mac(2), GATEWAY.mac, ethertype::IPV4, &packet));
    assert_eq!(verdict, Verdict::Forward { egress: PortId(2) });
    // What it sends to itself goes nowhere.
    let (verdict, _) = world.step(HOST_PORT, &ethernet(GATEWAY.mac, GATEWAY.mac, ethertype::IPV4, &packet));
    assert_eq!(verdict, Verdict::Drop(DropReason::SamePort));
    // Who else says so is lying.
    let (verdict, _) = world.step(3, &ethernet(mac(2), GATEWAY.mac, ethertype::IPV4, &packet));
    assert_eq!(verdict, Verdict::Drop(DropReason::GatewayMacClaimed));
    // The gateway's address is asked for often, and the host need not hear it.
    let ask = arp(1, (mac(3), address(3)), (MacAddr::ZERO, GATEWAY.address));
    let (verdict, left) = world.step(3, &ethernet(MacAddr::BROADCAST, mac(3), ethertype::ARP, &ask));
    assert!(matches!(verdict, Verdict::Flood { copies: 2, answered: true, .. }), "{verdict}");
    assert!(left.iter().all(|left| left.port != HOST_PORT));
}

#[test]
fn a_route_and_a_next_hop_are_found_before_the_first_packet_leaves() {
    let mut world = World::new();
    world.answer(&Answer::PortsHeld { protocol: Protocol::Udp, ports: vec![POOL] });
    let packet = udp((address(2), 40_000), (REMOTE, 53));
    assert_eq!(world.inside(2, &packet).0, Verdict::Wait(Wait::Route));
    assert_eq!(world.asked, [Request::Route { network: NETWORK, destination: REMOTE }]);
    assert_eq!(world.resume(), []);
    let route = Route { uplink: PortId(UPLINK), next_hop: ROUTER, source: HOST, mtu: 1500, neighbour: None };
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: Some(route) });
    let [(verdict, left)] = &world.resume()[..] else { panic!("one packet waits") };
    assert_eq!(*verdict, Verdict::Wait(Wait::Neighbour));
    let request = arp(1, (UPLINK_MAC, HOST), (MacAddr::ZERO, ROUTER));
    assert_eq!(left[0].bytes, ethernet(MacAddr::BROADCAST, UPLINK_MAC, ethertype::ARP, &request));

    let reply = arp(2, (ROUTER_MAC, ROUTER), (UPLINK_MAC, HOST));
    let (verdict, _) = world.step(UPLINK, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::ARP, &reply));
    assert_eq!(verdict, Verdict::Taken(Taken::Neighbour));
    let resumed = world.resume();
    let [(verdict, left)] = &resumed[..] else { panic!("one packet goes on") };
    assert_eq!(*verdict, routed(UPLINK, Translation::Source));
    assert_left(left, UPLINK, OUT, &udp((HOST, left[0].ports().0), (REMOTE, 53)));
    assert_eq!(CounterSum::of(&world.core.snapshot().port(PortId(2)).unwrap().counters).rx.frames, 1);
}

#[test]
fn a_tunnel_has_no_next_hop_to_ask() {
    let mut world = World::ready();
    let route =
        Route { uplink: PortId(TUNNEL), next_hop: REMOTE, source: TUNNEL_HOST, mtu: 1420, neighbour: None };
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route: Some(route) });
    let (verdict, left) = world.inside(2, &udp((address(2), 40_000), (REMOTE, 53)));
    assert_eq!(verdict, routed(TUNNEL, Translation::Source));
    let expected = udp((TUNNEL_HOST, left[0].ports().0), (REMOTE, 53));
    assert_left(&left, TUNNEL, (Uplink::PEER_MAC, Uplink::OWN_MAC), &expected);
}

#[test]
fn a_subnet_may_be_the_hosts_as_a_whole() {
    let mut world = World::ready();
    world.change_edge(|edge| edge.host_subnets = vec!["10.200.0.0/16".parse().unwrap()]);
    let own = Ipv4Addr::new(10, 200, 3, 4);
    let to_host = udp((address(2), 40_000), (own, 53));
    assert_eq!(world.inside(2, &to_host).0, Verdict::Forward { egress: PortId(HOST_PORT) });
    let from_host = udp((own, 53), (address(2), 40_000)).packet();
    let frame = ethernet(mac(2), GATEWAY.mac, ethertype::IPV4, &from_host);
    assert_eq!(world.step(HOST_PORT, &frame).0, Verdict::Forward { egress: PortId(2) });
    world.change_network(|network| network.edge.snat_address = Some(own));
    assert_eq!(world.inside(2, &udp((address(2), 40_000), (REMOTE, 53))).1[0].source(), own);
}
