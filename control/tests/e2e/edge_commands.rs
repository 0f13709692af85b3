//! The commands about the edge, as a user types them: what they print, and that all of it survives a restart.

use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pontoon::api::types::{Applied, Link, NatStats, Network, Publication, Rule, Trace, UplinkState};
use pontoon::link::Links;
use pontoon_dataplane::port::pcap;
use pontoon_tools::outside::{HOST, OUTSIDE, Way};
use pontoon_tools::ping::Answer;
use pontoon_tools::transfer::Connection;
use rustix::process::Signal;

use crate::daemon::{Daemon, PATIENCE};
use crate::edge::{Edge, edge_test, listen, ping, try_connect};
use crate::{Test, test};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("edge-commands/network", network),
        test("edge-commands/publications", publications),
        test("edge-commands/rules-and-links", rules_and_links),
        test("edge-commands/up-and-down", up_and_down),
        test("edge-commands/restart", restart),
        edge_test("edge-commands/uplinks", Way::Direct(1500), &[], uplinks),
        test("edge-commands/nat-options", nat_options),
        edge_test("edge-commands/republished", Way::Direct(1500), &[], republished),
        edge_test("edge-commands/trace", Way::Direct(1500), &[], trace),
    ]
}

/// The interfaces of the daemon's host that begin with `ptn-`.
fn host_ports(daemon: &Daemon) -> Vec<String> {
    let names = daemon.host.run(|| Links::open()?.all()).unwrap().unwrap().into_iter().map(|link| link.name);
    let mut names: Vec<String> = names.filter(|name| name.starts_with("ptn-")).collect();
    names.sort();
    names
}

