//! Ports and mappings that sessions hold, and give back however they end.

use super::*;

fn own(new: &NewSession) -> Transport {
    (new.original.src, new.original.src_port)
}

/// A table with UDP and TCP ports 100 to 102, and an endpoint's session from `port` by way of a chosen one.
fn with_ports() -> Sessions {
    let mut table = table(100, 100);
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        table.ports_mut().hold(protocol, &[(100, 102)]);
    }
    table
}

fn by_port(new: &NewSession, port: u16) -> NewSession {
    NewSession { reply: Tuple { dst_port: port, ..new.reply }, ..*new }
}

/// The session with a chosen port, opened.
fn translated(table: &mut Sessions, now: Timestamp, new: &NewSession) -> Option<(SessionId, u16)> {
    let port = table.choose_port(now, new.owner, own(new), &new.reply, new.lease, false)?;
    let new = by_port(new, port);
    Some((open(table, now, &new), port))
}

fn used(table: &Sessions) -> (u32, u32) {
    table.stats().ports_used
}

#[test]
fn every_end_of_a_session_gives_its_port_back() {
    let new = outbound(Protocol::Udp, 1, 1);
    let ends: [fn(&mut Sessions, SessionId); 4] = [
        |table, id| table.remove(id, START),
        |table, _| table.remove_owner(PortId(1), START),
        |table, _| _ = table.sweep(START, 0, |_, _| true),
        |table, _| _ = table.expire(START + Duration::from_secs(1000), 10),
    ];
    for end in ends {
        let mut table = with_ports();
        let (id, _) = translated(&mut table, START, &new).expect("three ports");
        assert_eq!(used(&table), (0, 1));
        end(&mut table, id);
        assert_eq!(used(&table), (0, 0));
        assert!(table.is_empty());
    }
    let mut table = with_ports();
    table.configure(Limits { sessions: 1, sessions_per_endpoint: 1 }, Timeouts::default());
    translated(&mut table, START, &outbound(Protocol::Tcp, 1, 1)).expect("three ports");
    open(&mut table, START, &published(Protocol::Tcp, 1, 1));
    assert_eq!(used(&table), (0, 0), "evicted");
}

#[test]
fn one_port_serves_many_remotes_but_each_once() {
    let mut table = with_ports();
    let to = |service: u16, port: u16| {
        let new = outbound(Protocol::Udp, 1, port);
        NewSession {
            original: Tuple { dst_port: service, ..new.original },
            reply: Tuple { src_port: service, ..new.reply },
            ..new
        }
    };
    for service in 1..=4 {
        let mut ports: Vec<u16> = (1..=3)
            .map(|port| translated(&mut table, START, &to(service, port)).expect("a port for each").1)
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [100, 101, 102]);
        assert_eq!(translated(&mut table, START, &to(service, 4)), None);
    }
    assert_eq!(used(&table), (0, 3));
}

#[test]
fn a_closed_session_yields_its_port_when_nothing_else_is_left() {
    let mut table = with_ports();
    let [first, second, third] = [1, 2, 3].map(|port| {
        let (id, external) =
            translated(&mut table, START, &outbound(Protocol::Tcp, 1, port)).expect("a port for each");
        table.seen(id, Direction::Reply, START, SYN_ACK);
        table.seen(id, Direction::Original, START, ACK);
        (id, external)
    });
    let next = outbound(Protocol::Tcp, 1, 4);
    assert_eq!(table.choose_port(START, next.owner, own(&next), &next.reply, Lease::Shared, false), None);
    table.seen(second.0, Direction::Reply, START, RST);
    let (_, port) = translated(&mut table, START, &next).expect("the closed one's port");
    assert_eq!(port, second.1);
    assert_eq!(table.len(), 3);
    assert!(lives(&table, &by_port(&outbound(Protocol::Tcp, 1, 1), first.1)));
    assert!(lives(&table, &by_port(&outbound(Protocol::Tcp, 1, 3), third.1)));
    assert_eq!(table.find(&outbound(Protocol::Tcp, 1, 2).original), None);
}

