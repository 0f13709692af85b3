//! The checks: each tries one thing on the lab, keeps the figures, and says in a line how it went.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use super::arp::{self, Neighbour};
use super::beyond::{Asked, Fetched};
use super::lab::{Lab, NETWORK, Station};
use super::outside;
use super::ping::Pinger;
use super::tcp;
use crate::api::types::{FdbEntry, Mac, PortStats, Stats};
use crate::cli::client::ClientError;
use crate::cli::show::drop_sentence;
use crate::cli::table::{bytes, count};
use crate::netns::run_in;

/// How long a ping may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Payload of the large ping.
const LARGE: usize = 20_000;
/// How long the TCP stream lasts.
const STREAM: Duration = Duration::from_millis(700);
/// Drops that belong to three stations coming up one after the other: their first multicasts find nobody there.
const EXPECTED_DROPS: [&str; 2] = ["no-egress", "port-down"];

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was tried.
    pub name: String,
    /// Whether it came out as it must.
    pub ok: bool,
    /// The figures, or what was wrong.
    pub detail: String,
}

impl Check {
    /// A check that is fine, with its figures, or not, with what is wrong.
    pub(super) fn of(name: impl Into<String>, result: Result<String, String>) -> Check {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        Check { name: name.into(), ok, detail }
    }
}

/// A pair of the ping matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ping {
    pub from: &'static str,
    pub to: &'static str,
    /// Median round trip; absent when there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_us: Option<f64>,
}

/// Frames that a port dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Dropped {
    pub port: String,
    pub reason: String,
    pub why: &'static str,
    pub frames: u64,
    pub bytes: u64,
    /// Part of stations coming up; anything else fails the demo.
    pub expected: bool,
}

/// Everything that was found: what `--json` prints.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    /// Every check passed.
    pub ok: bool,
    pub checks: Vec<Check>,
    pub pings: Vec<Ping>,
    /// What each namespace's kernel has resolved.
    pub arp: BTreeMap<&'static str, Vec<Neighbour>>,
    pub fdb: Vec<FdbEntry>,
    /// Who asked whom beyond the network, and how he was seen.
    pub asked: Vec<Asked>,
    /// What the stations have fetched from outside.
    pub fetched: Vec<Fetched>,
    /// The offloads that all ports have.
    pub offloads: Vec<String>,
    pub throughput_gbit_per_s: Option<f64>,
    pub congestion_control: Option<String>,
    /// Mean size of the frames that the sending station's port took during the stream.
    pub mean_frame_bytes: Option<u64>,
    pub ports: Vec<PortStats>,
    pub drops: Vec<Dropped>,
    /// From start to end.
    pub seconds: f64,
}