fn network() {
    let daemon = Daemon::start();
    let blue: Network = daemon.json("network create blue --subnet 10.88.0.0/24");
    assert_eq!((blue.host_interface.as_deref(), blue.mtu), (Some("ptn-blue"), 1500));
    let text = daemon.ok("network show blue");
    for line in
        ["Host:      ptn-blue", "Uplink:    auto", "Internal:  no", "ICC:       yes", "SNAT IP:   auto"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    daemon.ok("network create lab --subnet 10.89.0.0/24 --internal");
    daemon.ok("network create vpn --subnet 10.90.0.0/24 --uplink wg0 --host-access=false --icc=false");
    assert_eq!(host_ports(&daemon), ["ptn-blue"]);
    let line = "network set blue --host-access=false --snat-ip 192.0.2.7 --nat-mapping endpoint-independent --ageing 10";
    assert_eq!(
        daemon.ok(line),
        "network blue: ageing 10s, host access off, SNAT IP 192.0.2.7, endpoint-independent mapping\n\
         note: the host does not have the address 192.0.2.7, so nothing leaves the network blue until it has\n"
    );
    assert_eq!(host_ports(&daemon), [""; 0]);
    let set: serde_json::Value = daemon.json("network show blue");
    assert_eq!(set["host_access"], false);
    assert_eq!((&set["snat_ip"], &set["nat_mapping"]), (&"192.0.2.7".into(), &"endpoint-independent".into()));
    assert_eq!(set.get("host_interface"), None);
    daemon.ok("network set lab --internal=false");
    assert_eq!(host_ports(&daemon), ["ptn-lab"]);
    daemon.ok("network rm lab");
    assert_eq!(host_ports(&daemon), [""; 0]);
}

fn publications() {
    let daemon = Daemon::start();
    daemon.network("--host-access=false");
    let _web = daemon.attach("--name web");
    let note = "note: the network blue has neither uplink nor host access";
    assert!(!daemon.ok("publish blue web 8080:80").contains(note));
    daemon.ok("network set blue --uplink none");
    assert!(
        daemon.ok("publish blue web 8081:81/udp --allow 192.0.2.0/24 --allow 198.51.100.7").contains(note)
    );
    assert_eq!(daemon.ok("ports -q"), "1\n2\n");
    let all: Vec<Publication> = daemon.json("ports");
    assert_eq!(all[1].ports.to_string(), "8081:81/udp");
    assert_eq!(
        all[1].rules.iter().map(|it| it.rule.to_string()).collect::<Vec<_>>(),
        ["allow from 192.0.2.0/24", "allow from 198.51.100.7/32", "deny"]
    );
    assert_eq!(
        daemon.ok("ports blue"),
        "ID  ENDPOINT  PORTS        FOR                           STATE\n\
         \x201  blue/web  8080:80/tcp  anybody                       up\n\
         \x202  blue/web  8081:81/udp  192.0.2.0/24,198.51.100.7/32  up\n\
         note: the network blue has neither uplink nor host access: only endpoints reach it\n"
    );
    // The same ports again: the same publication, for others.
    let again: Publication = daemon.json("publish blue web 8081:81/udp");
    assert_eq!((again.id, again.rules.len(), &again.created), (2, 0, &all[1].created));
    daemon.ok("unpublish blue web 8080:80/tcp");
    daemon.ok("unpublish blue web 2");
    assert_eq!(daemon.json::<Vec<Publication>>("ports"), []);
    // What is published goes with its endpoint.
    daemon.ok("publish blue web 8080:80");
    daemon.ok("detach blue web");
    assert_eq!(daemon.json::<Vec<Publication>>("ports"), []);
    let events = daemon.ok("events --no-follow");
    assert!(events.contains("unpublished         blue/web 8081:81/udp"), "{events}");
}

fn rules_and_links() {
    let daemon = Daemon::start();
    daemon.network("--icc=false");
    let _stations = [daemon.attach("--name a"), daemon.attach("--name b")];
    assert_eq!(daemon.ok("rule add blue allow --proto tcp --port 443"), "blue: rule 1: allow tcp port 443\n");
    assert_eq!(
        daemon.ok("rule add blue deny --from 10.88.0.7 --at 1"),
        "blue: rule 1: deny from 10.88.0.7/32\n"
    );
    assert_eq!(
        daemon.ok("rule ls blue"),
        "NUMBER  ACTION  FROM          TO   PROTOCOL  PORT  HITS\n\
         \x20    1  deny    10.88.0.7/32  any  any       any      0\n\
         \x20    2  allow   any           any  tcp       443      0\n"
    );
    daemon.ok("rule rm blue 1");
    let left: Vec<Rule> = daemon.json("rule ls blue");
    assert_eq!((left.len(), left[0].number, left[0].rule.to_string().as_str()), (1, 1, "allow tcp port 443"));
    // A publication's list, named by ports or number, beside the network's.
    daemon.ok("publish blue a 8080:80 --allow 192.0.2.0/24");
    assert_eq!(
        daemon.ok("rule add blue deny --from 192.0.2.66 --at 1 --publication 8080:80"),
        "blue/a 8080:80/tcp: rule 1: deny from 192.0.2.66/32\n"
    );
    assert_eq!(
        daemon.ok("rule ls blue"),
        "NUMBER  ACTION  FROM  TO   PROTOCOL  PORT  HITS\n\
         \x20    1  allow   any   any  tcp       443      0\n\
         \n\
         publication 1, blue/a 8080:80/tcp:\n\
         NUMBER  ACTION  FROM           TO   PROTOCOL  PORT  HITS\n\
         \x20    1  deny    192.0.2.66/32  any  any       any      0\n\
         \x20    2  allow   192.0.2.0/24   any  any       any      0\n\
         \x20    3  deny    any            any  any       any      0\n"
    );
    assert!(daemon.ok("ports").contains("8080:80/tcp  3 rules  up"));
    assert_eq!(daemon.ok("rule rm blue 1 --publication 1"), "blue/a 8080:80/tcp: rule 1 removed\n");
    assert_eq!(daemon.json::<Vec<Rule>>("rule ls blue --publication 1").len(), 2);
    assert_eq!(
        daemon.ok("rule flush blue --publication 8080:80/tcp"),
        "blue/a 8080:80/tcp: all rules removed\n"
    );
    assert_eq!(daemon.json::<Vec<Rule>>("rule ls blue --publication 1"), []);
    assert_eq!(daemon.json::<Vec<Rule>>("rule ls blue").len(), 1, "the network's own stay");
    daemon.ok("rule flush blue");
    assert_eq!(daemon.json::<Vec<Rule>>("rule ls blue"), []);
    assert_eq!(daemon.ok("link blue a b:80"), "blue: a may speak to b, port 80/tcp\n");
    assert_eq!(daemon.ok("link blue a b:80/tcp"), "blue: a may speak to b, port 80/tcp\n");
    daemon.ok("link blue b a");
    let links: Vec<Link> = daemon.json("link ls");
    assert_eq!(links.len(), 2, "the same link twice is one");
    assert_eq!(
        daemon.ok("link ls blue"),
        "NETWORK  FROM  TO  PORT\nblue     a     b   80/tcp\nblue     b     a   any\n"
    );
    assert!(daemon.ok("network show blue").ends_with("blue     a     b   80/tcp\nblue     b     a   any\n"));
    daemon.ok("unlink blue a b:80");
    assert_eq!(daemon.json::<Vec<Link>>("link ls").len(), 1);
    daemon.ok("network set blue --icc");
    assert!(daemon.ok("link blue a b").contains("note: icc of the network blue is on"));
}

const DECLARATION: &str = r#"
    [[namespace]]
    name = "declared-a"
    create = true
    [[namespace]]
    name = "declared-b"
    create = true

    [[network]]
    name = "blue"
    subnet = "10.88.0.0/24"
    uplink = "none"
    icc = false
    nat_mapping = "endpoint-independent"

    [[network.endpoint]]
    netns = "declared-a"
    name = "a"
    [[network.endpoint]]
    netns = "declared-b"
    name = "b"

    [[network.rule]]
    action = "deny"
    to = "169.254.169.254/32"

    [[network.link]]
    from = "a"
    to = "b"
    port = 5432

    [[network.publish]]
    endpoint = "a"
    ports = "8080-8081:80-81"
"#;

fn up_and_down() {
    let daemon = Daemon::start();
    let file = daemon.path("edge.toml");
    std::fs::write(&file, DECLARATION).unwrap();
    let file = file.display();
    let first: Applied = daemon.json(&format!("up -f {file}"));
    assert_eq!(first.changes.len(), 8, "{:?}", first.changes);
    let there: serde_json::Value = daemon.json("network show blue");
    assert_eq!((&there["icc"], &there["uplink"]), (&false.into(), &"none".into()));
    assert_eq!(there["publications"][0]["ports"], "8080-8081:80-81/tcp");
    assert_eq!((&there["rules"][0]["number"], &there["links"][0]["port"]), (&1.into(), &5432.into()));
    assert_eq!(daemon.json::<Applied>(&format!("up -f {file}")).changes, [""; 0]);
    daemon.ok("network set blue --icc --uplink auto");
    daemon.ok("unpublish blue a 8080-8081:80-81");
    daemon.ok("rule flush blue");
    let back = daemon.json::<Applied>(&format!("up -f {file}")).changes;
    assert_eq!(
        back,
        ["network blue: settings changed", "blue: rules set", "blue/a: 8080-8081:80-81/tcp published"]
    );
    daemon.ok(&format!("down -f {file}"));
    assert_eq!((daemon.ok("network ls -q").as_str(), host_ports(&daemon).len()), ("", 0));
    assert_eq!(daemon.json::<Vec<Publication>>("ports"), []);
}

fn restart() {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut daemon = Daemon::start();
        daemon.network("--icc=false");
        let a = daemon.attach("--name a");
        let _b = daemon.attach("--name b");
        daemon.ok("rule add blue deny --to 203.0.113.0/24");
        daemon.ok("link blue a b:80");
        daemon.ok("publish blue b 8080:80 --allow 10.0.0.0/8");
        let before: Network = daemon.json("network show blue");
        daemon.end(signal);
        assert_eq!(host_ports(&daemon), ["ptn-blue"], "the host port outlives the daemon");
        drop(a);
        daemon.start_again();
        // The sandbox of `a` has gone meanwhile, and took its link along.
        let after: Network = daemon.json("network show blue");
        assert_eq!((after.links.len(), after.endpoints.len()), (0, 1));
        assert_eq!(after.publications, before.publications);
        assert_eq!(after.rules, before.rules);
        assert_eq!((after.connection, after.host_interface), (before.connection, before.host_interface));
    }
}

