//! What clients on the host itself find behind the ports that are held: they are relayed, within bounds.

use super::*;

pub(super) fn tcp_from_the_host() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    let range = Published { ports: (8_000, 8_003), ..published(1, Protocol::Tcp, 8_000, 80) };
    held.publish(&range).unwrap();
    let addresses = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9), HOST, GATEWAY];
    // More than all buffers on the way hold together.
    let bytes: Vec<u8> = (0..20_000_000u32).map(|number| (number / 251 + number % 251) as u8).collect();
    let first = echo(&lab, 80, addresses.len());
    for address in addresses {
        assert!(ask(lab.connect((address, 8_000)).unwrap(), &bytes) == bytes, "{address}");
    }
    for peer in first.join().unwrap() {
        assert_eq!(peer.ip(), GATEWAY, "the endpoint sees the gateway");
    }
    let last = echo(&lab, 83, 1);
    assert_eq!(ask(lab.connect((HOST, 8_003)).unwrap(), b"last"), b"last");
    last.join().unwrap();
    until("nothing is carried any more", || held.leases.carried().connections == 0);
}

pub(super) fn udp_from_the_host() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    held.publish(&published(1, Protocol::Udp, 5_353, 53)).unwrap();
    let server = udp(&lab.endpoint, (ENDPOINT, 53));
    let client = udp(&lab.host, (Ipv4Addr::UNSPECIFIED, 0));
    let mut buffer = vec![0; 65_536];
    let mut flows = Vec::new();
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9), HOST, GATEWAY] {
        for size in [0, 1, 1_472, 1_473, 65_507] {
            let question: Vec<u8> = (0..size).map(|number: u32| (number % 251) as u8).collect();
            client.send_to(&question, (address, 5_353)).unwrap();
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            assert!(buffer[..length] == question, "{size} bytes to {address}");
            assert_eq!(from.ip(), GATEWAY, "the endpoint sees the gateway");
            flows.push(from);
            let answer: Vec<u8> = question.iter().rev().copied().collect();
            server.send_to(&answer, from).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert!(buffer[..length] == answer, "{size} bytes from {address}");
            assert_eq!(from, SocketAddr::from((address, 5_353)), "the answer comes from whoever was asked");
        }
    }
    flows.dedup();
    assert_eq!(flows.len(), 4, "one flow for each address that was spoken to");
    assert_eq!(held.leases.carried().flows, 4);
}

/// Waits until the connection is reset.
fn is_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// Connects, and waits until the connection is reset, which may be before it is known to be there.
fn is_turned_away(from: &Namespace, to: (Ipv4Addr, u16)) {
    match connect(from, to) {
        Ok(mut stream) => is_reset(&mut stream),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
}

pub(super) fn refused() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    held.publish(&published(2, Protocol::Udp, 8_080, 80)).unwrap();
    is_turned_away(&lab.host, (HOST, 8_080));
    until("nothing is carried", || held.leases.carried().connections == 0);

    // A refusal of UDP is not passed on, and does no harm to what comes after it.
    let client = udp(&lab.host, (HOST, 0));
    client.send_to(b"too early", (HOST, 8_080)).unwrap();
    until("the flow is open", || held.leases.carried().flows == 1);
    let server = udp(&lab.endpoint, (ENDPOINT, 80));
    let mut buffer = [0; 100];
    until("the endpoint is reached", || {
        client.send_to(b"now", (HOST, 8_080)).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        server.recv_from(&mut buffer).is_ok()
    });
}

pub(super) fn reset() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    let listener = lab.endpoint.run(|| TcpListener::bind((ENDPOINT, 80))).unwrap().unwrap();
    let mut client = lab.connect((HOST, 8_080)).unwrap();
    let (endpoint, _) = listener.accept().unwrap();
    Socket::from(endpoint).set_linger(Some(Duration::ZERO)).unwrap();
    is_reset(&mut client);

    let client = lab.connect((HOST, 8_080)).unwrap();
    let (mut endpoint, _) = listener.accept().unwrap();
    endpoint.set_read_timeout(Some(PATIENCE)).unwrap();
    Socket::from(client).set_linger(Some(Duration::ZERO)).unwrap();
    is_reset(&mut endpoint);
}

