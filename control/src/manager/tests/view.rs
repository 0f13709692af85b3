//! Sessions, statistics, events.

use super::*;

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