/// However many connections an endpoint opens to one remote, one after the other: it has its share, not all that there is.
#[test]
fn connections_that_end_make_room_for_as_many_more() {
    let mut table = table(10_000, 10_000);
    table.ports_mut().hold(Protocol::Tcp, &[(1000, 1999)]);
    for port in 1..20_000 {
        // Now and then to another service of that remote.
        let new = to_port(&from_one_address(Protocol::Tcp, 1, port), 80 + port / 5000);
        let (id, _) =
            translated(&mut table, START, &new).unwrap_or_else(|| panic!("connection {port} is refused"));
        table.seen(id, Direction::Reply, START, SYN_ACK);
        table.seen(id, Direction::Original, START, ACK);
        table.seen(id, Direction::Reply, START, RST);
    }
}

/// All endpoints by one address of the host, as in production.
fn from_one_address(protocol: Protocol, owner: u16, port: u16) -> NewSession {
    let new = outbound(protocol, owner, port);
    NewSession { reply: Tuple { dst: OUTSIDE.to_ipv6_mapped(), ..new.reply }, ..new }
}

/// Endpoint 1 sends nothing but SYNs to the remote that endpoint 2 speaks to and begins to speak to.
#[test]
fn a_flood_of_syns_to_one_remote_keeps_nobody_from_it() {
    let mut table = table(1000, 1000);
    table.ports_mut().hold(Protocol::Tcp, &[(100, 163)]);
    let [open_one, begun] = [1, 2].map(|port| {
        let new = from_one_address(Protocol::Tcp, 2, port);
        let (id, external) = translated(&mut table, START, &new).expect("64 ports");
        (id, by_port(&new, external))
    });
    table.seen(open_one.0, Direction::Reply, START, SYN_ACK);
    table.seen(open_one.0, Direction::Original, START, ACK);
    for port in 1..=500 {
        let flood = from_one_address(Protocol::Tcp, 1, port);
        translated(&mut table, START, &flood).expect("the flood displaces itself");
    }
    for port in 10..20 {
        let (id, _) =
            translated(&mut table, START, &from_one_address(Protocol::Tcp, 2, port)).expect("a port");
        table.seen(id, Direction::Reply, START, SYN_ACK);
        table.seen(id, Direction::Original, START, ACK);
    }
    assert!(lives(&table, &open_one.1) && lives(&table, &begun.1));
    assert!(table.len() <= 64);
    let next = from_one_address(Protocol::Tcp, 2, 20);
    assert_eq!(table.choose_port(START, next.owner, own(&next), &next.reply, Lease::Shared, true), None);
}

#[test]
fn the_endpoint_with_most_half_open_connections_yields_its_ports() {
    let mut table = table(1000, 1000);
    table.ports_mut().hold(Protocol::Tcp, &[(100, 149)]);
    let begin = |table: &mut Sessions, owner, port| {
        translated(table, START, &from_one_address(Protocol::Tcp, owner, port)).expect("a port")
    };
    (1..=30).for_each(|port| _ = begin(&mut table, 1, port));
    (1..=20).for_each(|port| _ = begin(&mut table, 2, port));
    for port in 1..=8 {
        let (id, _) = begin(&mut table, 3, port);
        table.seen(id, Direction::Reply, START, SYN_ACK);
        table.seen(id, Direction::Original, START, ACK);
    }
    let counts = [(PortId(1), 22), (PortId(2), 20), (PortId(3), 8)];
    assert_eq!(table.stats().per_endpoint, counts);
}

/// Nothing of these yields: what one endpoint has must leave something for others.
#[test]
fn nobody_has_all_ports_to_one_remote() {
    for lease in [Lease::Shared, Lease::Mapped] {
        let mut table = table(1000, 1000);
        table.ports_mut().hold(Protocol::Udp, &[(100, 163)]);
        let new = |owner, port| NewSession { lease, ..from_one_address(Protocol::Udp, owner, port) };
        let got = (1..=100).filter(|&port| translated(&mut table, START, &new(1, port)).is_some()).count();
        assert!((32..64).contains(&got), "{got} of 64, {lease:?}");
        assert!(translated(&mut table, START, &new(2, 1)).is_some(), "another endpoint, {lease:?}");
        let elsewhere = translated(&mut table, START, &to_port(&new(1, 101), 9)).is_some();
        assert_eq!(elsewhere, lease == Lease::Shared, "another remote");
        // What has ended does not count.
        table.expire(START + Duration::from_secs(1000), usize::MAX);
        assert!(translated(&mut table, START + Duration::from_secs(1001), &new(1, 1)).is_some());
        table.remove_owner(PortId(1), START);
        assert!((0..1 << 15).all(|hash| table.shares.count(hash) == 0), "{lease:?}");
    }
}

