//! Stations behind existing interfaces: they reach host and outside by the gateway alone, whatever the host's kernel would do for
//! them by itself.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};

use pontoon::api::types::{NatFlushed, Stats};
use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_tools::kernel::{Kernel, Route};
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, OUTSIDE, Outside, Way};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::Answer;
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY, PATIENCE, until};
use crate::edge::{Edge, SHORT, bind, connect, exchange, listen, peer, ping, pings, plain_test, reaches};
use crate::frames::{arp, ethernet, mark, udp};
use crate::interfaces::{FAR, cable};
use crate::sessions::sessions;
use crate::{Test, test};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// What the host and the station have on the cable beside the network.
const NEAR_TOO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR_TOO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("stations/host-and-outside", "", host_and_outside),
        plain_test("stations/rules-hold", "", rules_hold),
        plain_test("stations/not-by-the-interface", "", |edge| not_by_the_interface(edge, true)),
        test("stations/not-by-the-interface-without-bpf", || {
            let host = Namespace::new("e2e-host").unwrap();
            let outside = Outside::behind(&host, Way::Direct(1500)).unwrap();
            let mut edge = Edge { daemon: Daemon::start_without_bpf_in(host), outside };
            edge.daemon.network("");
            not_by_the_interface(&mut edge, false);
        }),
        plain_test("stations/no-daemon", "", no_daemon),
        plain_test("stations/no-icc", "--icc=false", no_icc),
        plain_test("stations/veth-to-nobody", "", veth_to_nobody),
    ]
}

/// A kernel that forwards would send on whatever reaches it.
fn set_forwarding(edge: &Edge, on: bool) {
    let set = || std::fs::write("/proc/sys/net/ipv4/ip_forward", if on { "1" } else { "0" });
    edge.host().run(set).unwrap().unwrap();
}

/// Takes away what the host did not have before.
fn take_away(edge: &Edge, interface: &str) {
    set_forwarding(edge, false);
    let delete = || {
        let links = Links::open()?;
        links.delete(&links.get(interface)?)
    };
    edge.host().run(delete).unwrap().unwrap();
}

/// A station on the network behind `up0`, and raw access to its wire.
fn station(edge: &Edge) -> (Namespace, Peek) {
    let far = cable(&edge.daemon, true);
    edge.daemon.ok("port add blue --interface up0");
    far.run(|| Kernel::open()?.set_route(Route::default_via(GATEWAY))).unwrap().unwrap();
    let wire = Peek::open(&far, "eth0").unwrap();
    (far, wire)
}

/// Whoever answers a question for the gateway's address.
fn answer_for_gateway(far: &Namespace, wire: &Peek) -> Vec<MacAddr> {
    let own = MacAddr::from_ipv4(FAR);
    let question = arp(1, (own, FAR), (MacAddr::ZERO, GATEWAY), mark(1));
    wire.send(&ethernet(MacAddr::BROADCAST, own, 0x0806, &question)).unwrap();
    assert_eq!(ping(far, GATEWAY), Answer::Reply);
    let echo_reply = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 0;
    let seen = wire.until(PATIENCE, |frame| echo_reply(&frame.bytes)).unwrap();
    let answers =
        seen.iter().map(|frame| &frame.bytes).filter(|it| it[12..14] == [8, 6] && it[20..22] == [0, 2]);
    answers
        .filter(|it| it[28..32] == GATEWAY.octets())
        .map(|it| MacAddr(*it[22..].first_chunk().unwrap()))
        .collect()
}

fn host_and_outside(edge: &mut Edge) {
    set_forwarding(edge, true);
    let (far, wire) = station(edge);
    let answers = answer_for_gateway(&far, &wire);
    assert!(
        !answers.is_empty() && answers.iter().all(|mac| *mac == MacAddr::from_ipv4(GATEWAY)),
        "{answers:?}"
    );

    let listener = listen(&edge.outside.machine, (OUTSIDE, 80));
    let connection = connect(&far, &listener);
    assert_eq!(*peer(&connection.server).ip(), HOST, "translated");
    connection.both_ways(SHORT).unwrap();
    let (client, server) = (bind(&far, (ANY, 0)), bind(&edge.outside.machine, (OUTSIDE, 53)));
    assert_eq!(*exchange(&client, &server, (OUTSIDE, 53), 3000).ip(), HOST);
    assert!(sessions(&edge.daemon).iter().all(|session| session["endpoint"] == "blue/up0"));
    let services = listen(edge.host(), (ANY, 8080));
    for address in [GATEWAY, HOST] {
        let connection = pontoon_tools::transfer::Connection::open(&far, (address, 8080), &services).unwrap();
        assert_eq!(*peer(&connection.server).ip(), FAR, "untranslated");
        connection.check().unwrap();
    }
    // Its sessions are the network's.
    let flushed: NatFlushed = edge.daemon.json("nat flush --network blue");
    assert!(flushed.flushed >= 2, "{flushed:?}");
    assert_eq!(sessions(&edge.daemon), [] as [serde_json::Value; 0]);
    take_away(edge, "up0");
}

