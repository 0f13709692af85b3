//! Ports of the host that sockets hold: silent towards the outside, out of the host's reach, and open to local clients.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pontoon::edge::lease::{LeaseError, LeaseSettings, Leases, Published};
use pontoon::edge::relay::Limits;
use pontoon::link::Links;
use pontoon_dataplane::NetworkId;
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_tools::lab::Namespace;
use pontoon_tools::netfilter::run_without;
use socket2::{Domain, Socket, Type};

mod relay;

use crate::daemon::{PATIENCE, until};
use crate::{Test, test};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        alone("leases/the outside gets no answer", || no_answer(true)),
        alone("leases/the outside gets no answer, without bpf(2)", || no_answer(false)),
        alone("leases/the host cannot have them", out_of_reach),
        alone("leases/the pool grows around what is taken", pool_grows),
        alone("leases/tcp from the host", relay::tcp_from_the_host),
        alone("leases/udp from the host", relay::udp_from_the_host),
        alone("leases/a restart gets its ports back", || restart(false)),
        alone("leases/a restart gets its ports back, kept before", || restart(true)),
        alone("leases/ten thousand ports", ten_thousand),
        alone("leases/a taken port names its holder", taken),
        alone("leases/addresses are told apart", addresses),
        alone("leases/kept ports yield", kept_ports_yield),
        alone("leases/publishing keeps nobody waiting", publishing_keeps_nobody_waiting),
        alone("leases/kept and published at once", kept_and_published),
        alone("leases/an endpoint that refuses", relay::refused),
        alone("leases/an endpoint that resets", relay::reset),
        alone("leases/unpublishing ends connections", relay::unpublished),
        alone("leases/bounds of tcp", relay::bounds_of_tcp),
        alone("leases/bounds of udp", relay::bounds_of_udp),
        alone("leases/idle udp ends", relay::idle_udp),
        alone("leases/by the host port alone", relay::by_the_host_port_alone),
        alone("leases/no host port", relay::no_host_port),
    ]
}

/// A test in a process of its own. What other tests start has copies of all open sockets until it executes its program, and a port
/// is not free before; and a process may have twenty thousand files open, which is two of the largest tests.
fn alone(name: &'static str, work: impl FnOnce() + Send + 'static) -> Test {
    const IS_ALONE: &str = "PONTOON_TEST_IS_ALONE";
    test(name, move || {
        if std::env::var_os(IS_ALONE).is_some() {
            return work();
        }
        let mut own = Command::new(std::env::current_exe().unwrap());
        let ended = own.args(["--exact", name]).env(IS_ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    })
}

/// The network of the endpoint.
const NETWORK: NetworkId = NetworkId(7);

/// A host with an uplink `up0` to `remote` and the network of `endpoint` on `lan0`, all of it the kernel's.
struct Lab {
    host: Namespace,
    remote: Namespace,
    endpoint: Namespace,
}

impl Lab {
    fn new() -> Lab {
        let [host, remote, endpoint] = [(); 3].map(|()| Namespace::new("lease").unwrap());
        let dress = |name: &str, address: Ipv4Addr| {
            let links = Links::open().unwrap();
            let link = links.get(name).unwrap();
            links.add_address(&link, address.into(), 24).unwrap();
            links.set_up(&link, true).unwrap();
            links.set_up(&links.get("lo").unwrap(), true).unwrap();
        };
        host.run(|| {
            let links = Links::open().unwrap();
            links.create_veth("up0", "eth0", remote.netns()).unwrap();
            links.create_veth("lan0", "eth0", endpoint.netns()).unwrap();
            dress("lan0", GATEWAY);
            dress("up0", HOST);
        })
        .unwrap();
        remote.run(|| dress("eth0", REMOTE)).unwrap();
        endpoint.run(|| dress("eth0", ENDPOINT)).unwrap();
        Lab { host, remote, endpoint }
    }

    /// Leases of the host that know its port on the network.
    fn leases(&self, limits: Limits) -> Held<'_> {
        self.leases_with(limits, true)
    }

    fn leases_with(&self, limits: Limits, share_filters: bool) -> Held<'_> {
        self.leases_of((61_000, 61_999), limits, share_filters)
    }

    fn leases_of(&self, pool: (u16, u16), limits: Limits, share_filters: bool) -> Held<'_> {
        let settings = LeaseSettings { pool: Some(pool), share_filters, ..LeaseSettings::default() };
        let leases = run_without(&self.host, || Leases::with_limits(settings, limits)).unwrap().unwrap();
        leases.set_host_port(NETWORK, Some("lan0"));
        Held { lab: self, leases }
    }

    fn connect(&self, to: (Ipv4Addr, u16)) -> io::Result<TcpStream> {
        connect(&self.host, to)
    }

    /// A listener of the host's own.
    fn listen(&self, at: (Ipv4Addr, u16)) -> io::Result<TcpListener> {
        self.host.run(|| TcpListener::bind(at)).unwrap()
    }

    /// Whether anything on the host could have that port.
    fn is_free(&self, protocol: Protocol, port: u16) -> bool {
        let bound = self.host.run(|| -> io::Result<OwnedFd> {
            let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
            let socket = Socket::new(Domain::IPV4, kind, None)?;
            // As servers do, and as they must for our sake if it were only that.
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
            Ok(socket.into())
        });
        match bound.unwrap() {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn connect(from: &Namespace, to: (Ipv4Addr, u16)) -> io::Result<TcpStream> {
    let stream = from.run(|| TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)).unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Leases, and sockets made where they hold. What makes them has no netfilter.
struct Held<'l> {
    lab: &'l Lab,
    leases: Leases,
}

impl Held<'_> {
    fn publish(&self, published: &Published) -> Result<(), LeaseError> {
        run_without(&self.lab.host, || self.leases.publish(published)).unwrap()
    }

    fn keep(&self, protocol: Protocol, port: u16) -> Result<(), LeaseError> {
        run_without(&self.lab.host, || self.leases.keep(protocol, port)).unwrap()
    }

    fn more(&self, protocol: Protocol) -> Vec<(u16, u16)> {
        run_without(&self.lab.host, || self.leases.more(protocol)).unwrap()
    }

    fn hold_pool(&self, protocol: Protocol) -> Vec<(u16, u16)> {
        run_without(&self.lab.host, || self.leases.hold_pool(protocol)).unwrap()
    }
}

