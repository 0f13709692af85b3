//! Asking for names as programs do, by the kernel's sockets; and resolvers of the outside that are not all as they should be.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use pontoon::netns::{Netns, run_in};
use socket2::{Domain, Socket, Type};

use crate::daemon::PATIENCE;

/// What a question is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Udp,
    Tcp,
    /// UDP with an OPT record that says how long a datagram may be.
    Edns(u16),
}

/// A query as it is sent.
pub(crate) fn query(id: u16, name: &str, kind: RecordType, by: By) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).expect("a name"), kind));
    if let By::Edns(payload) = by {
        message.set_edns(Edns::new());
        message.edns.as_mut().expect("it was set").set_max_payload(payload);
    }
    message
}

/// Asks from inside a namespace.
///
/// # Errors
/// Nobody answers, or nobody is there.
pub(crate) fn ask(from: &Netns, at: Ipv4Addr, name: &str, kind: RecordType, by: By) -> io::Result<Message> {
    let query = query(0x2a2a, name, kind, by).to_vec().expect("a message");
    let bytes = exchange(from, at, &query, by)?;
    if let By::Udp = by {
        assert!(bytes.len() <= 512, "{} bytes by plain UDP", bytes.len());
    }
    let answer = Message::from_vec(&bytes).unwrap_or_else(|error| panic!("{name}: {error} in {bytes:?}"));
    assert_eq!((answer.id, answer.message_type), (0x2a2a, MessageType::Response), "{name}");
    Ok(answer)
}

/// Sends bytes and returns what comes back.
///
/// # Errors
/// Nobody answers, or nobody is there.
pub(crate) fn exchange(from: &Netns, at: Ipv4Addr, query: &[u8], by: By) -> io::Result<Vec<u8>> {
    let work = || match by {
        By::Tcp => {
            let mut stream = open_stream(at)?;
            write_framed(&mut stream, query)?;
            read_framed(&mut stream)
        }
        By::Udp | By::Edns(_) => {
            let socket = open_socket(at)?;
            socket.send(query)?;
            let mut buffer = vec![0; 65_536];
            let length = socket.recv(&mut buffer)?;
            buffer.truncate(length);
            Ok(buffer)
        }
    };
    run_in(from, work).expect("the namespace can be entered")
}

/// A socket of the calling thread's namespace towards a resolver.
pub(crate) fn open_socket(at: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((at, 53))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// As [`open_socket`], by TCP.
pub(crate) fn open_stream(at: Ipv4Addr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((at, 53)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).expect("it fits");
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

pub(crate) fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The IPv4 addresses in an answer.
pub(crate) fn addresses(answer: &Message) -> Vec<Ipv4Addr> {
    let address = |record: &Record| match record.data {
        RData::A(A(address)) => Some(address),
        _ => None,
    };
    answer.answers.iter().filter_map(address).collect()
}

/// The address that every fake resolver gives for a name, made of its own.
pub(crate) fn given(by: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, by.octets()[3])
}

/// How a fake resolver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should be. A name that begins with `txt-N` has N bytes of text, cut by UDP where they do not fit.
    Good,
    /// It answers after that long.
    Slow(Duration),
    /// It hears and says nothing.
    Silent,
    /// It answers under other ids, about other names, and from another address and port, and never rightly.
    Lying,
    /// It answers with that code.
    Failing(ResponseCode),
    /// It answers with more than it was told that there is room for.
    Bold,
}

/// A resolver of the outside on port 53 of an address in a namespace. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    asked: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A question as a fake resolver saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: u16,
    pub(crate) port: u16,
    pub(crate) name: String,
    pub(crate) tcp: bool,
}

/// How often a fake resolver looks whether it shall end.
const LOOK: Duration = Duration::from_millis(20);

impl Upstream {
    /// Starts one in a namespace.
    pub(crate) fn start(at: &Netns, address: Ipv4Addr, manner: Manner) -> Upstream {
        let open = || -> io::Result<_> {
            let socket = UdpSocket::bind((address, 53))?;
            socket.set_read_timeout(Some(LOOK))?;
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            listener.set_reuse_address(true)?;
            listener.bind(&SocketAddr::from((address, 53)).into())?;
            listener.listen(64)?;
            let listener = TcpListener::from(listener);
            listener.set_nonblocking(true)?;
            Ok((socket, listener, UdpSocket::bind((address, 0))?))
        };
        let opened = run_in(at, open).expect("the namespace can be entered");
        let (socket, listener, other) = opened.unwrap_or_else(|error| panic!("{address}: {error}"));
        let (asked, ended) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let by_udp = {
            let (asked, ended) = (Arc::clone(&asked), Arc::clone(&ended));
            move || serve_udp(&socket, &other, address, manner, &asked, &ended)
        };
        let by_tcp = {
            let (asked, ended) = (Arc::clone(&asked), Arc::clone(&ended));
            move || serve_tcp(&listener, address, manner, &asked, &ended)
        };
        let threads = vec![std::thread::spawn(by_udp), std::thread::spawn(by_tcp)];
        Upstream { asked, ended, threads }
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.asked.lock().unwrap().clone()
    }

