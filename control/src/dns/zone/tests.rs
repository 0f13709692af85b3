use super::*;

fn sandbox(ino: u64) -> NetnsId {
    NetnsId { dev: 4, ino, boot: 1 }
}

fn station(ino: u64, address: [u8; 4], names: &[&str]) -> Station {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Station { sandbox: sandbox(ino), address: address.into(), names, upstreams: Vec::new() }
}

fn network(name: &str, third: u8, stations: Vec<Station>) -> NetworkNames {
    NetworkNames {
        name: name.to_owned(),
        subnet: Ipv4Net::new([10, 1, third, 0].into(), 24).unwrap(),
        gateway: [10, 1, third, 1].into(),
        forwards: true,
        upstreams: Vec::new(),
        stations,
    }
}

/// Sandbox 1 is `web` on red, 2 is `db` on red and blue, 3 is `web` on blue with the alias `www`, 4 is on green.
fn networks() -> Vec<NetworkNames> {
    vec![
        network("red", 0, vec![station(1, [10, 1, 0, 2], &["web"]), station(2, [10, 1, 0, 3], &["db"])]),
        network(
            "blue",
            1,
            vec![station(2, [10, 1, 1, 2], &["db"]), station(3, [10, 1, 1, 3], &["web", "www"])],
        ),
        network("green", 2, vec![station(4, [10, 1, 2, 2], &["lone", "Some.Where"])]),
    ]
}

fn inside(ino: u64) -> Asker {
    Asker::Sandbox(sandbox(ino))
}

fn at(network: &str, address: [u8; 4]) -> Asker {
    Asker::Station { network: network.to_owned(), address: address.into() }
}

fn find(asker: &Asker, name: &str) -> Found {
    Zone::new(networks()).find(asker, &Name::from_ascii(format!("{name}.")).unwrap())
}

fn addresses<const N: usize>(addresses: [[u8; 4]; N]) -> Found {
    Found::Addresses(addresses.map(Ipv4Addr::from).to_vec())
}

fn name(text: &str) -> Found {
    Found::Name(Name::from_ascii(text).unwrap())
}

#[test]
fn everybody_knows_the_names_of_his_own_networks_alone() {
    assert_eq!(find(&inside(1), "db"), addresses([[10, 1, 0, 3]]));
    assert_eq!(find(&inside(3), "db"), addresses([[10, 1, 1, 2]]));
    assert_eq!(find(&inside(2), "web"), addresses([[10, 1, 0, 2], [10, 1, 1, 3]]));
    assert_eq!(find(&inside(3), "www"), addresses([[10, 1, 1, 3]]));
    for unknown in ["www", "lone", "nobody", "*"] {
        assert_eq!(find(&inside(1), unknown), Found::Nothing, "{unknown}");
    }
    assert_eq!(find(&inside(9), "web"), Found::Nothing, "a sandbox without endpoints");
}

#[test]
fn case_does_not_matter() {
    for spelled in ["WWW", "wWw", "www"] {
        assert_eq!(find(&inside(3), spelled), addresses([[10, 1, 1, 3]]));
    }
    assert_eq!(find(&inside(4), "sOME.wHERE"), addresses([[10, 1, 2, 2]]));
}

#[test]
fn a_name_may_have_its_network_behind_it() {
    assert_eq!(find(&inside(2), "web.red"), addresses([[10, 1, 0, 2]]));
    assert_eq!(find(&inside(2), "web.blue"), addresses([[10, 1, 1, 3]]));
    assert_eq!(find(&inside(4), "some.where.green"), addresses([[10, 1, 2, 2]]));
    // `blue` might be a domain of the outside.
    assert_eq!(find(&inside(2), "nobody.blue"), Found::Elsewhere);
    assert_eq!(find(&inside(1), "web.blue"), Found::Elsewhere);
}

#[test]
fn at_a_gateway_the_address_tells_the_sandbox() {
    assert_eq!(find(&at("blue", [10, 1, 1, 2]), "web"), find(&inside(2), "web"));
    // The guard lets a sandbox speak to a gateway by any address of its own.
    assert_eq!(find(&at("blue", [10, 1, 0, 3]), "web"), find(&inside(2), "web"));
    // A stranger, and one who says that he is somebody who is not on this network.
    for stranger in [[10, 1, 1, 77], [10, 1, 0, 2], [192, 0, 2, 1]] {
        assert_eq!(find(&at("blue", stranger), "web"), addresses([[10, 1, 1, 3]]), "{stranger:?}");
    }
    assert_eq!(find(&at("nowhere", [10, 1, 1, 2]), "web"), Found::Nothing);
}

