//! Sessions: what is listed, how TCP begins and ends, what a flush does.

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use pontoon_dataplane::MacAddr;
use pontoon_tools::outside::{HOST, OUTSIDE};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};
use pontoon_tools::transfer::Connection;
use serde_json::Value;
use socket2::SockRef;

use crate::Test;
use crate::daemon::{Daemon, GATEWAY, PATIENCE, until};
use crate::edge::{Edge, bind, connect, exchange, listen, plain_test, try_connect, v4};
use crate::frames::{Segment, ethernet, flag, tcp, udp};
use crate::published::publish;
use crate::remote::{NOBODY, Remote};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("sessions/listed", "", listed),
        plain_test("sessions/flushed", "", flushed),
        plain_test("sessions/ends-in-every-order/inside", "", |edge| {
            ends_in_every_order(edge, Begun::Inside)
        }),
        plain_test("sessions/ends-in-every-order/outside", "", |edge| {
            ends_in_every_order(edge, Begun::Outside)
        }),
        plain_test("sessions/resets-that-cross/inside", "", |edge| resets_that_cross(edge, Begun::Inside)),
        plain_test("sessions/resets-that-cross/outside", "", |edge| resets_that_cross(edge, Begun::Outside)),
        plain_test("sessions/half-closed", "", half_closed),
        plain_test("sessions/simultaneous-open", "", simultaneous_open),
        plain_test("sessions/stray-segments", "", stray_segments),
        plain_test("sessions/ping-of-two", "", ping_of_two),
        plain_test("sessions/detached", "", detached),
        plain_test("sessions/idle", "", idle),
    ]
}

/// The sessions of the daemon.
pub(crate) fn sessions(daemon: &Daemon) -> Vec<Value> {
    let list: Value = daemon.json("nat ls");
    let list = list.get("sessions").cloned().unwrap_or(list);
    list.as_array().expect("a list of sessions").clone()
}

/// The session whose client has this port, if there is one.
fn session(daemon: &Daemon, client: u16) -> Option<Value> {
    sessions(daemon).into_iter().find(|session| session["original"]["source_port"] == client)
}

/// Its state.
fn state(daemon: &Daemon, client: u16) -> Option<String> {
    session(daemon, client).map(|session| session["state"].as_str().unwrap().to_owned())
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

/// Where a connection was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Inside,
    /// By a published port.
    Outside,
}

/// What a side does to its end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Fin,
    Rst,
}

/// Orders in which connections end: what the side that begins to (0) and the other (1) do, one after the other.
const ENDINGS: [&[(usize, Act)]; 5] = [
    &[(0, Act::Rst)],
    &[(0, Act::Fin), (1, Act::Fin)],
    &[(0, Act::Fin), (1, Act::Rst)],
    &[(0, Act::Fin), (0, Act::Rst)],
    &[(0, Act::Fin), (1, Act::Fin), (0, Act::Rst)],
];

