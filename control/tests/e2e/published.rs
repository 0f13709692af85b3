//! Published ports, from everywhere that a client can come from.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;

use pontoon::api::types::Rule;
use pontoon::link::Links;
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, OUTSIDE, OUTSIDE_TOO, SECOND_HOST, SECOND_ROUTER, UPLINK};
use pontoon_tools::transfer::Connection;
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY, PATIENCE, Station, until};
use crate::edge::{
    Edge, LONG, SHORT, SILENCE, bind, exchange, listen, peer, plain_test, reaches, try_connect,
};
use crate::frames::{Segment, flag};
use crate::remote::{NOBODY, Remote};
use crate::{Test, full};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("published/from-outside/tcp", "", from_outside_tcp),
        plain_test("published/from-outside/udp", "", from_outside_udp),
        plain_test("published/from-the-host", "", from_the_host),
        plain_test("published/hairpin", "", hairpin),
        plain_test("published/two-loopback-addresses", "", two_loopback_addresses),
        plain_test("published/other-address-stays-free", "", other_address_stays_free),
        plain_test("published/over-a-kept-port", "", over_a_kept_port),
        plain_test("published/by-two-uplinks", "", by_two_uplinks),
        plain_test("published/no-uplink", "--uplink none", no_uplink),
        plain_test("published/another-uplink", "--uplink wan1", another_uplink),
        plain_test("published/no-host-access", "--host-access=false", no_host_access),
        plain_test("published/allow", "", allow),
        plain_test("published/rules", "", rules),
        plain_test("published/taken", "", taken),
        plain_test("published/unpublish-ends-sessions", "", unpublish_ends_sessions),
        plain_test("published/published-anew", "", published_anew),
        plain_test("published/range", "", range),
        plain_test("published/closed-port", "", closed_port),
        plain_test("published/daemon-killed", "", |edge| restarted(edge, Signal::KILL)),
        plain_test("published/daemon-ended", "", |edge| restarted(edge, Signal::TERM)),
        plain_test("published/address-comes-late", "", address_comes_late),
        plain_test("published/bad-input", "", bad_input),
    ]
}

/// Publishes ports of a station.
pub(crate) fn publish(daemon: &Daemon, station: &Station, ports: &str) {
    daemon.ok(&format!("publish blue {} {ports}", station.endpoint.name));
}

fn unpublish(daemon: &Daemon, station: &Station, ports: &str) {
    daemon.ok(&format!("unpublish blue {} {ports}", station.endpoint.name));
}

/// Connects from `own` to `target`, which must lead to the listener.
fn open(from: &Namespace, own: Ipv4Addr, target: (Ipv4Addr, u16), listener: &TcpListener) -> Connection {
    let client = try_connect(from, (own, 0), target, PATIENCE);
    let client = client.unwrap_or_else(|error| panic!("{own} to {target:?}: {error}"));
    Connection::accept(client, listener).unwrap()
}

/// The client's own address, as it has it itself.
fn own_address(connection: &Connection) -> SocketAddrV4 {
    crate::edge::v4(connection.client.local_addr().unwrap())
}

/// Whether published port 8080 is served from outside.
fn is_served(edge: &Edge, listener: &TcpListener) -> bool {
    match try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, 8080), SILENCE) {
        Ok(client) => {
            // Whoever else had accepted it would not let the byte through.
            Connection::accept(client, listener).is_ok_and(|connection| connection.check().is_ok())
        }
        Err(_) => false,
    }
}

fn from_outside_tcp(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    for own in [OUTSIDE, OUTSIDE_TOO] {
        let connection = open(&edge.outside.machine, own, (HOST, 8080), &listener);
        assert_eq!(peer(&connection.server), own_address(&connection), "the client keeps its address");
        connection.both_ways(LONG).unwrap();
    }
}

fn from_outside_udp(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "5353:53/udp");
    let server = bind(&station.namespace, (station.ip(), 53));
    for own in [(OUTSIDE, 7000), (OUTSIDE, 7001), (OUTSIDE_TOO, 7000)] {
        let client = bind(&edge.outside.machine, own);
        for size in [0, 1, 512, 1472, 1473, 20_000] {
            let seen = exchange(&client, &server, (HOST, 5353), size);
            assert_eq!(seen, SocketAddrV4::new(own.0, own.1), "the client keeps its address");
        }
    }
}

