//! Daemons that end, in good and in bad ways, and start again.

use std::os::unix::fs::PermissionsExt;

use pontoon::api::types::{FdbEntry, Network, Port};
use pontoon::link::Links;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use pontoon_tools::transfer::Transfer;
use rustix::process::Signal;

use crate::daemon::{Answer as Said, Daemon, GATEWAY, Station, until};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    let restart = |name, signal, kind: &'static str| {
        test(format!("survive/{name}/{kind}"), move || restart(signal, kind))
    };
    vec![
        restart("sigkill", Signal::KILL, "tap"),
        restart("sigkill", Signal::KILL, "veth"),
        restart("sigterm", Signal::TERM, "tap"),
        restart("sigterm", Signal::TERM, "veth"),
        test("survive/offloads-change", offloads_change),
        test("survive/swept-at-start", swept),
        test("survive/renamed-inside", renamed),
        test("survive/ephemeral", ephemeral),
        test("survive/second-daemon", second),
        test("survive/stale-socket", stale),
    ]
}

/// Everything that must be the same afterwards.
fn state(daemon: &Daemon) -> (Vec<Network>, Vec<Port>, Vec<FdbEntry>) {
    let fdb = daemon.fdb().into_iter().filter(|entry| entry.kind == "static").collect();
    (daemon.json("network ls"), daemon.ports(), fdb)
}

fn restart(signal: Signal, kind: &str) {
    let mut daemon = Daemon::start();
    daemon.network("--ageing 77");
    let a = daemon.attach(&format!("--kind {kind}"));
    let b = daemon.attach(&format!("--kind {kind} --ip 10.88.0.77 --mac 02:00:00:00:00:77 --name bee"));
    daemon.ok("fdb add blue 02:42:00:00:00:99 bee");
    daemon.ok(&format!("port set {} flood off", a.port()));
    daemon.ok("port set blue/bee hairpin on");
    let before = state(&daemon);
    let addresses = |station: &Station| {
        let list = || -> Result<_, pontoon::link::LinkError> {
            let links = Links::open()?;
            let link = links.get("eth0")?;
            Ok((links.addresses(&link)?, link))
        };
        station.namespace.run(list).unwrap().unwrap()
    };
    let inside = [addresses(&a), addresses(&b)];

    let stream = Transfer::start(&a.namespace, &b.namespace, b.ip(), None).unwrap();
    for _ in 0..2 {
        let goal = stream.received() + (20 << 20);
        until("the stream flows", || stream.received() > goal);
        let status = daemon.end(signal);
        assert!(!stream.has_ended(), "the stream broke with the daemon");
        assert_eq!(status.success(), signal == Signal::TERM, "{status}");
        daemon.start_again();
        let goal = stream.received() + (20 << 20);
        until("the stream flows again", || stream.received() > goal);
    }
    stream.stop();
    stream.finish().unwrap();

    assert_eq!(state(&daemon), before);
    assert_eq!([addresses(&a), addresses(&b)], inside);
    // The one that is attached next must not get an address that is in use.
    let c = daemon.attach("");
    assert_ne!(c.ip(), a.ip());
    let mut pinger = Pinger::new(&c.namespace, GATEWAY).unwrap();
    for to in [a.ip(), b.ip(), GATEWAY] {
        assert_eq!(pinger.ping(to, 56, PATIENCE).unwrap(), Answer::Reply, "{to}");
    }
    daemon.ok("detach blue bee");
    let gone = b.namespace.run(|| Links::open()?.find("eth0")).unwrap().unwrap();
    assert_eq!(gone, None);
}

/// As when the kernel was changed between two starts: every rung takes up the devices that another one made.
fn offloads_change() {
    let mut daemon = Daemon::start();
    daemon.network("");
    let (a, b) = (daemon.attach("--name a"), daemon.attach("--name b"));
    let stream = Transfer::start(&a.namespace, &b.namespace, b.ip(), None).unwrap();
    let rungs: [(&str, &[&str]); 6] = [
        ("none", &[]),
        ("tso", &["checksum", "tso"]),
        ("header", &[]),
        ("all", &["checksum", "tso", "uso"]),
        ("checksum", &["checksum"]),
        ("all", &["checksum", "tso", "uso"]),
    ];
    for (rung, offloads) in rungs {
        daemon.end(Signal::KILL);
        daemon.options = vec!["--offloads".into(), rung.into()];
        daemon.start_again();
        assert!(daemon.ports().iter().all(|port| port.offloads == offloads), "{rung}: {:?}", daemon.ports());
        let goal = stream.received() + (5 << 20);
        until("the stream flows again", || stream.received() > goal);
    }
    stream.stop();
    stream.finish().unwrap();
}

fn swept() {
    for kind in ["tap", "veth"] {
        let mut daemon = Daemon::start();
        daemon.network("");
        let stays = daemon.attach(&format!("--kind {kind}"));
        let goes = daemon.attach(&format!("--kind {kind}"));
        daemon.end(Signal::KILL);
        let port = goes.port();
        drop(goes);
        daemon.start_again();
        let ports: Vec<_> = daemon.ports().into_iter().map(|it| it.port).collect();
        assert_eq!(ports, [stays.port()]);
        assert!(daemon.log().iter().any(|line| line.contains(&port)), "the log tells of {port}");
        let mut pinger = Pinger::new(&stays.namespace, GATEWAY).unwrap();
        assert_eq!(pinger.ping(GATEWAY, 56, PATIENCE).unwrap(), Answer::Reply);
    }
}

