//! From an endpoint to the world outside and back: what leaves, what it looks like there, what comes back.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, OUTSIDE, OUTSIDE_TOO, ROUTER, Way};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, MAX_PAYLOAD, Pinger};
use pontoon_tools::transfer::Connection;
use rustix::process::Signal;
use socket2::SockRef;

use crate::daemon::{GATEWAY, PATIENCE, Station, until};
use crate::edge::{
    Edge, LONG, SHORT, SILENCE, bind, connect, edge_test, exchange, listen, peer, ping, plain_test, reaches,
    try_connect,
};
use crate::frames::{flag, udp};
use crate::published::publish;
use crate::remote::{NOBODY, Remote};
use crate::{Test, full};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = vec![
        plain_test("outside/ping-sizes/tap", "", |edge| ping_sizes(edge, "tap")),
        plain_test("outside/ping-sizes/veth", "", |edge| ping_sizes(edge, "veth")),
        plain_test("outside/udp-sizes", "", udp_sizes),
        plain_test("outside/sees-the-uplink-only", "", sees_the_uplink_only),
        plain_test("outside/time-to-live", "", time_to_live),
        plain_test("outside/dscp-and-ecn", "", dscp_and_ecn),
        plain_test("outside/port-unreachable", "", port_unreachable),
        plain_test("outside/reset", "", reset),
        plain_test("outside/source-port-kept", "", source_port_kept),
        plain_test("outside/priority-tags", "", priority_tags),
        plain_test("outside/who-may-answer", "", who_may_answer),
        plain_test("outside/anybody-may-answer", "--nat-mapping endpoint-independent", anybody_may_answer),
        plain_test("outside/who-may-connect", "", who_may_connect),
        plain_test("outside/anybody-may-connect", "--nat-mapping endpoint-independent", anybody_may_connect),
        plain_test("outside/peers-inside", "--nat-mapping endpoint-independent", peers_inside),
        plain_test("outside/no-reset-from-the-host", "", no_reset_from_the_host),
        plain_test("outside/daemon-killed", "", daemon_killed),
        edge_test("outside/routers-on-the-way", Way::Narrow(1500), &[], routers_on_the_way),
    ];
    for (rung, mtu, everyday) in [
        ("all", 1500, true),
        ("none", 1500, true),
        ("all", 9000, true),
        ("no-uso", 1500, false),
        ("tso", 1500, false),
        ("checksum", 1500, false),
        ("header", 1500, false),
        ("none", 9000, true),
    ] {
        if everyday || full() {
            tests.push(with_offloads(rung, mtu));
        }
    }
    tests
}

/// 100 MB each way, every byte checked; some more by a connection from outside; datagrams that fill a packet, and that do not fit one.
fn with_offloads(rung: &'static str, mtu: u16) -> Test {
    let options: &'static [&'static str] = match rung {
        "none" => &["--offloads", "none"],
        "header" => &["--offloads", "header"],
        "checksum" => &["--offloads", "checksum"],
        "tso" => &["--offloads", "tso"],
        _ => &["--offloads", "all"],
    };
    edge_test(format!("outside/offloads/{rung}/{mtu}"), Way::Direct(mtu), options, move |edge| {
        edge.daemon.network("");
        let station = edge.daemon.attach("");
        let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
        let before = edge.daemon.counters(&station);
        connect(&station.namespace, &listener).both_ways(LONG).unwrap();
        let after = edge.daemon.counters(&station);
        if rung == "all" {
            // Super-frames pass whole, out and in: without them the mean could not pass the MTU.
            for (before, after) in [(before.rx, after.rx), (before.tx, after.tx)] {
                let mean = (after.bytes - before.bytes) / (after.frames - before.frames);
                assert!(mean > u64::from(mtu) / 2 * 3, "frames of {mean} bytes in the mean");
            }
        }
        publish(&edge.daemon, &station, "8080:80");
        let inside = listen(&station.namespace, (station.ip(), 80));
        let client = try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, 8080), PATIENCE).unwrap();
        Connection::accept(client, &inside).unwrap().both_ways(SHORT).unwrap();
        let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
        let most = usize::from(mtu) - 28;
        for size in [0, 1, most - 1, most, most + 1, 2 * most, 65_507] {
            exchange(&client, &server, (OUTSIDE, 4242), size);
        }
    })
}

