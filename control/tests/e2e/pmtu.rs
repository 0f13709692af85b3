//! Paths that take less than the first wire does.

use std::net::Ipv4Addr;

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
    vec![
        edge_test("pmtu/narrow-way/all", Way::Narrow(NARROW), &[], narrow_way),
        edge_test("pmtu/narrow-way/none", Way::Narrow(NARROW), &["--offloads", "none"], narrow_way),
        edge_test("pmtu/narrow-way/udp", Way::Narrow(NARROW), &[], narrow_way_udp),
        edge_test("pmtu/black-hole/all", Way::BlackHole(NARROW), &[], black_hole),
        edge_test("pmtu/black-hole/none", Way::BlackHole(NARROW), &["--offloads", "none"], black_hole),
        edge_test("pmtu/known-route", Way::Direct(1500), &[], known_route),
        edge_test("pmtu/network-larger-than-uplink", Way::Direct(1500), &[], network_larger_than_uplink),
        edge_test("pmtu/as-the-uplink/9000", Way::Direct(9000), &[], |edge| as_the_uplink(edge, 9000)),
        edge_test("pmtu/as-the-uplink/1400", Way::Direct(1400), &[], |edge| as_the_uplink(edge, 1400)),
        edge_test("pmtu/clamped", Way::Direct(1400), &[], clamped),
    ]
}

/// The routers say by ICMP what is too large, outside and (translated) inside.
fn narrow_way(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))).both_ways(LONG).unwrap();
    publish(&edge.daemon, &station, "8080:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let client = try_connect(&edge.outside.machine, ANY, (HOST, 8080), PATIENCE).unwrap();
    Connection::accept(client, &listener).unwrap().both_ways(LONG).unwrap();
}

fn narrow_way_udp(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    client.connect((OUTSIDE, 4242)).unwrap();
    // Linux sends UDP with DF until it has learned better: the error names the path, the next one goes in fragments.
    client.send(&[0x5a; 1472]).unwrap();
    let error = client.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(too_large()), "{error}");
    for size in [1252, 1253, 1472, 1473, 20_000] {
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
    let learn = || {
        let route = Route { mtu: Some(NARROW.into()), ..Route::default_via(ROUTER) };
        Kernel::open()?.set_route(route)
    };
    edge.host().run(learn).unwrap().unwrap();
    crate::daemon::until("connections go through", || {
        let connection = connect(&station.namespace, &listener);
        let mss = SockRef::from(&connection.client).tcp_mss().unwrap();
        mss <= u32::from(NARROW) - 40
    });
    connect(&station.namespace, &listener).both_ways(LONG).unwrap();
    // Of what had begun the gateway asks for smaller packets.
    hangs.complete(SHORT).unwrap();
}

/// What the host's route knows, the gateway tells.
fn known_route(edge: &mut Edge) {
    let learn = || {
        let route = Route { mtu: Some(NARROW.into()), ..Route::default_via(ROUTER) };
        Kernel::open()?.set_route(route)
    };
    edge.host().run(learn).unwrap().unwrap();
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
