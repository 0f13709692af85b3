//! Storms: two interfaces of one network that lead to the same switch, and a station that does not stop.

use std::net::Ipv4Addr;

use pontoon::api::types::{Port, PortStats, Stats, Trace};
use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::DEFAULT_AGEING;
use pontoon_tools::diff::wires::quiet_namespace;
use pontoon_tools::kernel::Kernel;
use pontoon_tools::lab::Namespace;
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};

use crate::daemon::{Daemon, PATIENCE, Station, until};
use crate::frames::{has, mark, plain};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("storms/loop", || looped("")),
        test("storms/loop-between-workers", || looped("--workers 3")),
        test("storms/limits", limits),
        test("storms/trace", traced),
    ]
}

const STRANGER: MacAddr = MacAddr([0x02, 0x42, 0, 0, 0, 0x77]);

const SWITCH: MacAddr = MacAddr([0x02, 0x42, 0, 0, 0, 0x88]);

/// Two cables, `loop0` and `loop1`, from the host to a switch: what comes by one leaves by the other.
fn switch(daemon: &Daemon) -> Namespace {
    let far = quiet_namespace("e2e-switch").unwrap();
    let make = || {
        let links = Links::open().unwrap();
        for name in ["loop0", "loop1"] {
            links.create_veth(name, name, far.netns()).unwrap();
        }
    };
    daemon.host.run(make).unwrap();
    let make = || {
        let (links, kernel) = (Links::open().unwrap(), Kernel::open().unwrap());
        kernel.create_plain_bridge("switch", SWITCH, DEFAULT_AGEING).unwrap();
        let switch = links.get("switch").unwrap();
        for name in ["loop0", "loop1"] {
            let cable = links.get(name).unwrap();
            kernel.enslave(cable.index, switch.index).unwrap();
            links.set_up(&cable, true).unwrap();
        }
        links.set_up(&switch, true).unwrap();
    };
    far.run(make).unwrap();
    far
}

fn ping(from: &Station, to: &Station) -> Answer {
    Pinger::new(&from.namespace, to.ip()).unwrap().ping(to.ip(), 56, PATIENCE).unwrap()
}

fn counters(daemon: &Daemon, port: &str) -> PortStats {
    let stats: Stats = daemon.json("stats");
    stats.ports.into_iter().find(|it| it.port == port).expect("the port is there")
}

fn blocked(daemon: &Daemon) -> Vec<String> {
    let ports: Vec<Port> = daemon.ports();
    ports.into_iter().filter(|port| port.blocked).map(|port| port.port).collect()
}

/// Whether a frame to everybody from `station` gets to the switch by that cable.
fn reaches(station: &Station, far: &Namespace, cable: &str, number: u8) -> bool {
    let ears = Peek::open(far, cable).unwrap();
    let mouth = Peek::open(&station.namespace, "eth0").unwrap();
    mouth.send(&plain(MacAddr::BROADCAST, station.mac().0, mark(number))).unwrap();
    ears.until(PATIENCE, |frame| has(&frame.bytes, mark(number))).is_ok()
}

fn looped(options: &str) {
    let options: Vec<&str> = options.split_whitespace().collect();
    let daemon = Daemon::start_with(&options);
    daemon.network("");
    let stations = [daemon.attach(""), daemon.attach("--kind veth")];
    let [a, b] = &stations;
    let far = switch(&daemon);
    daemon.ok("port add blue --interface loop0");
    daemon.ok("port add blue --interface loop1");
    // One frame is enough, and goes in circles.
    let mouth = Peek::open(&a.namespace, "eth0").unwrap();
    mouth.send(&plain(MacAddr::BROADCAST, a.mac().0, mark(1))).unwrap();
    until("a port of the loop is blocked", || !blocked(&daemon).is_empty());
    let ports = blocked(&daemon);
    let [port] = &ports[..] else { panic!("one of them is enough: {ports:?}") };
    let cable = port.strip_prefix("blue/").unwrap();
    let events = daemon.ok("events --no-follow");
    let line = events.lines().find(|line| line.contains("port-blocked")).expect("it is told");
    let other = if cable == "loop0" { "blue/loop1" } else { "blue/loop0" };
    assert!(line.contains(port) && line.contains(other) && line.contains("10 s"), "{line}");
    assert!(daemon.ok("port ls").lines().any(|line| line.contains(port) && line.contains("BLOCKED")));
    assert_eq!(dropped(&daemon, port, a.ip()).as_deref(), Some("loop"));
    // Whatever went in circles has come to its end there, and everybody else goes on.
    assert!(counters(&daemon, port).drops.contains_key("loop"));
    assert_eq!((ping(a, b), ping(b, a)), (Answer::Reply, Answer::Reply));
    // The other way is open.
    assert!(reaches(a, &far, other.strip_prefix("blue/").unwrap(), 2));
    // Without its cable in the switch it is no loop any more, and the administrator need not wait.
    let unplug = || {
        let links = Links::open().unwrap();
        links.delete(&links.get("switch").unwrap()).unwrap();
    };
    far.run(unplug).unwrap();
    daemon.ok(&format!("port set {port} loop-guard off"));
    assert_eq!(blocked(&daemon), [""; 0]);
    assert!(daemon.ok("events --no-follow").contains("port-unblocked"));
    assert!(reaches(a, &far, cable, 3) && reaches(b, &far, "loop0", 4) && reaches(b, &far, "loop1", 5));
}