fn ping_sizes(edge: &mut Edge, kind: &str) {
    let station = edge.daemon.attach(&format!("--kind {kind}"));
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    for len in [0, 1, 56, 1471, 1472, 1473, 2952, 20_000, MAX_PAYLOAD] {
        let answer = pinger.ping(OUTSIDE, len, PATIENCE).unwrap();
        assert_eq!(answer, Answer::Reply, "{len} bytes");
    }
    // A veth that was asked for goes again.
    edge.daemon.ok(&format!("detach blue {}", station.endpoint.name));
}

fn udp_sizes(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 0)));
    let port = server.local_addr().unwrap().port();
    let step = if full() { 1 } else { 61 };
    let mut seen = None;
    for size in (0..=1472).step_by(step).chain([1471, 1472, 1473, 2952, 2953, 20_000, 65_507]) {
        let this = exchange(&client, &server, (OUTSIDE, port), size);
        assert_eq!((*seen.get_or_insert(this), *this.ip()), (this, HOST), "whom outside sees");
    }
}

fn sees_the_uplink_only(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let ears = Peek::open(&edge.outside.machine, "eth0").unwrap();
    assert_eq!(ping(&station.namespace, OUTSIDE), Answer::Reply);
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    exchange(&client, &server, (OUTSIDE, 4242), 3000);
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let connection = connect(&station.namespace, &listener);
    assert_eq!(*peer(&connection.server).ip(), HOST);
    connection.both_ways(1 << 20).unwrap();
    let last = b"the last datagram of this test";
    client.send_to(last, (OUTSIDE, 4242)).unwrap();
    let seen = ears.until(PATIENCE, |frame| frame.bytes.ends_with(last)).unwrap();
    for frame in &seen {
        match frame.bytes.get(12..14) {
            Some([0x08, 0x00]) => assert_eq!(frame.bytes[26..30], HOST.octets(), "an IPv4 source"),
            Some([0x08, 0x06]) => assert_eq!(frame.bytes[28..32], HOST.octets(), "an ARP sender"),
            _ => {}
        }
    }
    assert!(seen.len() > 10, "{} frames", seen.len());
}

fn time_to_live(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let client = bind(&station.namespace, ANY);
    client.set_ttl(64).unwrap();
    client.send_to(b"there", (NOBODY, 9)).unwrap();
    let packet = remote.receive_own(17);
    assert_eq!(packet[8], 63, "the time to live outside");
    // And back: what has one hop left would die here.
    let port = u16::from_be_bytes([packet[20], packet[21]]);
    for (ttl, passes) in [(1, false), (2, true)] {
        let mut back = udp((NOBODY, 9), (HOST, port), &[ttl], false);
        back[8] = ttl;
        let sum = pontoon_dataplane::checksum::checksum(&[&back[..10], &[0, 0], &back[12..20]].concat());
        back[10..12].copy_from_slice(&sum.to_be_bytes());
        remote.send(&back);
        if passes {
            let mut buffer = [0; 10];
            assert_eq!(client.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], ttl, "only what has a hop left arrives");
        } else {
            // ICMP time exceeded, from the host.
            remote.receive(|packet| packet[9] == 1 && packet[20..22] == [11, 0]);
        }
    }
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    pinger.set_ttl(1).unwrap();
    let answer = pinger.ping(OUTSIDE, 56, PATIENCE).unwrap();
    assert_eq!(answer, Answer::Error { from: GATEWAY, kind: 11, code: 0 });
}

