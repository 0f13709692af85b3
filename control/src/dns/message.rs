//! Queries and answers on the wire (RFC 1035, section 4; EDNS: RFC 6891).
//!
//! Of a message that others made only the header, the question and the OPT record are read, by hickory's decoder. Nothing else is of
//! interest here, and what is passed on is passed on as it came, but for its id: a forwarder changes nothing (RFC 6891, section 6.2.6; RFC
//! 3597 for types that nobody here knows).

use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query as Question, ResponseCode,
};
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

/// The longest message by UDP without EDNS, in bytes (RFC 1035, section 4.2.1), and the least that EDNS may say (RFC 6891, section 6.2.3).
const PLAIN_PAYLOAD: u16 = 512;

/// What we say that we take by UDP, in bytes: what passes every path unfragmented (the DNS flag day's figure of 2020).
const OUR_PAYLOAD: u16 = 1232;

/// The longest message by TCP, in bytes: its length stands in two bytes in front of it (RFC 1035, section 4.2.2).
pub const LONGEST: usize = u16::MAX as usize;

/// What a message comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream, each message behind its length.
    Tcp,
}

/// A query with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    metadata: Metadata,
    question: Question,
    opt: Option<Opt>,
}

/// What is of interest of an OPT record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opt {
    /// The longest datagram that the sender takes, in bytes.
    payload: u16,
    version: u8,
    dnssec_ok: bool,
}

/// What cannot be answered as a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Too short for a header, so there is no id to answer with.
    Runt,
    /// A response. To answer one would make two servers talk for ever.
    Response,
    /// Something is not where it should be, or it has another number of questions than one (RFC 9619).
    Malformed(Metadata),
    /// It asks for something else than an answer to a question.
    Operation(Metadata),
}

impl Unfit {
    /// What is said to it; nothing where silence is the answer.
    pub fn answer(&self) -> Option<Vec<u8>> {
        let (metadata, code) = match self {
            Unfit::Runt | Unfit::Response => return None,
            Unfit::Malformed(metadata) => (metadata, ResponseCode::FormErr),
            Unfit::Operation(metadata) => (metadata, ResponseCode::NotImp),
        };
        Message::error_msg(metadata.id, metadata.op_code, code).to_vec().ok()
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(bytes: &[u8]) -> Result<Query, Unfit> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).map_err(|_| Unfit::Runt)?;
        let metadata = header.metadata;
        if metadata.message_type == MessageType::Response {
            return Err(Unfit::Response);
        }
        if metadata.op_code != OpCode::Query {
            return Err(Unfit::Operation(metadata));
        }
        if header.counts.queries != 1 {
            return Err(Unfit::Malformed(metadata));
        }
        let malformed = |_| Unfit::Malformed(metadata);
        let question = Question::read(&mut decoder).map_err(malformed)?;
        let counts = header.counts;
        let records = [counts.answers, counts.authorities, counts.additionals].map(usize::from);
        let opt = Opt::find(&mut decoder, records.iter().sum()).map_err(malformed)?;
        Ok(Query { metadata, question, opt })
    }

    /// A query for people who ask by the command line.
    pub fn new(id: u16, name: Name, kind: RecordType) -> Query {
        let mut metadata = Metadata::new(id, MessageType::Query, OpCode::Query);
        metadata.recursion_desired = true;
        let opt = Opt { payload: OUR_PAYLOAD, version: 0, dnssec_ok: false };
        Query { metadata, question: Question::query(name, kind), opt: Some(opt) }
    }

    /// The query as it is sent.
    pub fn to_vec(&self) -> Vec<u8> {
        self.message(self.metadata, Vec::new())
    }

    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Whether it speaks a version of EDNS that there is not (RFC 6891, section 6.1.3).
    pub fn is_of_unknown_version(&self) -> bool {
        self.opt.is_some_and(|opt| opt.version > 0)
    }

    /// How long an answer may be, in bytes.
    pub fn room(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => LONGEST,
            Transport::Udp => self.opt.map_or(PLAIN_PAYLOAD, |opt| opt.payload.max(PLAIN_PAYLOAD)).into(),
        }
    }

    /// An answer of our own. Where it is longer than `room` bytes, one that says so and has no records: it is asked for again by TCP.
    pub fn answer(&self, code: ResponseCode, records: Vec<Record>, room: usize) -> Vec<u8> {
        let mut metadata = Metadata::response_from_request(&self.metadata);
        metadata.response_code = code;
        metadata.recursion_available = true;
        metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        let whole = self.message(metadata, records);
        if whole.len() <= room { whole } else { self.truncated(metadata) }
    }

    fn truncated(&self, mut metadata: Metadata) -> Vec<u8> {
        metadata.truncation = true;
        self.message(metadata, Vec::new())
    }

    /// A message about the question; with an OPT record if the query had one.
    fn message(&self, metadata: Metadata, records: Vec<Record>) -> Vec<u8> {
        let mut message = Message::new(metadata.id, metadata.message_type, metadata.op_code);
        message.metadata = metadata;
        message.queries.push(self.question.clone());
        message.answers = records;
        message.edns = self.opt.map(|opt| {
            let mut edns = Edns::new();
            edns.set_max_payload(OUR_PAYLOAD).set_dnssec_ok(opt.dnssec_ok);
            edns
        });
        // A name that could be read can be written; were it not so, nothing would be sent.
        message.to_vec().unwrap_or_default()
    }

    /// Whether `bytes` answer this query as it was sent under `id`.
    pub fn is_answered_by(&self, id: u16, bytes: &[u8]) -> bool {
        let mut decoder = BinDecoder::new(bytes);
        let Ok(Header { metadata, counts }) = Header::read(&mut decoder) else { return false };
        let is_answer = metadata.id == id
            && metadata.message_type == MessageType::Response
            && metadata.op_code == OpCode::Query;
        // Who refuses a query without reading it need not repeat the question.
        let says_no_more = counts.queries == 0 && metadata.response_code != ResponseCode::NoError;
        let mut repeats = || Question::read(&mut decoder).is_ok_and(|question| question == self.question);
        is_answer && (says_no_more || counts.queries == 1 && repeats())
    }

    /// What was answered to this query elsewhere, for whoever asked: under his id, and said to be truncated where it is longer than `room`
    /// bytes.
    pub fn pass_on(&self, mut answer: Vec<u8>, room: usize) -> Vec<u8> {
        set_id(&mut answer, self.metadata.id);
        if answer.len() <= room {
            return answer;
        }
        match Header::read(&mut BinDecoder::new(&answer)) {
            Ok(header) => self.truncated(header.metadata),
            Err(_) => Vec::new(),
        }
    }
}

