//! TCP in every order of its flags.

use super::*;

/// Whoever begins, and whoever answers, sends those flags.
#[derive(Clone, Copy, Debug)]
enum Packet {
    Ours(Option<TcpFlags>),
    Theirs(Option<TcpFlags>),
}
use Packet::{Ours, Theirs};

const DATA: Option<TcpFlags> = Some(TcpFlags(0x18));

/// The states after each packet.
fn states(packets: &[Packet]) -> Vec<&'static str> {
    let mut table = table(10, 10);
    let new = outbound(Protocol::Tcp, 1, 1234);
    let mut id = None;
    packets
        .iter()
        .map(|packet| {
            match (id, *packet) {
                (None, Ours(flags)) => id = table.insert(START, &new, flags).ok(),
                (Some(id), Ours(flags)) => table.seen(id, Direction::Original, START, flags),
                (Some(id), Theirs(flags)) => table.seen(id, Direction::Reply, START, flags),
                (None, Theirs(_)) => panic!("the answer comes second"),
            }
            table.get(id.expect("there was room")).state()
        })
        .collect()
}

#[track_caller]
fn check(steps: &[(Packet, &str)]) {
    let packets: Vec<Packet> = steps.iter().map(|step| step.0).collect();
    let expected: Vec<&str> = steps.iter().map(|step| step.1).collect();
    assert_eq!(states(&packets), expected, "{packets:?}");
}

#[test]
fn three_packets_establish() {
    check(&[(Ours(SYN), "half-open"), (Theirs(SYN_ACK), "half-open"), (Ours(ACK), "established")]);
}

#[test]
fn crossing_syns_establish() {
    check(&[
        (Ours(SYN), "half-open"),
        (Theirs(SYN), "half-open"),
        (Ours(SYN_ACK), "established"),
        (Theirs(SYN_ACK), "established"),
    ]);
}

#[test]
fn an_answered_flood_stays_half_open() {
    check(&[
        (Ours(SYN), "half-open"),
        (Theirs(SYN_ACK), "half-open"),
        (Ours(SYN), "half-open"),
        (Theirs(SYN_ACK), "half-open"),
    ]);
}

#[test]
fn what_was_there_before_us_is_half_open_until_answered() {
    check(&[
        (Ours(DATA), "half-open"),
        (Ours(DATA), "half-open"),
        (Theirs(ACK), "half-open"),
        (Ours(DATA), "established"),
    ]);
}

#[test]
fn fins_in_either_order_close() {
    for (first, second) in [(Ours(FIN), Theirs(FIN)), (Theirs(FIN), Ours(FIN))] {
        check(&[
            (Ours(SYN), "half-open"),
            (Theirs(SYN_ACK), "half-open"),
            (Ours(ACK), "established"),
            (first, "closing"),
            (Ours(ACK), "closing"),
            (Theirs(ACK), "closing"),
            (second, "closed"),
            (Ours(ACK), "closed"),
            (Theirs(ACK), "closed"),
        ]);
    }
}

#[test]
fn data_go_on_after_one_fin() {
    check(&[
        (Ours(SYN), "half-open"),
        (Theirs(SYN_ACK), "half-open"),
        (Ours(ACK), "established"),
        (Ours(FIN), "closing"),
        (Theirs(DATA), "closing"),
        (Theirs(FIN), "closed"),
    ]);
}

#[test]
fn one_direction_may_repeat_its_fin() {
    check(&[
        (Ours(SYN), "half-open"),
        (Theirs(SYN_ACK), "half-open"),
        (Ours(ACK), "established"),
        (Ours(FIN), "closing"),
        (Ours(FIN), "closing"),
    ]);
}

#[test]
fn a_reset_closes_and_its_sender_can_take_it_back() {
    for (reset, other, again) in
        [(Ours(RST), Theirs(DATA), Ours(DATA)), (Theirs(RST), Ours(DATA), Theirs(DATA))]
    {
        check(&[
            (Ours(SYN), "half-open"),
            (Theirs(SYN_ACK), "half-open"),
            (Ours(ACK), "established"),
            (reset, "closed"),
            (other, "closed"),
            (again, "established"),
        ]);
    }
}

#[test]
fn a_refused_connection_is_closed_and_may_be_tried_again() {
    check(&[
        (Ours(SYN), "half-open"),
        (Theirs(Some(TcpFlags(0x14))), "closed"),
        (Ours(SYN), "half-open"),
        (Theirs(SYN_ACK), "half-open"),
        (Ours(ACK), "established"),
    ]);
}

#[test]
fn a_closed_session_opens_anew_only_for_who_began() {
    let closed =
        [Ours(SYN), Theirs(SYN_ACK), Ours(ACK), Ours(FIN), Theirs(FIN), Ours(ACK)].map(|it| (it, ""));
    let after = |packet| {
        let packets: Vec<Packet> = closed.iter().map(|step| step.0).chain([packet]).collect();
        states(&packets).last().copied()
    };
    assert_eq!(after(Ours(SYN)), Some("half-open"));
    assert_eq!(after(Theirs(SYN)), Some("closed"));
    assert_eq!(after(Ours(SYN_ACK)), Some("closed"));
}

#[test]
fn a_syn_does_not_disturb_an_established_session() {
    check(&[
        (Ours(SYN), "half-open"),
        (Theirs(SYN_ACK), "half-open"),
        (Ours(ACK), "established"),
        (Ours(SYN), "established"),
        (Theirs(SYN), "established"),
    ]);
}

#[test]
fn a_published_session_stays_one_when_it_opens_anew() {
    let mut table = table(10, 10);
    let new = published(Protocol::Tcp, 1, 5);
    let id = establish(&mut table, START, &new);
    table.seen(id, Direction::Reply, START, RST);
    table.seen(id, Direction::Original, START, SYN);
    assert_eq!(table.get(id).state(), "half-open");
    assert_eq!(table.publication(id), Some(9));
}