/// What traceroute does.
fn routers_on_the_way(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    for (ttl, router) in [(1, GATEWAY), (2, ROUTER), (3, Ipv4Addr::new(100, 64, 0, 2))] {
        pinger.set_ttl(ttl).unwrap();
        let answer = pinger.ping(OUTSIDE, 56, PATIENCE).unwrap();
        assert_eq!(answer, Answer::Error { from: router, kind: 11, code: 0 }, "hop {ttl}");
    }
    pinger.set_ttl(4).unwrap();
    assert_eq!(pinger.ping(OUTSIDE, 56, PATIENCE).unwrap(), Answer::Reply);
    connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))).both_ways(SHORT).unwrap();
}

fn dscp_and_ecn(edge: &mut Edge) {
    // Expedited forwarding, ECT(1).
    const TOS: u8 = 46 << 2 | 1;
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let client = bind(&station.namespace, ANY);
    SockRef::from(&client).set_tos_v4(TOS.into()).unwrap();
    client.send_to(b"there", (NOBODY, 9)).unwrap();
    let packet = remote.receive_own(17);
    assert_eq!(packet[1], TOS, "on the way out");
    let ears = Peek::open(&station.namespace, "eth0").unwrap();
    let mut back = udp((NOBODY, 9), (HOST, u16::from_be_bytes([packet[20], packet[21]])), b"back", false);
    back[1] = TOS;
    let sum = pontoon_dataplane::checksum::checksum(&[&back[..10], &[0, 0], &back[12..20]].concat());
    back[10..12].copy_from_slice(&sum.to_be_bytes());
    remote.send(&back);
    let seen = ears.until(PATIENCE, |frame| frame.bytes.get(23) == Some(&17)).unwrap();
    assert_eq!(seen.last().unwrap().bytes[15], TOS, "on the way in");
}

fn port_unreachable(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let client = bind(&station.namespace, ANY);
    // Nobody listens there.
    client.connect((OUTSIDE, 4243)).unwrap();
    client.send(b"anybody?").unwrap();
    let error = client.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

fn reset(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let error = try_connect(&station.namespace, ANY, (OUTSIDE, 4243), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    let connection = connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0)));
    SockRef::from(&connection.server).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(connection.server);
    let error = (&connection.client).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

fn source_port_kept(edge: &mut Edge) {
    // Chosen on purpose, as by SIP or WireGuard; the same in both sandboxes.
    const OWN: u16 = 5060;
    let stations = [edge.daemon.attach(""), edge.daemon.attach("")];
    let server = bind(&edge.outside.machine, (OUTSIDE, 0));
    let target = (OUTSIDE, server.local_addr().unwrap().port());
    let listener = listen(&edge.outside.machine, (OUTSIDE, target.1));
    let by_udp = |station: &Station| {
        exchange(&bind(&station.namespace, (Ipv4Addr::UNSPECIFIED, OWN)), &server, target, 100).port()
    };
    let by_tcp = |station: &Station| {
        let own = (Ipv4Addr::UNSPECIFIED, OWN);
        let client = try_connect(&station.namespace, own, target, PATIENCE).unwrap();
        let connection = Connection::accept(client, &listener).unwrap();
        (peer(&connection.server).port(), connection)
    };
    assert_eq!(by_udp(&stations[0]), OWN);
    let (first, _open) = by_tcp(&stations[0]);
    assert_eq!(first, OWN);
    // To the same remote the port is taken.
    assert_ne!(by_udp(&stations[1]), OWN);
    assert_ne!(by_tcp(&stations[1]).0, OWN);
    // A program of the host cannot have it while NAT uses it.
    let busy = edge.host().run(|| UdpSocket::bind((HOST, OWN))).unwrap();
    assert_eq!(busy.unwrap_err().kind(), ErrorKind::AddrInUse);
}

