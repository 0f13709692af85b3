//! The checks beyond the network: the world outside, the host, a published port.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::Serialize;

use super::checks::{Check, Findings, PATIENCE, no_answer, ping_id};
use super::lab::{Lab, PUBLISHED, Station};
use super::outside::{self, HOST};
use super::ping::{Ears, Pinger};
use super::service::{self, Answer, File};
use super::tcp::FlowError;
use crate::netns::{Netns, run_in};

/// Somebody asked, and how he was seen. With ICMP identifiers stand where the others have ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Asked {
    pub from: &'static str,
    pub protocol: &'static str,
    /// Whom he asked.
    pub to: SocketAddrV4,
    /// Who answered.
    pub by: String,
    /// His address and port as he had them himself.
    pub own: SocketAddrV4,
    /// His address and port as the answering side saw them.
    pub seen_as: SocketAddrV4,
}

/// Asks a service once, over one protocol.
type Ask = fn(SocketAddrV4) -> Result<Answer, FlowError>;

/// The ways to ask.
const PROTOCOLS: [(&str, Ask); 2] = [("tcp", service::ask_tcp), ("udp", service::ask_udp)];

/// Asks from a namespace by TCP and UDP, and holds what was answered against who should have and whom he should have seen.
fn ask(
    (from, netns): (&'static str, &Netns),
    to: SocketAddrV4,
    by: &str,
    seen_as: impl Fn(&Answer) -> Ipv4Addr,
    findings: &mut Findings,
) -> Result<(), String> {
    for (protocol, ask) in PROTOCOLS {
        let answer = run_in(netns, || ask(to))
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("{from} to {to} by {protocol}: {error}"))?;
        let expected = seen_as(&answer);
        if answer.by != by || *answer.seen_as.ip() != expected {
            return Err(format!(
                "{from} to {to} by {protocol}: {} saw {} instead of {by} seeing {expected}",
                answer.by, answer.seen_as
            ));
        }
        let Answer { by, own, seen_as } = answer;
        findings.asked.push(Asked { from, protocol, to, by, own, seen_as });
    }
    Ok(())
}

/// Pings outside from a station, and hears there whom that comes from.
fn ask_by_ping(station: &Station, ears: &mut Ears, findings: &mut Findings) -> Result<(), String> {
    let id = ping_id(station);
    let ping = || Pinger::new(outside::ADDRESS, id)?.ping(56, PATIENCE);
    run_in(&station.netns, ping)
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{} by ping: {}", station.name, no_answer(&error)))?;
    let (address, identifier) = ears
        .next(PATIENCE)
        .map_err(|error| format!("the ping of {} outside: {}", station.name, no_answer(&error)))?;
    if address != HOST {
        return Err(format!("the ping of {} is seen as {address}", station.name));
    }
    findings.asked.push(Asked {
        from: station.name,
        protocol: "icmp",
        to: SocketAddrV4::new(outside::ADDRESS, 0),
        by: outside::NAME.to_owned(),
        own: SocketAddrV4::new(station.ip, id),
        seen_as: SocketAddrV4::new(address, identifier),
    });
    Ok(())
}

/// Every station asks outside: who answers there must see the host's address and no other.
pub(super) fn seen_outside(lab: &Lab, findings: &mut Findings) -> Check {
    let to = SocketAddrV4::new(outside::ADDRESS, service::PORT);
    let mut result = || -> Result<String, String> {
        let ears = run_in(&lab.outside.netns, Ears::open).map_err(|error| error.to_string())?;
        let mut ears = ears.map_err(|error| format!("nothing can listen outside: {error}"))?;
        for station in &lab.stations {
            ask((station.name, &station.netns), to, outside::NAME, |_| HOST, findings)?;
            ask_by_ping(station, &mut ears, findings)?;
        }
        Ok(format!("all as {HOST}, by ping, TCP and UDP"))
    };
    Check::of("seen from outside", result())
}

/// The host reaches the stations, and they reach it.
pub(super) fn host(lab: &Lab, findings: &mut Findings) -> Check {
    let mut result = || -> Result<String, String> {
        for station in &lab.stations {
            let ping = || Pinger::new(station.ip, 1)?.ping(56, PATIENCE);
            run_in(&lab.host, ping)
                .map_err(|error| error.to_string())?
                .map_err(|error| format!("the host to {}: {}", station.name, no_answer(&error)))?;
            for address in [lab.network.gateway, HOST] {
                let to = SocketAddrV4::new(address, service::PORT);
                ask((station.name, &station.netns), to, "host", |_| station.ip, findings)?;
            }
        }
        Ok("reaches all three; they reach both of its addresses".to_owned())
    };
    Check::of("host", result())
}

/// Everybody reaches the published port of the first station: from outside, from the host, and from every station.
pub(super) fn published(lab: &Lab, findings: &mut Findings) -> Check {
    let at = |address| SocketAddrV4::new(address, PUBLISHED);
    let (host, gateway) = (("host", &lab.host), lab.network.gateway);
    let [served, others @ ..] = lab.stations.as_slice() else {
        return Check::of("published port", Err("there is no station".to_owned()));
    };
    let mut result = || -> Result<String, String> {
        let outside = (outside::NAME, &lab.outside.netns);
        ask(outside, at(HOST), served.name, |answer| *answer.own.ip(), findings)?;
        ask(host, at(Ipv4Addr::LOCALHOST), served.name, |_| gateway, findings)?;
        ask(host, at(HOST), served.name, |_| gateway, findings)?;
        for station in &lab.stations {
            ask((station.name, &station.netns), at(HOST), served.name, |_| gateway, findings)?;
        }
        let others: Vec<_> = others.iter().map(|station| station.name).collect();
        Ok(format!("of {}: from outside, host, {} and itself", served.name, others.join(", ")))
    };
    Check::of(format!("published port {PUBLISHED}"), result())
}

/// What a station has fetched from outside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Fetched {
    pub by: &'static str,
    pub url: String,
    pub bytes: u64,
    /// As it must be.
    pub sha256: String,
    pub gbit_per_s: f64,
}

/// Fetches a file from outside.
pub(super) fn fetch(from: &Station, file: &File, findings: &mut Findings) -> Check {
    let target = SocketAddrV4::new(outside::ADDRESS, service::PORT);
    let fetched = match run_in(&from.netns, || service::fetch(target, file)) {
        Ok(fetched) => fetched.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let told = |(flow, sha256): (super::tcp::Flow, String)| {
        let gbit_per_s = flow.gbit_per_s();
        let told =
            format!("from outside: {gbit_per_s:.2} Gbit/s, SHA-256 {}", sha256.get(..16).unwrap_or_default());
        findings.fetched.push(Fetched {
            by: from.name,
            url: format!("http://{}{}", outside::ADDRESS, file.path),
            bytes: flow.bytes,
            sha256,
            gbit_per_s: (gbit_per_s * 1000.0).round() / 1000.0,
        });
        told
    };
    Check::of(format!("{} fetches {}", from.name, file.size), fetched.map(told))
}
