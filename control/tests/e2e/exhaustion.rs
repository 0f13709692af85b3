//! What happens when something is used up, and that those who did not use it up do not notice.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pontoon_dataplane::MacAddr;
use pontoon_tools::outside::{OUTSIDE, OUTSIDE_TOO, Way};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::Answer;
use pontoon_tools::transfer::{Connection, Transfer};
use serde_json::Value;

use crate::daemon::{Daemon, GATEWAY, PATIENCE, Station, until};
use crate::edge::{Edge, bind, connect, edge_test, exchange, listen, ping, plain_test, try_connect};
use crate::frames::{Segment, ethernet, flag, tcp};
use crate::{Test, full};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);
/// How many ports NAT has in the test of that.
const PORTS: usize = 64;
/// How many of them one endpoint gets: all but the last eighth is anybody's, and who has half of them gets none of those.
const MOST: usize = PORTS - PORTS / 8 + 1;
/// EHOSTUNREACH: what Linux makes of ICMP type 3, code 13.
const PROHIBITED: i32 = 113;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("exhaustion/flood-beside-downloads", "", flood_beside_downloads),
        edge_test(
            "exhaustion/sessions-of-one-endpoint",
            Way::Direct(1500),
            &["--nat-sessions-per-endpoint", "100"],
            sessions_of_one_endpoint,
        ),
        edge_test(
            "exhaustion/sessions-in-all",
            Way::Direct(1500),
            &["--nat-sessions", "100", "--nat-sessions-per-endpoint", "60"],
            sessions_in_all,
        ),
        edge_test(
            "exhaustion/half-open-make-room",
            Way::Direct(1500),
            &["--nat-sessions", "200", "--nat-sessions-per-endpoint", "200"],
            half_open_make_room,
        ),
        edge_test("exhaustion/ports/udp", Way::Direct(1500), &["--nat-ports", "50000-50063"], ports),
        edge_test("exhaustion/ports/tcp", Way::Direct(1500), &["--nat-ports", "50000-50063"], ports_of_tcp),
        plain_test("exhaustion/kept-ports", "", kept_ports),
    ]
}

fn stats(daemon: &Daemon) -> Value {
    daemon.json("nat stats")
}

/// Sessions of a station, as the gauge has it.
fn gauge(daemon: &Daemon, station: &Station) -> u64 {
    let stats = stats(daemon);
    let endpoints = stats["endpoints"].as_array().unwrap().iter();
    let own =
        endpoints.filter(|it| it["endpoint"] == station.port()).map(|it| it["sessions"].as_u64().unwrap());
    own.sum()
}

/// Opens so many flows of UDP from a station, which are answered.
fn fill(station: &Station, server: &UdpSocket, count: usize) -> Vec<UdpSocket> {
    let clients: Vec<_> = (0..count).map(|_| bind(&station.namespace, ANY)).collect();
    for client in &clients {
        exchange(client, server, (OUTSIDE, 4242), 10);
    }
    clients
}

/// That whatever a station begins is told at once that it is prohibited: who waited in vain would fail with another error.
fn refused(edge: &Edge, station: &Station, reason: &str) {
    let before = edge.daemon.dropped(station, reason);
    let one_more = bind(&station.namespace, ANY);
    one_more.connect((OUTSIDE, 4242)).unwrap();
    one_more.send(b"one more").unwrap();
    let error = one_more.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(PROHIBITED), "UDP: {error}");
    let error = try_connect(&station.namespace, ANY, (OUTSIDE, 4242), PATIENCE).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(PROHIBITED), "TCP: {error}");
    assert_eq!(ping(&station.namespace, OUTSIDE), Answer::Error { from: GATEWAY, kind: 3, code: 13 });
    assert_eq!(edge.daemon.dropped(station, reason) - before, 3, "{reason}");
}

/// SYNs of one station, each to another port outside.
fn flood(station: &Station, wire: &Peek, numbers: std::ops::Range<u32>, until: &AtomicBool) {
    for number in numbers {
        if until.load(Relaxed) {
            return;
        }
        let from = (station.ip(), 40_000 + (number % 20_000) as u16);
        let to = (Ipv4Addr::from(0xcb00_7150 + number / 20_000), 10_000 + (number % 50_000) as u16);
        let syn = tcp(
            from,
            to,
            Segment { sequence: number, acknowledgement: 0, flags: flag::SYN, ..Segment::default() },
        );
        // A full queue is a loss like any other.
        let _ = wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, &syn));
    }
}

