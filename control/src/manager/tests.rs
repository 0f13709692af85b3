use std::collections::BTreeSet;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pontoon_dataplane::PortId;

use super::*;
use crate::api::types::{
    Connection, Document, EndpointRequest, FdbRequest, InterfaceRequest, LinkBody, PortPatch, Publication,
    PublicationRequest, RuleAction, RuleBody, RuleRequest, Uplink,
};
use crate::config;
use crate::state::{PortName, RulesOf};
use crate::store::{Change, InterfaceRecord, Record};
use crate::testing::{FakeWorld, Lab, endpoint, network};

fn records(lab: &Lab) -> Vec<Record> {
    lab.manager.store.load().unwrap()
}

/// The records but for what is remembered of addresses.
fn things(lab: &Lab) -> Vec<Record> {
    let is_thing = |record: &Record| !matches!(record, Record::Cursor(_) | Record::Resting(_));
    records(lab).into_iter().filter(is_thing).collect()
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
    assert_eq!(fails_cleanly(&lab, |manager| manager.add_interface("red", &request)), 5);
    let there = lab.world.snapshot();
    assert!(there.up.contains("nic0") && there.kept_off.contains("nic0"));
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
fn what_is_given_up_rests_until_nothing_else_is_free() {
    let mut lab = Lab::new(&["a", "b", "c", "d", "e", "f"]);
    lab.create("red", "10.1.0.0/29");
    assert_eq!(lab.attach("red", "a", "eth0").unwrap(), "10.1.0.2");
    assert_eq!(lab.attach("red", "b", "eth0").unwrap(), "10.1.0.3");
    lab.manager.detach("red", "b").unwrap();
    lab.manager.detach("red", "a").unwrap();
    for (netns, address) in [("c", "4"), ("d", "5"), ("e", "6"), ("a", "3"), ("f", "2")] {
        lab = lab.restart(|_| ());
        assert_eq!(lab.attach("red", netns, "eth0").unwrap(), format!("10.1.0.{address}"));
    }
    let error = lab.attach("red", "b", "eth0").unwrap_err();
    assert!(error.status() == 409 && error.to_string().contains("has no free address left"), "{error}");
    lab.manager.remove_network("red", true).unwrap();
    assert_eq!(
        (records(&lab), lab.manager.known()),
        (vec![], State::default()),
        "nothing is remembered of it"
    );
}

#[test]
fn bad_requests_are_refused_before_anything_is_done() {
    let lab = Lab::new(&["a", "b", "c"]);
    lab.create("red", "10.1.0.0/24");
    let www = EndpointRequest { aliases: vec!["www".into()], ..endpoint("a") };
    lab.manager.attach("red", &www).unwrap();
    let attach = |change: &dyn Fn(&mut EndpointRequest)| {
        let mut request = endpoint("b");
        change(&mut request);
        let error = lab.manager.attach("red", &request).unwrap_err();
        (error.status(), error.to_string())
    };
    type Case<'a> = (&'a dyn Fn(&mut EndpointRequest), u16, &'a str);
    lab.create("blue", "10.2.0.0/24");
    lab.attach("blue", "b", "eth0").unwrap();
    lab.attach("red", "c", "eth0").unwrap();
    let cases: [Case<'_>; 12] = [
        (&|it| it.ip = Some("10.1.0.2".parse().unwrap()), 409, "in use by the endpoint a"),
        (&|it| it.ip = Some("10.9.0.2".parse().unwrap()), 400, "outside"),
        (&|it| it.ip = Some("10.1.0.1".parse().unwrap()), 400, "gateway's"),
        (&|it| it.mac = Some("02:42:0a:01:00:02".parse().unwrap()), 409, "in use by a"),
        (&|it| it.mac = Some("02:42:0a:01:00:01".parse().unwrap()), 409, "in use by the gateway"),
        (&|it| it.ifname = Some("a-very-long-name".into()), 400, "too long"),
        (&|it| it.name = Some("a".into()), 409, "exists already"),
        (&|it| it.name = Some("WWW".into()), 409, "the name WWW is the endpoint red/a's already"),
        (&|it| it.aliases = vec!["x".into(), "A".into()], 409, "the name A is the endpoint red/a's already"),
        (&|it| it.aliases = vec!["a b".into()], 400, "cannot be the name of an endpoint"),
        (
            &|it| *it = EndpointRequest { name: Some("x".into()), ..endpoint("a") },
            409,
            "the namespace a is on the network red already, as the endpoint red/a",
        ),
        (&|it| it.ifname = Some("eth0".into()), 409, "has an interface eth0"),
    ];
    let before = (lab.world.snapshot(), records(&lab));
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
    let host_port = add("blue", "ptn-red").unwrap_err().to_string();
    assert!(host_port.contains("the host sits on the network red by it"), "{host_port}");
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
fn the_host_is_kept_off_an_interface_whatever_became_of_it_meanwhile() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    let before = lab.world.snapshot();
    let forgets = |world: &FakeWorld| world.there.lock().unwrap().kept_off.clear();
    lab.manager.add_interface("red", &InterfaceRequest { interface: "nic0".into() }).unwrap();
    let lab = lab.restart(forgets);
    assert!(lab.world.snapshot().kept_off.contains("nic0"));
    // A version that knew nothing of it wrote the record.
    let record = lab.manager.known().interfaces().next().unwrap().clone();
    let older = InterfaceRecord { host_stack: None, ..record.clone() };
    let (was, is) = (Record::Interface(record.clone()), Record::Interface(older));
    lab.manager.change(&[Step::Store(vec![Change::Replace { before: was, after: is }])]).unwrap();
    let lab = lab.restart(forgets);
    assert!(lab.world.snapshot().kept_off.contains("nic0"));
    assert_eq!(lab.manager.known().interfaces().next(), Some(&record));
    lab.manager.remove_interface("red", "nic0").unwrap();
    assert_eq!(lab.world.snapshot(), before);
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
    let clean = (lab.world.snapshot().devices, things(&lab));
    lab.attach("red", "a", "eth0").unwrap();
    let steps = {
        let state = lab.manager.state();
        let record = state.endpoint("red", "a").unwrap().clone();
        let mut without = state.clone();
        without.apply(&crate::store::Change::Remove(Record::Endpoint(record.clone())));
        plan::attach(&without, &without.networks["red"], record, true)
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
        assert_eq!((lab.world.snapshot().devices, things(&lab)), clean, "killed after {killed_after} steps");
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
    [[network.rule]]
    action = "deny"
    to = "203.0.113.0/24"
    protocol = "tcp"
    port = 80
    [[network.link]]
    from = "web"
    to = "second"
    port = 5432
    [[network.publish]]
    endpoint = "web"
    ports = "8080-8081:80-81"
    allow = ["192.0.2.0/24"]
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
            "red: rules set",
            "red/web attached",
            "red/second attached",
            "red/nic0 added",
            "red: 02:00:00:00:00:01 set behind nic0",
            "red: web to second:5432/tcp linked",
            "red/web: 8080-8081:80-81/tcp published",
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
fn up_sets_what_differs_of_the_edge_and_takes_it_back() {
    let lab = Lab::new(&["a"]);
    lab.manager.up(&document(LAB)).unwrap();
    let id = lab.manager.publications()[0].id;
    let other = LAB
        .replace("subnet = \"10.1.0.0/24\"", "subnet = \"10.1.0.0/24\"\nicc = false\nhost_access = false")
        .replace("port = 80\n", "port = \"80-90\"\n")
        .replace("allow = [\"192.0.2.0/24\"]", "");
    assert!(fails_cleanly(&lab, |manager| manager.up(&document(&other))) >= 3);
    let edge = |lab: &Lab| {
        let there = lab.world.snapshot();
        let rules = there.published[&id].record.rules.len();
        (there.connections["red"].icc, there.host_ports.len(), there.rules["red"][0].rule.to_string(), rules)
    };
    assert_eq!(edge(&lab), (false, 0, "deny to 203.0.113.0/24 tcp port 80-90".into(), 0));
    let back = lab.manager.up(&document(LAB)).unwrap().changes;
    assert_eq!(
        back,
        ["network red: host_access, icc set", "red: rules set", "red/web: 8080-8081:80-81/tcp published"]
    );
    assert_eq!(edge(&lab), (true, 1, "deny to 203.0.113.0/24 tcp port 80".into(), 2));
    // No rules declared: those that are there stay.
    let silent = LAB.replace("[[network.rule]]", "[[network.link]]\nfrom=\"second\"\nto=\"web\"");
    let silent = silent.replace("action = \"deny\"\n", "").replace("to = \"203.0.113.0/24\"\n", "");
    let silent = silent.replace("protocol = \"tcp\"\n    port = 80\n", "");
    assert_eq!(lab.manager.up(&document(&silent)).unwrap().changes, ["red: second to web linked"]);
    assert_eq!(lab.world.snapshot().rules["red"].len(), 1);
}

#[test]
fn a_declared_publication_has_its_rules_in_order() {
    let lab = Lab::new(&["a"]);
    let rules = |lab: &Lab| -> Vec<(u32, String)> {
        let rules = lab.manager.publications().remove(0).rules;
        rules.into_iter().map(|it| (it.number, it.rule.to_string())).collect()
    };
    let with = |lines: &str| LAB.replace("allow = [\"192.0.2.0/24\"]", lines);
    let declared = with(
        "[[network.publish.rule]]\naction = \"deny\"\nfrom = \"192.0.2.66/32\"\nport = 8080
         [[network.publish.rule]]\naction = \"allow\"",
    );
    lab.manager.up(&document(&declared)).unwrap();
    assert_eq!(rules(&lab), [(1, "deny from 192.0.2.66/32 port 8080".into()), (2, "allow".into())]);
    assert_eq!(lab.manager.up(&document(&declared)).unwrap().changes, [""; 0]);
    assert_eq!(fails_cleanly(&lab, |manager| manager.up(&document(LAB))), 1);
    assert_eq!(rules(&lab), [(1, "allow from 192.0.2.0/24".into()), (2, "deny".into())]);
    for (lines, words) in [
        ("allow = [\"10.0.0.0/8\"]\n[[network.publish.rule]]\naction = \"deny\"", "has both allow and rules"),
        ("[[network.publish.rule]]\naction = \"deny\"\nport = 80", "no packet to 8080-8081/tcp"),
    ] {
        let error = lab.manager.up(&document(&with(lines))).unwrap_err();
        assert!(error.status() == 400 && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn an_internal_network_that_an_up_opened_is_as_it_was() {
    let lab = Lab::new(&["a"]);
    let mut red = network("red", "10.1.0.0/24");
    red.internal = Some(true);
    lab.manager.create_network(&red).unwrap();
    let open = r#"
        [[network]]
        name = "red"
        subnet = "10.1.0.0/24"
        host_access = false
        uplink = "none"
        [[network.endpoint]]
        netns = "a"
    "#;
    assert!(fails_cleanly(&lab, |manager| manager.up(&document(open))) > 3);
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
    lab.manager
        .set_network("red", &NetworkPatch { ageing_seconds: Some(5), ..NetworkPatch::default() })
        .unwrap();
    let patch = PortPatch { guard: Some(false), ..PortPatch::default() };
    lab.manager.set_port("red", "web", &patch).unwrap();
    let changes = lab.manager.up(&document(LAB)).unwrap().changes;
    assert_eq!(changes, ["network red: ageing_seconds set", "red/web: flags set"]);
    let before = (lab.world.snapshot(), records(&lab));
    for (was, is, words) in [
        ("10.1.0.0/24", "10.1.0.0/16", "another subnet (10.1.0.0/24, not 10.1.0.0/16)"),
        ("10.1.0.9", "10.1.0.8", "the endpoint red/second exists with another ip"),
        ("ip = \"10.1.0.9\"", "aliases = [\"two\"]", "another aliases (, not two)"),
        ("subnet =", "labels = { a = \"b\" }\n    subnet =", "another labels (\"\", not \"a=b\")"),
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
        ("internal = true\nhost_access = true\n", "cannot be internal and have host access"),
        ("[[network.rule]]\naction = \"deny\"\nprotocol = \"icmp\"\nport = 1\n", "ICMP has no ports"),
        (
            "[[network.publish]]\nendpoint = \"x\"\nports = \"80:80\"\n[[network.publish]]\nendpoint = \"y\"\nports = \"80:81\"\n",
            "the publication 80/tcp is declared twice",
        ),
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
fn a_network_is_what_docker_users_ask_for() {
    let lab = Lab::new(&["a"]);
    let option = |key: &str, value: &str| (format!("com.docker.network.{key}"), value.to_owned());
    let request = NetworkRequest {
        name: "red".into(),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        options: [
            option("bridge.enable_icc", "false"),
            option("bridge.host_binding_ipv4", "127.0.0.1"),
            option("bridge.name", "br-red"),
            option("driver.mtu", "1280"),
            option("of_the_future", "x"),
        ]
        .into(),
        ..NetworkRequest::default()
    };
    let made = lab.manager.create_network(&request).unwrap();
    // The host has a route in 172.17.0.0/16.
    assert_eq!(made.subnet.to_string(), "172.18.0.0/16");
    assert_eq!(
        (made.mtu, made.host_interface.as_deref(), made.connection.icc),
        (1280, Some("br-red"), false)
    );
    assert_eq!((&made.labels, &made.options), (&request.labels, &request.options));
    let next = NetworkRequest { name: "blue".into(), ..NetworkRequest::default() };
    let next = lab.manager.create_network(&next).unwrap();
    assert_eq!(next.subnet.to_string(), "172.19.0.0/16");
    assert_ne!(next.id, made.id);

    lab.attach("red", "a", "eth0").unwrap();
    let published = publish(&lab, "a", "8080:80", &[]).unwrap();
    assert_eq!(published.ports.to_string(), "127.0.0.1:8080:80/tcp");
    assert_eq!(publish(&lab, "a", "8080:80", &[]).unwrap().id, published.id, "the same again");
    assert_eq!(publish(&lab, "a", "10.0.0.1:8080:80", &[]).unwrap().host_address, Some([10, 0, 0, 1].into()));
}

#[test]
fn what_cannot_be_of_a_network_is_said_in_a_sentence() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    let id = lab.manager.network("red").unwrap().id;
    let refuse = |change: &dyn Fn(&mut NetworkRequest), words: &str| {
        let mut request = network("blue", "10.2.0.0/24");
        change(&mut request);
        let error = lab.manager.create_network(&request).unwrap_err();
        assert!(error.to_string().contains(words) && error.status() < 500, "{error}");
    };
    refuse(&|it| it.name = "none".into(), "no network can be called \"none\"");
    refuse(&|it| it.ipv6 = Some(true), "no IPv6 gateway yet");
    refuse(&|it| it.id = Some(id), "the network red has the id");
    refuse(&|it| (it.subnet, it.gateway) = (None, Some([10, 2, 0, 1].into())), "need a subnet");
    refuse(&|it| it.ip_range = Some("10.3.0.0/24".parse().unwrap()), "not inside");
    refuse(&|it| it.aux_addresses = [("x".into(), [10, 2, 0, 1].into())].into(), "the gateway's");
    refuse(
        &|it| it.options = [("com.docker.network.driver.mtu".into(), "9".into())].into(),
        "an MTU of 9 bytes is not possible",
    );
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

fn publish(lab: &Lab, endpoint: &str, ports: &str, allow: &[&str]) -> Result<Publication, Error> {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    let request =
        PublicationRequest { endpoint: endpoint.into(), ports: ports.parse().unwrap(), allow, rules: vec![] };
    lab.manager.publish("red", &request)
}

/// The network red with the endpoints a and b.
fn lab_of_two() -> Lab {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    lab
}

#[test]
fn a_network_is_made_and_changed_whole_or_not_at_all() {
    let lab = Lab::new(&[]);
    // Network, host port and resolver.
    assert_eq!(fails_cleanly(&lab, |manager| manager.create_network(&network("red", "10.1.0.0/24"))), 3);
    let made = lab.manager.network("red").unwrap();
    assert_eq!(
        (made.mtu, made.connection, made.host_interface.as_deref()),
        (1420, Connection::default(), Some("ptn-red"))
    );
    assert!(lab.world.snapshot().devices.contains(&(None, "ptn-red".into())));
    let internal = |on| NetworkPatch { internal: Some(on), icc: Some(!on), ..NetworkPatch::default() };
    assert_eq!(fails_cleanly(&lab, |manager| manager.set_network("red", &internal(true))), 2);
    assert_eq!(lab.manager.network("red").unwrap().host_interface, None);
    assert!(lab.world.snapshot().host_ports.is_empty());
    assert_eq!(fails_cleanly(&lab, |manager| manager.set_network("red", &internal(false))), 2);
    assert_eq!(lab.manager.network("red").unwrap().connection, Connection::default());
    lab.manager.remove_network("red", false).unwrap();
    assert!(!lab.world.snapshot().devices.contains(&(None, "ptn-red".into())));
}

#[test]
fn names_are_told_as_soon_as_they_are_there_and_no_longer() {
    let lab = Lab::new(&["a", "b"]);
    let names = |lab: &Lab| lab.world.names.lock().unwrap().clone();
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    assert_eq!(names(&lab), ["red: a. 10.1.0.2"]);
    fails_cleanly(&lab, |_| lab.attach("red", "b", "eth0"));
    assert_eq!(names(&lab), ["red: a. 10.1.0.2", "red: b. 10.1.0.3"]);
    let lab = lab.restart(|_| {});
    assert_eq!(names(&lab), ["red: a. 10.1.0.2", "red: b. 10.1.0.3"]);
    lab.manager.detach("red", "a").unwrap();
    assert_eq!(names(&lab), ["red: b. 10.1.0.3"]);
    lab.manager.remove_network("red", true).unwrap();
    assert_eq!(names(&lab), Vec::<String>::new());
}

#[test]
fn a_resolver_is_where_it_was_asked_for() {
    let lab = Lab::new(&["a", "b"]);
    let resolvers = |lab: &Lab| lab.world.snapshot().resolvers;
    let at_red = (Some("red".to_owned()), None);
    lab.create("red", "10.1.0.0/24");
    assert_eq!(resolvers(&lab), BTreeSet::from([at_red.clone()]));
    let asked = EndpointRequest { resolver: true, ..endpoint("a") };
    assert_eq!(fails_cleanly(&lab, |manager| manager.attach("red", &asked)), 5);
    let in_a = (None, Some(lab.world.snapshot().namespaces["a"]));
    assert_eq!(resolvers(&lab), BTreeSet::from([at_red.clone(), in_a.clone()]));
    lab.attach("red", "b", "eth0").unwrap();
    let lab = lab.restart(|_| {});
    assert_eq!(resolvers(&lab), BTreeSet::from([at_red.clone(), in_a]));
    lab.manager.detach("red", "a").unwrap();
    assert_eq!(resolvers(&lab), BTreeSet::from([at_red]));
    let without = NetworkPatch { resolver: Some(false), ..NetworkPatch::default() };
    assert_eq!(fails_cleanly(&lab, |manager| manager.set_network("red", &without)), 2);
    assert_eq!(resolvers(&lab), BTreeSet::new());
    let lab = lab.restart(|_| {});
    assert_eq!(resolvers(&lab), BTreeSet::new());
}

#[test]
fn where_the_host_is_already_no_network_meets_it() {
    let lab = Lab::new(&[]);
    let on_the_hosts = network("red", "192.0.2.0/24");
    assert_eq!(lab.manager.create_network(&on_the_hosts).unwrap_err().status(), 409);
    assert_eq!(records(&lab), []);
    let apart = NetworkRequest { host_access: Some(false), ..on_the_hosts };
    lab.manager.create_network(&apart).unwrap();
    let access = NetworkPatch { host_access: Some(true), ..NetworkPatch::default() };
    assert_eq!(lab.manager.set_network("red", &access).unwrap_err().status(), 409);
}

#[test]
fn a_deleted_host_port_is_made_again() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    lab.world.there.lock().unwrap().devices.remove(&(None, "ptn-red".into()));
    lab.world.there.lock().unwrap().host_ports.clear();
    lab.manager.drop_port(&PortName::new("red", "ptn-red"), "somebody deleted it");
    assert!(lab.world.snapshot().devices.contains(&(None, "ptn-red".into())));
    assert_eq!(lab.manager.events().pop().unwrap().event, "port-lost");
}

#[test]
fn publishing_happens_whole_or_not_at_all() {
    let lab = lab_of_two();
    assert_eq!(fails_cleanly(&lab, |_| publish(&lab, "a", "8080:80", &["10.0.0.0/8"])), 1);
    let made = lab.manager.publications().remove(0);
    assert_eq!((made.id, made.state.as_str(), made.ports.to_string().as_str()), (1, "up", "8080:80/tcp"));
    // The same ports again replace the list, and the number stays.
    assert_eq!(fails_cleanly(&lab, |_| publish(&lab, "a", "8080:80", &[])), 1);
    let there = lab.world.snapshot().published;
    assert_eq!((there.len(), there[&1].record.rules.len(), there[&1].address), (1, 0, [10, 1, 0, 2].into()));
    // And once more change nothing.
    let taken = lab.world.taken.lock().unwrap().len();
    publish(&lab, "a", "8080:80", &[]).unwrap();
    assert_eq!(lab.world.taken.lock().unwrap().len(), taken);
    lab.manager.unpublish("red", 1).unwrap();
    assert!(lab.world.snapshot().published.is_empty());
    assert_eq!(publish(&lab, "a", "8080:80", &[]).unwrap().id, 2, "a number is given once");
}

#[test]
fn what_cannot_be_published_changes_nothing() {
    let lab = lab_of_two();
    publish(&lab, "a", "8080-8089:80-89", &[]).unwrap();
    lab.world.busy.lock().unwrap().insert(9000, "nginx (pid 7)".into());
    let before = (lab.world.snapshot(), records(&lab));
    for (endpoint, ports, status, words) in [
        ("b", "8085:80", 409, "8085/tcp is taken by red/a, which publishes 8080-8089:80-89/tcp"),
        ("a", "8080:81", 409, "is taken by red/a"),
        ("a", "127.0.0.2:8080:80", 409, "127.0.0.2:8080/tcp is taken by red/a"),
        (
            "b",
            "8999-9001:1-3",
            409,
            "cannot publish 8999-9001:1-3/tcp of red/b: 9000 is taken by nginx (pid 7)",
        ),
        ("nobody", "81:81", 404, "there is no endpoint red/nobody"),
    ] {
        let error = publish(&lab, endpoint, ports, &[]).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(lab.manager.unpublish("red", 77).unwrap_err().status(), 404);
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
    publish(&lab, "b", "8080:80/udp", &[]).unwrap();
}

#[test]
fn an_internal_network_publishes_nothing() {
    let lab = lab_of_two();
    publish(&lab, "a", "8080:80", &[]).unwrap();
    let internal = NetworkPatch { internal: Some(true), ..NetworkPatch::default() };
    let error = lab.manager.set_network("red", &internal).unwrap_err();
    assert!(error.to_string().contains("red/a publishes 8080:80/tcp"), "{error}");
    lab.manager.unpublish("red", 1).unwrap();
    lab.manager.set_network("red", &internal).unwrap();
    assert!(publish(&lab, "a", "8080:80", &[]).unwrap_err().to_string().contains("is internal"));
}

#[test]
fn notes_say_who_does_not_reach_what_is_published() {
    let lab = lab_of_two();
    publish(&lab, "a", "8080:80", &[]).unwrap();
    let note = |host_access, uplink| {
        let patch =
            NetworkPatch { host_access: Some(host_access), uplink: Some(uplink), ..NetworkPatch::default() };
        lab.manager.set_network("red", &patch).unwrap();
        lab.manager.publication("red", 1).unwrap().note.unwrap_or_default()
    };
    assert_eq!(note(true, Uplink::Auto), "");
    assert!(note(false, Uplink::Auto).contains("clients on the host itself do not reach it"));
    assert!(note(true, Uplink::None).contains("clients outside of the host do not reach it"));
    assert!(note(false, Uplink::None).contains("only endpoints reach it"));
}

#[test]
fn a_detached_endpoint_takes_its_publications_and_links_along() {
    let lab = lab_of_two();
    let link = |from: &str, to: &str| {
        let body = LinkBody { from: from.into(), to: to.into(), port: Some(80), protocol: None };
        lab.manager.add_link("red", &body).unwrap()
    };
    publish(&lab, "a", "8080:80", &[]).unwrap();
    publish(&lab, "b", "8081:80", &[]).unwrap();
    let before = (lab.world.snapshot(), things(&lab));
    link("a", "b");
    link("b", "a");
    assert_eq!(lab.world.snapshot().links.len(), 2);
    lab.manager.detach("red", "a").unwrap();
    assert_eq!(lab.manager.links(), []);
    let left = lab.manager.publications();
    assert_eq!(left.iter().map(|it| it.endpoint.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(lab.world.snapshot().published.len(), 1);
    lab.attach("red", "a", "eth0").unwrap();
    publish(&lab, "a", "8080:80", &[]).unwrap();
    // All as it was, but for numbers and times.
    assert_eq!(lab.world.snapshot().published.len(), before.0.published.len());
    assert_eq!(things(&lab).len(), before.1.len());
}

#[test]
fn rules_keep_their_order_and_their_hits() {
    let lab = lab_of_two();
    let of = RulesOf::network("red");
    let rule = |text: &str| -> RuleBody { serde_json::from_str(text).unwrap() };
    let add = |text: &str, at| lab.manager.add_rule(&of, &RuleRequest { rule: rule(text), at });
    add(r#"{"action": "allow", "to": "192.0.2.1/24"}"#, None).unwrap();
    add(r#"{"action": "deny"}"#, None).unwrap();
    let first = add(r#"{"action": "deny", "protocol": "udp", "port": "53"}"#, Some(1)).unwrap();
    assert_eq!(first.number, 1);
    let listed = || -> Vec<(u32, String, u64)> {
        let rules = lab.manager.rules(&of).unwrap();
        rules.into_iter().map(|it| (it.number, it.rule.to_string(), it.hits)).collect()
    };
    // The fake world's hits are the rules' own numbers.
    assert_eq!(
        listed(),
        [
            (1, "deny udp port 53".to_owned(), 3),
            (2, "allow to 192.0.2.0/24".to_owned(), 1),
            (3, "deny".to_owned(), 2)
        ]
    );
    let before = (lab.world.snapshot(), records(&lab));
    for at in [0, 5] {
        assert_eq!(add(r#"{"action": "deny"}"#, Some(at)).unwrap_err().status(), 400);
    }
    for number in [0, 4] {
        assert_eq!(lab.manager.remove_rule(&of, number).unwrap_err().status(), 404);
    }
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
    assert_eq!(fails_cleanly(&lab, |manager| manager.remove_rule(&of, 2)), 1);
    assert_eq!(listed().iter().map(|it| (it.0, it.2)).collect::<Vec<_>>(), [(1, 3), (2, 2)]);
    assert_eq!(fails_cleanly(&lab, |manager| manager.flush_rules(&of)), 1);
    assert_eq!((listed(), lab.world.snapshot().rules.len()), (vec![], 0));
    add(r#"{"action": "deny"}"#, None).unwrap();
    lab.manager.remove_network("red", true).unwrap();
    assert_eq!(records(&lab), []);
}

#[test]
fn a_publication_has_rules_of_its_own() {
    let lab = lab_of_two();
    let id = publish(&lab, "a", "8080:80", &["10.0.0.0/8"]).unwrap().id;
    let of = RulesOf { network: "red".into(), publication: Some(id) };
    let add = |text: &str, at| {
        let rule = serde_json::from_str(text).unwrap();
        lab.manager.add_rule(&of, &RuleRequest { rule, at })
    };
    let deny = r#"{"action": "deny", "from": "10.0.0.66/32"}"#;
    assert_eq!(fails_cleanly(&lab, |_| add(deny, Some(1))), 1);
    let listed = || -> Vec<(u32, String, u64)> {
        let rules = lab.manager.rules(&of).unwrap();
        assert_eq!(lab.manager.publication("red", id).unwrap().rules, rules);
        rules.into_iter().map(|it| (it.number, it.rule.to_string(), it.hits)).collect()
    };
    // The fake world's hits are the rules' own numbers.
    let expected = [
        (1, "deny from 10.0.0.66/32".to_owned(), 3),
        (2, "allow from 10.0.0.0/8".to_owned(), 1),
        (3, "deny".to_owned(), 2),
    ];
    assert_eq!(listed(), expected);
    assert!(lab.manager.rules(&RulesOf::network("red")).unwrap().is_empty(), "the network's are others");
    let last = |lab: &Lab| lab.manager.events().pop().map(|it| (it.event, it.subject)).unwrap();
    assert_eq!(last(&lab), ("rules-changed".into(), "red/a 8080:80/tcp".into()));
    // What has no place there, and what is not there.
    let before = (lab.world.snapshot(), records(&lab));
    for wrong in [r#"{"action": "deny", "protocol": "udp"}"#, r#"{"action": "deny", "port": 80}"#] {
        assert_eq!(add(wrong, None).unwrap_err().status(), 400);
    }
    assert_eq!(lab.manager.remove_rule(&of, 4).unwrap_err().status(), 404);
    let missing = RulesOf { publication: Some(77), ..of.clone() };
    assert_eq!(lab.manager.rules(&missing).unwrap_err().status(), 404);
    assert_eq!(lab.manager.flush_rules(&missing).unwrap_err().status(), 404);
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
    // Published anew with the same, they are the same; with another list, those that stay go on counting.
    publish(&lab, "a", "8080:80", &["10.0.0.0/8", "192.0.2.0/24"]).unwrap();
    assert_eq!(listed().iter().map(|it| it.2).collect::<Vec<_>>(), [1, 4, 2]);
    assert_eq!(fails_cleanly(&lab, |manager| manager.remove_rule(&of, 2)), 1);
    let listed = listed();
    let lab = lab.restart(|_| {});
    let rules = lab.manager.rules(&of).unwrap();
    assert_eq!(
        rules.into_iter().map(|it| (it.number, it.rule.to_string(), it.hits)).collect::<Vec<_>>(),
        listed
    );
    assert_eq!(fails_cleanly(&lab, |manager| manager.flush_rules(&of)), 1);
    assert_eq!(lab.world.snapshot().published[&id].record.rules, []);
    lab.manager.unpublish("red", id).unwrap();
    assert_eq!(lab.manager.rules(&of).unwrap_err().status(), 404);
}

#[test]
fn rules_of_what_is_down_hold_when_it_comes_up() {
    let lab = lab_of_two();
    let id = publish(&lab, "a", "8080:80", &[]).unwrap().id;
    let of = RulesOf { network: "red".into(), publication: Some(id) };
    let lab = lab.restart(|world| {
        world.busy.lock().unwrap().insert(8080, "nginx (pid 7)".into());
    });
    assert!(lab.world.snapshot().published.is_empty());
    let rule = RuleBody::admission(&["10.0.0.0/8".parse().unwrap()]).remove(1);
    lab.manager.add_rule(&of, &RuleRequest { rule, at: None }).unwrap();
    lab.world.busy.lock().unwrap().clear();
    lab.manager.retry_publications(Instant::now() + Duration::from_secs(60));
    assert_eq!(lab.world.snapshot().published[&id].record.rules.len(), 1);
}

#[test]
fn a_restart_takes_up_the_edge_and_says_what_is_taken_meanwhile() {
    let lab = lab_of_two();
    publish(&lab, "a", "8080:80", &["10.0.0.0/8"]).unwrap();
    publish(&lab, "b", "9000:80", &[]).unwrap();
    let link = LinkBody { from: "a".into(), to: "b".into(), port: None, protocol: None };
    lab.manager.add_link("red", &link).unwrap();
    let rule = RuleBody { action: RuleAction::Deny, from: None, to: None, protocol: None, port: None };
    lab.manager.add_rule(&RulesOf::network("red"), &RuleRequest { rule, at: None }).unwrap();
    let before = lab.world.snapshot();
    let lab = lab.restart(|world| {
        world.busy.lock().unwrap().insert(9000, "nginx (pid 7)".into());
    });
    let mut expected = before.clone();
    expected.published.remove(&2);
    assert_eq!(lab.world.snapshot(), expected);
    let states = |lab: &Lab| -> Vec<(String, Option<String>)> {
        lab.manager.publications().into_iter().map(|it| (it.state, it.cause)).collect()
    };
    let cause = Some("9000 is taken by nginx (pid 7)".to_owned());
    assert_eq!(states(&lab), [("up".to_owned(), None), ("down".to_owned(), cause)]);
    // Still taken; then free.
    assert_eq!(publish(&lab, "b", "9000:80", &[]).unwrap_err().status(), 409);
    lab.world.busy.lock().unwrap().clear();
    assert_eq!(publish(&lab, "b", "9000:80", &[]).unwrap().state, "up");
    assert_eq!(lab.world.snapshot(), before);
    // What is down can be taken back as well.
    let lab = lab.restart(|world| {
        world.busy.lock().unwrap().insert(8080, "nginx (pid 7)".into());
    });
    lab.manager.unpublish("red", 1).unwrap();
    assert_eq!(states(&lab), [("up".to_owned(), None)]);
}

#[test]
fn what_is_down_comes_up_when_interfaces_change_or_after_a_while() {
    let take = |world: &FakeWorld, holder: &str| {
        world.busy.lock().unwrap().insert(9000, holder.into());
    };
    let cause = |lab: &Lab| lab.manager.publications().remove(0).cause;
    let mut lab = lab_of_two();
    publish(&lab, "b", "9000:80", &[]).unwrap();
    for change in [true, false] {
        lab = lab.restart(|world| take(world, "nginx"));
        let start = Instant::now();
        let later = start + if change { Duration::ZERO } else { Duration::from_secs(30) };
        // Still taken, by somebody else.
        take(&lab.world, "apache");
        *lab.world.interface_changes.lock().unwrap() += 1;
        lab.manager.retry_publications(start);
        assert_eq!(cause(&lab).unwrap(), "9000 is taken by apache");
        lab.world.busy.lock().unwrap().clear();
        lab.manager.retry_publications(start + Duration::from_secs(29));
        assert!(cause(&lab).is_some(), "nothing has changed, and it was tried a moment ago");
        *lab.world.interface_changes.lock().unwrap() += u64::from(change);
        lab.manager.retry_publications(later);
        assert_eq!(cause(&lab), None);
        assert_eq!(lab.world.snapshot().published.len(), 1);
        let events = lab.manager.events();
        let events: Vec<&str> = events.iter().map(|it| it.event.as_str()).collect();
        assert_eq!(events, ["endpoint-restored", "endpoint-restored", "publication-down", "publication-up"]);
    }
}

#[test]
fn sessions_come_in_pages_and_by_network() {
    let lab = lab_of_two();
    lab.create("blue", "10.2.0.0/24");
    lab.attach("blue", "a", "eth1").unwrap();
    let whose = |network: Option<&str>, endpoint: Option<&str>| Whose {
        network: network.map(Into::into),
        endpoint: endpoint.map(Into::into),
    };
    let page = |whose: &Whose, from, max| {
        let page = lab.manager.nat_sessions(whose, from, max).unwrap();
        (page.sessions.into_iter().map(|it| it.endpoint).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page(&whose(None, None), 0, 2), (vec!["blue/a".into(), "red/a".into()], Some(2)));
    assert_eq!(page(&whose(None, None), 2, 2), (vec!["red/b".into()], None));
    assert_eq!(page(&whose(Some("red"), None), 0, 2), (vec!["red/a".into()], Some(2)));
    assert_eq!(page(&whose(None, Some("red/b")), 0, 1000), (vec!["red/b".into()], None));
    assert_eq!(page(&whose(Some("red"), Some("b")), 0, 1000), (vec!["red/b".into()], None));
    let flush = |whose: &Whose| lab.manager.nat_flush(whose).unwrap().flushed;
    assert_eq!([flush(&whose(None, None)), flush(&whose(Some("red"), None))], [3, 2]);
    // Whoever is behind an interface has sessions as well.
    lab.manager.add_interface("red", &InterfaceRequest { interface: "nic0".into() }).unwrap();
    assert_eq!([flush(&whose(Some("red"), None)), flush(&whose(None, Some("red/nic0")))], [3, 1]);
    lab.manager.remove_interface("red", "nic0").unwrap();
    for (network, endpoint, status) in [
        (Some("green"), None, 404),
        (None, Some("red/c"), 404),
        (None, Some("b"), 400),
        (Some("blue"), Some("red/b"), 400),
    ] {
        let error = lab.manager.nat_sessions(&whose(network, endpoint), 0, 1).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
    }
    assert_eq!(lab.manager.nat_stats().unwrap().endpoints.len(), 3);
}

#[test]
fn stats_have_host_ports_and_uplinks() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    let host = PortName::new("red", "ptn-red");
    lab.world.there.lock().unwrap().ports.insert(host, (Default::default(), None));
    let stats = lab.manager.stats();
    let names = |ports: &[crate::api::types::PortStats]| -> Vec<String> {
        ports.iter().map(|it| it.port.clone()).collect()
    };
    assert_eq!(
        (names(&stats.ports), names(&stats.uplinks)),
        (vec!["red/ptn-red".into()], vec!["uplink:nic1".into()])
    );
    let json = serde_json::to_value(&stats.uplinks[0]).unwrap();
    assert_eq!(json.get("network"), None, "an uplink is on no network");
}

#[test]
fn who_follows_events_hears_of_uplinks() {
    let lab = Lab::new(&[]);
    lab.manager.note_uplinks();
    lab.manager.note_uplinks();
    let events = lab.manager.events();
    assert_eq!(
        events.iter().map(|it| (it.event.as_str(), it.subject.as_str())).collect::<Vec<_>>(),
        [("uplink-up", "nic1")]
    );
}