impl Opt {
    /// Looks through the records that follow.
    fn find(decoder: &mut BinDecoder<'_>, records: usize) -> Result<Option<Opt>, DecodeError> {
        let mut found = None;
        for _ in 0..records {
            let name = Name::read(decoder)?;
            let kind = decoder.read_u16()?.unverified();
            let class = decoder.read_u16()?.unverified();
            let [_, version, flags, _] = decoder.read_u32()?.unverified().to_be_bytes();
            let length = decoder.read_u16()?.unverified();
            decoder.read_slice(length.into())?;
            if RecordType::from(kind) != RecordType::OPT {
                continue;
            }
            let opt = Opt { payload: class, version, dnssec_ok: flags & 0x80 != 0 };
            if !name.is_root() || found.replace(opt).is_some() {
                return Err(DecodeError::DuplicateEdns);
            }
        }
        Ok(found)
    }
}

/// Gives a message another id; one that is too short for it stays as it is.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

/// How an answer went, of those that end the search for another; `None` for bytes that have no header.
pub fn response_code(answer: &[u8]) -> Option<ResponseCode> {
    Header::read(&mut BinDecoder::new(answer)).ok().map(|header| header.metadata.response_code)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RData;
    use hickory_proto::rr::rdata::A;

    use super::*;

    fn asked() -> Query {
        Query { opt: None, ..asked_by_people() }
    }

    fn asked_by_people() -> Query {
        Query::new(7, Name::from_ascii("Example.com.").unwrap(), RecordType::A)
    }

    fn answer(records: usize) -> Message {
        let mut message = Message::response(99, OpCode::Query);
        message.queries.push(asked().question.clone());
        let record =
            Record::from_rdata(Name::from_ascii("example.com.").unwrap(), 60, RData::A(A::new(192, 0, 2, 1)));
        message.answers = vec![record; records];
        message
    }

    #[test]
    fn only_the_answer_to_the_question_under_its_id_is_one() {
        let accepts = |change: fn(&mut Message)| {
            let mut message = answer(1);
            change(&mut message);
            asked().is_answered_by(99, &message.to_vec().unwrap())
        };
        assert!(accepts(|_| ()));
        assert!(accepts(|it| it.queries[0].name = it.queries[0].name.to_lowercase()), "spelled otherwise");
        assert!(!accepts(|it| it.metadata.id = 98));
        assert!(!accepts(|it| it.metadata.message_type = MessageType::Query));
        assert!(!accepts(|it| it.metadata.op_code = OpCode::Status));
        assert!(!accepts(|it| it.queries[0].name = Name::from_ascii("example.org.").unwrap()));
        assert!(!accepts(|it| it.queries[0].query_type = RecordType::AAAA));
        assert!(!accepts(|it| it.queries.push(it.queries[0].clone())));
        assert!(!accepts(|it| it.queries.clear()));
        assert!(accepts(|it| {
            it.queries.clear();
            it.metadata.response_code = ResponseCode::FormErr;
        }));
        assert!(!asked().is_answered_by(99, &[0; 5]));
    }

    #[test]
    fn an_answer_is_passed_on_as_it_came_if_it_fits() {
        let came = answer(30).to_vec().unwrap();
        let passed = asked().pass_on(came.clone(), came.len());
        assert_eq!(passed[..2], [0, 7]);
        assert_eq!(passed[2..], came[2..]);
        let passed = asked().pass_on(came.clone(), came.len() - 1);
        let short = Message::from_vec(&passed).unwrap();
        assert_eq!((short.id, short.truncation, short.answers.len()), (7, true, 0));
        assert_eq!(short.queries, [asked().question]);
    }
}
