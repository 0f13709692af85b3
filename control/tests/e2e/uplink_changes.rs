//! Uplinks that come, go and change while they are in use.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_tools::kernel::{Kernel, Route};
use pontoon_tools::lab::{LabError, Namespace};
use pontoon_tools::outside::{HOST, OUTSIDE, OUTSIDE_TOO, ROUTER, SECOND_HOST, SECOND_ROUTER, UPLINK};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};
use pontoon_tools::transfer::{Connection, Transfer};

use crate::daemon::{PATIENCE, Station, until};
use crate::edge::{
    Edge, SHORT, SILENCE, bind, connect, exchange, listen, peer, pings, plain_test, try_connect,
};
use crate::frames::{arp, ethernet};
use crate::published::publish;
use crate::uplinks::ip;
use crate::{Test, full};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);
const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        plain_test("uplink/loses-its-carrier", "", loses_its_carrier),
        plain_test("uplink/taken-down", "", taken_down),
        plain_test("uplink/route-changes", "", route_changes),
        plain_test("uplink/address-comes-back", "", address_comes_back),
        plain_test("uplink/address-changes", "", address_changes),
        plain_test("uplink/policy-rules", "", policy_rules),
        plain_test("uplink/snat-ip", "--snat-ip 198.51.100.3", snat_ip),
        plain_test("uplink/only-one", "--uplink wan1", only_one),
        plain_test("uplink/comes-late", "--uplink wan1", comes_late),
        plain_test("uplink/without-ethernet", "", without_ethernet),
        plain_test("uplink/two-at-once", "", two_at_once),
        plain_test("uplink/next-hop-moves", "", next_hop_moves),
        plain_test("uplink/next-hop-announced", "", next_hop_announced),
        plain_test("uplink/next-hop-fixed", "", next_hop_fixed),
        plain_test("uplink/without-arp", "", without_arp),
    ]
}

/// How long an uplink stays away.
fn outage() -> Duration {
    Duration::from_secs(if full() { 10 } else { 1 })
}

fn set_up(at: &Namespace, interface: &str, up: bool) {
    let set = || -> Result<(), LabError> {
        let links = Links::open()?;
        Ok(links.set_up(&links.get(interface)?, up)?)
    };
    at.run(set).unwrap().unwrap();
}

fn set_route(edge: &Edge, route: Route) {
    edge.host().run(|| Kernel::open()?.set_route(route)).unwrap().unwrap();
}

/// Whom outside sees when the station connects now.
fn seen_as(edge: &Edge, station: &Station) -> Option<Ipv4Addr> {
    seen_at(OUTSIDE, edge, station)
}

/// The same at another address outside.
fn seen_at(address: Ipv4Addr, edge: &Edge, station: &Station) -> Option<Ipv4Addr> {
    let listener = listen(&edge.outside.machine, (address, 0));
    let target = crate::edge::v4(listener.local_addr().unwrap());
    let client = try_connect(&station.namespace, ANY, (*target.ip(), target.port()), PATIENCE / 10).ok()?;
    // A change at that very moment cuts it off.
    let connection = Connection::accept_within(PATIENCE / 10, client, &listener).ok()?;
    for end in [&connection.client, &connection.server] {
        end.set_read_timeout(Some(PATIENCE / 10)).unwrap();
    }
    connection.check().ok()?;
    Some(*peer(&connection.server).ip())
}

/// A stream out and one in by a published port, which an outage must not break.
fn load(edge: &Edge, station: &Station) -> [Transfer; 2] {
    publish(&edge.daemon, station, "8080:80");
    let inside = listen(&station.namespace, (station.ip(), 80));
    let client = try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, 8080), PATIENCE).unwrap();
    let inward = Connection::accept(client, &inside).unwrap();
    let outward = connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE, 0)));
    [inward, outward].map(|connection| Transfer::over(connection.client, connection.server, None).unwrap())
}

fn flows(transfers: &[Transfer]) {
    for transfer in transfers {
        let goal = transfer.received() + (5 << 20);
        until("the stream flows", || {
            assert!(!transfer.has_ended(), "the stream broke");
            transfer.received() > goal
        });
    }
}

