//! `pontoon trace`: what it says is what happens then, and nothing comes of it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use pontoon::api::types::{Rule, Stats, Trace, TraceFrame};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::port::pcap;
use pontoon_dataplane::trace::Probe;
use pontoon_tools::outside::{HOST, OUTSIDE, ROUTER, Way};

use crate::daemon::{Daemon, GATEWAY};
use crate::edge::{Edge, bind, edge_test, exchange, pings};
use crate::frames::{Segment, ethernet, flag, tcp};
use crate::interfaces::{FAR, cable};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        edge_test("trace/cold", Way::Direct(1500), &[], cold),
        edge_test("trace/decisions", Way::Direct(1500), &[], decisions),
        edge_test("trace/capture", Way::Direct(1500), &[], capture),
        test("trace/links", links),
        test("trace/on-the-link", on_the_link),
    ]
}

/// One trace, its arguments behind the network.
fn traced(daemon: &Daemon, from: &str, packet: &str) -> Trace {
    let answer = daemon.ask(&["trace", "blue", "--from", from, packet, "--json"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{packet}");
    serde_json::from_str(&answer.stdout).unwrap()
}

/// That it tells this, in this order, and perhaps more in between.
#[track_caller]
fn assert_tells(trace: &Trace, words: &[&str]) {
    let mut told = trace.decisions.iter();
    for word in words {
        assert!(told.any(|it| it.contains(word)), "no \"{word}\" in its place in {:#?}", trace.decisions);
    }
}

/// The one frame that leaves.
fn only(trace: &Trace) -> &TraceFrame {
    assert_eq!(trace.leaves.len(), 1, "{trace:#?}");
    &trace.leaves[0]
}

/// What the network has sent to the outside so far.
fn sent(daemon: &Daemon) -> Vec<u64> {
    let stats: Stats = daemon.json("stats");
    stats.uplinks.iter().map(|it| it.tx.frames).collect()
}

/// A fresh daemon knows neither route nor next hop: the whole way is told all the same, and it is the way that packets take.
fn cold(edge: &mut Edge) {
    edge.daemon.network("");
    let web = edge.daemon.attach("--name web");
    let server = bind(&edge.outside.machine, (OUTSIDE, 53));
    let uplink = format!("uplink:{}", edge.daemon.ok("uplink ls -q").trim());
    let before = sent(&edge.daemon);
    let own = web.ip();
    let next_hop = format!("next hop {ROUTER} is not resolved: ARP asks for it");
    for (port, kept) in [(40_000, false), (5060, true)] {
        let packet = format!("udp {own}:{port} > {OUTSIDE}:53");
        let trace = traced(&edge.daemon, "web", &packet);
        let mut words = vec![
            "guard: MAC and addresses are blue/web's own",
            "to the gateway's MAC",
            "no session",
            "blue has no rules",
            "the kernel is asked, and the packet waits",
            "route by uplink:",
            &next_hop,
        ];
        if kept {
            words.push("port 5060 of the host is asked for, to be kept");
        }
        words.extend([
            "source port ",
            "new session: ",
            "becomes ",
            "translate the source and route to uplink:",
        ]);
        assert_tells(&trace, &words);
        let [question, frame] = &trace.leaves[..] else { panic!("{trace:#?}") };
        assert_eq!((&question.port, &frame.port), (&uplink, &uplink));
        assert_eq!(question.packet, format!("arp who-has {ROUTER} tell {HOST}"));
        assert_eq!(question.after.as_deref(), Some("the route is known"));
        let last = if kept { "the port is held" } else { "the next hop has answered" };
        assert_eq!(frame.after.as_deref(), Some(last));
        assert!(
            !kept || frame.packet.starts_with(&format!("udp {HOST}:5060 > {OUTSIDE}:53 ttl 63")),
            "{trace:#?}"
        );
    }
    assert_eq!(sent(&edge.daemon), before, "nothing was sent");

    // The port that the next packet gets is the one that was told.
    let told = traced(&edge.daemon, "web", &format!("udp {own}:40000 > {OUTSIDE}:53"));
    let client = exchange(&bind(&web.namespace, (own, 40_000)), &server, (OUTSIDE, 53), 100);
    let packet = &told.leaves[1].packet;
    assert!(packet.starts_with(&format!("udp {client} > {OUTSIDE}:53")), "{packet}, but it was {client}");
    let warm = traced(&edge.daemon, "web", &format!("udp {own}:40000 > {OUTSIDE}:53"));
    assert_tells(&warm, &["two-way: a packet of whoever began it", "the session's way: uplink:", "becomes "]);
    assert_eq!((only(&warm).packet.as_str(), &only(&warm).after), (packet.as_str(), &None));
    let another = traced(&edge.daemon, "web", &format!("udp {own}:40001 > {OUTSIDE}:53"));
    assert_tells(&another, &["no session", &format!("next hop {ROUTER} is "), "source port "]);
    assert!(only(&another).after.is_none(), "the next hop is known: {another:#?}");
}

fn decisions(edge: &mut Edge) {
    let daemon = &edge.daemon;
    daemon.network("");
    let web = daemon.attach("--name web");
    let db = daemon.attach("--name db");
    daemon.ok("rule add blue deny --to 203.0.113.99 --proto tcp");
    daemon.ok("publish blue db 8080:80 --allow 203.0.113.0/24");
    let uplink = format!("uplink:{}", daemon.ok("uplink ls -q").trim());
    let (own, other) = (web.ip(), db.ip());

    let denied = traced(daemon, "web", &format!("tcp {own}:40000 > 203.0.113.99:80"));
    assert_eq!(denied.drop.as_deref(), Some("rule-denied"));
    assert_tells(&denied, &["rules of blue: rule 1 denies it", "drop, rule-denied"]);

    assert!(pings(&db.namespace, GATEWAY), "the FDB has heard of it");
    let across = traced(daemon, "web", &format!("tcp {own}:40000 > {other}:80"));
    assert_eq!(only(&across).port, "blue/db");
    assert_tells(
        &across,
        &[&format!("FDB: {} is behind blue/db (sticky, seen ", db.mac().0), "forward to blue/db"],
    );
    let spoofed = traced(daemon, "web", &format!("tcp 10.88.0.77:40000 > {other}:80"));
    assert_eq!((spoofed.drop.as_deref(), spoofed.leaves.len()), (Some("guard-ipv4"), 0));

    let inwards = traced(daemon, &uplink, &format!("tcp {OUTSIDE}:40000 > {HOST}:8080"));
    assert_eq!(only(&inwards).port, "blue/db");
    assert!(only(&inwards).packet.contains(&format!("> {other}:80 syn")), "{inwards:#?}");
    assert!(only(&inwards).frame.starts_with(&hex(&db.mac().0.0)), "its MAC is known: {inwards:#?}");
    assert_tells(
        &inwards,
        &[
            &format!("publication 1 leads to {other}:80"),
            "rules of blue: none matches",
            "publication 1 is for this sender too",
        ],
    );
    let stranger = traced(daemon, &uplink, &format!("tcp 192.0.2.99:40000 > {HOST}:8080"));
    assert_eq!(stranger.drop.as_deref(), Some("rule-denied"));
    assert_tells(&stranger, &["publication 1 is for others, not for this sender"]);
    let own_business = traced(daemon, &uplink, &format!("tcp {OUTSIDE}:40000 > {HOST}:22"));
    assert_tells(&own_business, &["to the host, and to no published port", "the host's own business"]);

    let host = traced(daemon, "host", &format!("icmp {GATEWAY} > {other}"));
    assert_eq!(only(&host).port, "blue/db");
    let text =
        daemon.ask(&["trace", "blue", "--from", "web", &format!("tcp {own}:40000 > {other}:80")]).stdout;
    assert!(text.starts_with("in by blue/web: tcp ") && text.contains("\nout by blue/db: tcp "), "{text}");

    // And nothing is left of all that.
    assert_eq!(daemon.json::<Vec<serde_json::Value>>("nat ls"), [""; 0]);
    assert!(!daemon.ok("stats --json").contains("rule-denied"));
    assert_eq!(daemon.json::<Vec<Rule>>("rule ls blue")[0].hits, 0);
}

/// Frames of a capture, as tcpdump shows them on an interface with offloads.
fn capture(edge: &mut Edge) {
    let daemon = &edge.daemon;
    daemon.network("");
    let web = daemon.attach("--name web");
    let (own, mac) = (web.ip(), web.mac().0);
    let data: Probe = format!("tcp {own}:40000 > {OUTSIDE}:80 flags=ack df len=20000").parse().unwrap();
    let gateway = MacAddr::from_ipv4(GATEWAY);
    let data = data.frame(mac, gateway);
    let syn = |from: (Ipv4Addr, u16), to, flags, mss| {
        let segment = Segment { flags, mss: Some(mss), ..Segment::default() };
        ethernet(gateway, mac, 0x0800, &tcp(from, to, segment))
    };
    let (here, there) = ((own, 40_000), (OUTSIDE, 80));
    let write = |name: &str, frames: &[&[u8]]| -> PathBuf {
        let file = daemon.path(name);
        let mut writer = pcap::Writer::create(&file).unwrap();
        frames.iter().for_each(|frame| writer.write(Duration::ZERO, frame).unwrap());
        writer.finish().unwrap();
        file
    };
    let alone = write("alone.pcap", &[&data]);
    let trace = |file: &PathBuf, number: u32| -> Trace {
        daemon.json(&format!("trace blue --from web --pcap {} --frame {number}", file.display()))
    };
    let whole = trace(&alone, 1);
    assert_eq!(
        whole.assumed,
        [
            "a super-frame: its device was to cut it into segments of 1460 bytes and to fill in their checksums"
        ]
    );
    let left = whole.leaves.last().unwrap();
    assert!(left.port.starts_with("uplink:") && left.packet.ends_with("20054 bytes"), "{whole:#?}");
    assert_tells(&whole, &["translate the source and route to uplink:"]);

    let begun = write(
        "begun.pcap",
        &[&syn(here, there, flag::SYN, 1460), &syn(there, here, flag::SYN | flag::ACK, 1300), &data],
    );
    assert!(trace(&begun, 3).assumed[0].contains("segments of 1300 bytes"), "{:?}", trace(&begun, 3).assumed);
    let answer =
        daemon.ask(&["trace", "blue", "--from", "web", "--pcap", begun.to_str().unwrap(), "--frame", "4"]);
    assert!(answer.code == Some(1) && answer.stderr.contains("has no frame 4; it has 3"), "{answer:?}");
}

fn links() {
    let daemon = Daemon::start();
    daemon.network("--icc=false");
    let web = daemon.attach("--name web");
    let db = daemon.attach("--name db");
    assert!(pings(&db.namespace, GATEWAY) && pings(&web.namespace, GATEWAY));
    let (own, other) = (web.ip(), db.ip());
    let to = |port: u16| traced(&daemon, "web", &format!("tcp {own}:40000 > {other}:{port}"));
    let closed = to(5432);
    assert_eq!(closed.drop.as_deref(), Some("link-denied"));
    assert_tells(&closed, &["endpoints are isolated, and no link joins blue/web and blue/db"]);
    daemon.ok("link blue web db:5432");
    let open = to(5432);
    assert_eq!(only(&open).port, "blue/db");
    assert_tells(
        &open,
        &[
            "no session",
            "the link from blue/web to blue/db lets what it begins with port 5432/tcp pass",
            "new session",
        ],
    );
    let other_port = to(80);
    assert_eq!(other_port.drop.as_deref(), Some("link-denied"));
    assert_tells(&other_port, &["no link lets blue/web begin this with blue/db"]);
}

/// Stations that are no endpoints: behind an existing interface, and all of them.
fn on_the_link() {
    let daemon = Daemon::start();
    daemon.network("");
    let web = daemon.attach("--name web");
    let _db = daemon.attach("--name db");
    let far = cable(&daemon, true);
    daemon.ok("port add blue --interface up0");
    let own = web.ip();
    let packet = format!("tcp {own}:40000 > {FAR}:80");
    let cold = traced(&daemon, "web", &packet);
    assert_eq!(cold.packet, format!("arp who-has {FAR} tell {own}"));
    assert!(cold.assumed[0].contains("has to ask for its MAC first"), "{cold:#?}");
    assert!(cold.leaves.iter().any(|it| it.port == "blue/up0"), "{cold:#?}");

    assert!(pings(&web.namespace, FAR));
    let warm = traced(&daemon, "web", &packet);
    assert_eq!(only(&warm).port, "blue/up0");
    let mac = MacAddr::from_ipv4(FAR);
    assert!(only(&warm).frame.starts_with(&hex(&mac.0)), "{warm:#?}");
    assert_eq!(warm.assumed, [format!("sent to {mac}, which has {FAR} by the ARP table of blue/web")]);
    assert_tells(&warm, &[&format!("FDB: {mac} is behind blue/up0 (learned, seen ")]);
    let back = traced(&daemon, "up0", &format!("tcp {FAR}:80 > {own}:40000 flags=ack"));
    assert_eq!(only(&back).port, "blue/web");
    assert!(only(&back).frame[12..24] == hex(&mac.0), "{back:#?}");

    let all = traced(&daemon, "web", &format!("udp {own}:40000 > 10.88.0.255:9"));
    let mut ports: Vec<&str> = all.leaves.iter().map(|it| it.port.as_str()).collect();
    ports.sort_unstable();
    assert_eq!(ports, ["blue/db", "blue/ptn-blue", "blue/up0"], "{all:#?}");
    assert_tells(&all, &["flood to 3 ports (broadcast)"]);
    drop(far);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
