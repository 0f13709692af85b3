//! Devices and namespaces that vanish under traffic.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pontoon::api::types::Event;
use pontoon::link::Links;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use pontoon_tools::transfer::Transfer;

use crate::daemon::{Daemon, PONTOON, Station, until};
use crate::{Test, test};

/// How long one request is waited for where the next may be answered.
const SHORT: Duration = Duration::from_millis(100);

pub(crate) fn tests() -> Vec<Test> {
    let kinds = ["tap", "veth"];
    let namespace = |kind| test(format!("loss/namespace/{kind}"), move || vanishes(kind, drop));
    let device = |kind| test(format!("loss/device/{kind}"), move || vanishes(kind, delete_device));
    let link = |kind| test(format!("loss/link/{kind}"), move || link_down(kind));
    kinds.into_iter().flat_map(|kind| [namespace(kind), device(kind), link(kind)]).collect()
}

fn delete_device(station: Station) {
    let work = || {
        let links = Links::open()?;
        links.delete(&links.get("eth0")?)
    };
    station.namespace.run(work).unwrap().unwrap();
    // The namespace itself outlives the device for the rest of the test.
    std::mem::forget(station);
}

/// `pontoon events`, read in the background.
struct Events {
    child: Child,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Events {
    fn follow(daemon: &Daemon) -> Events {
        let mut command = Command::new(PONTOON);
        command.arg("--socket").arg(daemon.path("pontoon.sock")).args(["events", "--json"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                list.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Events { child, seen }
    }

    fn has(&self, event: &str, subject: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|it| it.event == event && it.subject == subject)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vanishes(kind: &str, how: fn(Station)) {
    let daemon = Daemon::start();
    daemon.network("");
    let stations = ["", "--kind veth", ""].map(|options| daemon.attach(options));
    let lost = daemon.attach(&format!("--kind {kind}"));
    let [a, b, c] = &stations;
    let (port, address) = (lost.port(), lost.ip());
    daemon.ok(&format!("fdb add blue 02:42:00:00:00:99 {port}"));
    let mut pinger = Pinger::new(&c.namespace, address).unwrap();
    assert_eq!(pinger.ping(address, 56, PATIENCE).unwrap(), Answer::Reply);
    drop(pinger);
    assert_eq!(daemon.fdb().iter().filter(|entry| entry.port == port).count(), 2);
    let events = Events::follow(&daemon);

    // Elsewhere a stream whose every byte is checked; into the device as many datagrams as go.
    let stream = Transfer::start(&a.namespace, &b.namespace, b.ip(), None).unwrap();
    let source = c.namespace.run(|| UdpSocket::bind((c.ip(), 0))).unwrap().unwrap();
    source.connect((address, 9)).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Ended on every way out: the scope waits for the thread.
        let _stop = Finally(&end);
        scope.spawn(|| {
            while !end.load(Relaxed) {
                // The port is closed there, and soon the host is gone: both are reported here.
                let _ = source.send(&[0x5a; 1000]);
            }
        });
        let flows = |more: u64| {
            let goal = stream.received() + more;
            until("the stream flows", || stream.received() > goal);
        };
        flows(1 << 20);
        let before = daemon.counters(c).rx.frames;
        until("datagrams flow", || daemon.counters(c).rx.frames > before + 100);
        how(lost);
        until("the port is gone", || daemon.ports().iter().all(|it| it.port != port));
        assert!(daemon.fdb().iter().all(|entry| entry.port != port), "{:?}", daemon.fdb());
        until("the loss is reported", || events.has("port-lost", &port));
        let said = daemon.log().into_iter().find(|line| line.contains(&format!("port-lost {port}: ")));
        assert!(said.as_ref().is_some_and(|line| line.ends_with("has gone")), "{said:?}");
        assert!(!daemon.ok("network show blue").contains(&address.to_string()));
        flows(10 << 20);
    });
    stream.stop();
    stream.finish().unwrap();

    // Its place is free again, and its address for those who ask for it.
    assert_ne!(daemon.attach("").ip(), address);
    assert_eq!(daemon.attach(&format!("--ip {address}")).ip(), address);
}

/// Who was behind a link that is down is forgotten, as a bridge does; what was entered by hand stays.
fn link_down(kind: &str) {
    let daemon = Daemon::start();
    daemon.network("");
    let (one, other) = (daemon.attach(&format!("--kind {kind}")), daemon.attach(""));
    // A veth's kernel sends nothing for up to a second after its carrier has come (net/core/link_watch.c).
    let ping = || {
        let mut pinger = Pinger::new(&other.namespace, one.ip()).unwrap();
        until("it answers", || pinger.ping(one.ip(), 56, SHORT).unwrap() == Answer::Reply);
    };
    let set = |up: bool| {
        let work = || {
            let links = Links::open()?;
            links.set_up(&links.get("eth0")?, up)
        };
        one.namespace.run(work).unwrap().unwrap();
    };
    ping();
    daemon.ok(&format!("fdb add blue 02:42:00:00:00:99 {}", one.port()));
    let behind = |station: &Station| {
        let entries = daemon.fdb().into_iter().filter(|entry| entry.port == station.port());
        entries.map(|entry| entry.kind).collect::<Vec<_>>()
    };
    assert_eq!(behind(&one).len(), 2);
    set(false);
    until("it is forgotten", || behind(&one) == ["static"]);
    assert_eq!(behind(&other).len(), 1, "its link is up");
    set(true);
    ping();
    assert_eq!(behind(&one).len(), 2);
}

struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