/// Pings every other station, the gateway and the outside from `from`.
pub(super) fn ping_from(from: &Station, lab: &Lab, findings: &mut Findings) -> Check {
    const COUNT: usize = 9;
    let others = lab.stations.iter().filter(|to| to.name != from.name).map(|to| (to.name, to.ip));
    let targets: Vec<_> =
        others.chain([("gateway", lab.network.gateway), (outside::NAME, outside::ADDRESS)]).collect();
    let ping = |target: Ipv4Addr| Pinger::new(target, ping_id(from))?.median(COUNT, PATIENCE);
    let results = run_in(&from.netns, || {
        targets.iter().map(|(name, ip)| (*name, ping(*ip))).collect::<Vec<(&'static str, io::Result<_>)>>()
    });
    let name = format!("ping from {}", from.name);
    let results = match results {
        Ok(results) => results,
        Err(error) => return Check::of(name, Err(error.to_string())),
    };
    let median = |result: &io::Result<Duration>| result.as_ref().ok().map(|rtt| rtt.as_secs_f64() * 1e6);
    let pings = results.iter().map(|(to, rtt)| Ping { from: from.name, to, median_us: median(rtt) });
    findings.pings.extend(pings);
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
    let detail = if bad.is_empty() {
        let times = good.into_iter().filter_map(|(to, result)| Some((to, result.ok()?)));
        Ok(round_trips(&times.collect::<Vec<_>>()))
    } else {
        let error = |(to, result): (_, io::Result<_>)| Some(format!("{to}: {}", no_answer(&result.err()?)));
        Err(bad.into_iter().filter_map(error).collect::<Vec<_>>().join(", "))
    };
    Check::of(name, detail)
}

/// Times with their unit once: microseconds, as long as four digits will do.
fn round_trips(times: &[(&str, Duration)]) -> String {
    let longest = times.iter().map(|(_, rtt)| rtt.as_micros()).max().unwrap_or_default();
    let in_us = longest < 10_000;
    let time = |(to, rtt): &(&str, Duration)| {
        let us = rtt.as_secs_f64() * 1e6;
        if in_us { format!("{to} {us:.0}") } else { format!("{to} {:.1}", us / 1000.0) }
    };
    let all = times.iter().map(time).collect::<Vec<_>>().join(", ");
    format!("{all} {}", if in_us { "µs" } else { "ms" })
}

/// Pings the gateway with a packet that goes in fragments, both ways.
pub(super) fn large_ping(from: &Station, lab: &Lab) -> Check {
    // Each fragment but the last carries a multiple of eight bytes (RFC 791) after a 20-byte header.
    let room = (usize::from(lab.network.mtu) - 20) / 8 * 8;
    let fragments = (LARGE + 8).div_ceil(room);
    let ping = || Pinger::new(lab.network.gateway, ping_id(from))?.ping(LARGE, PATIENCE);
    let result = match run_in(&from.netns, ping) {
        Ok(Ok(rtt)) => Ok(format!("{} to gateway: {fragments} fragments each way, {}", from.name, span(rtt))),
        Ok(Err(error)) => Err(format!("{} to gateway: {}", from.name, no_answer(&error))),
        Err(error) => Err(error.to_string()),
    };
    Check::of("ping with 20 kB", result)
}

/// Looks into the ARP table of every namespace.
pub(super) fn arp_tables(lab: &Lab, findings: &mut Findings) -> Check {
    let mut wrong = Vec::new();
    for station in &lab.stations {
        let table = match run_in(&station.netns, arp::table) {
            Ok(Ok(table)) => table,
            Ok(Err(error)) => return Check::of("ARP tables", Err(error.to_string())),
            Err(error) => return Check::of("ARP tables", Err(error.to_string())),
        };
        for (name, ip, mac) in neighbours_of(station, lab) {
            match table.iter().find(|entry| entry.ip == ip) {
                Some(entry) if entry.mac == mac => {}
                Some(entry) => wrong.push(format!("{} has {} for {name}", station.name, entry.mac)),
                None => wrong.push(format!("{} lacks {name}", station.name)),
            }
        }
        findings.arp.insert(station.name, table);
    }
    let all = lab.stations.len() * lab.stations.len();
    let good = format!("all {all} neighbours resolved, each to the right MAC");
    Check::of("ARP tables", if wrong.is_empty() { Ok(good) } else { Err(wrong.join(", ")) })
}

/// Everybody that the station has talked to: name, address, MAC.
pub(super) fn neighbours_of<'a>(
    station: &'a Station,
    lab: &'a Lab,
) -> impl Iterator<Item = (&'static str, Ipv4Addr, Mac)> + 'a {
    let others = lab.stations.iter().filter(|other| other.name != station.name);
    let others = others.map(|other| (other.name, other.ip, other.mac));
    others.chain([("gateway", lab.network.gateway, lab.network.gateway_mac)])
}

/// Compares the FDB with where the stations are.
pub(super) fn learning(lab: &Lab, findings: &mut Findings) -> Check {
    const NAME: &str = "MAC learning";
    let fdb: Vec<FdbEntry> = match lab.client.get("/fdb") {
        Ok(fdb) => fdb,
        Err(error) => return Check::of(NAME, Err(error.to_string())),
    };
    let port_of = |mac| fdb.iter().find(|entry| entry.mac == mac).map(|entry| entry.port.as_str());
    let mut wrong = Vec::new();
    for station in &lab.stations {
        match port_of(station.mac) {
            Some(port) if port == station.port() => {}
            Some(port) => wrong.push(format!("{} is said to be behind {port}", station.name)),
            None => wrong.push(format!("{} was not learned", station.name)),
        }
    }
    if port_of(lab.network.gateway_mac).is_some() {
        wrong.push("the gateway's MAC was learned on a port".to_owned());
    }
    findings.fdb = fdb;
    let good = format!("all {} MACs are on their own ports", lab.stations.len());
    Check::of(NAME, if wrong.is_empty() { Ok(good) } else { Err(wrong.join(", ")) })
}

/// Runs a TCP stream and looks at its frames on the way: the checks of the stream and of the frames.
pub(super) fn stream(
    (from, to): (&Station, &Station),
    lab: &Lab,
    findings: &mut Findings,
    progress: &(dyn Fn(f64) + Sync),
) -> [Check; 2] {
    let name = format!("TCP, {} to {}", from.name, to.name);
    let taken =
        || port_stats(lab).map(|ports| ports.into_iter().find(|p| p.port == from.port()).unwrap_or_default());
    let before = taken();
    let flow = tcp::measure(&from.netns, (&to.netns, to.ip), STREAM, progress);
    let after = taken();
    let tcp_check = Check::of(
        name,
        match &flow {
            Ok(flow) => Ok(format!(
                "{:.2} Gbit/s with {}: {}, every byte checked",
                flow.gbit_per_s(),
                flow.congestion_control,
                bytes(flow.bytes)
            )),
            Err(error) => Err(error.to_string()),
        },
    );
    if let Ok(flow) = flow {
        findings.throughput_gbit_per_s = Some((flow.gbit_per_s() * 1000.0).round() / 1000.0);
        findings.congestion_control = Some(flow.congestion_control);
    }
    let frames = match (before, after) {
        (Ok(before), Ok(after)) => {
            let frames = after.rx.frames.saturating_sub(before.rx.frames);
            let bytes = after.rx.bytes.saturating_sub(before.rx.bytes);
            bytes.checked_div(frames).ok_or_else(|| "the sender's port counted no frame".to_owned())
        }
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    };
    findings.mean_frame_bytes = frames.as_ref().ok().copied();
    let super_frames_due = lab.offloads.iter().any(|offload| offload == "tso");
    let judged = frames.and_then(|mean| judge_mean_frame(mean, lab.network.mtu, super_frames_due));
    [tcp_check, Check::of("super-frames", judged)]
}

/// Whether a mean frame of `mean` bytes is what ports with or without TCP offload should show.
fn judge_mean_frame(mean: u64, mtu: u16, super_frames_due: bool) -> Result<String, String> {
    let plain = u64::from(mtu) + 14;
    match (mean > plain, super_frames_due) {
        (true, _) => Ok(format!("mean frame {}, {} times a plain one", count_bytes(mean), mean / plain)),
        (false, true) => {
            Err(format!("mean frame {}: TSO is on, but no super-frames came", count_bytes(mean)))
        }
        (false, false) => Ok(format!("mean frame {}: no TSO on this kernel's TAPs", count_bytes(mean))),
    }
}

fn count_bytes(number: u64) -> String {
    count(number) + " B"
}

/// Reads the drop counters.
pub(super) fn drops(lab: &Lab, findings: &mut Findings) -> Check {
    const NAME: &str = "drops";
    match port_stats(lab) {
        Ok(ports) => {
            findings.drops = dropped(&ports);
            findings.ports = ports;
            Check::of(NAME, judge_drops(&findings.drops))
        }
        Err(error) => Check::of(NAME, Err(error.to_string())),
    }
}

fn dropped(ports: &[PortStats]) -> Vec<Dropped> {
    let of_port = |port: &PortStats| {
        let name = port.port.clone();
        let one = move |(reason, traffic): (&String, &crate::api::types::Traffic)| Dropped {
            port: name.clone(),
            reason: reason.clone(),
            why: drop_sentence(reason),
            frames: traffic.frames,
            bytes: traffic.bytes,
            expected: EXPECTED_DROPS.contains(&reason.as_str()),
        };
        port.drops.iter().map(one).collect::<Vec<_>>()
    };
    ports.iter().flat_map(of_port).collect()
}

fn judge_drops(drops: &[Dropped]) -> Result<String, String> {
    let by_reason = |expected: bool| {
        let mut sums = BTreeMap::<&str, u64>::new();
        for drop in drops.iter().filter(|drop| drop.expected == expected) {
            *sums.entry(&drop.reason).or_default() += drop.frames;
        }
        sums.iter()
            .map(|(reason, frames)| format!("{} {reason}", count(*frames)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (expected, unexpected) = (by_reason(true), by_reason(false));
    match (expected.is_empty(), unexpected.is_empty()) {
        (true, true) => Ok("none".to_owned()),
        (false, true) => Ok(format!("only {expected}, from before all were up")),
        (_, false) => Err(unexpected),
    }
}

fn port_stats(lab: &Lab) -> Result<Vec<PortStats>, ClientError> {
    let mut ports = lab.client.get::<Stats>("/stats")?.ports;
    ports.retain(|port| port.network == NETWORK);
    Ok(ports)
}

pub(super) fn ping_id(from: &Station) -> u16 {
    // Any number does: sockets are connected and namespaces apart. The address makes captures readable.
    let [_, _, high, low] = from.ip.octets();
    u16::from_be_bytes([high, low])
}

pub(super) fn no_answer(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::TimedOut { "no answer".to_owned() } else { error.to_string() }
}

fn span(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.1} ms", us / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Traffic;

    #[test]
    fn super_frames_must_show_when_they_are_due() {
        assert_eq!(
            judge_mean_frame(62_000, 1500, true).unwrap(),
            "mean frame 62,000 B, 40 times a plain one"
        );
        assert!(judge_mean_frame(1514, 1500, true).unwrap_err().contains("no super-frames came"));
        assert!(judge_mean_frame(1400, 1500, false).unwrap().contains("no TSO on this kernel's TAPs"));
    }

    #[test]
    fn round_trips_have_one_unit_and_fit_the_line() {
        let times =
            |us: u64| ["green", "blue", "gateway", "outside"].map(|to| (to, Duration::from_micros(us)));
        assert_eq!(round_trips(&times(13)[..2]), "green 13, blue 13 µs");
        assert_eq!(round_trips(&times(12_340)[2..]), "gateway 12.3, outside 12.3 ms");
        for us in [9_999, 99_900] {
            assert!(round_trips(&times(us)).chars().count() <= 52, "{}", round_trips(&times(us)));
        }
    }

    #[test]
    fn only_drops_of_coming_up_are_forgiven() {
        let port = |reason: &str| PortStats {
            port: "demo/red".into(),
            network: "demo".into(),
            drops: BTreeMap::from([(reason.to_owned(), Traffic { frames: 2, bytes: 140 })]),
            ..PortStats::default()
        };
        let judge =
            |reasons: &[&str]| judge_drops(&dropped(&reasons.iter().map(|r| port(r)).collect::<Vec<_>>()));
        assert_eq!(judge(&[]).unwrap(), "none");
        assert_eq!(judge(&["no-egress", "no-egress"]).unwrap(), "only 4 no-egress, from before all were up");
        assert_eq!(judge(&["no-egress", "port-full"]).unwrap_err(), "2 port-full");
        assert_eq!(dropped(&[port("runt")])[0].why, "The frame is shorter than an Ethernet header.");
    }
}