/// Waits as long as an outage lasts, for that is what it is: time.
fn wait_out() {
    let end = Instant::now() + outage();
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

fn finish(transfers: [Transfer; 2]) {
    for transfer in transfers {
        transfer.stop();
        transfer.finish().unwrap();
    }
}

fn loses_its_carrier(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let transfers = load(edge, &station);
    flows(&transfers);
    set_up(&edge.outside.machine, "eth0", false);
    wait_out();
    set_up(&edge.outside.machine, "eth0", true);
    flows(&transfers);
    finish(transfers);
}

/// The kernel takes routes away with the interface; whoever manages the network puts them back.
fn taken_down(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let transfers = load(edge, &station);
    flows(&transfers);
    set_up(edge.host(), UPLINK, false);
    let mut pinger = Pinger::new(&station.namespace, OUTSIDE).unwrap();
    until("the outside is unreachable", || {
        !matches!(pinger.ping(OUTSIDE, 56, PATIENCE / 20).unwrap(), Answer::Reply)
    });
    wait_out();
    set_up(edge.host(), UPLINK, true);
    set_route(edge, Route::default_via(ROUTER));
    flows(&transfers);
    assert_eq!(seen_as(edge, &station), Some(HOST));
    finish(transfers);
}

/// New connections follow the routes. Those that came in answer by the uplink that they came by; those that would leave from
/// another address end, as with the kernel's masquerading, and what is opened instead works at once.
fn route_changes(edge: &mut Edge) {
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    let [inward, outward] = load(edge, &station);
    let ways = [(SECOND_ROUTER, SECOND_HOST), (ROUTER, HOST), (SECOND_ROUTER, SECOND_HOST), (ROUTER, HOST)];
    for (router, host) in ways {
        set_route(edge, Route::default_via(router));
        until("new connections leave by the new route", || seen_as(edge, &station) == Some(host));
        flows(std::slice::from_ref(&inward));
    }
    until("what would leave from another address ends", || outward.has_ended());
    outward.finish().unwrap_err();
    inward.stop();
    inward.finish().unwrap();
}

/// Takes the uplink's address away, and the kernel the routes with it.
fn lose_address(edge: &Edge, address: Ipv4Addr) {
    let lose = || -> Result<(), LabError> {
        Kernel::open()?.remove_address(Links::open()?.get(UPLINK)?.index, address, 24)
    };
    edge.host().run(lose).unwrap().unwrap();
}

/// Gives the uplink an address, and the host its default route.
fn get_address(edge: &Edge, address: Ipv4Addr) {
    let get = || -> Result<(), LabError> {
        let links = Links::open()?;
        links.add_address(&links.get(UPLINK)?, address.into(), 24)?;
        Kernel::open()?.set_route(Route::default_via(ROUTER))
    };
    edge.host().run(get).unwrap().unwrap();
}

/// As when a lease of DHCP has run out and is had again: whatever was going on goes on.
fn address_comes_back(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let transfers = load(edge, &station);
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    let seen = exchange(&client, &server, (OUTSIDE, 4242), 100);
    flows(&transfers);
    lose_address(edge, HOST);
    until("the outside is unreachable", || !pings(&station.namespace, OUTSIDE));
    wait_out();
    get_address(edge, HOST);
    flows(&transfers);
    assert_eq!(exchange(&client, &server, (OUTSIDE, 4242), 100), seen, "the same session");
    assert_eq!(seen_as(edge, &station), Some(HOST));
    finish(transfers);
}

/// What is begun from now on has the new address, and so has what is no connection. Connections out end, for whoever is outside
/// knows them by the old one; those that came in by it wait for it as long as TCP does.
fn address_changes(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let transfers = load(edge, &station);
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    assert_eq!(*exchange(&client, &server, (OUTSIDE, 4242), 100).ip(), HOST);
    flows(&transfers);
    let [inward, outward] = transfers;
    lose_address(edge, HOST);
    get_address(edge, OTHER_HOST);
    until("new connections have the new address", || seen_as(edge, &station) == Some(OTHER_HOST));
    assert_eq!(*exchange(&client, &server, (OUTSIDE, 4242), 100).ip(), OTHER_HOST);
    until("what would leave from another address ends", || outward.has_ended());
    outward.finish().unwrap_err();
    // Published on every address: on the new one as well, and on the old one no more.
    let inside = listen(&station.namespace, (station.ip(), 80));
    let from_outside = |host, patience| {
        let client = try_connect(&edge.outside.machine, (OUTSIDE, 0), (host, 8080), patience)?;
        Ok::<_, std::io::Error>(Connection::accept(client, &inside).unwrap())
    };
    from_outside(OTHER_HOST, PATIENCE).unwrap().check().unwrap();
    from_outside(HOST, SILENCE).unwrap_err();
    assert!(!inward.has_ended());
    lose_address(edge, OTHER_HOST);
    get_address(edge, HOST);
    flows(std::slice::from_ref(&inward));
    inward.stop();
    inward.finish().unwrap();
}

/// Several tables, and rules that choose among them: by destination, as for a VPN, and by the network's subnet.
fn policy_rules(edge: &mut Edge) {
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    let ways = || [OUTSIDE, OUTSIDE_TOO].map(|address| seen_at(address, edge, &station));
    let follows = |change: &str, ways_then: [Ipv4Addr; 2]| {
        ip(edge.host(), change);
        until(change, || ways() == ways_then.map(Some));
    };
    // A stream that no rule is about.
    let stays = connect(&station.namespace, &listen(&edge.outside.machine, (OUTSIDE_TOO, 0)));
    let stays = Transfer::over(stays.client, stays.server, None).unwrap();
    follows(&format!("route add default via {SECOND_ROUTER} table 100"), [HOST, HOST]);
    follows(&format!("rule add to {OUTSIDE} lookup 100"), [SECOND_HOST, HOST]);
    // A table whose route is to that destination alone, and one that has none and so leaves it to the next.
    follows(&format!("route add {OUTSIDE_TOO} via {SECOND_ROUTER} table 101"), [SECOND_HOST, HOST]);
    follows(&format!("rule del to {OUTSIDE} lookup 100"), [HOST, HOST]);
    flows(std::slice::from_ref(&stays));
    stays.stop();
    stays.finish().unwrap();
    follows("rule add from 10.88.0.0/24 lookup 101", [HOST, SECOND_HOST]);
    // Not only that connections begin.
    for (address, own) in [(OUTSIDE, HOST), (OUTSIDE_TOO, SECOND_HOST)] {
        let connection = connect(&station.namespace, &listen(&edge.outside.machine, (address, 0)));
        connection.both_ways(SHORT).unwrap();
        let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (address, 4242)));
        assert_eq!(*exchange(&client, &server, (address, 4242), 3000).ip(), own);
        assert_eq!(crate::edge::ping(&station.namespace, address), Answer::Reply);
    }
    // A rule about the network's subnet is none about the host.
    let host = connect(edge.host(), &listen(&edge.outside.machine, (OUTSIDE_TOO, 0)));
    assert_eq!(*peer(&host.server).ip(), HOST);
    follows("rule del from 10.88.0.0/24 lookup 101", [HOST, HOST]);
}