    /// The names that it was asked for so far.
    pub(crate) fn names(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.name).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn note(asked: &Mutex<Vec<Seen>>, bytes: &[u8], port: u16, tcp: bool) -> Option<Message> {
    let query = Message::from_vec(bytes).ok()?;
    let name = query.queries.first()?.name.to_string();
    asked.lock().unwrap().push(Seen { id: query.id, port, name, tcp });
    Some(query)
}

fn serve_udp(
    socket: &UdpSocket,
    other: &UdpSocket,
    address: Ipv4Addr,
    manner: Manner,
    asked: &Mutex<Vec<Seen>>,
    ended: &AtomicBool,
) {
    let mut buffer = vec![0; 65_536];
    while !ended.load(Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(query) = note(asked, &buffer[..length], from.port(), false) else { continue };
        let room = if manner == Manner::Bold { usize::MAX } else { query.max_payload().into() };
        let answer = answer(&query, address, manner, room);
        // The other side may have given up.
        let _ = match manner {
            Manner::Silent => Ok(0),
            Manner::Slow(pause) => {
                std::thread::sleep(pause);
                socket.send_to(&answer, from)
            }
            Manner::Lying => {
                let mut lie = answer.clone();
                lie[0] ^= 0x55;
                let _ = socket.send_to(&lie, from);
                let mut about = Message::from_vec(&answer).unwrap();
                about.queries[0].name = Name::from_str("elsewhere.example.").unwrap();
                let _ = socket.send_to(&about.to_vec().unwrap(), from);
                other.send_to(&answer, from)
            }
            _ => socket.send_to(&answer, from),
        };
    }
}

fn serve_tcp(
    listener: &TcpListener,
    address: Ipv4Addr,
    manner: Manner,
    asked: &Mutex<Vec<Seen>>,
    ended: &AtomicBool,
) {
    while !ended.load(Relaxed) {
        let Ok((mut stream, from)) = listener.accept() else {
            std::thread::sleep(LOOK / 4);
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let Ok(bytes) = read_framed(&mut stream) else { continue };
        let Some(query) = note(asked, &bytes, from.port(), true) else { continue };
        let _ = write_framed(&mut stream, &answer(&query, address, manner, usize::MAX));
    }
}

/// What a resolver says to a query; cut where there is not that much room.
fn answer(query: &Message, own: Ipv4Addr, manner: Manner, room: usize) -> Vec<u8> {
    let mut answer = Message::response(query.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.queries.clone_from(&query.queries);
    answer.edns = query.edns.as_ref().map(|_| Edns::new());
    if let Manner::Failing(code) = manner {
        answer.metadata.response_code = code;
        return answer.to_vec().unwrap();
    }
    let name = query.queries[0].name.clone();
    let text = name.to_string();
    let bytes = text.strip_prefix("txt-").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match bytes {
        Some(mut bytes) => {
            while bytes > 0 {
                let part = bytes.min(200);
                bytes -= part;
                let data = RData::TXT(TXT::new(vec!["x".repeat(part)]));
                answer.answers.push(Record::from_rdata(name.clone(), 60, data));
            }
        }
        None => answer.answers.push(Record::from_rdata(name, 60, RData::A(A(given(own))))),
    }
    let whole = answer.to_vec().unwrap();
    if whole.len() <= room {
        return whole;
    }
    answer.answers.clear();
    answer.metadata.truncation = true;
    answer.to_vec().unwrap()
}

/// The text of an answer, in bytes.
pub(crate) fn text_len(answer: &Message) -> usize {
    let length = |record: &Record| match &record.data {
        RData::TXT(text) => text.txt_data.iter().map(|part| part.len()).sum(),
        _ => 0,
    };
    answer.answers.iter().map(length).sum()
}

/// A file as resolv.conf(5) has it.
pub(crate) fn resolv_conf(upstreams: &[Ipv4Addr]) -> String {
    upstreams.iter().map(|it| format!("nameserver {}\n", IpAddr::from(*it))).collect()
}
