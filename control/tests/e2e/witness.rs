//! That nothing goes unnoticed: the filter under which every daemon runs denies netfilter, and whoever looks at a namespace before
//! and after sees what would have been left there.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};

use pontoon::link::Links;
use pontoon_tools::lab::Namespace;
use pontoon_tools::netfilter;
use pontoon_tools::nftables::{self, Census, Object};
use pontoon_tools::outside::{UPLINK, WIRES};
use pontoon_tools::witness::{Traces, Witness};
use socket2::SockRef;

use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("witness/netfilter-is-denied", netfilter_is_denied),
        test("witness/notices-nf-tables", notices_nf_tables),
        test("witness/notices-iptables", notices_iptables),
        test("witness/notices-bridges-and-veths", notices_bridges_and_veths),
        test("witness/notices-sysctls", notices_sysctls),
    ]
}

fn netfilter_is_denied() {
    let attempts = || {
        // Options of the IP layer itself stay.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        SockRef::from(&socket).set_ttl_v4(9).unwrap();
        [nftables::census().map(drop), nftables::add(Object::Table), netfilter::iptables()]
    };
    let host = Namespace::new("e2e-host").unwrap();
    let answers = netfilter::run_without(&host, attempts).unwrap();
    let errors = answers.map(|answer| answer.unwrap_err().raw_os_error());
    assert_eq!(errors, [Some(1); 3], "nf_tables, iptables: EPERM");
    // Who cannot look has not seen that there is nothing.
    netfilter::run_without(&host, || Traces::of(host.netns(), &[])).unwrap().unwrap_err();
}

/// What is different after `change` was made on the host.
fn differences(host: &Namespace, change: impl FnOnce() + Send) -> Vec<String> {
    let before = Witness::of(host.netns(), &WIRES).unwrap();
    host.run(change).unwrap();
    Witness::of(host.netns(), &WIRES).unwrap().differences(&before)
}

fn notices_nf_tables() {
    let host = Namespace::new("e2e-host").unwrap();
    assert_eq!(differences(&host, || {}), Vec::<String>::new());
    let Some(before) = host.run(nftables::census).unwrap().unwrap() else {
        // A kernel without it: there is nothing that could be added, and that is an error.
        host.run(|| nftables::add(Object::Table)).unwrap().unwrap_err();
        return;
    };
    assert_eq!((before.tables, before.chains, before.rules), (0, 0, 0));
    let mut seen = Vec::new();
    for object in [Object::Table, Object::Chain, Object::Rule, Object::Rule] {
        let differences = differences(&host, || nftables::add(object).unwrap());
        assert!(
            differences.len() == 1 && differences[0].contains("nf_tables"),
            "{object:?}: {differences:?}"
        );
        let Census { tables, chains, rules, .. } = host.run(nftables::census).unwrap().unwrap().unwrap();
        seen.push((tables, chains, rules));
    }
    assert_eq!(seen, [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2)]);
    // Not even what is gone again: removed with its table by a program that cleans up after itself.
    let generation = |host: &Namespace| host.run(nftables::census).unwrap().unwrap().unwrap().generation;
    let added = generation(&host);
    host.run(|| nftables::remove_table().unwrap()).unwrap();
    let after = host.run(nftables::census).unwrap().unwrap().unwrap();
    assert_eq!(Census { generation: before.generation, ..after }, before);
    assert_ne!(after.generation, added);
}

/// The old kind: a namespace's tables are there from their first use on.
fn notices_iptables() {
    let host = Namespace::new("e2e-host").unwrap();
    let mut used = Ok(());
    let differences = differences(&host, || used = netfilter::iptables());
    match used {
        Ok(()) => assert!(differences.iter().any(|it| it.contains("ip/filter")), "{differences:?}"),
        // A kernel without it.
        Err(error) => assert!(differences.is_empty(), "{error}, and yet {differences:?}"),
    }
}

fn notices_bridges_and_veths() {
    let (host, other) = (Namespace::new("e2e-host").unwrap(), Namespace::new("e2e").unwrap());
    let bridge = || Links::open().unwrap().create_bridge("br0").unwrap();
    let far = other.netns();
    let veth = |name| move || Links::open().unwrap().create_veth(name, name, far).unwrap();
    for (name, differences) in
        [("br0", differences(&host, bridge)), ("veth0", differences(&host, veth("veth0")))]
    {
        assert!(differences.len() == 1 && differences[0].contains(name), "{differences:?}");
    }
    // The wires of the lab itself are no news.
    assert_eq!(differences(&host, veth(UPLINK)), Vec::<String>::new());
}

fn notices_sysctls() {
    let host = Namespace::new("e2e-host").unwrap();
    let links = || Links::open().unwrap();
    let other = Namespace::new("e2e").unwrap();
    host.run(|| links().create_veth(UPLINK, "eth0", other.netns()).unwrap()).unwrap();
    let of_uplink = format!("/proc/sys/net/ipv4/conf/{UPLINK}/proxy_arp");
    let of_neighbours = format!("/proc/sys/net/ipv4/neigh/{UPLINK}/gc_stale_time");
    for path in ["/proc/sys/net/ipv4/ip_forward", &of_uplink, &of_neighbours] {
        let change = || {
            let before: u32 = fs::read_to_string(path).unwrap().trim().parse().unwrap();
            fs::write(path, if before == 0 { "1" } else { "0" }).unwrap();
        };
        let differences = differences(&host, change);
        assert!(differences.iter().any(|it| it.contains(path)), "{path}: {differences:?}");
    }
    // Those of an interface come and go with it.
    assert_eq!(
        differences(&host, || links().delete(&links().get(UPLINK).unwrap()).unwrap()),
        Vec::<String>::new()
    );
}