/// A flood of half-open connections from one endpoint, while another's downloads go on: all at once, and the flood all the time.
fn flood_beside_downloads(edge: &mut Edge) {
    let (bad, good) = (edge.daemon.attach("--name bad"), edge.daemon.attach("--name good"));
    let wire = Peek::open(&bad.namespace, "eth0").unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                flood(&bad, &wire, 0..200_000, &over);
            }
        });
        let downloads = AssertUnwindSafe(|| downloads(edge, &good));
        let result = std::panic::catch_unwind(downloads);
        over.store(true, Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    // The flood has cost nobody but its sender.
    let share = stats(&edge.daemon)["sessions_per_endpoint_max"].as_u64().unwrap();
    assert!((1000..=share).contains(&gauge(&edge.daemon, &bad)), "{} of {share}", gauge(&edge.daemon, &bad));
    let drops = edge.daemon.counters(&good).drops;
    let of_nat = ["session-share", "sessions-full", "ports-exhausted", "wait-full", "no-session"];
    assert!(of_nat.iter().all(|reason| !drops.contains_key(*reason)), "{drops:?}");
}

/// Downloads that begin, go on and end while somebody else floods.
fn downloads(edge: &Edge, good: &Station) {
    let (count, bytes, syns) = if full() { (200, 1 << 20, 100_000) } else { (40, 1 << 18, 20_000) };
    let figure = |name: &str| stats(&edge.daemon)[name].as_u64().unwrap();
    until("the flood is there", || figure("half_open") > 1000);
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let connections: Vec<_> = (0..count).map(|_| connect(&good.namespace, &listener)).collect();
    let before = figure("opened");
    let over = |Connection { client, server }| Transfer::over(server, client, None).unwrap();
    let downloads: Vec<_> = connections.into_iter().map(over).collect();
    until("they go on beside the flood", || {
        assert!(!downloads.iter().any(Transfer::has_ended), "a download broke");
        figure("opened") - before > syns && downloads.iter().all(|it| it.received() >= bytes)
    });
    assert_eq!(gauge(&edge.daemon, good), count);
    let list: Value = edge.daemon.json("nat ls --endpoint blue/good");
    let states = list.as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap());
    assert_eq!(states.collect::<BTreeSet<_>>(), BTreeSet::from(["established"]));
    downloads.iter().for_each(Transfer::stop);
    // Every byte that was sent has come.
    for download in downloads {
        download.finish().unwrap();
    }
    let after = figure("opened");
    until("the flood has outlived them", || figure("opened") > after + 1000);
}

/// More flows than an endpoint may have: the new ones are refused and told so, the old ones live.
fn sessions_of_one_endpoint(edge: &mut Edge) {
    edge.daemon.network("");
    let (greedy, other) = (edge.daemon.attach("--name greedy"), edge.daemon.attach(""));
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
    let clients = fill(&greedy, &server, 99);
    assert_eq!(gauge(&edge.daemon, &greedy), 99);
    let last = fill(&greedy, &server, 1);
    refused(edge, &greedy, "session-share");
    let figures = stats(&edge.daemon);
    assert!(figures["refused_tcp"].as_u64().unwrap() >= 1, "{figures}");
    assert!(figures["refused_other"].as_u64().unwrap() >= 2, "{figures}");
    for client in clients.iter().chain(&last) {
        exchange(client, &server, (OUTSIDE, 4242), 10);
    }
    connect(&other.namespace, &listener).check().unwrap();
    assert_eq!([&greedy, &other].map(|station| gauge(&edge.daemon, station)), [100, 1]);
}

/// More flows than there may be in all, of endpoints each of which has less than it may have.
fn sessions_in_all(edge: &mut Edge) {
    edge.daemon.network("");
    let [a, b, c] = ["a", "b", "c"].map(|name| edge.daemon.attach(&format!("--name {name}")));
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
    let clients = [fill(&a, &server, 51), fill(&b, &server, 49)];
    // Those who have some, and those who have none.
    for station in [&a, &b, &c] {
        refused(edge, station, "sessions-full");
    }
    assert_eq!([&a, &b, &c].map(|station| gauge(&edge.daemon, station)), [51, 49, 0]);
    let figures = stats(&edge.daemon);
    assert_eq!(figures["sessions"], 100);
    assert_eq!((&figures["evicted_half_open"], &figures["evicted_other"]), (&0.into(), &0.into()));
    assert!(figures["refused_tcp"].as_u64().unwrap() >= 3, "{figures}");
    assert!(figures["refused_other"].as_u64().unwrap() >= 6, "{figures}");
    for client in clients.iter().flatten() {
        exchange(client, &server, (OUTSIDE, 4242), 10);
    }
    edge.daemon.ok("nat flush --endpoint blue/b");
    connect(&c.namespace, &listener).check().unwrap();
    assert_eq!([&a, &b, &c].map(|station| gauge(&edge.daemon, station)), [51, 0, 1]);
}

