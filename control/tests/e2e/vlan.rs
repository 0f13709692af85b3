//! VLAN-tagged traffic, offloads on, through every kind of port.

use std::net::Ipv4Addr;

use pontoon_tools::lab::Namespace;
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use pontoon_tools::vlan::Vlan;
use pontoon_tools::{traffic, transfer};

use crate::daemon::{self, Daemon};
use crate::{Test, full, test};

pub(crate) fn tests() -> Vec<Test> {
    let pairs = [("tap", "tap"), ("tap", "veth"), ("veth", "tap"), ("veth", "veth")];
    pairs.map(|(a, b)| test(format!("vlan/{a}-{b}"), move || tagged(a, b))).into()
}

fn tagged(one: &str, other: &str) {
    let daemon = Daemon::start();
    daemon.network("");
    let a = daemon.attach(&format!("--kind {one}"));
    let b = daemon.attach(&format!("--kind {other}"));
    for station in [&a, &b] {
        // The addresses in the VLANs are not the endpoints' own.
        daemon.ok(&format!("port set {} guard off", station.port()));
    }
    // One tag, and one in another (the outer one as providers have it).
    let single = ([Ipv4Addr::new(10, 7, 0, 1), Ipv4Addr::new(10, 7, 0, 2)], &[(0x8100, 7)][..]);
    let double =
        ([Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 2)], &[(0x88a8, 100), (0x8100, 8)][..]);
    let mut vlans = Vec::new();
    for (number, station) in [&a, &b].into_iter().enumerate() {
        for (name, (addresses, tags)) in [("vlan7", single), ("vlan100.8", double)] {
            vlans.push(Vlan::new(&station.namespace, "eth0", name, tags, addresses[number]).unwrap());
        }
    }
    let (single, double) = (single.0, double.0);
    let dropped = |station| daemon.counters(station).drops;
    for addresses in [single, double] {
        exchange(&a.namespace, &b.namespace, addresses);
        exchange(&b.namespace, &a.namespace, [addresses[1], addresses[0]]);
    }
    for station in [&a, &b] {
        let drops = dropped(station);
        assert!(drops.keys().all(|reason| reason == "no-egress"), "{}: {drops:?}", station.port());
    }
    // It is tagged frames that passed: whoever listens on eth0 itself sees the tags, offloads beside them.
    let peek = Peek::open(&b.namespace, "eth0").unwrap();
    let before = daemon.counters(&a).rx;
    transfer::tcp(&a.namespace, &b.namespace, single[1], 4 << 20).unwrap();
    let after = daemon.counters(&a).rx;
    assert!((after.bytes - before.bytes) / (after.frames - before.frames) > 5000, "no super-frames passed");
    let is_data = |bytes: &[u8]| bytes.len() > 2000 && bytes[12..16] == [0x81, 0, 0, 7];
    peek.until(daemon::PATIENCE, |frame| is_data(&frame.bytes)).unwrap();
}

fn exchange(from: &Namespace, to: &Namespace, [_, address]: [Ipv4Addr; 2]) {
    let mut pinger = Pinger::new(from, address).unwrap();
    for len in [0, 56, 1472, 3000] {
        assert_eq!(pinger.ping(address, len, PATIENCE).unwrap(), Answer::Reply, "{address}, {len} bytes");
    }
    traffic::udp_each(from, to, address, [1, 100, 1472, 5000]).unwrap();
    traffic::udp_super_frame(from, to, address, 1400, 20).unwrap();
    transfer::tcp(from, to, address, if full() { 100 << 20 } else { 4 << 20 })
        .unwrap_or_else(|e| panic!("{address} {e}"));
}
