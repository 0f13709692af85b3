//! Bad input about the edge: one clear line that names cause and way out, the right status, and everything as before: sessions that
//! were there go on.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use pontoon::link::Links;
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, OUTSIDE_TOO, Way};
use pontoon_tools::transfer::Connection;
use serde_json::Value;

use crate::Test;
use crate::daemon::{Daemon, PATIENCE, Station};
use crate::edge::{Edge, bind, connect, edge_test, exchange, listen, try_connect};

pub(crate) fn tests() -> Vec<Test> {
    let with_sessions = |name: &str, work: fn(&Edge)| {
        edge_test(format!("edge-bad-input/{name}"), Way::Direct(1500), &[], move |edge| work(edge))
    };
    vec![
        with_sessions("commands", commands),
        with_sessions("files", files),
        with_sessions("taken-ports", taken_ports),
        with_sessions("taken-subnets", taken_subnets),
    ]
}

/// TCP out, TCP in by a published port, and UDP, which nothing that is refused may touch.
struct Sessions {
    connections: [Connection; 2],
    udp: [UdpSocket; 2],
    /// Whom outside sees.
    seen: SocketAddrV4,
    /// Sessions that there have ever been.
    opened: u64,
}

impl Sessions {
    fn begin(edge: &Edge, station: &Station) -> Sessions {
        let machine = &edge.outside.machine;
        let out = connect(&station.namespace, &listen(machine, (OUTSIDE_TOO, 0)));
        edge.daemon.ok(&format!("publish {} {} 7070:70", station.endpoint.network, station.endpoint.name));
        let inside = listen(&station.namespace, (station.ip(), 70));
        let client = try_connect(machine, (OUTSIDE_TOO, 0), (HOST, 7070), PATIENCE).unwrap();
        let connections = [out, Connection::accept(client, &inside).unwrap()];
        let udp = [bind(&station.namespace, (Ipv4Addr::UNSPECIFIED, 0)), bind(machine, (OUTSIDE_TOO, 4242))];
        let seen = exchange(&udp[0], &udp[1], (OUTSIDE_TOO, 4242), 100);
        Sessions { connections, udp, seen, opened: opened(&edge.daemon) }
    }

    /// That they go on, and are the same.
    fn go_on(&self, edge: &Edge, after: &str) {
        for connection in &self.connections {
            connection.check().unwrap_or_else(|error| panic!("after {after}: {error}"));
        }
        let seen = exchange(&self.udp[0], &self.udp[1], (OUTSIDE_TOO, 4242), 100);
        assert_eq!((seen, opened(&edge.daemon)), (self.seen, self.opened), "after {after}");
    }
}

fn opened(daemon: &Daemon) -> u64 {
    daemon.json::<Value>("nat stats")["opened"].as_u64().unwrap()
}

/// Everything that a refused command could leave.
fn everything(daemon: &Daemon) -> Vec<String> {
    let interfaces =
        daemon.host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let names = interfaces.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let lists = ["network ls --json", "ports --json", "link ls --json", "port ls --json"];
    lists.iter().map(|line| daemon.ok(line)).chain(names).collect()
}

fn refused(daemon: &Daemon, line: &str, code: i32, words: &[&str]) {
    let answer = daemon.ask(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(code), ""), "{line}: {answer:?}");
    if code == 1 {
        assert_eq!(answer.stderr.lines().count(), 1, "{line}: {answer:?}");
    }
    for word in words {
        assert!(answer.stderr.contains(word), "{line}: no \"{word}\" in {}", answer.stderr);
    }
}

