//! Sessions: what is listed, how TCP begins and ends, what a flush does.

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown};
use std::time::Duration;

use pontoon_tools::outside::{HOST, OUTSIDE};
use pontoon_tools::ping::{Answer, Pinger};
use pontoon_tools::transfer::Connection;
use serde_json::Value;
use socket2::SockRef;

use crate::Test;
use crate::daemon::{Daemon, PATIENCE, until};
use crate::edge::{Edge, bind, connect, exchange, listen, plain_test, try_connect, v4};
use crate::frames::{Segment, flag};
use crate::remote::{NOBODY, Remote};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("sessions/listed", "", listed),
        plain_test("sessions/flushed", "", flushed),
        plain_test("sessions/ends-in-every-order", "", ends_in_every_order),
        plain_test("sessions/half-closed", "", half_closed),
        plain_test("sessions/simultaneous-open", "", simultaneous_open),
        plain_test("sessions/stray-segments", "", stray_segments),
        plain_test("sessions/ping-of-two", "", ping_of_two),
        plain_test("sessions/detached", "", detached),
    ]
}

/// The sessions of the daemon.
pub(crate) fn sessions(daemon: &Daemon) -> Vec<Value> {
    let list: Value = daemon.json("nat ls");
    let list = list.get("sessions").cloned().unwrap_or(list);
    list.as_array().expect("a list of sessions").clone()
}

/// State of the session whose client has this port, if there is one.
fn state(daemon: &Daemon, client: u16) -> Option<String> {
    let ours = |session: &&Value| session["original"]["source_port"] == client;
    sessions(daemon).iter().find(ours).map(|session| session["state"].as_str().unwrap().to_owned())
}

fn client_port(connection: &Connection) -> u16 {
    v4(connection.client.local_addr().unwrap()).port()
}

fn listed(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    assert!(sessions(&edge.daemon).is_empty());
    let connection = connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 4242)));
    connection.check().unwrap();
    let list = sessions(&edge.daemon);
    let [session] = &list[..] else { panic!("one session: {list:?}") };
    assert_eq!((&session["endpoint"], &session["protocol"]), (&"blue/web".into(), &"tcp".into()));
    assert_eq!(session["state"], "established", "{session}");
    assert_eq!(session["original"]["source"], station.ip().to_string());
    assert_eq!(session["original"]["source_port"], client_port(&connection));
    assert_eq!(session["original"]["destination"], OUTSIDE.to_string());
    assert_eq!(session["original"]["destination_port"], 4242);
    assert_eq!(session["reply"]["destination"], HOST.to_string());
    let seen = v4(connection.server.peer_addr().unwrap()).port();
    assert_eq!(session["reply"]["destination_port"], seen);
    // RFC 5382, REQ-5.
    assert!(session["expires_seconds"].as_u64().unwrap() > 2 * 3600, "{session}");
    let text = edge.daemon.ok("nat ls");
    assert!(text.contains("blue/web") && text.contains(&format!("{OUTSIDE}:4242")), "{text}");
}

fn flushed(edge: &mut Edge) {
    let stations = [edge.daemon.attach("--name a"), edge.daemon.attach("--name b")];
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let clients = [0, 1].map(|number| bind(&stations[number as usize].namespace, ANY));
    let before = clients.each_ref().map(|client| exchange(client, &server, (OUTSIDE, 4242), 10));
    assert_eq!(sessions(&edge.daemon).len(), 2);
    edge.daemon.ok("nat flush --endpoint blue/a");
    let left = sessions(&edge.daemon);
    assert!(left.len() == 1 && left[0]["endpoint"] == "blue/b", "{left:?}");
    // The old way in is closed; a new packet opens another.
    server.send_to(b"late", before[0]).unwrap();
    exchange(&clients[1], &server, (OUTSIDE, 4242), 10);
    clients[0].set_nonblocking(true).unwrap();
    assert!(clients[0].recv(&mut [0; 10]).is_err(), "a flushed session lets nothing in");
    clients[0].set_nonblocking(false).unwrap();
    exchange(&clients[0], &server, (OUTSIDE, 4242), 10);
    edge.daemon.ok("nat flush");
    assert!(sessions(&edge.daemon).is_empty());
}