fn from_the_host(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "8080:80/udp");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let server = bind(&station.namespace, (station.ip(), 80));
    for target in [LOOPBACK, Ipv4Addr::new(127, 0, 0, 9), HOST, GATEWAY] {
        open(edge.host(), Ipv4Addr::UNSPECIFIED, (target, 8080), &listener).both_ways(SHORT).unwrap();
        let client = bind(edge.host(), (Ipv4Addr::UNSPECIFIED, 0));
        exchange(&client, &server, (target, 8080), 1000);
        exchange(&client, &server, (target, 8080), 0);
    }
}

fn hairpin(edge: &mut Edge) {
    let (served, other) = (edge.daemon.attach(""), edge.daemon.attach(""));
    publish(&edge.daemon, &served, "8080:80");
    publish(&edge.daemon, &served, "8080:80/udp");
    let listener = listen(&served.namespace, (served.ip(), 80));
    let server = bind(&served.namespace, (served.ip(), 80));
    for client in [&other, &served] {
        let connection = open(&client.namespace, Ipv4Addr::UNSPECIFIED, (HOST, 8080), &listener);
        assert_eq!(*peer(&connection.server).ip(), GATEWAY, "as with docker, the gateway stands in");
        connection.both_ways(SHORT).unwrap();
        let socket = bind(&client.namespace, (Ipv4Addr::UNSPECIFIED, 0));
        exchange(&socket, &server, (HOST, 8080), 1000);
    }
    // From another network, whose endpoints do not reach this one's otherwise.
    edge.daemon.ok("network create red --subnet 10.89.0.0/24");
    let red = edge.daemon.attach_on("red", Namespace::new("e2e").unwrap(), "");
    open(&red.namespace, Ipv4Addr::UNSPECIFIED, (HOST, 8080), &listener).both_ways(SHORT).unwrap();
    assert!(!reaches(&red.namespace, (served.ip(), 80)));
}

fn two_loopback_addresses(edge: &mut Edge) {
    let stations = [edge.daemon.attach(""), edge.daemon.attach("")];
    let addresses = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let listeners = [0, 1].map(|number| {
        let station: &Station = &stations[number];
        publish(&edge.daemon, station, &format!("{}:80:80", addresses[number]));
        listen(&station.namespace, (station.ip(), 80))
    });
    for (address, listener) in addresses.into_iter().zip(&listeners) {
        open(edge.host(), Ipv4Addr::UNSPECIFIED, (address, 80), listener).check().unwrap();
    }
    // Nobody else has them: neither the rest of loopback nor the outside.
    assert!(!reaches(edge.host(), (LOOPBACK, 80)));
    assert!(!reaches(&edge.outside.machine, (HOST, 80)));
}

fn other_address_stays_free(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, &format!("{HOST}:8080:80"));
    let inside = listen(&station.namespace, (station.ip(), 80));
    // A program of the host has the same port on another address.
    let on_the_host = listen(edge.host(), (LOOPBACK, 8080));
    open(edge.host(), Ipv4Addr::UNSPECIFIED, (LOOPBACK, 8080), &on_the_host).check().unwrap();
    open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &inside).check().unwrap();
}

/// What an endpoint uses as its source port yields to who publishes it on one address; on every address one socket serves both.
fn over_a_kept_port(edge: &mut Edge) {
    let (served, other) = (edge.daemon.attach(""), edge.daemon.attach(""));
    let outside = bind(&edge.outside.machine, (OUTSIDE, 4242));
    for (port, address, yields) in
        [(5060, Some(HOST), true), (5061, Some(LOOPBACK), true), (5062, None, false)]
    {
        let client = bind(&other.namespace, (other.ip(), port));
        assert_eq!(exchange(&client, &outside, (OUTSIDE, 4242), 100).port(), port);
        let address_part = address.map_or(String::new(), |address| format!("{address}:"));
        publish(&edge.daemon, &served, &format!("{address_part}{port}:53/udp"));
        let server = bind(&served.namespace, (served.ip(), 53));
        let from = if address == Some(LOOPBACK) { edge.host() } else { &edge.outside.machine };
        let target = (address.unwrap_or(HOST), port);
        exchange(&bind(from, (Ipv4Addr::UNSPECIFIED, 0)), &server, target, 100);
        // The endpoint goes on, by another port if need be.
        let seen = exchange(&client, &outside, (OUTSIDE, 4242), 100).port();
        assert_eq!(seen != port, yields, "{port} is seen as {seen}");
    }
}

