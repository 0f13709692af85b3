//! What becomes of a message that somebody sends to a resolver: one function without I/O, for the server, the fuzzer and the bench.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::count::Count;
use super::message::{Query, Transport, Unfit};
use super::zone::{Asker, Forwarding, Found, Zone};

/// How long an answer of ours may be kept, in seconds: containers come and go, and to ask us again costs next to nothing. Denials are not
/// kept at all, for they say nothing of how long (RFC 2308, section 5).
const TTL: u32 = 5;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This is said to it.
    Answer(Vec<u8>, Count),
    /// Somebody else has to be asked.
    Forward(Query),
    /// It is left without an answer.
    Ignore(Count),
}

/// Decides about a message that came from `asker`.
pub fn decide(zone: &Zone, asker: &Asker, transport: Transport, message: &[u8]) -> Decision {
    match Query::read(message) {
        Ok(query) => about(zone, asker, transport, query),
        Err(unfit) => {
            let count = match unfit {
                Unfit::Operation(_) => Count::NotImplemented,
                _ => Count::Malformed,
            };
            unfit.answer().map_or(Decision::Ignore(count), |answer| Decision::Answer(answer, count))
        }
    }
}

fn about(zone: &Zone, asker: &Asker, transport: Transport, query: Query) -> Decision {
    let say =
        |code, records, count| Decision::Answer(query.answer(code, records, query.room(transport)), count);
    let question = query.question();
    if query.is_of_unknown_version() {
        return say(ResponseCode::BADVERS, Vec::new(), Count::NotImplemented);
    }
    // Nobody's zone is to be had here, and names of other classes there are none.
    let is_lookup = !matches!(question.query_type, RecordType::AXFR | RecordType::IXFR)
        && matches!(question.query_class, DNSClass::IN | DNSClass::ANY);
    if !is_lookup {
        return say(ResponseCode::Refused, Vec::new(), Count::Refused);
    }
    let records = match zone.find(asker, &question.name) {
        Found::Addresses(addresses) => addresses.into_iter().map(|it| RData::A(A(it))).collect(),
        Found::Name(name) => vec![RData::PTR(PTR(name))],
        Found::Localhost => vec![RData::A(A(Ipv4Addr::LOCALHOST)), RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))],
        Found::Nothing => return say(ResponseCode::NXDomain, Vec::new(), Count::NoSuchName),
        Found::Elsewhere => {
            return match zone.forwarding(asker) {
                Forwarding::No => say(ResponseCode::ServFail, Vec::new(), Count::KeptInside),
                Forwarding::To(_) | Forwarding::ToTheHosts => Decision::Forward(query),
            };
        }
    };
    let wanted = |data: &RData| [data.record_type(), RecordType::ANY].contains(&question.query_type);
    let record = |data| Record::from_rdata(question.name.clone(), TTL, data);
    let records: Vec<Record> = records.into_iter().filter(wanted).map(record).collect();
    let count = if records.is_empty() { Count::NoData } else { Count::Answered };
    say(ResponseCode::NoError, records, count)
}

#[cfg(test)]
mod tests;
