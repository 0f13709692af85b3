//! The host on its networks: endpoints reach its services, and it reaches them.

use std::net::Ipv4Addr;

use pontoon::link::Links;
use pontoon_tools::outside::{HOST, UPLINK};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};
use rustix::process::Signal;

use crate::daemon::{GATEWAY, PATIENCE, until};
use crate::edge::{Edge, LONG, bind, connect, exchange, listen, peer, ping, plain_test, reaches};
use crate::{Test, survive};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("host/endpoint-reaches-host", "", endpoint_reaches_host),
        plain_test("host/host-reaches-endpoint", "", host_reaches_endpoint),
        plain_test("host/new-address", "", new_address),
        plain_test("host/gateway-stays-ours", "", gateway_stays_ours),
        plain_test("host/forwards-for-nobody", "", forwards_for_nobody),
        plain_test("host/loopback-stays-private", "", loopback_stays_private),
        plain_test("host/without-access", "--host-access=false", without_access),
        plain_test("host/internal", "--internal", internal),
        plain_test("host/networks-come-and-go", "", networks_come_and_go),
        plain_test("host/daemon-killed", "", daemon_killed),
    ]
}

fn endpoint_reaches_host(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let listener = listen(edge.host(), (ANY, 8080));
    let server = bind(edge.host(), (ANY, 8080));
    for address in [GATEWAY, HOST] {
        let connection =
            pontoon_tools::transfer::Connection::open(&station.namespace, (address, 8080), &listener)
                .unwrap();
        assert_eq!(*peer(&connection.server).ip(), station.ip(), "no translation on the way to the host");
        connection.both_ways(LONG).unwrap();
        let client = bind(&station.namespace, (ANY, 0));
        client.connect((address, 8080)).unwrap();
        client.send(b"there").unwrap();
        let mut buffer = [0; 10];
        let (read, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((read, from.ip()), (5, station.ip().into()));
        assert_eq!(ping(&station.namespace, address), Answer::Reply);
    }
    // Nobody listens: the host says so.
    let refused = crate::edge::try_connect(&station.namespace, (ANY, 0), (HOST, 8081), PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

fn host_reaches_endpoint(edge: &mut Edge) {
    for kind in ["tap", "veth"] {
        let station = edge.daemon.attach(&format!("--kind {kind}"));
        let listener = listen(&station.namespace, (station.ip(), 0));
        let connection = connect(edge.host(), &listener);
        assert_eq!(*peer(&connection.server).ip(), GATEWAY, "the host is the gateway");
        connection.both_ways(LONG).unwrap();
        let (client, server) = (bind(edge.host(), (ANY, 0)), bind(&station.namespace, (station.ip(), 53)));
        for size in [0, 1, 1472, 1473, 65_507] {
            exchange(&client, &server, (station.ip(), 53), size);
        }
        let mut pinger = Pinger::new(edge.host(), station.ip()).unwrap();
        for len in [0, 56, 1472, 1473, 20_000] {
            assert_eq!(pinger.ping(station.ip(), len, PATIENCE).unwrap(), Answer::Reply, "{kind}: {len}");
        }
        // A veth that was asked for goes again.
        edge.daemon.ok(&format!("detach blue {}", station.endpoint.name));
    }
}

/// An address that the host gets while the network is up.
fn new_address(edge: &mut Edge) {
    const LATE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
    let station = edge.daemon.attach("");
    let listener = listen(edge.host(), (ANY, 8080));
    let add = || -> Result<(), pontoon::link::LinkError> {
        let links = Links::open()?;
        links.add_address(&links.get(UPLINK)?, LATE.into(), 32)
    };
    edge.host().run(add).unwrap().unwrap();
    until("the new address is reached", || reaches(&station.namespace, (LATE, 8080)));
    drop(listener);
}

fn gateway_stays_ours(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let counts = || {
        let read = || std::fs::read_to_string("/proc/thread-self/net/snmp");
        let text = edge.host().run(read).unwrap().unwrap();
        let icmp = text.lines().filter(|line| line.starts_with("Icmp:")).nth(1).unwrap().to_owned();
        // InEchos.
        icmp.split(' ').nth(9).unwrap().parse::<u64>().unwrap()
    };
    let before = counts();
    let ears = edge.host().run(|| {
        let ours = |name: &String| name != "lo" && name != UPLINK;
        survive::links(&edge.daemon).into_iter().find(ours)
    });
    let host_port = ears.unwrap().expect("the host port is an interface of the host");
    let ears = Peek::open(edge.host(), &host_port).unwrap();
    for len in [56, 3000] {
        let mut pinger = Pinger::new(&station.namespace, GATEWAY).unwrap();
        assert_eq!(pinger.ping(GATEWAY, len, PATIENCE).unwrap(), Answer::Reply);
    }
    assert_eq!(counts(), before, "echo requests that the host's kernel saw");
    // What is for the host does come by, last; no ARP request for the gateway before it. Its own announcements, the second of which comes two
    // seconds after the network, look like one but for their sender.
    assert_eq!(ping(&station.namespace, HOST), Answer::Reply);
    assert_eq!(counts(), before + 1, "its own that it saw");
    let seen = ears.until(PATIENCE, |frame| frame.bytes.get(30..34) == Some(&HOST.octets())).unwrap();
    let asks = |frame: &[u8]| {
        frame.get(12..14) == Some(&[8, 6])
            && frame.get(20..22) == Some(&[0, 1])
            && frame.get(38..42) == Some(&GATEWAY.octets())
            && frame.get(28..32) != Some(&GATEWAY.octets())
    };
    assert!(!seen.iter().any(|frame| asks(&frame.bytes)), "{seen:?}");
}

fn loopback_stays_private(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let _private = listen(edge.host(), (Ipv4Addr::LOCALHOST, 8080));
    assert!(!reaches(&station.namespace, (GATEWAY, 8080)));
    assert!(!reaches(&station.namespace, (HOST, 8080)));
    // A sandbox that sends to 127/8 over its wire comes nowhere.
    let route = || {
        use pontoon_tools::kernel::{Kernel, Route};
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        Kernel::open()?.set_route(Route { to: (Ipv4Addr::new(127, 9, 0, 0), 16), via: GATEWAY, mtu: None })
    };
    station.namespace.run(route).unwrap().unwrap();
    let _far = listen(edge.host(), (Ipv4Addr::new(127, 9, 9, 9), 8080));
    assert!(!reaches(&station.namespace, (Ipv4Addr::new(127, 9, 9, 9), 8080)));
}

/// A neighbour that routes to endpoints by the host, whose kernel forwards.
fn forwards_for_nobody(edge: &mut Edge) {
    use pontoon::api::types::Stats;
    use pontoon_tools::kernel::{Kernel, Route};
    let station = edge.daemon.attach("");
    let forward = |on: &str| {
        let set = || std::fs::write("/proc/sys/net/ipv4/ip_forward", on);
        edge.host().run(set).unwrap().unwrap();
    };
    let before =
        edge.host().run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")).unwrap().unwrap();
    let route = Route { to: (station.ip(), 32), via: HOST, mtu: None };
    edge.outside.machine.run(|| Kernel::open()?.set_route(route)).unwrap().unwrap();
    forward("1");
    let (server, neighbour) =
        (bind(&station.namespace, (station.ip(), 53)), bind(&edge.outside.machine, (ANY, 0)));
    neighbour.send_to(b"past all rules", (station.ip(), 53)).unwrap();
    until("it is dropped and counted", || {
        let stats: Stats = edge.daemon.json("stats");
        stats.ports.iter().any(|port| port.drops.contains_key("host-forwards"))
    });
    // The host itself still gets through, and is the first to do so.
    let host = bind(edge.host(), (ANY, 0));
    assert_eq!(*exchange(&host, &server, (station.ip(), 53), 10).ip(), GATEWAY);
    forward(before.trim());
}

fn without_access(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let _listener = listen(edge.host(), (ANY, 8080));
    let inside = listen(&station.namespace, (station.ip(), 80));
    assert!(!reaches(&station.namespace, (GATEWAY, 8080)));
    assert!(!reaches(&station.namespace, (HOST, 8080)));
    assert!(!reaches(edge.host(), (station.ip(), 80)));
    drop(inside);
    assert_eq!(survive::links(&edge.daemon), ["lo", UPLINK], "no interface of the host");
    // The outside is another matter.
    crate::edge::reaches_outside(&station);
    assert_eq!(ping(&station.namespace, GATEWAY), Answer::Reply);
}

fn internal(edge: &mut Edge) {
    let (station, other) = (edge.daemon.attach(""), edge.daemon.attach(""));
    let _listener = listen(edge.host(), (ANY, 8080));
    let _outside = listen(&edge.outside.machine, (pontoon_tools::outside::OUTSIDE, 8080));
    for target in [GATEWAY, HOST, pontoon_tools::outside::OUTSIDE] {
        assert!(!reaches(&station.namespace, (target, 8080)), "{target}");
    }
    assert_eq!(survive::links(&edge.daemon), ["lo", UPLINK], "no interface of the host");
    assert_eq!(ping(&station.namespace, GATEWAY), Answer::Reply);
    assert_eq!(ping(&station.namespace, other.ip()), Answer::Reply);
}

fn networks_come_and_go(edge: &mut Edge) {
    let before = survive::links(&edge.daemon);
    for round in 0..3 {
        edge.daemon.ok("network create red --subnet 10.89.0.0/24");
        assert_eq!(survive::links(&edge.daemon).len(), before.len() + 1, "round {round}");
        edge.daemon.ok("network rm red");
        assert_eq!(survive::links(&edge.daemon), before, "round {round}");
    }
}

fn daemon_killed(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let before = survive::links(&edge.daemon);
    for _ in 0..2 {
        edge.daemon.end(Signal::KILL);
        edge.daemon.start_again();
        assert_eq!(survive::links(&edge.daemon), before);
        until("the endpoint is reached again", || {
            let mut pinger = Pinger::new(edge.host(), station.ip()).unwrap();
            pinger.ping(station.ip(), 56, PATIENCE / 20).unwrap() == Answer::Reply
        });
        connect(edge.host(), &listen(&station.namespace, (station.ip(), 0))).check().unwrap();
    }
    assert!(edge.daemon.end(Signal::TERM).success());
    edge.daemon.start_again();
}
