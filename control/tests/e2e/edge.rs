//! A daemon whose host has an outside world: what the tests of the edge stand on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{OUTSIDE, Outside, SECOND_ROUTER, WIRES, Way};
use pontoon_tools::ping::{Answer, Pinger};
use pontoon_tools::transfer::Connection;
use pontoon_tools::witness::Witness;
use socket2::{Domain, SockRef, Socket, Type};

use crate::daemon::{Daemon, PATIENCE, Station};
use crate::{Test, test};

/// Bytes of a long transfer.
pub(crate) const LONG: u64 = 100_000_000;
/// Bytes of a transfer that is long enough for super-frames.
pub(crate) const SHORT: u64 = 4 << 20;

/// How long nothing must come where nothing may come.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// A daemon, and a machine behind its host's uplink.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) daemon: Daemon,
    pub(crate) outside: Outside,
}

impl Edge {
    /// The host, as the daemon knows it.
    pub(crate) fn host(&self) -> &Namespace {
        &self.daemon.host
    }
}

/// A test on a daemon with options of its own, behind whose host is a machine. Whatever the test does, the host's sysctls and,
/// everywhere, bridges, veths and firewall must be the same before and after; [`Station`] looks after the sandboxes.
pub(crate) fn edge_test(
    name: impl Into<String>,
    way: Way,
    options: &'static [&'static str],
    work: impl FnOnce(&mut Edge) + Send + 'static,
) -> Test {
    test(name, move || {
        let host = Namespace::new("e2e-host").expect("a namespace");
        let outside = Outside::behind(&host, way).expect("a machine outside");
        let before = (witness(&host), outside.traces().expect("what is outside can be looked at"));
        let mut edge = Edge { daemon: Daemon::start_in(host, options), outside };
        work(&mut edge);
        let differences = witness(edge.host()).differences(&before.0);
        assert!(differences.is_empty(), "the host is not as it was: {differences:#?}");
        assert_eq!(edge.outside.traces().unwrap(), before.1, "something outside is not as it was");
    })
}

/// What the host looks like, but for the wires of the lab.
fn witness(host: &Namespace) -> Witness {
    Witness::of(host.netns(), &WIRES).expect("the host can be looked at")
}

/// A test with the network `blue`, created with these options, and nothing else that is special.
pub(crate) fn plain_test(
    name: impl Into<String>,
    network: &'static str,
    work: impl FnOnce(&mut Edge) + Send + 'static,
) -> Test {
    edge_test(name, Way::Direct(1500), &[], move |edge| {
        edge.daemon.network(network);
        work(edge);
    })
}

/// A listener at an address of a namespace, on any port if it is 0.
pub(crate) fn listen(at: &Namespace, address: (Ipv4Addr, u16)) -> TcpListener {
    at.run(|| TcpListener::bind(address)).unwrap().unwrap_or_else(|error| panic!("{address:?}: {error}"))
}

/// A UDP socket at an address of a namespace.
pub(crate) fn bind(at: &Namespace, address: (Ipv4Addr, u16)) -> UdpSocket {
    let socket = at.run(|| UdpSocket::bind(address)).unwrap();
    let socket = socket.unwrap_or_else(|error| panic!("{address:?}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
    SockRef::from(&socket).set_send_buffer_size(1 << 20).unwrap();
    socket
}

/// A connection from a namespace to a listener by the listener's own address.
pub(crate) fn connect(from: &Namespace, listener: &TcpListener) -> Connection {
    Connection::open(from, listener.local_addr().unwrap(), listener).unwrap()
}

/// Starts to connect from a given address (a port of 0: any) to `target`.
///
/// # Errors
/// The kernel's: refused, prohibited, timed out.
pub(crate) fn try_connect(
    from: &Namespace,
    own: (Ipv4Addr, u16),
    target: (Ipv4Addr, u16),
    patience: Duration,
) -> io::Result<TcpStream> {
    let open = || -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from(own).into())?;
        socket.connect_timeout(&SocketAddr::from(target).into(), patience)?;
        Ok(socket.into())
    };
    from.run(open).unwrap()
}

/// Whether TCP can connect from there to `target`. What is not refused at once is taken to have no way.
pub(crate) fn reaches(from: &Namespace, target: (Ipv4Addr, u16)) -> bool {
    try_connect(from, (Ipv4Addr::UNSPECIFIED, 0), target, SILENCE).is_ok()
}