/// RST and FIN, from either side and from both: whatever ends there ends here as well.
fn ends_in_every_order(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let (remote_first, server_side) = ([false, true], |connection: &Connection, server: bool| {
        (if server { &connection.server } else { &connection.client }).try_clone().unwrap()
    });
    for server in remote_first {
        let open = || {
            let connection = connect(&station.namespace, &listener);
            connection.check().unwrap();
            assert_eq!(state(&edge.daemon, client_port(&connection)).as_deref(), Some("established"));
            connection
        };
        // A reset.
        let connection = open();
        let port = client_port(&connection);
        let first = server_side(&connection, server);
        SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
        let mut second = server_side(&connection, !server);
        drop((first, connection));
        assert_eq!(second.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        until("the reset session is over", || state(&edge.daemon, port).as_deref() != Some("established"));
        // FIN of one side, then of the other.
        let connection = open();
        let port = client_port(&connection);
        let (first, mut second) = (server_side(&connection, server), server_side(&connection, !server));
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0, "the other side hears of it");
        drop((connection, second, first));
        until("the closed session is over", || state(&edge.daemon, port).as_deref() != Some("established"));
        // A reset after the FIN.
        let connection = open();
        let port = client_port(&connection);
        let (first, mut second) = (server_side(&connection, server), server_side(&connection, !server));
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        SockRef::from(&second).set_linger(Some(Duration::ZERO)).unwrap();
        drop((connection, second));
        until("the session is over", || state(&edge.daemon, port).as_deref() != Some("established"));
        drop(first);
    }
    // FINs that cross.
    let connection = connect(&station.namespace, &listener);
    let port = client_port(&connection);
    std::thread::scope(|scope| {
        for end in [&connection.client, &connection.server] {
            scope.spawn(|| end.shutdown(Shutdown::Write).unwrap());
        }
    });
    for mut end in [&connection.client, &connection.server] {
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
    }
    until("the session is over", || state(&edge.daemon, port).as_deref() != Some("established"));
}

/// A side that has said all it has to say may listen for long.
fn half_closed(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let connection = connect(&station.namespace, &listener);
    connection.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&connection.server).read(&mut [0]).unwrap(), 0);
    pontoon_tools::transfer::Transfer::over(connection.server, connection.client, Some(crate::edge::SHORT))
        .unwrap()
        .complete(crate::edge::SHORT)
        .unwrap();
}

/// Both sides send a SYN before they have seen the other's (RFC 9293, figure 8; RFC 5382, REQ-2).
fn simultaneous_open(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let stream = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| try_connect(&station.namespace, ANY, (NOBODY, 6000), PATIENCE));
        let (port, syn) = remote.receive_segment(flag::SYN);
        let acknowledgement = syn.sequence.wrapping_add(1);
        let syn = Segment { sequence: 1000, flags: flag::SYN, ..Segment::default() };
        remote.send_segment(6000, port, syn);
        let (same, answer) = remote.receive_segment(flag::SYN | flag::ACK);
        assert_eq!((same, answer.acknowledgement), (port, 1001));
        remote.send_segment(6000, port, Segment { acknowledgement, flags: flag::SYN | flag::ACK, ..syn });
        connecting.join().unwrap().unwrap()
    });
    let port = v4(stream.local_addr().unwrap()).port();
    assert_eq!(state(&edge.daemon, port).as_deref(), Some("established"));
    // Another's SYN to the same port finds nobody, and is not answered by a reset (REQ-4): the side inside may be about to call.
    let seen = sessions(&edge.daemon)[0]["reply"]["destination_port"].as_u64().unwrap() as u16;
    let other = Segment { sequence: 1, flags: flag::SYN, ..Segment::default() };
    remote.send_segment(6001, seen, other);
    let client = bind(&station.namespace, ANY);
    client.send_to(b"a mark", (NOBODY, 9)).unwrap();
    let next = remote.receive(|packet| {
        packet[16..20] == NOBODY.octets() && (packet[9] == 17 || packet[33] & flag::RST != 0)
    });
    assert_eq!(next[9], 17, "an answer to an unsolicited SYN: {next:x?}");
}

/// Segments that belong to no session open none.
fn stray_segments(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let wire = pontoon_tools::peek::Peek::open(&station.namespace, "eth0").unwrap();
    let client = bind(&station.namespace, ANY);
    client.send_to(b"there", (NOBODY, 9)).unwrap();
    remote.receive_own(17);
    let before = sessions(&edge.daemon).len();
    let gateway = pontoon_dataplane::MacAddr::from_ipv4(crate::daemon::GATEWAY);
    for flags in [flag::RST, flag::FIN | flag::ACK, flag::SYN | flag::ACK] {
        let packet = crate::frames::tcp(
            (station.ip(), 40_000),
            (NOBODY, 80),
            Segment { sequence: 1, acknowledgement: 1, flags, ..Segment::default() },
        );
        wire.send(&crate::frames::ethernet(gateway, station.mac().0, 0x0800, &packet)).unwrap();
    }
    client.send_to(b"a mark", (NOBODY, 9)).unwrap();
    remote.receive(|packet| packet.ends_with(b"a mark"));
    assert_eq!(sessions(&edge.daemon).len(), before, "{:?}", sessions(&edge.daemon));
}

/// Two sandboxes that ping the same target with the same identifier at once.
fn ping_of_two(edge: &mut Edge) {
    let stations = [edge.daemon.attach(""), edge.daemon.attach("")];
    // The pinger's identifier is always the same.
    let mut pingers = stations.each_ref().map(|station| Pinger::new(&station.namespace, OUTSIDE).unwrap());
    for len in [56, 57, 58] {
        for pinger in &mut pingers {
            assert_eq!(pinger.ping(OUTSIDE, len, PATIENCE).unwrap(), Answer::Reply);
        }
    }
    assert_eq!(sessions(&edge.daemon).len(), 2);
}

fn detached(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    let connection = connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0)));
    connection.check().unwrap();
    assert_eq!(sessions(&edge.daemon).len(), 1);
    edge.daemon.ok("detach blue web");
    assert!(sessions(&edge.daemon).is_empty());
}
