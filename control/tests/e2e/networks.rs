//! Networks as Docker users know them: sandboxes on several of them, default routes, pools, options, what `inspect` and `port ls` tell.

use std::net::Ipv4Addr;

use pontoon::api::types::{Endpoint, Inspected, Network, Port, SandboxRef};
use pontoon::link::Links;
use pontoon_tools::lab::Namespace;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY, Station};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("networks/connect-and-disconnect", connect),
        test("networks/default-route", default_route),
        test("networks/internal-and-back", internal),
        test("networks/default-pools", pools),
        test("networks/released-addresses-rest", rest),
        test("networks/dockers-options", options),
        test("networks/inspect", inspect),
        test("networks/port-ls", ports),
    ]
}

const RED_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);

/// The networks blue and red, and a sandbox on blue.
fn lab(options: &str) -> (Daemon, Station) {
    let daemon = Daemon::start();
    daemon.network("");
    daemon.ok(&format!("network create red --subnet 10.89.0.0/24 {options}"));
    let station = daemon.attach("--name web");
    (daemon, station)
}

/// The default route of a namespace: by which interface, over which gateway.
pub(crate) fn route(namespace: &Namespace) -> Option<(String, Ipv4Addr)> {
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/route")).unwrap().unwrap();
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut defaults = table.lines().map(fields).filter(|it| it[1] == "00000000" && it[7] == "00000000");
    let found = defaults.next()?;
    assert_eq!(defaults.next(), None, "one default route: {table}");
    let gateway = u32::from_str_radix(&found[2], 16).unwrap();
    Some((found[0].clone(), Ipv4Addr::from(gateway.to_le_bytes())))
}

fn answers(from: &Namespace, to: Ipv4Addr) {
    let mut pinger = Pinger::new(from, to).unwrap();
    assert_eq!(pinger.ping(to, 56, PATIENCE).unwrap(), Answer::Reply, "{to}");
}

fn names(namespace: &Namespace) -> Vec<String> {
    let all = namespace.run(|| Links::open()?.all()).unwrap().unwrap();
    all.into_iter().map(|link| link.name).collect()
}

fn connect() {
    let (daemon, station) = lab("");
    let made: Endpoint = daemon.json("network connect red web --alias www --ip 10.89.0.77");
    assert_eq!((made.name.as_str(), made.ifname.as_str()), ("web", "eth1"));
    assert_eq!(
        (made.address.to_string().as_str(), made.sandbox_id),
        ("10.89.0.77/24", station.endpoint.sandbox_id)
    );
    answers(&station.namespace, GATEWAY);
    answers(&station.namespace, RED_GATEWAY);
    let other = Namespace::new("e2e").unwrap();
    let said = daemon.ok(&format!("network connect red --netns {} --ifname net5", other.name()));
    assert!(
        said.contains(&format!("red/{}: net5 in {}, 10.89.0.2/24", other.name(), other.name())),
        "{said}"
    );
    answers(&other, "10.89.0.77".parse().unwrap());

    let again = daemon.ask(&["network", "connect", "red", "web"]);
    assert!(
        again.stderr.contains("is on the network red already, as the endpoint red/web"),
        "{}",
        again.stderr
    );
    let said = daemon.ok("network disconnect red web");
    assert_eq!(said, "web is off the network red\n");
    assert!(!names(&station.namespace).contains(&"eth1".to_owned()));
    answers(&station.namespace, GATEWAY);
    let gone = daemon.ask(&["network", "disconnect", "red", "web"]);
    assert_eq!((gone.code, gone.stderr.lines().count()), (Some(1), 1));
    assert!(gone.stderr.contains("no endpoint of the sandbox web on the network red"), "{}", gone.stderr);
    daemon.ok(&format!("network disconnect red --netns {}", other.name()));
    assert_eq!(names(&other), ["lo"]);
}

fn default_route() {
    let (mut daemon, station) = lab("");
    let by = |ifname: &str, gateway| Some((ifname.to_owned(), gateway));
    assert_eq!(route(&station.namespace), by("eth0", GATEWAY));
    daemon.ok("network connect red web");
    assert_eq!(route(&station.namespace), by("eth0", GATEWAY), "the first network's stays");
    daemon.ok("network disconnect blue web");
    assert_eq!(route(&station.namespace), by("eth1", RED_GATEWAY), "another one takes over");
    daemon.ok("network connect blue web");
    assert_eq!(route(&station.namespace), by("eth1", RED_GATEWAY));
    // The daemon dies, and somebody loses the route meanwhile.
    daemon.end(Signal::KILL);
    let lose = || -> Result<(), pontoon::link::LinkError> {
        let links = Links::open()?;
        links.remove_default_route(&links.get("eth1")?, RED_GATEWAY)
    };
    station.namespace.run(lose).unwrap().unwrap();
    daemon.start_again();
    assert_eq!(route(&station.namespace), by("eth1", RED_GATEWAY));
    daemon.ok("network rm red --force");
    assert_eq!(route(&station.namespace), by("eth0", GATEWAY));
    daemon.ok("network disconnect blue web");
    assert_eq!(route(&station.namespace), None);
}

