//! How a network is connected, as it was asked for: by what is not there, or cannot be, and how wide that makes it.

use std::net::Ipv4Addr;

use pontoon::api::types::Network;
use pontoon::link::Links;
use pontoon_tools::kernel::Kernel;
use pontoon_tools::outside::{OUTSIDE, SECOND_UPLINK, UPLINK, Way};
use pontoon_tools::ping::{Answer, Pinger};

use crate::Test;
use crate::daemon::{GATEWAY, PATIENCE, until};
use crate::edge::{Edge, bind, connect, edge_test, exchange, listen, peer, plain_test, reaches, try_connect};
use crate::interfaces::cable;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("connection/uplinks-that-cannot-be", "", uplinks_that_cannot_be),
        plain_test("connection/snat-address-comes-late", "", snat_address_comes_late),
        edge_test("connection/as-wide-as-its-uplink", Way::Direct(1500), &[], as_wide_as_its_uplink),
        plain_test("connection/addresses-by-local-routes", "", addresses_by_local_routes),
    ]
}

fn uplinks_that_cannot_be(edge: &mut Edge) {
    let _far = cable(&edge.daemon, true);
    edge.daemon.ok("port add blue --interface up0");
    let before = edge.daemon.ok("network show blue --json");
    for (interface, words) in [
        ("ptn-blue", "by it the host sits on the network blue"),
        ("up0", "it is a port of the network blue"),
        ("lo", "it is the loopback interface"),
    ] {
        let create = ["network", "create", "red", "--subnet", "10.89.0.0/24", "--uplink", interface];
        for command in [&create[..], &["network", "set", "blue", "--uplink", interface]] {
            let answer = edge.daemon.ask(command);
            assert_eq!(answer.code, Some(1), "{command:?}");
            let sentence = format!("no packet leaves the host by {interface}: {words}");
            assert!(
                answer.stderr.contains(&sentence) && answer.stderr.lines().count() == 1,
                "{}",
                answer.stderr
            );
        }
    }
    // Its own, which is not there yet.
    let own =
        edge.daemon.ask(&["network", "create", "red", "--subnet", "10.89.0.0/24", "--uplink", "ptn-red"]);
    assert!(own.stderr.contains("by it the host sits on the network red"), "{}", own.stderr);
    assert_eq!(edge.daemon.ok("network show blue --json"), before);
    assert_eq!(edge.daemon.ok("network ls -q"), "blue\n");
    // Nor is an interface taken away that a network leaves by.
    edge.daemon.ok("port rm blue/up0");
    edge.daemon.ok("network set blue --uplink up0");
    let taken = edge.daemon.ask(&["port", "add", "blue", "--interface", "up0"]);
    assert!(taken.stderr.contains("the network blue leaves the host by it"), "{}", taken.stderr);
    // One that is not there may come.
    edge.daemon.ok("network set blue --uplink eth77");
    let delete = || {
        let links = Links::open()?;
        links.delete(&links.get("up0")?)
    };
    edge.host().run(delete).unwrap().unwrap();
}

fn snat_address_comes_late(edge: &mut Edge) {
    const LATE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
    let station = edge.daemon.attach("");
    let note = "note: the host does not have the address 198.51.100.77, so nothing leaves the network blue until it has";
    assert!(edge.daemon.ok("network set blue --snat-ip 198.51.100.77").contains(note));
    assert!(edge.daemon.ok("network show blue").contains(note));
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    let unreachable = Answer::Error { from: GATEWAY, kind: 3, code: 0 };
    assert_eq!(pinger.ping(OUTSIDE, 56, PATIENCE).unwrap(), unreachable);
    assert!(edge.daemon.dropped(&station, "snat-address") > 0);
    assert_eq!(edge.daemon.dropped(&station, "no-route"), 0);
    let add = || {
        let links = Links::open()?;
        links.add_address(&links.get(UPLINK)?, LATE.into(), 24)
    };
    edge.host().run(add).unwrap().unwrap();
    until("the outside is reached", || pinger.ping(OUTSIDE, 56, PATIENCE).unwrap() == Answer::Reply);
    let connection = connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0)));
    assert_eq!(*peer(&connection.server).ip(), LATE);
    assert!(!edge.daemon.ok("network show blue").contains("note:"));
}

fn as_wide_as_its_uplink(edge: &mut Edge) {
    let mtu = |name: &str| edge.daemon.json::<Network>(&format!("network show {name}")).mtu;
    // A subnet that many take for one that only a default route leads to.
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let narrow = || {
        let links = Links::open()?;
        links.set_mtu(&links.get(SECOND_UPLINK)?, 1300)?;
        links.set_mtu(&links.get(UPLINK)?, 1450)
    };
    edge.host().run(narrow).unwrap().unwrap();
    edge.daemon.network("");
    edge.daemon.ok("network create red --subnet 10.89.0.0/24 --uplink wan1");
    edge.daemon.ok("network create late --subnet 10.90.0.0/24 --uplink eth77");
    assert_eq!([mtu("blue"), mtu("red"), mtu("late")], [1450, 1300, 1500]);
    let widen = || {
        let links = Links::open()?;
        links.set_mtu(&links.get(UPLINK)?, 1500)
    };
    edge.host().run(widen).unwrap().unwrap();
}

/// `ip route add local 10.200.0.0/16 dev lo`, for services that stand on more addresses than an interface should have.
fn addresses_by_local_routes(edge: &mut Edge) {
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 200, 3, 4);
    let station = edge.daemon.attach("");
    let _services = listen(edge.host(), (Ipv4Addr::UNSPECIFIED, 8080));
    let set = |own| {
        edge.host()
            .run(|| Kernel::open()?.set_local((Ipv4Addr::new(10, 200, 0, 0), 16), own))
            .unwrap()
            .unwrap();
    };
    set(true);
    until("the host is reached by it", || reaches(&station.namespace, (OWN, 8080)));
    // The host speaks in its name, and what is published stands on it.
    let (host, server) = (bind(edge.host(), (OWN, 0)), bind(&station.namespace, (station.ip(), 53)));
    assert_eq!(*exchange(&host, &server, (station.ip(), 53), 100).ip(), OWN);
    crate::published::publish(&edge.daemon, &station, "8081:81");
    let _inside = listen(&station.namespace, (station.ip(), 81));
    let other = edge.daemon.attach("");
    try_connect(&other.namespace, ANY, (OWN, 8081), PATIENCE).unwrap();
    assert!(!edge.daemon.ok("network set blue --snat-ip 10.200.0.9").contains("note:"));
    let overlap = edge.daemon.ask(&["network", "create", "red", "--subnet", "10.200.7.0/24"]);
    assert!(
        overlap.stderr.contains("10.200.0.0/16, which a local route makes the host's own"),
        "{}",
        overlap.stderr
    );
    set(false);
    until("it is not the host's any more", || !reaches(&station.namespace, (OWN, 8080)));
}
