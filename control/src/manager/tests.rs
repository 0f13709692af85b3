use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use pontoon_dataplane::PortId;

use super::*;
use crate::api::types::{Document, EndpointRequest, FdbRequest, InterfaceRequest, PortPatch};
use crate::config;
use crate::state::PortName;
use crate::store::Record;
use crate::testing::{Lab, endpoint, network};

fn records(lab: &Lab) -> Vec<Record> {
    lab.manager.store.load().unwrap()
}

/// Makes `change` fail at its first step, its second, ... and checks each time that nothing is left of it.
/// Returns how many steps it had.
fn fails_cleanly<T>(lab: &Lab, change: impl Fn(&Manager) -> Result<T, Error>) -> usize {
    let before = (lab.world.snapshot(), records(lab), lab.manager.state().clone());
    for steps in 0.. {
        *lab.world.fail_after.lock().unwrap() = Some(steps);
        let done = change(&lab.manager);
        *lab.world.fail_after.lock().unwrap() = None;
        let Err(error) = done else { return steps };
        assert!(error.to_string().contains("told to fail"), "{error}");
        let after = (lab.world.snapshot(), records(lab), lab.manager.state().clone());
        assert_eq!(after, before, "after {steps} steps");
    }
    unreachable!()
}

#[test]
fn an_attach_that_fails_anywhere_leaves_nothing() {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.create("blue", "10.2.0.0/24");
    lab.attach("blue", "a", "eth0").unwrap();
    let steps = fails_cleanly(&lab, |manager| {
        manager.attach("red", &EndpointRequest { ifname: Some("eth1".into()), ..endpoint("a") })
    });
    // Device made, configured, port, the other endpoint's identity, announcement.
    assert_eq!(steps, 5);
    assert_eq!(lab.manager.network("red").unwrap().endpoints.len(), 1);
}

#[test]
fn an_interface_that_fails_anywhere_is_given_back() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    let before = lab.world.snapshot();
    let request = InterfaceRequest { interface: "nic0".into() };
    assert_eq!(fails_cleanly(&lab, |manager| manager.add_interface("red", &request)), 4);
    assert!(lab.world.snapshot().up.contains("nic0"));
    lab.manager.remove_interface("red", "nic0").unwrap();
    assert_eq!(lab.world.snapshot(), before);
}