fn snat_ip(edge: &mut Edge) {
    let add = || -> Result<(), LabError> {
        let links = Links::open()?;
        Ok(links.add_address(&links.get(UPLINK)?, OTHER_HOST.into(), 24)?)
    };
    edge.host().run(add).unwrap().unwrap();
    let station = edge.daemon.attach("");
    until("the chosen address is used", || seen_as(edge, &station) == Some(OTHER_HOST));
    let (client, server) = (bind(&station.namespace, ANY), bind(&edge.outside.machine, (OUTSIDE, 4242)));
    assert_eq!(*exchange(&client, &server, (OUTSIDE, 4242), 3000).ip(), OTHER_HOST);
    assert_eq!(crate::edge::ping(&station.namespace, OUTSIDE), Answer::Reply);
}

/// The network may leave by the second uplink only, where the host's route to the outside does not lead.
fn only_one(edge: &mut Edge) {
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (SECOND_ROUTER, 0));
    let connection = connect(&station.namespace, &listener);
    assert_eq!(*peer(&connection.server).ip(), SECOND_HOST);
    connection.both_ways(SHORT).unwrap();
    assert_eq!(seen_as(edge, &station), None, "by the other uplink");
}

fn comes_late(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    assert!(!pings(&station.namespace, SECOND_ROUTER));
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let listener = listen(&edge.outside.machine, (SECOND_ROUTER, 0));
    let target = crate::edge::v4(listener.local_addr().unwrap());
    until("the new uplink is used", || {
        try_connect(&station.namespace, ANY, (*target.ip(), target.port()), PATIENCE / 20).is_ok()
    });
}

fn without_ethernet(edge: &mut Edge) {
    let wire = edge.outside.add_tunnel(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (SECOND_ROUTER, 0));
    let connection = connect(&station.namespace, &listener);
    assert_eq!(*peer(&connection.server).ip(), SECOND_HOST);
    connection.both_ways(SHORT).unwrap();
    let mut pinger = Pinger::new(&station.namespace, SECOND_ROUTER).unwrap();
    for len in [56, 1472, 1473, 20_000] {
        assert_eq!(pinger.ping(SECOND_ROUTER, len, PATIENCE).unwrap(), Answer::Reply, "{len}");
    }
    publish(&edge.daemon, &station, "8080:80");
    let inside = listen(&station.namespace, (station.ip(), 80));
    let client = try_connect(&edge.outside.machine, ANY, (SECOND_HOST, 8080), PATIENCE).unwrap();
    let connection = Connection::accept(client, &inside).unwrap();
    assert_eq!(*peer(&connection.server).ip(), SECOND_ROUTER);
    connection.both_ways(SHORT).unwrap();
    // The device vanishes with its wire; the rest of the world stays.
    drop(wire);
    assert_eq!(seen_as(edge, &station), Some(HOST));
}

