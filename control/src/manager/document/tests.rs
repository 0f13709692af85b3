//! What is declared of things that are there already: each field is made so, or refused with a sentence.

use std::path::Path;

use super::*;
use crate::config;
use crate::testing::Lab;

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

fn document(text: &str) -> Document {
    config::parse(Path::new("lab.toml"), text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The declaration with that line where `# place` is.
fn with(place: &str, line: &str) -> Document {
    let mark = format!("# {place}\n");
    assert!(BASE.contains(&mark), "{place}");
    document(&BASE.replace(&mark, &format!("{line}\n")))
}

/// All that there is: the machine's and the daemon's.
fn all(lab: &Lab) -> (crate::testing::There, Vec<crate::store::Record>, Vec<String>) {
    (lab.world.snapshot(), lab.manager.known_records(), lab.world.names.lock().unwrap().clone())
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