fn commands(edge: &Edge) {
    let daemon = &edge.daemon;
    daemon.network("");
    let stations: Vec<Station> = ["web", "db"].map(|name| daemon.attach(&format!("--name {name}"))).into();
    daemon.ok("publish blue web 8080-8089:80-89");
    daemon.ok("rule add blue deny --to 203.0.113.9");
    daemon.ok("network create lab --subnet 10.90.0.0/24 --internal");
    let sessions = Sessions::begin(edge, &stations[0]);
    let before = everything(daemon);
    let cases: &[(&str, i32, &[&str])] = &[
        // how a network is connected
        (
            "network create red --subnet 10.91.0.0/24 --internal --host-access",
            1,
            &["cannot be internal and have"],
        ),
        (
            "network create red --subnet 10.91.0.0/24 --internal --uplink eth0",
            1,
            &["cannot be internal and have"],
        ),
        ("network set lab --uplink auto", 1, &["lab is internal", "--internal=false"]),
        ("network set blue --internal", 1, &["blue/web publishes", "unpublish blue web"]),
        ("network set blue --snat-ip 0.0.0.0", 1, &["0.0.0.0", "source address"]),
        ("network set blue --snat-ip fd00::1", 2, &["IPv4 address"]),
        ("network set blue --uplink a-very-long-interface", 2, &["too long"]),
        ("network set blue --host-access=maybe", 2, &["maybe"]),
        ("network set blue", 2, &["--uplink"]),
        // publishing
        ("publish blue web :", 2, &["HOSTPORT", "8080:80"]),
        ("publish blue web 0:80", 2, &["1 to 65535"]),
        ("publish blue web 70000:80", 2, &["70000", "1 to 65535"]),
        ("publish blue web 90-80:90-80", 2, &["backwards"]),
        ("publish blue web 8000-8009:80-82", 2, &["10 ports", "3 ports", "equally long"]),
        ("publish blue web 80:80/sctp", 2, &["sctp", "/udp"]),
        ("publish blue web [::1]:80:80", 2, &["IPv6", "yet"]),
        ("publish blue web 192.0.2.99:81:81", 1, &["no address 192.0.2.99"]),
        ("publish blue web 81:81 --allow nobody", 2, &["CIDR"]),
        ("publish blue web 81:81 --allow fd00::/8", 1, &["IPv6", "IPv4"]),
        ("publish blue db 8085:80", 1, &["8085/tcp is taken by blue/web", "8080-8089:80-89/tcp"]),
        ("publish blue nobody 81:81", 1, &["no endpoint blue/nobody"]),
        ("publish red web 81:81", 1, &["no network red"]),
        ("publish lab web 81:81", 1, &["no endpoint lab/web"]),
        ("unpublish blue web 81:81", 1, &["does not publish 81:81/tcp", "pontoon ports"]),
        ("unpublish blue web 99", 1, &["does not publish number 99"]),
        ("unpublish blue db 1", 1, &["does not publish number 1"]),
        ("ports red", 1, &["no network red"]),
        // rules
        ("rule add red deny", 1, &["no network red"]),
        ("rule add blue refuse", 2, &["allow", "deny"]),
        ("rule add blue deny --proto icmp --port 80", 1, &["ICMP has no ports"]),
        ("rule add blue deny --to fd00::/8", 1, &["IPv6"]),
        ("rule add blue deny --at 7", 1, &["number 7", "1 to 2"]),
        ("rule rm blue 2", 1, &["no rule 2 of the network blue"]),
        ("rule ls red", 1, &["no network red"]),
        // links
        ("link blue web web", 1, &["no link to itself"]),
        ("link blue web nobody", 1, &["no endpoint blue/nobody"]),
        ("link blue web db:0", 2, &["1 to 65535"]),
        ("link blue web db:80/icmp", 2, &["icmp", "/udp"]),
        ("link blue web", 2, &["B"]),
        ("unlink blue web db", 1, &["no link from web to db"]),
        // sessions
        ("nat ls --network red", 1, &["no network red"]),
        ("nat ls --endpoint web", 1, &["NETWORK/ENDPOINT"]),
        ("nat flush --endpoint blue/nobody", 1, &["no endpoint blue/nobody"]),
        ("nat flush --network lab --endpoint blue/web", 1, &["NETWORK/ENDPOINT"]),
    ];
    for (line, code, words) in cases {
        refused(daemon, line, *code, words);
        assert_eq!(everything(daemon), before, "{line}");
        sessions.go_on(edge, line);
    }
}

