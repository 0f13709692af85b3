//! What answers behind the demo's addresses: HTTP and UDP that tell whom they see, and HTTP that sends a lot.
//!
//! It goes on for as long as the process does, so that people may try it with programs of their own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::tcp::{Flow, FlowError, PATTERN, cannot, check, pattern, send_pattern};
use crate::failure::Failure;
use crate::netns::{Netns, run_in};

/// Where it answers: TCP and UDP.
pub(super) const PORT: u16 = 80;
/// What is fetched of `/large`.
pub(super) const LARGE: u64 = 100_000_000;
/// How long either side waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Starts it in a namespace, at an address of that.
pub(super) fn start(name: &'static str, netns: &Netns, address: Ipv4Addr) -> Result<(), Failure> {
    let cannot =
        |error: &dyn std::error::Error| Failure::Sentence(format!("nothing can answer in {name}: {error}"));
    let bind = || Ok((TcpListener::bind((address, PORT))?, UdpSocket::bind((address, PORT))?));
    let bound: io::Result<_> = run_in(netns, bind).map_err(|error| cannot(&error))?;
    let (listener, socket) = bound.map_err(|error| cannot(&error))?;
    let spawn = |work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(format!("serve-{name}")).spawn(work).map_err(|error| cannot(&error))
    };
    spawn(Box::new(move || {
        for stream in listener.incoming().flatten() {
            // One at a time: whoever is slow is given up.
            let _ = answer(name, stream);
        }
    }))?;
    spawn(Box::new(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(hello(name, from).as_bytes(), from);
        }
    }))?;
    Ok(())
}

fn hello(name: &str, client: impl std::fmt::Display) -> String {
    format!("{name} sees {client}\n")
}

/// Answers one request by HTTP/1.0.
fn answer(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?).take(8192);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let large = request.starts_with("GET /large ");
    let body = hello(name, stream.peer_addr()?);
    let len = if large { LARGE } else { body.len() as u64 };
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n")?;
    if large { send_pattern(&mut stream, &pattern(), LARGE) } else { stream.write_all(body.as_bytes()) }
}

/// Who answered, and whom he saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who answered.
    pub by: String,
    /// Who asked, as he has it himself.
    pub own: SocketAddrV4,
    /// Who asked, as the answering side sees it.
    pub seen_as: SocketAddrV4,
}

impl Answer {
    fn of(text: &str, own: io::Result<SocketAddr>) -> Result<Answer, FlowError> {
        let understood = || {
            let (by, client) = text.trim_end().rsplit('\n').next()?.split_once(" sees ")?;
            let SocketAddr::V4(own) = own.ok()? else { return None };
            Some(Answer { by: by.to_owned(), own, seen_as: client.parse().ok()? })
        };
        understood().ok_or_else(|| FlowError::Io("understand the answer", io::ErrorKind::InvalidData.into()))
    }
}

/// Asks by TCP from the calling thread's namespace.
pub(super) fn ask_tcp(target: SocketAddrV4) -> Result<Answer, FlowError> {
    let mut stream = request(target, "/")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(cannot("receive"))?;
    Answer::of(&text, stream.local_addr())
}

/// Asks by UDP.
pub(super) fn ask_udp(target: SocketAddrV4) -> Result<Answer, FlowError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(cannot("open a socket"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    socket.connect(target).map_err(cannot("connect"))?;
    socket.send(b"who am I?").map_err(cannot("send"))?;
    let mut buffer = [0; 256];
    let len = socket.recv(&mut buffer).map_err(cannot("receive"))?;
    Answer::of(&String::from_utf8_lossy(&buffer[..len]), socket.local_addr())
}

/// Fetches a lot and checks every byte of it.
pub(super) fn fetch(target: SocketAddrV4) -> Result<Flow, FlowError> {
    let start = Instant::now();
    let stream = request(target, "/large")?;
    let congestion_control = super::tcp::congestion_control(&stream);
    let mut reader = BufReader::with_capacity(PATTERN, stream);
    let mut line = String::new();
    while reader.read_line(&mut line).map_err(cannot("receive"))? > 2 {
        line.clear();
    }
    let bytes = check(&mut reader, &pattern())?;
    if bytes != LARGE {
        return Err(FlowError::Incomplete { sent: LARGE, received: bytes });
    }
    Ok(Flow { bytes, elapsed: start.elapsed(), congestion_control })
}

fn request(target: SocketAddrV4, path: &str) -> Result<TcpStream, FlowError> {
    let mut stream = TcpStream::connect_timeout(&target.into(), PATIENCE).map_err(cannot("connect"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").map_err(cannot("send"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whom_it_sees_and_sends_a_lot() {
        let here = Netns::current().unwrap();
        // Port 80 needs privilege, and entering a namespace too.
        if start("here", &here, Ipv4Addr::new(127, 80, 0, 1)).is_err() {
            assert!(!crate::private::has_capability(rustix::thread::CapabilitySet::SYS_ADMIN));
            return;
        }
        let target = SocketAddrV4::new(Ipv4Addr::new(127, 80, 0, 1), PORT);
        for ask in [ask_tcp, ask_udp] {
            let answer = ask(target).unwrap();
            assert_eq!((answer.by.as_str(), answer.own), ("here", answer.seen_as));
        }
        assert_eq!(fetch(target).unwrap().bytes, LARGE);
    }

    #[test]
    fn an_answer_names_both() {
        let own = || Ok("10.88.0.2:7".parse().unwrap());
        let text = format!("HTTP/1.0 200 OK\r\n\r\n{}", hello("red", "192.0.2.7:80"));
        let answer = Answer::of(&text, own()).unwrap();
        assert_eq!((answer.by.as_str(), answer.seen_as), ("red", "192.0.2.7:80".parse().unwrap()));
        assert!(Answer::of("HTTP/1.0 404 Not Found\r\n", own()).is_err());
    }
}
