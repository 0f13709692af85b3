use super::*;
use crate::gateway::reassembly::{MAX_PACKETS, PORT_PACKETS, TIMEOUT};

const HELD: Verdict = Verdict::Taken(Taken::Fragment);
const OVERLAP: Verdict = Verdict::Drop(DropReason::FragmentOverlap);
const MALFORMED: Verdict = Verdict::Drop(DropReason::GatewayMalformed);

/// A fragment of `message` from host `host` behind port `port`, of packet `id`.
fn piece(
    lab: &mut Lab,
    port: u8,
    id: u16,
    range: core::ops::Range<usize>,
    more: bool,
    message: &[u8],
) -> Verdict {
    let place = FragmentOf { id, offset: range.start, more };
    let packet = ipv4_fragment(address(port), GATEWAY.address, ICMP, &message[range], place);
    lab.send(port, &ethernet(GATEWAY.mac, mac(port), ethertype::IPV4, &packet))
}

#[test]
fn fragments_that_overlap_or_disagree_take_their_packet_with_them() {
    let message = echo_request(&pattern(192));
    let end = message.len();
    let other = [&[1; 72][..], &message[72..]].concat();
    let zeros = vec![0; end];
    type Pieces = [(core::ops::Range<usize>, bool)];
    // All but the last are held; the last comes from the message given.
    let cases: [(&str, &[u8], &Pieces); 8] = [
        ("shifted", &message, &[(0..64, true), (56..128, true)]),
        ("shifted, as blank as the buffer", &zeros, &[(192..end, false), (64..128, true), (120..192, true)]),
        ("inside, cut otherwise, other bytes", &other, &[(0..128, true), (64..72, true)]),
        ("around", &message, &[(64..128, true), (0..192, true)]),
        ("two ends", &message, &[(192..end, false), (64..128, false)]),
        ("data behind the end", &message, &[(64..128, false), (128..192, true)]),
        ("end before the data", &message, &[(128..192, true), (64..128, false)]),
        ("more where the end is", &message, &[(64..128, false), (64..128, true)]),
    ];
    for (what, last_source, pieces) in cases {
        let mut lab = Lab::new([ASKER]);
        let last = pieces.len() - 1;
        for (index, (range, more)) in pieces.iter().cloned().enumerate() {
            let is_last = index == last;
            let source = if is_last || last_source == zeros { last_source } else { &message };
            let expected = if is_last { OVERLAP } else { HELD };
            assert_eq!(piece(&mut lab, ASKER, 1, range, more, source), expected, "{what}");
        }
        assert_eq!(lab.counters(ASKER).dropped(DropReason::FragmentOverlap), 1, "{what}");
        // Nothing of it is left: the packet, sent again, is answered.
        assert_eq!(piece(&mut lab, ASKER, 1, 0..64, true, &message), HELD, "{what}");
        assert_eq!(
            piece(&mut lab, ASKER, 1, 64..end, false, &message),
            Verdict::Reply(Reply::Echo),
            "{what}"
        );
        read_icmp(&lab.made(), to_asker(), 1500);
    }
}

#[test]
fn repeated_fragments_do_no_harm() {
    let message = echo_request(&pattern(189));
    let mut lab = Lab::new([ASKER]);
    for _ in 0..2 {
        assert_eq!(piece(&mut lab, ASKER, 1, 128..197, false, &message), HELD);
        assert_eq!(piece(&mut lab, ASKER, 1, 0..64, true, &message), HELD);
    }
    assert_eq!(piece(&mut lab, ASKER, 1, 64..128, true, &message), Verdict::Reply(Reply::Echo));
}