pub(super) fn unpublished() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    held.publish(&published(2, Protocol::Tcp, 8_081, 80)).unwrap();
    held.publish(&published(3, Protocol::Udp, 8_080, 80)).unwrap();
    let listener = lab.endpoint.run(|| TcpListener::bind((ENDPOINT, 80))).unwrap().unwrap();
    let server = udp(&lab.endpoint, (ENDPOINT, 80));
    let mut buffer = [0; 100];
    let take_up = |port| {
        let client = lab.connect((HOST, port)).unwrap();
        let (endpoint, _) = listener.accept().unwrap();
        endpoint.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, endpoint)
    };
    let (mut client, mut endpoint) = take_up(8_080);
    let (mut other, mut others_endpoint) = take_up(8_081);
    let talker = udp(&lab.host, (HOST, 0));
    talker.send_to(b"hello", (HOST, 8_080)).unwrap();
    server.recv_from(&mut buffer).unwrap();

    held.leases.unpublish(1);
    held.leases.unpublish(3);
    held.leases.unpublish(3);
    is_reset(&mut client);
    is_reset(&mut endpoint);
    assert_eq!(held.leases.carried().flows, 0);
    assert!(lab.is_free(Protocol::Udp, 8_080));
    // The port is free as soon as the call is back, whatever its connections do.
    assert_eq!(lab.connect((HOST, 8_080)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();

    other.write_all(b"!").unwrap();
    others_endpoint.read_exact(&mut buffer[..1]).unwrap();
    assert_eq!(buffer[0], b'!', "another publication goes on");
}

pub(super) fn bounds_of_tcp() {
    let lab = Lab::new();
    let held = lab.leases(Limits { connections: 3, connections_each: 2, ..Limits::default() });
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    held.publish(&published(2, Protocol::Tcp, 8_081, 80)).unwrap();
    let listener = lab.endpoint.run(|| TcpListener::bind((ENDPOINT, 80))).unwrap().unwrap();
    let take_up = |port| {
        let client = lab.connect((HOST, port)).unwrap();
        let (endpoint, _) = listener.accept().unwrap();
        (client, endpoint)
    };
    let living = [take_up(8_080), take_up(8_080)];
    is_turned_away(&lab.host, (HOST, 8_080));
    let other = take_up(8_081);
    is_turned_away(&lab.host, (HOST, 8_081));
    for (client, endpoint) in living.iter().chain([&other]) {
        let (mut client, mut endpoint) = (client, endpoint);
        client.write_all(b"!").unwrap();
        endpoint.read_exact(&mut [0]).unwrap();
    }
    drop(other);
    until("there is room again", || held.leases.carried().connections == 2);
    take_up(8_081);
}

pub(super) fn bounds_of_udp() {
    let lab = Lab::new();
    let held = lab.leases(Limits { flows: 3, flows_each: 2, ..Limits::default() });
    held.publish(&published(1, Protocol::Udp, 8_080, 80)).unwrap();
    held.publish(&published(2, Protocol::Udp, 8_081, 80)).unwrap();
    let server = udp(&lab.endpoint, (ENDPOINT, 80));
    let clients: Vec<UdpSocket> = (0..3).map(|_| udp(&lab.host, (HOST, 0))).collect();
    // The address that the endpoint sees a client under.
    let seen = |client: usize, port| {
        clients[client].send_to(b"hello", (HOST, port)).unwrap();
        server.recv_from(&mut [0; 10]).unwrap().1
    };
    let [first, second] = [seen(0, 8_080), seen(1, 8_080)];
    assert_eq!(seen(0, 8_080), first);
    seen(2, 8_080);
    assert_eq!(seen(0, 8_080), first, "it was used last");
    assert_ne!(seen(1, 8_080), second, "it was idle longest and gave way");
    seen(0, 8_081);
    seen(1, 8_081);
    assert_eq!(held.leases.carried().flows, 3, "in all");
}

pub(super) fn idle_udp() {
    let lab = Lab::new();
    let held = lab.leases(Limits { idle: Duration::from_millis(200), ..Limits::default() });
    held.publish(&published(1, Protocol::Udp, 8_080, 80)).unwrap();
    let server = udp(&lab.endpoint, (ENDPOINT, 80));
    let client = udp(&lab.host, (HOST, 0));
    for _ in 0..2 {
        client.send_to(b"hello", (HOST, 8_080)).unwrap();
        server.recv_from(&mut [0; 10]).unwrap();
        until("the flow ends", || held.leases.carried().flows == 0);
    }
}

/// Somebody else has the endpoint's address where the host's routes lead.
pub(super) fn by_the_host_port_alone() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    lab.remote
        .run(|| {
            let links = Links::open().unwrap();
            links.add_address(&links.get("eth0").unwrap(), ENDPOINT.into(), 32).unwrap();
        })
        .unwrap();
    let route = ["route", "add", "10.88.0.2/32", "via", "192.0.2.9", "dev", "up0"];
    assert!(lab.host.run(|| Command::new("ip").args(route).status()).unwrap().unwrap().success());
    let _other = lab.remote.run(|| TcpListener::bind((ENDPOINT, 80))).unwrap().unwrap();
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    held.publish(&published(2, Protocol::Udp, 8_080, 80)).unwrap();
    let server = echo(&lab, 80, 1);
    assert_eq!(ask(lab.connect((HOST, 8_080)).unwrap(), b"inside"), b"inside");
    server.join().unwrap();
    let (client, server) = (udp(&lab.host, (HOST, 0)), udp(&lab.endpoint, (ENDPOINT, 80)));
    client.send_to(b"inside", (HOST, 8_080)).unwrap();
    server.recv_from(&mut [0; 6]).unwrap();
}

/// Nobody is connected to whoever has the endpoint's address elsewhere, and what is carried ends with the host port.
pub(super) fn no_host_port() {
    let lab = Lab::new();
    let held = lab.leases(Limits::default());
    held.publish(&published(1, Protocol::Tcp, 8_080, 80)).unwrap();
    held.publish(&published(2, Protocol::Udp, 8_080, 80)).unwrap();
    let listener = lab.endpoint.run(|| TcpListener::bind((ENDPOINT, 80))).unwrap().unwrap();
    let server = udp(&lab.endpoint, (ENDPOINT, 80));
    let mut client = lab.connect((HOST, 8_080)).unwrap();
    let (mut endpoint, _) = listener.accept().unwrap();
    endpoint.set_read_timeout(Some(PATIENCE)).unwrap();
    let talker = udp(&lab.host, (HOST, 0));
    talker.send_to(b"before", (HOST, 8_080)).unwrap();
    server.recv_from(&mut [0; 6]).unwrap();

    held.leases.set_host_port(NETWORK, None);
    is_reset(&mut client);
    is_reset(&mut endpoint);
    assert_eq!(held.leases.carried().flows, 0);
    talker.send_to(b"nobody", (HOST, 8_080)).unwrap();
    is_turned_away(&lab.host, (HOST, 8_080));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);

    held.leases.set_host_port(NETWORK, Some("lan0"));
    talker.send_to(b"after!", (HOST, 8_080)).unwrap();
    let mut buffer = [0; 6];
    server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer, b"after!");
}
