//! The gateway as the kernel's stack, and frames of a test's own, find it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};

use pontoon_dataplane::MacAddr;
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, MAX_PAYLOAD, Pinger};
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY, PATIENCE, Station};
use crate::frames::{arp, ethernet, mark};
use crate::{Test, full, test};

pub(crate) fn tests() -> Vec<Test> {
    let kinds = ["tap", "veth"];
    let each = |name: &str, work: fn(&str)| {
        kinds.map(|kind| test(format!("gateway/{name}/{kind}"), move || work(kind)))
    };
    let mut tests = vec![test("gateway/announces-itself", announces)];
    tests.extend(each("arp", answers_arp));
    tests.extend(each("ping-sizes", ping_sizes));
    tests.extend(each("errors", errors));
    tests
}

fn start(kind: &str) -> (Daemon, Station) {
    let daemon = Daemon::start();
    daemon.network("");
    let station = daemon.attach(&format!("--kind {kind}"));
    (daemon, station)
}

fn gateway_mac() -> MacAddr {
    MacAddr::from_ipv4(GATEWAY)
}

/// The first bytes of an ARP message of the gateway.
fn is_arp(frame: &[u8], target_ip: Ipv4Addr) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06])
        && frame.get(22..28) == Some(&gateway_mac().0)
        && frame.get(28..32) == Some(&GATEWAY.octets())
        && frame.get(38..42) == Some(&target_ip.octets())
}

fn announces() {
    let (mut daemon, first) = start("tap");
    let ears = Peek::open(&first.namespace, "eth0").unwrap();
    let gratuitous = |frame: &[u8]| is_arp(frame, GATEWAY) && frame[..6] == [0xff; 6];
    let heard = || ears.until(PATIENCE, |frame| gratuitous(&frame.bytes)).unwrap();
    daemon.attach("");
    heard();
    daemon.end(Signal::KILL);
    daemon.start_again();
    heard();
}

fn answers_arp(kind: &str) {
    let (_daemon, station) = start(kind);
    let (own, own_ip) = (station.mac().0, station.ip());
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    // A request, and a probe, whose sender has no address yet (RFC 5227); both padded, as on real wires.
    for sender in [own_ip, Ipv4Addr::UNSPECIFIED] {
        let request = arp(1, (own, sender), (MacAddr::ZERO, GATEWAY), mark(1));
        for request in [&request[..], &request[..28]] {
            wire.send(&ethernet(MacAddr::BROADCAST, own, 0x0806, request)).unwrap();
            let seen = wire.until(PATIENCE, |frame| is_arp(&frame.bytes, sender)).unwrap();
            let reply = &seen.last().unwrap().bytes;
            assert_eq!(reply[..6], own.0, "the reply's destination");
            assert_eq!(reply[20..22], [0, 2], "the operation");
        }
    }
}

fn ping_sizes(kind: &str) {
    let (daemon, station) = start(kind);
    let mut pinger = Pinger::new(&station.namespace, GATEWAY).unwrap();
    let step = if full() { 131 } else { 2617 };
    let borders = [0, 1, 1471, 1472, 1473, 2952, 2953, MAX_PAYLOAD - 1, MAX_PAYLOAD];
    for len in borders.into_iter().chain((0..MAX_PAYLOAD).step_by(step)) {
        assert_eq!(pinger.ping(GATEWAY, len, PATIENCE).unwrap(), Answer::Reply, "{len} bytes");
    }
    let drops = daemon.counters(&station).drops;
    assert!(drops.keys().all(|reason| reason == "no-egress"), "{drops:?}");
}

fn errors(kind: &str) {
    let (_daemon, station) = start(kind);
    let outside = Ipv4Addr::new(192, 0, 2, 1);
    let mut pinger = Pinger::new(&station.namespace, outside).unwrap();
    // By the default route, which attach has made.
    let answer = pinger.ping(outside, 56, PATIENCE).unwrap();
    assert_eq!(answer, Answer::Error { from: GATEWAY, kind: 3, code: 0 }, "network unreachable");
    pinger.set_ttl(1).unwrap();
    let answer = pinger.ping(outside, 56, PATIENCE).unwrap();
    assert_eq!(answer, Answer::Error { from: GATEWAY, kind: 11, code: 0 }, "time exceeded");
    // To the gateway itself a TTL of 1 is enough.
    assert_eq!(pinger.ping(GATEWAY, 56, PATIENCE).unwrap(), Answer::Reply);

    let socket = station.namespace.run(|| UdpSocket::bind((station.ip(), 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for target in [(GATEWAY, 54), (GATEWAY, 40_000)] {
        socket.connect(target).unwrap();
        socket.send(b"anybody there?").unwrap();
        let error = socket.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{target:?}: port unreachable");
    }
}
