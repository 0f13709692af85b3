//! Names: what it costs to decide about a question, and how many a second are answered by the kernel's sockets, with asker and resolver on
//! one CPU together.
//!
//! The second part runs in private namespaces, as root or with user namespaces.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use criterion::Criterion;
use hickory_proto::rr::{Name, RecordType};
use pontoon::dns::decide::{Decision, decide};
use pontoon::dns::message::{Query, Transport};
use pontoon::dns::place::{LOCAL_ADDRESS, Place, Sockets};
use pontoon::dns::resolver::Resolver;
use pontoon::dns::zone::{Asker, NetworkNames, Station, Zone};
use pontoon::link::Links;
use pontoon::netns::NetnsId;
use rustix::thread::{CpuSet, sched_setaffinity};

const SANDBOX: NetnsId = NetnsId { dev: 4, ino: 1, boot: 1 };

/// Questions that are under way at once.
const WINDOW: usize = 64;

/// Ten networks with a hundred endpoints each; the asker is on two of them.
fn zone() -> Zone {
    let network = |third: u8| {
        let station = |number: u8| Station {
            sandbox: NetnsId { ino: if number == 0 && third < 2 { 1 } else { 1_000 }, ..SANDBOX },
            address: [10, 88, third, number + 2].into(),
            names: vec![format!("web-{third}-{number}")],
            upstreams: Vec::new(),
        };
        NetworkNames {
            name: format!("net{third}"),
            subnet: ipnet::Ipv4Net::new([10, 88, third, 0].into(), 24).expect("a subnet"),
            gateway: [10, 88, third, 1].into(),
            forwards: true,
            upstreams: Vec::new(),
            stations: (0..100).map(station).collect(),
        }
    };
    Zone::new((0..10).map(network).collect())
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    Query::new(7, Name::from_ascii(name).expect("a name"), kind).to_vec()
}

fn decisions(bench: &mut Criterion) {
    let zone = zone();
    for (what, name, kind) in [
        ("known name", "Web-1-50.", RecordType::A),
        ("no data", "web-1-50.", RecordType::AAAA),
        ("unknown name", "nobody.", RecordType::A),
        ("known address", "52.1.88.10.in-addr.arpa.", RecordType::PTR),
        ("passed on", "www.example.com.", RecordType::A),
    ] {
        let message = question(name, kind);
        for (at, asker) in [
            ("127.0.0.11", Asker::Sandbox(SANDBOX)),
            ("gateway", Asker::Station { network: "net1".into(), address: [10, 88, 1, 2].into() }),
        ] {
            bench.bench_function(&format!("names/decide/{what}/{at}"), |bench| {
                bench.iter(|| decide(&zone, black_box(&asker), Transport::Udp, black_box(&message)));
            });
        }
        let decided = decide(&zone, &Asker::Sandbox(SANDBOX), Transport::Udp, &message);
        assert_eq!(matches!(decided, Decision::Forward(_)), what == "passed on", "{what}");
    }
}

/// Answers a second over `time`.
fn answers(socket: &UdpSocket, message: &[u8], time: Duration) -> f64 {
    let mut buffer = [0; 512];
    let (start, mut answered) = (Instant::now(), 0u32);
    while start.elapsed() < time {
        for _ in 0..WINDOW {
            socket.send(message).expect("a question can be sent");
        }
        for _ in 0..WINDOW {
            socket.recv(&mut buffer).expect("every question is answered");
            answered += 1;
        }
    }
    f64::from(answered) / start.elapsed().as_secs_f64()
}

fn served() {
    if let Err(error) = pontoon::private::enter() {
        println!("names/served: cannot run: {error}");
        return;
    }
    // Whatever is started from here on inherits it: the resolver's thread, and the kernel's part of both.
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).expect("the process may choose its CPU");
    let links = Links::open().expect("netlink");
    links.set_up(&links.get("lo").expect("lo"), true).expect("lo comes up");
    let resolver = Resolver::start("/dev/null".into()).expect("a resolver");
    resolver.set_zone(zone());
    let sockets = Sockets::bind(LOCAL_ADDRESS, None).expect("port 53 of a private namespace");
    resolver.open(Place::Sandbox(SANDBOX), sockets).expect("the place is served");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect((LOCAL_ADDRESS, 53)).expect("a resolver");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for (what, name, kind) in
        [("known name", "web-1-50.", RecordType::A), ("unknown name", "nobody.", RecordType::A)]
    {
        let message = question(name, kind);
        let mut rounds: Vec<f64> =
            (0..5).map(|_| answers(&socket, &message, Duration::from_secs(1))).collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "names/served/{what}: {:.0} answers a second (median of five; {:.0} to {:.0}), asker and resolver on one CPU",
            rounds[2], rounds[0], rounds[4]
        );
    }
}

fn main() {
    let mut bench = Criterion::default().configure_from_args();
    decisions(&mut bench);
    bench.final_summary();
    served();
}
