//! Existing interfaces: put on a network, and given back exactly as they were.

use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_tools::lab::Namespace;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY, until};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("interfaces/up", || given_back(true)),
        test("interfaces/down", || given_back(false)),
        test("interfaces/vanishes", vanishes),
        test("interfaces/restart", restart),
    ]
}

/// The station behind the interface.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 50);

/// Everything about an interface that a user could see.
#[derive(Debug, PartialEq)]
struct Look {
    flags: LinkFlags,
    promiscuity: u32,
    mtu: u32,
    mac: Vec<u8>,
    addresses: Vec<std::net::IpAddr>,
    ipv6_off: String,
}

fn look(host: &Namespace, name: &str) -> Look {
    let look = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let (connection, handle, _) = {
            let _entered = runtime.enter();
            rtnetlink::new_connection().unwrap()
        };
        runtime.spawn(connection);
        let mut found = handle.link().get().match_name(name.to_owned()).execute();
        let message = runtime.block_on(found.try_next()).unwrap().expect("the interface is there");
        let links = Links::open().unwrap();
        let mut look = Look {
            flags: message.header.flags,
            promiscuity: 0,
            mtu: 0,
            mac: Vec::new(),
            addresses: links.addresses(&links.get(name).unwrap()).unwrap(),
            ipv6_off: std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"))
                .unwrap_or_default(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Promiscuity(count) => look.promiscuity = count,
                LinkAttribute::Mtu(mtu) => look.mtu = mtu,
                LinkAttribute::Address(mac) => look.mac = mac,
                _ => {}
            }
        }
        look
    };
    host.run(look).unwrap()
}

/// An interface `up0` of the host, whose other end is the eth0 of a new namespace.
pub(crate) fn cable(daemon: &Daemon, up: bool) -> Namespace {
    let far = Namespace::new("e2e-far").unwrap();
    let make = || {
        let links = Links::open()?;
        links.create_veth("up0", "eth0", far.netns())?;
        let link = links.get("up0")?;
        links.add_address(&link, Ipv4Addr::new(192, 0, 2, 1).into(), 24)?;
        links.set_mtu(&link, 1600)?;
        links.set_up(&link, up)
    };
    daemon.host.run(make).unwrap().unwrap();
    let make = || {
        let links = Links::open()?;
        let link = links.get("eth0")?;
        links.dress(&link, "eth0", MacAddr::from_ipv4(FAR), 1500)?;
        links.add_address(&link, FAR.into(), 24)?;
        links.set_up(&link, true)
    };
    far.run(make).unwrap().unwrap();
    far
}

/// Waits for the kernel to be done with what it does by itself when a link comes up: an IPv6 address.
fn settled(daemon: &Daemon, up: bool) -> Look {
    until("the interface has settled", || {
        let look = look(&daemon.host, "up0");
        // Down interfaces have no link-local address.
        !up || look.addresses.len() > 1 || look.ipv6_off.is_empty()
    });
    look(&daemon.host, "up0")
}

fn answers(from: &Namespace, to: Ipv4Addr) -> bool {
    Pinger::new(from, to).unwrap().ping(to, 2000, PATIENCE).unwrap() == Answer::Reply
}

fn given_back(up: bool) {
    let daemon = Daemon::start();
    daemon.network("");
    let station = daemon.attach("");
    let far = cable(&daemon, up);
    let before = settled(&daemon, up);

    daemon.ok("port add blue --interface up0");
    assert!(answers(&station.namespace, FAR));
    assert!(answers(&far, station.ip()));
    assert!(answers(&far, GATEWAY));
    assert!(look(&daemon.host, "up0").promiscuity > before.promiscuity);
    let port = daemon.ports().into_iter().find(|port| port.port == "blue/up0").unwrap();
    assert_eq!((port.kind.as_str(), port.sandbox, port.flags.guard), ("packet", None, false));
    assert!(
        daemon.fdb().iter().any(|entry| entry.mac.0 == MacAddr::from_ipv4(FAR) && entry.port == "blue/up0")
    );

    daemon.ok("port rm blue/up0");
    until("the interface is as before", || look(&daemon.host, "up0") == before);
    assert!(daemon.fdb().iter().all(|entry| entry.port != "blue/up0"));
    assert_eq!(daemon.ports().len(), 1);

    // The other spelling, and removal with the network.
    daemon.ok("port add blue --interface up0");
    daemon.ok("port rm blue --interface up0");
    daemon.ok("port add blue --interface up0");
    daemon.ok("network rm blue --force");
    until("the interface is as before", || look(&daemon.host, "up0") == before);
}

fn vanishes() {
    let daemon = Daemon::start();
    daemon.network("");
    let station = daemon.attach("");
    let far = cable(&daemon, true);
    daemon.ok("port add blue --interface up0");
    assert!(answers(&far, station.ip()));
    // The cable's other end goes, and this one with it.
    drop(far);
    until("the port is gone", || daemon.ports().len() == 1);
    assert!(daemon.fdb().iter().all(|entry| entry.port != "blue/up0"));
    assert!(answers(&station.namespace, GATEWAY));
}

fn restart() {
    for signal in [Signal::KILL, Signal::TERM] {
        let mut daemon = Daemon::start();
        daemon.network("");
        let station = daemon.attach("");
        let far = cable(&daemon, false);
        let before = settled(&daemon, false);
        daemon.ok("port add blue --interface up0");
        daemon.ok("port set blue/up0 flood off");
        daemon.end(signal);
        daemon.start_again();
        assert!(answers(&far, station.ip()), "after {signal:?}");
        let port = daemon.ports().into_iter().find(|port| port.port == "blue/up0").unwrap();
        assert!(!port.flags.flood);
        daemon.ok("port rm blue/up0");
        until("the interface is as before", || look(&daemon.host, "up0") == before);
    }
}
