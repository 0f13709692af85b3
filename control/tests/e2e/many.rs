//! Many endpoints on one network.

use std::collections::BTreeSet;

use pontoon::api::types::Network;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};

use crate::daemon::{Daemon, GATEWAY};
use crate::survive::links;
use crate::{Test, full, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![test("many-endpoints", many)]
}

fn many() {
    let count = if full() { 200 } else { 40 };
    let daemon = Daemon::start();
    daemon.network("");
    let kind = |number| if number % 8 == 7 { "--kind veth" } else { "" };
    let stations: Vec<_> = (0..count).map(|number| daemon.attach(kind(number))).collect();
    let addresses: BTreeSet<_> = stations.iter().map(|station| station.ip()).collect();
    assert_eq!(addresses.len(), count);

    for (from, to) in stations.iter().zip(stations.iter().cycle().skip(1)) {
        let mut pinger = Pinger::new(&from.namespace, GATEWAY).unwrap();
        for to in [to.ip(), GATEWAY] {
            assert_eq!(pinger.ping(to, 1000, PATIENCE).unwrap(), Answer::Reply, "{} -> {to}", from.port());
        }
    }
    let known: BTreeSet<_> = daemon.fdb().into_iter().map(|entry| (entry.mac, entry.port)).collect();
    let expected: BTreeSet<_> = stations.iter().map(|it| (it.mac(), it.port())).collect();
    assert_eq!(known, expected);
    assert_eq!(daemon.ports().len(), count);

    for station in &stations {
        daemon.ok(&format!("detach blue {}", station.endpoint.name));
    }
    // The network is there still, and the host sits on it.
    assert_eq!(links(&daemon), ["lo", "ptn-blue"]);
    for station in &stations {
        let left = || std::fs::read_to_string("/proc/thread-self/net/dev");
        let left = station.namespace.run(left).unwrap().unwrap();
        assert!(!left.contains("eth0"), "{}: {left}", station.port());
    }
    assert!(daemon.fdb().is_empty());
    let network: Network = daemon.json("network show blue");
    assert_eq!(network.endpoints, []);
    // All addresses rest, and are there for those who ask.
    assert!(!addresses.contains(&daemon.attach("").ip()));
    assert_eq!(daemon.attach(&format!("--ip {}", stations[0].ip())).ip(), stations[0].ip());
    daemon.ok("network rm blue --force");
    assert_eq!(daemon.ok("network ls -q"), "");
}
