//! Names at the gateway's address: whatever a network reaches otherwise, and beside whatever the host serves there.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use pontoon::api::types::DnsStats;
use pontoon::netns::run_in;
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::HOST;
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY, Station, until};
use crate::edge::{Edge, bind, exchange, plain_test, reaches_outside};
use crate::names::look_up;
use crate::nameserver::{
    By, Manner, Upstream, addresses, ask, given, open_socket, query, resolv_conf, text_len,
};
use crate::{Test, survive, test};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = vec![
        plain_test("names/gateway/own-networks", "", own_networks),
        plain_test("names/gateway/beside-the-hosts-own", "", beside_the_hosts_own),
        plain_test("names/gateway/rules-hold", "", rules_hold),
        plain_test("names/gateway/flood", "", flood),
        plain_test("names/gateway/daemon-killed", "", daemon_killed),
        plain_test("names/gateway/nothing-is-left", "", nothing_is_left),
        plain_test("names/gateway/trace", "", trace),
        test("names/gateway/outside", outside),
    ];
    for options in ["--internal", "--host-access=false", "--uplink none", "--icc=false"] {
        let name = format!("names/gateway/with{options}").replace(' ', "=");
        tests.push(plain_test(name, options, closed));
    }
    tests
}

/// The addresses of a name, asked for at the gateway.
fn find(from: &Station, name: &str) -> Option<Vec<Ipv4Addr>> {
    look_up(from.namespace.netns(), GATEWAY, name)
}

fn own_networks(edge: &mut Edge) {
    let daemon = &edge.daemon;
    daemon.ok("network create red --subnet 10.89.0.0/24");
    let (web, db) = (daemon.attach("--name web"), daemon.attach("--name db --kind veth"));
    let lone = Namespace::new("e2e-lone").unwrap();
    daemon.ok(&format!("attach red --netns {} --name lone", lone.name()));
    assert_eq!(find(&web, "db."), Some(vec![db.ip()]));
    assert_eq!(find(&db, "WEB.blue."), Some(vec![web.ip()]));
    assert_eq!(find(&web, "lone."), None);
    assert_eq!(find(&web, "nobody."), None);
    let [a, b, c, d] = db.ip().octets();
    for (name, kind, records) in [
        (format!("{d}.{c}.{b}.{a}.in-addr.arpa."), RecordType::PTR, 1),
        ("db.".to_owned(), RecordType::AAAA, 0),
    ] {
        let answer = ask(web.namespace.netns(), GATEWAY, &name, kind, By::Edns(4096)).unwrap();
        assert_eq!((answer.response_code, answer.answers.len()), (ResponseCode::NoError, records), "{name}");
        assert!(answer.edns.is_some());
    }
    // On a second network the sandbox knows of both, whichever gateway it asks.
    daemon.ok(&format!("attach red --netns {} --name web --ifname eth1", web.namespace.name()));
    assert!(find(&web, "lone.").is_some());
    let red = Ipv4Addr::new(10, 89, 0, 1);
    assert_eq!(look_up(web.namespace.netns(), red, "db."), Some(vec![db.ip()]));
    assert_eq!(find(&db, "lone."), None);
    // From its address on the other network, too.
    let ask_from_red = || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::new(10, 89, 0, 3), 0))?;
        socket.set_read_timeout(Some(crate::daemon::PATIENCE))?;
        socket.send_to(&query(9, "db.", RecordType::A, By::Udp).to_vec().unwrap(), (GATEWAY, 53))?;
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer)?;
        std::io::Result::Ok((buffer[..length].to_vec(), from))
    };
    let (bytes, from) = web.namespace.run(ask_from_red).unwrap().unwrap();
    assert_eq!(from, (GATEWAY, 53).into());
    assert_eq!(addresses(&Message::from_vec(&bytes).unwrap()), [db.ip()]);
    // A veth that was asked for goes again.
    daemon.ok("detach blue db");
}

/// A resolver of the host's own, at all of its addresses.
fn beside_the_hosts_own(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    let [at_host, at_gateway] = [HOST, GATEWAY].map(|address| bind(edge.host(), (address, 53)));
    let _listener = crate::edge::listen(edge.host(), (ANY, 53));
    let client = bind(&station.namespace, (ANY, 0));
    assert_eq!(find(&station, "web."), Some(vec![station.ip()]), "ours, all the same");
    exchange(&client, &at_host, (HOST, 53), 100);
    edge.daemon.ok("network set blue --resolver=false");
    exchange(&client, &at_gateway, (GATEWAY, 53), 100);
    edge.daemon.ok("network set blue --resolver");
    assert_eq!(find(&station, "web."), Some(vec![station.ip()]));
    exchange(&client, &at_host, (HOST, 53), 100);
    // Whoever the host asks on an endpoint answers to the host.
    let endpoint = bind(&station.namespace, (station.ip(), 53));
    exchange(&bind(edge.host(), (ANY, 0)), &endpoint, (station.ip(), 53), 100);
    let seen: DnsStats = edge.daemon.json("dns stats");
    assert_eq!(seen.places.len(), 1);
    assert_eq!((seen.places[0].network.as_deref(), seen.places[0].address), (Some("blue"), GATEWAY));
}

fn closed(edge: &mut Edge) {
    let (web, db) = (edge.daemon.attach("--name web"), edge.daemon.attach("--name db"));
    assert_eq!(find(&web, "db."), Some(vec![db.ip()]));
    assert_eq!(find(&db, "web."), Some(vec![web.ip()]));
    assert_eq!(find(&db, "nobody."), None);
    edge.daemon.ok("network set blue --resolver=false");
    let refused = ask(web.namespace.netns(), GATEWAY, "db.", RecordType::A, By::Tcp);
    assert!(refused.is_err(), "{refused:?}");
}

