//! Fragments through the translation, in every order that a network can bring them.

use std::net::Ipv4Addr;

use pontoon_tools::outside::{HOST, OUTSIDE};
use pontoon_tools::peek::Peek;

use crate::daemon::{GATEWAY, Station};
use crate::edge::{Edge, bind, plain_test};
use crate::frames::{ethernet, fragments, udp};
use crate::published::publish;
use crate::remote::{NOBODY, Remote};
use crate::{Test, full};
use pontoon_dataplane::MacAddr;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);
/// Bytes in a fragment.
const SIZE: usize = 1400;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("fragments/out/open-session", "", |edge| outbound(edge, true)),
        plain_test("fragments/out/new-session", "", |edge| outbound(edge, false)),
        plain_test("fragments/out/unknown-way", "", unknown_way),
        plain_test("fragments/in/open-session", "", inbound),
        plain_test("fragments/in/published", "", inbound_published),
        plain_test("fragments/without-first", "", without_first),
    ]
}

/// Orders of four fragments; with full counts all of them.
fn orders() -> Vec<[usize; 4]> {
    let all = (0..256usize).map(|n| [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6]);
    let all = all.filter(|order| (0..4).all(|number| order.contains(&number)));
    let everyday = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 2, 3, 0], [1, 0, 3, 2]];
    if full() { all.collect() } else { everyday.into() }
}

/// Four fragments of a datagram whose bytes say which it is.
fn datagram(number: usize) -> Vec<u8> {
    (0..4 * SIZE - 100).map(|place| (place * 7 + number * 31 + (place >> 8)) as u8).collect()
}

/// The identification of packets must not repeat within a packet's life.
fn identified(mut packet: Vec<u8>, number: usize) -> Vec<u8> {
    packet[4..6].copy_from_slice(&(number as u16 + 1).to_be_bytes());
    packet
}

/// Sends an IPv4 packet from the sandbox to the gateway.
fn send_from(station: &Station, wire: &Peek, packet: &[u8]) {
    wire.send(&ethernet(MacAddr::from_ipv4(GATEWAY), station.mac().0, 0x0800, packet)).unwrap();
}

fn outbound(edge: &mut Edge, open: bool) {
    let station = edge.daemon.attach("");
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    crate::edge::reaches_outside(&station);
    let mut buffer = vec![0; 65_536];
    for (number, order) in orders().into_iter().enumerate() {
        // A session of its own for each order, or one for all.
        let port = if open { 40_000 } else { 40_001 + number as u16 };
        if open && number == 0 {
            send_from(&station, &wire, &udp((station.ip(), port), (OUTSIDE, 4242), b"open", false));
            assert_eq!(server.recv(&mut buffer).unwrap(), 4);
        }
        let payload = datagram(number);
        let packet = identified(udp((station.ip(), port), (OUTSIDE, 4242), &payload, false), number);
        let pieces = fragments(&packet, SIZE);
        for index in order {
            send_from(&station, &wire, &pieces[index]);
        }
        let (read, from) = server.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{order:?}: {error}"));
        assert_eq!((buffer[..read] == payload, from.ip()), (true, HOST.into()), "{order:?}");
    }
}

/// The first datagram to a destination waits for its route, its next hop and its own source port, and so do its fragments.
fn unknown_way(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    let payload = datagram(0);
    let packet = identified(udp((station.ip(), 5060), (OUTSIDE, 4242), &payload, false), 0);
    fragments(&packet, SIZE).iter().for_each(|piece| send_from(&station, &wire, piece));
    let mut buffer = vec![0; 65_536];
    let (read, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((buffer[..read] == payload, from), (true, (HOST, 5060).into()));
}

fn inbound(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let remote = Remote::new(edge);
    let client = bind(&station.namespace, ANY);
    client.send_to(b"open", (NOBODY, 9)).unwrap();
    let packet = remote.receive_own(17);
    let port = u16::from_be_bytes([packet[20], packet[21]]);
    let mut buffer = vec![0; 65_536];
    for (number, order) in orders().into_iter().enumerate() {
        let payload = datagram(number);
        let pieces = fragments(&identified(udp((NOBODY, 9), (HOST, port), &payload, false), number), SIZE);
        for index in order {
            remote.send(&pieces[index]);
        }
        let read = client.recv(&mut buffer).unwrap_or_else(|error| panic!("{order:?}: {error}"));
        assert!(buffer[..read] == payload, "{order:?}");
    }
}

fn inbound_published(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    publish(&edge.daemon, &station, "5353:53/udp");
    let server = bind(&station.namespace, (station.ip(), 53));
    let remote = Remote::new(edge);
    let mut buffer = vec![0; 65_536];
    for (number, order) in orders().into_iter().enumerate() {
        let payload = datagram(number);
        let from = (NOBODY, 7000 + number as u16);
        let pieces = fragments(&identified(udp(from, (HOST, 5353), &payload, false), number), SIZE);
        for index in order {
            remote.send(&pieces[index]);
        }
        let (read, seen) = server.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{order:?}: {error}"));
        assert_eq!((buffer[..read] == payload, seen), (true, from.into()), "{order:?}");
    }
}

/// What never becomes whole holds nothing up.
fn without_first(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let server = bind(&edge.outside.machine, (OUTSIDE, 4242));
    let wire = Peek::open(&station.namespace, "eth0").unwrap();
    crate::edge::reaches_outside(&station);
    let count = if full() { 60_000 } else { 5_000 };
    for number in 0..count {
        let packet = udp((station.ip(), 40_000), (OUTSIDE, 4242), &[0x5a; 64], false);
        let pieces = fragments(&identified(packet, number), 32);
        send_from(&station, &wire, &pieces[1]);
    }
    let other = edge.daemon.attach("");
    for station in [&station, &other] {
        let client = bind(&station.namespace, ANY);
        crate::edge::exchange(&client, &server, (OUTSIDE, 4242), 20_000);
    }
}