fn files(edge: &Edge) {
    let daemon = &edge.daemon;
    daemon.ok("network create green --subnet 10.89.0.0/24");
    let station = daemon.attach_on("green", Namespace::new("e2e").unwrap(), "");
    let sessions = Sessions::begin(edge, &station);
    let namespace = Namespace::new("e2e").unwrap();
    let file = daemon.path("edge.toml");
    let head = format!(
        "[[network]]\nname = \"blue\"\nsubnet = \"10.88.0.0/24\"\nKEYS\n[[network.endpoint]]\nname = \"web\"\nnetns = \"{}\"\n",
        namespace.name()
    );
    let before = everything(daemon);
    for (keys, rest, words) in [
        ("uplinks = \"auto\"", "", "edge.toml:4:1: unknown field `uplinks`"),
        ("snat_ip = \"eth0\"", "", "edge.toml:4:11: write auto, or an IPv4 address"),
        ("nat_mapping = \"cone\"", "", "unknown variant `cone`"),
        ("internal = true\nuplink = \"auto\"", "", "cannot be internal and have"),
        ("", "[[network.publish]]\nendpoint = \"web\"\nports = \"80:\"\n", "does not say what to publish"),
        ("", "[[network.publish]]\nendpoint = \"db\"\nports = \"80:80\"\n", "no endpoint blue/db"),
        ("", "[network.publish]\nendpoint = \"web\"\nports = \"80:80\"\n", "write [[network.publish]]"),
        ("", "[[network.rule]]\naction = \"refuse\"\n", "unknown variant `refuse`"),
        ("", "[[network.rule]]\naction = \"deny\"\nport = 0\n", "1 to 65535"),
        ("", "[[network.link]]\nfrom = \"web\"\nto = \"db\"\n", "no endpoint blue/db"),
        ("", "[[network.link]]\nfrom = \"web\"\nto = \"web\"\n", "no link to itself"),
    ] {
        std::fs::write(&file, head.replace("KEYS", keys) + rest).unwrap();
        refused(daemon, &format!("up -f {}", file.display()), 1, &[words]);
        assert_eq!(everything(daemon), before, "{keys} {rest}");
        sessions.go_on(edge, words);
    }
}

fn taken_ports(edge: &Edge) {
    let daemon = &edge.daemon;
    daemon.network("");
    let station = daemon.attach("--name web");
    let sessions = Sessions::begin(edge, &station);
    let listener = listen(&daemon.host, ([127, 0, 0, 1].into(), 0));
    let port = listener.local_addr().unwrap().port();
    let before = everything(daemon);
    // Who holds it is this very process.
    let holder = format!("pid {}", std::process::id());
    let range = format!("publish blue web {}-{}:1-3", port - 1, port + 1);
    refused(daemon, &range, 1, &[&format!("{port}/tcp"), "is taken by", &holder]);
    refused(daemon, &format!("publish blue web 127.0.0.1:{port}:80"), 1, &["is taken by", &holder]);
    assert_eq!(everything(daemon), before);
    sessions.go_on(edge, &range);
    // Another address, or protocol, is another port.
    daemon.ok(&format!("publish blue web 127.0.0.2:{port}:80"));
    daemon.ok(&format!("publish blue web 127.0.0.1:{port}:80/udp"));
    drop(listener);
    daemon.ok(&format!("publish blue web 127.0.0.1:{port}:80"));
    sessions.go_on(edge, "other publications");
}

fn taken_subnets(edge: &Edge) {
    let daemon = &edge.daemon;
    daemon.network("");
    let station = daemon.attach("");
    let sessions = Sessions::begin(edge, &station);
    let before = everything(daemon);
    refused(daemon, "network create red --subnet 10.88.0.128/25", 1, &["overlaps", "blue"]);
    let inside = daemon.host.run(|| {
        let links = Links::open()?;
        let lo = links.get("lo")?;
        links.add_address(&lo, [10, 77, 0, 5].into(), 24)
    });
    inside.unwrap().unwrap();
    refused(daemon, "network create red --subnet 10.77.0.0/16", 1, &["10.77.0.0/16", "10.77.0.5/24", "lo"]);
    assert_eq!(everything(daemon), before);
    sessions.go_on(edge, "taken subnets");
    // A network that does not meet the host may have it.
    daemon.ok("network create red --subnet 10.77.0.0/16 --internal");
}
