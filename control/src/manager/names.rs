//! The names that can be asked for, from what is known.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};

use super::Manager;
use crate::api::types::{
    DnsAnswer, DnsCount, DnsName, DnsPlace, DnsRecord, DnsStats, DnsUpstream, SandboxRef, Uplink,
};
use crate::dns::count::Count;
use crate::dns::message::Query;
use crate::dns::place::{LOCAL_ADDRESS, Place};
use crate::dns::zone::{Asker, NetworkNames, Station, Zone};
use crate::error::Error;
use crate::netns::NetnsId;
use crate::plan::Step;
use crate::state::{NetworkState, State};
use crate::store::{EndpointRecord, Phase};

/// All names of an endpoint, its own first.
fn names_of(endpoint: &EndpointRecord) -> Vec<String> {
    std::iter::once(&endpoint.name).chain(&endpoint.aliases).cloned().collect()
}

/// What the sandbox of an endpoint is told apart by. One whose namespace nobody knows, as Docker's are, has its id for that.
fn sandbox_of(endpoint: &EndpointRecord) -> NetnsId {
    if endpoint.netns != NetnsId::UNKNOWN {
        return endpoint.netns;
    }
    let [dev, ino] = endpoint.sandbox_id.first_words();
    NetnsId { dev, ino, boot: 0 }
}

/// All names.
fn zone(state: &State) -> Zone {
    Zone::new(state.networks.values().map(network).collect())
}

fn network(network: &NetworkState) -> NetworkNames {
    let record = &network.record;
    let there = network.endpoints.values().filter(|it| it.phase == Phase::Attached);
    let station = |it: &EndpointRecord| Station {
        sandbox: sandbox_of(it),
        address: it.address,
        names: names_of(it),
        upstreams: it.dns.clone(),
    };
    NetworkNames {
        name: record.name.clone(),
        subnet: record.subnet,
        gateway: record.gateway,
        forwards: record.connection.way_out() != Uplink::None,
        upstreams: record.connection.dns.clone(),
        stations: there.map(station).collect(),
    }
}

/// What is asked for: a name, or the one that leads to an address.
fn question(text: &str, kind: Option<&str>) -> Result<(Name, RecordType), Error> {
    let refuse = |sentence: String| Error::Declaration(sentence);
    let (name, usual) = match text.parse::<IpAddr>() {
        Ok(address) => (address.into(), RecordType::PTR),
        Err(_) => {
            let name = Name::from_ascii(text);
            (name.map_err(|error| refuse(format!("\"{text}\" cannot be a name: {error}")))?, RecordType::A)
        }
    };
    let kind = kind.map(|kind| {
        let parsed = kind.to_ascii_uppercase().parse::<RecordType>();
        parsed.map_err(|_| {
            refuse(format!("there are no records of type {kind}; write A, AAAA, PTR, MX, TXT, …"))
        })
    });
    let mut name: Name = name;
    name.set_fqdn(true);
    Ok((name, kind.transpose()?.unwrap_or(usual)))
}

fn record(record: &Record) -> DnsRecord {
    DnsRecord {
        name: record.name.to_string(),
        ttl: record.ttl,
        kind: record.record_type().to_string(),
        data: record.data.to_string(),
    }
}

/// As `dig` writes them.
fn code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

impl Manager {
    /// The names that can be asked for.
    pub fn dns_names(&self) -> Vec<DnsName> {
        let names = zone(&self.state()).names();
        let view = |(network, name, address): (String, Name, _)| {
            let name = name.to_string().trim_end_matches('.').to_owned();
            DnsName { network, name, address }
        };
        names.into_iter().map(view).collect()
    }

    /// Where names can be asked for, and what became of questions.
    pub fn dns_stats(&self) -> DnsStats {
        let view = self.world.resolver();
        let state = self.state();
        let place = |(place, sandbox): (Place, Option<SandboxRef>)| {
            let sandbox = sandbox.map(|sandbox| match sandbox {
                SandboxRef::Netns(name) => name,
                SandboxRef::Pid(pid) => format!("pid {pid}"),
            });
            match place {
                Place::Sandbox(_) => Some(DnsPlace { network: None, sandbox, address: LOCAL_ADDRESS }),
                Place::Gateway(network) => {
                    let address = state.networks.get(&network)?.record.gateway;
                    Some(DnsPlace { network: Some(network), sandbox, address })
                }
            }
        };
        let upstream =
            |(address, silent): (SocketAddr, bool)| DnsUpstream { address: address.to_string(), silent };
        let count = |(what, count): (Count, u64)| DnsCount {
            name: what.name().to_owned(),
            count,
            meaning: what.sentence().to_owned(),
        };
        DnsStats {
            places: view.places.into_iter().filter_map(place).collect(),
            host_resolvers: view.host_resolvers.into_iter().map(upstream).collect(),
            under_way: view.under_way,
            counts: view.counts.into_iter().map(count).collect(),
        }
    }

    /// Asks for a name as somebody does who is on that network alone.
    ///
    /// # Errors
    /// There is no such network, or it cannot be a name.
    pub fn dns_query(&self, network: &str, name: &str, kind: Option<&str>) -> Result<DnsAnswer, Error> {
        self.state().network(network)?;
        let (name, kind) = question(name, kind)?;
        let asker = Asker::Station { network: network.to_owned(), address: Ipv4Addr::UNSPECIFIED };
        let message = Query::new(0, name.clone(), kind).to_vec();
        let silent = || Error::Internal("the resolver did not answer".into());
        let (answer, elsewhere) = self.world.ask(asker, &message).ok_or_else(silent)?;
        let answer = Message::from_vec(&answer)
            .map_err(|error| Error::Conflict(format!("the answer about {name} cannot be read: {error}")))?;
        Ok(DnsAnswer {
            name: name.to_string(),
            kind: kind.to_string(),
            code: code(answer.response_code),
            from: if elsewhere { "upstream" } else { "pontoon" }.to_owned(),
            records: answer.answers.iter().map(record).collect(),
        })
    }

    /// Has the resolver know what is known.
    pub(super) fn tell_names(&self) {
        self.world.set_names(zone(&self.state()));
    }

    /// As [`Manager::tell_names`], if these steps may have changed anything about it.
    pub(super) fn tell_names_after(&self, steps: &[Step]) {
        if steps.iter().any(|step| matches!(step, Step::Store(_))) {
            self.tell_names();
        }
    }
}