/// A tag that names a priority and no VLAN is none to the host's kernel, and none to us.
fn priority_tags(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let client = bind(&station.namespace, ANY);
    client.send_to(b"there", (NOBODY, 9)).unwrap();
    let packet = remote.receive_own(17);
    let to = (HOST, u16::from_be_bytes([packet[20], packet[21]]));
    remote.send_tagged(3 << 13 | 7, &udp((NOBODY, 9), to, b"in a VLAN", false));
    for (priority, size) in [(3u16, 4), (0, 1000), (7, 1472)] {
        remote.send_tagged(priority << 13, &udp((NOBODY, 9), to, &vec![0x5a; size], false));
        let mut buffer = [0; 2000];
        assert_eq!(client.recv(&mut buffer).unwrap(), size);
        assert!(buffer[..size] == vec![0x5a; size]);
    }
}

fn who_may_answer(edge: &mut Edge) {
    let (seen, client) = open_mapping(edge);
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    // Another address, another port: neither was spoken to.
    for stranger in [(OUTSIDE_TOO, 4242), (OUTSIDE, 4243)] {
        let stranger = bind(&edge.outside.machine, stranger);
        stranger.send_to(b"stranger", (HOST, seen)).unwrap();
    }
    server.send_to(b"friend", (HOST, seen)).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    assert_eq!(&buffer[..6], b"friend");
}

