//! Paths that take less than the first wire does.

use std::net::{Ipv4Addr, TcpListener};

use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_tools::kernel::{Kernel, Route};
use pontoon_tools::outside::{HOST, OUTSIDE, ROUTER, Way};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};
use pontoon_tools::transfer::{Connection, Transfer};
use socket2::SockRef;

use crate::Test;
use crate::daemon::{Daemon, GATEWAY, PATIENCE};
use crate::edge::{Edge, LONG, SHORT, bind, connect, edge_test, exchange, listen, try_connect};
use crate::frames::{Segment, ethernet, flag, fragments, segment, udp};
use crate::published::publish;
use crate::remote::{NOBODY, Remote};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);
/// What a path takes that is as narrow as IPv6 allows.
const NARROW: u16 = 1280;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (name, way, mtu) in
        [("narrow-way", Way::Narrow(NARROW), 1500), ("jumbo-narrow-way", Way::JumboNarrow(NARROW), 9000)]
    {
        for (rung, options) in [("all", &[][..]), ("none", &["--offloads", "none"])] {
            let work = move |edge: &mut Edge| narrow_way(edge, mtu);
            tests.push(edge_test(format!("pmtu/{name}/{rung}"), way, options, work));
        }
        tests.push(edge_test(format!("pmtu/{name}/udp"), way, &[], narrow_way_udp));
    }
    tests.extend([
        edge_test("pmtu/black-hole/all", Way::BlackHole(NARROW), &[], black_hole),
        edge_test("pmtu/black-hole/none", Way::BlackHole(NARROW), &["--offloads", "none"], black_hole),
        edge_test("pmtu/black-hole/published/all", Way::BlackHole(NARROW), &[], black_hole_back),
        edge_test(
            "pmtu/black-hole/published/none",
            Way::BlackHole(NARROW),
            &["--offloads", "none"],
            black_hole_back,
        ),
        edge_test("pmtu/known-route", Way::Direct(1500), &[], known_route),
        edge_test("pmtu/known-route/published", Way::Direct(1500), &[], known_route_back),
        edge_test("pmtu/network-larger-than-uplink", Way::Direct(1500), &[], network_larger_than_uplink),
        edge_test("pmtu/as-the-uplink/9000", Way::Direct(9000), &[], |edge| as_the_uplink(edge, 9000)),
        edge_test("pmtu/as-the-uplink/1400", Way::Direct(1400), &[], |edge| as_the_uplink(edge, 1400)),
        edge_test("pmtu/clamped", Way::Direct(1400), &[], clamped),
    ]);
    tests
}

/// The routers say by ICMP what is too large, outside and (translated) inside.
fn narrow_way(edge: &mut Edge, mtu: u64) {
    edge.daemon.network("");
    assert_eq!(mtu_of(&edge.daemon), mtu, "as the uplink");
    let station = edge.daemon.attach("");
    narrows(connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))));
    publish(&edge.daemon, &station, "8080:80");
    narrows(come_in(edge, &listen(&station.namespace, (station.ip(), 80))));
}

/// A connection from outside to the listener behind published port 8080.
fn come_in(edge: &Edge, listener: &TcpListener) -> Connection {
    let client = try_connect(&edge.outside.machine, ANY, (HOST, 8080), PATIENCE).unwrap();
    Connection::accept(client, listener).unwrap()
}

/// That a connection goes through the narrow way, both ways, and both sides have learned of it.
fn narrows(connection: Connection) {
    let ends = [&connection.client, &connection.server].map(|end| end.try_clone().unwrap());
    connection.both_ways(LONG).unwrap();
    for end in ends {
        let mss = SockRef::from(&end).tcp_mss().unwrap();
        assert!(mss <= u32::from(NARROW) - 40, "segments of {mss} bytes");
    }
}

fn narrow_way_udp(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    client.connect((OUTSIDE, 4242)).unwrap();
    // Linux sends UDP with DF until it has learned better: the error names the path, the next one goes in fragments.
    // As much as the sandbox's own interface takes.
    client.send(&vec![0x5a; mtu_of(&edge.daemon) as usize - 28]).unwrap();
    let error = client.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(too_large()), "{error}");
    for size in [1252, 1253, 1472, 1473, 8972, 20_000] {
        let payload = vec![size as u8; size];
        client.send(&payload).unwrap();
        let mut buffer = vec![0; 65_536];
        let (read, seen) = server.recv_from(&mut buffer).unwrap();
        assert!(buffer[..read] == payload, "{size}");
        assert_eq!(seen.ip(), HOST);
    }
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    for len in [1252, 1253, 20_000] {
        assert_eq!(pinger.ping(OUTSIDE, len, PATIENCE).unwrap(), Answer::Reply, "{len}");
    }
}

