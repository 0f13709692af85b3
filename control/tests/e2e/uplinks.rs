//! The edge's control against the kernel's interfaces, routes and policy rules, without a daemon around it: which uplinks
//! are open, and which way packets shall take. The traffic itself is looked at in `uplink_changes`.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pontoon::edge::{EdgeControl, EdgeSettings, UplinkStatus, UplinkWish};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::edge::config::{NetworkEdge, UplinkChoice};
use pontoon_dataplane::edge::punt::{Neighbour, Route};
use pontoon_dataplane::engine::{Engine, EngineConfig, NetworkSpec};
use pontoon_dataplane::network::{Gateway, NetworkId, PortId};
use pontoon_tools::lab::Namespace;
use pontoon_tools::netfilter::run_without;

use crate::daemon::until;
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("uplinks/only-when-wanted", only_when_wanted),
        test("uplinks/follow-their-interface", follow_their_interface),
        test("uplinks/not-those-of-others", not_those_of_others),
        test("uplinks/another-with-the-same-number", another_with_the_same_number),
        test("uplinks/at-most-64", at_most_64),
        test("uplinks/storm-of-changes", storm_of_changes),
        test("uplinks/host-addresses", host_addresses),
        test("routes/next-hop-source-mtu", next_hop_source_mtu),
        test("routes/none", no_route),
        test("routes/policy-rules", policy_rules),
        test("routes/one-interface-only", one_interface_only),
        test("routes/neighbour", neighbour),
    ]
}

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// A host with an interface wan0 (198.51.100.2/24, default route via 198.51.100.1), whose control follows it.
struct Host {
    namespace: Namespace,
    far: Namespace,
    control: EdgeControl,
    network: NetworkId,
}

impl Host {
    fn new() -> Host {
        let (namespace, far) = (Namespace::new("e2e-host").unwrap(), Namespace::new("e2e-far").unwrap());
        ip(&namespace, "link set lo up");
        cable(&namespace, &far, "wan0", "198.51.100.2/24");
        ip(&namespace, "route add default via 198.51.100.1");
        let engine = EngineConfig { workers: 1, ..EngineConfig::default() };
        let start = || {
            let engine = Arc::new(Engine::start(engine).unwrap());
            let control = EdgeControl::start(Arc::clone(&engine), EdgeSettings::default()).unwrap();
            (engine, control)
        };
        let (engine, control) = run_without(&namespace, start).unwrap();
        let gateway = Gateway { mac: MacAddr::from_ipv4(GATEWAY), address: GATEWAY, prefix_len: 24 };
        let network = engine.add_network(NetworkSpec {
            gateway: Some(gateway),
            mtu: 1500,
            ageing: Duration::from_secs(300),
            edge: NetworkEdge::default(),
        });
        Host { network: network.unwrap(), namespace, far, control }
    }

    fn connected(wish: UplinkWish) -> Host {
        let host = Host::new();
        host.connect(wish);
        host
    }

    fn connect(&self, wish: UplinkWish) {
        self.inside(|control| control.connect(self.network, GATEWAY, wish)).unwrap();
    }

    /// As the daemon does it: in the host's namespace, and without netfilter.
    fn inside<T: Send>(&self, work: impl FnOnce(&EdgeControl) -> T + Send) -> T {
        run_without(&self.namespace, || work(&self.control)).unwrap()
    }

    fn ip(&self, arguments: &str) {
        ip(&self.namespace, arguments);
    }

    fn cable(&self, name: &str, address: &str) {
        cable(&self.namespace, &self.far, name, address);
    }

