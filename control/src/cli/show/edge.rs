//! The edge as text.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::api::types::{
    Flow, Link, NatFlushed, NatSession, NatStats, Network, NetworkPatch, Protocol, Publication, Rule,
    RuleAction, RuleBody, Trace, UplinkState,
};
use crate::cli::table::{Table, age, count};

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// The lines of `network show` about the connection.
pub(super) fn connection(network: &Network) -> String {
    let connection = &network.connection;
    let host = network.host_interface.as_deref().unwrap_or("no access");
    let closed = if connection.internal { " (but internal)" } else { "" };
    format!(
        "Host:      {host}\nUplink:    {}{closed}\nInternal:  {}\nICC:       {}\nSNAT IP:   {}\nMapping:   {}\nResolver:  {}\nDNS:       {}\n",
        connection.uplink,
        yes(connection.internal),
        yes(connection.icc),
        connection.snat_ip,
        connection.nat_mapping,
        yes(connection.resolver),
        name_servers(&connection.dns),
    )
}

/// Whom names of the outside are asked for.
fn name_servers(dns: &[IpAddr]) -> String {
    if dns.is_empty() {
        return "host".to_owned();
    }
    dns.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

/// What `network set` changed.
pub fn patch(patch: &NetworkPatch) -> String {
    let NetworkPatch {
        ageing_seconds,
        host_access,
        uplink,
        internal,
        icc,
        snat_ip,
        nat_mapping,
        resolver,
        dns,
    } = patch;
    let on = |value: bool| if value { "on" } else { "off" };
    let parts = [
        ageing_seconds.map(|seconds| format!("ageing {}", age(seconds.into()))),
        host_access.map(|value| format!("host access {}", on(value))),
        uplink.as_ref().map(|uplink| format!("uplink {uplink}")),
        internal.map(|value| if value { "internal".to_owned() } else { "not internal".to_owned() }),
        icc.map(|value| format!("icc {}", on(value))),
        snat_ip.map(|address| format!("SNAT IP {address}")),
        nat_mapping.map(|mapping| format!("{mapping} mapping")),
        resolver.map(|value| format!("resolver {}", on(value))),
        dns.as_ref().map(|dns| format!("names of the outside asked of {}", name_servers(dns))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Whom a list of rules lets come: `publish --allow` is told as it was said.
fn audience(rules: &[Rule]) -> String {
    let allowed: Vec<IpNet> =
        rules.iter().filter(|it| it.rule.action == RuleAction::Allow).filter_map(|it| it.rule.from).collect();
    let bodies = rules.iter().map(|it| &it.rule);
    match rules.len() {
        0 => "anybody".to_owned(),
        _ if bodies.eq(&RuleBody::admission(&allowed)) => {
            allowed.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
        }
        1 => "1 rule".to_owned(),
        many => format!("{many} rules"),
    }
}

/// What should be known about something, if anything should.
pub fn note(note: Option<&String>) -> String {
    note.map(|note| format!("note: {note}\n")).unwrap_or_default()
}

/// What `publish` made.
pub fn published(it: &Publication) -> String {
    let out =
        format!("{}/{}: {} published, for {}\n", it.network, it.endpoint, it.ports, audience(&it.rules));
    out + &note(it.note.as_ref())
}

/// `ports`.
pub fn publications(all: &[Publication]) -> String {
    let mut table = Table::new(&[">ID", "ENDPOINT", "PORTS", "FOR", "STATE"]);
    for it in all {
        let state = it.cause.as_ref().map_or(it.state.clone(), |cause| format!("{}: {cause}", it.state));
        let endpoint = format!("{}/{}", it.network, it.endpoint);
        table.row([it.id.to_string(), endpoint, it.ports.to_string(), audience(&it.rules), state]);
    }
    // Once for each network.
    let notes: BTreeSet<&String> = all.iter().filter_map(|it| it.note.as_ref()).collect();
    notes.into_iter().fold(table.render(), |out, note| out + "note: " + note + "\n")
}

/// `rule ls`.
pub fn rules(all: &[Rule]) -> String {
    let mut table = Table::new(&[">NUMBER", "ACTION", "FROM", "TO", "PROTOCOL", "PORT", ">HITS"]);
    for Rule { number, rule, hits } in all {
        let action = match rule.action {
            RuleAction::Allow => "allow",
            RuleAction::Deny => "deny",
        };
        table.row([
            number.to_string(),
            action.to_owned(),
            rule.from.map_or("any".into(), |net| net.to_string()),
            rule.to.map_or("any".into(), |net| net.to_string()),
            rule.protocol.map_or("any".into(), |protocol| protocol.to_string()),
            rule.port.map_or("any".into(), |port| port.to_string()),
            count(*hits),
        ]);
    }
    table.render()
}

/// The rules of a network's publications, each list under a line of its own.
pub fn rules_of_publications(network: &Network) -> String {
    let with_rules = network.publications.iter().filter(|it| !it.rules.is_empty());
    let list = |it: &Publication| {
        let Publication { id, network, endpoint, ports, .. } = it;
        format!("\npublication {id}, {network}/{endpoint} {ports}:\n{}", rules(&it.rules))
    };
    with_rules.map(list).collect()
}

fn service(link: &Link) -> String {
    let protocol = link.protocol.unwrap_or(Protocol::Tcp);
    link.port.map_or("any".to_owned(), |port| format!("{port}/{protocol}"))
}

/// `link ls`.
pub fn links(all: &[Link]) -> String {
    let mut table = Table::new(&["NETWORK", "FROM", "TO", "PORT"]);
    for link in all {
        table.row([link.network.clone(), link.from.clone(), link.to.clone(), service(link)]);
    }
    table.render()
}

/// What `link` made.
pub fn linked(link: &Link, network: &Network) -> String {
    let port = link.port.map(|_| format!(", port {}", service(link))).unwrap_or_default();
    let mut out = format!("{}: {} may speak to {}{port}\n", link.network, link.from, link.to);
    if network.connection.icc {
        out +=
            &format!("note: icc of the network {} is on, so all of its endpoints may anyway\n", link.network);
    }
    out
}

fn flow(flow: &Flow, protocol: Protocol) -> String {
    let Flow { source, source_port, destination, destination_port } = flow;
    match protocol {
        Protocol::Icmp => format!("{source} > {destination} id {}", source_port.max(destination_port)),
        _ => format!("{source}:{source_port} > {destination}:{destination_port}"),
    }
}

/// `nat ls`.
pub fn sessions(all: &[NatSession]) -> String {
    let mut table = Table::new(&["ENDPOINT", "PROTOCOL", "ORIGINAL", "REPLY", "STATE", ">IDLE", ">EXPIRES"]);
    for it in all {
        table.row([
            it.endpoint.clone(),
            it.protocol.to_string(),
            flow(&it.original, it.protocol),
            flow(&it.reply, it.protocol),
            it.state.clone(),
            age(it.idle_seconds),
            age(it.expires_seconds),
        ]);
    }
    table.render()
}

/// `nat flush`.
pub fn flushed(done: NatFlushed) -> String {
    let ending = if done.flushed == 1 { "" } else { "s" };
    format!("{} session{ending} ended\n", count(done.flushed))
}

/// `nat stats`.
pub fn nat_stats(stats: &NatStats) -> String {
    let mut out = format!(
        "Sessions:   {} of {} ({} half open, {} frames waiting)\n\
         Opened:     {}, {} expired, {} half open and {} other evicted\n\
         Refused:    {} TCP, {} other, for want of room\n\
         TCP ports:  {} of {} in use\n\
         UDP ports:  {} of {} in use\n",
        count(stats.sessions.into()),
        count(stats.sessions_max.into()),
        count(stats.half_open.into()),
        count(stats.waiting.into()),
        count(stats.opened),
        count(stats.expired),
        count(stats.evicted_half_open),
        count(stats.evicted_other),
        count(stats.refused_tcp),
        count(stats.refused_other),
        count(stats.ports_used.tcp.into()),
        count(stats.ports_held.tcp.into()),
        count(stats.ports_used.udp.into()),
        count(stats.ports_held.udp.into()),
    );
    if !stats.endpoints.is_empty() {
        let mut table = Table::new(&["ENDPOINT", ">SESSIONS", ">OF", ">USE"]);
        for gauge in &stats.endpoints {
            let most = stats.sessions_per_endpoint_max;
            let percent = u64::from(gauge.sessions) * 100 / u64::from(most.max(1));
            let sessions = count(gauge.sessions.into());
            table.row([gauge.endpoint.clone(), sessions, count(most.into()), format!("{percent}%")]);
        }
        out = out + "\n" + &table.render();
    }
    out
}

/// `uplink ls`.
pub fn uplinks(all: &[UplinkState]) -> String {
    let mut table = Table::new(&["INTERFACE", "ADDRESSES", ">MTU", "STATE"]);
    for it in all {
        let addresses: Vec<String> = it.addresses.iter().map(IpNet::to_string).collect();
        let state = if it.up { "up" } else { "down" };
        table.row([it.interface.clone(), addresses.join(","), it.mtu.to_string(), state.to_owned()]);
    }
    table.render()
}

/// `trace`.
pub fn trace(trace: &Trace) -> String {
    let mut out = format!("in by {}: {}\n", trace.from, trace.packet);
    for assumed in &trace.assumed {
        out = out + "  assumed: " + assumed + "\n";
    }
    for decision in &trace.decisions {
        out = out + "  " + decision + "\n";
    }
    if trace.leaves.is_empty() {
        out += "nothing leaves\n";
    }
    for frame in &trace.leaves {
        let after = frame.after.as_ref().map_or(String::new(), |after| format!(" (once {after})"));
        out += &format!("out by {}: {}{after}\n", frame.port, frame.packet);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{ByProtocol, NatGauge, TraceFrame};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn numbered(rules: Vec<RuleBody>) -> Vec<Rule> {
        (1..).zip(rules).map(|(number, rule)| Rule { number, rule, hits: 7 }).collect()
    }

    fn publication() -> Publication {
        let ports: crate::api::types::PublishedPorts = "127.0.0.1:8080-8081:80-81".parse().unwrap();
        Publication {
            id: 3,
            network: "blue".into(),
            endpoint: "web".into(),
            ports,
            host_address: ports.address,
            host_ports: ports.host,
            endpoint_ports: ports.endpoint,
            protocol: ports.protocol,
            rules: numbered(RuleBody::admission(&[
                "192.0.2.0/24".parse().unwrap(),
                "10.0.0.1/32".parse().unwrap(),
            ])),
            state: "up".into(),
            cause: None,
            note: None,
            created: "2026-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn publications_say_for_whom_and_why_not() {
        let up = publication();
        let cause = Some("80/tcp on 0.0.0.0 is taken by nginx".to_owned());
        let down = Publication { id: 12, rules: vec![], state: "down".into(), cause, ..up.clone() };
        assert_eq!(
            publications(&[up.clone(), down]),
            "ID  ENDPOINT  PORTS                          FOR                       STATE\n\
             \x203  blue/web  127.0.0.1:8080-8081:80-81/tcp  192.0.2.0/24,10.0.0.1/32  up\n\
             12  blue/web  127.0.0.1:8080-8081:80-81/tcp  anybody                   down: 80/tcp on 0.0.0.0 is taken by nginx\n"
        );
        let noted = Publication { note: Some("nobody reaches it".into()), rules: vec![], ..up };
        assert_eq!(
            publications(&[noted.clone(), noted.clone()]).lines().skip(3).collect::<Vec<_>>(),
            ["note: nobody reaches it"]
        );
        assert_eq!(
            published(&noted),
            "blue/web: 127.0.0.1:8080-8081:80-81/tcp published, for anybody\nnote: nobody reaches it\n"
        );
    }

    #[test]
    fn publications_as_json() {
        let one = Publication {
            rules: numbered(vec![RuleBody::admission(&[net("192.0.2.0/24")])[1].clone()]),
            ..publication()
        };
        let json = serde_json::to_value(one).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": 3, "network": "blue", "endpoint": "web", "ports": "127.0.0.1:8080-8081:80-81/tcp",
                "host_address": "127.0.0.1", "host_ports": "8080-8081", "endpoint_ports": "80-81", "protocol": "tcp",
                "rules": [{"number": 1, "rule": {"action": "deny"}, "hits": 7}],
                "state": "up", "created": "2026-01-01T00:00:00Z",
            })
        );
    }

    #[test]
    fn who_may_come_is_told_as_it_was_said() {
        let [a, b] = [net("192.0.2.0/24"), net("10.0.0.1/32")];
        let allowed = RuleBody::admission(&[a, b]);
        assert_eq!(audience(&numbered(allowed.clone())), "192.0.2.0/24,10.0.0.1/32");
        // Whatever says more than that, or less.
        let only_http = RuleBody { port: Some("80".parse().unwrap()), ..allowed[0].clone() };
        for (rules, words) in [
            (vec![], "anybody"),
            (vec![allowed[2].clone()], "1 rule"),
            (vec![allowed[0].clone(), allowed[1].clone()], "2 rules"),
            (vec![allowed[2].clone(), allowed[0].clone()], "2 rules"),
            (vec![only_http, allowed[2].clone()], "2 rules"),
        ] {
            assert_eq!(audience(&numbered(rules)), words);
        }
    }

    #[test]
    fn rules_are_numbered_and_counted() {
        let body = RuleBody {
            action: RuleAction::Deny,
            from: None,
            to: Some("192.0.2.7/32".parse().unwrap()),
            protocol: Some(Protocol::Tcp),
            port: Some("80-90".parse().unwrap()),
        };
        let open =
            RuleBody { action: RuleAction::Allow, to: None, protocol: None, port: None, ..body.clone() };
        assert_eq!(body.to_string(), "deny to 192.0.2.7/32 tcp port 80-90");
        assert_eq!(
            rules(&[Rule { number: 1, rule: body, hits: 1200 }, Rule { number: 2, rule: open, hits: 0 }]),
            "NUMBER  ACTION  FROM  TO            PROTOCOL  PORT    HITS\n\
             \x20    1  deny    any   192.0.2.7/32  tcp       80-90  1,200\n\
             \x20    2  allow   any   any           any       any        0\n"
        );
    }

    #[test]
    fn sessions_show_both_sides() {
        let flow = |source: &str, source_port, destination: &str, destination_port| Flow {
            source: source.into(),
            source_port,
            destination: destination.into(),
            destination_port,
        };
        let tcp = NatSession {
            id: 9,
            endpoint: "blue/web".into(),
            protocol: Protocol::Tcp,
            original: flow("10.88.0.2", 40000, "192.0.2.7", 80),
            reply: flow("192.0.2.7", 80, "198.51.100.1", 20007),
            state: "established".into(),
            publication: None,
            idle_seconds: 3,
            expires_seconds: 7437,
        };
        let icmp = NatSession {
            protocol: Protocol::Icmp,
            original: flow("10.88.0.2", 7, "192.0.2.7", 0),
            reply: flow("192.0.2.7", 0, "198.51.100.1", 99),
            state: "two-way".into(),
            ..tcp.clone()
        };
        assert_eq!(
            sessions(&[tcp, icmp]),
            "ENDPOINT  PROTOCOL  ORIGINAL                        REPLY                              STATE        IDLE  EXPIRES\n\
             blue/web  tcp       10.88.0.2:40000 > 192.0.2.7:80  192.0.2.7:80 > 198.51.100.1:20007  established    3s    2h 3m\n\
             blue/web  icmp      10.88.0.2 > 192.0.2.7 id 7      192.0.2.7 > 198.51.100.1 id 99     two-way        3s    2h 3m\n"
        );
        assert_eq!(flushed(NatFlushed { flushed: 1 }), "1 session ended\n");
        assert_eq!(flushed(NatFlushed { flushed: 2000 }), "2,000 sessions ended\n");
    }

    #[test]
    fn the_gauge_shows_who_uses_how_much() {
        let stats = NatStats {
            sessions: 1500,
            sessions_max: 262_144,
            sessions_per_endpoint_max: 32_768,
            ports_held: ByProtocol { tcp: 4096, udp: 4096 },
            ports_used: ByProtocol { tcp: 12, udp: 0 },
            opened: 9000,
            evicted_half_open: 800,
            evicted_other: 3,
            refused_tcp: 2,
            endpoints: vec![NatGauge { endpoint: "blue/web".into(), sessions: 1500 }],
            ..NatStats::default()
        };
        let text = nat_stats(&stats);
        assert!(text.starts_with("Sessions:   1,500 of 262,144 (0 half open, 0 frames waiting)\n"), "{text}");
        assert!(text.contains("9,000, 0 expired, 800 half open and 3 other evicted\n"), "{text}");
        assert!(text.contains("2 TCP, 0 other, for want of room\n"), "{text}");
        assert!(text.contains("TCP ports:  12 of 4,096 in use\n"), "{text}");
        assert!(text.ends_with("blue/web     1,500  32,768   4%\n"), "{text}");
    }

    #[test]
    fn a_trace_reads_from_in_to_out() {
        let leaves = |packet: &str, after: Option<&str>| TraceFrame {
            port: "uplink:eth0".into(),
            packet: packet.into(),
            frame: "00".into(),
            after: after.map(str::to_owned),
        };
        let passed = Trace {
            from: "blue/web".into(),
            packet: "tcp 10.88.0.2:1234 > 192.0.2.7:80 syn ttl 64, 54 bytes".into(),
            assumed: vec!["sent to 02:42:0a:58:00:01, the gateway".into()],
            decisions: vec![
                "rules of blue: rule 1 allows it".into(),
                "translate the source and route to uplink:eth0".into(),
            ],
            drop: None,
            leaves: vec![
                leaves("arp who-has 192.0.2.254 tell 192.0.2.1", None),
                leaves(
                    "tcp 192.0.2.1:20000 > 192.0.2.7:80 syn ttl 63, 54 bytes",
                    Some("the next hop has answered"),
                ),
            ],
        };
        assert_eq!(
            trace(&passed),
            "in by blue/web: tcp 10.88.0.2:1234 > 192.0.2.7:80 syn ttl 64, 54 bytes\n  \
               assumed: sent to 02:42:0a:58:00:01, the gateway\n  \
               rules of blue: rule 1 allows it\n  \
               translate the source and route to uplink:eth0\n\
             out by uplink:eth0: arp who-has 192.0.2.254 tell 192.0.2.1\n\
             out by uplink:eth0: tcp 192.0.2.1:20000 > 192.0.2.7:80 syn ttl 63, 54 bytes (once the next hop has answered)\n"
        );
        let dropped = Trace { leaves: vec![], ..passed };
        assert!(trace(&dropped).ends_with("uplink:eth0\nnothing leaves\n"));
    }

    #[test]
    fn links_and_uplinks() {
        let link = Link {
            network: "blue".into(),
            from: "web".into(),
            to: "db".into(),
            port: Some(5432),
            protocol: Some(Protocol::Tcp),
        };
        let all = Link { port: None, protocol: None, ..link.clone() };
        assert_eq!(
            links(&[link, all]),
            "NETWORK  FROM  TO  PORT\n\
             blue     web   db  5432/tcp\n\
             blue     web   db  any\n"
        );
        let uplink = UplinkState {
            interface: "eth0".into(),
            addresses: vec!["192.0.2.1/24".parse().unwrap(), "192.0.2.2/24".parse().unwrap()],
            mtu: 1500,
            up: true,
        };
        assert_eq!(
            uplinks(&[uplink]),
            "INTERFACE  ADDRESSES                   MTU  STATE\n\
             eth0       192.0.2.1/24,192.0.2.2/24  1500  up\n"
        );
    }
}
