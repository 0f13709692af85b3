use core::time::Duration;
use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::*;

const START: Timestamp = Timestamp::from_secs(1000);
const REUSE: Duration = Duration::from_secs(120);

fn own(host: u8, port: u16) -> Transport {
    (Ipv4Addr::new(10, 0, 0, host).to_ipv6_mapped(), port)
}

/// UDP ports of the pool from 1000 on.
fn pool(ports: u16) -> Ports {
    let mut pool = Ports::new(3);
    pool.hold(Protocol::Udp, &[(1000, 999 + ports)]);
    pool
}

fn pick(
    ports: &mut Ports,
    protocol: Protocol,
    own: Transport,
    lease: Lease,
    now: Timestamp,
    is_free: impl Fn(u16) -> bool,
) -> Option<u16> {
    let claim = |port| if is_free(port) { Claim::Free } else { Claim::Refused };
    ports.choose(protocol, own, lease, now, 1, claim)
}

/// A port for a new flow from port 7 of host 1 to a remote that no flow speaks to.
fn choose(ports: &mut Ports, now: Timestamp) -> Option<u16> {
    pick(ports, Protocol::Udp, own(1, 7), Lease::Shared, now, |_| true)
}

fn take(ports: &mut Ports, port: u16) {
    ports.take(Protocol::Udp, port, Lease::Shared);
}

fn give_back(ports: &mut Ports, port: u16, now: Timestamp) {
    ports.give_back(Protocol::Udp, port, own(1, 7).0, now, &Timeouts::default());
}

#[test]
fn only_held_ports_are_given_out() {
    let mut ports = Ports::new(3);
    assert_eq!(choose(&mut ports, START), None);
    assert!(!ports.is_held(Protocol::Udp, 7));
    let mut ports = pool(5);
    for port in 0..=u16::MAX {
        assert_eq!(ports.is_held(Protocol::Udp, port), (1000..1005).contains(&port));
        assert!(!ports.is_held(Protocol::Tcp, port));
    }
    let chosen = choose(&mut ports, START).expect("five are held");
    assert!(ports.is_held(Protocol::Udp, chosen));
    assert_eq!(pick(&mut ports, Protocol::Tcp, own(1, 7), Lease::Shared, START, |_| true), None);
}

#[test]
fn a_flow_keeps_its_own_port_where_it_can() {
    let mut ports = pool(50);
    let mut wish = |is_free: fn(u16) -> bool| {
        pick(&mut ports, Protocol::Udp, own(1, 1030), Lease::Shared, START, is_free)
    };
    assert_eq!(wish(|_| true), Some(1030));
    let other = wish(|port| port != 1030).expect("49 others");
    assert_ne!(other, 1030);
    take(&mut ports, 1030);
    let shared = pick(&mut ports, Protocol::Udp, own(2, 1030), Lease::Shared, START, |_| true);
    assert_eq!(shared, Some(1030), "in use by a flow to another remote");
    let mapped = pick(&mut ports, Protocol::Udp, own(2, 1030), Lease::Mapped, START, |_| true);
    assert!(mapped.is_some_and(|port| port != 1030), "{mapped:?}");
}

#[test]
fn a_resting_port_goes_back_to_who_had_it_and_to_nobody_else() {
    let mut ports = pool(50);
    take(&mut ports, 1030);
    give_back(&mut ports, 1030, START);
    let now = START + Duration::from_secs(10);
    let wish = |ports: &mut Ports, host, now| {
        pick(ports, Protocol::Udp, own(host, 1030), Lease::Shared, now, |_| true)
    };
    assert_eq!(wish(&mut ports, 1, now), Some(1030));
    assert_ne!(wish(&mut ports, 2, now), Some(1030));
    assert_eq!(wish(&mut ports, 2, START + REUSE + Duration::from_millis(200)), Some(1030));
}

#[test]
fn a_port_rests_for_two_minutes_where_others_are_free() {
    let mut ports = pool(3);
    let mut now = START;
    for port in 1000..1003 {
        take(&mut ports, port);
    }
    // One each second; then, for as long as one rests, those in use serve other remotes.
    for port in [1001, 1000, 1002] {
        give_back(&mut ports, port, now);
        now = now + Duration::from_secs(1);
    }
    take(&mut ports, 1002);
    assert_eq!(choose(&mut ports, now), Some(1002), "in use, and free for this remote");
    let only_unused = |ports: &mut Ports, now| {
        pick(ports, Protocol::Udp, own(1, 7), Lease::Shared, now, |port| port != 1002)
    };
    assert_eq!(only_unused(&mut ports, now), Some(1001), "nothing else is left: the one that rests longest");
    assert_eq!(choose(&mut ports, START + REUSE + Duration::from_millis(200)), Some(1001), "it has rested");
}