fn by_two_uplinks(edge: &mut Edge) {
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "8080:80/udp");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let server = bind(&station.namespace, (station.ip(), 80));
    // The last one comes by the second uplink from an address that the host's route has behind the first.
    for (own, target) in [(OUTSIDE, HOST), (SECOND_ROUTER, SECOND_HOST), (OUTSIDE, SECOND_HOST)] {
        let connection = open(&edge.outside.machine, own, (target, 8080), &listener);
        assert_eq!(*peer(&connection.server).ip(), own, "the client keeps its address");
        connection.both_ways(SHORT).unwrap();
        let client = bind(&edge.outside.machine, (own, 0));
        assert_eq!(*exchange(&client, &server, (target, 8080), 1000).ip(), own);
    }
}

/// That the outside does not get to the station by `HOST`, not even in another's name, and the host does.
fn is_for_the_host_alone(edge: &Edge, station: &Station, listener: &TcpListener) {
    assert!(try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, 8080), SILENCE).is_err());
    let server = bind(&station.namespace, (station.ip(), 80));
    let outside = bind(&edge.outside.machine, (OUTSIDE, 0));
    outside.send_to(b"from outside", (HOST, 8080)).unwrap();
    let client = bind(edge.host(), (Ipv4Addr::UNSPECIFIED, 0));
    for target in [LOOPBACK, HOST] {
        open(edge.host(), Ipv4Addr::UNSPECIFIED, (target, 8080), listener).check().unwrap();
        // What came from outside before would be read first.
        exchange(&client, &server, (target, 8080), 100);
    }
}

fn no_uplink(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "8080:80/udp");
    let listener = listen(&station.namespace, (station.ip(), 80));
    is_for_the_host_alone(edge, &station, &listener);
    drop(listener);
    // By another network's uplink neither.
    edge.daemon.ok("network create red --subnet 10.89.0.0/24");
    until("the uplink is open", || edge.daemon.ok("uplink ls").contains(UPLINK));
    let listener = listen(&station.namespace, (station.ip(), 80));
    is_for_the_host_alone(edge, &station, &listener);
}

fn another_uplink(edge: &mut Edge) {
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "8080:80/udp");
    let listener = listen(&station.namespace, (station.ip(), 80));
    is_for_the_host_alone(edge, &station, &listener);
    until("the second uplink is open", || edge.daemon.ok("uplink ls").contains("wan1"));
    let connection = open(&edge.outside.machine, SECOND_ROUTER, (SECOND_HOST, 8080), &listener);
    assert_eq!(*peer(&connection.server).ip(), SECOND_ROUTER, "the client keeps its address");
}

/// Where the host has no port on the network its clients are reset, and not connected to whoever else has the endpoint's address.
fn no_host_access(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let address = |at: &Namespace, interface: &str, address: Ipv4Addr| {
        let add = || {
            let links = Links::open().unwrap();
            links.add_address(&links.get(interface).unwrap(), address.into(), 24).unwrap();
        };
        at.run(add).unwrap();
    };
    address(edge.host(), UPLINK, Ipv4Addr::new(10, 88, 0, 77));
    address(&edge.outside.machine, "eth0", station.ip());
    let neighbour = listen(&edge.outside.machine, (station.ip(), 80));
    assert!(reaches(edge.host(), (station.ip(), 80)), "the neighbour is there");
    neighbour.set_nonblocking(true).unwrap();
    neighbour.accept().unwrap();
    publish(&edge.daemon, &station, "8080:80");
    let turned_away = match try_connect(edge.host(), (LOOPBACK, 0), (LOOPBACK, 8080), PATIENCE) {
        Ok(mut client) => {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.read(&mut [0]).unwrap_err()
        }
        Err(error) => error,
    };
    assert_eq!(turned_away.kind(), ErrorKind::ConnectionReset, "{turned_away}");
    assert_eq!(neighbour.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn allow(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, &format!("8080:80 --allow {OUTSIDE}/32"));
    let listener = listen(&station.namespace, (station.ip(), 80));
    open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &listener).check().unwrap();
    assert!(try_connect(&edge.outside.machine, (OUTSIDE_TOO, 0), (HOST, 8080), SILENCE).is_err());
}

