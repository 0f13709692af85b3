//! The Engine's name server brought to port 53 of a sandbox, with a name server that the test plays itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use pontoon::api::types::SandboxRef;
use pontoon::link::Links;
use pontoon::netns;
use pontoon::plugin::resolver::Resolvers;
use pontoon_tools::lab::Namespace;

use crate::daemon::{PATIENCE, until};
use crate::{Test, test};

const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const DNS: (Ipv4Addr, u16) = (RESOLVER, 53);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("resolver/many-clients", many_clients),
        test("resolver/tcp", tcp),
        test("resolver/engine-moves", engine_moves),
        test("resolver/engine-comes-late", engine_comes_late),
        test("resolver/sandbox-comes-late", sandbox_comes_late),
        test("resolver/nobody-reads", nobody_reads),
        test("resolver/more-than-there-is-room-for", too_many),
        test("resolver/ends", ends),
    ]
}

/// A sandbox whose port 53 is served.
struct Sandbox {
    resolvers: Resolvers,
    namespace: Namespace,
}

impl Sandbox {
    fn new() -> Sandbox {
        let namespace = Namespace::new("e2e-sandbox").unwrap();
        bring_up_lo(&namespace);
        let sandbox = Sandbox { resolvers: Resolvers::start().unwrap(), namespace };
        sandbox.resolvers.serve(&sandbox.reference());
        until("port 53 is served", || is_served(&sandbox.namespace));
        sandbox
    }

    fn reference(&self) -> SandboxRef {
        SandboxRef::Netns(self.namespace.name().to_owned())
    }

    fn bind(&self, address: (Ipv4Addr, u16)) -> std::io::Result<UdpSocket> {
        let socket = self.namespace.run(|| UdpSocket::bind(address)).unwrap()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    /// Somebody who asks.
    fn client(&self) -> UdpSocket {
        let socket = self.bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(DNS).unwrap();
        socket
    }

    /// Waits until every query has been read.
    fn until_taken(&self) {
        until("the queries were taken", || {
            served(&self.namespace.run(table).unwrap()).expect("port 53").contains(":00000000 00:")
        });
    }

    /// The Engine's socket.
    fn engine(&self) -> UdpSocket {
        self.bind((RESOLVER, 0)).unwrap()
    }
}

fn bring_up_lo(namespace: &Namespace) {
    let up = || {
        let links = Links::open()?;
        links.set_up(&links.get("lo")?, true)
    };
    namespace.run(up).unwrap().unwrap();
}

/// The kernel's table of UDP sockets.
fn table() -> String {
    std::fs::read_to_string("/proc/thread-self/net/udp").unwrap()
}

/// The line of that table that is about port 53 of the resolver's address.
fn served(table: &str) -> Option<&str> {
    table.lines().find(|line| line.split_whitespace().nth(1) == Some("0B00007F:0035"))
}

fn is_served(namespace: &Namespace) -> bool {
    served(&namespace.run(table).unwrap()).is_some()
}

/// A message with that id and an empty question, and text behind it by which it is known.
fn message(id: u16, text: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(text.as_bytes());
    message
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_535];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, from)
}

/// The Engine answers one query: the same message back, with the answer's flag set.
fn answer(engine: &UdpSocket) {
    let (mut query, from) = receive(engine);
    query[2] |= 0x80;
    engine.send_to(&query, from).unwrap();
}

fn is_answer_to(answer: &[u8], query: &[u8]) -> bool {
    answer[2] == query[2] | 0x80 && answer[..2] == query[..2] && answer[3..] == query[3..]
}

/// All with the same id, as if they had agreed on it: each gets what is its own.
fn many_clients() {
    let sandbox = Sandbox::new();
    let engine = sandbox.engine();
    let clients: Vec<_> = (0..20).map(|_| sandbox.client()).collect();
    let queries: Vec<_> = (0..20).map(|it| message(0x1234, &format!("query {it}"))).collect();
    for (client, query) in clients.iter().zip(&queries) {
        client.send(query).unwrap();
    }
    let mut asked: Vec<_> = (0..20).map(|_| receive(&engine)).collect();
    let mut ids: Vec<_> = asked.iter().map(|(query, _)| [query[0], query[1]]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "the Engine sees each with an id of its own");
    // Answers come in another order.
    asked.reverse();
    for (query, from) in &mut asked {
        query[2] |= 0x80;
        engine.send_to(query, *from).unwrap();
    }
    for (client, query) in clients.iter().zip(&queries) {
        let (answer, from) = receive(client);
        assert!(is_answer_to(&answer, query), "{answer:?}");
        assert_eq!(from, SocketAddr::from(DNS));
    }
    // What is no message of DNS is nobody's.
    clients[0].send(b"short").unwrap();
    clients[0].send(&queries[0]).unwrap();
    answer(&engine);
    assert!(is_answer_to(&receive(&clients[0]).0, &queries[0]));
}

