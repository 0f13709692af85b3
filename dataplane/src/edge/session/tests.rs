//! What endpoints notice: which sessions live, for how long, and who must yield.

mod bounds;
mod expiry;
mod held;
mod model;
mod tcp;

use core::time::Duration;
use std::net::Ipv4Addr;

use super::*;
use crate::edge::view::SessionFilter;
use crate::verdict::Translation;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const SYN: Option<TcpFlags> = Some(TcpFlags::SYN);
const SYN_ACK: Option<TcpFlags> = Some(TcpFlags::SYN_ACK);
const ACK: Option<TcpFlags> = Some(TcpFlags::ACK);
const FIN: Option<TcpFlags> = Some(TcpFlags(0x11));
const RST: Option<TcpFlags> = Some(TcpFlags::RST);
const START: Timestamp = Timestamp::from_secs(1000);

fn table(sessions: u32, sessions_per_endpoint: u32) -> Sessions {
    Sessions::with_seed(Limits { sessions, sessions_per_endpoint }, Timeouts::default(), 7)
}

fn endpoint(owner: u16) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + u32::from(owner))
}

/// A session of endpoint number `owner` from its port `port` to the server, translated to the same port.
fn outbound(protocol: Protocol, owner: u16, port: u16) -> NewSession {
    let service = if protocol == Protocol::Icmp { 0 } else { 443 };
    // One external address for each endpoint keeps sessions of different ones apart.
    let external = Ipv4Addr::from(u32::from(OUTSIDE) + u32::from(owner));
    NewSession {
        original: Tuple::v4(protocol, (endpoint(owner), port), (SERVER, service)),
        reply: Tuple::v4(protocol, (SERVER, service), (external, port)),
        hops: [Hop::UNKNOWN; 2],
        owner: PortId(owner),
        lease: Lease::Shared,
        publication: None,
        rules_generation: 1,
    }
}

/// A session from outside through publication 9 to port 80 of endpoint number `owner`.
fn published(protocol: Protocol, owner: u16, client_port: u16) -> NewSession {
    let client = (SERVER, client_port);
    NewSession {
        original: Tuple::v4(protocol, client, (OUTSIDE, 8080)),
        reply: Tuple::v4(protocol, (endpoint(owner), 80), client),
        lease: Lease::None,
        publication: Some(9),
        ..outbound(protocol, owner, client_port)
    }
}

fn flags_of(new: &NewSession) -> Option<TcpFlags> {
    (new.original.protocol == Protocol::Tcp).then_some(TcpFlags::SYN)
}

fn open(table: &mut Sessions, now: Timestamp, new: &NewSession) -> SessionId {
    table.insert(now, new, flags_of(new)).expect("room for one more")
}

/// Opens a TCP session and completes its handshake.
fn establish(table: &mut Sessions, now: Timestamp, new: &NewSession) -> SessionId {
    let id = open(table, now, new);
    table.seen(id, Direction::Reply, now, SYN_ACK);
    table.seen(id, Direction::Original, now, ACK);
    assert_eq!(table.get(id).state(), "established");
    id
}

fn lives(table: &Sessions, new: &NewSession) -> bool {
    let (original, reply) = (table.find(&new.original), table.find(&new.reply));
    assert_eq!(
        original.map(|(id, _)| id),
        reply.map(|(id, _)| id),
        "found by one direction, not by the other"
    );
    original.is_some()
}

/// Ends all that is due; how many that were.
fn expire(table: &mut Sessions, now: Timestamp) -> u64 {
    let before = table.stats().expired;
    table.expire(now, usize::MAX);
    table.stats().expired - before
}

#[test]
fn both_directions_lead_to_the_session_and_to_each_other() {
    let mut table = table(10, 10);
    let new = outbound(Protocol::Tcp, 1, 1234);
    let id = open(&mut table, START, &new);
    assert_eq!(table.find(&new.original), Some((id, Direction::Original)));
    assert_eq!(table.find(&new.reply), Some((id, Direction::Reply)));
    assert_eq!(table.find(&new.original.inverted()), None);
    assert_eq!(table.find(&Tuple { protocol: Protocol::Udp, ..new.original }), None);
    let session = table.get(id);
    assert_eq!(session.translated(Direction::Original), new.reply.inverted());
    assert_eq!(session.translated(Direction::Reply), new.original.inverted());
}

#[test]
fn translation_follows_from_the_tuples() {
    let mut table = table(10, 10);
    let id = open(&mut table, START, &outbound(Protocol::Udp, 1, 1234));
    assert_eq!(table.get(id).translation(Direction::Original), Translation::Source);
    assert_eq!(table.get(id).translation(Direction::Reply), Translation::Destination);
    let id = open(&mut table, START, &published(Protocol::Udp, 1, 4321));
    assert_eq!(table.get(id).translation(Direction::Original), Translation::Destination);
    assert_eq!(table.get(id).translation(Direction::Reply), Translation::Source);
    let hairpin = NewSession {
        original: Tuple::v4(Protocol::Udp, (endpoint(1), 5), (OUTSIDE, 8080)),
        reply: Tuple::v4(Protocol::Udp, (endpoint(2), 80), (endpoint(254), 40_000)),
        ..outbound(Protocol::Udp, 1, 5)
    };
    let id = open(&mut table, START, &hairpin);
    assert_eq!(table.get(id).translation(Direction::Original), Translation::Both);
    assert_eq!(table.get(id).translation(Direction::Reply), Translation::Both);
    let routed = Tuple::v4(Protocol::Udp, (endpoint(1), 6), (endpoint(2), 80));
    let id = open(&mut table, START, &NewSession { original: routed, reply: routed.inverted(), ..hairpin });
    assert_eq!(table.get(id).translation(Direction::Reply), Translation::None);
}

