//! The commands, as a user types them, against a real daemon.

use std::process::{Command, Stdio};

use pontoon::api::types::{Applied, DeviceKind, Endpoint, FdbEntry, Network, Port, Stats};
use pontoon::link::Links;
use pontoon_tools::lab::Namespace;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};

use crate::daemon::{Daemon, GATEWAY, until};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("commands/networks", networks),
        test("commands/attach", attach),
        test("commands/fdb", fdb),
        test("commands/stats", stats),
        test("commands/up-and-down", up_and_down),
        test("commands/daemon-config", config),
    ]
}

fn networks() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok("network ls -q"), "");
    daemon.ok("network create red --subnet 172.20.0.0/16 --gateway 172.20.255.254 --mtu 9000 --ageing 60");
    let red: Network = daemon.json("network show red");
    assert_eq!(red.subnet.to_string(), "172.20.0.0/16");
    assert_eq!((red.gateway.to_string().as_str(), red.mtu, red.ageing_seconds), ("172.20.255.254", 9000, 60));
    let blue: Network = daemon.json("network create blue --subnet 10.88.0.0/24");
    assert_eq!((blue.gateway, blue.mtu, blue.ageing_seconds), (GATEWAY, 1500, 300));
    assert_eq!(blue.gateway_mac.to_string(), "02:42:0a:58:00:01");
    assert_eq!(daemon.ok("network ls -q"), "blue\nred\n");
    assert_eq!(daemon.json::<Vec<String>>("network ls -q"), ["blue", "red"]);
    assert_eq!(daemon.json::<Vec<Network>>("network ls"), [blue, red]);
    let text = daemon.ok("network ls");
    assert!(text.lines().next().unwrap().contains("SUBNET") && text.lines().count() == 3, "{text}");
    daemon.ok("network set red --ageing 10");
    assert_eq!(daemon.json::<Network>("network show red").ageing_seconds, 10);
    daemon.ok("network rm red");
    assert_eq!(daemon.ok("network ls -q"), "blue\n");
    // Two networks do not hear one another.
    daemon.ok("network create green --subnet 10.89.0.0/24");
    let a = daemon.attach("");
    let namespace = Namespace::new("e2e").unwrap();
    let b: Endpoint = daemon.json(&format!("attach green --netns {}", namespace.name()));
    let mut pinger = Pinger::new(&a.namespace, GATEWAY).unwrap();
    let answer = pinger.ping(b.address.addr(), 56, PATIENCE).unwrap();
    // Administratively prohibited.
    assert_eq!(answer, Answer::Error { from: GATEWAY, kind: 3, code: 13 });
}

fn attach() {
    let daemon = Daemon::start();
    daemon.network("");
    let check = |namespace: &Namespace, endpoint: &Endpoint| {
        let look = || {
            let links = Links::open().unwrap();
            let link = links.get(&endpoint.ifname).unwrap();
            let lo = links.get("lo").unwrap();
            (links.addresses(&link).unwrap(), link, lo.up)
        };
        let (addresses, link, lo_up) = namespace.run(look).unwrap();
        assert!(addresses.contains(&endpoint.address.addr()));
        assert_eq!((link.mac, link.mtu, link.up, lo_up), (Some(endpoint.mac.0), 1500, true, true));
        let kind = if endpoint.kind == DeviceKind::Tap { "tun" } else { "veth" };
        assert_eq!(link.kind, kind);
        let mut pinger = Pinger::new(namespace, GATEWAY).unwrap();
        assert_eq!(pinger.ping(GATEWAY, 56, PATIENCE).unwrap(), Answer::Reply);
    };
    // By name, everything chosen for us: the lowest free address, and the MAC from it.
    let by_name = daemon.attach("");
    assert_eq!(by_name.endpoint.name, by_name.namespace.name());
    assert_eq!(by_name.endpoint.address.to_string(), "10.88.0.2/24");
    assert_eq!(by_name.mac().to_string(), "02:42:0a:58:00:02");
    check(&by_name.namespace, &by_name.endpoint);
    // By path, everything given.
    let namespace = Namespace::new("e2e").unwrap();
    let line = "--name db --ifname net0 --ip 10.88.0.77 --mac 02:00:00:00:00:77 --kind veth --isolated";
    let db: Endpoint = daemon.json(&format!("attach blue --netns /run/netns/{} {line}", namespace.name()));
    assert_eq!((db.name.as_str(), db.ifname.as_str(), db.kind), ("db", "net0", DeviceKind::Veth));
    assert_eq!(
        (db.address.to_string(), db.mac.to_string()),
        ("10.88.0.77/24".into(), "02:00:00:00:00:77".into())
    );
    check(&namespace, &db);
    let port = daemon.ports().into_iter().find(|port| port.port == "blue/db").unwrap();
    assert!(port.flags.isolated && port.flags.guard);
    assert_eq!(port.offloads, ["checksum", "tso", "uso"]);
    // By the process that lives there.
    let other = Namespace::new("e2e").unwrap();
    let sleep = || Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn();
    let mut process = other.run(sleep).unwrap().unwrap();
    let answer: Endpoint = daemon.json(&format!("attach blue --pid {}", process.id()));
    assert_eq!(answer.name, format!("pid-{}", process.id()));
    check(&other, &answer);
    process.kill().unwrap();
    process.wait().unwrap();
    // The same sandbox on a second network keeps its default route and reaches both gateways.
    daemon.ok("network create red --subnet 10.99.0.0/24");
    let second: Endpoint =
        daemon.json(&format!("attach red --netns {} --ifname eth1", by_name.namespace.name()));
    assert_eq!(second.ifname, "eth1");
    let mut pinger = Pinger::new(&by_name.namespace, GATEWAY).unwrap();
    for gateway in [GATEWAY, [10, 99, 0, 1].into()] {
        assert_eq!(pinger.ping(gateway, 56, PATIENCE).unwrap(), Answer::Reply);
    }
    assert_eq!(daemon.ok("port ls blue -q").lines().count(), 3);
    assert_eq!(daemon.ok("port ls red -q"), format!("red/{}\n", by_name.endpoint.name));
    daemon.ok("detach blue db");
    assert_eq!(namespace.run(|| Links::open()?.find("net0")).unwrap().unwrap(), None);
    assert_eq!(daemon.ok("port ls blue -q").lines().count(), 2);
}