fn tcp() {
    let sandbox = Sandbox::new();
    let engine = sandbox.namespace.run(|| TcpListener::bind((RESOLVER, 0))).unwrap().unwrap();
    let connect = || sandbox.namespace.run(|| TcpStream::connect(DNS)).unwrap().unwrap();
    let long = vec![7; 65_537];
    for _ in 0..3 {
        let mut client = connect();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"query").unwrap();
        let (mut served, _) = engine.accept().unwrap();
        let mut query = [0; 5];
        served.read_exact(&mut query).unwrap();
        assert_eq!(&query, b"query");
        served.write_all(&long).unwrap();
        drop(served);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer == long, "{} bytes", answer.len());
    }
    // Nobody there: the connection is closed, and the client need not wait.
    drop(engine);
    let mut client = connect();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
}

/// An Engine that starts again beside living containers opens other ports.
fn engine_moves() {
    let sandbox = Sandbox::new();
    let client = sandbox.client();
    for round in 0..3 {
        let engine = sandbox.engine();
        let query = message(round, "query");
        client.send(&query).unwrap();
        answer(&engine);
        assert!(is_answer_to(&receive(&client).0, &query), "round {round}");
    }
}

fn engine_comes_late() {
    let sandbox = Sandbox::new();
    let client = sandbox.client();
    let query = message(1, "early");
    client.send(&query).unwrap();
    sandbox.until_taken();
    let engine = sandbox.engine();
    answer(&engine);
    assert!(is_answer_to(&receive(&client).0, &query));
}

/// As when a container starts: the path is told before the runtime has made the sandbox, and `lo` comes up later still.
fn sandbox_comes_late() {
    let resolvers = Resolvers::start().unwrap();
    let name = format!("e2e-late-{}", std::process::id());
    let reference = SandboxRef::Netns(format!("/run/netns/{name}"));
    resolvers.serve(&reference);
    std::fs::create_dir_all("/run/netns").unwrap();
    // Docker makes an empty file first.
    netns::create(&name).unwrap();
    let netns = netns::Netns::find(&reference).unwrap();
    let up = || {
        let links = Links::open()?;
        links.set_up(&links.get("lo")?, true)
    };
    netns::run_in(&netns, up).unwrap().unwrap();
    until("port 53 is served", || netns::run_in(&netns, || served(&table()).is_some()).unwrap());
    resolvers.end(&reference);
    netns::delete(&name).unwrap();
}

/// As Engines from version 24 on when they cannot set NAT up: their ports are open and nobody reads there.
fn nobody_reads() {
    let sandbox = Sandbox::new();
    let engine = sandbox.engine();
    let client = sandbox.client();
    let query = message(7, "anybody?");
    client.send(&query).unwrap();
    let (answer, _) = receive(&client);
    assert!(is_failure(&answer, &query), "{answer:?}");
    // From then on it is said at once: the Engine gets no more to read meanwhile.
    for id in 100..200 {
        let query = message(id, "again");
        client.send(&query).unwrap();
        assert!(is_failure(&receive(&client).0, &query));
    }
    engine.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    receive(&engine);
    assert!(engine.recv_from(&mut [0; 100]).is_err(), "only the first query came through");
}

/// QR set, RCODE 2 (RFC 1035, 4.1.1).
fn is_failure(answer: &[u8], query: &[u8]) -> bool {
    answer[2] & 0x80 != 0 && answer[3] & 0x0f == 2 && answer[..2] == query[..2] && answer[4..] == query[4..]
}

/// A sandbox that asks without waiting for answers is told so, and holds nobody else up.
fn too_many() {
    let sandbox = Sandbox::new();
    let client = sandbox.client();
    for id in 0..1200 {
        client.send(&message(id, "flood")).unwrap();
        // More than fits the socket would be lost on the way.
        if id % 50 == 49 {
            sandbox.until_taken();
        }
    }
    let (failed, _) = receive(&client);
    assert_eq!((failed[2] & 0x80, failed[3] & 0x0f), (0x80, 2));
    let engine = sandbox.engine();
    answer(&engine);
}

fn ends() {
    let sandbox = Sandbox::new();
    sandbox.resolvers.end(&sandbox.reference());
    until("port 53 is free again", || !is_served(&sandbox.namespace));
    // While somebody else has it, it is waited for.
    let other = sandbox.bind(DNS).unwrap();
    sandbox.resolvers.serve(&sandbox.reference());
    drop(other);
    let engine = sandbox.engine();
    until("port 53 is served again", || is_served(&sandbox.namespace));
    let (client, query) = (sandbox.client(), message(1, "query"));
    client.send(&query).unwrap();
    answer(&engine);
    assert!(is_answer_to(&receive(&client).0, &query));
}