#[test]
fn ports_come_back_in_the_order_in_which_they_were_given_back() {
    let mut ports = pool(100);
    let all: Vec<u16> = (1000..1100).rev().collect();
    for &port in &all {
        take(&mut ports, port);
    }
    for (second, &port) in all.iter().enumerate() {
        give_back(&mut ports, port, START + Duration::from_secs(second as u64));
    }
    let now = START + Duration::from_secs(1000);
    for &port in &all {
        assert_eq!(choose(&mut ports, now), Some(port));
        take(&mut ports, port);
    }
}

#[test]
fn fresh_ports_come_first_and_in_no_order_to_guess() {
    let order = |seed| {
        let mut ports = Ports::new(seed);
        ports.hold(Protocol::Udp, &[(1000, 1099)]);
        let mut order = Vec::new();
        for _ in 0..100 {
            let port = choose(&mut ports, START).expect("one of a hundred");
            take(&mut ports, port);
            order.push(port);
        }
        order
    };
    assert_eq!(order(1).iter().collect::<HashSet<_>>().len(), 100);
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    let steps = order(1).windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
    assert!(steps < 20, "{steps} of 99 are neighbours");

    let mut ports = pool(1);
    take(&mut ports, 1000);
    give_back(&mut ports, 1000, START);
    ports.hold(Protocol::Udp, &[(2000, 2000), (1000, 1000)]);
    assert_eq!(choose(&mut ports, START), Some(2000));
    assert_eq!(ports.count(Protocol::Udp), (2, 0), "what was held already is not held twice");
}

#[test]
fn one_lease_serves_many_remotes_and_probing_ends() {
    let mut ports = pool(500);
    for port in 1000..1500 {
        take(&mut ports, port);
    }
    assert!(choose(&mut ports, START).is_some());
    let probes = core::cell::Cell::new(0);
    let chosen = pick(&mut ports, Protocol::Udp, own(1, 7), Lease::Shared, START, |_| {
        probes.set(probes.get() + 1);
        false
    });
    assert_eq!((chosen, probes.get()), (None, PROBES));
    // The search goes on where it ended, so that the next flow finds what this one did not reach.
    let found = (0..10)
        .find_map(|_| pick(&mut ports, Protocol::Udp, own(1, 7), Lease::Shared, START, |port| port == 1321));
    assert_eq!(found, Some(1321));
}

/// All ports have flows to one remote, but for one that rests.
#[test]
fn a_search_in_vain_is_short_the_next_time() {
    let mut ports = pool(500);
    for port in 1000..1500 {
        take(&mut ports, port);
    }
    give_back(&mut ports, 1300, START);
    let probes = |ports: &mut Ports, kind, now| {
        let probes = core::cell::Cell::new(0);
        let chosen = ports.choose(Protocol::Udp, own(1, 7), Lease::Shared, now, kind, |port| {
            probes.set(probes.get() + 1);
            if port == 1300 { Claim::Free } else { Claim::Refused }
        });
        assert_eq!(chosen, Some(1300));
        probes.get()
    };
    assert!(probes(&mut ports, 1, START) > PROBES / 2);
    assert!(probes(&mut ports, 1, START) < 10);
    assert!(probes(&mut ports, 2, START) > PROBES / 2, "another remote");
    assert!(probes(&mut ports, 1, START + Duration::from_millis(1200)) > PROBES / 2);
}

/// An endpoint at its share, whose connections close as fast as it opens them.
#[test]
fn a_closed_flow_is_found_soon_where_nothing_is_free() {
    let mut ports = pool(500);
    for port in 1000..1500 {
        take(&mut ports, port);
    }
    let mut probes = || {
        let probes = core::cell::Cell::new(0);
        let chosen = ports.choose(Protocol::Udp, own(1, 7), Lease::Shared, START, 1, |port| {
            probes.set(probes.get() + 1);
            if port % 4 == 0 { Claim::Yields(u32::MAX) } else { Claim::Yields(1) }
        });
        assert_eq!(chosen.map(|port| port % 4), Some(0));
        probes.get()
    };
    assert_eq!(probes(), PROBES);
    assert!((0..10).map(|_| probes()).sum::<usize>() < 2 * PROBES, "four each, on average");
}