fn fdb() {
    let daemon = Daemon::start();
    daemon.network("");
    let quiet = |options| {
        let namespace = Namespace::new("e2e").unwrap();
        // Else the kernel speaks by itself, now and then, and what was flushed is learned again.
        let off = || std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let _ = namespace.run(off).unwrap();
        daemon.attach_to(namespace, options)
    };
    let (a, b) = (quiet("--name a"), quiet("--name b"));
    let mut pinger = Pinger::new(&a.namespace, b.ip()).unwrap();
    let mut ping = || assert_eq!(pinger.ping(b.ip(), 56, PATIENCE).unwrap(), Answer::Reply);
    ping();
    let kinds = |daemon: &Daemon| {
        let list = daemon.fdb().into_iter();
        list.map(|it| (it.port, it.kind, it.age_seconds.is_some())).collect::<std::collections::BTreeSet<_>>()
    };
    let learned = |port: &str| (format!("blue/{port}"), "sticky".to_owned(), true);
    assert_eq!(kinds(&daemon), [learned("a"), learned("b")].into());
    let added: FdbEntry = daemon.json("fdb add blue 02:00:00:00:00:99 b");
    assert_eq!((added.kind.as_str(), added.port.as_str(), added.age_seconds), ("static", "blue/b", None));
    assert!(daemon.fdb().contains(&added));
    daemon.ok("fdb flush blue --port blue/a");
    let fixed = ("blue/b".to_owned(), "static".to_owned(), false);
    assert_eq!(kinds(&daemon), [learned("b"), fixed.clone()].into());
    daemon.ok("fdb flush blue");
    assert_eq!(kinds(&daemon), [fixed].into());
    assert_eq!(daemon.ok("fdb ls -q"), "02:00:00:00:00:99\n");
    daemon.ok("fdb rm blue 02:00:00:00:00:99");
    assert!(daemon.fdb().is_empty());
    ping();
    assert_eq!(daemon.fdb().len(), 2);
    daemon.ok(&format!("fdb rm blue {}", a.mac()));
    assert_eq!(daemon.fdb().len(), 1);
    let text = daemon.ok("fdb ls blue");
    assert!(text.starts_with("MAC ") && text.contains(&b.mac().to_string()), "{text}");
}

fn stats() {
    let daemon = Daemon::start_with(&["--workers", "2"]);
    daemon.network("");
    let (a, b) = (daemon.attach("--name a"), daemon.attach("--name b"));
    let mut pinger = Pinger::new(&a.namespace, b.ip()).unwrap();
    assert_eq!(pinger.ping(b.ip(), 56, PATIENCE).unwrap(), Answer::Reply);
    let before: Stats = daemon.json("stats blue");
    assert_eq!(before.workers, 2);
    assert!(before.ports.iter().all(|port| port.worker.is_some_and(|worker| worker < 2)), "{before:?}");
    for _ in 0..10 {
        assert_eq!(pinger.ping(b.ip(), 56, PATIENCE).unwrap(), Answer::Reply);
    }
    let after: Stats = daemon.json("stats");
    let count = |stats: &Stats, port: usize| (stats.ports[port].rx.frames, stats.ports[port].tx.frames);
    assert_eq!((after.ports[0].port.as_str(), after.ports[1].port.as_str()), ("blue/a", "blue/b"));
    for port in 0..2 {
        let (was, is) = (count(&before, port), count(&after, port));
        assert!(is.0 >= was.0 + 10 && is.1 >= was.1 + 10, "{was:?} {is:?}");
    }
    assert_eq!((after.fdbs[0].network.as_str(), after.fdbs[0].entries), ("blue", 2));
    let text = daemon.ok("stats");
    assert!(text.contains("blue/a") && text.contains("2 workers"), "{text}");
}

