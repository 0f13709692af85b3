//! What answers behind the demo's addresses: HTTP and UDP that tell whom they see, and files by HTTP.
//!
//! It goes on for as long as the process does, so that people may try it with programs of their own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::tcp::{Flow, FlowError, PATTERN, cannot, pattern, send_pattern};
use crate::failure::Failure;
use crate::netns::{Netns, run_in};

/// Where it answers: TCP and UDP.
pub(super) const PORT: u16 = 80;
/// A file that can be fetched: the first bytes of the pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Where it is, as in `http://203.0.113.9/100MB`.
    pub path: &'static str,
    /// How long it is, as people say it.
    pub size: &'static str,
    bytes: u64,
    /// What sha256sum(1) says of it.
    sha256: &'static str,
}

/// The file that takes a while.
pub(super) const LARGE: File = File {
    path: "/100MB",
    size: "100 MB",
    bytes: 100_000_000,
    sha256: "eb3c0e03ee10d5b468206dc7136f594c9e50a24d76089f3cd167a3904d44aefe",
};
/// Another one.
pub(super) const SMALL: File = File {
    path: "/10MB",
    size: "10 MB",
    bytes: 10_000_000,
    sha256: "6340bc48fc21d009458870f1a66d602351de8a1bd98e280ebb7f4f65cd832f4b",
};
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
    let path = request.split(' ').nth(1);
    let file = [LARGE, SMALL].into_iter().find(|file| path == Some(file.path));
    let body = hello(name, stream.peer_addr()?);
    let (kind, len) = match &file {
        Some(file) => ("application/octet-stream", file.bytes),
        None => ("text/plain", body.len() as u64),
    };
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n")?;
    match file {
        Some(file) => send_pattern(&mut stream, &pattern(), file.bytes),
        None => stream.write_all(body.as_bytes()),
    }
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

/// Fetches a file; how fast it came, and its SHA-256, which is as it must be.
pub(super) fn fetch(target: SocketAddrV4, file: &File) -> Result<(Flow, String), FlowError> {
    let start = Instant::now();
    let stream = request(target, file.path)?;
    let congestion_control = super::tcp::congestion_control(&stream);
    let mut reader = BufReader::with_capacity(PATTERN, stream);
    let mut line = String::new();
    while reader.read_line(&mut line).map_err(cannot("receive"))? > 2 {
        line.clear();
    }
    let (bytes, sha256) = hash(&mut reader)?;
    let elapsed = start.elapsed();
    if bytes != file.bytes {
        return Err(FlowError::Incomplete { sent: file.bytes, received: bytes });
    }
    if sha256 != file.sha256 {
        return Err(FlowError::Altered { sent: file.sha256, received: sha256 });
    }
    Ok((Flow { bytes, elapsed, congestion_control }, sha256))
}

/// Reads to the end: how many bytes there were, and their SHA-256.
fn hash(reader: &mut impl Read) -> Result<(u64, String), FlowError> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut bytes, mut hasher) = (0, Sha256::new());
    loop {
        match reader.read(&mut buffer).map_err(cannot("receive"))? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    Ok((bytes, hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
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
        for file in [SMALL, LARGE] {
            let (flow, sha256) = fetch(target, &file).unwrap();
            assert_eq!((flow.bytes, sha256.as_str()), (file.bytes, file.sha256));
        }
        // The right number of other bytes.
        let other = File { sha256: LARGE.sha256, ..SMALL };
        assert!(matches!(fetch(target, &other), Err(FlowError::Altered { .. })));
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
