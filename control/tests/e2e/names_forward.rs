//! Names of the outside: whom they are asked of, and what must hold whatever those do.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use pontoon::api::types::DnsStats;
use pontoon::link::Links;
use pontoon::netns::{Netns, run_in};
use pontoon_tools::lab::Namespace;

use crate::daemon::{Daemon, until};
use crate::names::{LOCAL, look_up, open, up};
use crate::nameserver::{
    By, Manner, Upstream, addresses, ask, exchange, given, open_socket, open_stream, query, read_framed,
    resolv_conf, text_len, write_framed,
};
use crate::{Test, test};

/// Addresses for resolvers of the outside, on the host's loopback.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 54);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("names/outside/resolv-conf-is-followed", || resolv_conf_is_followed(&Site::new())),
        test("names/outside/dead-first", || dead_first(&Site::new())),
        test("names/outside/nobody-there", || nobody_there(&Site::new())),
        test("names/outside/lies-are-ignored", || lies_are_ignored(&Site::new())),
        test("names/outside/slow-is-waited-for", || slow_is_waited_for(&Site::new())),
        test("names/outside/failure-is-passed-over", || failure_is_passed_over(&Site::new())),
        test("names/outside/sizes", || sizes(&Site::new())),
        test("names/outside/ours-are-never-asked-for", || ours_are_never_asked_for(&Site::new())),
        test("names/outside/ids-and-ports-are-random", || ids_and_ports_are_random(&Site::new())),
        test("names/outside/dead-holds-up-nothing", || dead_holds_up_nothing(&Site::new())),
        test("names/outside/pipelined", || pipelined(&Site::new())),
        test("names/outside/given-resolvers", || given_resolvers(&Site::new())),
        test("names/outside/no-way-out", || no_way_out(&Site::new())),
        test("names/outside/loops-are-refused", || loops_are_refused(&Site::new())),
        test("names/outside/command", || command(&Site::new())),
    ]
}

/// A daemon whose host's resolvers are ours to choose.
struct Site {
    daemon: Daemon,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("resolv.conf");
        std::fs::write(&file, resolv_conf(&[FIRST])).unwrap();
        let host = Namespace::new("e2e-host").unwrap();
        let loopback = || {
            let links = Links::open()?;
            links.set_up(&links.get("lo")?, true)
        };
        host.run(loopback).unwrap().unwrap();
        let daemon = Daemon::start_in(host, &["--resolv-conf", file.to_str().unwrap()]);
        Site { daemon, file, _directory: directory }
    }

    fn upstreams(&self, upstreams: &[Ipv4Addr]) {
        std::fs::write(&self.file, resolv_conf(upstreams)).unwrap();
    }

    /// A resolver of the outside, on the host.
    fn resolver(&self, address: Ipv4Addr, manner: Manner) -> Upstream {
        Upstream::start(self.daemon.host.netns(), address, manner)
    }

    /// A sandbox of that name on the network red, which asks at 127.0.0.11.
    fn sandbox(&self, name: &str) -> Netns {
        up(&self.daemon, &[("red", "10.88.0.0/24", &[name])], "");
        open(name)
    }

    fn count(&self, name: &str) -> u64 {
        let stats: DnsStats = self.daemon.json("dns stats");
        stats.counts.iter().find(|it| it.name == name).expect("there is such a counter").count
    }
}

fn code(from: &Netns, name: &str) -> ResponseCode {
    ask(from, LOCAL, name, RecordType::A, By::Udp).unwrap().response_code
}

fn resolv_conf_is_followed(site: &Site) {
    let from = site.sandbox("of-follow");
    let (first, second) = (site.resolver(FIRST, Manner::Good), site.resolver(SECOND, Manner::Good));
    site.upstreams(&[FIRST, SECOND]);
    assert_eq!(look_up(&from, LOCAL, "example.com."), Some(vec![given(FIRST)]));
    site.upstreams(&[SECOND]);
    assert_eq!(look_up(&from, LOCAL, "example.com."), Some(vec![given(SECOND)]));
    std::fs::rename(&site.file, site.file.with_extension("old")).unwrap();
    assert_eq!(look_up(&from, LOCAL, "example.com."), Some(vec![given(SECOND)]), "while there is no file");
    site.upstreams(&[FIRST]);
    assert_eq!(look_up(&from, LOCAL, "example.com."), Some(vec![given(FIRST)]));
    assert_eq!((first.seen().len(), second.seen().len()), (4, 4), "one question each");
    assert!(first.seen().iter().any(|seen| seen.tcp) && first.seen().iter().any(|seen| !seen.tcp));
}

