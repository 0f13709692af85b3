//! The API's answers as text. Pure functions: what they return is what is printed.

mod dns;
mod edge;

use pontoon_dataplane::DropReason;

use super::table::{Table, age, bytes, count};
use crate::api::types::{
    DeviceKind, Endpoint, Event, FdbEntry, Network, Peer, Port, PortStats, SandboxRef, Stats, Traffic,
};
use crate::plan::ENDPOINT_FLAGS;

pub use dns::{dns_answer, dns_stats, names};
pub use edge::{
    flushed, linked, links, nat_stats, note, patch, publications, published, rules, rules_of_publications,
    sessions, trace, uplinks,
};

/// `network ls`.
pub fn networks(networks: &[Network]) -> String {
    let mut table =
        Table::new(&["NETWORK", "SUBNET", "GATEWAY", ">MTU", ">AGEING", ">ENDPOINTS", ">INTERFACES"]);
    for network in networks {
        table.row([
            network.name.clone(),
            network.subnet.to_string(),
            network.gateway.to_string(),
            network.mtu.to_string(),
            age(network.ageing_seconds.into()),
            network.endpoints.len().to_string(),
            network.interfaces.len().to_string(),
        ]);
    }
    table.render()
}

/// `network show`.
pub fn network(network: &Network) -> String {
    let mut out = format!(
        "Network:   {}\nId:        {}\nSubnet:    {}\n{}Gateway:   {} ({})\nMTU:       {}\nAgeing:    {}\n{}{}Created:   {}\n",
        network.name,
        network.id.short(),
        network.subnet,
        addresses(network),
        network.gateway,
        network.gateway_mac,
        network.mtu,
        age(network.ageing_seconds.into()),
        edge::connection(network),
        pairs(network),
        network.created,
    ) + &note(network.note.as_ref());
    if !network.endpoints.is_empty() {
        let mut table =
            Table::new(&["ENDPOINT", "ADDRESS", "MAC", "INTERFACE", "SANDBOX", "KIND", "ALIASES"]);
        for endpoint in &network.endpoints {
            table.row([
                endpoint.name.clone(),
                endpoint.address.to_string(),
                endpoint.mac.to_string(),
                endpoint.ifname.clone(),
                sandbox(&endpoint.sandbox),
                device_kind(endpoint.kind).to_owned(),
                endpoint.aliases.iter().map(String::as_str).collect::<Vec<_>>().join(","),
            ]);
        }
        out = out + "\n" + &table.render();
    }
    if !network.interfaces.is_empty() {
        let mut table = Table::new(&["INTERFACE", "SINCE"]);
        for interface in &network.interfaces {
            table.row([interface.interface.clone(), interface.created.clone()]);
        }
        out = out + "\n" + &table.render();
    }
    let more = [
        (network.publications.is_empty(), publications(&network.publications)),
        (network.rules.is_empty(), rules(&network.rules)),
        (network.links.is_empty(), links(&network.links)),
    ];
    for (_, table) in more.iter().filter(|(empty, _)| !empty) {
        out = out + "\n" + table;
    }
    out
}

/// What is said of the subnet's addresses beyond the gateway's.
fn addresses(network: &Network) -> String {
    let range = network.ip_range.map(|range| format!("Range:     {range}\n")).unwrap_or_default();
    let reserved = network.aux_addresses.iter();
    let reserved = reserved.map(|(name, address)| format!("Reserved:  {address} for {}\n", visible(name)));
    range + &reserved.collect::<String>()
}

/// Options and labels, a line each.
fn pairs(network: &Network) -> String {
    let line = |heading: &str, (key, value): (&String, &String)| {
        format!("{heading:<10} {}={}\n", visible(key), visible(value))
    };
    let options = network.options.iter().map(|pair| line("Option:", pair));
    options.chain(network.labels.iter().map(|pair| line("Label:", pair))).collect()
}

/// Text of whoever wrote it, on one line and harmless to a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What `attach` made.
pub fn endpoint(endpoint: &Endpoint) -> String {
    format!(
        "{}/{}: {} in {}, {}, {}\n",
        endpoint.network,
        endpoint.name,
        endpoint.ifname,
        sandbox(&endpoint.sandbox),
        endpoint.address,
        endpoint.mac
    )
}