/// A sandbox may call its interface what it likes: it is taken up again all the same, and goes with its endpoint.
fn renamed() {
    for kind in ["tap", "veth"] {
        let mut daemon = Daemon::start();
        daemon.network("");
        let station = daemon.attach(&format!("--kind {kind} --name a"));
        let other = daemon.attach(&format!("--kind {kind} --name b"));
        let rename = || -> Result<(), pontoon::link::LinkError> {
            let links = Links::open()?;
            let link = links.get("eth0")?;
            links.set_up(&link, false)?;
            links.rename(&link, "eth7")?;
            links.set_up(&link, true)
        };
        station.namespace.run(rename).unwrap().unwrap();
        // The other one keeps its name and gets another alias.
        let redress = || -> Result<(), pontoon::link::LinkError> {
            let links = Links::open()?;
            let link = links.get("eth0")?;
            links.set_up(&link, false)?;
            links.dress(&link, "eth0", other.mac().0, 1500)?;
            links.set_up(&link, true)
        };
        other.namespace.run(redress).unwrap().unwrap();
        daemon.end(Signal::KILL);
        daemon.start_again();
        assert_eq!(daemon.ports().len(), 2, "{:?}", daemon.log());
        let mut pinger = Pinger::new(&station.namespace, other.ip()).unwrap();
        assert_eq!(pinger.ping(other.ip(), 56, PATIENCE).unwrap(), Answer::Reply);
        daemon.ok("detach blue a");
        let left = station.namespace.run(|| Links::open()?.all()).unwrap().unwrap();
        let names: Vec<_> = left.into_iter().map(|link| link.name).collect();
        assert!(!names.iter().any(|name| name.starts_with("eth")), "{names:?}");
    }
}

fn ephemeral() {
    let mut daemon = Daemon::start_with(&["--ephemeral"]);
    let file = daemon.path("up.toml");
    let made = format!("e2e-made-{}", std::process::id());
    let text = format!(
        "[[namespace]]\nname = \"{made}\"\ncreate = true\n\n[[network]]\nname = \"red\"\nsubnet = \
         \"10.77.0.0/24\"\n\n[[network.endpoint]]\nnetns = \"{made}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    daemon.ok(&format!("up -f {}", file.display()));
    daemon.network("");
    let stations = [daemon.attach(""), daemon.attach("--kind veth")];
    assert!(std::path::Path::new("/run/netns").join(&made).exists());
    assert!(daemon.end(Signal::TERM).success());
    assert!(!std::path::Path::new("/run/netns").join(&made).exists(), "the namespace is left");
    for station in &stations {
        let left = station.namespace.run(|| Links::open()?.find("eth0")).unwrap().unwrap();
        assert_eq!(left, None, "the device of {} is left", station.port());
    }
    assert_eq!(links(&daemon), ["lo"]);
    assert!(!daemon.path("pontoon.sock").exists());
    daemon.start_again();
    assert_eq!(daemon.ok("network ls -q"), "");
}

/// Names of the interfaces in the daemon's namespace.
pub(crate) fn links(daemon: &Daemon) -> Vec<String> {
    let names = || std::fs::read_to_string("/proc/thread-self/net/dev");
    let text = daemon.host.run(names).unwrap().unwrap();
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn second() {
    let daemon = Daemon::start();
    let run = || Said::of(&mut daemon.command());
    let answer = daemon.host.run(run).unwrap();
    assert_eq!(answer.code, Some(1));
    let last = answer.stderr.lines().last().unwrap();
    assert!(last.contains("is running on") && last.contains("pontoon.sock"), "{last}");
    // Same state, another socket.
    let run = || {
        let mut command = std::process::Command::new(crate::daemon::PONTOON);
        command.arg("--socket").arg(daemon.path("other.sock"));
        Said::of(command.arg("daemon").arg("--state").arg(daemon.path("state")))
    };
    let answer = daemon.host.run(run).unwrap();
    assert_eq!(answer.code, Some(1));
    let last = answer.stderr.lines().last().unwrap();
    assert!(last.contains("the state") && last.contains("held by another daemon"), "{last}");
    assert!(!daemon.path("other.sock").exists());
    // The first one did not notice.
    daemon.network("");
}

fn stale() {
    let mut daemon = Daemon::start();
    let mode = |daemon: &Daemon| {
        let metadata = std::fs::metadata(daemon.path("pontoon.sock")).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&daemon), 0o660);
    daemon.network("");
    daemon.end(Signal::KILL);
    assert!(daemon.path("pontoon.sock").exists(), "a killed daemon leaves its socket");
    let answer = daemon.ask(&["network", "ls"]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("no daemon is running"), "{}", answer.stderr);
    daemon.start_again();
    assert_eq!(mode(&daemon), 0o660);
    assert_eq!(daemon.ok("network ls -q"), "blue\n");
    assert!(daemon.end(Signal::TERM).success());
    assert!(!daemon.path("pontoon.sock").exists());

    std::fs::write(daemon.path("pontoon.sock"), "precious").unwrap();
    let answer = daemon.host.run(|| Said::of(&mut daemon.command())).unwrap();
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("is not a socket"), "{}", answer.stderr);
    assert_eq!(std::fs::read(daemon.path("pontoon.sock")).unwrap(), b"precious");
}
