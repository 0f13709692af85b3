//! Traffic of every kind between endpoints of every kind.

use std::collections::BTreeMap;

use pontoon::api::types::Traffic;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use pontoon_tools::{traffic, transfer};

use crate::daemon::{Daemon, GATEWAY, Station};
use crate::{Test, full, test};

/// Drops that belong to stations coming up: their first multicasts find nobody there.
const EXPECTED_DROPS: [&str; 2] = ["no-egress", "port-down"];

pub(crate) fn tests() -> Vec<Test> {
    let pairs = [("tap", "tap"), ("tap", "veth"), ("veth", "veth")];
    let mut tests = Vec::new();
    for (one, other) in pairs {
        for mtu in [1500u16, 9000] {
            tests.push(test(format!("traffic/{one}-{other}/mtu-{mtu}"), move || everything(one, other, mtu)));
        }
    }
    tests
}

fn everything(one: &str, other: &str, mtu: u16) {
    let daemon = Daemon::start();
    daemon.network(&format!("--mtu {mtu}"));
    let a = daemon.attach(&format!("--kind {one}"));
    let b = daemon.attach(&format!("--kind {other}"));
    // Somebody else on the network, who must not matter.
    let c = daemon.attach("");
    pings(&[&a, &b, &c], mtu);
    datagrams(&a, &b, mtu);
    streams(&daemon, &a, &b, mtu);
    unexpected_drops(&daemon);
}

fn pings(stations: &[&Station], mtu: u16) {
    for from in stations {
        let targets = stations.iter().map(|to| to.ip()).chain([GATEWAY]);
        for to in targets.filter(|to| *to != from.ip()) {
            let mut pinger = Pinger::new(&from.namespace, to).unwrap();
            for len in [0, 56, usize::from(mtu) - 28, usize::from(mtu) - 27, 20_000] {
                let answer = pinger.ping(to, len, PATIENCE).unwrap();
                assert_eq!(answer, Answer::Reply, "{} -> {to} with {len} bytes", from.ip());
            }
        }
    }
}

/// Every size up to the MTU (with jumbo frames and few tests: many), and larger ones, which go in fragments.
fn datagrams(a: &Station, b: &Station, mtu: u16) {
    let step = if mtu > 1500 && !full() { 61 } else { 1 };
    let whole = usize::from(mtu) - 28;
    let larger = [whole + 1, 2 * whole, 20_000, 65_507];
    let sizes = || (1..=whole).step_by(step).chain([whole]).chain(larger);
    traffic::udp_each(&a.namespace, &b.namespace, b.ip(), sizes()).unwrap();
    traffic::udp_each(&b.namespace, &a.namespace, a.ip(), sizes()).unwrap();
    traffic::udp_super_frame(&a.namespace, &b.namespace, b.ip(), mtu - 100, 6).unwrap();
    traffic::udp_super_frame(&b.namespace, &a.namespace, a.ip(), mtu - 100, 6).unwrap();
}

fn streams(daemon: &Daemon, a: &Station, b: &Station, mtu: u16) {
    for bytes in [1, 1 << 20] {
        transfer::tcp(&a.namespace, &b.namespace, b.ip(), bytes).unwrap();
        transfer::tcp(&b.namespace, &a.namespace, a.ip(), bytes).unwrap();
    }
    let long = 100_000_000;
    for (from, to) in [(a, b), (b, a)] {
        let before = daemon.counters(from).rx;
        transfer::tcp(&from.namespace, &to.namespace, to.ip(), long).unwrap();
        let after = daemon.counters(from).rx;
        let mean = mean_frame(before, after);
        // Without super-frames the mean could not pass the MTU.
        assert!(mean > 10_000.max(u64::from(mtu) + 14), "frames of {mean} bytes in the mean");
    }
}

fn mean_frame(before: Traffic, after: Traffic) -> u64 {
    (after.bytes - before.bytes) / (after.frames - before.frames)
}

fn unexpected_drops(daemon: &Daemon) {
    let stats: pontoon::api::types::Stats = daemon.json("stats");
    let all = stats.ports.iter().flat_map(|port| port.drops.iter().map(|drop| (&port.port, drop)));
    let unexpected: BTreeMap<_, _> =
        all.filter(|(_, (reason, _))| !EXPECTED_DROPS.contains(&reason.as_str())).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