fn two_at_once(edge: &mut Edge) {
    edge.outside.add_second_uplink(edge.host()).unwrap();
    let station = edge.daemon.attach("");
    for (target, own) in [(OUTSIDE, HOST), (SECOND_ROUTER, SECOND_HOST), (OUTSIDE, HOST)] {
        let connection = connect(&station.namespace, &listen(&edge.outside.machine, (target, 0)));
        assert_eq!(*peer(&connection.server).ip(), own);
        connection.both_ways(SHORT).unwrap();
    }
}

/// A router that takes over says so; nobody waits until the old one's MAC has grown old.
fn next_hop_announced(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let listener = listen(&edge.outside.machine, (OUTSIDE, 0));
    let target = crate::edge::v4(listener.local_addr().unwrap());
    let client = try_connect(&station.namespace, ANY, (*target.ip(), target.port()), PATIENCE).unwrap();
    let connection = Connection::accept(client, &listener).unwrap();
    let router = MacAddr([2, 0, 0, 0, 0, 0x99]);
    let take_over = || -> Result<(), LabError> {
        let links = Links::open()?;
        Ok(links.dress_as(&links.get("eth0")?, "eth0", router, 1500)?)
    };
    edge.outside.machine.run(take_over).unwrap().unwrap();
    let wire = Peek::open(&edge.outside.machine, "eth0").unwrap();
    let announcement = arp(1, (router, ROUTER), (MacAddr::ZERO, ROUTER), *b"takeover");
    wire.send(&ethernet(MacAddr::BROADCAST, router, 0x0806, &announcement)).unwrap();
    connection.check().unwrap();
}

/// The router is replaced by another machine with another MAC.
fn next_hop_moves(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    assert_eq!(seen_as(edge, &station), Some(HOST));
    let move_it = || -> Result<(), LabError> {
        let links = Links::open()?;
        let eth0 = links.get("eth0")?;
        links.set_up(&eth0, false)?;
        links.dress(&eth0, "eth0", MacAddr([2, 0, 0, 0, 0, 0x99]), 1500)?;
        Ok(links.set_up(&eth0, true)?)
    };
    edge.outside.machine.run(move_it).unwrap().unwrap();
    until("the new router is found", || seen_as(edge, &station) == Some(HOST));
}

fn mac(at: &Namespace, interface: &str) -> MacAddr {
    at.run(|| Links::open()?.get(interface)).unwrap().unwrap().mac.expect("an Ethernet interface")
}

/// That pings of the station are answered for longer than a next hop would be asked in vain.
fn stays_reached(station: &Station) {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        assert!(pings(&station.namespace, OUTSIDE));
    }
}

/// A router that answers no ARP, and that the administrator has named the MAC of.
fn next_hop_fixed(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    let machine = &edge.outside.machine;
    let name_host = || {
        let host = mac(edge.host(), UPLINK);
        ip(machine, &format!("neigh replace {HOST} lladdr {host} nud permanent dev eth0"));
    };
    let name_router = || {
        let router = mac(machine, "eth0");
        ip(edge.host(), &format!("neigh replace {ROUTER} lladdr {router} nud permanent dev {UPLINK}"));
    };
    ip(machine, "link set eth0 arp off");
    name_host();
    name_router();
    let ears = Peek::open(machine, "eth0").unwrap();
    assert!(pings(&station.namespace, OUTSIDE) && pings(&station.namespace, OUTSIDE));
    let mut pings_left = 2;
    let is_last = |frame: &OwnedFrame| {
        pings_left -= u8::from(frame.bytes[12..14] == [0x08, 0x00] && frame.bytes[23] == 1);
        pings_left == 0
    };
    let seen = ears.until(PATIENCE, is_last).unwrap();
    assert!(seen.iter().all(|frame| frame.bytes[12..14] != [0x08, 0x06]), "nobody is asked");
    stays_reached(&station);
    // Another one takes its place, and then one that answers for itself.
    for (last, answers) in [(0x51, false), (0x52, true)] {
        ip(machine, &format!("link set eth0 address 02:00:00:00:00:{last:02x}"));
        if answers {
            ip(edge.host(), &format!("neigh del {ROUTER} dev {UPLINK}"));
            ip(machine, "link set eth0 arp on");
        } else {
            name_router();
        }
        name_host();
        until("it is reached", || pings(&station.namespace, OUTSIDE));
    }
}

/// Nobody asks for MACs there: whatever leaves is sent to the interface's own.
fn without_arp(edge: &mut Edge) {
    let station = edge.daemon.attach("");
    ip(&edge.outside.machine, &format!("link set eth0 address {}", mac(edge.host(), UPLINK)));
    ip(&edge.outside.machine, "link set eth0 arp off");
    ip(edge.host(), &format!("link set {UPLINK} arp off"));
    until("the endpoint reaches the outside", || pings(&station.namespace, OUTSIDE));
    assert!(pings(edge.host(), OUTSIDE), "as the host does");
}