#[test]
fn a_tuple_is_one_sessions_only() {
    let mut table = table(10, 10);
    let first = outbound(Protocol::Udp, 1, 1234);
    open(&mut table, START, &first);
    let same_reply = NewSession { reply: first.reply, owner: PortId(2), ..outbound(Protocol::Udp, 2, 77) };
    assert_eq!(table.insert(START, &same_reply, None), Err(Refused::Collision));
    assert_eq!(table.len(), 1);
    assert!(lives(&table, &first));
}

#[test]
fn sessions_are_listed_by_endpoint_and_publication() {
    let mut table = table(100, 100);
    for port in 1..=30 {
        open(&mut table, START, &outbound(Protocol::Udp, port % 3, port));
    }
    open(&mut table, START, &published(Protocol::Tcp, 2, 7));
    let now = START + Duration::from_secs(10);

    let filter = SessionFilter { owner: Some(PortId(2)), publication: None };
    let (first, next) = table.page(now, filter, 0, 8);
    assert_eq!(first.len(), 8);
    let (rest, end) = table.page(now, filter, next.expect("three more"), 8);
    assert_eq!((rest.len(), end), (3, None));
    assert!(first.iter().chain(&rest).all(|view| view.owner == PortId(2)));

    let filter = SessionFilter { owner: None, publication: Some(9) };
    let (views, _) = table.page(now, filter, 0, 8);
    let [view] = &views[..] else { panic!("one session by publication 9: {views:?}") };
    assert_eq!(view.state, "half-open");
    assert_eq!(view.original, published(Protocol::Tcp, 2, 7).original);
    assert!(view.idle.abs_diff(Duration::from_secs(10)) < Duration::from_millis(200));
    assert!(view.expires_in.abs_diff(Duration::from_secs(230)) < Duration::from_millis(200));

    let stats = table.stats();
    assert_eq!((stats.sessions, stats.half_open, stats.opened), (31, 1, 31));
    assert_eq!(stats.per_endpoint, [(PortId(0), 10), (PortId(1), 10), (PortId(2), 11)]);
}

#[test]
fn a_sweep_ends_what_it_is_told_to_in_bounded_turns() {
    let mut table = table(10_000, 10_000);
    for port in 1..=9000 {
        open(&mut table, START, &outbound(Protocol::Udp, 1, port));
    }
    open(&mut table, START, &published(Protocol::Udp, 1, 7));
    let (mut from, mut turns) = (Some(0), 0);
    while let Some(place) = from {
        from = table.sweep(START, place, |_, publication| publication.is_none());
        turns += 1;
    }
    assert!(turns > 1);
    assert_eq!(table.len(), 1);
    assert!(lives(&table, &published(Protocol::Udp, 1, 7)));
}

#[test]
fn an_endpoint_that_goes_takes_all_its_sessions_along() {
    let mut table = table(100, 100);
    establish(&mut table, START, &outbound(Protocol::Tcp, 1, 1));
    open(&mut table, START, &outbound(Protocol::Tcp, 1, 2));
    open(&mut table, START, &outbound(Protocol::Udp, 1, 3));
    let others = outbound(Protocol::Udp, 2, 4);
    open(&mut table, START, &others);
    table.remove_owner(PortId(1), START);
    assert_eq!(table.len(), 1);
    assert!(lives(&table, &others));
}

#[test]
fn removing_twice_removes_once() {
    let mut table = table(10, 10);
    let id = open(&mut table, START, &outbound(Protocol::Udp, 1, 1));
    open(&mut table, START, &outbound(Protocol::Udp, 1, 2));
    table.remove(id, START);
    table.remove(id, START);
    assert_eq!(table.len(), 1);
    assert_eq!(table.stats().per_endpoint, [(PortId(1), 1)]);
}

#[test]
fn hops_and_generation_are_the_sessions_own() {
    let mut table = table(10, 10);
    let id = open(&mut table, START, &outbound(Protocol::Udp, 1, 1));
    let hop = Hop { egress: PortId(3), mtu: 1400, generation: 5, ..Hop::UNKNOWN };
    table.get_mut(id).set_hop(Direction::Reply, hop);
    table.get_mut(id).set_rules_generation(2);
    assert_eq!(table.get(id).hop(Direction::Original), &Hop::UNKNOWN);
    assert_eq!(table.get(id).hop(Direction::Reply), &hop);
    assert_eq!(table.get(id).rules_generation(), 2);
}

/// What is reserved for a million sessions; nothing else grows with them.
#[test]
fn a_million_sessions_take_less_than_200_megabytes() {
    let table = table(1_000_000, 1_000_000);
    let for_each =
        size_of::<Session>() + size_of::<Details>() + 2 * size_of::<list::Link>() + size_of::<u32>();
    let bytes = table.sessions.capacity() * for_each + table.index.bytes();
    assert!(table.sessions.capacity() >= 1_000_000);
    assert!(bytes < 200_000_000, "{bytes} bytes");
}
