//! The commands about the edge, as a user types them: what they print, and that all of it survives a restart.

use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pontoon::api::types::{Applied, Link, NatStats, Network, Publication, Rule, UplinkState};
use pontoon::link::Links;
use pontoon_tools::outside::{HOST, Way};
use pontoon_tools::transfer::Connection;
use rustix::process::Signal;

use crate::daemon::{Daemon, PATIENCE};
use crate::edge::{Edge, edge_test, listen, try_connect};
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
        ["network blue: uplink, icc set", "blue: rules set", "blue/a: 8080-8081:80-81/tcp published"]
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
            let mut refused = Vec::new();
            while !done.load(Relaxed) {
                let knocked = try_connect(edge.host(), (LOOPBACK, 0), (LOOPBACK, 8080), PATIENCE);
                // Who has come in just before is reset with all others, maybe before he looks.
                refused.extend(knocked.err().filter(|error| error.kind() != ErrorKind::ConnectionReset));
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
    assert!(refused.is_empty(), "connections that were refused in between: {refused:?}");
    // The relay closes what it carried.
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = (&held).read(&mut [0]);
    assert!(matches!(&ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    drop(server);
    // The list is about others: the host is served whoever is on it. By a port that nobody has knocked at before.
    edge.daemon.ok("publish blue web 8081:81 --allow 198.51.100.0/24");
    let server = listen(&web.namespace, (web.ip(), 81));
    let host = try_connect(edge.host(), (LOOPBACK, 0), (LOOPBACK, 8081), PATIENCE).unwrap();
    Connection::accept(host, &server).unwrap().check().unwrap();
}