/// A declaration with everything in it, two namespaces of its own included.
fn declaration(daemon: &Daemon) -> (String, [String; 2]) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let names = ["web", "db"].map(|name| format!("e2e-{name}-{}-{number}", std::process::id()));
    let [web, db] = &names;
    let text = format!(
        "[[namespace]]\nname = \"{web}\"\ncreate = true\n\n[[namespace]]\nname = \"{db}\"\ncreate = true\n\n\
         [[network]]\nname = \"blue\"\nsubnet = \"10.88.0.0/24\"\nmtu = 1400\nageing_seconds = 20\n\n\
         [[network.endpoint]]\nname = \"web\"\nnetns = \"{web}\"\n\n\
         [[network.endpoint]]\nname = \"db\"\nnetns = \"{db}\"\nip = \"10.88.0.9\"\nkind = \"veth\"\n\
         [network.endpoint.port]\nhairpin = true\n\n\
         [[network.interface]]\nname = \"up0\"\n\n\
         [[network.fdb]]\nmac = \"02:00:00:00:00:99\"\nport = \"up0\"\n"
    );
    let far = || {
        let links = Links::open()?;
        links.create_veth("up0", "up1", &pontoon::netns::Netns::current().unwrap())
    };
    daemon.host.run(far).unwrap().unwrap();
    let file = daemon.path("up.toml");
    std::fs::write(&file, text).unwrap();
    (file.to_str().unwrap().to_owned(), names)
}

fn is_as_declared(daemon: &Daemon) {
    let network: Network = daemon.json("network show blue");
    assert_eq!((network.mtu, network.ageing_seconds, network.endpoints.len()), (1400, 20, 2));
    assert_eq!(network.interfaces[0].interface, "up0");
    let ports: Vec<Port> = daemon.ports();
    let db = ports.iter().find(|port| port.port == "blue/db").unwrap();
    assert_eq!((db.kind.as_str(), db.flags.hairpin, db.mtu), ("veth", true, 1400));
    let fixed: Vec<_> = daemon.fdb().into_iter().filter(|entry| entry.kind == "static").collect();
    assert_eq!((fixed.len(), fixed[0].port.as_str()), (1, "blue/up0"));
}

fn up_and_down() {
    let daemon = Daemon::start();
    let (file, names) = declaration(&daemon);
    let first: Applied = daemon.json(&format!("up -f {file}"));
    assert!(!first.changes.is_empty());
    is_as_declared(&daemon);
    let before = daemon.ok("network show blue --json");
    let again: Applied = daemon.json(&format!("up -f {file}"));
    assert_eq!(again.changes, [""; 0]);
    assert_eq!(daemon.ok("network show blue --json"), before);
    // What has drifted is put right.
    daemon.ok("detach blue web");
    daemon.ok("port set blue/db hairpin off");
    let drifted: Applied = daemon.json(&format!("up -f {file}"));
    assert_eq!(drifted.changes.len(), 2, "{drifted:?}");
    is_as_declared(&daemon);

    daemon.ok(&format!("down -f {file}"));
    assert_eq!(daemon.ok("network ls -q"), "");
    for name in &names {
        assert!(!std::path::Path::new("/run/netns").join(name).exists(), "{name} is left");
    }
    until("the veth's host end is gone with its sandbox", || {
        crate::survive::links(&daemon) == ["lo", "up1", "up0"]
            || crate::survive::links(&daemon) == ["lo", "up0", "up1"]
    });
    let nothing: Applied = daemon.json(&format!("down -f {file}"));
    assert_eq!(nothing.changes, [""; 0]);
}

fn config() {
    let mut daemon = Daemon::start();
    let (file, names) = declaration(&daemon);
    daemon.end(rustix::process::Signal::TERM);
    daemon.options = vec!["--config".into(), file.clone()];
    daemon.start_again();
    is_as_declared(&daemon);
    // A second start finds it all in place.
    daemon.end(rustix::process::Signal::TERM);
    daemon.start_again();
    is_as_declared(&daemon);
    daemon.ok(&format!("down -f {file}"));
    assert!(names.iter().all(|name| !std::path::Path::new("/run/netns").join(name).exists()));
    // A mistake in the file stops it before anything is done.
    daemon.end(rustix::process::Signal::TERM);
    std::fs::write(&file, "[[network]]\nname = 3\n").unwrap();
    let answer = daemon.host.run(|| crate::daemon::Answer::of(&mut daemon.command())).unwrap();
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("up.toml:2:8"), "{}", answer.stderr);
}
