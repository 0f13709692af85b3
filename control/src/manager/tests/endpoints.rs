//! Endpoints, existing interfaces, their ports and static FDB entries.

use super::super::document::tests::{LAB, document};
use super::*;

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