#[test]
fn impossible_fragments_are_refused() {
    let message = echo_request(&pattern(192));
    let mut lab = Lab::new([ASKER]);
    assert_eq!(piece(&mut lab, ASKER, 1, 0..0, true, &message), MALFORMED, "empty");
    assert_eq!(piece(&mut lab, ASKER, 1, 64..64, false, &message), MALFORMED, "empty end");
    assert_eq!(piece(&mut lab, ASKER, 1, 0..63, true, &message), MALFORMED, "not in units of eight");
    // 65,528 + 8 + 20 bytes of header: the ping of death.
    for (offset, len) in [(65_528, 8), (65_512, 4), (64_000, 1516)] {
        let place = FragmentOf { id: 2, offset, more: false };
        let packet = ipv4_fragment(address(ASKER), GATEWAY.address, ICMP, &pattern(len), place);
        assert_eq!(lab.ask(&packet), MALFORMED, "{len} bytes at {offset}");
    }
    let place = FragmentOf { id: 3, offset: 65_512, more: false };
    let fits = ipv4_fragment(address(ASKER), GATEWAY.address, ICMP, &pattern(3), place);
    assert_eq!(lab.ask(&fits), HELD);
    let broken = ipv4_fragment(
        address(ASKER),
        GATEWAY.address,
        ICMP,
        &message[..64],
        FragmentOf { id: 4, offset: 0, more: true },
    );
    assert_eq!(lab.ask(&broken), HELD);
    assert_eq!(
        piece(&mut lab, ASKER, 4, 64..128, false, &message),
        MALFORMED,
        "whole, and the checksum is wrong"
    );
}

#[test]
fn packets_are_kept_apart() {
    let message = echo_request(&pattern(120));
    let mut lab = Lab::new([ASKER, 3]);
    assert_eq!(piece(&mut lab, ASKER, 1, 0..64, true, &message), HELD);
    assert_eq!(piece(&mut lab, ASKER, 2, 64..128, false, &message), HELD, "another identification");
    assert_eq!(piece(&mut lab, 3, 1, 64..128, false, &message), HELD, "another port");
    // The same source by another port (not guarded) adds nothing either.
    let stolen = ipv4_fragment(
        address(ASKER),
        GATEWAY.address,
        ICMP,
        &message[64..],
        FragmentOf { id: 1, offset: 64, more: false },
    );
    assert_eq!(lab.send(3, &ethernet(GATEWAY.mac, mac(3), ethertype::IPV4, &stolen)), HELD);
    let place = FragmentOf { id: 1, offset: 64, more: false };
    let other = ipv4_fragment(address(9), GATEWAY.address, ICMP, &message[64..], place);
    assert_eq!(lab.ask(&other), HELD, "another source");
    assert_eq!(piece(&mut lab, ASKER, 1, 64..128, false, &message), Verdict::Reply(Reply::Echo));
}

#[test]
fn what_waits_too_long_is_given_up_and_counted() {
    let message = echo_request(&pattern(120));
    let mut lab = Lab::new([ASKER]);
    let start = lab.now;
    let before = lab.tick();
    assert_eq!(piece(&mut lab, ASKER, 1, 0..64, true, &message), HELD);
    assert!(before < Some(start + TIMEOUT));
    lab.wait(TIMEOUT - Duration::from_millis(1));
    assert_eq!(lab.tick(), Some(start + TIMEOUT), "asks to be called when the time is up");
    assert_eq!(lab.counters(ASKER).dropped(DropReason::FragmentTimeout), 0);
    lab.wait(Duration::from_millis(1));
    lab.tick();
    let counters = lab.counters(ASKER);
    let timeouts = counters.drops.iter().find(|(reason, _)| *reason == DropReason::FragmentTimeout).unwrap();
    assert_eq!((timeouts.1.frames, timeouts.1.bytes), (1, 64));
    assert_eq!(piece(&mut lab, ASKER, 1, 64..128, false, &message), HELD, "too late");
}

#[test]
fn a_port_at_its_share_loses_its_own_oldest() {
    let message = echo_request(&pattern(120));
    let mut lab = Lab::new([ASKER, 3]);
    assert_eq!(piece(&mut lab, 3, 0, 0..64, true, &message), HELD);
    for id in 0..=PORT_PACKETS as u16 {
        assert_eq!(piece(&mut lab, ASKER, id, 0..64, true, &message), HELD);
        lab.wait(Duration::from_millis(1));
    }
    assert_eq!(lab.counters(ASKER).dropped(DropReason::FragmentsFull), 1);
    assert_eq!(lab.counters(3).dropped(DropReason::FragmentsFull), 0);
    for id in 1..=PORT_PACKETS as u16 {
        assert_eq!(
            piece(&mut lab, ASKER, id, 64..128, false, &message),
            Verdict::Reply(Reply::Echo),
            "packet {id}"
        );
    }
    assert_eq!(piece(&mut lab, ASKER, 0, 64..128, false, &message), HELD, "the oldest is gone");
    assert_eq!(piece(&mut lab, 3, 0, 64..128, false, &message), Verdict::Reply(Reply::Echo));
}

