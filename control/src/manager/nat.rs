//! Sessions, uplinks, and how much of the edge is used.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use pontoon_dataplane::edge::tuple::Tuple;

use super::Manager;
use crate::api::types::{
    ByProtocol, Flow, NatFlushed, NatGauge, NatSession, NatSessions, NatStats, Protocol, UplinkState,
};
use crate::error::Error;
use crate::state::PortName;
use crate::world::NatView;

/// Whose sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    /// Those of endpoints and existing interfaces of this network.
    pub network: Option<String>,
    /// Those of this endpoint or interface alone: `NETWORK/ENDPOINT`, or its name beside `network`.
    pub endpoint: Option<String>,
}

/// The most sessions of one page.
pub const MAX_PAGE: usize = 1000;

fn flow(tuple: &Tuple) -> Flow {
    Flow {
        source: tuple.source().to_string(),
        source_port: tuple.src_port,
        destination: tuple.destination().to_string(),
        destination_port: tuple.dst_port,
    }
}

fn session(view: NatView) -> NatSession {
    let NatView { endpoint, publication, session } = view;
    NatSession {
        id: session.id,
        // An endpoint that went a moment ago takes its sessions along.
        endpoint: endpoint.map(|it| it.to_string()).unwrap_or_default(),
        protocol: Protocol::from(session.original.protocol),
        original: flow(&session.original),
        reply: flow(&session.reply),
        state: session.state.to_owned(),
        publication,
        idle_seconds: session.idle.as_secs(),
        expires_seconds: session.expires_in.as_secs(),
    }
}

impl Manager {
    /// A page of sessions from place `from` on. A page may be short, or empty, and not the last.
    ///
    /// # Errors
    /// There is no such network or endpoint.
    pub fn nat_sessions(&self, whose: &Whose, from: u32, max: usize) -> Result<NatSessions, Error> {
        let (network, endpoint) = self.whose(whose)?;
        let (page, next) = self.world.sessions(endpoint.as_ref(), from, max.clamp(1, MAX_PAGE))?;
        let wanted = |view: &NatView| {
            network.is_none() || view.endpoint.as_ref().map(|it| &it.network) == network.as_ref()
        };
        Ok(NatSessions { sessions: page.into_iter().filter(wanted).map(session).collect(), next })
    }

    /// Ends sessions.
    ///
    /// # Errors
    /// There is no such network or endpoint.
    pub fn nat_flush(&self, whose: &Whose) -> Result<NatFlushed, Error> {
        let owners = match self.whose(whose)? {
            (None, None) => return Ok(NatFlushed { flushed: self.world.flush_sessions(None)? }),
            (_, Some(endpoint)) => vec![endpoint],
            (Some(network), None) => {
                let state = self.state();
                let network = state.network(&network)?;
                let interfaces = network.interfaces.values().map(|it| it.port());
                network.endpoints.values().map(|it| it.port()).chain(interfaces).collect()
            }
        };
        let mut flushed = 0;
        for owner in &owners {
            flushed += self.world.flush_sessions(Some(owner))?;
        }
        Ok(NatFlushed { flushed })
    }

    /// How much of NAT is used.
    ///
    /// # Errors
    /// The engine has ended.
    pub fn nat_stats(&self) -> Result<NatStats, Error> {
        let used = self.world.nat_use()?;
        let ports = |(tcp, udp)| ByProtocol { tcp, udp };
        let mut endpoints: Vec<NatGauge> = used
            .endpoints
            .iter()
            .map(|(name, sessions)| NatGauge { endpoint: name.to_string(), sessions: *sessions })
            .collect();
        endpoints.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        let stats = used.stats;
        Ok(NatStats {
            sessions: stats.sessions,
            sessions_max: used.limits.sessions,
            sessions_per_endpoint_max: used.limits.sessions_per_endpoint,
            half_open: stats.half_open,
            opened: stats.opened,
            expired: stats.expired,
            evicted_half_open: stats.evicted_half_open,
            evicted_other: stats.evicted_other,
            refused_tcp: stats.refused_tcp,
            refused_other: stats.refused_other,
            ports_held: ports(stats.ports_held),
            ports_used: ports(stats.ports_used),
            waiting: stats.waiting,
            endpoints,
        })
    }

    /// The interfaces that networks leave by.
    pub fn uplinks(&self) -> Vec<UplinkState> {
        self.world.uplinks()
    }

    /// Notes which uplinks have come, gone or changed since the last look.
    pub fn note_uplinks(&self) {
        let now: BTreeMap<String, UplinkState> =
            self.world.uplinks().into_iter().map(|it| (it.interface.clone(), it)).collect();
        let before = {
            let mut known = self.uplinks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, now.clone())
        };
        for (name, is) in &now {
            match before.get(name) {
                Some(was) if was == is => {}
                Some(was) if was.up == is.up => self.journal.note("uplink-changed", name, ""),
                None | Some(_) => {
                    self.journal.note(if is.up { "uplink-up" } else { "uplink-down" }, name, "");
                }
            }
        }
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            self.journal.note("uplink-down", name, "");
        }
    }

    /// The network, and the endpoint, that are meant, both there.
    fn whose(&self, whose: &Whose) -> Result<(Option<String>, Option<PortName>), Error> {
        let state = self.state();
        let endpoint = match (&whose.endpoint, &whose.network) {
            (None, _) => None,
            (Some(endpoint), network) => {
                let (of, name) = match (endpoint.split_once('/'), network) {
                    (Some((of, name)), None) => (of, name),
                    (Some((of, name)), Some(network)) if of == network => (of, name),
                    (None, Some(network)) => (network.as_str(), endpoint.as_str()),
                    _ => {
                        return Err(Error::Declaration(format!(
                            "\"{endpoint}\" names no endpoint; write NETWORK/ENDPOINT"
                        )));
                    }
                };
                Some(match state.network(of)?.interfaces.get(name) {
                    Some(interface) => interface.port(),
                    None => state.endpoint(of, name)?.port(),
                })
            }
        };
        if let Some(network) = &whose.network {
            state.network(network)?;
        }
        Ok((whose.network.clone(), endpoint))
    }
}
