//! Port flags by their effect on real frames.

use pontoon_dataplane::MacAddr;
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};

use crate::daemon::{Daemon, GATEWAY, PATIENCE, Station, until};
use crate::frames::{Mark, has, mark, plain};
use crate::{Test, test};

const STRANGER: MacAddr = MacAddr([0x02, 0x42, 0, 0, 0, 0x99]);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("flags/isolated", isolated),
        test("flags/hairpin", hairpin),
        test("flags/flood", flood),
        test("flags/learning", learning),
        test("flags/ageing", ageing),
    ]
}

fn start(options: &[&str]) -> (Daemon, Vec<Station>) {
    let daemon = Daemon::start();
    daemon.network("");
    let stations = options.iter().map(|options| daemon.attach(options)).collect();
    (daemon, stations)
}

fn ping(from: &Station, to: std::net::Ipv4Addr) -> Answer {
    Pinger::new(&from.namespace, to).unwrap().ping(to, 56, PATIENCE).unwrap()
}

/// Whether `to` sees the first of two frames that `from` sends; the second goes to everybody.
fn arrives(from: &Station, to: &Station, frame: &[u8], first: Mark) -> bool {
    let ears = Peek::open(&to.namespace, "eth0").unwrap();
    let mouth = Peek::open(&from.namespace, "eth0").unwrap();
    let last = mark(100);
    mouth.send(frame).unwrap();
    mouth.send(&plain(MacAddr::BROADCAST, from.mac().0, last)).unwrap();
    let seen = ears.until(PATIENCE, |frame| has(&frame.bytes, last)).unwrap();
    seen.iter().any(|frame| has(&frame.bytes, first))
}

fn isolated() {
    let (daemon, stations) = start(&["--isolated", "--isolated --kind veth", ""]);
    let [a, b, open] = &stations[..] else { panic!("three") };
    for from in [a, b] {
        assert_eq!(ping(from, GATEWAY), Answer::Reply);
        assert_eq!(ping(from, open.ip()), Answer::Reply);
        assert_eq!(ping(open, from.ip()), Answer::Reply);
    }
    // A neighbour that does not answer: the own kernel reports the host unreachable (or nothing comes of it).
    assert_ne!(ping(a, b.ip()), Answer::Reply);
    assert_ne!(ping(b, a.ip()), Answer::Reply);
    // Nor does a frame to the known address get through.
    let ears = Peek::open(&b.namespace, "eth0").unwrap();
    let before = daemon.dropped(a, "isolated");
    Peek::open(&a.namespace, "eth0").unwrap().send(&plain(b.mac().0, a.mac().0, mark(1))).unwrap();
    until("the drop is counted", || daemon.dropped(a, "isolated") == before + 1);
    Peek::open(&open.namespace, "eth0").unwrap().send(&plain(b.mac().0, open.mac().0, mark(2))).unwrap();
    let seen = ears.until(PATIENCE, |frame| has(&frame.bytes, mark(2))).unwrap();
    assert!(!seen.iter().any(|frame| has(&frame.bytes, mark(1))));

    daemon.ok(&format!("port set {} isolated off", a.port()));
    until("one of the two is not isolated any more", || ping(a, b.ip()) == Answer::Reply);
}

fn hairpin() {
    let (daemon, stations) = start(&["", ""]);
    let [a, b] = &stations[..] else { panic!("two") };
    // Somebody who lives behind the same port.
    daemon.ok(&format!("fdb add blue {STRANGER} {}", a.port()));
    let ears = Peek::open(&a.namespace, "eth0").unwrap();
    let mouth = Peek::open(&a.namespace, "eth0").unwrap();
    let before = daemon.dropped(a, "same-port");
    mouth.send(&plain(STRANGER, a.mac().0, mark(1))).unwrap();
    until("the drop is counted", || daemon.dropped(a, "same-port") == before + 1);
    daemon.ok(&format!("port set {} hairpin on", a.port()));
    mouth.send(&plain(STRANGER, a.mac().0, mark(2))).unwrap();
    let seen = ears.until(PATIENCE, |frame| has(&frame.bytes, mark(2))).unwrap();
    assert!(!seen.iter().any(|frame| has(&frame.bytes, mark(1))));
    assert_eq!(ping(a, b.ip()), Answer::Reply);
}

fn flood() {
    let (daemon, stations) = start(&["", ""]);
    let [a, b] = &stations[..] else { panic!("two") };
    let unknown = plain(STRANGER, a.mac().0, mark(1));
    assert!(arrives(a, b, &unknown, mark(1)));
    daemon.ok(&format!("port set {} flood off", b.port()));
    assert!(!arrives(a, b, &unknown, mark(1)));
    // What is known, and what is for everybody, still comes.
    assert_eq!(ping(a, b.ip()), Answer::Reply);
    daemon.ok(&format!("port set {} flood on", b.port()));
    assert!(arrives(a, b, &unknown, mark(1)));
}

fn learning() {
    let (daemon, stations) = start(&["", ""]);
    let [a, b] = &stations[..] else { panic!("two") };
    daemon.ok(&format!("port set {} guard off", a.port()));
    daemon.ok(&format!("port set {} learning off", a.port()));
    let knows = || daemon.fdb().iter().any(|entry| entry.mac.0 == STRANGER);
    let hello = plain(MacAddr::BROADCAST, STRANGER, mark(1));
    assert!(arrives(a, b, &hello, mark(1)));
    assert!(!knows());
    daemon.ok(&format!("port set {} learning on", a.port()));
    assert!(arrives(a, b, &hello, mark(1)));
    assert!(knows());
}

fn ageing() {
    let (daemon, stations) = start(&["", ""]);
    let [a, b] = &stations[..] else { panic!("two") };
    assert_eq!(ping(a, b.ip()), Answer::Reply);
    let known = || daemon.fdb().len();
    assert_eq!(known(), 2);
    daemon.ok("network set blue --ageing 1");
    until("both have aged out", || known() == 0);
}
