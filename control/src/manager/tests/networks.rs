//! Networks and what they are called, where they meet the host, names.

use super::*;

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
