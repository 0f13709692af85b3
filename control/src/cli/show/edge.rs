//! The edge as text.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::api::types::{
    Flow, Link, NatFlushed, NatSession, NatStats, Network, NetworkPatch, Protocol, Publication, Rule,
    RuleAction, Trace, UplinkState,
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
        "Host:      {host}\nUplink:    {}{closed}\nInternal:  {}\nICC:       {}\nSNAT IP:   {}\nMapping:   {}\n",
        connection.uplink,
        yes(connection.internal),
        yes(connection.icc),
        connection.snat_ip,
        connection.nat_mapping,
    )
}

/// What `network set` changed.
pub fn patch(patch: &NetworkPatch) -> String {
    let NetworkPatch { ageing_seconds, host_access, uplink, internal, icc, snat_ip, nat_mapping } = patch;
    let on = |value: bool| if value { "on" } else { "off" };
    let parts = [
        ageing_seconds.map(|seconds| format!("ageing {}", age(seconds.into()))),
        host_access.map(|value| format!("host access {}", on(value))),
        uplink.as_ref().map(|uplink| format!("uplink {uplink}")),
        internal.map(|value| if value { "internal".to_owned() } else { "not internal".to_owned() }),
        icc.map(|value| format!("icc {}", on(value))),
        snat_ip.map(|address| format!("SNAT IP {address}")),
        nat_mapping.map(|mapping| format!("{mapping} mapping")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn allow(allow: &[IpNet]) -> String {
    if allow.is_empty() {
        return "anybody".to_owned();
    }
    allow.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
}

/// What `publish` made.
pub fn published(it: &Publication) -> String {
    let mut out =
        format!("{}/{}: {} published, for {}\n", it.network, it.endpoint, it.ports, allow(&it.allow));
    if let Some(note) = &it.note {
        out = out + "note: " + note + "\n";
    }
    out
}

/// `ports`.
pub fn publications(all: &[Publication]) -> String {
    let mut table = Table::new(&[">ID", "ENDPOINT", "PORTS", "FOR", "STATE"]);
    for it in all {
        let state = it.cause.as_ref().map_or(it.state.clone(), |cause| format!("{}: {cause}", it.state));
        let endpoint = format!("{}/{}", it.network, it.endpoint);
        table.row([it.id.to_string(), endpoint, it.ports.to_string(), allow(&it.allow), state]);
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
         Opened:     {}, {} expired, {} evicted half open\n\
         Refused:    {} TCP, {} other, for want of room\n\
         TCP ports:  {} of {} in use\n\
         UDP ports:  {} of {} in use\n",
        count(stats.sessions.into()),
        count(stats.sessions_max.into()),
        count(stats.half_open.into()),
        count(stats.waiting.into()),
        count(stats.opened),
        count(stats.expired),
        count(stats.evicted),
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
    for decision in &trace.decisions {
        out = out + "  " + decision + "\n";
    }
    if trace.leaves.is_empty() {
        out += "nothing leaves\n";
    }
    for frame in &trace.leaves {
        out += &format!("out by {}: {}\n", frame.port, frame.packet);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{ByProtocol, NatGauge, RuleBody, TraceFrame};

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
            allow: vec!["192.0.2.0/24".parse().unwrap(), "10.0.0.1/32".parse().unwrap()],
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
        let down = Publication { id: 12, allow: vec![], state: "down".into(), cause, ..up.clone() };
        assert_eq!(
            publications(&[up.clone(), down]),
            "ID  ENDPOINT  PORTS                          FOR                       STATE\n\
             \x203  blue/web  127.0.0.1:8080-8081:80-81/tcp  192.0.2.0/24,10.0.0.1/32  up\n\
             12  blue/web  127.0.0.1:8080-8081:80-81/tcp  anybody                   down: 80/tcp on 0.0.0.0 is taken by nginx\n"
        );
        let noted = Publication { note: Some("nobody reaches it".into()), allow: vec![], ..up };
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
        let json = serde_json::to_value(publication()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": 3, "network": "blue", "endpoint": "web", "ports": "127.0.0.1:8080-8081:80-81/tcp",
                "host_address": "127.0.0.1", "host_ports": "8080-8081", "endpoint_ports": "80-81", "protocol": "tcp",
                "allow": ["192.0.2.0/24", "10.0.0.1/32"], "state": "up", "created": "2026-01-01T00:00:00Z",
            })
        );
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
            endpoints: vec![NatGauge { endpoint: "blue/web".into(), sessions: 1500 }],
            ..NatStats::default()
        };
        let text = nat_stats(&stats);
        assert!(text.starts_with("Sessions:   1,500 of 262,144 (0 half open, 0 frames waiting)\n"), "{text}");
        assert!(text.contains("TCP ports:  12 of 4,096 in use\n"), "{text}");
        assert!(text.ends_with("blue/web     1,500  32,768   4%\n"), "{text}");
    }

    #[test]
    fn a_trace_reads_from_in_to_out() {
        let frame = TraceFrame {
            port: "uplink:eth0".into(),
            packet: "tcp 192.0.2.1:20000 > 192.0.2.7:80 syn ttl 63, 54 bytes".into(),
            frame: "00".into(),
        };
        let passed = Trace {
            from: "blue/web".into(),
            packet: "tcp 10.88.0.2:1234 > 192.0.2.7:80 syn ttl 64, 54 bytes".into(),
            decisions: vec![
                "rule 1 of blue allows it".into(),
                "translate the source and route to uplink:eth0".into(),
            ],
            drop: None,
            leaves: vec![frame],
        };
        assert_eq!(
            trace(&passed),
            "in by blue/web: tcp 10.88.0.2:1234 > 192.0.2.7:80 syn ttl 64, 54 bytes\n  \
               rule 1 of blue allows it\n  \
               translate the source and route to uplink:eth0\n\
             out by uplink:eth0: tcp 192.0.2.1:20000 > 192.0.2.7:80 syn ttl 63, 54 bytes\n"
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
