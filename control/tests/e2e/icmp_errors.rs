//! ICMP errors about translated packets: whom they reach, what they do, and what they must not do.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};

use pontoon_tools::outside::{HOST, OUTSIDE};
use pontoon_tools::peek::Peek;

use crate::Test;
use crate::daemon::{GATEWAY, PATIENCE};
use crate::edge::{Edge, SHORT, bind, connect, exchange, listen, peer, plain_test, v4};
use crate::frames::{Segment, flag, icmp_error, tcp, udp};
use crate::published::publish;
use crate::remote::{NOBODY, Remote};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);
/// A router somewhere on the way.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("icmp-errors/from-outside", "", from_outside),
        plain_test("icmp-errors/forged", "", forged),
        plain_test("icmp-errors/end-nothing", "", end_nothing),
        plain_test("icmp-errors/hairpin", "", hairpin),
    ]
}

/// A connected UDP socket inside, and the packet that it sent as it was outside.
fn opened(edge: &Edge, remote: &Remote) -> (UdpSocket, Vec<u8>, crate::daemon::Station) {
    let station = edge.daemon.attach("");
    let client = bind(&station.namespace, ANY);
    client.connect((NOBODY, 9)).unwrap();
    client.send(b"there").unwrap();
    (client, remote.receive_own(17), station)
}

/// The kernel inside takes an error for its own only if the quoted packet is the one that it sent.
fn from_outside(edge: &mut Edge) {
    let remote = Remote::new(edge);
    let (client, packet, _station) = opened(edge, &remote);
    // Protocol and port unreachable, host and communication prohibited: those that Linux tells every socket, and its words.
    for (kind, code, errno) in [(3, 2, 92), (3, 3, 111), (3, 10, 113), (3, 13, 113)] {
        // Eight bytes of the quoted payload, and all of it.
        for quoted in [28, packet.len()] {
            remote.send(&icmp_error(ROUTER, HOST, (kind, code), &packet[..quoted]));
            let error = client.recv(&mut [0; 10]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "type {kind}, code {code}: {error}");
        }
    }
}

/// Errors about packets that nobody sent.
fn forged(edge: &mut Edge) {
    let remote = Remote::new(edge);
    let (client, packet, station) = opened(edge, &remote);
    let ears = Peek::open(&station.namespace, "eth0").unwrap();
    let port = u16::from_be_bytes([packet[20], packet[21]]);
    let forgeries = [
        udp((HOST, port), (OUTSIDE, 9), b"there", false),
        udp((HOST, port), (NOBODY, 10), b"there", false),
        udp((HOST, port ^ 1), (NOBODY, 9), b"there", false),
        udp((station.ip(), v4(client.local_addr().unwrap()).port()), (NOBODY, 9), b"there", false),
        tcp((HOST, port), (NOBODY, 9), Segment { flags: flag::SYN, ..Segment::default() }),
        icmp_error(HOST, NOBODY, (3, 1), &packet),
    ];
    for forgery in forgeries {
        remote.send(&icmp_error(ROUTER, HOST, (3, 1), &forgery));
    }
    let mut damaged = icmp_error(ROUTER, HOST, (3, 1), &packet);
    damaged[24] ^= 1;
    remote.send(&damaged);
    // What comes last comes alone.
    remote.send(&udp((NOBODY, 9), (HOST, port), b"last", false));
    let is_packet = |frame: &[u8]| frame.get(12..14) == Some(&[8, 0]);
    let seen = ears.until(PATIENCE, |frame| frame.bytes.ends_with(b"last")).unwrap();
    assert_eq!(seen.iter().filter(|frame| is_packet(&frame.bytes)).count(), 1, "{seen:?}");
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 4);
}

/// An error is news, not an order: the session goes on.
fn end_nothing(edge: &mut Edge) {
    let remote = Remote::new(edge);
    let (client, packet, station) = opened(edge, &remote);
    let listener = listen(&edge.outside.machine, (OUTSIDE, 4242));
    let connection = connect(&station.namespace, &listener);
    connection.check().unwrap();
    let segment = Segment { sequence: 1, acknowledgement: 1, flags: flag::ACK, mss: None };
    let quote = tcp((HOST, peer(&connection.server).port()), (OUTSIDE, 4242), segment);
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 10), (3, 13), (11, 0), (11, 1), (12, 0)] {
        remote.send(&icmp_error(ROUTER, HOST, (kind, code), &quote));
        remote.send(&icmp_error(ROUTER, HOST, (kind, code), &packet));
        let port = u16::from_be_bytes([packet[20], packet[21]]);
        remote.send(&udp((NOBODY, 9), (HOST, port), b"back", false));
        // Errors may come first.
        let answer = std::iter::repeat_with(|| client.recv(&mut [0; 10])).find_map(|answer| match answer {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer after {kind}/{code}"),
            answer => answer.ok(),
        });
        assert_eq!(answer, Some(4), "type {kind}, code {code}");
        connection.check().unwrap();
    }
    connection.both_ways(SHORT).unwrap();
}

/// From one endpoint to another by the host's address, and the error back.
fn hairpin(edge: &mut Edge) {
    let (served, other) = (edge.daemon.attach(""), edge.daemon.attach(""));
    publish(&edge.daemon, &served, "5353:53/udp");
    let client = bind(&other.namespace, ANY);
    client.connect((HOST, 5353)).unwrap();
    client.send(b"anybody?").unwrap();
    let error = client.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    // Somebody comes, and is reached.
    let server = bind(&served.namespace, (served.ip(), 53));
    let fresh = bind(&other.namespace, ANY);
    assert_eq!(*exchange(&fresh, &server, (HOST, 5353), 100).ip(), GATEWAY);
}