/// Whether a ping from there is answered.
pub(crate) fn pings(from: &Namespace, to: Ipv4Addr) -> bool {
    Pinger::new(from, to).unwrap().ping(to, 56, SILENCE).unwrap() == Answer::Reply
}

/// The IPv4 peer of a stream, as its own end sees it.
pub(crate) fn peer(stream: &TcpStream) -> SocketAddrV4 {
    v4(stream.peer_addr().unwrap())
}

/// An IPv4 socket address.
pub(crate) fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

/// Sends a datagram from `client` to `target`, where `server` answers it with its own bytes; the client as the server sees it.
///
/// # Panics
/// When one of the two does not arrive unharmed, or the answer comes from elsewhere.
pub(crate) fn exchange(
    client: &UdpSocket,
    server: &UdpSocket,
    target: (Ipv4Addr, u16),
    size: usize,
) -> SocketAddrV4 {
    let datagram: Vec<u8> = (0..size).map(|place| (place * 31 + (place >> 8) + size) as u8).collect();
    let mut buffer = vec![0; 65_536];
    client.send_to(&datagram, target).unwrap();
    let (read, seen) = receive(server, &mut buffer)
        .unwrap_or_else(|error| panic!("a datagram of {size} bytes to {target:?}: {error}"));
    assert!(buffer[..read] == datagram, "a datagram of {size} bytes came as another of {read}");
    server.send_to(&datagram, seen).unwrap();
    let (read, from) = receive(client, &mut buffer)
        .unwrap_or_else(|error| panic!("the answer of {size} bytes from {target:?}: {error}"));
    assert!(buffer[..read] == datagram, "an answer of {size} bytes came as another of {read}");
    assert_eq!(v4(from), SocketAddrV4::new(target.0, target.1), "whom the answer comes from");
    v4(seen)
}

/// The next datagram. A machine that is stopped for a moment ends a call that has a time limit before its time.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// What becomes of a ping.
pub(crate) fn ping(from: &Namespace, to: Ipv4Addr) -> Answer {
    Pinger::new(from, to).unwrap().ping(to, 56, PATIENCE).unwrap()
}

/// That a station reaches the machine outside.
pub(crate) fn reaches_outside(station: &Station) {
    assert_eq!(ping(&station.namespace, OUTSIDE), Answer::Reply);
}

/// That the machines outside are what they are said to be.
pub(crate) fn tests() -> Vec<Test> {
    vec![test("edge/ways-outside", ways_outside)]
}

/// Without pontoon: the host itself, by the kernel, over every way.
fn ways_outside() {
    for way in [
        Way::Direct(1500),
        Way::Direct(9000),
        Way::Narrow(1280),
        Way::JumboNarrow(1280),
        Way::BlackHole(1280),
    ] {
        let host = Namespace::new("e2e-host").unwrap();
        let outside = Outside::behind(&host, way).unwrap();
        let mut pinger = Pinger::new(&host, OUTSIDE).unwrap();
        assert_eq!(pinger.ping(OUTSIDE, 1000, PATIENCE).unwrap(), Answer::Reply, "{way:?}");
        let large = match way {
            Way::BlackHole(_) => pinger.ping(OUTSIDE, 1472, PATIENCE / 40).unwrap() == Answer::Silence,
            _ => pinger.ping(OUTSIDE, 20_000, PATIENCE).unwrap() == Answer::Reply,
        };
        assert!(large, "{way:?}");
        if !matches!(way, Way::BlackHole(_)) {
            let listener = listen(&outside.machine, (OUTSIDE, 0));
            connect(&host, &listener).both_ways(SHORT).unwrap();
        }
        outside.add_second_uplink(&host).unwrap();
        assert_eq!(ping(&host, SECOND_ROUTER), Answer::Reply, "{way:?}");
    }
    let host = Namespace::new("e2e-host").unwrap();
    let outside = Outside::behind(&host, Way::Direct(1500)).unwrap();
    let _wire = outside.add_tunnel(&host).unwrap();
    assert_eq!(ping(&host, SECOND_ROUTER), Answer::Reply);
    connect(&host, &listen(&outside.machine, (SECOND_ROUTER, 0))).both_ways(SHORT).unwrap();
}