fn anybody_may_answer(edge: &mut Edge) {
    let (seen, client) = open_mapping(edge);
    let mut buffer = [0; 10];
    for stranger in [(OUTSIDE_TOO, 4242), (OUTSIDE, 4243)] {
        let socket = bind(&edge.outside.machine, stranger);
        socket.send_to(b"stranger", (HOST, seen)).unwrap();
        let (read, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((read, from), (8, stranger.into()));
    }
    // One external port for each internal one, whomever it speaks to.
    let other = bind(&edge.outside.machine, (OUTSIDE_TOO, 4244));
    assert_eq!(exchange(&client, &other, (OUTSIDE_TOO, 4244), 10).port(), seen);
}

/// The port of the host by which a connection is known outside is not open to others.
fn who_may_connect(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let [(_open, seen), _] = call_two(edge, &station);
    let _inside = listen(&station.namespace, (station.ip(), CALLER));
    for stranger in [(OUTSIDE_TOO, 5000), (OUTSIDE, 4243)] {
        let error = try_connect(&edge.outside.machine, stranger, (HOST, seen), SILENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{stranger:?} is answered: {error}");
    }
}

/// Where from the sandbox calls whoever it calls.
const CALLER: u16 = 40_001;

/// Connections from one port of a sandbox to two addresses outside, and its port as each sees it.
fn call_two(edge: &Edge, station: &Station) -> [(Connection, u16); 2] {
    [(OUTSIDE, 4242), (OUTSIDE_TOO, 4243)].map(|target| {
        let listener = listen(&edge.outside.machine, target);
        let client = try_connect(&station.namespace, (Ipv4Addr::UNSPECIFIED, CALLER), target, PATIENCE);
        let connection = Connection::accept(client.unwrap(), &listener).unwrap();
        let seen = peer(&connection.server);
        assert_eq!(*seen.ip(), HOST);
        (connection, seen.port())
    })
}

/// As those do who punch holes: one port calls, and is called by others. The host's kernel has a listening socket of ours on the
/// very same port, and must not answer in its place.
fn anybody_may_connect(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let called = call_two(edge, &station);
    let [seen, too] = [0, 1].map(|number: usize| called[number].1);
    assert_eq!(seen, too, "one external port for each internal one");
    let inside = listen(&station.namespace, (station.ip(), CALLER));
    for stranger in [(OUTSIDE_TOO, 5000), (OUTSIDE, 4243)] {
        let client = try_connect(&edge.outside.machine, stranger, (HOST, seen), PATIENCE);
        let client = client.unwrap_or_else(|error| panic!("{stranger:?}: {error}"));
        let connection = Connection::accept(client, &inside).unwrap();
        assert_eq!(peer(&connection.server), SocketAddrV4::new(stranger.0, stranger.1));
        connection.both_ways(SHORT).unwrap();
    }
    for (connection, _) in &called {
        connection.check().unwrap();
    }
}

/// Peers that only know what they look like outside find one another although they are neighbours.
fn peers_inside(edge: &mut Edge) {
    const OWN: u16 = 40_123;
    let stations = [edge.daemon.attach(""), edge.daemon.attach("")];
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let peers = [0, 1].map(|number: usize| {
        let client = bind(&stations[number].namespace, ANY);
        let seen = exchange(&client, &server, (OUTSIDE, 4242), 10).port();
        (client, seen)
    });
    for ((from, own), (to, port)) in [(&peers[0], &peers[1]), (&peers[1], &peers[0])] {
        assert_eq!(exchange(from, to, (HOST, *port), 1000), SocketAddrV4::new(HOST, *own));
    }
    // TCP: who listens where he has called from.
    let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
    let own = (stations[1].ip(), OWN);
    let client = try_connect(&stations[1].namespace, own, (OUTSIDE, 4242), PATIENCE).unwrap();
    let outward = Connection::accept(client, &listener).unwrap();
    let target = (HOST, peer(&outward.server).port());
    let listener = listen(&stations[1].namespace, own);
    let client = try_connect(&stations[0].namespace, ANY, target, PATIENCE).unwrap();
    let inward = Connection::accept(client, &listener).unwrap();
    assert_eq!(*peer(&inward.server).ip(), HOST);
    inward.both_ways(SHORT).unwrap();
    // From another network as from outside, if the rules of both permit it.
    edge.daemon.ok("network create red --subnet 10.89.0.0/24");
    let namespace = Namespace::new("e2e").unwrap();
    edge.daemon.ok(&format!("attach red --netns {}", namespace.name()));
    assert_eq!(*exchange(&bind(&namespace, ANY), &peers[1].0, (HOST, peers[1].1), 1000).ip(), HOST);
    assert!(reaches(&namespace, target));
    edge.daemon.ok("rule add blue deny --from 10.89.0.0/24");
    assert!(!reaches(&namespace, target));
    outward.check().unwrap();
}

/// A UDP socket inside that has spoken to port 4242 outside, and its port as seen there.
fn open_mapping(edge: &Edge) -> (u16, UdpSocket) {
    let station = edge.daemon.attach("");
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    let seen = exchange(&client, &server, (OUTSIDE, 4242), 10).port();
    (seen, client)
}

/// The host's kernel knows nothing of NAT's connections, and must not say so to anybody.
fn no_reset_from_the_host(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let (stream, ..) = remote.accept(&station.namespace, 80);
    // UDP as well: the remote would hear "port unreachable".
    let client = bind(&station.namespace, ANY);
    client.send_to(b"there", (NOBODY, 9)).unwrap();
    let packet = remote.receive_own(17);
    let port = u16::from_be_bytes([packet[20], packet[21]]);
    remote.send(&udp((NOBODY, 9), (HOST, port), b"back", false));
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 4);
    drop(stream);
    let last = remote.receive(|packet| packet[9] == 1 || packet[9] == 6);
    assert_eq!((last[9], last[33]), (6, flag::FIN | flag::ACK), "neither ICMP nor a reset: {last:x?}");
}

fn daemon_killed(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    assert_eq!(ping(&station.namespace, OUTSIDE), Answer::Reply);
    for _ in 0..2 {
        edge.daemon.end(Signal::KILL);
        edge.daemon.start_again();
        until("the outside is reached again", || {
            let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
            pinger.ping(OUTSIDE, 56, PATIENCE / 20).unwrap() == Answer::Reply
        });
        connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))).both_ways(SHORT).unwrap();
    }
}