fn dead_first(site: &Site) {
    let from = site.sandbox("of-dead");
    let (dead, good) = (site.resolver(FIRST, Manner::Silent), site.resolver(SECOND, Manner::Good));
    site.upstreams(&[FIRST, SECOND]);
    let asked = ask(&from, LOCAL, "example.com.", RecordType::A, By::Udp).unwrap();
    assert_eq!(addresses(&asked), [given(SECOND)]);
    assert_eq!(dead.seen().len(), 1);
    // Known by now.
    for _ in 0..5 {
        let asked = ask(&from, LOCAL, "example.com.", RecordType::A, By::Udp).unwrap();
        assert_eq!(addresses(&asked), [given(SECOND)]);
    }
    assert_eq!((dead.seen().len(), good.seen().len()), (1, 6));
    let stats: DnsStats = site.daemon.json("dns stats");
    let silent: Vec<bool> = stats.host_resolvers.iter().map(|it| it.silent).collect();
    assert_eq!(silent, [true, false]);
}

fn nobody_there(site: &Site) {
    let from = site.sandbox("of-nobody");
    assert_eq!(code(&from, "example.com."), ResponseCode::ServFail);
    let answer = ask(&from, LOCAL, "example.com.", RecordType::A, By::Tcp).unwrap();
    assert_eq!(answer.response_code, ResponseCode::ServFail);
    let _good = site.resolver(SECOND, Manner::Good);
    site.upstreams(&[FIRST, SECOND]);
    assert_eq!(look_up(&from, LOCAL, "example.com."), Some(vec![given(SECOND)]));
}

fn lies_are_ignored(site: &Site) {
    let from = site.sandbox("of-lies");
    let lying = site.resolver(FIRST, Manner::Lying);
    assert_eq!(code(&from, "example.com."), ResponseCode::ServFail);
    assert!(!lying.seen().is_empty());
    let _good = site.resolver(SECOND, Manner::Good);
    site.upstreams(&[FIRST, SECOND]);
    let answer = ask(&from, LOCAL, "example.com.", RecordType::A, By::Udp).unwrap();
    assert_eq!(addresses(&answer), [given(SECOND)]);
}

fn slow_is_waited_for(site: &Site) {
    let from = site.sandbox("of-slow");
    let _slow = site.resolver(FIRST, Manner::Slow(Duration::from_secs(2)));
    let answer = ask(&from, LOCAL, "example.com.", RecordType::A, By::Udp).unwrap();
    assert_eq!(addresses(&answer), [given(FIRST)]);
}

fn failure_is_passed_over(site: &Site) {
    let from = site.sandbox("of-failure");
    let _refuses = site.resolver(FIRST, Manner::Failing(ResponseCode::Refused));
    assert_eq!(code(&from, "example.com."), ResponseCode::Refused, "when nobody knows better");
    let _good = site.resolver(SECOND, Manner::Good);
    site.upstreams(&[FIRST, SECOND]);
    assert_eq!(look_up(&from, LOCAL, "example.com."), Some(vec![given(SECOND)]));
}

fn sizes(site: &Site) {
    let from = site.sandbox("of-sizes");
    let good = site.resolver(FIRST, Manner::Good);
    let ask = |name: &str, by| {
        let answer = ask(&from, LOCAL, name, RecordType::TXT, by).unwrap();
        assert_eq!(answer.response_code, ResponseCode::NoError);
        (answer.truncation, text_len(&answer))
    };
    assert_eq!(ask("txt-400.example.com.", By::Udp), (false, 400));
    assert_eq!(ask("txt-2000.example.com.", By::Udp), (true, 0));
    assert_eq!(ask("txt-2000.example.com.", By::Edns(1232)), (true, 0));
    assert_eq!(ask("txt-2000.example.com.", By::Edns(4096)), (false, 2000));
    assert_eq!(ask("txt-2000.example.com.", By::Tcp), (false, 2000));
    assert_eq!(ask("txt-40000.example.com.", By::Tcp), (false, 40_000));
    assert!(good.seen().iter().all(|seen| seen.name.starts_with("txt-")));
    drop(good);
    // One that sends more than there is room for.
    let _bold = site.resolver(FIRST, Manner::Bold);
    assert_eq!(ask("txt-2000.example.com.", By::Udp), (true, 0));
    assert_eq!(ask("txt-40000.example.com.", By::Edns(1232)), (true, 0));
    assert_eq!(ask("txt-40000.example.com.", By::Tcp), (false, 40_000));
}

fn ours_are_never_asked_for(site: &Site) {
    let from = site.sandbox("of-ours");
    let good = site.resolver(FIRST, Manner::Good);
    for name in
        ["of-ours.", "OF-OURS.red.", "nobody.", "com.", "77.0.88.10.in-addr.arpa.", "x.0.88.10.in-addr.arpa."]
    {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::PTR, RecordType::NS, RecordType::ANY] {
            for by in [By::Udp, By::Tcp, By::Edns(1232)] {
                ask(&from, LOCAL, name, kind, by).unwrap();
            }
        }
    }
    for other in ["example.com.", "nobody.red.", "9.113.0.203.in-addr.arpa."] {
        ask(&from, LOCAL, other, RecordType::A, By::Udp).unwrap();
    }
    assert_eq!(good.names(), ["example.com.", "nobody.red.", "9.113.0.203.in-addr.arpa."]);
}

