//! How long silent sessions live.

use super::*;

const LATE: Duration = Duration::from_millis(200);

/// The session lives for `timeout` of silence from `since` on, and hardly longer.
#[track_caller]
fn check_lives_for(table: &mut Sessions, new: &NewSession, since: Timestamp, timeout: Duration) {
    assert_eq!(expire(table, since + timeout), 0, "{:?} after {timeout:?}", new.original);
    assert!(lives(table, new));
    assert_eq!(expire(table, since + timeout + LATE), 1, "{:?} after {timeout:?} and more", new.original);
    assert!(!lives(table, new));
}

#[test]
fn each_state_has_its_timeout() {
    let hours = Duration::from_secs(2 * 3600 + 4 * 60);
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let mut table = table(10, 10);

    let tcp = outbound(Protocol::Tcp, 1, 1);
    open(&mut table, START, &tcp);
    check_lives_for(&mut table, &tcp, START, minutes(4));

    let id = open(&mut table, START, &tcp);
    table.seen(id, Direction::Reply, START, SYN_ACK);
    check_lives_for(&mut table, &tcp, START, minutes(4));

    establish(&mut table, START, &tcp);
    check_lives_for(&mut table, &tcp, START, hours);

    let id = establish(&mut table, START, &tcp);
    table.seen(id, Direction::Original, START, FIN);
    check_lives_for(&mut table, &tcp, START, hours);

    let id = establish(&mut table, START, &tcp);
    table.seen(id, Direction::Original, START, FIN);
    table.seen(id, Direction::Reply, START, FIN);
    check_lives_for(&mut table, &tcp, START, minutes(4));

    let id = establish(&mut table, START, &tcp);
    table.seen(id, Direction::Reply, START, RST);
    check_lives_for(&mut table, &tcp, START, minutes(4));

    let id = establish(&mut table, START, &tcp);
    table.seen(id, Direction::Reply, START, RST);
    table.seen(id, Direction::Reply, START, ACK);
    check_lives_for(&mut table, &tcp, START, hours);

    let udp = outbound(Protocol::Udp, 1, 1);
    open(&mut table, START, &udp);
    check_lives_for(&mut table, &udp, START, minutes(5));

    let icmp = outbound(Protocol::Icmp, 1, 1);
    open(&mut table, START, &icmp);
    check_lives_for(&mut table, &icmp, START, minutes(1));
    assert!(table.is_empty());
}

#[test]
fn half_open_and_closed_connections_have_timeouts_of_their_own() {
    let [half_open, closed] = [20, 30].map(Duration::from_secs);
    let mut table = table(10, 10);
    let timeouts = Timeouts { tcp_half_open: half_open, tcp_closed: closed, ..Timeouts::default() };
    table.configure(Limits { sessions: 10, sessions_per_endpoint: 10 }, timeouts);
    let tcp = outbound(Protocol::Tcp, 1, 1);

    let id = open(&mut table, START, &tcp);
    table.seen(id, Direction::Reply, START, SYN_ACK);
    check_lives_for(&mut table, &tcp, START, half_open);

    let id = open(&mut table, START, &tcp);
    table.seen(id, Direction::Reply, START, RST);
    check_lives_for(&mut table, &tcp, START, closed);

    let id = establish(&mut table, START, &tcp);
    table.seen(id, Direction::Original, START, FIN);
    table.seen(id, Direction::Reply, START, FIN);
    check_lives_for(&mut table, &tcp, START, closed);
}

#[test]
fn packets_keep_a_session_alive() {
    for protocol in Protocol::ALL {
        let mut table = table(10, 10);
        let new = outbound(protocol, 1, 1);
        let id = open(&mut table, START, &new);
        let mut now = START;
        for _ in 0..20 {
            now = now + Duration::from_secs(50);
            assert_eq!(expire(&mut table, now), 0);
            table.seen(id, Direction::Original, now, flags_of(&new));
        }
        let timeout = match protocol {
            Protocol::Tcp => 240,
            Protocol::Udp => 300,
            Protocol::Icmp => 60,
        };
        check_lives_for(&mut table, &new, now, Duration::from_secs(timeout));
    }
}

#[test]
fn udp_is_refreshed_from_inside_only_but_where_a_port_is_published() {
    let mut table = table(10, 10);
    let timeout = Duration::from_secs(300);
    let later = START + Duration::from_secs(200);

    let new = outbound(Protocol::Udp, 1, 1);
    let id = open(&mut table, START, &new);
    table.seen(id, Direction::Reply, later, None);
    assert_eq!(table.get(id).state(), "two-way");
    check_lives_for(&mut table, &new, START, timeout);

    let by_mapping = NewSession { publication: None, ..published(Protocol::Udp, 1, 2) };
    let id = open(&mut table, START, &by_mapping);
    table.seen(id, Direction::Original, later, None);
    check_lives_for(&mut table, &by_mapping, START, timeout);

    let id = open(&mut table, START, &by_mapping);
    table.seen(id, Direction::Reply, later, None);
    check_lives_for(&mut table, &by_mapping, later, timeout);

    let published = published(Protocol::Udp, 1, 3);
    let id = open(&mut table, START, &published);
    table.seen(id, Direction::Original, later, None);
    check_lives_for(&mut table, &published, later, timeout);
}

