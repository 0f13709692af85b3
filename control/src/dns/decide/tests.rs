use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::Name;

use super::*;
use crate::dns::zone::{NetworkNames, Station};
use crate::netns::NetnsId;

const SANDBOX: NetnsId = NetnsId { dev: 4, ino: 7, boot: 1 };
const WEB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn zone(forwards: bool, webs: u8) -> Zone {
    let station = |number| Station {
        sandbox: SANDBOX,
        address: [10, 1, 0, number].into(),
        names: vec!["web".to_owned()],
        upstreams: Vec::new(),
    };
    Zone::new(vec![NetworkNames {
        name: "red".to_owned(),
        subnet: "10.1.0.0/24".parse().unwrap(),
        gateway: [10, 1, 0, 1].into(),
        forwards,
        upstreams: Vec::new(),
        stations: (2..2 + webs).map(station).collect(),
    }])
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(hickory_proto::op::Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask_by(zone: &Zone, transport: Transport, message: &[u8]) -> Decision {
    decide(zone, &Asker::Sandbox(SANDBOX), transport, message)
}

fn ask(message: &Message) -> Decision {
    ask_by(&zone(true, 1), Transport::Udp, &message.to_vec().unwrap())
}

fn answered(decision: Decision) -> (Message, Count) {
    match decision {
        Decision::Answer(bytes, count) => (Message::from_vec(&bytes).unwrap(), count),
        other => panic!("{other:?}"),
    }
}

/// The answer to a question about a name: its code, and the data of its records.
fn look_up(name: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
    let asked = query(name, kind);
    let (answer, _) = answered(ask(&asked));
    assert_eq!((answer.id, answer.message_type), (0x1234, MessageType::Response));
    assert!(
        answer.recursion_available && answer.recursion_desired && answer.authoritative && !answer.truncation
    );
    assert!(answer.queries[0].name.eq_case(&asked.queries[0].name), "the question as it was spelled");
    assert!(answer.answers.iter().all(|it| it.name == asked.queries[0].name && it.ttl == TTL));
    (answer.response_code, answer.answers.into_iter().map(|record| record.data).collect())
}

#[test]
fn names_and_addresses_are_answered() {
    assert_eq!(look_up("wEb.", RecordType::A), (ResponseCode::NoError, vec![RData::A(A(WEB))]));
    assert_eq!(look_up("web.red.", RecordType::ANY), (ResponseCode::NoError, vec![RData::A(A(WEB))]));
    let name = RData::PTR(PTR(Name::from_ascii("web.red.").unwrap()));
    assert_eq!(look_up("2.0.1.10.in-addr.arpa.", RecordType::PTR), (ResponseCode::NoError, vec![name]));
    let local = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
    assert_eq!(look_up("localhost.", RecordType::AAAA), (ResponseCode::NoError, vec![local]));
}

#[test]
fn what_a_name_does_not_have_is_no_error() {
    for kind in
        [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS, RecordType::Unknown(4711)]
    {
        assert_eq!(look_up("web.", kind), (ResponseCode::NoError, vec![]), "{kind}");
    }
    assert_eq!(look_up("2.0.1.10.in-addr.arpa.", RecordType::A), (ResponseCode::NoError, vec![]));
}

#[test]
fn what_only_we_could_know_is_asked_of_nobody() {
    for (name, kind) in [
        ("nobody.", RecordType::A),
        ("nobody.", RecordType::DS),
        ("com.", RecordType::NS),
        ("77.0.1.10.in-addr.arpa.", RecordType::PTR),
        ("0.1.10.in-addr.arpa.", RecordType::SOA),
    ] {
        assert_eq!(look_up(name, kind), (ResponseCode::NXDomain, vec![]), "{name} {kind}");
    }
}

#[test]
fn the_rest_is_asked_of_others() {
    for name in ["example.com.", "nobody.red.", ".", "9.113.0.203.in-addr.arpa.", "web.example."] {
        let asked = query(name, RecordType::A);
        let Decision::Forward(forwarded) = ask(&asked) else { panic!("{name}") };
        assert_eq!(forwarded.question(), &asked.queries[0]);
    }
    let kept =
        ask_by(&zone(false, 1), Transport::Udp, &query("example.com.", RecordType::A).to_vec().unwrap());
    let (answer, count) = answered(kept);
    assert_eq!((answer.response_code, count), (ResponseCode::ServFail, Count::KeptInside));
}

#[test]
fn an_opt_record_is_answered_by_one() {
    let mut asked = query("web.", RecordType::A);
    assert!(answered(ask(&asked)).0.edns.is_none());
    let mut edns = hickory_proto::op::Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    asked.set_edns(edns.clone());
    let (answer, _) = answered(ask(&asked));
    let opt = answer.edns.unwrap();
    assert_eq!((opt.version(), opt.flags().dnssec_ok, opt.max_payload()), (0, true, 1232));
    asked.set_edns(edns.set_version(1).clone());
    let (answer, count) = answered(ask(&asked));
    // hickory reads 16 as BADSIG, which shares the number.
    assert_eq!((u16::from(answer.response_code), count), (16, Count::NotImplemented));
    assert_eq!(answer.edns.unwrap().version(), 0, "the version that there is");
}

#[test]
fn an_answer_that_does_not_fit_says_so() {
    let zone = zone(true, 100);
    let mut asked = query("web.", RecordType::A);
    let mut sizes = Vec::new();
    for payload in [None, Some(100), Some(1232), Some(4096)] {
        if let Some(payload) = payload {
            // Less than 512 is as 512.
            asked.set_edns(hickory_proto::op::Edns::new());
            asked.edns.as_mut().unwrap().set_max_payload(payload);
        }
        let Decision::Answer(bytes, _) = ask_by(&zone, Transport::Udp, &asked.to_vec().unwrap()) else {
            panic!()
        };
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= usize::from(payload.unwrap_or(512).max(512)));
        assert_eq!(answer.edns.is_some(), payload.is_some());
        sizes.push((answer.truncation, answer.answers.len()));
    }
    assert_eq!(sizes, [(true, 0), (true, 0), (true, 0), (false, 100)]);
    let (answer, _) =
        answered(ask_by(&zone, Transport::Tcp, &query("web.", RecordType::A).to_vec().unwrap()));
    assert_eq!((answer.truncation, answer.answers.len()), (false, 100));
}

#[test]
fn what_is_no_query_is_told_so_or_left_alone() {
    let good = query("web.", RecordType::A).to_vec().unwrap();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        ask_by(&zone(true, 1), Transport::Udp, &bytes)
    };
    assert_eq!(with(|it| it.truncate(11)), Decision::Ignore(Count::Malformed));
    assert_eq!(with(Vec::clear), Decision::Ignore(Count::Malformed));
    assert_eq!(with(|it| it[2] |= 0x80), Decision::Ignore(Count::Malformed), "a response");
    let code = |decision| {
        let (answer, count) = answered(decision);
        (answer.id, answer.response_code, count)
    };
    let format_error = (0x1234, ResponseCode::FormErr, Count::Malformed);
    assert_eq!(code(with(|it| it.truncate(12))), format_error);
    assert_eq!(code(with(|it| it.truncate(15))), format_error);
    assert_eq!(code(with(|it| it[5] = 0)), format_error, "no question");
    assert_eq!(code(with(|it| it[5] = 2)), format_error, "two questions");
    assert_eq!(code(with(|it| it[4] = 0xff)), format_error, "very many questions");
    assert_eq!(code(with(|it| it[11] = 1)), format_error, "a record that is not there");
    assert_eq!(code(with(|it| it[12] = 0xc0)), format_error, "a name that points to nowhere");
    let update = (0x1234, ResponseCode::NotImp, Count::NotImplemented);
    assert_eq!(code(with(|it| it[2] |= 5 << 3)), update);
    let refused = (0x1234, ResponseCode::Refused, Count::Refused);
    assert_eq!(code(with(|it| it[20] = 3)), refused, "class CH");
    assert_eq!(code(with(|it| it[18] = 252)), refused, "AXFR");
}

#[test]
fn two_opt_records_are_one_too_many() {
    let mut asked = query("web.", RecordType::A);
    asked.set_edns(hickory_proto::op::Edns::new());
    let mut bytes = asked.to_vec().unwrap();
    let opt = bytes[bytes.len() - 11..].to_vec();
    bytes.extend(opt);
    bytes[11] = 2;
    let (answer, _) = answered(ask_by(&zone(true, 1), Transport::Udp, &bytes));
    assert_eq!(answer.response_code, ResponseCode::FormErr);
}