fn published(id: u32, protocol: Protocol, host_port: u16, port: u16) -> Published {
    Published {
        id,
        name: format!("number {id}"),
        address: None,
        protocol,
        ports: (host_port, host_port),
        network: NETWORK,
        to: SocketAddrV4::new(ENDPOINT, port),
    }
}

/// Gives everything back, once it has all, to each of `count` clients; who they were.
fn echo(lab: &Lab, port: u16, count: usize) -> JoinHandle<Vec<SocketAddr>> {
    let listener = lab.endpoint.run(|| TcpListener::bind((ENDPOINT, port))).unwrap().unwrap();
    let serve = |(mut client, peer): (TcpStream, SocketAddr)| {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        client.write_all(&bytes).unwrap();
        peer
    };
    thread::spawn(move || {
        let accept = |_| listener.accept().unwrap();
        let clients: Vec<_> =
            (0..count).map(accept).map(|client| thread::spawn(move || serve(client))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// What an [`echo`] gives back.
fn ask(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn udp(at: &Namespace, address: (Ipv4Addr, u16)) -> UdpSocket {
    let socket = at.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// How a connection attempt of `from` stands that nobody waits for.
struct Attempt(Socket);

impl Attempt {
    fn begin(from: &Namespace, protocol: Protocol, to: (Ipv4Addr, u16)) -> Attempt {
        let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
        let socket = from.run(|| Socket::new(Domain::IPV4, kind, None)).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        let connecting = socket.connect(&SocketAddrV4::new(to.0, to.1).into());
        assert!(
            connecting.is_ok()
                || connecting.is_err_and(|error| error.raw_os_error() == Some(libc::EINPROGRESS))
        );
        if protocol == Protocol::Udp {
            socket.send(b"hello").unwrap();
        }
        Attempt(socket)
    }

    /// Waits until it has been refused.
    fn refused(&self) {
        let mut error = None;
        until("the refusal has come", || {
            error = self.0.take_error().unwrap();
            error.is_some()
        });
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionRefused);
    }

    /// Whether nothing at all has come back.
    fn is_unanswered(&self) -> bool {
        let error = self.0.take_error().unwrap();
        let connected = self.0.r#type().unwrap() == Type::STREAM && self.0.peer_addr().is_ok();
        error.is_none() && !connected
    }
}

/// What the remote has heard of these ports by the time that it has been refused two others.
fn outside_is_unanswered(lab: &Lab, ports: &[(Protocol, u16)]) {
    let attempts = ports.iter().map(|&(protocol, port)| Attempt::begin(&lab.remote, protocol, (HOST, port)));
    let attempts: Vec<Attempt> = attempts.collect();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        Attempt::begin(&lab.remote, protocol, (HOST, 9)).refused();
    }
    for (attempt, (protocol, port)) in attempts.iter().zip(ports) {
        assert!(attempt.is_unanswered(), "{port}/{protocol} answered");
    }
}

fn no_answer(share_filters: bool) {
    let lab = Lab::new();
    let held = lab.leases_with(Limits::default(), share_filters);
    let mut ports = Vec::new();
    for (id, protocol) in (1..).zip([Protocol::Tcp, Protocol::Udp]) {
        assert_eq!(held.hold_pool(protocol), [(61_000, 61_511)]);
        held.keep(protocol, 5_060).unwrap();
        held.publish(&published(id, protocol, 8_080, 80)).unwrap();
        ports.extend([61_000, 61_511, 5_060, 8_080].map(|port| (protocol, port)));
    }
    outside_is_unanswered(&lab, &ports);
    let admitted = held.leases.admitted();
    assert_eq!(admitted.tcp, [(5_060, 5_060), (8_080, 8_080), (61_000, 61_999)]);
    assert_eq!(admitted.udp, admitted.tcp);
}

fn out_of_reach() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    let far = lab.remote.run(|| TcpListener::bind((REMOTE, 80))).unwrap().unwrap();
    // The kernel has two ports to choose from that nobody holds, and 100 that we do.
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    lab.host.run(|| std::fs::write(range, "40000 40101")).unwrap().unwrap();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        (40_000..40_100).for_each(|port| held.keep(protocol, port).unwrap());
        held.publish(&published(protocol as u32, protocol, 8_080, 80)).unwrap();
        held.hold_pool(protocol);
        for port in [40_000, 40_099, 8_080, 61_000] {
            assert!(!lab.is_free(protocol, port), "{port}/{protocol}");
        }
    }
    let connections: Vec<_> = (0..2).map(|_| lab.connect((REMOTE, 80)).unwrap()).collect();
    let mut chosen: Vec<u16> = connections.iter().map(|it| it.local_addr().unwrap().port()).collect();
    chosen.sort_unstable();
    assert_eq!(chosen, [40_100, 40_101]);
    assert_eq!(lab.connect((REMOTE, 80)).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    drop(far);

    let sockets: Vec<_> = (0..2).map(|_| udp(&lab.host, (HOST, 0))).collect();
    let mut chosen: Vec<u16> = sockets.iter().map(|it| it.local_addr().unwrap().port()).collect();
    chosen.sort_unstable();
    assert_eq!(chosen, [40_100, 40_101]);
    let third = lab.host.run(|| UdpSocket::bind((HOST, 0))).unwrap();
    assert_eq!(third.unwrap_err().kind(), io::ErrorKind::AddrInUse);

    held.leases.release(Protocol::Tcp, 40_000);
    assert!(lab.is_free(Protocol::Tcp, 40_000), "given back");
    drop(held);
    for port in [40_099, 8_080, 61_000, 61_511] {
        assert!(lab.is_free(Protocol::Tcp, port) && lab.is_free(Protocol::Udp, port), "{port} after the end");
    }
}

fn pool_grows() {
    let lab = Lab::new();
    let ours = lab.listen((HOST, 61_100)).unwrap();
    let held = lab.leases(Limits::default());
    assert_eq!(held.hold_pool(Protocol::Tcp), [(61_000, 61_099), (61_101, 61_512)]);
    assert_eq!(held.hold_pool(Protocol::Tcp).len(), 2, "asking again holds no more");
    assert_eq!(held.more(Protocol::Tcp), [(61_513, 61_999)]);
    assert_eq!(held.more(Protocol::Tcp), []);
    drop(ours);
    assert_eq!(held.more(Protocol::Tcp), [(61_100, 61_100)]);
    assert_eq!(held.more(Protocol::Icmp), []);

    drop(held);
    let held = lab.leases_of((50_000, 54_095), Limits::default(), true);
    assert_eq!(held.hold_pool(Protocol::Udp), [(50_000, 50_511)]);
    let steps: Vec<usize> = (0..4)
        .map(|_| held.more(Protocol::Udp).iter().map(|(first, last)| usize::from(last - first) + 1).sum())
        .collect();
    assert_eq!(steps, [512, 1024, 2048, 0]);
}

fn restart(kept_before: bool) {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    if kept_before {
        held.keep(Protocol::Tcp, 8_080).unwrap();
    }
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    let listener = lab.endpoint.run(|| TcpListener::bind((ENDPOINT, 80))).unwrap().unwrap();
    let mut client = lab.connect((Ipv4Addr::LOCALHOST, 8_080)).unwrap();
    // The endpoint closes first, so it is the relay's side that waits.
    drop(listener.accept().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(client);
    let living = lab.connect((Ipv4Addr::LOCALHOST, 8_080)).unwrap();
    let waiting = || {
        let list = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        list.lines()
            .any(|line| line.contains("0100007F:1F90") && line.split_whitespace().nth(3) == Some("06"))
    };
    until("TIME_WAIT on 127.0.0.1:8080", || lab.host.run(waiting).unwrap());
    drop(held);
    let plain = lab.host.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 8_080).into())
    });
    assert_eq!(
        plain.unwrap().unwrap_err().kind(),
        io::ErrorKind::AddrInUse,
        "it does keep the port from others"
    );

    let held = lab.leases(Limits::default());
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    drop((listener, living));
    let server = echo(&lab, 80, 1);
    assert_eq!(ask(lab.connect((HOST, 8_080)).unwrap(), b"again"), b"again");
    server.join().unwrap();
}