#[test]
fn a_full_table_takes_from_who_holds_most() {
    let message = echo_request(&pattern(120));
    let greedy: Vec<u8> = (10..10 + (MAX_PACKETS / PORT_PACKETS) as u8).collect();
    let mut lab = Lab::new(greedy.iter().copied().chain([ASKER]));
    for &port in &greedy {
        for id in 0..PORT_PACKETS as u16 {
            assert_eq!(piece(&mut lab, port, id, 0..64, true, &message), HELD);
        }
    }
    for id in 0..3 {
        assert_eq!(piece(&mut lab, ASKER, id, 0..64, true, &message), HELD);
        // The greedy go on: they only take from each other.
        assert_eq!(piece(&mut lab, greedy[0], 100 + id, 0..64, true, &message), HELD);
    }
    for id in 0..3 {
        assert_eq!(
            piece(&mut lab, ASKER, id, 64..128, false, &message),
            Verdict::Reply(Reply::Echo),
            "packet {id}"
        );
    }
    assert_eq!(lab.counters(ASKER).dropped(DropReason::FragmentsFull), 0);
    let lost: u64 = greedy.iter().map(|&port| lab.counters(port).dropped(DropReason::FragmentsFull)).sum();
    assert!(lost >= 3, "{lost} packets made room");
}

#[test]
fn nobody_takes_from_who_holds_no_more() {
    let message = echo_request(&pattern(120));
    let ports: Vec<u8> = (10..10 + MAX_PACKETS as u8).collect();
    let mut lab = Lab::new(ports.iter().copied());
    for &port in &ports {
        assert_eq!(piece(&mut lab, port, 1, 0..64, true, &message), HELD);
        lab.wait(Duration::from_millis(1));
    }
    for asker in [ports[0], ports[MAX_PACKETS / 2], ports[MAX_PACKETS - 1]] {
        // The others have one packet each as well, so a second one makes its own room.
        assert_eq!(piece(&mut lab, asker, 2, 0..64, true, &message), HELD);
        assert_eq!(lab.counters(asker).dropped(DropReason::FragmentsFull), 1, "port {asker}");
    }
    for &port in &ports {
        assert!(lab.counters(port).dropped(DropReason::FragmentsFull) <= 1);
        let held = 1 + lab.counters(port).dropped(DropReason::FragmentsFull) as u16;
        let verdict = piece(&mut lab, port, held, 64..128, false, &message);
        assert_eq!(verdict, Verdict::Reply(Reply::Echo), "port {port}");
    }
}

#[test]
fn a_port_that_comes_anew_starts_anew() {
    let message = echo_request(&pattern(120));
    let mut lab = Lab::new([ASKER]);
    assert_eq!(piece(&mut lab, ASKER, 1, 0..64, true, &message), HELD);
    lab.change(|snapshot| snapshot.ports.clear());
    lab.change(|snapshot| snapshot.ports = super::snapshot(vec![open_port(ASKER)]).ports);
    assert_eq!(piece(&mut lab, ASKER, 1, 64..128, false, &message), HELD);
}

#[test]
fn every_worker_gives_up_what_waited_too_long() {
    for worker in [0, 1] {
        let mut lab = Lab::new([ASKER]);
        let snapshot = Arc::clone(lab.core.snapshot());
        lab.core = Core::new(worker);
        lab.core.adopt(lab.now, snapshot);
        lab.change(|snapshot| {
            let counters = (0..2).map(|_| crate::counters::PortCounters::default());
            snapshot.ports[usize::from(ASKER)].as_mut().unwrap().counters = counters.collect();
        });
        let start = lab.now;
        let mut due = lab.tick();
        // Nobody ticks because a frame came.
        let fragment = FragmentOf { id: 1, offset: 0, more: true };
        lab.ask(&ipv4_fragment(address(ASKER), GATEWAY.address, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0], fragment));
        while lab.counters(ASKER).drops.is_empty() {
            lab.now = due.expect("wants to be called again");
            assert!(lab.now <= start + 2 * TIMEOUT, "worker {worker} forgets its fragment");
            due = lab.tick();
        }
    }
}