fn internal() {
    let (daemon, station) = lab("--internal");
    let other = Namespace::new("e2e").unwrap();
    daemon.ok(&format!("network connect red --netns {} --name other", other.name()));
    assert_eq!(route(&other), None, "an internal network leads nowhere");
    daemon.ok("network connect red web");
    daemon.ok("network set blue --internal");
    assert_eq!(route(&station.namespace), None);
    daemon.ok("network set red --internal=false");
    assert_eq!(route(&station.namespace), Some(("eth1".into(), RED_GATEWAY)));
    assert_eq!(route(&other), Some(("eth0".into(), RED_GATEWAY)));
    daemon.ok("network set blue --internal=false");
    assert_eq!(route(&station.namespace), Some(("eth1".into(), RED_GATEWAY)));
}

/// A host of its own that has a route in Docker's first pool and an address in the second.
fn pools() {
    let host = Namespace::new("e2e-host").unwrap();
    let occupy = || -> Result<(), pontoon::link::LinkError> {
        let links = Links::open()?;
        let lo = links.get("lo")?;
        links.set_up(&lo, true)?;
        links.add_address(&lo, [172, 18, 200, 1].into(), 32)?;
        links.add_address(&lo, [172, 17, 9, 1].into(), 24)
    };
    host.run(occupy).unwrap().unwrap();
    let daemon = Daemon::start_in(host, &[]);
    let create = |name: &str| daemon.json::<Network>(&format!("network create {name}")).subnet.to_string();
    assert_eq!(create("one"), "172.19.0.0/16");
    assert_eq!(create("two"), "172.20.0.0/16");
    daemon.ok("network rm one");
    assert_eq!(create("three"), "172.19.0.0/16");
}

fn rest() {
    let mut daemon = Daemon::start();
    daemon
        .ok("network create blue --subnet 10.88.0.0/29 --ip-range 10.88.0.0/29 --aux-address nas=10.88.0.3");
    let address = |station: &Station| station.ip().octets()[3];
    let [first, second] = [daemon.attach(""), daemon.attach("")];
    assert_eq!([address(&first), address(&second)], [2, 4], "never the reserved one");
    for gone in [second, first] {
        daemon.ok(&format!("detach blue {}", gone.endpoint.name));
        daemon.end(Signal::KILL);
        daemon.start_again();
    }
    let stations: Vec<Station> = (0..4).map(|_| daemon.attach("")).collect();
    let got: Vec<u8> = stations.iter().map(address).collect();
    assert_eq!(got, [5, 6, 4, 2], "those that were released come last, and in the order of their release");
    let full = Namespace::new("e2e").unwrap();
    let answer = daemon.ask(&["attach", "blue", "--netns", full.name()]);
    assert!(answer.stderr.contains("10.88.0.0/29 has no free address left"), "{}", answer.stderr);
    let answer = daemon.ask(&["attach", "blue", "--netns", full.name(), "--ip", "10.88.0.3"]);
    assert!(
        answer.stderr.contains("10.88.0.3 is in use by nas, for whom it is reserved"),
        "{}",
        answer.stderr
    );
}