/// `port ls`.
pub fn ports(ports: &[Port]) -> String {
    let mut table = Table::new(&[
        "PORT",
        "KIND",
        "INTERFACE",
        ">IFINDEX",
        "SANDBOX",
        ">NETNS",
        "PEER",
        ">MTU",
        "OFFLOADS",
        "FLAGS",
    ]);
    for port in ports {
        table.row([
            port.port.clone(),
            port.kind.clone(),
            port.ifname.clone(),
            port.ifindex.map(|index| index.to_string()).unwrap_or_default(),
            port.sandbox.as_ref().map(sandbox).unwrap_or_default(),
            port.netns.to_string(),
            port.peer.as_ref().map(peer).unwrap_or_default(),
            port.mtu.to_string(),
            port.offloads.join(","),
            flags(port),
        ]);
    }
    table.render()
}

/// The other end as `ip link` writes it: NUMBER: NAME.
fn peer(peer: &Peer) -> String {
    match &peer.ifname {
        Some(ifname) => format!("{}: {ifname}", peer.ifindex),
        None => peer.ifindex.to_string(),
    }
}

/// `fdb ls`.
pub fn fdb(entries: &[FdbEntry]) -> String {
    let mut table = Table::new(&["MAC", "PORT", "NETWORK", "KIND", ">AGE"]);
    for entry in entries {
        table.row([
            entry.mac.to_string(),
            entry.port.clone(),
            entry.network.clone(),
            entry.kind.clone(),
            entry.age_seconds.map(age).unwrap_or_default(),
        ]);
    }
    table.render()
}

/// `stats`.
pub fn stats(stats: &Stats) -> String {
    let mut out = format!(
        "pontoon {}, up {}, {} worker{}\n\n",
        stats.version,
        age(stats.uptime_seconds),
        stats.workers,
        if stats.workers == 1 { "" } else { "s" }
    );
    let ports: Vec<PortStats> = stats.ports.iter().chain(&stats.uplinks).cloned().collect();
    out += &carried(&ports, true);
    let drops = drops(&ports);
    if !drops.is_empty() {
        out = out + "\n" + &drops;
    }
    let mut table = Table::new(&[
        "FDB OF",
        ">ENTRIES",
        ">CAPACITY",
        ">LEARNED",
        ">MOVED",
        ">KEPT",
        ">REFUSED",
        ">EVICTED",
        ">EXPIRED",
    ]);
    for fdb in &stats.fdbs {
        let numbers = [
            fdb.entries,
            fdb.capacity,
            fdb.learned,
            fdb.moved,
            fdb.kept,
            fdb.refused,
            fdb.evicted,
            fdb.expired,
        ];
        table.row([fdb.network.clone()].into_iter().chain(numbers.map(count)));
    }
    if !stats.fdbs.is_empty() {
        out = out + "\n" + &table.render();
    }
    out
}

/// What every port carried.
pub fn traffic(ports: &[PortStats]) -> String {
    carried(ports, false)
}

/// The same, and by which worker each port is read.
fn carried(ports: &[PortStats], with_workers: bool) -> String {
    let mut columns =
        vec!["PORT", ">RX FRAMES", ">RX BYTES", ">RX MEAN", ">TX FRAMES", ">TX BYTES", ">TX MEAN", ">DROPS"];
    if with_workers {
        columns.push(">WORKER");
    }
    let mut table = Table::new(&columns);
    for port in ports {
        let dropped = port.drops.values().map(|t| t.frames).sum();
        let mut row = vec![port.port.clone()];
        for direction in [port.rx, port.tx] {
            row.extend([count(direction.frames), bytes(direction.bytes), mean(direction)]);
        }
        row.push(count(dropped));
        if with_workers {
            row.push(port.worker.map(|worker| worker.to_string()).unwrap_or_default());
        }
        table.row(row);
    }
    table.render()
}

/// What was dropped and why; empty when nothing was.
pub fn drops(ports: &[PortStats]) -> String {
    let mut table = Table::new(&["DROPS AT", "REASON", ">FRAMES", ">BYTES", "WHY"]);
    let mut any = false;
    for port in ports {
        for (reason, dropped) in &port.drops {
            any = true;
            table.row([
                port.port.clone(),
                reason.clone(),
                count(dropped.frames),
                bytes(dropped.bytes),
                drop_sentence(reason).to_owned(),
            ]);
        }
    }
    if any { table.render() } else { String::new() }
}

/// The sentence that explains a drop reason's name; empty for one that this version does not know.
pub fn drop_sentence(name: &str) -> &'static str {
    DropReason::ALL.iter().find(|reason| reason.name() == name).map_or("", |reason| reason.sentence())
}

/// `events`: a line each.
pub fn event(event: &Event) -> String {
    let cause = event.cause.as_ref().map(|cause| format!("  ({cause})")).unwrap_or_default();
    format!("{}  {:<18}  {}{cause}\n", event.time, event.event, event.subject)
}