#[test]
fn a_question_that_a_name_server_has_answered_is_kept_for_half_a_minute() {
    let query = |port| {
        let new = outbound(Protocol::Udp, 1, port);
        NewSession {
            original: Tuple { dst_port: 53, ..new.original },
            reply: Tuple { src_port: 53, ..new.reply },
            ..new
        }
    };
    let half_a_minute = Duration::from_secs(30);
    let mut table = table(10, 10);
    open(&mut table, START, &query(1));
    check_lives_for(&mut table, &query(1), START, Duration::from_secs(300));

    // The first answer counts, however late; what comes after it does not.
    let id = open(&mut table, START, &query(1));
    let answered = START + Duration::from_secs(200);
    table.seen(id, Direction::Reply, answered, None);
    table.seen(id, Direction::Reply, answered + Duration::from_secs(20), None);
    check_lives_for(&mut table, &query(1), answered, half_a_minute);

    let id = open(&mut table, START, &query(1));
    table.seen(id, Direction::Reply, START, None);
    let again = START + Duration::from_secs(20);
    table.seen(id, Direction::Original, again, None);
    check_lives_for(&mut table, &query(1), again, half_a_minute);

    // An endpoint's own name server is a service like any other.
    let served = published(Protocol::Udp, 1, 7);
    let served = NewSession { original: Tuple { dst_port: 53, ..served.original }, ..served };
    let id = open(&mut table, START, &served);
    table.seen(id, Direction::Reply, START, None);
    check_lives_for(&mut table, &served, START, Duration::from_secs(300));
}

#[test]
fn an_answer_that_does_not_refresh_does_not_postpone_either() {
    let mut table = table(10, 10);
    let first = outbound(Protocol::Udp, 1, 1);
    let id = open(&mut table, START, &first);
    let later = START + Duration::from_secs(30);
    open(&mut table, later, &outbound(Protocol::Udp, 1, 2));
    table.seen(id, Direction::Reply, later, None);
    check_lives_for(&mut table, &first, START, Duration::from_secs(300));
}

#[test]
fn a_busy_session_keeps_no_idle_one_alive() {
    let mut table = table(10, 10);
    let busy = open(&mut table, START, &outbound(Protocol::Udp, 1, 1));
    let idle = outbound(Protocol::Udp, 1, 2);
    open(&mut table, START, &idle);
    let mut now = START;
    while lives(&table, &idle) && now < START + Duration::from_secs(1000) {
        now = now + Duration::from_millis(500);
        table.seen(busy, Direction::Original, now, None);
        table.expire(now, 1);
    }
    let lived = now.since(START);
    assert!(lived >= Duration::from_secs(300), "ended early: {lived:?}");
    assert!(lived <= Duration::from_secs(300) + Moment::EPOCH + 2 * LATE, "ended late: {lived:?}");
}

#[test]
fn expiry_says_when_to_call_again_and_does_so_much_a_call() {
    let mut table = table(100, 100);
    assert_eq!(table.expire(START, 10), None);
    for port in 1..=25 {
        open(&mut table, START, &outbound(Protocol::Udp, 1, port));
    }
    let due = table.expire(START, 10).expect("something is due some time");
    assert!(due.since(START + Duration::from_secs(300)) <= LATE);
    assert_eq!(table.len(), 25);
    let left: Vec<u32> = (0..3)
        .map(|_| {
            table.expire(due, 10);
            table.len()
        })
        .collect();
    assert_eq!(left, [15, 5, 0]);
    assert_eq!(table.expire(due, 10), None);
    assert_eq!(table.stats().expired, 25);
}

#[test]
fn shorter_timeouts_count_at_once() {
    let mut table = table(10, 10);
    let new = outbound(Protocol::Tcp, 1, 1);
    establish(&mut table, START, &new);
    let timeouts = Timeouts { tcp_established: Duration::from_secs(10), ..Timeouts::default() };
    table.configure(Limits::default(), timeouts);
    check_lives_for(&mut table, &new, START, Duration::from_secs(10));
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let mut table = table(10, 10);
    let new = outbound(Protocol::Udp, 1, 1);
    let id = open(&mut table, START, &new);
    table.seen(id, Direction::Original, Timestamp::ZERO, None);
    table.seen(id, Direction::Original, START, None);
    assert_eq!(expire(&mut table, START), 0);
    assert_eq!(expire(&mut table, Timestamp::from_millis(u64::MAX)), 1);
    // Beyond its range time stands still, and all goes on.
    open(&mut table, Timestamp::from_millis(u64::MAX), &new);
    assert!(lives(&table, &new));
}