fn options() {
    let mut daemon = Daemon::start();
    let loopback = || -> Result<(), pontoon::link::LinkError> {
        let links = Links::open()?;
        links.set_up(&links.get("lo")?, true)
    };
    daemon.host.run(loopback).unwrap().unwrap();
    let keys = [
        ("bridge.name", "br-blue"),
        ("bridge.enable_icc", "false"),
        ("bridge.host_binding_ipv4", "127.0.0.1"),
        ("driver.mtu", "1300"),
        ("container_iface_prefix", "net"),
        ("unheard_of", "1"),
    ];
    let given: String =
        keys.iter().map(|(key, value)| format!(" -o com.docker.network.{key}={value}")).collect();
    daemon.network(&given);
    let station = daemon.attach("--name a");
    assert_eq!(station.endpoint.ifname, "net0");
    let mtu = station.namespace.run(|| Links::open()?.get("net0")).unwrap().unwrap().mtu;
    assert_eq!(mtu, 1300);
    daemon.ok("publish blue a 8080:80");
    assert!(daemon.ok("ports").contains("127.0.0.1:8080:80/tcp"));
    daemon.ok("unpublish blue a 8080:80");
    let on_the_host = |daemon: &Daemon| {
        let find = || Links::open()?.find("br-blue");
        daemon.host.run(find).unwrap().unwrap().map(|link| link.up)
    };
    for _ in 0..2 {
        assert_eq!(on_the_host(&daemon), Some(true));
        answers(&daemon.host, station.ip());
        daemon.end(Signal::KILL);
        daemon.start_again();
    }
    let taken = daemon.ask(&[
        "network",
        "create",
        "red",
        "--subnet",
        "10.89.0.0/24",
        "-o",
        "com.docker.network.bridge.name=br-blue",
    ]);
    assert!(taken.stderr.contains("the host has an interface br-blue already"), "{}", taken.stderr);
    let ipv6 = daemon.ask(&["network", "create", "red", "--ipv6"]);
    assert_eq!((ipv6.code, ipv6.stderr.lines().count()), (Some(1), 1));
    assert!(ipv6.stderr.contains("cannot have IPv6 enabled"), "{}", ipv6.stderr);
    daemon.ok("network rm blue --force");
    assert_eq!(on_the_host(&daemon), None);
}

fn inspect() {
    let (daemon, station) = lab("--label team=x --attachable -d bridge");
    let text = daemon.ok("network inspect blue red");
    assert!(text.starts_with("[\n    {\n        \"Name\": \"blue\",\n        \"Id\": \""), "{text}");
    let both: Vec<Inspected> = serde_json::from_str(&text).unwrap();
    let [blue, red] = both.as_slice() else { panic!("{text}") };
    let attachment = &blue.containers[&station.endpoint.sandbox_id];
    assert_eq!((attachment.endpoint_id, attachment.mac_address), (station.endpoint.id, station.mac()));
    assert_eq!((red.driver.as_str(), red.attachable, red.labels["team"].as_str()), ("bridge", true, "x"));
    assert_eq!(daemon.ok(&format!("network inspect {} --json", &blue.id.to_string()[..12])), {
        let one = text.split_once("\n    },\n").unwrap().0;
        format!("{one}\n    }}\n]\n")
    });
    let missing = daemon.ask(&["network", "inspect", "blue", "green"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(1), ""));
    assert!(missing.stderr.contains("there is no network green"), "{}", missing.stderr);
}

fn ports() {
    let (daemon, _tap) = lab("");
    let veth = daemon.attach("--kind veth --name v");
    let (v, interface) = (Namespace::new("e2e").unwrap(), "nic7");
    daemon.host.run(|| Links::open()?.create_veth(interface, "far7", v.netns())).unwrap().unwrap();
    daemon.ok(&format!("port add blue --interface {interface}"));
    let all: Vec<Port> = daemon.ports();
    let inode = |namespace: &Namespace| namespace.netns().id().ino;
    let find = |name: &str| all.iter().find(|it| it.port == name).unwrap();

    let (web, v_, nic) = (find("blue/web"), find("blue/v"), find("blue/nic7"));
    let index = |namespace: &Namespace, name: &str| {
        namespace.run(|| Links::open()?.get(name)).unwrap().unwrap().index
    };
    assert_eq!((web.netns, web.ifindex), (inode(&_tap.namespace), Some(index(&_tap.namespace, "eth0"))));
    assert_eq!(web.sandbox, Some(SandboxRef::Netns(_tap.namespace.name().to_owned())));
    assert_eq!(web.peer, None);
    assert_eq!((v_.netns, v_.ifindex), (inode(&veth.namespace), Some(index(&veth.namespace, "eth0"))));
    let peer = v_.peer.as_ref().unwrap();
    assert_eq!(peer.ifindex, index(&daemon.host, peer.ifname.as_ref().unwrap()));
    assert_eq!((nic.netns, nic.ifindex), (inode(&daemon.host), Some(index(&daemon.host, interface))));
    assert_eq!(nic.peer.as_ref().unwrap().ifindex, index(&v, "far7"));
    let text = daemon.ok("port ls");
    assert!(text.lines().next().unwrap().contains("IFINDEX  SANDBOX"), "{text}");
}