fn ten_thousand() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let range = Published { ports: (20_000, 29_999), ..published(1, protocol, 1, 1_000) };
        let start = Instant::now();
        held.publish(&range).unwrap();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "10,000 ports of {protocol} took {took:?}");
        assert!(!lab.is_free(protocol, 20_000) && !lab.is_free(protocol, 29_999));
        for port in [1_000, 7_777, 10_999] {
            if protocol == Protocol::Tcp {
                let server = echo(&lab, port, 1);
                assert_eq!(ask(lab.connect((HOST, 19_000 + port)).unwrap(), b"far up"), b"far up");
                server.join().unwrap();
            } else {
                let (client, server) = (udp(&lab.host, (HOST, 0)), udp(&lab.endpoint, (ENDPOINT, port)));
                client.send_to(b"far up", (HOST, 19_000 + port)).unwrap();
                server.recv_from(&mut [0; 6]).unwrap();
            }
        }
        held.leases.unpublish(1);
        assert!(lab.is_free(protocol, 20_000) && lab.is_free(protocol, 29_999));
    }
}

fn taken() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    let ours = lab.listen((Ipv4Addr::LOCALHOST, 9_005)).unwrap();
    let range = Published { ports: (9_000, 9_010), ..published(1, Protocol::Tcp, 1, 80) };
    let error = held.publish(&range).unwrap_err().to_string();
    let expected = "9005/tcp on 0.0.0.0 is taken by e2e-";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.ends_with(&format!("(pid {})", std::process::id())), "{error}");
    assert!(lab.is_free(Protocol::Tcp, 9_000), "all or none");
    drop(ours);
    held.publish(&range).unwrap();

    let error = held.publish(&published(2, Protocol::Tcp, 9_010, 80)).unwrap_err();
    assert_eq!(error.to_string(), "9010/tcp on 0.0.0.0 is taken by the publication number 1");
    held.publish(&published(3, Protocol::Udp, 9_010, 80)).expect("another protocol is another port");
    let error = held.publish(&published(3, Protocol::Udp, 9_011, 80)).unwrap_err();
    assert_eq!(error.to_string(), "publication 3 is there already: number 3");

    // Bound, and neither listening nor connected: the kernel lists it nowhere.
    let hidden = lab.host.run(|| -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(HOST, 9_100).into())?;
        Ok(socket)
    });
    let error = held.publish(&published(4, Protocol::Tcp, 9_100, 80)).unwrap_err();
    assert_eq!(error.to_string(), "9100/tcp on 0.0.0.0 is taken by something that cannot be named");
    drop(hidden);

    let short = Published { ports: (1_000, 2_000), ..published(5, Protocol::Tcp, 1, 65_000) };
    let error = held.publish(&short).unwrap_err().to_string();
    assert_eq!(error, "1000-2000 are 1001 ports, and from 65000 on there are fewer on the endpoint's side");
}

