//! The interface by which the host sits on a network: what it looks like, what becomes of it when the daemon or somebody else
//! has to do with it, and which ones are refused.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use pontoon::link::{Link, Links};
use pontoon_dataplane::MacAddr;
use pontoon_tools::lab::Namespace;
use rustix::process::Signal;

use crate::daemon::{Daemon, GATEWAY};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("host-port/looks", looks),
        test("host-port/no-sysctl", no_sysctl),
        test("host-port/renamed", renamed),
        test("host-port/deleted-by-somebody", deleted_by_somebody),
        test("host-port/name-taken", name_taken),
        test("host-port/subnet-taken", subnet_taken),
    ]
}

fn links(host: &Namespace) -> Vec<Link> {
    host.run(|| Links::open()?.all()).unwrap().unwrap()
}

fn find(host: &Namespace, name: &str) -> Link {
    let links = links(host);
    let found = links.iter().find(|link| link.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}: {links:?}")).clone()
}

fn addresses(host: &Namespace, link: &Link) -> Vec<std::net::IpAddr> {
    host.run(|| Links::open()?.addresses(link)).unwrap().unwrap()
}

fn looks() {
    let daemon = Daemon::start();
    daemon.network("--mtu 1400");
    let link = find(&daemon.host, "ptn-blue");
    assert_eq!(link.mac, Some(MacAddr::from_ipv4(GATEWAY)));
    assert_eq!((link.mtu, link.up, link.kind.as_str()), (1400, true, "tun"));
    // And no IPv6 address.
    assert_eq!(addresses(&daemon.host, &link), [std::net::IpAddr::from(GATEWAY)]);
    let shown = daemon.ok("network show blue");
    assert!(shown.contains("ptn-blue"), "{shown}");
    daemon.ok("network rm blue");
    assert!(links(&daemon.host).iter().all(|link| link.name != "ptn-blue"));
}

/// Every sysctl of the calling thread's network namespace that is not about one interface.
fn sysctls() -> BTreeMap<String, String> {
    fn read(path: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                // Directories of interfaces come and go with them.
                if !name.contains("ptn-") {
                    read(&path, all);
                }
            } else if let Ok(value) = fs::read_to_string(&path) {
                all.insert(name, value);
            }
        }
    }
    let mut all = BTreeMap::new();
    read(Path::new("/proc/sys/net"), &mut all);
    // Counts of what is there, no settings.
    all.retain(|name, _| !name.contains("nf_conntrack_count"));
    all
}

fn no_sysctl() {
    let daemon = Daemon::start();
    let before = daemon.host.run(sysctls).unwrap();
    assert!(before.len() > 100, "{before:?}");
    daemon.network("");
    daemon.attach("");
    assert_eq!(daemon.host.run(sysctls).unwrap(), before);
    // What an interface gets by itself it has too.
    let of = |name: &str| {
        let read = |file| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/{file}")).unwrap();
        daemon
            .host
            .run(|| ["forwarding", "rp_filter", "arp_ignore", "proxy_arp", "accept_local"].map(read))
            .unwrap()
    };
    assert_eq!(of("ptn-blue"), of("default"));
}

fn renamed() {
    let mut daemon = Daemon::start();
    daemon.network("");
    let before = find(&daemon.host, "ptn-blue");
    let rename = || {
        let links = Links::open()?;
        links.set_up(&before, false)?;
        links.rename(&before, "mine")?;
        links.set_up(&before, true)
    };
    daemon.host.run(rename).unwrap().unwrap();
    daemon.end(Signal::KILL);
    daemon.start_again();
    let after = find(&daemon.host, "mine");
    assert_eq!((after.index, after.up), (before.index, true), "the same device");
    assert_eq!(links(&daemon.host).len(), 2, "and no other beside it");
    daemon.ok("network rm blue");
    assert_eq!(links(&daemon.host).len(), 1);
}

/// While the daemon is away; it makes another one.
fn deleted_by_somebody() {
    let mut daemon = Daemon::start();
    daemon.network("");
    daemon.end(Signal::KILL);
    let delete = || {
        let links = Links::open()?;
        links.delete(&links.get("ptn-blue")?)
    };
    daemon.host.run(delete).unwrap().unwrap();
    daemon.start_again();
    let link = find(&daemon.host, "ptn-blue");
    assert!(link.up);
    assert_eq!(addresses(&daemon.host, &link), [std::net::IpAddr::from(GATEWAY)]);
}

fn name_taken() {
    let daemon = Daemon::start();
    let other = Namespace::new("e2e").unwrap();
    daemon.host.run(|| Links::open()?.create_veth("ptn-blue", "eth0", other.netns())).unwrap().unwrap();
    daemon.network("");
    let link = find(&daemon.host, "ptn-blue-2");
    assert_eq!(addresses(&daemon.host, &link), [std::net::IpAddr::from(GATEWAY)]);
    daemon.ok("network rm blue");
    assert_eq!(find(&daemon.host, "ptn-blue").kind, "veth", "what was there stays");
}

fn subnet_taken() {
    let daemon = Daemon::start();
    let other = Namespace::new("e2e").unwrap();
    let make = || {
        let links = Links::open()?;
        links.create_veth("wan0", "eth0", other.netns())?;
        links.add_address(&links.get("wan0")?, Ipv4Addr::new(10, 88, 0, 1).into(), 24)
    };
    daemon.host.run(make).unwrap().unwrap();
    let before = links(&daemon.host);
    for (subnet, said) in [
        ("10.88.0.0/24", "the host has the address 10.88.0.1 on wan0 already"),
        ("10.88.0.0/16", "the host has the address 10.88.0.1 on wan0 already"),
        ("10.88.0.128/25", "overlaps 10.88.0.1/24, which the host has on wan0"),
    ] {
        let refused = daemon.ask(&["network", "create", "blue", "--subnet", subnet]);
        assert_ne!(refused.code, Some(0), "{subnet}");
        let refused = refused.stderr;
        assert!(refused.contains(said), "{subnet}: {refused}");
        assert_eq!(links(&daemon.host), before, "nothing is left behind");
    }
    daemon.ok("network create blue --subnet 10.89.0.0/24");
}