/// The host's route knows what the path takes.
fn learn(edge: &Edge) {
    let learn = || {
        let route = Route { mtu: Some(NARROW.into()), ..Route::default_via(ROUTER) };
        Kernel::open()?.set_route(route)
    };
    edge.host().run(learn).unwrap().unwrap();
}

fn too_large() -> i32 {
    rustix::io::Errno::MSGSIZE.raw_os_error()
}

/// Nobody says anything. The host's route knows, and so do the segments of TCP.
fn black_hole(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    // What is too large vanishes, and what has begun hangs.
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    assert_eq!(pinger.ping(OUTSIDE, 1472, PATIENCE / 40).unwrap(), Answer::Silence);
    let Connection { client, server } = connect(&station.namespace, &listener);
    let hangs = Transfer::over(client, server, Some(SHORT)).unwrap();
    learn(edge);
    crate::daemon::until("connections go through", || {
        let connection = connect(&station.namespace, &listener);
        let mss = SockRef::from(&connection.client).tcp_mss().unwrap();
        mss <= u32::from(NARROW) - 40
    });
    connect(&station.namespace, &listener).both_ways(LONG).unwrap();
    // Of what had begun the gateway asks for smaller packets.
    hangs.complete(SHORT).unwrap();
}

/// The same for clients of a published port: their answers vanish, and the route to them knows.
fn black_hole_back(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let Connection { client, server } = come_in(edge, &listener);
    let hangs = Transfer::over(server, client, Some(SHORT)).unwrap();
    learn(edge);
    // Both sides are told as they begin, so that nothing too large is ever sent.
    let segments = |connection: &Connection| {
        [&connection.client, &connection.server].map(|end| SockRef::from(end).tcp_mss().unwrap())
    };
    crate::daemon::until("new connections know", || {
        segments(&come_in(edge, &listener)).iter().all(|mss| *mss <= u32::from(NARROW) - 40)
    });
    come_in(edge, &listener).both_ways(LONG).unwrap();
    // Of what had begun the gateway asks for smaller packets.
    hangs.complete(SHORT).unwrap();
}

/// What the host's route knows, the gateway tells.
fn known_route(edge: &mut Edge) {
    learn(edge);
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    let client = bind(&station.namespace, ANY);
    client.connect((OUTSIDE, 4242)).unwrap();
    client.send(&[0x5a; 1472]).unwrap();
    let error = client.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(too_large()), "{error}");
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let free = bind(&station.namespace, ANY);
    exchange(&free, &server, (OUTSIDE, 4242), 1472);
    // A ping may be cut on the way.
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    assert_eq!(pinger.ping(OUTSIDE, 1400, PATIENCE).unwrap(), Answer::Reply);
}

/// The same for answers of a published port: the route to the client counts.
fn known_route_back(edge: &mut Edge) {
    learn(edge);
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "5353:53/udp");
    let (client, server) =
        (bind(&edge.outside.machine, (OUTSIDE, 4242)), bind(&station.namespace, (station.ip(), 53)));
    client.send_to(b"question", (HOST, 5353)).unwrap();
    let (_, seen) = server.recv_from(&mut [0; 10]).unwrap();
    server.connect(seen).unwrap();
    server.send(&[0x5a; 1472]).unwrap();
    let error = server.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(too_large()), "{error}");
    // What may be cut is cut by the gateway.
    let ears = Peek::open(&edge.outside.machine, "eth0").unwrap();
    let whole = udp((station.ip(), 53), (OUTSIDE, 4242), &[0xa5; 1472], false);
    let packet = &fragments(&whole, 65_000)[0];
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, packet)).unwrap();
    let mut buffer = [0; 2000];
    assert_eq!(client.recv(&mut buffer).unwrap(), 1472);
    assert_eq!(buffer[..1472], [0xa5; 1472]);
    let is_last = |frame: &[u8]| frame[12..14] == [8, 0] && frame[20] & 0x20 == 0 && frame[21] != 0;
    let seen = ears.until(PATIENCE, |frame| is_last(&frame.bytes)).unwrap();
    let longest = seen.iter().map(|frame| frame.bytes.len() - 14).max();
    // All but the last carry a multiple of eight bytes.
    assert_eq!(longest, Some(1276), "fragments as large as the route takes");
}