/// Half-open connections are the first to go.
fn half_open_make_room(edge: &mut Edge) {
    edge.daemon.network("");
    let station = edge.daemon.attach("");
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let open: Vec<_> = (0..50).map(|_| connect(&station.namespace, &listener)).collect();
    // Part of a burst is lost on the wire: it goes on until enough has come.
    let mut number = 0;
    until("the flood has come", || {
        flood(&station, &wire, number..number + 100, &AtomicBool::new(false));
        number += 100;
        stats(&edge.daemon)["evicted_half_open"].as_u64().unwrap() >= 800
    });
    open.iter().for_each(|connection| connection.check().unwrap());
    // A new one finds room.
    connect(&station.namespace, &listener).check().unwrap();
    assert_eq!((stats(&edge.daemon)["sessions"].as_u64(), gauge(&edge.daemon, &station)), (Some(200), 200));
}

/// Every port that NAT has, to one and the same remote; one endpoint does not get them all.
fn ports(edge: &mut Edge) {
    edge.daemon.network("");
    let (greedy, other) = (edge.daemon.attach("--name greedy"), edge.daemon.attach(""));
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let clients: Vec<_> = (0..MOST).map(|_| bind(&greedy.namespace, ANY)).collect();
    let seen: BTreeSet<_> =
        clients.iter().map(|client| exchange(client, &server, (OUTSIDE, 4242), 10).port()).collect();
    assert_eq!(seen.len(), MOST, "each has a port of its own");
    let others: Vec<_> = (MOST..PORTS).map(|_| bind(&other.namespace, ANY)).collect();
    let refused = |station: &Station| {
        let one_more = bind(&station.namespace, ANY);
        one_more.connect((OUTSIDE, 4242)).unwrap();
        one_more.send(b"one more").unwrap();
        let error = one_more.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(PROHIBITED), "{error}");
    };
    is_refused(edge, &greedy, "refused_other", &refused);
    for client in &others {
        exchange(client, &server, (OUTSIDE, 4242), 10);
    }
    is_refused(edge, &other, "refused_other", &refused);
    // The old ones live, and another remote has all the ports still, and so has TCP.
    for client in clients.iter().chain(&others) {
        exchange(client, &server, (OUTSIDE, 4242), 10);
    }
    let too = bind(&edge.outside.machine, (OUTSIDE_TOO, 4242));
    exchange(&bind(&other.namespace, ANY), &too, (OUTSIDE_TOO, 4242), 10);
    connect(&other.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))).check().unwrap();
}

/// The same with TCP, whose clients learn at once what UDP's learn from the next call.
fn ports_of_tcp(edge: &mut Edge) {
    edge.daemon.network("");
    let (greedy, other) = (edge.daemon.attach("--name greedy"), edge.daemon.attach(""));
    let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
    let open = |station: &Station| connect(&station.namespace, &listener);
    let refused = |station: &Station| {
        let error = try_connect(&station.namespace, ANY, (OUTSIDE, 4242), PATIENCE).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(PROHIBITED), "{error}");
    };
    let connections: Vec<_> = (0..MOST).map(|_| open(&greedy)).collect();
    is_refused(edge, &greedy, "refused_tcp", &refused);
    let others: Vec<_> = (MOST..PORTS).map(|_| open(&other)).collect();
    is_refused(edge, &other, "refused_tcp", &refused);
    connections.iter().chain(&others).for_each(|connection| connection.check().unwrap());
    connect(&other.namespace, &listen(&edge.outside.machine, (OUTSIDE_TOO, 4242))).check().unwrap();
}

/// That a station is refused a port, by name and with its counter.
fn is_refused(edge: &Edge, station: &Station, counter: &str, refused: &dyn Fn(&Station)) {
    let count = || stats(&edge.daemon)[counter].as_u64().unwrap();
    let (refusals, drops) = (count(), edge.daemon.dropped(station, "ports-exhausted"));
    refused(station);
    assert!(edge.daemon.dropped(station, "ports-exhausted") > drops && count() > refusals, "{counter}");
}

/// Source ports that endpoints choose are the host's as well: one endpoint gets few of them, and only for as long as it uses them.
fn kept_ports(edge: &mut Edge) {
    let (greedy, other) = (edge.daemon.attach("--name greedy"), edge.daemon.attach(""));
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let wanted = 2000..2300;
    let clients: Vec<_> = wanted.clone().map(|port| bind(&greedy.namespace, (greedy.ip(), port))).collect();
    let kept: Vec<u16> = wanted
        .zip(&clients)
        .filter(|(port, client)| exchange(client, &server, (OUTSIDE, 4242), 10).port() == *port)
        .map(|(port, _)| port)
        .collect();
    assert!((1..=32).contains(&kept.len()), "{kept:?}");
    let phone = bind(&other.namespace, (other.ip(), 5060));
    assert_eq!(exchange(&phone, &server, (OUTSIDE, 4242), 10).port(), 5060);
    // Those that are not kept are the host's all the while, and the others once they are not used any more.
    let is_free = |port: u16| {
        edge.host().run(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()).unwrap()
    };
    assert!((2000..2300).all(|port| is_free(port) != kept.contains(&port)));
    edge.daemon.ok("nat flush");
    until("the host has them back", || kept.iter().all(|&port| is_free(port)));
}
