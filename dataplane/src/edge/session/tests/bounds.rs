//! Who yields when there is no room, and who never does.

use super::*;

#[test]
fn at_its_share_an_endpoint_loses_its_oldest_half_open_one() {
    let mut table = table(100, 5);
    let kept = outbound(Protocol::Tcp, 1, 1000);
    establish(&mut table, START, &kept);
    for port in 1..=4 {
        open(&mut table, START, &outbound(Protocol::Tcp, 1, port));
    }
    let others = outbound(Protocol::Tcp, 2, 1);
    open(&mut table, START, &others);
    open(&mut table, START, &outbound(Protocol::Udp, 1, 5));
    assert!(lives(&table, &kept) && lives(&table, &others));
    let left: Vec<u16> = (1..=4).filter(|&port| lives(&table, &outbound(Protocol::Tcp, 1, port))).collect();
    assert_eq!(left, [2, 3, 4]);
    assert_eq!((table.stats().evicted_half_open, table.stats().evicted_other), (1, 0));
}

/// Many connections, one after the other: what has ended makes room, not what is just beginning.
#[test]
fn closed_ones_yield_before_half_open_ones() {
    let mut table = table(100, 3);
    for port in [1, 2] {
        let id = establish(&mut table, START, &outbound(Protocol::Tcp, 1, port));
        table.seen(id, Direction::Reply, START, RST);
    }
    let beginning = outbound(Protocol::Tcp, 1, 3);
    open(&mut table, START, &beginning);
    open(&mut table, START, &outbound(Protocol::Tcp, 1, 4));
    assert!(lives(&table, &beginning));
    assert!(!lives(&table, &outbound(Protocol::Tcp, 1, 1)) && lives(&table, &outbound(Protocol::Tcp, 1, 2)));
    assert_eq!((table.stats().evicted_half_open, table.stats().evicted_other), (0, 0));
}

#[test]
fn its_oldest_closed_one_yields_first() {
    let mut table = table(100, 2);
    let [first, second, third] = [1, 2, 3].map(|port| outbound(Protocol::Tcp, 1, port));
    for new in [&first, &second] {
        let id = establish(&mut table, START, new);
        table.seen(id, Direction::Original, START, FIN);
        table.seen(id, Direction::Reply, START, FIN);
    }
    establish(&mut table, START, &third);
    assert!(!lives(&table, &first) && lives(&table, &second) && lives(&table, &third));
}

#[test]
fn what_lasts_never_yields() {
    let mut table = table(3, 2);
    let established = outbound(Protocol::Tcp, 1, 1);
    let udp = outbound(Protocol::Udp, 1, 2);
    let icmp = outbound(Protocol::Icmp, 2, 3);
    establish(&mut table, START, &established);
    let id = open(&mut table, START, &udp);
    table.seen(id, Direction::Reply, START, None);
    let later = START + Duration::from_secs(50);
    assert_eq!(table.insert(later, &outbound(Protocol::Tcp, 1, 4), SYN), Err(Refused::Share));
    open(&mut table, later, &icmp);
    assert_eq!(table.insert(later, &outbound(Protocol::Udp, 2, 5), None), Err(Refused::Full));
    assert!(lives(&table, &established) && lives(&table, &udp) && lives(&table, &icmp));
    let stats = table.stats();
    assert_eq!((stats.refused_tcp, stats.refused_other, stats.evicted_half_open), (1, 1, 0));
}

#[test]
fn what_is_due_makes_room_first() {
    let mut table = table(2, 2);
    let udp = outbound(Protocol::Udp, 1, 1);
    let half_open = outbound(Protocol::Tcp, 1, 2);
    open(&mut table, START, &udp);
    let now = START + Duration::from_secs(301);
    open(&mut table, now, &half_open);
    open(&mut table, now, &outbound(Protocol::Udp, 1, 3));
    assert!(!lives(&table, &udp) && lives(&table, &half_open));
}

/// One endpoint floods, another has 200 downloads and connects on and off.
#[test]
fn a_flood_of_half_open_ones_hurts_nobody_else() {
    let mut table = table(2000, 1800);
    let downloads: Vec<NewSession> = (1..=200).map(|port| outbound(Protocol::Tcp, 2, port)).collect();
    let ids: Vec<SessionId> = downloads.iter().map(|new| establish(&mut table, START, new)).collect();
    for turn in 0..30_000_u16 {
        let now = START + Duration::from_millis(u64::from(turn));
        let flood = outbound(Protocol::Tcp, 1, turn + 1);
        table.insert(now, &flood, SYN).expect("the flood displaces itself");
        if turn % 100 == 0 {
            // Of a slow handshake every step comes after a good deal of the flood.
            let patient = outbound(Protocol::Tcp, 2, 1000 + turn / 100);
            let id = table.insert(now, &patient, SYN).expect("a victim of the flood's own");
            let ack = now + Duration::from_millis(1);
            for step in 0..60 {
                let flood = outbound(Protocol::Tcp, 3 + step, turn + 1);
                table.insert(ack, &flood, SYN).expect("more of the flood");
            }
            assert!(lives(&table, &patient), "lost in its handshake, turn {turn}");
            table.seen(id, Direction::Reply, ack, SYN_ACK);
            table.seen(id, Direction::Original, ack, ACK);
        }
    }
    for (id, new) in ids.iter().zip(&downloads) {
        assert_eq!(table.find(&new.original), Some((*id, Direction::Original)));
        assert_eq!(table.get(*id).state(), "established");
    }
    let established = (1000..1300).filter(|&port| lives(&table, &outbound(Protocol::Tcp, 2, port))).count();
    assert_eq!(established, 300);
    assert!(table.len() <= 2000);
}

