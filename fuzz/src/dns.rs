//! Messages to a resolver, and what others answer to those that it passes on.

use arbitrary::Unstructured;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::Name;
use pontoon::dns::decide::{Decision, decide};
use pontoon::dns::message::{Query, Transport};
use pontoon::dns::zone::{Asker, NetworkNames, Station, Zone};
use pontoon::netns::NetnsId;

use crate::input::at_most;

const SANDBOX: NetnsId = NetnsId { dev: 4, ino: 1, boot: 1 };
/// What a question is passed on under.
const ID: u16 = 0xbeef;

/// `web` and `db.old` on the network `red`, `web` on `blue`, where the asker is not.
fn zone() -> Zone {
    let station = |sandbox, address: [u8; 4], name: &str| Station {
        sandbox,
        address: address.into(),
        names: vec![name.to_owned()],
        upstreams: Vec::new(),
    };
    let elsewhere = NetnsId { ino: 2, ..SANDBOX };
    let network = |name: &str, third: u8, stations| NetworkNames {
        name: name.to_owned(),
        subnet: ipnet::Ipv4Net::new([10, 88, third, 0].into(), 24).expect("a subnet"),
        gateway: [10, 88, third, 1].into(),
        forwards: true,
        upstreams: Vec::new(),
        stations,
    };
    let (web, db) = (station(SANDBOX, [10, 88, 0, 2], "web"), station(elsewhere, [10, 88, 0, 3], "db.old"));
    Zone::new(vec![
        network("red", 0, vec![web, db]),
        network("blue", 1, vec![station(elsewhere, [10, 88, 1, 2], "web")]),
    ])
}

/// Input: who asks and by what (one byte), the length of the query (two bytes), the query; the rest is what another resolver answers to it.
///
/// Whatever we say must be a message in answer to the one that came, and fit. What is of our own must not be passed on.
pub fn dns(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((how, length)) = input.arbitrary::<(u8, u16)>() else { return };
    let Ok(query) = at_most(&mut input, length) else { return };
    let theirs = input.take_rest();
    let transport = if how & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let asker = match how >> 1 & 3 {
        0 => Asker::Sandbox(SANDBOX),
        1 => Asker::Station { network: "red".to_owned(), address: [10, 88, 0, 2].into() },
        2 => Asker::Station { network: "red".to_owned(), address: [10, 88, 0, 99].into() },
        _ => Asker::Station { network: "blue".to_owned(), address: [10, 88, 1, 99].into() },
    };
    match decide(&zone(), &asker, transport, query) {
        Decision::Answer(bytes, _) => {
            let answer = Message::from_vec(&bytes).expect("an answer that can be read");
            assert_eq!(answer.message_type, MessageType::Response);
            assert_eq!(bytes[..2], query[..2], "the id");
            let room = Query::read(query).map_or(512, |it| it.room(transport));
            assert!(bytes.len() <= room, "{} bytes where there is room for {room}", bytes.len());
        }
        Decision::Forward(asked) => {
            assert!(!is_ours(&asker, &asked.question().name), "{} was passed on", asked.question().name);
            passed_on(&asked, transport, theirs);
        }
        Decision::Ignore(_) => assert!(query.len() < 12 || query[2] & 0x80 != 0, "a query without an answer"),
    }
}

/// Whether nobody else must hear of the name. Told by its text, not by the zone.
fn is_ours(asker: &Asker, name: &Name) -> bool {
    let labels: Vec<String> =
        name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().rev().map(String::as_str).collect();
    let on_blue = matches!(asker, Asker::Station { network, .. } if network == "blue");
    match labels[..] {
        [_] | ["localhost", ..] | ["arpa", "in-addr", "10", "88", "0" | "1", ..] => true,
        ["blue", "web"] => on_blue,
        ["red", "web"] | ["old", "db"] | ["red", "old", "db"] => !on_blue,
        _ => false,
    }
}

fn passed_on(asked: &Query, transport: Transport, theirs: &[u8]) {
    if !asked.is_answered_by(ID, theirs) {
        return;
    }
    let room = asked.room(transport);
    let passed = asked.pass_on(theirs.to_vec(), room);
    assert!(passed.len() <= room, "{} bytes where there is room for {room}", passed.len());
    assert_eq!(passed[..2], asked.to_vec()[..2], "the id of whoever asked");
    if theirs.len() <= room {
        assert_eq!(passed[2..], theirs[2..], "as it came");
    } else {
        let short = Message::from_vec(&passed).expect("an answer that can be read");
        assert!(short.truncation && short.answers.is_empty());
    }
}