fn uplinks(edge: &mut Edge) {
    assert_eq!(edge.daemon.json::<Vec<UplinkState>>("uplink ls"), [], "none before a network wants out");
    edge.daemon.network("");
    let all: Vec<UplinkState> = edge.daemon.json("uplink ls");
    let [uplink] = &all[..] else { panic!("one uplink: {all:?}") };
    assert!(uplink.up && uplink.addresses.iter().any(|net| net.addr() == HOST), "{uplink:?}");
    assert_eq!(edge.daemon.ok("uplink ls -q"), format!("{}\n", uplink.interface));
    edge.daemon.ok("network set blue --uplink none");
    assert_eq!(edge.daemon.json::<Vec<UplinkState>>("uplink ls"), []);
}

fn nat_options() {
    let options =
        ["--nat-sessions", "100", "--nat-sessions-per-endpoint", "10", "--nat-timeouts", "udp=7,icmp=8"];
    let daemon = Daemon::start_with(&options);
    let stats: NatStats = daemon.json("nat stats");
    assert_eq!((stats.sessions_max, stats.sessions_per_endpoint_max), (100, 10));
    let text = daemon.ok("nat stats");
    assert!(text.starts_with("Sessions:   0 of 100 (0 half open, 0 frames waiting)\n"), "{text}");
    assert_eq!(daemon.ok("nat flush"), "0 sessions ended\n");
    assert_eq!(daemon.json::<Vec<serde_json::Value>>("nat ls"), [""; 0]);
}