    fn uplink(&self, name: &str) -> Option<UplinkStatus> {
        self.control.status().uplinks.into_iter().find(|it| it.name == name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.control.status().uplinks.into_iter().map(|it| it.name).collect();
        names.sort();
        names
    }

    fn port(&self, name: &str) -> PortId {
        self.uplink(name).unwrap_or_else(|| panic!("{name} is no uplink")).port
    }

    /// The way to a destination. What the kernel was told before is known by then.
    fn route(&self, destination: [u8; 4]) -> Option<Route> {
        self.inside(|control| control.route(self.network, destination.into())).unwrap()
    }

    /// Packet sockets in the host's namespace.
    fn packet_sockets(&self) -> usize {
        let table = self.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/packet")).unwrap();
        table.unwrap().lines().count() - 1
    }
}

/// Runs ip(8) in a namespace.
pub(crate) fn ip(at: &Namespace, arguments: &str) {
    let run = || Command::new("ip").args(arguments.split_whitespace()).output();
    let output = at.run(run).unwrap().expect("ip(8), of iproute2, runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A wire between an interface of the host and one of the same name far away.
fn cable(host: &Namespace, far: &Namespace, name: &str, address: &str) {
    ip(host, &format!("link add {name} type veth peer name {name} netns {}", far.name()));
    ip(far, &format!("link set {name} up"));
    ip(host, &format!("address add {address} dev {name}"));
    ip(host, &format!("link set {name} up"));
}

/// A persistent TAP or TUN device.
fn tun(at: &Namespace, name: &str, mode: &str, address: &str) {
    ip(at, &format!("tuntap add {name} mode {mode}"));
    ip(at, &format!("address add {address} dev {name}"));
    ip(at, &format!("link set {name} up"));
}

fn only_when_wanted() {
    let host = Host::new();
    assert_eq!(host.packet_sockets(), 0);
    host.connect(UplinkWish::None);
    assert_eq!((host.packet_sockets(), host.names()), (0, vec![]));
    host.connect(UplinkWish::Only("wan1".into()));
    assert_eq!((host.packet_sockets(), host.names()), (0, vec![]));
    host.connect(UplinkWish::Auto);
    assert_eq!((host.packet_sockets(), host.names()), (1, vec!["wan0".to_owned()]));
    let uplink = host.uplink("wan0").unwrap();
    assert_eq!(uplink.addresses, [([198, 51, 100, 2].into(), 24)]);
    assert_eq!((uplink.mtu, uplink.up), (1500, true));
    host.inside(|control| control.disconnect(host.network));
    assert_eq!((host.packet_sockets(), host.names()), (0, vec![]));
}

fn follow_their_interface() {
    let host = Host::connected(UplinkWish::Auto);
    let port = host.port("wan0");
    let same = |what: &str, condition: &dyn Fn(&UplinkStatus) -> bool, name: &str| {
        until(what, || host.uplink(name).is_some_and(|it| condition(&it)));
        assert_eq!(host.port(name), port, "after {what} it is the same port");
    };
    host.ip("link set wan0 mtu 1400");
    same("its MTU changes", &|it| it.mtu == 1400, "wan0");
    host.ip("address add 198.51.100.7/24 dev wan0");
    same("an address comes", &|it| it.addresses.len() == 2, "wan0");
    assert_eq!(
        host.uplink("wan0").unwrap().addresses[0].0,
        Ipv4Addr::new(198, 51, 100, 2),
        "the primary one is first"
    );
    host.ip("address del 198.51.100.7/24 dev wan0");
    same("an address goes", &|it| it.addresses.len() == 1, "wan0");
    host.ip("address flush dev wan0");
    same("all addresses go", &|it| it.addresses.is_empty(), "wan0");
    host.ip("address add 198.51.100.9/24 dev wan0");
    same("another address comes", &|it| it.addresses.len() == 1, "wan0");
    host.ip("link set wan0 down");
    same("it goes down", &|it| !it.up, "wan0");
    host.ip("link set wan0 up");
    same("it comes up", &|it| it.up, "wan0");
    host.ip("link set wan0 address 02:00:00:00:00:77");
    host.ip("link set wan0 down");
    host.ip("link set wan0 name dsl0");
    host.ip("link set dsl0 up");
    same("it gets another name", &|it| it.up, "dsl0");
    host.cable("wan1", "192.0.2.2/24");
    until("a second one comes", || host.names() == ["dsl0", "wan1"]);
    host.ip("link del dsl0");
    until("the first one goes", || host.names() == ["wan1"]);
    assert_eq!(host.packet_sockets(), 1);
}

fn not_those_of_others() {
    let host = Host::new();
    tun(&host.namespace, "ptn-red", "tap", "10.9.0.1/24");
    tun(&host.namespace, "vpn0", "tun", "10.8.0.2/24");
    host.ip("link set ptn-red alias ptn-red");
    host.ip("link add wan1 type veth peer name other");
    host.ip("link set wan1 up");
    host.cable("wan2", "192.0.2.2/24");
    host.connect(UplinkWish::Auto);
    // Not the host port, not the one without an address; a header is not needed.
    assert_eq!(host.names(), ["vpn0", "wan0", "wan2"]);
    host.inside(|control| control.claim("wan2"));
    assert_eq!(host.names(), ["vpn0", "wan0"]);
    host.inside(|control| control.give_back("wan2"));
    assert_eq!(host.names(), ["vpn0", "wan0", "wan2"]);
    host.connect(UplinkWish::Only("wan2".into()));
    assert_eq!(host.names(), ["wan2"]);
    host.ip("link add br9 type bridge");
    host.ip("link set wan2 master br9");
    until("a bridge port is none", || host.names().is_empty());
    host.connect(UplinkWish::Only("br9".into()));
    host.ip("address add 192.0.2.3/24 dev br9");
    host.ip("link set br9 up");
    until("its bridge is one", || host.names() == ["br9"]);
}

fn another_with_the_same_number() {
    let host = Host::connected(UplinkWish::Auto);
    let make = format!(
        "link add wan1 index 77 type veth peer name wan1 netns {}
         address add 192.0.2.2/24 dev wan1
         link set wan1 up",
        host.far.name()
    );
    for command in make.lines() {
        host.ip(command);
    }
    until("it comes", || host.uplink("wan1").is_some());
    for _ in 0..10 {
        let before = host.port("wan1");
        // In one go, so that the two are hardly ever told apart by what there is afterwards.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("link del wan1\n{make}\n")).unwrap();
        host.ip(&format!("-batch {}", file.path().display()));
        until("it is opened anew", || host.uplink("wan1").is_some_and(|it| it.port != before));
    }
}

fn at_most_64() {
    let host = Host::new();
    for number in 0..70 {
        host.ip(&format!("link add many{number} type veth peer name far{number}"));
        host.ip(&format!("address add 192.0.2.{number}/32 dev many{number}"));
        host.ip(&format!("link set many{number} up"));
    }
    host.connect(UplinkWish::Auto);
    assert_eq!(host.names().len(), 64);
    host.ip("link del many0");
    until("another one takes its place", || {
        let names = host.names();
        names.len() == 64 && !names.contains(&"many0".to_owned())
    });
}

/// A routing daemon that starts.
fn storm_of_changes() {
    let host = Host::connected(UplinkWish::Auto);
    let file = tempfile::NamedTempFile::new().unwrap();
    let each = |verb: &str| -> String {
        let route = |number: u32| {
            format!("route {verb} 10.{}.{}.0/24 via 198.51.100.1\n", number / 250, number % 250)
        };
        (5_000..25_000).map(route).collect()
    };
    std::fs::write(file.path(), each("add") + &each("del")).unwrap();
    host.ip(&format!("-batch {}", file.path().display()));
    host.ip("address add 198.51.100.7/24 dev wan0");
    until("the last change is known", || host.uplink("wan0").is_some_and(|it| it.addresses.len() == 2));
}

fn host_addresses() {
    let host = Host::new();
    let known = || host.control.status().host_addresses;
    assert_eq!(known(), [Ipv4Addr::new(198, 51, 100, 2)]);
    host.ip("address add 10.200.0.1/32 dev lo");
    until("an address of the loopback interface is known", || known().len() == 2);
    tun(&host.namespace, "ptn-red", "tap", "10.1.0.1/24");
    until("a host port's too", || known().contains(&GATEWAY));
    host.ip("address del 198.51.100.2/24 dev wan0");
    until("it is forgotten", || known() == [GATEWAY, Ipv4Addr::new(10, 200, 0, 1)]);
}

fn next_hop_source_mtu() {
    let host = Host::connected(UplinkWish::Auto);
    let wan0 = host.port("wan0");
    let by = |next_hop: [u8; 4], source: [u8; 4], mtu: u16| {
        Some(Route { uplink: wan0, next_hop: next_hop.into(), source: source.into(), mtu, neighbour: None })
    };
    assert_eq!(host.route([203, 0, 113, 9]), by([198, 51, 100, 1], [198, 51, 100, 2], 1500));
    // On the link.
    assert_eq!(host.route([198, 51, 100, 50]), by([198, 51, 100, 50], [198, 51, 100, 2], 1500));
    host.ip("address add 192.0.2.2/24 dev wan0");
    host.ip("route add 203.0.113.16/28 via 192.0.2.1 mtu 1280");
    until("the address is known", || host.uplink("wan0").is_some_and(|it| it.addresses.len() == 2));
    assert_eq!(host.route([203, 0, 113, 17]), by([192, 0, 2, 1], [192, 0, 2, 2], 1280));
    // A source that the route itself names.
    host.ip("route add 203.0.113.32/28 via 198.51.100.1 src 192.0.2.2");
    assert_eq!(host.route([203, 0, 113, 33]), by([198, 51, 100, 1], [192, 0, 2, 2], 1500));
    // The same when the host has the gateway's address, in whose name it is asked.
    tun(&host.namespace, "ptn-red", "tap", "10.1.0.1/24");
    host.ip("link set ptn-red alias ptn-red");
    host.connect(UplinkWish::Auto);
    assert_eq!(host.route([203, 0, 113, 9]), by([198, 51, 100, 1], [198, 51, 100, 2], 1500));
    assert_eq!(host.route([203, 0, 113, 17]), by([192, 0, 2, 1], [192, 0, 2, 2], 1280));
    assert_eq!(host.route([203, 0, 113, 33]), by([198, 51, 100, 1], [192, 0, 2, 2], 1500));
}

fn no_route() {
    let host = Host::connected(UplinkWish::Auto);
    tun(&host.namespace, "ptn-red", "tap", "10.9.0.1/24");
    host.ip("link set ptn-red alias ptn-red");
    for kind in ["unreachable", "blackhole", "prohibit", "throw"] {
        host.ip(&format!("route replace {kind} 203.0.113.64/28"));
        let found = host.route([203, 0, 113, 65]);
        // Throw means: go on with the next table, and there the default route is not.
        assert_eq!(found, None, "{kind}");
    }
    host.ip("route del throw 203.0.113.64/28");
    assert!(host.route([203, 0, 113, 65]).is_some());
    host.ip("route add 203.0.113.64/28 via inet6 fe80::1 dev wan0");
    assert_eq!(host.route([203, 0, 113, 65]), None, "an IPv6 router");
    // Loopback, the host itself, its subnet's broadcast address, a group, another network of pontoon.
    for own in [[127, 0, 0, 1], [198, 51, 100, 2], [198, 51, 100, 255], [224, 0, 0, 1], [10, 9, 0, 7]] {
        assert_eq!(host.route(own), None, "{own:?}");
    }
    host.ip("route del default");
    assert_eq!(host.route([203, 0, 113, 9]), None);
    host.connect(UplinkWish::None);
    assert_eq!(host.route([198, 51, 100, 50]), None);
}

fn policy_rules() {
    let host = Host::connected(UplinkWish::Auto);
    host.cable("wan1", "192.0.2.2/24");
    until("the second uplink is open", || host.names().len() == 2);
    let way = || host.route([203, 0, 113, 9]).map(|it| (it.uplink, it.next_hop));
    let (first, second) = (
        (host.port("wan0"), Ipv4Addr::new(198, 51, 100, 1)),
        (host.port("wan1"), Ipv4Addr::new(192, 0, 2, 1)),
    );
    host.ip("route add default via 192.0.2.1 table 100");
    assert_eq!(way(), Some(first));
    host.ip("rule add to 203.0.113.0/24 lookup 100");
    assert_eq!(way(), Some(second));
    host.ip("rule del to 203.0.113.0/24 lookup 100");
    assert_eq!(way(), Some(first));
    // What a rule says of the subnet holds once the host has the gateway's address.
    host.ip("rule add from 10.1.0.0/24 lookup 100");
    assert_eq!(way(), Some(first));
    tun(&host.namespace, "ptn-red", "tap", "10.1.0.1/24");
    host.ip("link set ptn-red alias ptn-red");
    host.connect(UplinkWish::Auto);
    assert_eq!(way(), Some(second));
    assert_eq!(host.route([203, 0, 113, 9]).unwrap().source, Ipv4Addr::new(192, 0, 2, 2));
    host.ip("route replace prohibit default table 100");
    assert_eq!(way(), None);
}

fn one_interface_only() {
    let host = Host::connected(UplinkWish::Only("wan1".into()));
    assert_eq!(host.control.choice(&UplinkWish::Only("wan1".into())), UplinkChoice::Only(0));
    assert_eq!(host.route([203, 0, 113, 9]), None, "it is not there yet");
    host.cable("wan1", "192.0.2.2/24");
    until("it comes", || host.names() == ["wan1"]);
    assert_ne!(host.control.choice(&UplinkWish::Only("wan1".into())), UplinkChoice::Only(0));
    // Its own subnet; not what the other's default route leads to.
    assert_eq!(host.route([192, 0, 2, 9]).unwrap().uplink, host.port("wan1"));
    assert_eq!(host.route([203, 0, 113, 9]), None);
    assert_eq!(host.route([198, 51, 100, 50]), None);
    // A default route of its own, although the host itself prefers the other.
    host.ip("route add default via 192.0.2.1 dev wan1 metric 1000");
    let found = host.route([203, 0, 113, 9]).unwrap();
    assert_eq!((found.uplink, found.next_hop), (host.port("wan1"), Ipv4Addr::new(192, 0, 2, 1)));
    host.ip("link del wan1");
    until("it goes", || host.names().is_empty());
    assert_eq!(host.route([203, 0, 113, 9]), None);
}

fn neighbour() {
    let host = Host::connected(UplinkWish::Auto);
    let known = || host.route([203, 0, 113, 9]).unwrap().neighbour;
    assert_eq!(known(), None);
    let mac = MacAddr([2, 0, 0, 0, 0, 0x42]);
    let (learned, fixed) = (Some(Neighbour::Learned(mac)), Some(Neighbour::Fixed(mac)));
    for (state, expected) in [
        ("permanent", fixed),
        ("reachable", learned),
        ("noarp", fixed),
        ("stale", learned),
        ("failed", None),
        ("incomplete", None),
    ] {
        host.ip(&format!("neigh replace 198.51.100.1 lladdr 02:00:00:00:00:42 nud {state} dev wan0"));
        assert_eq!(known(), expected, "{state}");
    }
    // Where nobody is asked the kernel sends to the interface's own MAC.
    host.ip("neigh flush dev wan0 nud all");
    host.ip("link set wan0 address 02:00:00:00:00:43");
    host.ip("link set wan0 arp off");
    let own = MacAddr([2, 0, 0, 0, 0, 0x43]);
    until("it is known", || known() == Some(Neighbour::Fixed(own)));
    host.ip("neigh replace 198.51.100.1 lladdr 02:00:00:00:00:42 nud permanent dev wan0");
    assert_eq!(known(), fixed);
}