fn limits() {
    let daemon = Daemon::start();
    daemon.network("");
    let (a, b) = (daemon.attach(""), daemon.attach(""));
    let settings = ["broadcast-limit 3", "multicast-limit 3", "unknown-limit 3"];
    settings.iter().for_each(|setting| drop(daemon.ok(&format!("port set {} {setting}", a.port()))));
    let listed = daemon.ok("port ls");
    for limit in ["broadcast-limit=3", "multicast-limit=3", "unknown-limit=3"] {
        assert!(listed.contains(limit), "{listed}");
    }
    assert_eq!(ping(&a, &b), Answer::Reply);
    let mouth = Peek::open(&a.namespace, "eth0").unwrap();
    let group = MacAddr([0x01, 0, 0x5e, 1, 2, 3]);
    for (reason, to) in
        [("broadcast-storm", MacAddr::BROADCAST), ("multicast-storm", group), ("unicast-storm", STRANGER)]
    {
        (0..200).for_each(|_| mouth.send(&plain(to, a.mac().0, mark(1))).unwrap());
        until("what is too much is dropped", || daemon.dropped(&a, reason) > 0);
        assert_eq!(daemon.dropped(&b, reason), 0);
    }
    // What is for somebody known is no storm.
    let ears = Peek::open(&b.namespace, "eth0").unwrap();
    (0..200).for_each(|_| mouth.send(&plain(b.mac().0, a.mac().0, mark(2))).unwrap());
    mouth.send(&plain(b.mac().0, a.mac().0, mark(3))).unwrap();
    let seen = ears.until(PATIENCE, |frame| has(&frame.bytes, mark(3))).unwrap();
    assert_eq!(seen.iter().filter(|frame| has(&frame.bytes, mark(2))).count(), 200);
    // Without limits all of it passes, and the settings are the daemon's to keep.
    daemon.ok(&format!("port set {} broadcast-limit off", a.port()));
    let before = daemon.dropped(&a, "broadcast-storm");
    (0..200).for_each(|_| mouth.send(&plain(MacAddr::BROADCAST, a.mac().0, mark(4))).unwrap());
    mouth.send(&plain(MacAddr::BROADCAST, a.mac().0, mark(5))).unwrap();
    let seen = ears.until(PATIENCE, |frame| has(&frame.bytes, mark(5))).unwrap();
    assert_eq!(seen.iter().filter(|frame| has(&frame.bytes, mark(4))).count(), 200);
    assert_eq!(daemon.dropped(&a, "broadcast-storm"), before);
    let refused = daemon.ask(&["port", "set", &a.port(), "learning", "5"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("on or off"), "{refused:?}");
}

/// Whichever worker reads the port, a trace says what its limit does to a broadcast now.
fn traced() {
    let daemon = Daemon::start_with(&["--workers", "3"]);
    daemon.network("");
    let stations = [0; 3].map(|_| daemon.attach(""));
    for station in &stations {
        assert_eq!(dropped(&daemon, &station.port(), station.ip()), None, "the bucket is full");
        daemon.ok(&format!("port set {} broadcast-limit 1", station.port()));
        let mouth = Peek::open(&station.namespace, "eth0").unwrap();
        until("a trace says that the bucket is empty", || {
            (0..50).for_each(|_| mouth.send(&plain(MacAddr::BROADCAST, station.mac().0, mark(1))).unwrap());
            dropped(&daemon, &station.port(), station.ip()).as_deref() == Some("broadcast-storm")
        });
    }
}

/// Why a broadcast that came in by the port would be dropped.
fn dropped(daemon: &Daemon, port: &str, from: Ipv4Addr) -> Option<String> {
    let port = port.strip_prefix("blue/").unwrap();
    let packet = format!("udp {from}:9 > 10.88.0.255:9");
    let answer = daemon.ask(&["trace", "blue", "--from", port, &packet, "--json"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{packet}");
    serde_json::from_str::<Trace>(&answer.stdout).unwrap().drop
}