/// Whoever may come before and after finds the port served all the while; who was served is not any more.
fn republished(edge: &mut Edge) {
    edge.daemon.network("");
    let web = edge.daemon.attach("--name web");
    edge.daemon.ok("publish blue web 8080:80");
    let server = listen(&web.namespace, (web.ip(), 80));
    let held = try_connect(edge.host(), (LOOPBACK, 0), (LOOPBACK, 8080), PATIENCE).unwrap();
    let done = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut refused = 0;
            while !done.load(Relaxed) {
                refused +=
                    usize::from(try_connect(edge.host(), (LOOPBACK, 0), (LOOPBACK, 8080), PATIENCE).is_err());
            }
            refused
        });
        for _ in 0..5 {
            edge.daemon.ok("publish blue web 8080:80 --allow 0.0.0.0/0");
            edge.daemon.ok("publish blue web 8080:80");
        }
        done.store(true, Relaxed);
        knocking.join().unwrap()
    });
    assert_eq!(refused, 0, "connections that were refused in between");
    // The relay closes what it carried.
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = (&held).read(&mut [0]);
    assert!(matches!(&ended, Ok(0)) || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    drop(server);
    // The list is about others: the host is served whoever is on it. By a port that nobody has knocked at before.
    edge.daemon.ok("publish blue web 8081:81 --allow 198.51.100.0/24");
    let server = listen(&web.namespace, (web.ip(), 81));
    let host = try_connect(edge.host(), (LOOPBACK, 0), (LOOPBACK, 8081), PATIENCE).unwrap();
    Connection::accept(host, &server).unwrap().check().unwrap();
}

