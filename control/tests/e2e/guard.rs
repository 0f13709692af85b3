//! The spoof guard against a sandbox that sends what an honest kernel would not.

use std::net::{Ipv4Addr, Ipv6Addr};

use pontoon_dataplane::MacAddr;
use pontoon_tools::peek::Peek;

use crate::daemon::{Daemon, GATEWAY, PATIENCE, Station};
use crate::frames::{arp, ethernet, has, icmpv6, mark, plain, udp};
use crate::{Test, test};

const STRANGER: MacAddr = MacAddr([0x02, 0x42, 0, 0, 0, 0x99]);
const STRANGERS_IP: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 99);

pub(crate) fn tests() -> Vec<Test> {
    ["tap", "veth"].map(|kind| test(format!("guard/{kind}"), move || nothing_false_gets_out(kind))).into()
}

/// Something that an endpoint must not send.
struct Lie {
    what: &'static str,
    reason: &'static str,
    /// Whether switching the guard off lets it pass.
    optional: bool,
    frame: Vec<u8>,
}

fn lies(liar: &Station, victim: &Station) -> Vec<Lie> {
    let (own, own_ip) = (liar.mac().0, liar.ip());
    let all = MacAddr::BROADCAST;
    let gateway = MacAddr::from_ipv4(GATEWAY);
    let stranger6 = Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 0x99);
    let own6 = link_local(own);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut number = 0;
    let mut lie = |what, reason, optional, frame: &dyn Fn([u8; 8]) -> Vec<u8>| {
        number += 1;
        Lie { what, reason, optional, frame: frame(mark(number)) }
    };
    vec![
        lie("a foreign MAC", "guard-mac", true, &|mark| plain(all, STRANGER, mark)),
        lie("the gateway's MAC", "gateway-mac-claimed", false, &|mark| plain(all, gateway, mark)),
        lie("an ARP reply for the gateway", "gateway-address-claimed", false, &|mark| {
            ethernet(all, own, 0x0806, &arp(2, (own, GATEWAY), (victim.mac().0, victim.ip()), mark))
        }),
        lie("an ARP reply for a stranger", "guard-arp", true, &|mark| {
            ethernet(all, own, 0x0806, &arp(2, (own, STRANGERS_IP), (victim.mac().0, victim.ip()), mark))
        }),
        lie("an ARP reply with a foreign MAC inside", "guard-arp", true, &|mark| {
            ethernet(all, own, 0x0806, &arp(2, (STRANGER, own_ip), (victim.mac().0, victim.ip()), mark))
        }),
        lie("a foreign IPv4 source", "guard-ipv4", true, &|mark| {
            ethernet(victim.mac().0, own, 0x0800, &udp((STRANGERS_IP, 9), (victim.ip(), 9), &mark, false))
        }),
        lie("a foreign IPv6 source", "guard-ipv6", true, &|mark| {
            let echo = [&[128, 0, 0, 0, 0, 1, 0, 1][..], &mark].concat();
            ethernet(victim.mac().0, own, 0x86dd, &icmpv6(stranger6, link_local(victim.mac().0), &echo))
        }),
        lie("an advertisement for a stranger", "guard-nd", true, &|mark| {
            let head = [136, 0, 0, 0, 0x20, 0, 0, 0];
            // The unknown option at the end carries the mark.
            let body = [&head[..], &stranger6.octets(), &[253, 2, 0, 0, 0, 0, 0, 0], &mark].concat();
            ethernet(all, own, 0x86dd, &icmpv6(own6, all_nodes, &body))
        }),
        lie("a router's advertisement", "guard-router", true, &|mark| {
            let head = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
            let body = [&head[..], &[253, 2, 0, 0, 0, 0, 0, 0], &mark].concat();
            ethernet(all, own, 0x86dd, &icmpv6(own6, all_nodes, &body))
        }),
    ]
}

/// The link-local address made from a MAC (RFC 4291, appendix A).
fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Sends all lies and then something honest; which of them the victim saw before that.
fn told(liar: &Station, victim: &Station, lies: &[Lie]) -> Vec<bool> {
    let ears = Peek::open(&victim.namespace, "eth0").unwrap();
    let mouth = Peek::open(&liar.namespace, "eth0").unwrap();
    for lie in lies {
        mouth.send(&lie.frame).unwrap();
    }
    let honest = mark(0);
    mouth.send(&plain(MacAddr::BROADCAST, liar.mac().0, honest)).unwrap();
    let seen = ears.until(PATIENCE, |frame| has(&frame.bytes, honest)).unwrap();
    lies.iter().map(|lie| seen.iter().any(|frame| frame.bytes == lie.frame)).collect()
}

fn nothing_false_gets_out(kind: &str) {
    let daemon = Daemon::start();
    daemon.network("");
    let liar = daemon.attach(&format!("--kind {kind}"));
    let victim = daemon.attach(&format!("--kind {kind}"));
    let lies = lies(&liar, &victim);

    let before = daemon.counters(&liar).drops;
    let seen = told(&liar, &victim, &lies);
    for (lie, seen) in lies.iter().zip(seen) {
        assert!(!seen, "the victim saw {}", lie.what);
    }
    let after = daemon.counters(&liar).drops;
    for lie in &lies {
        let frames = |drops: &std::collections::BTreeMap<_, pontoon::api::types::Traffic>| {
            drops.get(lie.reason).map_or(0, |traffic| traffic.frames)
        };
        let expected = lies.iter().filter(|other| other.reason == lie.reason).count() as u64;
        assert_eq!(frames(&after) - frames(&before), expected, "{}: {}", lie.what, lie.reason);
    }

    daemon.ok(&format!("port set {} guard off", liar.port()));
    let seen = told(&liar, &victim, &lies);
    for (lie, seen) in lies.iter().zip(seen) {
        assert_eq!(seen, lie.optional, "{} without the guard", lie.what);
    }
    daemon.ok(&format!("port set {} guard on", liar.port()));
    assert!(told(&liar, &victim, &lies).iter().all(|seen| !seen), "the guard is on again");
}