fn ids_and_ports_are_random(site: &Site) {
    let from = site.sandbox("of-random");
    let good = site.resolver(FIRST, Manner::Good);
    for _ in 0..40 {
        ask(&from, LOCAL, "example.com.", RecordType::A, By::Udp).unwrap();
    }
    let distinct = |of: fn(&crate::nameserver::Seen) -> u16| {
        let all: std::collections::BTreeSet<u16> = good.seen().iter().map(of).collect();
        let (low, high) = (*all.first().unwrap(), *all.last().unwrap());
        (all.len(), high - low)
    };
    let (ids, ports) = (distinct(|seen| seen.id), distinct(|seen| seen.port));
    // By chance less than once in a million runs.
    assert!(ids.0 >= 36 && ids.1 > 20_000, "{ids:?}");
    assert!(ports.0 >= 36 && ports.1 > 5_000, "{ports:?}");
}

/// As many questions as may be under way, and more, to a resolver that is dead.
fn dead_holds_up_nothing(site: &Site) {
    let dead = site.resolver(FIRST, Manner::Silent);
    up(&site.daemon, &[("red", "10.88.0.0/24", &["of-greedy", "of-modest"])], "");
    let (greedy, modest) = (open("of-greedy"), open("of-modest"));
    let socket = run_in(&greedy, || open_socket(LOCAL)).unwrap().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut heard) = (0u16, 0u16);
    let mut hear = || {
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            let answer = Message::from_vec(&buffer[..length]).unwrap();
            assert_eq!(answer.response_code, ResponseCode::ServFail);
            heard += 1;
        }
        heard
    };
    until("one is too many", || {
        for _ in 0..50 {
            let name = format!("n{sent}.example.com.");
            socket.send(&query(sent, &name, RecordType::A, By::Udp).to_vec().unwrap()).unwrap();
            sent += 1;
        }
        // So that nothing is lost on the way.
        until("they have come", || site.count("udp") >= u64::from(sent));
        hear();
        site.count("too-many") > 0
    });
    assert!(sent > 1_000, "{sent} were too many");
    for _ in 0..10 {
        assert!(look_up(&greedy, LOCAL, "of-modest.").is_some());
        assert!(look_up(&modest, LOCAL, "of-greedy.").is_some());
    }
    let other = run_in(&modest, || open_socket(LOCAL)).unwrap().unwrap();
    other.send(&query(7, "other.example.com.", RecordType::A, By::Udp).to_vec().unwrap()).unwrap();
    until("whoever else asks has his own share", || {
        dead.names().iter().any(|name| name == "other.example.com.")
    });
    until("everybody hears of it in the end", || hear() == sent);
    until("nothing is under way", || site.daemon.json::<DnsStats>("dns stats").under_way == 0);
}

/// Many questions by one connection: answers come as they are ready.
fn pipelined(site: &Site) {
    let from = site.sandbox("of-piped");
    let _dead = site.resolver(FIRST, Manner::Silent);
    let mut stream = run_in(&from, || open_stream(LOCAL)).unwrap().unwrap();
    let send = |stream: &mut std::net::TcpStream, id, name: &str| {
        write_framed(stream, &query(id, name, RecordType::A, By::Tcp).to_vec().unwrap()).unwrap();
    };
    send(&mut stream, 1, "example.com.");
    for id in 2..30 {
        send(&mut stream, id, "of-piped.");
    }
    let mut ids: Vec<u16> = Vec::new();
    for _ in 0..29 {
        ids.push(Message::from_vec(&read_framed(&mut stream).unwrap()).unwrap().id);
    }
    assert_eq!(ids, (2..30).chain([1]).collect::<Vec<_>>(), "ours first, and the dead resolver's last");
    // In pieces, and something that is no query.
    let whole = query(40, "of-piped.", RecordType::A, By::Tcp).to_vec().unwrap();
    let framed = [&u16::try_from(whole.len()).unwrap().to_be_bytes(), &whole[..]].concat();
    for byte in &framed {
        std::io::Write::write_all(&mut stream, &[*byte]).unwrap();
    }
    assert_eq!(Message::from_vec(&read_framed(&mut stream).unwrap()).unwrap().id, 40);
    let nonsense = exchange(&from, LOCAL, &[0x2a, 0x2a, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0], By::Tcp).unwrap();
    assert_eq!(Message::from_vec(&nonsense).unwrap().response_code, ResponseCode::FormErr);
    assert!(exchange(&from, LOCAL, &[0; 3], By::Tcp).is_err(), "nothing to answer to, and an end");
}