/// One trace, its arguments behind the network.
fn traced(edge: &Edge, from: &str, packet: &str) -> Trace {
    let answer = edge.daemon.ask(&["trace", "blue", "--from", from, packet, "--json"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{packet}");
    serde_json::from_str(&answer.stdout).unwrap()
}

fn trace(edge: &mut Edge) {
    edge.daemon.network("");
    let web = edge.daemon.attach("--name web");
    let db = edge.daemon.attach("--name db");
    edge.daemon.ok("rule add blue deny --to 203.0.113.99 --proto tcp");
    edge.daemon.ok("publish blue db 8080:80");
    let uplink = edge.daemon.ok("uplink ls -q").trim().to_owned();
    // The next hop's MAC is known afterwards.
    assert_eq!(ping(&web.namespace, OUTSIDE), Answer::Reply);
    edge.daemon.ok("nat flush");
    let drops = || edge.daemon.ok("stats --json").contains("rule-denied");

    let (own, other) = (web.ip(), db.ip());
    let out = traced(edge, "web", &format!("udp {own}:40000 > {OUTSIDE}:53"));
    assert_eq!(out.leaves.len(), 1, "{out:?}");
    assert_eq!(out.leaves[0].port, format!("uplink:{uplink}"));
    assert!(out.leaves[0].packet.starts_with(&format!("udp {HOST}:")), "{out:?}");
    assert!(out.leaves[0].packet.contains(&format!("> {OUTSIDE}:53 ttl 63")), "{out:?}");
    assert!(out.decisions.iter().any(|it| it.contains("new session")), "{out:?}");

    let denied = traced(edge, "web", &format!("tcp {own}:40000 > 203.0.113.99:80"));
    assert_eq!(denied.drop.as_deref(), Some("rule-denied"));
    assert!(denied.decisions.iter().any(|it| it.contains("rule 1 denies")), "{denied:?}");

    let across = traced(edge, "web", &format!("tcp {own}:40000 > {other}:80"));
    assert_eq!((across.leaves.len(), across.leaves[0].port.as_str()), (1, "blue/db"), "{across:?}");
    let spoofed = traced(edge, "web", &format!("tcp 10.88.0.77:40000 > {other}:80"));
    assert_eq!((spoofed.drop.as_deref(), spoofed.leaves.len()), (Some("guard-ipv4"), 0));

    let inwards = traced(edge, &format!("uplink:{uplink}"), &format!("tcp {OUTSIDE}:40000 > {HOST}:8080"));
    assert_eq!(inwards.leaves[0].port, "blue/db", "{inwards:?}");
    assert!(inwards.leaves[0].packet.contains(&format!("> {other}:80 syn")), "{inwards:?}");
    assert!(inwards.decisions.iter().any(|it| it.contains("publication 1 leads to")), "{inwards:?}");

    let host = traced(edge, "host", &format!("icmp 10.88.0.1 > {other}"));
    assert_eq!(host.leaves[0].port, "blue/db", "{host:?}");

    // A frame of a capture is the same frame.
    let file = edge.daemon.path("seen.pcap");
    let bytes: Vec<u8> = (0..across.leaves[0].frame.len() / 2)
        .map(|at| u8::from_str_radix(&across.leaves[0].frame[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let mut writer = pcap::Writer::create(&file).unwrap();
    writer.write(std::time::Duration::ZERO, &[0; 60]).unwrap();
    writer.write(std::time::Duration::ZERO, &bytes).unwrap();
    writer.finish().unwrap();
    let line = format!("trace blue --from web --pcap {} --frame 2", file.display());
    assert_eq!(edge.daemon.json::<Trace>(&line), across);
    let text = edge.daemon.ok(&line);
    assert!(text.starts_with("in by blue/web: tcp ") && text.contains("\nout by blue/db: tcp "), "{text}");
    let answer = edge.daemon.ask(&[
        "trace",
        "blue",
        "--from",
        "web",
        "--pcap",
        file.to_str().unwrap(),
        "--frame",
        "3",
    ]);
    assert!(answer.code == Some(1) && answer.stderr.contains("has no frame 3; it has 2"), "{answer:?}");

    // And nothing is left of all that.
    assert_eq!(edge.daemon.json::<Vec<serde_json::Value>>("nat ls"), [""; 0]);
    assert!(!drops());
    assert_eq!(edge.daemon.json::<Vec<Rule>>("rule ls blue")[0].hits, 0);
}