/// An ordered list of its own, whose changes are for open sessions too.
fn rules(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    publish(&edge.daemon, &station, "8080-8081:80-81");
    publish(&edge.daemon, &station, "9090:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let hits = |edge: &Edge| -> Vec<u64> {
        let rules: Vec<Rule> = edge.daemon.json("rule ls blue --publication 8080-8081:80-81");
        rules.iter().map(|rule| rule.hits).collect()
    };
    let machine = &edge.outside.machine;
    let goes = open(machine, OUTSIDE, (HOST, 8080), &listener);
    let stays = open(machine, OUTSIDE_TOO, (HOST, 8080), &listener);
    let other = open(machine, OUTSIDE, (HOST, 9090), &listener);
    let add = |rule: &str| edge.daemon.ok(&format!("rule add blue {rule} --publication 8080-8081:80-81"));
    add(&format!("deny --from {OUTSIDE} --to {HOST} --proto tcp --port 8080"));
    goes.server.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(goes.check().is_err(), "a session that a new rule denies goes on");
    for open in [&stays, &other] {
        open.check().unwrap();
    }
    assert!(try_connect(machine, (OUTSIDE, 0), (HOST, 8080), SILENCE).is_err());
    assert!(hits(edge)[0] >= 1);
    open(machine, OUTSIDE, (HOST, 9090), &listener).check().unwrap();
    // In order: who is allowed first is allowed, once for each session however many packets.
    add("deny");
    add(&format!("allow --from {OUTSIDE_TOO} --at 1"));
    open(machine, OUTSIDE_TOO, (HOST, 8080), &listener).both_ways(SHORT).unwrap();
    assert_eq!(hits(edge)[0], 1);
    let packet = format!("tcp {OUTSIDE_TOO}:5000 > {HOST}:8080");
    let trace = edge.daemon.ask(&["trace", "blue", "--from", "uplink:wan0", &packet]).stdout;
    assert!(trace.contains("publication 1 is for this sender too"), "{trace}");
    // An endpoint that comes by the host's address is held against it too; the host itself is not.
    let inside = edge.daemon.attach("");
    let from_inside =
        || try_connect(&inside.namespace, (Ipv4Addr::UNSPECIFIED, 0), (HOST, 8080), SILENCE).is_ok();
    assert!(!from_inside());
    open(edge.host(), LOOPBACK, (LOOPBACK, 8080), &listener).check().unwrap();
    // They outlive the daemon, and the network's rules come first.
    edge.daemon.end(Signal::KILL);
    edge.daemon.start_again();
    assert_eq!(hits(edge).len(), 3);
    assert!(!from_inside());
    open(&edge.outside.machine, OUTSIDE_TOO, (HOST, 8080), &listener).check().unwrap();
    edge.daemon.ok("rule add blue deny");
    let before = hits(edge);
    assert!(!from_inside());
    assert_eq!(hits(edge), before, "who does not come so far is not counted");
    edge.daemon.ok("rule flush blue");
    edge.daemon.ok("rule flush blue --publication 1");
    open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &listener).check().unwrap();
    assert!(from_inside());
}

fn taken(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let own = listen(edge.host(), (Ipv4Addr::UNSPECIFIED, 8080));
    let publish = |ports: &str| edge.daemon.ask(&["publish", "blue", &station.endpoint.name, ports]);
    let answer = publish("8080:80");
    assert_eq!(answer.code, Some(1));
    let holder = std::env::current_exe().unwrap();
    // The kernel cuts a process's name at 15 bytes.
    let holder: String = holder.file_name().unwrap().to_string_lossy().chars().take(15).collect();
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    assert!(answer.stderr.contains("8080") && answer.stderr.contains(&holder), "{}", answer.stderr);
    // A range of which one port is taken leaves nothing behind.
    assert_eq!(publish("8079-8081:79-81").code, Some(1));
    assert!(!reaches(edge.host(), (LOOPBACK, 8079)));
    listen(edge.host(), (Ipv4Addr::UNSPECIFIED, 8079));
    drop(own);
    assert_eq!(publish("8080:80").code, Some(0));
    // By itself.
    let answer = publish("8080:81");
    assert_eq!((answer.code, answer.stderr.lines().count()), (Some(1), 1), "{}", answer.stderr);
    let listener = listen(&station.namespace, (station.ip(), 80));
    open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &listener).check().unwrap();
}

