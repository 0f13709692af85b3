//! Who may talk to whom.

use std::net::Ipv4Addr;

use pontoon_dataplane::MacAddr;
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, OUTSIDE, OUTSIDE_TOO};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};
use serde_json::Value;

use crate::Test;
use crate::daemon::{GATEWAY, PATIENCE, Station, until};
use crate::edge::{
    Edge, SHORT, SILENCE, bind, connect, exchange, listen, ping, pings, plain_test, reaches, try_connect,
};
use crate::frames::{ethernet, mark, plain, udp};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("rules/networks-are-apart", "", networks_are_apart),
        plain_test("rules/in-order-with-hits", "", in_order_with_hits),
        plain_test("rules/live-sessions", "", live_sessions),
        plain_test("rules/published", "", published),
        plain_test("rules/no-icc", "--icc=false", no_icc),
        plain_test("rules/link", "--icc=false", link),
        plain_test("rules/link-of-everything", "--icc=false", link_of_everything),
        plain_test("rules/uplink-none", "--uplink none", uplink_none),
        plain_test("rules/guard-stays-on", "", guard_stays_on),
        plain_test("rules/ping-prohibited", "", ping_prohibited),
    ]
}

/// A sandbox on another network.
fn on_red(edge: &Edge, options: &str) -> Station {
    edge.daemon.ok(&format!("network create red --subnet 10.89.0.0/24 {options}"));
    edge.daemon.attach_on("red", Namespace::new("e2e").unwrap(), "")
}

fn networks_are_apart(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let other = on_red(edge, "");
    let _listeners = [&other, &station].map(|it| listen(&it.namespace, (it.ip(), 80)));
    assert!(!reaches(&station.namespace, (other.ip(), 80)));
    assert!(!reaches(&other.namespace, (station.ip(), 80)));
    assert!(!pings(&station.namespace, other.ip()));
    // The other's gateway is the host itself.
    let on_the_host = listen(edge.host(), (Ipv4Addr::new(10, 89, 0, 1), 0));
    connect(&station.namespace, &on_the_host).check().unwrap();
    assert_eq!(ping(&other.namespace, OUTSIDE), Answer::Reply);
    assert!(edge.daemon.dropped(&station, "network-isolated") > 0);
}

fn hits(edge: &Edge) -> Vec<u64> {
    let rules: Value = edge.daemon.json("rule ls blue");
    rules.as_array().unwrap().iter().map(|rule| rule["hits"].as_u64().unwrap()).collect()
}

fn in_order_with_hits(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let listeners =
        [(OUTSIDE, 80), (OUTSIDE, 81), (OUTSIDE_TOO, 80)].map(|at| listen(&edge.outside.machine, at));
    edge.daemon.ok(&format!("rule add blue allow --to {OUTSIDE}/32 --proto tcp --port 80"));
    edge.daemon.ok(&format!("rule add blue deny --to {OUTSIDE}/32 --proto tcp --port 80-89"));
    edge.daemon.ok("rule add blue deny --to 203.0.113.0/24 --proto udp");
    assert_eq!(hits(edge), [0, 0, 0]);
    connect(&station.namespace, &listeners[0]).both_ways(SHORT).unwrap();
    // Once for each session, however many packets.
    assert_eq!(hits(edge), [1, 0, 0]);
    assert!(!reaches(&station.namespace, (OUTSIDE, 81)));
    assert!(hits(edge)[1] >= 1);
    connect(&station.namespace, &listeners[2]).check().unwrap();
    // The last rule is about UDP: it is told so at once.
    let client = bind(&station.namespace, ANY);
    client.connect((OUTSIDE, 9)).unwrap();
    client.send(b"there?").unwrap();
    let told = client.recv(&mut [0; 10]).unwrap_err();
    // ICMP type 3, code 13: communication administratively prohibited.
    assert_eq!(told.raw_os_error(), Some(113), "{told}");
    assert_eq!(hits(edge)[2], 1);
    // Order counts: the same rule in front of the others.
    edge.daemon.ok(&format!("rule add blue deny --to {OUTSIDE}/32 --at 1"));
    assert!(!reaches(&station.namespace, (OUTSIDE, 80)));
    edge.daemon.ok("rule rm blue 1");
    connect(&station.namespace, &listeners[0]).check().unwrap();
}

/// A change of rules is held against what is open already.
fn live_sessions(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (OUTSIDE, 80));
    let other = listen(&edge.outside.machine, (OUTSIDE_TOO, 80));
    let (stays, goes) = (connect(&station.namespace, &other), connect(&station.namespace, &listener));
    for connection in [&stays, &goes] {
        connection.check().unwrap();
    }
    edge.daemon.ok(&format!("rule add blue deny --to {OUTSIDE}/32"));
    stays.check().unwrap();
    goes.server.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    assert!(goes.check().is_err(), "a session that a new rule denies goes on");
    edge.daemon.ok("rule rm blue 1");
    connect(&station.namespace, &listener).check().unwrap();
}

fn published(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    crate::published::publish(&edge.daemon, &station, "8080:80");
    let listener = listen(&station.namespace, (station.ip(), 80));
    let from = |own: Ipv4Addr| try_connect(&edge.outside.machine, (own, 0), (HOST, 8080), SILENCE).is_ok();
    // Before the destination is translated: the rule knows the host's address and port.
    edge.daemon.ok(&format!("rule add blue deny --from {OUTSIDE}/32 --to {HOST}/32 --proto tcp --port 8080"));
    assert!(!from(OUTSIDE));
    assert!(from(OUTSIDE_TOO));
    edge.daemon.ok("rule rm blue 1");
    assert!(from(OUTSIDE));
    drop(listener);
}