fn rules_hold(edge: &mut Edge) {
    set_forwarding(edge, true);
    let (far, _) = station(edge);
    let _services = listen(edge.host(), (ANY, 8080));
    let _outside = listen(&edge.outside.machine, (OUTSIDE, 80));
    assert!(reaches(&far, (HOST, 8080)));
    edge.daemon.ok("rule add blue deny --proto tcp");
    for target in [(GATEWAY, 8080), (HOST, 8080), (OUTSIDE, 80)] {
        assert!(!reaches(&far, target), "{target:?}");
    }
    let rules: serde_json::Value = edge.daemon.json("rule ls blue");
    assert!(rules[0]["hits"].as_u64().unwrap() >= 3, "{rules}");
    take_away(edge, "up0");
}

fn dropped_for_the_interface(edge: &Edge, port: &str) -> u64 {
    let stats: Stats = edge.daemon.json("stats");
    let port = stats.ports.into_iter().find(|it| it.port == port).unwrap();
    port.drops.get("interface-mac").map_or(0, |traffic| traffic.frames)
}

/// The MAC and the IPv6 address that an interface of the host has by itself.
fn own_addresses(edge: &Edge, interface: &str) -> (MacAddr, Option<Ipv6Addr>) {
    let look = || {
        let links = Links::open().unwrap();
        let link = links.get(interface).unwrap();
        let addresses = links.addresses(&link).unwrap().into_iter();
        let link_local =
            addresses.filter_map(|it| if let IpAddr::V6(it) = it { Some(it) } else { None }).next();
        (link.mac.unwrap(), link_local)
    };
    edge.host().run(look).unwrap()
}

fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    matches!(socket.recv(&mut [0; 100]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// What is sent to the interface's own MAC. With settings alone an address of the host's on the same interface keeps the host
/// within reach of whoever has one of the same subnet, and so does IPv6.
fn not_by_the_interface(edge: &mut Edge, has_gate: bool) {
    set_forwarding(edge, true);
    let far = cable(&edge.daemon, true);
    let add = || {
        let links = Links::open()?;
        links.add_address(&links.get("eth0")?, FAR_TOO.into(), 24)
    };
    far.run(add).unwrap().unwrap();
    let host = bind(edge.host(), (ANY, 9000));
    let host6 = edge.host().run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 9001))).unwrap().unwrap();
    let outside = bind(&edge.outside.machine, (OUTSIDE, 9));
    let (client, scope) =
        (bind(&far, (ANY, 0)), far.run(|| Links::open()?.get("eth0")).unwrap().unwrap().index);
    let client6 = far.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    until("the host has its address on the cable", || own_addresses(edge, "up0").1.is_some());
    let (own, Some(own6)) = own_addresses(edge, "up0") else { panic!("no IPv6") };
    let to_host6 = || client6.send_to(b"there?", SocketAddrV6::new(own6, 9001, 0, scope));
    let reaches_host6 = || to_host6().is_ok() && !is_silent(&host6);
    until("the host is reached before the interface is a port", || {
        client.send_to(b"there?", (NEAR_TOO, 9000)).is_ok() && !is_silent(&host)
    });
    until("by IPv6 too", reaches_host6);
    while !is_silent(&host) || !is_silent(&host6) {}

    edge.daemon.ok("port add blue --interface up0");
    far.run(|| Kernel::open()?.set_route(Route::default_via(GATEWAY))).unwrap().unwrap();
    let wire = Peek::open(&far, "eth0").unwrap();
    let send = |tag: &[u8], packet: &[u8]| {
        let kind = if tag.is_empty() { 0x0800 } else { 0x8100 };
        wire.send(&ethernet(own, MacAddr::from_ipv4(FAR), kind, &[tag, packet].concat())).unwrap();
    };
    let before = dropped_for_the_interface(edge, "blue/up0");
    for target in [(GATEWAY, 9000), (HOST, 9000), (OUTSIDE, 9)] {
        let packet = udp((FAR, 1000), target, b"past all rules", false);
        send(&[], &packet);
        // The kernel takes a tag of VLAN 0 for none, and then another one.
        send(&[0, 0, 8, 0], &packet);
        send(&[0, 0, 0x81, 0, 0, 0, 8, 0], &packet);
    }
    let mut sent = 9;
    if has_gate {
        send(&[], &udp((FAR_TOO, 1000), (NEAR_TOO, 9000), b"past all rules", false));
        send(&[], &udp((ANY, 1000), (Ipv4Addr::BROADCAST, 9000), b"past all rules", false));
        to_host6().unwrap();
        sent += 3;
    }
    until("all are dropped by name", || dropped_for_the_interface(edge, "blue/up0") >= before + sent);
    assert!(is_silent(&host) && is_silent(&host6) && is_silent(&outside));
    // By the gateway they come, and are the first to do so.
    assert!(client.send_to(b"by the gateway", (HOST, 9000)).is_ok());
    until("the host is reached by the gateway", || !is_silent(&host));

    edge.daemon.ok("port rm blue/up0");
    until("the interface is the host's again", || {
        client.send_to(b"there?", (NEAR_TOO, 9000)).is_ok() && !is_silent(&host) && reaches_host6()
    });
    take_away(edge, "up0");
}