fn to_port(new: &NewSession, service: u16) -> NewSession {
    NewSession {
        original: Tuple { dst_port: service, ..new.original },
        reply: Tuple { src_port: service, ..new.reply },
        ..*new
    }
}

#[test]
fn a_mapping_is_the_same_for_all_remotes_and_ends_with_its_last_session() {
    let mut table = with_ports();
    let new = NewSession { lease: Lease::Mapped, ..outbound(Protocol::Udp, 1, 5) };
    assert_eq!(table.mapping_from(Protocol::Udp, own(&new)), None);
    let (first, port) = translated(&mut table, START, &to_port(&new, 1)).expect("three ports");
    let external = (new.reply.dst, port);
    assert_eq!(table.mapping_from(Protocol::Udp, own(&new)), Some(external));
    assert_eq!(table.mapping_to(Protocol::Udp, external), Some(own(&new)));
    assert_eq!(table.mapping_to(Protocol::Tcp, external), None);

    let second = open(&mut table, START, &by_port(&to_port(&new, 2), port));
    let from_outside = NewSession {
        original: Tuple { src_port: 3, dst_port: port, ..new.reply },
        reply: Tuple { dst_port: 3, ..new.original },
        ..new
    };
    let third = open(&mut table, START, &from_outside);
    assert_eq!(used(&table), (0, 1));

    table.remove(first, START);
    table.remove(second, START);
    assert_eq!(table.mapping_from(Protocol::Udp, own(&new)), Some(external));
    table.remove(third, START);
    assert_eq!(table.mapping_from(Protocol::Udp, own(&new)), None);
    assert_eq!(table.mapping_to(Protocol::Udp, external), None);
    assert_eq!(used(&table), (0, 0));
    let others: Vec<u16> = (1..=3)
        .filter_map(|own| Some(translated(&mut table, START, &outbound(Protocol::Udp, 2, own))?.1))
        .collect();
    assert!(others.contains(&port), "the port is never used again: {others:?}");
}

#[test]
fn a_mappings_port_is_its_own() {
    let mut table = with_ports();
    let mapped = NewSession { lease: Lease::Mapped, ..outbound(Protocol::Udp, 1, 100) };
    assert_eq!(translated(&mut table, START, &mapped).expect("its own").1, 100);
    // Another endpoint, another remote, the same wish.
    let shared = to_port(&outbound(Protocol::Udp, 2, 100), 9);
    let (_, port) = translated(&mut table, START, &shared).expect("another port");
    assert_ne!(port, 100);
    let mapped = to_port(&NewSession { lease: Lease::Mapped, ..outbound(Protocol::Udp, 3, port) }, 10);
    let (_, port) = translated(&mut table, START, &mapped).expect("the third");
    assert_eq!(used(&table), (0, 3));
    // What is left is in use, and a mapping does not share.
    let mapped = to_port(&NewSession { lease: Lease::Mapped, ..outbound(Protocol::Udp, 4, port) }, 11);
    assert_eq!(translated(&mut table, START, &mapped), None);
}

#[test]
fn nobody_takes_anothers_mapping() {
    let mut table = with_ports();
    let mapped = NewSession { lease: Lease::Mapped, ..outbound(Protocol::Udp, 1, 100) };
    translated(&mut table, START, &mapped).expect("its own");
    let thief = NewSession { reply: mapped.reply, ..to_port(&outbound(Protocol::Udp, 2, 7), 9) };
    let thief = NewSession { lease: Lease::Mapped, reply: Tuple { src_port: 9, ..thief.reply }, ..thief };
    assert_eq!(table.insert(START, &thief, None), Err(Refused::Collision));
}

#[test]
fn identifiers_of_icmp_need_no_lease() {
    let mut table = table(10, 10);
    let new = outbound(Protocol::Icmp, 1, 1);
    let (id, identifier) = translated(&mut table, START, &new).expect("thousands of them");
    assert!(table.ports().is_held(Protocol::Icmp, identifier));
    table.remove(id, START);
}