#[test]
fn endpoints_of_a_sandbox_know_each_others_addresses() {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.create("blue", "10.2.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    lab.attach("blue", "a", "eth1").unwrap();
    let sandbox_addresses = |network: &str, port: &str| {
        let (_, identity) = lab.world.snapshot().ports[&PortName::new(network, port)].clone();
        let mut all: Vec<String> =
            identity.unwrap().sandbox_addresses.iter().map(IpAddr::to_string).collect();
        all.sort();
        all
    };
    assert_eq!(sandbox_addresses("red", "a"), ["10.1.0.2", "10.2.0.2"]);
    assert_eq!(sandbox_addresses("blue", "a"), ["10.1.0.2", "10.2.0.2"]);
    assert_eq!(sandbox_addresses("red", "b"), ["10.1.0.3"]);
    lab.manager.detach("blue", "a").unwrap();
    assert_eq!(sandbox_addresses("red", "a"), ["10.1.0.2"]);
}

#[test]
fn what_is_given_up_is_chosen_again() {
    let lab = Lab::new(&["a", "b", "c"]);
    lab.create("red", "10.1.0.0/29");
    assert_eq!(lab.attach("red", "a", "eth0").unwrap(), "10.1.0.2");
    assert_eq!(lab.attach("red", "b", "eth0").unwrap(), "10.1.0.3");
    lab.manager.detach("red", "a").unwrap();
    assert_eq!(lab.attach("red", "c", "eth0").unwrap(), "10.1.0.2");
}

#[test]
fn bad_requests_are_refused_before_anything_is_done() {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    let before = (lab.world.snapshot(), records(&lab));
    let attach = |change: &dyn Fn(&mut EndpointRequest)| {
        let mut request = endpoint("b");
        change(&mut request);
        let error = lab.manager.attach("red", &request).unwrap_err();
        (error.status(), error.to_string())
    };
    type Case<'a> = (&'a dyn Fn(&mut EndpointRequest), u16, &'a str);
    let cases: [Case<'_>; 8] = [
        (&|it| it.ip = Some("10.1.0.2".parse().unwrap()), 409, "in use by the endpoint a"),
        (&|it| it.ip = Some("10.9.0.2".parse().unwrap()), 400, "outside"),
        (&|it| it.ip = Some("10.1.0.1".parse().unwrap()), 400, "gateway's"),
        (&|it| it.mac = Some("02:42:0a:01:00:02".parse().unwrap()), 409, "in use by a"),
        (&|it| it.mac = Some("02:42:0a:01:00:01".parse().unwrap()), 409, "in use by the gateway"),
        (&|it| it.ifname = Some("a-very-long-name".into()), 400, "too long"),
        (&|it| it.name = Some("a".into()), 409, "exists already"),
        (
            &|it| *it = EndpointRequest { name: Some("x".into()), ..endpoint("a") },
            409,
            "has an interface eth0",
        ),
    ];
    for (change, status, words) in cases {
        let (got, sentence) = attach(change);
        assert_eq!(got, status, "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
    }
    let missing = lab.manager.attach("red", &endpoint("nowhere")).unwrap_err();
    assert_eq!(missing.status(), 404);
    assert_eq!(lab.manager.attach("none", &endpoint("b")).unwrap_err().status(), 404);
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
}

#[test]
fn each_kind_of_port_names_the_command_that_takes_it_off() {
    let lab = Lab::new(&["a"]);
    lab.manager.up(&document(LAB)).unwrap();
    let before = (lab.world.snapshot(), records(&lab));
    let error = lab.manager.remove_interface("red", "web").unwrap_err();
    assert!(error.status() == 409 && error.to_string().contains("`pontoon detach red web`"), "{error}");
    let error = lab.manager.detach("red", "nic0").unwrap_err();
    assert!(error.status() == 409 && error.to_string().contains("`pontoon port rm red/nic0`"), "{error}");
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
}

#[test]
fn an_interface_has_nothing_to_guard() {
    let lab = Lab::new(&["a"]);
    let guarded = LAB.replace("name = \"nic0\"", "name = \"nic0\"\nport = { guard = true }");
    let error = lab.manager.up(&document(&guarded)).unwrap_err();
    assert!(
        error.status() == 400 && error.to_string().contains("no addresses of its own to guard"),
        "{error}"
    );
    assert_eq!(records(&lab), []);
    lab.manager.up(&document(LAB)).unwrap();
    let before = (lab.world.snapshot(), records(&lab));
    let on = PortPatch { guard: Some(true), ..PortPatch::default() };
    let error = lab.manager.set_port("red", "nic0", &on).unwrap_err();
    assert!(
        error.status() == 400 && error.to_string().contains("no addresses of its own to guard"),
        "{error}"
    );
    lab.manager.up(&document(&guarded)).unwrap_err();
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
    // What it has is no change.
    lab.manager.set_port("red", "nic0", &PortPatch { guard: Some(false), ..on }).unwrap();
}

#[test]
fn a_static_entry_contradicts_nobody() {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    let add = |mac: &str, port: &str| {
        let request = FdbRequest { network: "red".into(), mac: mac.parse().unwrap(), port: port.into() };
        lab.manager.add_fdb(&request).map(drop).map_err(|error| (error.status(), error.to_string()))
    };
    // Where it is anyway, and a stranger.
    add("02:42:0a:01:00:02", "a").unwrap();
    add("02:00:00:00:00:01", "a").unwrap();
    add("02:00:00:00:00:01", "red/a").unwrap();
    let before = (lab.world.snapshot(), records(&lab));
    for (mac, port, words) in [
        ("02:42:0a:01:00:02", "b", "behind red/a already"),
        ("02:42:0a:01:00:03", "a", "in use by the endpoint red/b"),
        ("02:42:0a:01:00:01", "b", "in use by the gateway"),
        (
            "02:00:00:00:00:01",
            "b",
            "behind red/a already; remove it first: `pontoon fdb rm red 02:00:00:00:00:01`",
        ),
    ] {
        let (status, sentence) = add(mac, port).unwrap_err();
        assert!(status == 409 && sentence.contains(words), "{status} {sentence}");
    }
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
}

#[test]
fn interfaces_that_cannot_be_ports() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    lab.create("blue", "10.2.0.0/24");
    let add = |network: &str, interface: &str| {
        lab.manager.add_interface(network, &InterfaceRequest { interface: interface.into() })
    };
    assert!(add("red", "lo").unwrap_err().to_string().contains("loopback"));
    assert_eq!(add("red", "none0").unwrap_err().status(), 404);
    add("red", "nic0").unwrap();
    assert!(add("blue", "nic0").unwrap_err().to_string().contains("on the network red already"));
}

#[test]
fn a_detach_that_fails_can_be_done_again() {
    let lab = Lab::new(&["a"]);
    lab.create("red", "10.1.0.0/24");
    let before = lab.world.snapshot();
    lab.attach("red", "a", "eth0").unwrap();
    // The port goes, its device does not.
    *lab.world.fail_after.lock().unwrap() = Some(1);
    assert!(lab.manager.detach("red", "a").is_err());
    *lab.world.fail_after.lock().unwrap() = None;
    assert_eq!(lab.manager.network("red").unwrap().endpoints.len(), 1);
    lab.manager.detach("red", "a").unwrap();
    assert_eq!(lab.world.snapshot(), before);
    assert_eq!(lab.manager.network("red").unwrap().endpoints, []);
}

#[test]
fn a_network_in_use_goes_only_by_force() {
    let lab = Lab::new(&["a", "b"]);
    let before = lab.world.snapshot();
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    let error = lab.manager.remove_network("red", false).unwrap_err();
    assert_eq!((error.status(), error.to_string().contains("in use by a, b")), (409, true), "{error}");
    lab.manager.remove_network("red", true).unwrap();
    assert_eq!(lab.world.snapshot(), before);
    assert_eq!(records(&lab), []);
}

#[test]
fn a_restart_takes_up_what_is_there_and_sweeps_what_is_not() {
    let lab = Lab::new(&["a", "b", "c"]);
    lab.create("red", "10.1.0.0/24");
    for netns in ["a", "b", "c"] {
        lab.attach("red", netns, "eth0").unwrap();
    }
    lab.manager.add_interface("red", &InterfaceRequest { interface: "nic0".into() }).unwrap();
    let isolated = PortPatch { isolated: Some(true), ..PortPatch::default() };
    lab.manager.set_port("red", "a", &isolated).unwrap();
    let entry = |mac: &str, port: &str| FdbRequest {
        network: "red".into(),
        mac: mac.parse().unwrap(),
        port: port.into(),
    };
    lab.manager.add_fdb(&entry("02:00:00:00:00:01", "red/a")).unwrap();
    lab.manager.add_fdb(&entry("02:00:00:00:00:02", "b")).unwrap();
    let before = lab.world.snapshot();

    let lab = lab.restart(|world| {
        world.delete_namespace("b");
        // Same namespace, but somebody deleted the device.
        let c = world.snapshot().namespaces["c"].ino;
        assert!(world.there.lock().unwrap().devices.remove(&(Some(c), "eth0".into())));
    });

    let after = lab.world.snapshot();
    let ports: Vec<String> = after.ports.keys().map(PortName::to_string).collect();
    assert_eq!(ports, ["red/a", "red/nic0"]);
    let a = PortName::new("red", "a");
    assert_eq!(after.ports[&a], before.ports[&a]);
    assert_eq!(after.statics.len(), 1);
    let swept: Vec<_> = lab.manager.events().into_iter().filter(|it| it.event == "endpoint-swept").collect();
    let causes: Vec<_> = swept.iter().map(|it| (it.subject.as_str(), it.cause.as_deref().unwrap())).collect();
    assert_eq!(causes, [("red/b", "its sandbox has gone"), ("red/c", "its device has gone")]);
    assert_eq!(lab.manager.network("red").unwrap().endpoints.len(), 1);
}

#[test]
fn a_daemon_killed_within_an_attach_leaves_nothing_after_the_next_start() {
    let lab = Lab::new(&["a"]);
    lab.create("red", "10.1.0.0/24");
    let clean = (lab.world.snapshot().devices, records(&lab));
    lab.attach("red", "a", "eth0").unwrap();
    let steps = {
        let state = lab.manager.state();
        let record = state.endpoint("red", "a").unwrap().clone();
        let mut without = state.clone();
        without.apply(&crate::store::Change::Remove(Record::Endpoint(record.clone())));
        plan::attach(&without, &without.networks["red"], record)
    };
    lab.manager.detach("red", "a").unwrap();
    let done = steps.iter().rposition(|step| matches!(step, Step::Store(_))).unwrap();
    let mut lab = lab;
    for killed_after in 0..=done {
        for step in &steps[..killed_after] {
            match step {
                Step::Store(changes) => lab.manager.store.commit(changes).unwrap(),
                other => lab.manager.world.perform(other).unwrap(),
            }
        }
        lab = lab.restart(|_| ());
        assert_eq!((lab.world.snapshot().devices, records(&lab)), clean, "killed after {killed_after} steps");
    }
}

#[test]
fn a_lost_port_takes_its_endpoint_along() {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    lab.world.delete_namespace("a");
    lab.manager.port_lost(PortId(0), "File descriptor in bad state");
    let endpoints = lab.manager.network("red").unwrap().endpoints;
    assert_eq!(endpoints.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(!lab.world.snapshot().ports.contains_key(&PortName::new("red", "a")));
    let last = lab.manager.events().pop().unwrap();
    assert_eq!((last.event.as_str(), last.subject.as_str()), ("port-lost", "red/a"));
}

#[test]
fn reads_do_not_wait_for_an_attach() {
    let lab = Lab::new(&["a"]);
    lab.create("red", "10.1.0.0/24");
    let manager = Arc::clone(&lab.manager);
    let closed = lab.world.gate.lock().unwrap();
    let attaching = std::thread::spawn(move || manager.attach("red", &endpoint("a")));
    // It stands before its first step once its record is there.
    while lab.manager.state().endpoints().next().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(lab.manager.networks()[0].endpoints, [], "nobody is told before it is attached");
    assert_eq!((lab.manager.ports(), lab.manager.stats().ports), (vec![], vec![]));
    drop(closed);
    attaching.join().unwrap().unwrap();
    assert_eq!(lab.manager.networks()[0].endpoints.len(), 1);
}

fn document(text: &str) -> Document {
    config::parse(Path::new("lab.toml"), text).unwrap()
}

const LAB: &str = r#"
    [[namespace]]
    name = "web"
    create = true
    [[namespace]]
    name = "a"

    [[network]]
    name = "red"
    subnet = "10.1.0.0/24"
    [[network.endpoint]]
    netns = "web"
    [[network.endpoint]]
    name = "second"
    netns = "a"
    ip = "10.1.0.9"
    port = { isolated = true }
    [[network.interface]]
    name = "nic0"
    [[network.fdb]]
    mac = "02:00:00:00:00:01"
    port = "nic0"
"#;

#[test]
fn up_twice_changes_nothing_and_down_leaves_nothing() {
    let lab = Lab::new(&["a"]);
    let before = lab.world.snapshot();
    let first = lab.manager.up(&document(LAB)).unwrap();
    assert_eq!(
        first.changes,
        [
            "namespace web created",
            "network red created",
            "red/web attached",
            "red/second attached",
            "red/nic0 added",
            "red: 02:00:00:00:00:01 set behind nic0",
        ]
    );
    let up = (lab.world.snapshot(), records(&lab));
    assert!(up.0.ports[&PortName::new("red", "second")].0.isolated);
    assert_eq!(lab.manager.up(&document(LAB)).unwrap().changes, Vec::<String>::new());
    assert_eq!((lab.world.snapshot(), records(&lab)), up);
    lab.manager.down(&document(LAB)).unwrap();
    assert_eq!(lab.world.snapshot(), before);
    assert_eq!(records(&lab), []);
    assert_eq!(lab.manager.down(&document(LAB)).unwrap().changes, Vec::<String>::new());
}

#[test]
fn an_up_that_fails_anywhere_leaves_nothing() {
    let lab = Lab::new(&["a"]);
    let document = document(LAB);
    assert!(fails_cleanly(&lab, |manager| manager.up(&document)) > 10);
}

#[test]
fn up_brings_flags_and_ageing_back_and_names_what_differs() {
    let lab = Lab::new(&["a"]);
    lab.manager.up(&document(LAB)).unwrap();
    lab.manager.set_network("red", &NetworkPatch { ageing_seconds: Some(5) }).unwrap();
    let patch = PortPatch { guard: Some(false), ..PortPatch::default() };
    lab.manager.set_port("red", "web", &patch).unwrap();
    let changes = lab.manager.up(&document(LAB)).unwrap().changes;
    assert_eq!(changes, ["network red: ageing set to 300 s", "red/web: flags set"]);
    let before = (lab.world.snapshot(), records(&lab));
    for (was, is, words) in [
        ("10.1.0.0/24", "10.1.0.0/16", "another subnet (10.1.0.0/24, not 10.1.0.0/16)"),
        ("10.1.0.9", "10.1.0.8", "the endpoint red/second exists with another ip"),
        (
            "netns = \"web\"",
            "name = \"web\"\nnetns = \"a\"",
            "another namespace (the namespace web, not the namespace a)",
        ),
    ] {
        let error = lab.manager.up(&document(&LAB.replace(was, is))).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.status(), 409);
        assert_eq!((lab.world.snapshot(), records(&lab)), before);
    }
}

#[test]
fn down_refuses_to_take_what_is_not_declared() {
    let lab = Lab::new(&["a", "b"]);
    lab.manager.up(&document(LAB)).unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    let before = lab.world.snapshot();
    let error = lab.manager.down(&document(LAB)).unwrap_err().to_string();
    assert!(error.contains("in use by b"), "{error}");
    assert_eq!(lab.world.snapshot(), before);
    // A namespace that another network uses.
    lab.manager.detach("red", "b").unwrap();
    lab.create("blue", "10.2.0.0/24");
    lab.attach("blue", "web", "eth1").unwrap();
    let error = lab.manager.down(&document(LAB)).unwrap_err().to_string();
    assert!(error.contains("namespace web is in use by blue/web"), "{error}");
}

#[test]
fn declarations_that_contradict_themselves() {
    let lab = Lab::new(&["a"]);
    let head = "[[network]]\nname = \"red\"\nsubnet = \"10.1.0.0/24\"\n";
    for (rest, words) in [
        ("[[network.endpoint]]\nname = \"x\"\n", "must have either netns or pid"),
        ("[[network.endpoint]]\nnetns = \"a\"\npid = 1\n", "must have either netns or pid"),
        ("[[network.endpoint]]\nnetns = \"a\"\n[[network.endpoint]]\nnetns = \"a\"\n", "a is declared twice"),
        ("[[network]]\nname = \"red\"\nsubnet = \"10.2.0.0/24\"\n", "red is declared twice"),
        ("[[namespace]]\nname = \"x/y\"\n", "relative path"),
    ] {
        let error = lab.manager.up(&document(&format!("{head}{rest}"))).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.status(), 400);
    }
    assert_eq!(records(&lab), []);
}

#[test]
fn networks_that_cannot_be() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    let mut small = network("blue", "10.2.0.0/24");
    small.mtu = Some(500);
    for (request, status) in [
        (network("red", "10.3.0.0/24"), 409),
        (network("blue", "10.1.0.128/25"), 409),
        (network("-blue", "10.3.0.0/24"), 400),
        (small, 400),
    ] {
        let error = lab.manager.create_network(&request).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
    }
    assert_eq!(lab.manager.networks().len(), 1);
}

#[test]
fn everything_goes_with_an_ephemeral_daemon() {
    let lab = Lab::new(&["a"]);
    let before = lab.world.snapshot();
    lab.manager.up(&document(LAB)).unwrap();
    lab.manager.remove_everything().unwrap();
    assert_eq!((lab.world.snapshot(), records(&lab)), (before, vec![]));
}
