//! A daemon that is killed before each single step of what it does. The next one finds nothing lost, nothing doubled and nothing stray, and what
//! was asked for can be asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use pontoon::api::types::{Network, SandboxRef};
use pontoon::link::{Link, Links};
use pontoon_tools::lab::Namespace;
use pontoon_tools::ping::{Answer, PATIENCE, Pinger};
use rustix::process::Signal;

use crate::daemon::{Daemon, until};
use crate::{Test, full, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![test("killed/at-every-step", every_step), test("killed/while-it-repairs", while_repairing)]
}

/// A daemon, and two namespaces for its endpoints, which commands call WEB and DB.
struct Scene {
    daemon: Daemon,
    web: Namespace,
    db: Namespace,
}

/// Something to do, and what takes it back.
struct Act {
    does: &'static str,
    undoes: &'static str,
}

const fn act(does: &'static str, undoes: &'static str) -> Act {
    Act { does, undoes }
}

/// Each stays done for those that follow.
const ACTS: [Act; 7] = [
    act("network create blue --subnet 10.88.0.0/29 --aux-address nas=10.88.0.3", "network rm blue"),
    act("attach blue --netns WEB --name web --alias www", "network disconnect blue web"),
    act("network create red --subnet 10.89.0.0/29", "network rm red --force"),
    act("network connect red --netns WEB --name web", "network disconnect red --netns WEB"),
    act("publish blue web 8080:80", "unpublish blue web 8080:80"),
    act("network disconnect blue --netns WEB", "network connect blue --netns WEB --name web"),
    act("network set red --internal", "network set red --internal=false"),
];

/// Further ones for the full counts.
const MORE: [Act; 6] = [
    act("attach red --netns DB --name db --kind veth", "detach red db"),
    act("network create green", "network rm green"),
    act("fdb add red 02:00:00:00:00:99 web", "fdb rm red 02:00:00:00:00:99"),
    act("rule add red deny --to 203.0.113.9", "rule rm red 1"),
    act("network set red --icc=false", "network set red --icc=true"),
    act("network rm red --force", "network create red --subnet 10.89.0.0/29 --internal"),
];

impl Scene {
    fn new() -> Scene {
        let namespace = || Namespace::new("e2e").unwrap();
        let mut scene = Scene { daemon: Daemon::start(), web: namespace(), db: namespace() };
        scene.daemon.end(Signal::KILL);
        scene
    }

    fn ask(&self, line: &str) -> (Option<i32>, String) {
        let line = line.replace("WEB", self.web.name()).replace("DB", self.db.name());
        let answer = self.daemon.ask(&line.split_whitespace().collect::<Vec<_>>());
        (answer.code, answer.stderr)
    }

    /// Has `act` done by daemons that die before its first step, its second one and so on, until one lives through it.
    /// Returns how many died.
    fn kill_at_each_step(&mut self, act: &Act) -> usize {
        for step in 1.. {
            let instant = format!("run:{step}");
            assert!(self.daemon.start_to_die(&instant), "it lives as long as nobody asks for anything");
            let (code, _) = self.ask(act.does);
            if code == Some(0) {
                self.check(&format!("{} without a kill", act.does));
                self.daemon.end(Signal::KILL);
                return step - 1;
            }
            until("the daemon is dead", || self.daemon.is_dead());
            self.daemon.start_again();
            let when = format!("{} killed before step {step}", act.does);
            self.check(&when);
            self.settle(act.does, &when);
            self.check(&when);
            let undone = self.ask(act.undoes);
            assert_eq!(undone, (Some(0), String::new()), "{} after {when}", act.undoes);
            self.check(&format!("{} after {when}", act.undoes));
            self.daemon.end(Signal::KILL);
        }
        unreachable!()
    }

    /// Asks again for what a daemon died of: it is done now, or had been done.
    fn settle(&self, line: &str, when: &str) {
        let (code, said) = self.ask(line);
        let done = ["already", "there is no", "does not publish"].iter().any(|words| said.contains(words));
        assert!(code == Some(0) || done, "{when}: {said}");
    }

