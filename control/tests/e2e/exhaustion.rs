//! What happens when something is used up, and that those who did not use it up do not notice.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pontoon_dataplane::MacAddr;
use pontoon_tools::outside::{OUTSIDE, OUTSIDE_TOO, Way};
use pontoon_tools::peek::Peek;
use serde_json::Value;

use crate::daemon::{Daemon, GATEWAY, PATIENCE, Station, until};
use crate::edge::{Edge, SILENCE, bind, connect, edge_test, exchange, listen, plain_test, try_connect};
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

/// A flood of half-open connections from one endpoint, while another's downloads go on.
fn flood_beside_downloads(edge: &mut Edge) {
    let (bad, good) = (edge.daemon.attach("--name bad"), edge.daemon.attach("--name good"));
    let wire = Peek::open(&bad.namespace, "eth0").unwrap();
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let (downloads, bytes) = if full() { (200, 1 << 20) } else { (30, 1 << 18) };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                flood(&bad, &wire, 0..200_000, &over);
            }
        });
        until("the flood is there", || stats(&edge.daemon)["half_open"].as_u64().unwrap() > 1000);
        let run = || {
            for _ in 0..downloads {
                connect(&good.namespace, &listener).both_ways(bytes).unwrap();
            }
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        over.store(true, Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let list = stats(&edge.daemon);
    let of_bad =
        list["endpoints"].as_array().unwrap().iter().find(|it| it["endpoint"] == "blue/bad").cloned();
    let share = list["sessions_per_endpoint_max"].as_u64().unwrap();
    assert!(of_bad.unwrap()["sessions"].as_u64().unwrap() <= share);
}

/// More flows than an endpoint may have: the new ones are refused and told so, the old ones live.
fn sessions_of_one_endpoint(edge: &mut Edge) {
    edge.daemon.network("");
    let (greedy, other) = (edge.daemon.attach("--name greedy"), edge.daemon.attach(""));
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let clients: Vec<_> = (0..100).map(|_| bind(&greedy.namespace, ANY)).collect();
    for client in &clients {
        exchange(client, &server, (OUTSIDE, 4242), 10);
    }
    let one_more = bind(&greedy.namespace, ANY);
    one_more.connect((OUTSIDE, 4242)).unwrap();
    one_more.send(b"one more").unwrap();
    let error = one_more.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(PROHIBITED), "{error}");
    let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
    assert!(try_connect(&greedy.namespace, ANY, (OUTSIDE, 4242), SILENCE).is_err());
    let figures = stats(&edge.daemon);
    assert!(figures["refused_tcp"].as_u64().unwrap() >= 1, "{figures}");
    assert!(figures["refused_other"].as_u64().unwrap() >= 1, "{figures}");
    assert!(edge.daemon.dropped(&greedy, "session-share") >= 2);
    for client in &clients {
        exchange(client, &server, (OUTSIDE, 4242), 10);
    }
    connect(&other.namespace, &listener).check().unwrap();
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
    assert!(stats(&edge.daemon)["sessions"].as_u64().unwrap() <= 200);
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