/// RST and FIN, from either side and from both: whatever ends there ends here as well, and nothing sooner.
fn ends_in_every_order(edge: &mut Edge, begun: Begun) {
    let station = edge.daemon.attach("");
    let (client, listener, target) = match begun {
        Begun::Inside => {
            let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
            (&station.namespace, listener, (OUTSIDE, 4242))
        }
        Begun::Outside => {
            publish(&edge.daemon, &station, "8080:80");
            let listener = listen(&station.namespace, (station.ip(), 80));
            (&edge.outside.machine, listener, (HOST, 8080))
        }
    };
    let open = |own: u16| {
        let own = if begun == Begun::Inside { (Ipv4Addr::UNSPECIFIED, own) } else { (OUTSIDE, own) };
        let stream =
            try_connect(client, own, target, PATIENCE).unwrap_or_else(|error| panic!("{own:?}: {error}"));
        let connection = Connection::accept(stream, &listener).unwrap();
        connection.check().unwrap();
        assert_eq!(state(&edge.daemon, client_port(&connection)).as_deref(), Some("established"));
        connection
    };
    for (server_first, acts) in [false, true].into_iter().flat_map(|it| ENDINGS.map(|acts| (it, acts))) {
        let connection = open(0);
        let port = client_port(&connection);
        let Connection { client, server } = connection;
        let ends = if server_first { [server, client] } else { [client, server] };
        end(edge, port, ends, acts);
        assert_eq!(
            state(&edge.daemon, port).as_deref(),
            Some("closed"),
            "server first: {server_first}, {acts:?}"
        );
        // The very same addresses and ports serve again, where no kernel waits for stragglers.
        if acts.len() < 3 && acts.iter().any(|(_, act)| *act == Act::Rst) {
            open(port);
        }
    }
    // FINs that cross.
    let connection = open(0);
    std::thread::scope(|scope| {
        for end in [&connection.client, &connection.server] {
            scope.spawn(|| end.shutdown(Shutdown::Write).unwrap());
        }
    });
    for mut end in [&connection.client, &connection.server] {
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(state(&edge.daemon, client_port(&connection)).as_deref(), Some("closed"));
}

/// Ends a connection; each act is heard on the other side before the next.
fn end(edge: &Edge, port: u16, ends: [TcpStream; 2], acts: &[(usize, Act)]) {
    let mut ends = ends.map(Some);
    let mut fins = [false; 2];
    for &(side, act) in acts {
        let this = ends[side].take().expect("nobody acts after a reset");
        match act {
            Act::Fin => {
                this.shutdown(Shutdown::Write).unwrap();
                ends[side] = Some(this);
                assert_eq!(ends[1 - side].as_ref().unwrap().read(&mut [0]).unwrap(), 0, "{acts:?}");
                fins[side] = true;
            }
            Act::Rst => {
                SockRef::from(&this).set_linger(Some(Duration::ZERO)).unwrap();
                drop(this);
                // Who has closed his own side is not told: both are done.
                if fins != [true; 2] {
                    let other = ends[1 - side].as_ref().unwrap();
                    until("the other side hears of the reset", || other.take_error().unwrap().is_some());
                }
            }
        }
        if fins != [true; 2] && act == Act::Fin {
            // The other side may go on for as long as it likes: it is closing only after both FINs (RFC 5382, section 5).
            let session = session(&edge.daemon, port).expect("a session");
            assert_eq!(session["state"], "closing", "{acts:?}");
            assert!(session["expires_seconds"].as_u64().unwrap() > 2 * 3600, "{session}");
        }
    }
}

/// A reset of one side that has not heard yet of the other's.
fn resets_that_cross(edge: &mut Edge, begun: Begun) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    publish(&edge.daemon, &station, "8080:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    for (count, inside_first) in [true, false].into_iter().enumerate() {
        let with = 6000 + count as u16;
        let (stream, port, [next, inside_next]) = match begun {
            Begun::Inside => remote.accept(&station.namespace, with),
            Begun::Outside => remote.connect(&listener, with, 8080),
        };
        let (own, peer) = (v4(stream.local_addr().unwrap()), v4(stream.peer_addr().unwrap()));
        let client = if begun == Begun::Inside { own.port() } else { with };
        assert_eq!(state(&edge.daemon, client).as_deref(), Some("established"));
        let reset = Segment { sequence: next, flags: flag::RST, ..Segment::default() };
        if inside_first {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
            remote.receive_segment(flag::RST | flag::ACK);
            remote.send_segment(with, port, reset);
            let is_reset = |frame: &[u8]| frame.get(23) == Some(&6) && frame[47] & flag::RST != 0;
            wire.until(PATIENCE, |frame| is_reset(&frame.bytes)).unwrap();
        } else {
            remote.send_segment(with, port, reset);
            until("the inside hears of the reset", || stream.take_error().unwrap().is_some());
            let (from, to) = ((*own.ip(), own.port()), (*peer.ip(), peer.port()));
            let reset = tcp(from, to, Segment { sequence: inside_next, ..reset });
            wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, &reset)).unwrap();
            remote.receive_segment(flag::RST);
        }
        assert_eq!(state(&edge.daemon, client).as_deref(), Some("closed"), "inside first: {inside_first}");
    }
    assert_eq!(sessions(&edge.daemon).len(), 2);
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
    // Another's SYN to the same port finds nobody, and is not answered at once (REQ-4): the side inside may be about to call. Neither
    // by a reset nor by ICMP, neither by us nor by the host's kernel.
    let seen = sessions(&edge.daemon)[0]["reply"]["destination_port"].as_u64().unwrap() as u16;
    let other = Segment { sequence: 1, flags: flag::SYN, ..Segment::default() };
    remote.send_segment(6001, seen, other);
    let client = bind(&station.namespace, ANY);
    let mark = |text: &[u8]| {
        client.send_to(text, (NOBODY, 9)).unwrap();
        // The connection's own segments aside.
        remote.receive(|packet| {
            packet[16..20] == NOBODY.octets() && (packet[9] != 6 || packet[33] & flag::RST != 0)
        })
    };
    let first = mark(b"a mark");
    // What comes in by the same wire after the SYN has been seen after it.
    let port = u16::from_be_bytes([first[20], first[21]]);
    remote.send(&udp((NOBODY, 9), (HOST, port), b"back", false));
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 4);
    for packet in [first, mark(b"another mark")] {
        assert_eq!(packet[9], 17, "an answer to an unsolicited SYN: {packet:x?}");
    }
}

