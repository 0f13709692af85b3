//! The checks beyond the network: the world outside, the host, a published port.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::Serialize;

use super::checks::{Check, Findings};
use super::lab::{Lab, PUBLISHED, Station};
use super::outside::{self, HOST};
use super::ping::Pinger;
use super::service::{self, Answer};
use super::tcp::FlowError;
use crate::netns::{Netns, run_in};

/// Somebody asked, and how he was seen.
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

/// Every station asks outside: who answers there must see the host's address and no other.
pub(super) fn seen_outside(lab: &Lab, findings: &mut Findings) -> Check {
    let to = SocketAddrV4::new(outside::ADDRESS, service::PORT);
    let asked = lab
        .stations
        .iter()
        .try_for_each(|it| ask((it.name, &it.netns), to, outside::NAME, |_| HOST, findings));
    Check::of("seen from outside", asked.map(|()| format!("all as {HOST}, by TCP and UDP")))
}

/// The host reaches the stations, and they reach it.
pub(super) fn host(lab: &Lab, findings: &mut Findings) -> Check {
    let mut result = || -> Result<String, String> {
        for station in &lab.stations {
            let ping = || Pinger::new(station.ip, 1)?.ping(56, super::checks::PATIENCE);
            run_in(&lab.host, ping)
                .map_err(|error| error.to_string())?
                .map_err(|error| format!("the host to {}: {error}", station.name))?;
            for address in [lab.network.gateway, HOST] {
                let to = SocketAddrV4::new(address, service::PORT);
                ask((station.name, &station.netns), to, "host", |_| station.ip, findings)?;
            }
        }
        Ok(format!("reaches all three, and they reach it at {} and {HOST}", lab.network.gateway))
    };
    Check::of("host", result())
}

/// Everybody reaches the published port of a station.
pub(super) fn published(lab: &Lab, (red, green): (&Station, &Station), findings: &mut Findings) -> Check {
    let at = |address| SocketAddrV4::new(address, PUBLISHED);
    let (host, gateway) = (("host", &lab.host), lab.network.gateway);
    let mut result = || -> Result<String, String> {
        let outside = (outside::NAME, &lab.outside.netns);
        ask(outside, at(HOST), red.name, |answer| *answer.own.ip(), findings)?;
        ask(host, at(Ipv4Addr::LOCALHOST), red.name, |_| gateway, findings)?;
        ask(host, at(HOST), red.name, |_| gateway, findings)?;
        ask((green.name, &green.netns), at(HOST), red.name, |_| gateway, findings)?;
        ask((red.name, &red.netns), at(HOST), red.name, |_| gateway, findings)?;
        Ok(format!("of {}: from outside, host, {} and itself", red.name, green.name))
    };
    Check::of(format!("published port {PUBLISHED}"), result())
}

/// Fetches a lot from outside.
pub(super) fn fetch(from: &Station, findings: &mut Findings) -> Check {
    let target = SocketAddrV4::new(outside::ADDRESS, service::PORT);
    let fetched = match run_in(&from.netns, || service::fetch(target)) {
        Ok(fetched) => fetched.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let told = |flow: super::tcp::Flow| {
        findings.outside_gbit_per_s = Some((flow.gbit_per_s() * 1000.0).round() / 1000.0);
        format!("{:.2} Gbit/s to {}, every byte checked", flow.gbit_per_s(), from.name)
    };
    Check::of("100 MB from outside", fetched.map(told))
}