/// Mean frame size; empty without frames.
fn mean(traffic: Traffic) -> String {
    traffic.bytes.checked_div(traffic.frames).map(bytes).unwrap_or_default()
}

fn sandbox(sandbox: &SandboxRef) -> String {
    match sandbox {
        SandboxRef::Netns(name) => name.clone(),
        SandboxRef::Pid(pid) => format!("pid {pid}"),
    }
}

fn device_kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Tap => "tap",
        DeviceKind::Veth => "veth",
    }
}

fn flags(port: &Port) -> String {
    let flags = port.flags;
    let names = [
        (flags.learning, "learning"),
        (flags.flood, "flood"),
        (flags.isolated, "isolated"),
        (flags.hairpin, "hairpin"),
        (flags.guard, "guard"),
        (!flags.loop_guard, "no-loop-guard"),
        (port.blocked, "BLOCKED"),
    ];
    let names = names.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned());
    let limits = [
        (flags.broadcast_limit, ENDPOINT_FLAGS.broadcast_limit, "broadcast"),
        (flags.multicast_limit, ENDPOINT_FLAGS.multicast_limit, "multicast"),
        (flags.unknown_limit, ENDPOINT_FLAGS.unknown_limit, "unknown"),
    ];
    // Those that somebody has set.
    let limits = limits.into_iter().filter(|(is, usual, _)| is != usual).map(|(is, _, name)| match is {
        0 => format!("{name}-limit=off"),
        frames => format!("{name}-limit={frames}"),
    });
    names.chain(limits).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::api::types::PortFlags;
    use crate::api::types::{Connection, FdbStats};

    fn example_network() -> Network {
        let id = "91f3c2389d344c7207ac17a375b0f596ed622dbdaded66564f08ab05bb1adab6".parse().unwrap();
        Network {
            name: "blue".into(),
            id,
            driver: "pontoon".into(),
            subnet: "10.88.0.0/24".parse().unwrap(),
            ip_range: None,
            aux_addresses: BTreeMap::new(),
            gateway: "10.88.0.1".parse().unwrap(),
            gateway_mac: "02:42:0a:58:00:01".parse().unwrap(),
            mtu: 1500,
            ageing_seconds: 300,
            connection: Connection::default(),
            host_interface: Some("ptn-blue".into()),
            publish_address: None,
            ifname_prefix: "eth".into(),
            attachable: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            created: "2026-01-01T00:00:00Z".into(),
            endpoints: vec![Endpoint {
                name: "web".into(),
                id,
                aliases: BTreeSet::new(),
                sandbox_id: id,
                network: "blue".into(),
                sandbox: SandboxRef::Pid(12),
                ifname: "eth0".into(),
                address: "10.88.0.2/24".parse().unwrap(),
                mac: "02:42:0a:58:00:02".parse().unwrap(),
                kind: DeviceKind::Tap,
                default_route: true,
                created: "2026-01-01T00:00:00Z".into(),
            }],
            interfaces: vec![],
            publications: vec![],
            rules: vec![],
            links: vec![],
            note: None,
        }
    }

    #[test]
    fn networks_are_listed_and_inspected() {
        let network_ = example_network();
        assert_eq!(
            networks(std::slice::from_ref(&network_)),
            "NETWORK  SUBNET        GATEWAY     MTU  AGEING  ENDPOINTS  INTERFACES\n\
             blue     10.88.0.0/24  10.88.0.1  1500   5m 0s          1           0\n"
        );
        let text = network(&network_);
        assert!(
            text.starts_with("Network:   blue\nId:        91f3c2389d34\nSubnet:    10.88.0.0/24\n"),
            "{text}"
        );
        assert!(text.contains("Gateway:   10.88.0.1 (02:42:0a:58:00:01)\n"), "{text}");
        assert!(
            text.contains("web       10.88.0.2/24  02:42:0a:58:00:02  eth0       pid 12   tap   -\n"),
            "{text}"
        );
        assert!(!text.contains("SINCE"), "{text}");
        assert!(
            text.contains("Host:      ptn-blue\nUplink:    auto\nInternal:  no\nICC:       yes\n"),
            "{text}"
        );
    }

    #[test]
    fn what_was_written_with_a_network_is_shown_on_lines_of_its_own() {
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let text = network(&Network {
            ip_range: Some("10.88.0.128/25".parse().unwrap()),
            aux_addresses: [("nas".to_owned(), [10, 88, 0, 5].into())].into(),
            options: pair("com.docker.network.driver.mtu", "1400"),
            labels: pair("team", "a\nb\u{1b}[1m"),
            ..example_network()
        });
        for line in [
            "\nRange:     10.88.0.128/25\n",
            "\nReserved:  10.88.0.5 for nas\n",
            "\nOption:    com.docker.network.driver.mtu=1400\n",
            "\nLabel:     team=a\u{fffd}b\u{fffd}[1m\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn fdb_looks_like_bridge_fdb() {
        let entry = |kind: &str, age_seconds| FdbEntry {
            network: "blue".into(),
            mac: "02:42:0a:58:00:02".parse().unwrap(),
            port: "blue/web".into(),
            kind: kind.into(),
            age_seconds,
        };
        assert_eq!(
            fdb(&[entry("sticky", Some(65)), entry("static", None)]),
            "MAC                PORT      NETWORK  KIND      AGE\n\
             02:42:0a:58:00:02  blue/web  blue     sticky  1m 5s\n\
             02:42:0a:58:00:02  blue/web  blue     static      -\n"
        );
    }

    #[test]
    fn stats_explain_drops_in_a_sentence() {
        let stats_ = Stats {
            version: "0.1.0".into(),
            uptime_seconds: 61,
            workers: 1,
            ports: vec![PortStats {
                port: "blue/web".into(),
                network: "blue".into(),
                worker: Some(1),
                rx: Traffic { frames: 2000, bytes: 128_000_000 },
                tx: Traffic::default(),
                drops: BTreeMap::from([("runt".to_owned(), Traffic { frames: 3, bytes: 30 })]),
            }],
            uplinks: vec![PortStats { port: "uplink:eth0".into(), ..PortStats::default() }],
            fdbs: vec![FdbStats {
                network: "blue".into(),
                entries: 1,
                capacity: 65536,
                ..FdbStats::default()
            }],
        };
        let text = stats(&stats_);
        assert!(text.starts_with("pontoon 0.1.0, up 1m 1s, 1 worker\n"), "{text}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = text.lines().map(words).collect();
        assert!(lines.contains(&"blue/web 2,000 128 MB 64.0 kB 0 0 B - 3 1".to_owned()), "{text}");
        assert!(lines.contains(&"uplink:eth0 0 0 B - 0 0 B - 0 -".to_owned()), "{text}");
        let why = "blue/web runt 3 30 B The frame is shorter than an Ethernet header.";
        assert!(lines.contains(&why.to_owned()), "{text}");
        assert!(lines.contains(&"blue 1 65,536 0 0 0 0 0 0".to_owned()), "{text}");
        assert!(drops(&[PortStats::default()]).is_empty());
    }

    #[test]
    fn ports_show_flags_by_name() {
        let port = Port {
            port: "blue/eth1".into(),
            network: "blue".into(),
            kind: "packet".into(),
            ifname: "eth1".into(),
            ifindex: Some(7),
            sandbox: None,
            netns: 4026531840,
            peer: None,
            flags: PortFlags { hairpin: true, guard: false, broadcast_limit: 500, ..ENDPOINT_FLAGS },
            blocked: true,
            mtu: 1500,
            offloads: vec!["checksum".into(), "tso".into()],
        };
        assert_eq!(
            ports(std::slice::from_ref(&port)),
            "PORT       KIND    INTERFACE  IFINDEX  SANDBOX       NETNS  PEER   MTU  OFFLOADS      FLAGS\n\
             blue/eth1  packet  eth1             7  -        4026531840  -     1500  checksum,tso  learning,flood,hairpin,BLOCKED,broadcast-limit=500\n"
        );
        let peer = Some(Peer { ifindex: 9, ifname: Some("ptn0a1b".into()) });
        let endpoint =
            Port { kind: "veth".into(), sandbox: Some(SandboxRef::Netns("web".into())), peer, ..port };
        assert!(ports(&[endpoint]).contains("web      4026531840  9: ptn0a1b  1500"));
    }

    #[test]
    fn events_are_lines_with_their_cause() {
        let lost = |cause| Event {
            time: "2026-01-01T00:00:00Z".into(),
            event: "port-lost".into(),
            subject: "blue/web".into(),
            cause,
        };
        assert_eq!(event(&lost(None)), "2026-01-01T00:00:00Z  port-lost           blue/web\n");
        assert!(
            event(&lost(Some("file descriptor in bad state".into())))
                .ends_with("blue/web  (file descriptor in bad state)\n")
        );
    }
}