#[test]
fn more_are_wanted_when_few_are_unused() {
    let mut ports = pool(1000);
    assert!(ports.wants_more(Protocol::Tcp));
    assert!(!ports.wants_more(Protocol::Icmp));
    for port in 1000..1875 {
        assert!(!ports.wants_more(Protocol::Udp));
        take(&mut ports, port);
    }
    take(&mut ports, 1875);
    assert!(ports.wants_more(Protocol::Udp));
    ports.hold(Protocol::Udp, &[(3000, 3200)]);
    assert!(!ports.wants_more(Protocol::Udp));
}

#[test]
fn kept_ports_are_for_flows_that_want_them_and_go_back_soon_after() {
    let soon = KEPT_IDLE + Duration::from_millis(200);
    let mut ports = pool(1);
    assert!(ports.keep(Protocol::Udp, 123, START));
    assert!(ports.keep(Protocol::Udp, 5060, START + Duration::from_secs(1)));
    assert!(!ports.keep(Protocol::Udp, 1000, START), "it is of the pool");
    take(&mut ports, 1000);
    assert_eq!(
        pick(&mut ports, Protocol::Udp, own(1, 7), Lease::Mapped, START, |_| true),
        None,
        "it wants another"
    );
    let wish = pick(&mut ports, Protocol::Udp, own(1, 123), Lease::Shared, START, |_| true);
    assert_eq!(wish, Some(123));
    take(&mut ports, 123);
    assert_eq!(ports.count(Protocol::Udp), (3, 2));
    let due = ports.next_release().expect("the other one is not used");
    assert!(due > START + Duration::from_secs(1) + KEPT_IDLE && due <= START + Duration::from_secs(1) + soon);
    assert_eq!(ports.release(START + KEPT_IDLE), None);
    assert_eq!(ports.release(due).map(|it| it.port), Some(5060));
    assert_eq!((ports.release(due), ports.next_release()), (None, None), "this one is in use");
    assert!(!ports.is_held(Protocol::Udp, 5060) && ports.is_kept_in_use(Protocol::Udp, 123));

    let end = START + Duration::from_secs(650);
    give_back(&mut ports, 123, end);
    let due = ports.next_release().expect("one is kept");
    assert!(due > end + KEPT_IDLE && due <= end + soon);
    let released = ports.release(due).expect("nobody has used it since");
    assert_eq!((released.protocol, released.port, released.last_user), (Protocol::Udp, 123, own(1, 0).0));
    assert!(released.rests_until > end + REUSE && released.rests_until <= end + REUSE + soon);
    assert_eq!((ports.next_release(), ports.count(Protocol::Udp)), (None, (1, 1)));
}

#[test]
fn a_kept_port_can_be_lost_while_it_is_used_and_a_port_of_the_pool_cannot() {
    let mut ports = pool(1);
    ports.keep(Protocol::Udp, 5060, START);
    take(&mut ports, 5060);
    assert_eq!(ports.lose(Protocol::Udp, 5060).map(|it| it.port), Some(5060));
    assert_eq!(ports.lose(Protocol::Udp, 5060), None);
    assert_eq!(ports.lose(Protocol::Udp, 1000), None);
    assert_eq!(ports.count(Protocol::Udp), (1, 0));
}

#[test]
fn ports_that_are_not_held_are_none_of_ours() {
    let mut ports = pool(1);
    take(&mut ports, 80);
    give_back(&mut ports, 80, START);
    give_back(&mut ports, 1000, START);
    assert_eq!(ports.count(Protocol::Udp), (1, 0));
    ports.hold(Protocol::Udp, &[(0, 0)]);
    assert!(!ports.is_held(Protocol::Udp, 0));
    ports.hold(Protocol::Udp, &[(1, u16::MAX)]);
    assert_eq!(ports.count(Protocol::Udp), (65535, 0));
}

#[test]
fn identifiers_of_icmp_are_a_random_range() {
    let range = |seed| {
        let ports = Ports::new(seed);
        let held: Vec<u16> = (0..=u16::MAX).filter(|&id| ports.is_held(Protocol::Icmp, id)).collect();
        assert_eq!(held.len(), usize::from(ICMP_IDENTIFIERS));
        assert!(!held.contains(&0));
        held[0]
    };
    assert_ne!(range(1), range(2));
    (0..200).for_each(|seed| _ = range(seed));
}