    /// Holds what there is against what the daemon says there is.
    fn check(&self, when: &str) {
        let networks: Vec<Network> = self.daemon.json("network ls");
        let endpoints =
            || networks.iter().flat_map(|it| it.endpoints.iter().map(move |endpoint| (it, endpoint)));
        let addresses: BTreeSet<_> = endpoints().map(|(_, it)| it.address.addr()).collect();
        assert_eq!(addresses.len(), endpoints().count(), "{when}: an address twice");
        let ids: BTreeSet<_> = endpoints().map(|(_, it)| it.id).collect();
        assert_eq!(ids.len(), addresses.len(), "{when}: an id twice");

        let mut host: BTreeSet<String> = networks.iter().filter_map(|it| it.host_interface.clone()).collect();
        let peers = self.daemon.ports().into_iter().filter_map(|port| port.peer?.ifname);
        host.extend(peers.chain(["lo".to_owned()]));
        let found: BTreeSet<String> = links(&self.daemon.host).into_iter().map(|it| it.name).collect();
        assert_eq!(found, host, "{when}: interfaces of the host");

        for namespace in [&self.web, &self.db] {
            let sandbox = SandboxRef::Netns(namespace.name().to_owned());
            let inside: Vec<_> = endpoints().filter(|(_, it)| it.sandbox == sandbox).collect();
            let macs: BTreeMap<_, _> =
                inside.iter().map(|(_, it)| (it.ifname.clone(), Some(it.mac.0))).collect();
            let found = links(namespace).into_iter().filter(|it| !it.loopback);
            let found: BTreeMap<_, _> = found.map(|it| (it.name, it.mac)).collect();
            assert_eq!(found, macs, "{when}: interfaces of {}", namespace.name());
            for (network, _) in &inside {
                ping(namespace, network.gateway, when);
            }
            let gives = inside.iter().filter(|(_, it)| it.default_route).collect::<Vec<_>>();
            let leads_out = inside.iter().any(|(network, _)| !network.connection.internal);
            assert_eq!(gives.len(), usize::from(leads_out), "{when}: default routes");
            let expected = gives.first().map(|(network, it)| (it.ifname.clone(), network.gateway));
            assert_eq!(crate::networks::route(namespace), expected, "{when}");
        }
        let publications = networks.iter().flat_map(|it| &it.publications);
        assert!(publications.clone().all(|it| it.state == "up"), "{when}");
    }

    /// Every address that a network of that size has can be had, and none twice.
    fn fill(&mut self, network: &str, room: usize) {
        let there: Network = self.daemon.json(&format!("network show {network}"));
        let namespaces: Vec<_> =
            (there.endpoints.len()..room).map(|_| Namespace::new("e2e").unwrap()).collect();
        for namespace in &namespaces {
            self.daemon.ok(&format!("attach {network} --netns {}", namespace.name()));
        }
        let full: Network = self.daemon.json(&format!("network show {network}"));
        let addresses: BTreeSet<_> = full.endpoints.iter().map(|it| it.address).collect();
        assert_eq!(addresses.len(), room);
        let one_more = Namespace::new("e2e").unwrap();
        let (code, said) = self.ask(&format!("attach {network} --netns {}", one_more.name()));
        assert!(code == Some(1) && said.contains("has no free address left"), "{said}");
    }
}

fn links(namespace: &Namespace) -> Vec<Link> {
    namespace.run(|| Links::open()?.all()).unwrap().unwrap()
}

fn ping(from: &Namespace, to: Ipv4Addr, when: &str) {
    let mut pinger = Pinger::new(from, to).unwrap();
    assert_eq!(pinger.ping(to, 56, PATIENCE).unwrap(), Answer::Reply, "{when}: {to}");
}

fn every_step() {
    let mut scene = Scene::new();
    let acts = ACTS.iter().chain(if full() { &MORE[..] } else { &[] });
    let mut kills = 0;
    for act in acts {
        let died = scene.kill_at_each_step(act);
        assert!(died > 0, "{} has no step to be killed at", act.does);
        kills += died;
    }
    assert!(kills >= 30, "{kills} kills");
    scene.daemon.start_again();
    // Of six hosts one is the gateway and one reserved; of the other network only the gateway is taken.
    scene.fill("blue", 4);
    if !full() {
        scene.fill("red", 5);
    }
}

/// Killed in the middle of an attach and of a detach, and again before each step of the repair.
fn while_repairing() {
    let mut scene = Scene::new();
    scene.daemon.start_again();
    scene.daemon.ok("network create blue --subnet 10.88.0.0/29");
    scene.daemon.ok("network create red --subnet 10.89.0.0/29");
    scene.ask("attach red --netns DB --name db");
    for (before, act) in [("", "attach blue --netns WEB"), ("attach blue --netns WEB", "detach blue WEB")] {
        let mut repaired = false;
        for step in 1.. {
            if !before.is_empty() {
                assert_eq!(scene.ask(before).0, Some(0));
            }
            scene.daemon.end(Signal::KILL);
            assert!(scene.daemon.start_to_die("run:4"));
            assert_ne!(scene.ask(act).0, Some(0));
            until("the daemon is dead", || scene.daemon.is_dead());
            repaired = scene.daemon.start_to_die(&format!("start:{step}"));
            if repaired {
                scene.daemon.end(Signal::KILL);
            }
            scene.daemon.start_again();
            let when = format!("{act} killed, and its repair before step {step}");
            scene.check(&when);
            let blue: Network = scene.daemon.json("network show blue");
            assert_eq!(blue.endpoints, [], "{when}");
            if repaired {
                break;
            }
        }
        assert!(repaired);
    }
    scene.fill("blue", 5);
}
