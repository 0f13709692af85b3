//! What a restart takes up, what has gone meanwhile, and the end.

use super::super::document::tests::{LAB, document};
use super::*;

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
fn everything_goes_with_an_ephemeral_daemon() {
    let lab = Lab::new(&["a"]);
    let before = lab.world.snapshot();
    lab.manager.up(&document(LAB)).unwrap();
    lab.manager.remove_everything().unwrap();
    assert_eq!((lab.world.snapshot(), records(&lab)), (before, vec![]));
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
