//! Names: who is told of what at 127.0.0.11 in sandboxes.

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use pontoon::api::types::{Network, SandboxRef};
use pontoon::link::Links;
use pontoon::netns::{Netns, run_in};
use rustix::process::Signal;

use crate::daemon::{Daemon, until};
use crate::nameserver::{By, addresses, ask};
use crate::{Test, test};
use pontoon_tools::lab::Namespace;

/// Where names are asked for in a sandbox.
pub(crate) const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("names/own-networks", own_networks),
        test("names/come-and-go", come_and_go),
        test("names/foreign-sandbox", foreign_sandbox),
        test("names/daemon-killed", daemon_killed),
        test("names/declared-later", declared_later),
        test("names/namespace-deleted", namespace_deleted),
        test("names/without-resolver", without_resolver),
    ]
}

/// A namespace of that name, open.
pub(crate) fn open(name: &str) -> Netns {
    Netns::find(&SandboxRef::Netns(name.to_owned())).unwrap()
}

/// A declaration that is brought up: networks with their endpoints, all in namespaces that pontoon makes.
pub(crate) fn up(daemon: &Daemon, networks: &[(&str, &str, &[&str])], more: &str) {
    let mut text = String::new();
    let mut all: Vec<&str> = networks.iter().flat_map(|(.., names)| names.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    for name in all {
        text += &format!("[[namespace]]\nname = \"{name}\"\ncreate = true\n");
    }
    for (number, (name, subnet, endpoints)) in networks.iter().enumerate() {
        text += &format!("[[network]]\nname = \"{name}\"\nsubnet = \"{subnet}\"\n");
        for endpoint in *endpoints {
            text += &format!("[[network.endpoint]]\nnetns = \"{endpoint}\"\nifname = \"eth{number}\"\n");
        }
    }
    std::fs::write(daemon.path("up.toml"), text + more).unwrap();
    daemon.ok(&format!("up -f {}", daemon.path("up.toml").display()));
}

fn down(daemon: &Daemon) {
    daemon.ok(&format!("down -f {}", daemon.path("up.toml").display()));
}

/// The addresses of a name, by UDP and TCP alike; none: there is no such name.
pub(crate) fn look_up(from: &Netns, at: Ipv4Addr, name: &str) -> Option<Vec<Ipv4Addr>> {
    let [first, second] = [By::Udp, By::Tcp].map(|by| {
        let answer = ask(from, at, name, RecordType::A, by).unwrap_or_else(|error| panic!("{name}: {error}"));
        match answer.response_code {
            ResponseCode::NoError => Some(addresses(&answer)),
            ResponseCode::NXDomain => None,
            other => panic!("{name}: {other}"),
        }
    });
    assert_eq!(first, second, "{name} by UDP and by TCP");
    first
}

fn address(daemon: &Daemon, network: &str, endpoint: &str) -> Ipv4Addr {
    let network: Network = daemon.json(&format!("network show {network}"));
    let found = network.endpoints.iter().find(|it| it.name == endpoint).expect("the endpoint is there");
    found.address.addr().to_string().parse().unwrap()
}

fn own_networks() {
    let daemon = Daemon::start();
    let networks: [(&str, &str, &[&str]); 2] =
        [("red", "10.88.0.0/24", &["own-web", "own-db"]), ("blue", "10.89.0.0/24", &["own-db", "own-lone"])];
    up(&daemon, &networks, "");
    let of = |network: &str, name: &str| address(&daemon, network, name);
    let [web, db, lone] = ["own-web", "own-db", "own-lone"].map(open);
    assert_eq!(look_up(&web, LOCAL, "own-db."), Some(vec![of("red", "own-db")]));
    assert_eq!(look_up(&web, LOCAL, "OWN-Db."), Some(vec![of("red", "own-db")]));
    assert_eq!(look_up(&lone, LOCAL, "own-db."), Some(vec![of("blue", "own-db")]));
    assert_eq!(look_up(&db, LOCAL, "own-db."), Some(vec![of("blue", "own-db"), of("red", "own-db")]));
    assert_eq!(look_up(&db, LOCAL, "own-db.red."), Some(vec![of("red", "own-db")]));
    for unknown in ["own-lone.", "nobody."] {
        assert_eq!(look_up(&web, LOCAL, unknown), None, "{unknown}");
    }
    // What a name does not have is no error, and no reason to look elsewhere.
    for by in [By::Udp, By::Tcp, By::Edns(1232)] {
        let answer = ask(&web, LOCAL, "own-db.", RecordType::AAAA, by).unwrap();
        assert_eq!((answer.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(answer.edns.is_some(), matches!(by, By::Edns(_)));
    }
    let reverse = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        let name = format!("{d}.{c}.{b}.{a}.in-addr.arpa.");
        let answer = ask(&web, LOCAL, &name, RecordType::PTR, By::Udp).unwrap();
        let name = answer.answers.first().map(|record| match &record.data {
            RData::PTR(name) => name.to_string(),
            other => panic!("{other}"),
        });
        (answer.response_code, name)
    };
    assert_eq!(reverse(of("red", "own-db")), (ResponseCode::NoError, Some("own-db.red.".to_owned())));
    for unknown in [of("blue", "own-lone"), Ipv4Addr::new(10, 88, 0, 77), Ipv4Addr::new(10, 88, 0, 1)] {
        assert_eq!(reverse(unknown), (ResponseCode::NXDomain, None), "{unknown}");
    }
    down(&daemon);
}

fn come_and_go() {
    let daemon = Daemon::start();
    up(&daemon, &[("red", "10.88.0.0/24", &["cg-web"])], "");
    let web = open("cg-web");
    let guest = Namespace::new("e2e-guest").unwrap();
    assert_eq!(look_up(&web, LOCAL, "guest."), None);
    daemon.ok(&format!("attach red --netns {} --name guest --ip 10.88.0.9", guest.name()));
    assert_eq!(look_up(&web, LOCAL, "guest."), Some(vec![Ipv4Addr::new(10, 88, 0, 9)]));
    daemon.ok("detach red guest");
    assert_eq!(look_up(&web, LOCAL, "guest."), None);
    // Another network that the sandbox is put on.
    daemon.ok("network create blue --subnet 10.89.0.0/24");
    daemon.ok(&format!("attach blue --netns {} --name guest", guest.name()));
    assert_eq!(look_up(&web, LOCAL, "guest."), None);
    daemon.ok("attach blue --netns cg-web --ifname eth1");
    assert_eq!(look_up(&web, LOCAL, "guest."), Some(vec![address(&daemon, "blue", "guest")]));
    daemon.ok("detach blue cg-web");
    assert_eq!(look_up(&web, LOCAL, "guest."), None);
    daemon.ok("network rm blue --force");
    down(&daemon);
}

/// Whether anybody serves names in a namespace.
fn is_served(at: &Netns) -> bool {
    ask(at, LOCAL, "nobody.", RecordType::A, By::Tcp).is_ok()
}

fn foreign_sandbox() {
    let daemon = Daemon::start();
    daemon.network("");
    let plain = daemon.attach("");
    assert!(!is_served(plain.namespace.netns()), "nobody asked for it");
    let asked = daemon.attach("--resolver --name asked");
    let netns = asked.namespace.netns();
    assert_eq!(look_up(netns, LOCAL, "asked."), Some(vec![asked.ip()]));
    assert_eq!(look_up(netns, LOCAL, &format!("{}.", plain.endpoint.name)), Some(vec![plain.ip()]));
    // As long as one of its endpoints wants it.
    daemon.ok("network create red --subnet 10.90.0.0/24");
    let name = asked.namespace.name();
    daemon.ok(&format!("attach red --netns {name} --ifname eth1 --resolver"));
    daemon.ok("detach blue asked");
    assert!(is_served(netns));
    daemon.ok(&format!("detach red {name}"));
    assert!(!is_served(netns));
    // Somebody else has the port.
    let _taken = crate::edge::bind(&plain.namespace, (Ipv4Addr::UNSPECIFIED, 53));
    let answer =
        daemon.ask(&["attach", "red", "--netns", plain.namespace.name(), "--ifname", "eth1", "--resolver"]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("has port 53 of 127.0.0.11"), "{}", answer.stderr);
    let red: Network = daemon.json("network show red");
    assert!(red.endpoints.is_empty());
    let links = run_in(plain.namespace.netns(), || Links::open().unwrap().all().unwrap().len()).unwrap();
    assert_eq!(links, 2, "lo and eth0");
}

fn daemon_killed() {
    let mut daemon = Daemon::start();
    up(&daemon, &[("red", "10.88.0.0/24", &["dk-web", "dk-db"])], "");
    let asked = Namespace::new("e2e-asked").unwrap();
    daemon.ok(&format!("attach red --netns {} --name asked --resolver", asked.name()));
    daemon.end(Signal::KILL);
    assert!(!is_served(&open("dk-web")));
    daemon.start_again();
    let db = address(&daemon, "red", "dk-db");
    for netns in [&open("dk-web"), asked.netns()] {
        assert_eq!(look_up(netns, LOCAL, "dk-db."), Some(vec![db]));
    }
    daemon.ok("detach red asked");
    assert!(!is_served(asked.netns()));
    down(&daemon);
    assert!(Netns::find(&SandboxRef::Netns("dk-web".to_owned())).is_err());
}

/// An endpoint that is there already, declared with a resolver and without.
fn declared_later() {
    let daemon = Daemon::start();
    let guest = Namespace::new("e2e-declared").unwrap();
    let declare = |more: &str| {
        let text = format!(
            "[[network]]\nname = \"red\"\nsubnet = \"10.88.0.0/24\"\n[[network.endpoint]]\nname = \"guest\"\nnetns = \"{}\"\n{more}",
            guest.name()
        );
        std::fs::write(daemon.path("up.toml"), text).unwrap();
        daemon.ok(&format!("up -f {}", daemon.path("up.toml").display()))
    };
    declare("");
    assert!(!is_served(guest.netns()));
    assert!(declare("resolver = true\n").contains("red/guest: resolver set"));
    assert!(is_served(guest.netns()));
    assert!(declare("resolver = true\ndns = [\"192.0.2.1\"]\n").contains("red/guest: resolver set"));
    declare("");
    assert!(!is_served(guest.netns()));
}

/// The sockets in a sandbox do not keep it when everybody else has left it.
fn namespace_deleted() {
    let daemon = Daemon::start();
    up(&daemon, &[("red", "10.88.0.0/24", &["nd-web", "nd-db"])], "");
    let db = open("nd-db");
    assert!(look_up(&db, LOCAL, "nd-web.").is_some());
    pontoon::netns::delete("nd-web").unwrap();
    let is_known =
        |by| ask(&db, LOCAL, "nd-web.", RecordType::A, by).is_ok_and(|it| !addresses(&it).is_empty());
    until("its endpoint and its name are gone", || !is_known(By::Udp));
    assert!(look_up(&db, LOCAL, "nd-web.").is_none());
    let red: Network = daemon.json("network show red");
    assert_eq!(red.endpoints.len(), 1);
}

fn without_resolver() {
    let daemon = Daemon::start();
    let more = |resolver: &str| {
        format!(
            "[[namespace]]\nname = \"nm-own\"\ncreate = true\n{resolver}[[network]]\nname = \"red\"\nsubnet = \"10.88.0.0/24\"\n"
        )
    };
    up(&daemon, &[], &more("resolver = false\n"));
    let netns = open("nm-own");
    assert!(!is_served(&netns));
    up(&daemon, &[], &more(""));
    assert!(is_served(&netns));
    let said = daemon.ok(&format!("up -f {}", daemon.path("up.toml").display()));
    assert!(said.contains("nothing"), "{said}");
    up(&daemon, &[], &more("resolver = false\n"));
    assert!(!is_served(&netns));
    // A program of its own may have the port then, and is not driven out.
    let taken = run_in(&netns, || std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 53))).unwrap().unwrap();
    std::fs::write(daemon.path("up.toml"), more("")).unwrap();
    let file = daemon.path("up.toml").display().to_string();
    let answer = daemon.ask(&["up", "-f", &file]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("has port 53 of 127.0.0.11"), "{}", answer.stderr);
    drop(taken);
    assert!(daemon.ok(&format!("up -f {file}")).contains("resolver added"));
    assert!(is_served(&netns));
    down(&daemon);
}