fn addresses() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    let on =
        |id, address, port| Published { address: Some(address), ..published(id, Protocol::Tcp, 80, port) };
    let [second, third] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    held.publish(&on(1, second, 2)).unwrap();
    held.publish(&on(2, third, 3)).unwrap();
    for (address, port) in [(second, 2), (third, 3)] {
        let server = echo(&lab, port, 1);
        assert_eq!(ask(lab.connect((address, 80)).unwrap(), b"mine"), b"mine", "{address}");
        server.join().unwrap();
    }
    assert_eq!(lab.connect((HOST, 80)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let error = held.publish(&published(3, Protocol::Tcp, 80, 80)).unwrap_err();
    assert_eq!(error.to_string(), "80/tcp on 0.0.0.0 is taken by the publication number 1");
    let error = held.publish(&on(4, Ipv4Addr::new(192, 0, 2, 77), 80)).unwrap_err();
    assert_eq!(error.to_string(), "the host has no address 192.0.2.77; see `ip address`");
    held.keep(Protocol::Tcp, 80).unwrap_err();
    held.keep(Protocol::Tcp, 81).unwrap();
    held.hold_pool(Protocol::Tcp);
    let error = held.publish(&Published { ports: (61_000, 61_000), ..on(5, second, 80) }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "61000/tcp on 127.0.0.2 is taken by pontoon itself, which translates addresses with it"
    );
    assert_eq!(
        held.leases.admitted().tcp,
        [(81, 81), (61_000, 61_999)],
        "nobody comes to loopback from outside"
    );
}

fn kept_ports_yield() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    let on = |id, address, ports| Published {
        address: Some(address),
        ports,
        ..published(id, Protocol::Tcp, 1, 80)
    };
    for port in [8_080, 8_081, 9_000] {
        held.keep(Protocol::Tcp, port).unwrap();
    }
    held.keep(Protocol::Udp, 8_080).unwrap();
    // Nothing yields to what cannot be.
    held.publish(&on(1, Ipv4Addr::new(192, 0, 2, 77), (8_080, 8_080))).unwrap_err();
    assert_eq!(held.leases.take_lost(), []);
    held.publish(&on(1, HOST, (8_079, 8_081))).unwrap();
    assert_eq!(held.leases.take_lost(), [(Protocol::Tcp, 8_080), (Protocol::Tcp, 8_081)]);
    assert_eq!(held.leases.take_lost(), []);
    assert!(!held.leases.is_held(Protocol::Tcp, 8_080) && held.leases.is_held(Protocol::Udp, 8_080));
    let server = echo(&lab, 81, 1);
    assert_eq!(ask(lab.connect((HOST, 8_080)).unwrap(), b"it is there"), b"it is there");
    server.join().unwrap();
    held.keep(Protocol::Tcp, 8_080).unwrap_err();
    // Other addresses are anybody's.
    drop(lab.listen((Ipv4Addr::LOCALHOST, 8_080)).unwrap());
    held.leases.unpublish(1);
    held.keep(Protocol::Tcp, 8_080).unwrap();
}