fn network_larger_than_uplink(edge: &mut Edge) {
    edge.daemon.network("--mtu 9000");
    let station = edge.daemon.attach("");
    connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))).both_ways(LONG).unwrap();
    // What may be cut is cut by the gateway.
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    for size in [1473, 8000] {
        let payload = vec![size as u8; size];
        let whole = udp((station.ip(), 40_000), (OUTSIDE, 4242), &payload, false);
        let packet = &fragments(&whole, 65_000)[0];
        wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, packet)).unwrap();
        let mut buffer = vec![0; 65_536];
        let read = server.recv(&mut buffer).unwrap();
        assert!(buffer[..read] == payload, "{size}");
    }
    // What may not be cut is refused, and the sender told how much is not too much.
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    let too_big = Answer::Error { from: GATEWAY, kind: 3, code: 4 };
    assert_eq!(pinger.ping(OUTSIDE, 1472, PATIENCE).unwrap(), Answer::Reply);
    assert_eq!(pinger.ping(OUTSIDE, 1473, PATIENCE).unwrap(), too_big);
    for len in [1473, 8000, 20_000] {
        assert_eq!(pinger.ping(OUTSIDE, len, PATIENCE).unwrap(), Answer::Reply, "{len}");
    }
}

fn mtu_of(daemon: &Daemon) -> u64 {
    let network: serde_json::Value = daemon.json("network show blue");
    network["mtu"].as_u64().expect("an MTU")
}

fn as_the_uplink(edge: &mut Edge, mtu: u16) {
    edge.daemon.network("");
    assert_eq!(mtu_of(&edge.daemon), u64::from(mtu));
    let station = edge.daemon.attach("");
    let eth0 = station.namespace.run(|| Links::open()?.get("eth0")).unwrap().unwrap();
    assert_eq!(eth0.mtu, u32::from(mtu));
    // What somebody asks for he gets.
    edge.daemon.ok("network create red --subnet 10.89.0.0/24 --mtu 1300");
    let red: serde_json::Value = edge.daemon.json("network show red");
    assert_eq!(red["mtu"], 1300);
}

/// Connections that would use larger segments than the way takes are told so as they begin, both sides of them.
fn clamped(edge: &mut Edge) {
    const MSS: u16 = 1400 - 40;
    edge.daemon.network("--mtu 1500");
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let stream = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| try_connect(&station.namespace, ANY, (NOBODY, 80), PATIENCE));
        let (port, syn) = remote.receive_segment(flag::SYN);
        assert_eq!(syn.mss, Some(MSS), "what outside is told");
        let acknowledgement = syn.sequence.wrapping_add(1);
        let flags = flag::SYN | flag::ACK;
        remote.send_segment(80, port, Segment { sequence: 1000, acknowledgement, flags, mss: Some(1460) });
        connecting.join().unwrap().unwrap()
    });
    // Less its timestamps, if it uses any.
    let told = SockRef::from(&stream).tcp_mss().unwrap();
    assert!((u32::from(MSS) - 12..=u32::from(MSS)).contains(&told), "what the inside is told: {told}");
    // What is smaller stays.
    publish(&edge.daemon, &station, "8080:80");
    let _listener = listen(&station.namespace, (station.ip(), 80));
    let ears = Peek::open(&station.namespace, "eth0").unwrap();
    for (said, heard) in [(1460, MSS), (1000, 1000)] {
        let sequence = u32::from(said);
        remote.send_segment(
            said,
            8080,
            Segment { sequence, flags: flag::SYN, mss: Some(said), ..Segment::default() },
        );
        let is_it = |frame: &[u8]| frame.get(34..36) == Some(&said.to_be_bytes());
        let seen = ears.until(PATIENCE, |frame| is_it(&frame.bytes)).unwrap();
        assert_eq!(segment(&seen.last().unwrap().bytes[14..]).2.mss, Some(heard), "said: {said}");
    }
}