fn unpublish_ends_sessions(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "8080:80/udp");
    publish(&edge.daemon, &station, "9090:90");
    let (listener, other) =
        (listen(&station.namespace, (station.ip(), 80)), listen(&station.namespace, (station.ip(), 90)));
    let server = bind(&station.namespace, (station.ip(), 80));
    let client = bind(&edge.outside.machine, (OUTSIDE, 0));
    let tcp = open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &listener);
    let stays = open(&edge.outside.machine, OUTSIDE, (HOST, 9090), &other);
    let local = open(edge.host(), LOOPBACK, (LOOPBACK, 8080), &listener);
    let seen = exchange(&client, &server, (HOST, 8080), 100);
    // What comes from elsewhere, by a session that the endpoint opens, is another matter.
    client.connect((HOST, 8080)).unwrap();
    for connection in [&tcp, &stays, &local] {
        connection.check().unwrap();
    }
    unpublish(&edge.daemon, &station, "8080:80");
    unpublish(&edge.daemon, &station, "8080:80/udp");
    // Neither way, and the other publication's session does not notice.
    (&tcp.client).write_all(b"into the void").unwrap();
    client.send_to(b"into the void", (HOST, 8080)).unwrap();
    server.send_to(b"out of the void", seen).unwrap();
    stays.check().unwrap();
    assert!(!is_served(edge, &listener));
    for end in [&tcp.server, &local.server] {
        end.set_nonblocking(true).unwrap();
        let nothing = (&mut &*end).read(&mut [0; 32]);
        assert!(!matches!(nothing, Ok(1..)), "{nothing:?}");
    }
    for socket in [&server, &client] {
        socket.set_nonblocking(true).unwrap();
    }
    let nothing = server.recv(&mut [0; 32]).unwrap_err().kind();
    // The host may have said already that nobody is at its port.
    assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::ConnectionRefused), "{nothing}");
    // The endpoint may send where it likes, but not from the port that was published.
    match client.recv_from(&mut [0; 32]) {
        Ok((_, from)) => assert_ne!(from, (HOST, 8080).into()),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused), "{error}")
        }
    }
    // The port is the host's own again.
    listen(edge.host(), (Ipv4Addr::UNSPECIFIED, 8080));
}

/// The same port for another endpoint: old clients must not end up at the new one in the middle of a connection.
fn published_anew(edge: &mut Edge) {
    let (first, second) = (edge.daemon.attach(""), edge.daemon.attach(""));
    let servers = [&first, &second].map(|station| bind(&station.namespace, (station.ip(), 53)));
    let client = bind(&edge.outside.machine, (OUTSIDE, 7000));
    publish(&edge.daemon, &first, "5353:53/udp");
    exchange(&client, &servers[0], (HOST, 5353), 100);
    unpublish(&edge.daemon, &first, "5353:53/udp");
    publish(&edge.daemon, &second, "5353:53/udp");
    // The very same client, whose session was with the first.
    exchange(&client, &servers[1], (HOST, 5353), 100);
}

fn range(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let (first, last) = if full() { (20_000u16, 29_999u16) } else { (20_000, 20_999) };
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", edge.daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = memory();
    let started = std::time::Instant::now();
    publish(&edge.daemon, &station, &format!("{first}-{last}:{first}-{last}"));
    // As wanted of 10,000 ports: one second, 10 MB.
    assert!(started.elapsed().as_secs() < 1, "{:?}", started.elapsed());
    let grown = memory().saturating_sub(before);
    assert!(grown < 10_000, "{grown} kB more");
    for port in [first, first + 1, first.midpoint(last), last] {
        let listener = listen(&station.namespace, (station.ip(), port));
        open(&edge.outside.machine, OUTSIDE, (HOST, port), &listener).check().unwrap();
        open(edge.host(), LOOPBACK, (LOOPBACK, port), &listener).check().unwrap();
    }
    unpublish(&edge.daemon, &station, &format!("{first}-{last}:{first}-{last}"));
    listen(edge.host(), (Ipv4Addr::UNSPECIFIED, first));
    listen(edge.host(), (Ipv4Addr::UNSPECIFIED, last));
}