/// Many sockets take their time, and packets wait for whoever asks for one port meanwhile.
fn publishing_keeps_nobody_waiting() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    let leases = &held.leases;
    let over = AtomicBool::new(false);
    // Only as long as its sockets are being opened or closed a publication stands in the way.
    let ask = || -> Option<LeaseError> {
        while !over.load(Relaxed) {
            if let Err(error) = leases.keep(Protocol::Tcp, 29_999) {
                return Some(error);
            }
            leases.release(Protocol::Tcp, 29_999);
        }
        None
    };
    let refused = thread::scope(|scope| {
        let asking = scope.spawn(|| lab.host.run(ask).unwrap());
        until("somebody has been answered", || {
            held.publish(&Published { ports: (20_000, 29_999), ..published(1, Protocol::Tcp, 1, 1_000) })
                .unwrap();
            leases.unpublish(1);
            asking.is_finished()
        });
        over.store(true, Relaxed);
        asking.join().unwrap().unwrap()
    });
    assert_eq!(refused.to_string(), "29999/tcp on 0.0.0.0 is taken by the publication number 1");
}

fn kept_and_published() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    for (id, protocol) in (1..).zip([Protocol::Tcp, Protocol::Udp]) {
        held.keep(protocol, 8_080).unwrap();
        held.publish(&published(id, protocol, 8_080, 80)).unwrap();
        held.leases.unpublish(id);
        assert!(!lab.is_free(protocol, 8_080), "NAT still has it");
        outside_is_unanswered(&lab, &[(protocol, 8_080)]);
        // Not even the host is answered any more.
        assert!(Attempt::begin(&lab.host, protocol, (HOST, 8_080)).is_unanswered());

        held.publish(&published(id, protocol, 8_080, 80)).unwrap();
        held.leases.release(protocol, 8_080);
        assert!(!lab.is_free(protocol, 8_080), "it is still published");
        held.keep(protocol, 8_080).unwrap();
    }
    let server = echo(&lab, 80, 1);
    assert_eq!(ask(lab.connect((HOST, 8_080)).unwrap(), b"both"), b"both");
    server.join().unwrap();
    for (id, protocol) in (1..).zip([Protocol::Tcp, Protocol::Udp]) {
        held.leases.unpublish(id);
        held.leases.release(protocol, 8_080);
        assert!(lab.is_free(protocol, 8_080));
    }
}