/// What a daemon leaves that ended, however it ended, keeps the host off until another one gives the interface back.
fn no_daemon(edge: &mut Edge) {
    set_forwarding(edge, true);
    let (far, wire) = station(edge);
    let (own, _) = own_addresses(edge, "up0");
    let (host, outside) = (bind(edge.host(), (ANY, 9000)), bind(&edge.outside.machine, (OUTSIDE, 9)));
    for signal in [Signal::KILL, Signal::TERM] {
        edge.daemon.end(signal);
        for target in [(GATEWAY, 9000), (HOST, 9000), (OUTSIDE, 9)] {
            let packet = udp((FAR, 1000), target, b"past all rules", false);
            wire.send(&ethernet(own, MacAddr::from_ipv4(FAR), 0x0800, &packet)).unwrap();
        }
        let question = arp(1, (MacAddr::from_ipv4(FAR), FAR), (MacAddr::ZERO, GATEWAY), mark(1));
        wire.send(&ethernet(MacAddr::BROADCAST, MacAddr::from_ipv4(FAR), 0x0806, &question)).unwrap();
        assert!(!pings(&far, GATEWAY), "after {signal:?}");
        assert!(is_silent(&host) && is_silent(&outside), "after {signal:?}");
        edge.daemon.start_again();
        let answers = answer_for_gateway(&far, &wire);
        assert!(answers.iter().all(|mac| *mac == MacAddr::from_ipv4(GATEWAY)), "{answers:?}");
    }
    take_away(edge, "up0");
}

/// The host's end of an endpoint's veth is nobody either.
fn veth_to_nobody(edge: &mut Edge) {
    let station = edge.daemon.attach("--kind veth");
    let all = edge.host().run(|| Links::open()?.all()).unwrap().unwrap();
    let end = all.into_iter().find(|link| link.kind == "veth" && link.name.starts_with("ptn")).unwrap();
    let host = bind(edge.host(), (ANY, 9000));
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    let before = dropped_for_the_interface(edge, &station.port());
    for (source, target) in [(station.ip(), GATEWAY), (station.ip(), HOST), (ANY, Ipv4Addr::BROADCAST)] {
        let packet = udp((source, 1000), (target, 9000), b"past all rules", false);
        wire.send(&ethernet(end.mac.unwrap(), station.mac().0, 0x0800, &packet)).unwrap();
    }
    until("all are dropped by name", || dropped_for_the_interface(edge, &station.port()) >= before + 3);
    assert!(is_silent(&host));
    edge.daemon.ok(&format!("detach blue {}", station.endpoint.name));
}

/// Isolation is for whoever is behind an interface too.
fn no_icc(edge: &mut Edge) {
    let endpoint = edge.daemon.attach("");
    let (far, wire) = station(edge);
    let ears = Peek::open(&endpoint.namespace, "eth0").unwrap();
    let (a, b) = ((endpoint.mac().0, endpoint.ip()), (MacAddr::from_ipv4(FAR), FAR));
    for (number, dst, wire, from, to) in [(1, b.0, &ears, a, b), (2, a.0, &wire, b, a)] {
        let packet = udp((from.1, 1000), (to.1, 1000), &mark(number), false);
        for dst in [dst, MacAddr::BROADCAST, MacAddr::from_ipv4(GATEWAY)] {
            wire.send(&ethernet(dst, from.0, 0x0800, &packet)).unwrap();
        }
    }
    assert!(!pings(&far, endpoint.ip()) && !pings(&endpoint.namespace, FAR));
    for namespace in [&far, &endpoint.namespace] {
        assert_eq!(ping(namespace, GATEWAY), Answer::Reply);
        assert_eq!(ping(namespace, OUTSIDE), Answer::Reply);
    }
    // The pings came later than the frames, which are nowhere to be seen.
    for (number, ears) in [(1, &wire), (2, &ears)] {
        let seen = ears.until(PATIENCE, |frame| frame.bytes.get(26..30) == Some(&OUTSIDE.octets())).unwrap();
        assert!(!seen.iter().any(|frame| crate::frames::has(&frame.bytes, mark(number))), "{number}");
    }
    edge.daemon.ok("network set blue --icc");
    until("they talk again", || pings(&far, endpoint.ip()));
    take_away(edge, "up0");
}