/// A published port behind which nobody listens is refused by the endpoint, not lost.
fn closed_port(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "8080:80/udp");
    let error = try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, 8080), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    let client = bind(&edge.outside.machine, (OUTSIDE, 0));
    client.connect((HOST, 8080)).unwrap();
    client.send(b"anybody?").unwrap();
    let error = client.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    // The host's kernel, which holds the port, keeps out of it: one answer to a SYN, and that is the endpoint's.
    let remote = Remote::new(edge);
    remote.send_segment(
        7000,
        8080,
        Segment { sequence: 1, acknowledgement: 0, flags: flag::SYN, ..Segment::default() },
    );
    let packet = remote.receive_own(6);
    assert_eq!(packet[33], flag::RST | flag::ACK, "{NOBODY} is answered by a reset");
}

fn restarted(edge: &mut Edge, signal: Signal) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "8080:80");
    publish(&edge.daemon, &station, "20000-20099:20000-20099/udp");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let before = edge.daemon.ok("ports --json");
    open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &listener).check().unwrap();
    for _ in 0..2 {
        edge.daemon.end(signal);
        edge.daemon.start_again();
        assert_eq!(edge.daemon.ok("ports --json"), before);
        until("the port is served again", || is_served(edge, &listener));
        open(edge.host(), LOOPBACK, (LOOPBACK, 8080), &listener).check().unwrap();
        let server = bind(&station.namespace, (station.ip(), 20_099));
        exchange(&bind(&edge.outside.machine, (OUTSIDE, 0)), &server, (HOST, 20_099), 100);
    }
    // Not only listed: it can be taken back.
    unpublish(&edge.daemon, &station, "8080:80");
    assert!(!is_served(edge, &listener));
}

/// A daemon that starts before the host has an address that is published.
fn address_comes_late(edge: &mut Edge) {
    let late = Ipv4Addr::new(192, 0, 2, 77);
    let address = |edge: &Edge, verb: &str| {
        let ip = || Command::new("ip").args(["address", verb, "192.0.2.77/32", "dev", UPLINK]).status();
        assert!(edge.host().run(ip).unwrap().expect("ip(8), of iproute2, runs").success());
    };
    address(edge, "add");
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, &format!("{late}:8080:80"));
    let listener = listen(&station.namespace, (station.ip(), 80));
    edge.daemon.end(Signal::TERM);
    address(edge, "del");
    edge.daemon.start_again();
    assert!(edge.daemon.ok("ports").contains("down: the host has no address 192.0.2.77"));
    address(edge, "add");
    until("it has come up", || edge.daemon.ok("ports").trim_end().ends_with(" up"));
    open(edge.host(), Ipv4Addr::UNSPECIFIED, (late, 8080), &listener).check().unwrap();
    address(edge, "del");
}

fn bad_input(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    publish(&edge.daemon, &station, "8080:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let connection = open(&edge.outside.machine, OUTSIDE, (HOST, 8080), &listener);
    let before = edge.daemon.ok("ports --json");
    let lines = [
        "publish blue web :",
        "publish blue web 0:80",
        "publish blue web 65536:80",
        "publish blue web 90-80:90-80",
        "publish blue web 8000-8009:80",
        "publish blue web 80:80/sctp",
        "publish blue web [::1]:80:80",
        "publish blue web 224.0.0.1:80:80",
        "publish blue web 192.0.2.99:80:80",
        "publish blue web 81:81 --allow nobody",
        "publish blue web 8080:81",
        "publish blue nobody 81:81",
        "publish red web 81:81",
        "unpublish blue web 81:81",
        "nat flush --endpoint blue/nobody",
        "rule add blue deny to nowhere",
        "rule rm blue 7",
        "link blue web nobody",
        "trace blue --from web nonsense",
        "network create green --subnet 10.90.0.0/24 --uplink nowhere0 --snat-ip 256.1.1.1",
    ];
    for line in lines {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let answer = edge.daemon.ask(&arguments);
        assert!(matches!(answer.code, Some(1 | 2)), "pontoon {line}: {answer:?}");
        assert!(!answer.stderr.trim().is_empty(), "pontoon {line}: {answer:?}");
        if answer.code == Some(1) {
            assert_eq!(answer.stderr.lines().count(), 1, "pontoon {line}: {answer:?}");
        }
        assert!(answer.stdout.is_empty(), "pontoon {line}: {answer:?}");
    }
    assert_eq!(edge.daemon.ok("ports --json"), before);
    assert_eq!(edge.daemon.ok("network ls -q"), "blue\n");
    connection.check().unwrap();
}
