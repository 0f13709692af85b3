//! Declarations: up and down again, and what is declared of things that are there already.

use std::path::Path;

use super::*;
use crate::api::types::{NetworkPatch, PortPatch};
use crate::config;
use crate::manager::tests::{fails_cleanly, records};
use crate::testing::{Lab, There, network};

/// The declaration that this TOML is.
pub(in crate::manager) fn document(text: &str) -> Document {
    config::parse(Path::new("lab.toml"), text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Something of everything, on the network red.
pub(in crate::manager) const LAB: &str = r#"
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

/// What the tables below change a field of.
const BASE: &str = r#"
    [[namespace]]
    name = "made"
    create = true
    [[namespace]]
    name = "a"
    [[network]]
    name = "red"
    subnet = "10.1.0.0/24"
    # network
    [[network.endpoint]]
    name = "web"
    netns = "a"
    # endpoint
    [[network.endpoint]]
    netns = "made"
    [[network.interface]]
    name = "nic0"
    # interface
    [[network.fdb]]
    mac = "02:00:00:00:00:01"
    port = "nic0"
    [[network.rule]]
    action = "deny"
    to = "203.0.113.0/24"
    # rule
    [[network.publish]]
    endpoint = "web"
    ports = "8080:80"
    # publish
"#;

/// The declaration with that line where `# place` is.
fn with(place: &str, line: &str) -> Document {
    let mark = format!("# {place}\n");
    assert!(BASE.contains(&mark), "{place}");
    document(&BASE.replace(&mark, &format!("{line}\n")))
}

/// All that there is: the machine's and the daemon's.
fn all(lab: &Lab) -> (There, Vec<Record>, Vec<String>) {
    (lab.world.snapshot(), records(lab), lab.world.names.lock().unwrap().clone())
}

/// Whoever adds a field to a declaration says here where it is tested.
fn every_field_is_known(document: &Document) {
    let Document { namespaces, networks } = document;
    for NamespaceDecl { name: _, create: _, resolver: _ } in namespaces {}
    for network in networks {
        let NetworkDecl {
            name: _,
            id: _,
            subnet: _,
            ip_range: _,
            gateway: _,
            aux_addresses: _,
            driver: _,
            attachable: _,
            ipv6: _,
            labels: _,
            options: _,
            mtu: _,
            ageing_seconds: _,
            host_access: _,
            uplink: _,
            internal: _,
            icc: _,
            snat_ip: _,
            nat_mapping: _,
            resolver: _,
            dns: _,
            endpoints,
            interfaces,
            fdb: _,
            publications: _,
            rules: _,
            links: _,
        } = network;
        for endpoint in endpoints {
            let EndpointDecl {
                name: _,
                aliases: _,
                netns: _,
                pid: _,
                ifname: _,
                ip: _,
                mac: _,
                kind: _,
                resolver: _,
                dns: _,
                port: _,
            } = endpoint;
        }
        for InterfaceDecl { name: _, port: _ } in interfaces {}
    }
}

#[test]
fn what_can_be_changed_is_changed_and_changed_back() {
    let lab = Lab::new(&["a"]);
    lab.manager.up(&document(BASE)).unwrap();
    every_field_is_known(&document(BASE));
    let before = all(&lab);
    for (place, line, change) in [
        ("network", "ageing_seconds = 9", "network red: ageing_seconds set"),
        ("network", "host_access = false", "network red: host_access set"),
        ("network", "uplink = \"none\"", "network red: uplink set"),
        ("network", "icc = false", "network red: icc set"),
        ("network", "snat_ip = \"192.0.2.7\"", "network red: snat_ip set"),
        ("network", "nat_mapping = \"endpoint-independent\"", "network red: nat_mapping set"),
        ("network", "resolver = false", "network red: resolver set"),
        ("network", "dns = [\"192.0.2.53\"]", "network red: dns set"),
        ("network", "icc = false\ndns = [\"192.0.2.53\"]", "network red: icc, dns set"),
        ("endpoint", "resolver = true", "red/web: resolver set"),
        ("endpoint", "dns = [\"192.0.2.53\"]", "red/web: resolver set"),
        ("endpoint", "port = { isolated = true }", "red/web: flags set"),
        ("interface", "port = { flood = false }", "red/nic0: flags set"),
        ("publish", "allow = [\"192.0.2.0/24\"]", "red/web: 8080:80/tcp published"),
        ("rule", "protocol = \"tcp\"", "red: rules set"),
    ] {
        assert_eq!(lab.manager.up(&with(place, line)).unwrap().changes, [change], "{line}");
        assert!(all(&lab) != before, "{line}");
        assert_eq!(lab.manager.up(&with(place, line)).unwrap().changes, [""; 0], "{line} once more");
        assert_eq!(lab.manager.up(&document(BASE)).unwrap().changes, [change], "without {line}");
        // A rule that is set anew has another number.
        assert!(place == "rule" || all(&lab) == before, "without {line}");
    }
    // The sandbox that pontoon made.
    let without = document(&BASE.replace("create = true", "create = true\nresolver = false"));
    assert_eq!(lab.manager.up(&without).unwrap().changes, ["namespace made: resolver removed"]);
    assert_eq!(lab.manager.up(&document(BASE)).unwrap().changes, ["namespace made: resolver added"]);
}

#[test]
fn what_cannot_be_changed_is_refused_by_its_name() {
    let lab = Lab::new(&["a", "b"]);
    lab.manager.up(&document(BASE)).unwrap();
    let before = all(&lab);
    let key = "com.docker.network";
    for (place, line, words) in [
        ("network", &format!("id = \"{}\"", "5".repeat(64))[..], "another id"),
        ("network", "ip_range = \"10.1.0.128/25\"", "another ip_range (10.1.0.0/24, not 10.1.0.128/25)"),
        ("network", "gateway = \"10.1.0.254\"", "another gateway (10.1.0.1, not 10.1.0.254)"),
        ("network", "aux_addresses = { nas = \"10.1.0.5\" }", "another aux_addresses"),
        ("network", "driver = \"bridge\"", "another driver (pontoon, not bridge)"),
        ("network", "attachable = true", "another attachable (false, not true)"),
        ("network", "ipv6 = true", "cannot have IPv6 enabled"),
        ("network", "labels = { team = \"web\" }", "another labels"),
        ("network", &format!("options = {{ \"{key}.bridge.name\" = \"br7\" }}"), "another options"),
        (
            "network",
            &format!("options = {{ \"{key}.container_iface_prefix\" = \"net\" }}"),
            "another options",
        ),
        ("network", &format!("options = {{ \"{key}.bridge.enable_icc\" = \"false\" }}"), "another options"),
        ("network", "mtu = 1400", "another mtu (1420, not 1400)"),
        ("network", "internal = true", "red/web publishes 8080:80/tcp"),
        ("endpoint", "aliases = [\"www\"]", "another aliases"),
        ("endpoint", "ifname = \"net7\"", "another ifname (eth0, not net7)"),
        ("endpoint", "ip = \"10.1.0.77\"", "another ip (10.1.0.2, not 10.1.0.77)"),
        ("endpoint", "mac = \"02:00:00:00:00:77\"", "another mac"),
        ("endpoint", "kind = \"veth\"", "another kind (tap, not veth)"),
    ] {
        let error = lab.manager.up(&with(place, line)).unwrap_err().to_string();
        assert!(error.contains(words), "{line}: {error}");
        assert!(all(&lab) == before, "{line}");
    }
    for (was, is, words) in [
        ("subnet = \"10.1.0.0/24\"", "subnet = \"10.1.0.0/25\"", "another subnet"),
        ("netns = \"a\"", "netns = \"b\"", "another namespace (the namespace a, not the namespace b)"),
        ("endpoint = \"web\"", "endpoint = \"made\"", "8080/tcp is taken by red/web"),
        // Nobody would serve there: the namespace is somebody else's.
        ("name = \"a\"\n", "name = \"a\"\nresolver = true\n", "pontoon did not create the namespace a"),
    ] {
        let error = lab.manager.up(&document(&BASE.replacen(was, is, 1))).unwrap_err().to_string();
        assert!(error.contains(words), "{is}: {error}");
        assert!(all(&lab) == before, "{is}");
    }
}