fn given_resolvers(site: &Site) {
    let daemon = &site.daemon;
    let hosts = site.resolver(FIRST, Manner::Good);
    let (networks, own) = (site.resolver(SECOND, Manner::Good), Ipv4Addr::new(127, 0, 0, 55));
    let sandboxs = site.resolver(own, Manner::Good);
    daemon.network(&format!("--dns {SECOND}"));
    let (plain, with_own) = (daemon.attach("--resolver"), daemon.attach(&format!("--resolver --dns {own}")));
    let answer = |from: &Netns| look_up(from, LOCAL, "example.com.").unwrap();
    assert_eq!(answer(plain.namespace.netns()), [given(SECOND)]);
    assert_eq!(answer(with_own.namespace.netns()), [given(own)]);
    daemon.ok("network set blue --dns host");
    assert_eq!(answer(plain.namespace.netns()), [given(FIRST)]);
    assert_eq!(answer(with_own.namespace.netns()), [given(own)]);
    assert_eq!([hosts, networks, sandboxs].map(|it| it.seen().len()), [2, 2, 4]);
    for (line, words) in [
        ("network set blue --dns 1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4", "give 3 at most"),
        ("network set blue --dns 0.0.0.0", "no resolver can be asked at 0.0.0.0"),
        ("network set blue --dns example.com", "write host, or addresses"),
    ] {
        let refused = daemon.ask(&line.split(' ').collect::<Vec<_>>());
        assert_ne!(refused.code, Some(0));
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

/// Where no packet leaves a network, no question does.
fn no_way_out(site: &Site) {
    let good = site.resolver(FIRST, Manner::Good);
    for (network, options) in [("in", "--internal"), ("out", "--uplink none")] {
        let daemon = &site.daemon;
        let number = network.len();
        daemon.ok(&format!("network create {network} --subnet 10.9{number}.0.0/24 --dns {FIRST} {options}"));
        let guest = Namespace::new("e2e-kept").unwrap();
        daemon.ok(&format!("attach {network} --netns {} --name guest --resolver", guest.name()));
        assert!(look_up(guest.netns(), LOCAL, "guest.").is_some());
        assert_eq!(code(guest.netns(), "example.com."), ResponseCode::ServFail, "{options}");
        daemon.ok(&format!("network rm {network} --force"));
    }
    assert_eq!(good.names(), Vec::<String>::new());
    assert_eq!(site.count("kept-inside"), 2);
}

/// A resolver on a network asks us, who are told to ask it.
fn loops_are_refused(site: &Site) {
    let daemon = &site.daemon;
    daemon.network("--dns 10.88.0.2");
    let (server, client) = (daemon.attach("--resolver --ip 10.88.0.2"), daemon.attach("--resolver"));
    let upstream = Upstream::start(server.namespace.netns(), server.ip(), Manner::Good);
    assert_eq!(look_up(client.namespace.netns(), LOCAL, "example.com."), Some(vec![given(server.ip())]));
    let asked = upstream.seen().len();
    assert_eq!(code(server.namespace.netns(), "example.com."), ResponseCode::ServFail);
    assert_eq!(upstream.seen().len(), asked, "it is not asked by itself");
    daemon.ok("network set blue --dns 10.88.0.1");
    assert_eq!(code(client.namespace.netns(), "example.com."), ResponseCode::ServFail);
    assert_eq!(site.count("no-upstream"), 2);
}

fn command(site: &Site) {
    let daemon = &site.daemon;
    let _good = site.resolver(FIRST, Manner::Good);
    daemon.network("");
    let station = daemon.attach("--resolver --name web");
    assert!(daemon.ok("dns ls").lines().any(|line| line.split_whitespace().eq(["web", "blue", "10.88.0.2"])));
    let told = daemon.ok("dns query WEB --network blue");
    assert!(told.starts_with("WEB. A: NOERROR, from pontoon\n") && told.contains("10.88.0.2"), "{told}");
    assert!(daemon.ok("dns query 10.88.0.2 --network blue").contains("web.blue."));
    let told = daemon.ok("dns query example.com --network blue");
    assert!(told.contains("from upstream") && told.contains(&given(FIRST).to_string()), "{told}");
    assert!(daemon.ok("dns query nobody --network blue").contains("NXDOMAIN, from pontoon"));
    let stats = daemon.ok("dns stats");
    assert!(stats.contains(&format!("sandbox {}", station.namespace.name())), "{stats}");
    assert!(stats.contains("127.0.0.53:53"), "{stats}");
    for (line, words) in [
        ("dns query web --network nowhere", "there is no network nowhere"),
        ("dns query a..b --network blue", "cannot be a name"),
        ("dns query web --network blue --type NONSENSE", "there are no records of type NONSENSE"),
    ] {
        let refused = daemon.ask(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}