/// Segments that belong to no session open none.
fn stray_segments(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    let client = bind(&station.namespace, ANY);
    client.send_to(b"there", (NOBODY, 9)).unwrap();
    remote.receive_own(17);
    let before = sessions(&edge.daemon).len();
    let gateway = MacAddr::from_ipv4(GATEWAY);
    for flags in [flag::RST, flag::FIN | flag::ACK, flag::SYN | flag::ACK] {
        let packet = tcp(
            (station.ip(), 40_000),
            (NOBODY, 80),
            Segment { sequence: 1, acknowledgement: 1, flags, ..Segment::default() },
        );
        wire.send(&ethernet(gateway, station.mac().0, 0x0800, &packet)).unwrap();
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

/// How often the daemon's workers have woken up.
fn wakes(daemon: &Daemon) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let workers = tasks.map(|task| task.unwrap().path()).filter(|task| {
        // A thread may have ended just now.
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("worker-"))
    });
    let count = |task: std::path::PathBuf| -> u64 {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.expect("a figure").trim().parse().unwrap()
    };
    let counts: Vec<_> = workers.map(count).collect();
    assert!(!counts.is_empty(), "no worker");
    counts.into_iter().sum()
}

/// Ten thousand sessions that nobody uses wake nobody up.
fn idle(edge: &mut Edge) {
    const COUNT: u32 = 10_000;
    /// For a stray packet, and whatever is done every few seconds.
    const FEW: u64 = 4;
    let window = Duration::from_secs(2);
    let station = edge.daemon.attach("");
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    let count = || edge.daemon.json::<Value>("nat stats")["sessions"].as_u64().unwrap();
    // Part of a burst is lost on the wire: again, until all have come.
    until("all are open", || {
        for number in 0..COUNT {
            let to = (Ipv4Addr::from(u32::from(NOBODY) + number / 1000), 10_000 + (number % 1000) as u16);
            let packet = udp((station.ip(), 40_000), to, b"once", false);
            let _ = wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, &packet));
        }
        count() >= u64::from(COUNT)
    });
    until("the workers sleep", || {
        let before = wakes(&edge.daemon);
        std::thread::sleep(window);
        wakes(&edge.daemon) - before <= FEW
    });
    assert!(count() >= u64::from(COUNT), "the sessions are there still");
}