fn no_icc(edge: &mut Edge) {
    let (a, b) = (edge.daemon.attach("--name a"), edge.daemon.attach("--name b"));
    let _listener = listen(&b.namespace, (b.ip(), 80));
    assert!(!reaches(&a.namespace, (b.ip(), 80)));
    assert!(!pings(&a.namespace, b.ip()));
    // By the gateway's MAC it is no different: the edge never routes back into the network.
    let wire = Peek::open(&a.namespace, "eth0").unwrap();
    let ears = Peek::open(&b.namespace, "eth0").unwrap();
    let sneaky = udp((a.ip(), 1000), (b.ip(), 1000), &mark(1), false);
    wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), a.mac().0, 0x0800, &sneaky)).unwrap();
    wire.send(&plain(b.mac().0, a.mac().0, mark(2))).unwrap();
    wire.send(&plain(MacAddr::BROADCAST, a.mac().0, mark(3))).unwrap();
    for station in [&a, &b] {
        assert_eq!(ping(&station.namespace, GATEWAY), Answer::Reply);
        assert_eq!(ping(&station.namespace, OUTSIDE), Answer::Reply);
    }
    // The pings came later than the frames, which are nowhere to be seen.
    let seen = ears.until(PATIENCE, |frame| frame.bytes.get(26..30) == Some(&OUTSIDE.octets())).unwrap();
    let leaked = |number| seen.iter().any(|frame| crate::frames::has(&frame.bytes, mark(number)));
    assert!(!leaked(1) && !leaked(2) && !leaked(3));
    // What is published is for everybody.
    crate::published::publish(&edge.daemon, &b, "8080:80");
    let client = try_connect(&a.namespace, ANY, (HOST, 8080), PATIENCE);
    client.unwrap();
}

fn link(edge: &mut Edge) {
    let [a, b, c] = ["a", "b", "c"].map(|name| edge.daemon.attach(&format!("--name {name}")));
    let listeners = [&a, &b].map(|station: &Station| listen(&station.namespace, (station.ip(), 80)));
    let _other = listen(&b.namespace, (b.ip(), 81));
    edge.daemon.ok("link blue a b:80/tcp");
    connect(&a.namespace, &listeners[1]).both_ways(SHORT).unwrap();
    // Exactly that: another port, the other way round, somebody else, another protocol.
    assert!(!reaches(&a.namespace, (b.ip(), 81)));
    assert!(!reaches(&b.namespace, (a.ip(), 80)));
    assert!(!reaches(&c.namespace, (b.ip(), 80)));
    assert!(!pings(&a.namespace, b.ip()));
    let open = connect(&a.namespace, &listeners[1]);
    open.check().unwrap();
    edge.daemon.ok("unlink blue a b:80/tcp");
    assert!(!reaches(&a.namespace, (b.ip(), 80)));
    open.server.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    assert!(open.check().is_err(), "a session outlives its link");
}

fn link_of_everything(edge: &mut Edge) {
    let [a, b] = ["a", "b"].map(|name| edge.daemon.attach(&format!("--name {name}")));
    let listener = listen(&b.namespace, (b.ip(), 80));
    edge.daemon.ok("link blue a b");
    connect(&a.namespace, &listener).both_ways(SHORT).unwrap();
    let (client, server) = (bind(&a.namespace, ANY), bind(&b.namespace, (b.ip(), 53)));
    exchange(&client, &server, (b.ip(), 53), 3000);
    assert_eq!(ping(&a.namespace, b.ip()), Answer::Reply);
    assert!(!pings(&b.namespace, a.ip()));
}

fn uplink_none(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let _outside = listen(&edge.outside.machine, (OUTSIDE, 80));
    assert!(!reaches(&station.namespace, (OUTSIDE, 80)));
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    assert_eq!(
        pinger.ping(OUTSIDE, 56, PATIENCE).unwrap(),
        Answer::Error { from: GATEWAY, kind: 3, code: 0 },
        "network unreachable"
    );
    // The host is no part of the outside.
    let listener = listen(edge.host(), (HOST, 0));
    connect(&station.namespace, &listener).both_ways(SHORT).unwrap();
}

/// An endpoint cannot send through the edge in another's name.
fn guard_stays_on(edge: &mut Edge) {
    let (station, other) = (edge.daemon.attach(""), edge.daemon.attach(""));
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    let before = edge.daemon.dropped(&station, "guard-ipv4");
    for source in [other.ip(), HOST, Ipv4Addr::new(8, 8, 8, 8), GATEWAY] {
        let packet = udp((source, 1000), (OUTSIDE, 9), b"in another's name", false);
        wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, &packet)).unwrap();
    }
    until("they are dropped", || edge.daemon.dropped(&station, "guard-ipv4") >= before + 3);
    assert!(crate::sessions::sessions(&edge.daemon).is_empty());
}

fn ping_prohibited(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    edge.daemon.ok("rule add blue deny --proto icmp");
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    let prohibited = Answer::Error { from: GATEWAY, kind: 3, code: 13 };
    assert_eq!(pinger.ping(OUTSIDE, 56, PATIENCE).unwrap(), prohibited);
    assert_eq!(ping(&station.namespace, GATEWAY), Answer::Reply);
    connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0))).check().unwrap();
}