#[test]
fn addresses_lead_to_names_within_the_askers_networks_and_nowhere_beyond() {
    assert_eq!(find(&inside(3), "3.1.1.10.in-addr.arpa"), name("web.blue."));
    assert_eq!(find(&inside(3), "3.1.1.10.IN-ADDR.ARPA"), name("web.blue."));
    assert_eq!(find(&inside(4), "2.2.1.10.in-addr.arpa"), name("lone.green."));
    // Somebody else's, nobody's, the gateway's, and what lies around and below them.
    for ours in [
        "3.0.1.10",
        "77.1.1.10",
        "1.1.1.10",
        "1.1.10",
        "x.3.1.1.10",
        "0-63.1.1.10",
        "b._dns-sd._udp.0.1.1.10",
    ] {
        assert_eq!(find(&inside(3), &format!("{ours}.in-addr.arpa")), Found::Nothing, "{ours}");
    }
    for others in ["3.9.1.10", "1.10", "10", "9.113.0.203", "x", "2.1.0.0.127"] {
        assert_eq!(find(&inside(3), &format!("{others}.in-addr.arpa")), Found::Elsewhere, "{others}");
    }
    for others in ["in-addr.arpa", "1.0.0.0.ip6.arpa", "3.1.1.10.in-addr.example"] {
        assert_eq!(find(&inside(3), others), Found::Elsewhere, "{others}");
    }
}

#[test]
fn localhost_is_everybodys_own() {
    for spelled in ["localhost", "LocalHost", "www.localhost"] {
        assert_eq!(find(&inside(1), spelled), Found::Localhost);
    }
    assert_eq!(find(&inside(1), "localhost.example"), Found::Elsewhere);
}

#[test]
fn a_name_that_dns_cannot_say_is_passed_over() {
    let odd = network("red", 0, vec![station(1, [10, 1, 0, 2], &["a..b", "x.", "good"])]);
    let zone = Zone::new(vec![odd]);
    let names: Vec<String> = zone.names().into_iter().map(|(_, name, _)| name.to_string()).collect();
    assert_eq!(names, ["good."]);
    let reverse = Name::from_ascii("2.0.1.10.in-addr.arpa.").unwrap();
    assert_eq!(zone.find(&inside(1), &reverse), name("good.red."));
}

#[test]
fn upstreams_of_the_sandbox_go_before_those_of_its_networks_and_those_before_the_hosts() {
    let [one, two, three]: [IpAddr; 3] = [[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]].map(IpAddr::from);
    let mut networks = networks();
    assert_eq!(Zone::new(networks.clone()).forwarding(&inside(1)), Forwarding::ToTheHosts);
    networks[0].upstreams = vec![one];
    networks[1].upstreams = vec![two];
    let zone = Zone::new(networks.clone());
    assert_eq!(zone.forwarding(&inside(1)), Forwarding::To(&[one]));
    assert_eq!(zone.forwarding(&inside(2)), Forwarding::To(&[one, two]));
    assert_eq!(zone.forwarding(&at("blue", [10, 1, 1, 77])), Forwarding::To(&[two]));
    networks[1].stations[0].upstreams = vec![three];
    assert_eq!(Zone::new(networks).forwarding(&inside(2)), Forwarding::To(&[three]));
}

#[test]
fn a_network_that_reaches_nobody_asks_nobody() {
    let mut networks = networks();
    networks[0].forwards = false;
    networks[0].upstreams = vec![IpAddr::from([192, 0, 2, 1])];
    let zone = Zone::new(networks);
    assert_eq!(zone.forwarding(&inside(1)), Forwarding::No);
    assert_eq!(zone.forwarding(&at("red", [10, 1, 0, 77])), Forwarding::No);
    assert_eq!(zone.forwarding(&inside(9)), Forwarding::No);
    // Its other network does.
    assert_eq!(zone.forwarding(&inside(2)), Forwarding::ToTheHosts);
}

#[test]
fn nobody_is_asked_who_would_ask_us() {
    let zone = Zone::new(networks());
    let is_loop = |asker: &Asker, address: &str| zone.is_loop(asker, address.parse().unwrap());
    for asker in [inside(1), inside(2), at("red", [10, 1, 0, 77])] {
        assert!(is_loop(&asker, "10.1.0.1:53") && is_loop(&asker, "10.1.2.1:53"), "gateways");
        assert!(is_loop(&asker, "[::ffff:10.1.0.1]:53"));
        assert!(!is_loop(&asker, "127.0.0.53:53") && !is_loop(&asker, "[2001:db8::1]:53"));
        assert!(!is_loop(&asker, "10.1.2.2:53"), "an endpoint that is a resolver");
    }
    assert!(is_loop(&inside(2), "10.1.0.3:53") && is_loop(&inside(2), "10.1.1.2:53"));
    assert!(is_loop(&at("red", [10, 1, 0, 3]), "10.1.1.2:53"));
    assert!(is_loop(&at("red", [10, 1, 0, 77]), "10.1.0.77:53"));
}
