//! Publications, rules and links.

use super::*;

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
fn where_any_port_will_do_a_free_one_is_found_and_kept() {
    let lab = lab_of_two();
    publish(&lab, "b", "32769:80", &[]).unwrap();
    // Not what is meant by 80: it was asked for by its port.
    publish(&lab, "a", "8080:80", &[]).unwrap();
    lab.world.busy.lock().unwrap().insert(32_768, "nginx (pid 7)".into());
    // Two in a row, past the one that somebody has and the one that b has.
    let range = publish(&lab, "a", "80-81", &[]).unwrap();
    assert_eq!(range.ports.to_string(), "32770-32771:80-81/tcp");
    let one = publish(&lab, "a", "127.0.0.1::80/udp", &["10.0.0.0/8"]).unwrap();
    assert_eq!(one.ports.to_string(), "127.0.0.1:32772:80/udp");
    // Once more: the same, with the rules that are asked for now.
    let again = publish(&lab, "a", "127.0.0.1::80/udp", &[]).unwrap();
    assert_eq!((again.id, again.ports, again.rules.len()), (one.id, one.ports, 0));
    assert_eq!(lab.world.snapshot().published.len(), 4);
    lab.manager.unpublish("red", range.id).unwrap();
    assert_ne!(publish(&lab, "a", "80-81", &[]).unwrap().id, range.id);
    lab.world.busy.lock().unwrap().extend((32_768..=60_999).map(|port| (port, "nginx (pid 7)".into())));
    let error = publish(&lab, "b", "82", &[]).unwrap_err();
    assert_eq!(error.status(), 409);
    let words = error.to_string();
    let tried = "none of 1000 ports of the host that were tried for red/b 82/tcp is free; the last: ";
    assert!(words.starts_with(tried) && words.ends_with("is taken by nginx (pid 7)"), "{words}");
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