/// SYNs from outside to a published port, each answered by the endpoint and never acknowledged.
#[test]
fn a_flood_to_a_published_port_keeps_no_long_lived_sessions() {
    let mut table = table(1000, 500);
    let kept = outbound(Protocol::Tcp, 1, 1);
    establish(&mut table, START, &kept);
    for client_port in 1..=5000 {
        let id = table.insert(START, &published(Protocol::Tcp, 1, client_port), SYN).expect("one yields");
        table.seen(id, Direction::Reply, START, SYN_ACK);
    }
    assert!(lives(&table, &kept));
    assert_eq!(expire(&mut table, START + Duration::from_secs(241)), 499);
}

#[test]
fn at_the_tables_limit_the_endpoint_with_most_half_open_ones_yields() {
    let mut table = table(10, 10);
    for port in 1..=6 {
        open(&mut table, START, &outbound(Protocol::Tcp, 1, port));
    }
    for port in 1..=4 {
        open(&mut table, START, &outbound(Protocol::Tcp, 2, port));
    }
    for port in 1..=4 {
        open(&mut table, START, &outbound(Protocol::Udp, 3, port));
    }
    let stats = table.stats();
    assert_eq!(stats.per_endpoint, [(PortId(1), 3), (PortId(2), 3), (PortId(3), 4)]);
    assert_eq!((stats.evicted_half_open, stats.evicted_other), (4, 0));
}

#[test]
fn lower_limits_end_nobody_and_refuse_the_next() {
    let mut table = table(10, 10);
    for port in 1..=10 {
        open(&mut table, START, &outbound(Protocol::Udp, 1, port));
    }
    table.configure(Limits { sessions: 5, sessions_per_endpoint: 5 }, Timeouts::default());
    assert_eq!(table.len(), 10);
    assert_eq!(table.insert(START, &outbound(Protocol::Udp, 2, 1), None), Err(Refused::Full));
    table.configure(Limits { sessions: 5000, sessions_per_endpoint: 5000 }, Timeouts::default());
    for port in 11..=4000 {
        open(&mut table, START, &outbound(Protocol::Udp, 1, port));
    }
    assert!((1..=4000).all(|port| lives(&table, &outbound(Protocol::Udp, 1, port))));
}

#[test]
fn no_room_at_all_is_no_panic() {
    let mut table = table(0, 0);
    assert_eq!(table.insert(START, &outbound(Protocol::Udp, 1, 1), None), Err(Refused::Share));
    assert_eq!(table.find(&outbound(Protocol::Udp, 1, 1).original), None);
}

/// Datagrams with forged senders to a published port, in the midst of two conversations and of the endpoint's own.
#[test]
fn a_flood_to_a_published_udp_port_evicts_itself() {
    let mut table = table(2000, 1000);
    let (client, asked) = (published(Protocol::Udp, 1, 1), outbound(Protocol::Udp, 1, 2));
    let id = open(&mut table, START, &asked);
    table.seen(id, Direction::Reply, START, None);
    open(&mut table, START, &client);
    let mut now = START;
    for client_port in 10..10_000 {
        now = now + Duration::from_millis(10);
        table.insert(now, &published(Protocol::Udp, 1, client_port), None).expect("an older one yields");
        if client_port % 300 == 0 {
            let (id, direction) = table.find(&client.original).expect("a conversation that goes on stays");
            table.seen(id, direction, now, None);
        }
    }
    assert!(lives(&table, &client) && lives(&table, &asked));
    establish(&mut table, now, &outbound(Protocol::Tcp, 1, 3));
    assert_eq!(table.stats().per_endpoint, [(PortId(1), 1000)]);
}

#[test]
fn what_nobody_answers_yields_to_its_own_endpoint_but_not_at_once() {
    let mut table = table(100, 3);
    let [first, second] = [1, 2].map(|port| outbound(Protocol::Udp, 1, port));
    let id = open(&mut table, START, &first);
    open(&mut table, START, &second);
    open(&mut table, START, &published(Protocol::Udp, 1, 3));
    // Its first packet was the first of all, but the last was not.
    let later = START + Duration::from_secs(10);
    table.seen(id, Direction::Original, later, None);
    let now = START + Duration::from_secs(31);
    let id = open(&mut table, now, &outbound(Protocol::Udp, 1, 4));
    table.seen(id, Direction::Reply, now, None);
    assert!(lives(&table, &first) && !lives(&table, &second));
    let outside = published(Protocol::Udp, 1, 3);
    assert!(lives(&table, &outside), "before what began outside");
    open(&mut table, now, &outbound(Protocol::Udp, 1, 5));
    assert!(lives(&table, &first) && !lives(&table, &outside));
    assert_eq!(table.insert(now, &outbound(Protocol::Udp, 1, 6), None), Err(Refused::Share));
    assert!(lives(&table, &first), "it spoke 21 s ago");
}