fn rules_hold(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    edge.daemon.ok("rule add blue deny --proto tcp --port 53");
    let by = |by| ask(station.namespace.netns(), GATEWAY, "web.", RecordType::A, by);
    assert!(by(By::Tcp).is_err());
    for _ in 0..3 {
        assert_eq!(addresses(&by(By::Udp).unwrap()), [station.ip()]);
    }
    edge.daemon.ok("rule flush blue");
    assert_eq!(addresses(&by(By::Tcp).unwrap()), [station.ip()]);
}

/// As much as an endpoint can send, while another asks now and then.
fn flood(edge: &mut Edge) {
    let (greedy, modest) = (edge.daemon.attach("--name greedy"), edge.daemon.attach("--name modest"));
    assert!(find(&modest, "greedy.").is_some());
    let ended = AtomicBool::new(false);
    let message = query(1, "modest.", RecordType::A, By::Udp).to_vec().unwrap();
    std::thread::scope(|scope| {
        let pour = || {
            let socket = open_socket(GATEWAY).unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut buffer = [0; 512];
            while !ended.load(Relaxed) {
                for _ in 0..64 {
                    // Whatever becomes of each.
                    let _ = socket.send(&message);
                    let _ = socket.recv(&mut buffer);
                }
            }
        };
        let flooding = scope.spawn(move || greedy.namespace.run(pour).unwrap());
        let answered = || edge.daemon.json::<DnsStats>("dns stats").counts[2].count;
        until("the flood has begun", || answered() > 1_000);
        let mut lost = 0;
        for _ in 0..100 {
            let socket = run_in(modest.namespace.netns(), || open_socket(GATEWAY)).unwrap().unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let asked = || {
                socket.send(&query(2, "greedy.", RecordType::A, By::Udp).to_vec().unwrap()).unwrap();
                socket.recv(&mut [0; 512])
            };
            // As the C library: five seconds, and once more.
            lost += usize::from(asked().or_else(|_| asked()).is_err());
        }
        ended.store(true, Relaxed);
        flooding.join().unwrap();
        assert_eq!(lost, 0, "questions of somebody else that were lost");
    });
}

fn daemon_killed(edge: &mut Edge) {
    let station = edge.daemon.attach("--name web");
    let before = survive::links(&edge.daemon);
    for signal in [Signal::KILL, Signal::TERM] {
        edge.daemon.end(signal);
        edge.daemon.start_again();
        assert_eq!(find(&station, "web."), Some(vec![station.ip()]));
        assert_eq!(survive::links(&edge.daemon), before, "no interface of the host more");
    }
    reaches_outside(&station);
}

fn nothing_is_left(edge: &mut Edge) {
    let files = || std::fs::read_dir(format!("/proc/{}/fd", edge.daemon.pid())).unwrap().count();
    let around = |round: usize| {
        edge.daemon.ok(&format!("network create n{round} --subnet 10.90.0.0/24"));
        edge.daemon.ok(&format!("network set n{round} --resolver=false"));
        edge.daemon.ok(&format!("network set n{round} --resolver"));
        edge.daemon.ok(&format!("network rm n{round}"));
    };
    around(0);
    let before = files();
    (1..10).for_each(around);
    until("files are closed", || files() <= before);
}

fn trace(edge: &mut Edge) {
    let _web = edge.daemon.attach("--name web");
    let told = edge.daemon.ask(&["trace", "blue", "--from", "web", "udp 10.88.0.2:4000 > 10.88.0.1:53"]);
    assert!(told.stdout.contains("the destination is the resolver at the gateway"), "{}", told.stdout);
    assert!(told.stdout.contains("resolver:blue"), "{}", told.stdout);
}

/// Names of the outside, by the host's resolver on its loopback, in datagrams that have to be cut.
fn outside() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    let local = Ipv4Addr::new(127, 0, 0, 53);
    std::fs::write(&file, resolv_conf(&[local])).unwrap();
    let host = Namespace::new("e2e-host").unwrap();
    let loopback = || {
        let links = pontoon::link::Links::open()?;
        links.set_up(&links.get("lo")?, true)
    };
    host.run(loopback).unwrap().unwrap();
    let upstream = Upstream::start(host.netns(), local, Manner::Good);
    let daemon = Daemon::start_in(host, &["--resolv-conf", file.to_str().unwrap()]);
    daemon.network("");
    let station = daemon.attach("");
    let at_gateway = |name: &str, kind, by| ask(station.namespace.netns(), GATEWAY, name, kind, by).unwrap();
    assert_eq!(addresses(&at_gateway("example.com.", RecordType::A, By::Udp)), [given(local)]);
    assert_eq!(text_len(&at_gateway("txt-6000.example.com.", RecordType::TXT, By::Edns(8_192))), 6_000);
    assert!(at_gateway("txt-6000.example.com.", RecordType::TXT, By::Edns(4_096)).truncation);
    assert_eq!(text_len(&at_gateway("txt-40000.example.com.", RecordType::TXT, By::Tcp)), 40_000);
    assert_eq!(upstream.seen().len(), 4);
    daemon.ok("network set blue --internal");
    let kept = at_gateway("example.com.", RecordType::A, By::Udp);
    assert_eq!(kept.response_code, ResponseCode::ServFail);
    assert_eq!(upstream.seen().len(), 4);
}
