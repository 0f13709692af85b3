//! One TCP stream between two namespaces, as fast as it goes, every byte of it checked.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::netns::{Netns, NetnsError, run_in};

/// Length of the pattern: prime, so that it stays in step with no buffer, segment or page.
pub(super) const PATTERN: usize = 65_521;
/// Bytes written at once.
const CHUNK: usize = 256 * 1024;
/// How long either side waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(3);

/// A stream that arrived whole and unharmed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    /// Payload bytes.
    pub bytes: u64,
    /// From the connection's start to the last byte.
    pub elapsed: Duration,
    /// The sender's congestion control.
    pub congestion_control: String,
}

impl Flow {
    /// Payload in Gbit/s.
    pub(super) fn gbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64() / 1e9
    }
}

/// Why there is no flow to report.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlowError {
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    #[error("cannot {0}: {1}")]
    Io(&'static str, #[source] io::Error),
    #[error("byte {0} arrived wrong")]
    Damaged(u64),
    #[error("{sent} bytes were sent, {received} arrived")]
    Incomplete { sent: u64, received: u64 },
    #[error("the SHA-256 of what was sent is {sent}, of what arrived {received}")]
    Altered { sent: &'static str, received: String },
}

pub(super) fn cannot(action: &'static str) -> impl Fn(io::Error) -> FlowError {
    move |source| FlowError::Io(action, source)
}

/// Sends from one namespace to the `address` of the other for `duration`. `progress` hears the part of the time that
/// has passed, from 0 to 1.
pub(super) fn measure(
    from: &Netns,
    (to, address): (&Netns, Ipv4Addr),
    duration: Duration,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Flow, FlowError> {
    let pattern = &pattern();
    let (announce, announced) = mpsc::channel();
    thread::scope(|scope| {
        let receiver = scope.spawn(move || run_in(to, || receive(address, pattern, announce))?);
        // The receiver hangs up when it fails; its error is the one to report.
        let sender =
            announced.recv().ok().map(|target| run_in(from, || send(target, pattern, duration, progress)));
        let received = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (sent, congestion_control, start) = match sender {
            Some(sent) => sent??,
            None => return Err(received.err().unwrap_or(FlowError::Incomplete { sent: 0, received: 0 })),
        };
        let (received, end) = received?;
        if sent != received {
            return Err(FlowError::Incomplete { sent, received });
        }
        Ok(Flow { bytes: received, elapsed: end - start, congestion_control })
    })
}

fn send(
    target: SocketAddr,
    pattern: &[u8],
    duration: Duration,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<(u64, String, Instant), FlowError> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(cannot("connect"))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    let start = Instant::now();
    let mut sent: u64 = 0;
    while start.elapsed() < duration {
        let offset = (sent % PATTERN as u64) as usize;
        sent += stream.write(&pattern[offset..offset + CHUNK]).map_err(cannot("send"))? as u64;
        progress(start.elapsed().as_secs_f64() / duration.as_secs_f64());
    }
    Ok((sent, congestion_control(&stream), start))
}

/// The name of the congestion control that a stream uses.
pub(super) fn congestion_control(stream: &TcpStream) -> String {
    let name = SockRef::from(stream).tcp_congestion().unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()
}

/// Sends that many bytes of the pattern.
pub(super) fn send_pattern(stream: &mut TcpStream, pattern: &[u8], bytes: u64) -> io::Result<()> {
    let mut sent: u64 = 0;
    while sent < bytes {
        let offset = (sent % PATTERN as u64) as usize;
        let len = CHUNK.min((bytes - sent).try_into().unwrap_or(CHUNK));
        sent += stream.write(&pattern[offset..offset + len])? as u64;
    }
    Ok(())
}

fn receive(
    address: Ipv4Addr,
    pattern: &[u8],
    announce: mpsc::Sender<SocketAddr>,
) -> Result<(u64, Instant), FlowError> {
    let listener = TcpListener::bind((address, 0)).map_err(cannot("listen"))?;
    // accept(2) heeds the receive timeout: a SYN that never comes does not hang the demo.
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    let _ = announce.send(listener.local_addr().map_err(cannot("listen"))?);
    let (mut stream, _) = listener.accept().map_err(cannot("accept the connection"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    Ok((check(&mut stream, pattern)?, Instant::now()))
}

/// Reads to the end, and holds every byte against the pattern; how many there were.
fn check(stream: &mut impl Read, pattern: &[u8]) -> Result<u64, FlowError> {
    let mut buffer = vec![0; CHUNK];
    let mut received: u64 = 0;
    loop {
        let n = stream.read(&mut buffer).map_err(cannot("receive"))?;
        if n == 0 {
            return Ok(received);
        }
        let offset = (received % PATTERN as u64) as usize;
        let expected = &pattern[offset..offset + n];
        if buffer[..n] != *expected {
            let wrong = buffer.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
            return Err(FlowError::Damaged(received + wrong as u64));
        }
        received += n as u64;
    }
}

/// The pattern, repeated: `CHUNK` bytes of the stream from any place in it are one slice.
pub(super) fn pattern() -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let mut once = || {
        // xorshift32 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    let mut pattern: Vec<u8> = (0..PATTERN).map(|_| once()).collect();
    pattern.extend_from_within(..);
    while pattern.len() < PATTERN + CHUNK {
        pattern.extend_from_within(..PATTERN);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_repeats_and_nothing_else_repeats_in_it() {
        let pattern = pattern();
        assert!(pattern.len() >= PATTERN + CHUNK);
        assert!(pattern.iter().zip(&pattern[PATTERN..]).all(|(a, b)| a == b));
        for shift in [1, 2, 1448, 1460, 4096, 65_160] {
            assert_ne!(pattern[..64], pattern[shift..shift + 64], "shifted by {shift}");
        }
    }

    #[test]
    fn a_stream_over_loopback_is_counted_and_checked() {
        let here = Netns::current().unwrap();
        let flow = measure(&here, (&here, Ipv4Addr::LOCALHOST), Duration::from_millis(50), &|_| {});
        // Where the test may not enter even its own namespace, that is what it says.
        match flow {
            Ok(flow) => assert!(flow.bytes > 0 && flow.gbit_per_s() > 0.0, "{flow:?}"),
            Err(FlowError::Namespace(_)) => {
                assert!(!crate::private::has_capability(rustix::thread::CapabilitySet::SYS_ADMIN))
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn damage_is_found_where_it_is() {
        let pattern = pattern();
        let (announce, announced) = mpsc::channel();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(Ipv4Addr::LOCALHOST, &pattern, announce));
            let mut stream = TcpStream::connect(announced.recv().unwrap()).unwrap();
            let mut bytes = pattern[..5000].to_vec();
            bytes[4321] ^= 0x10;
            stream.write_all(&bytes).unwrap();
            drop(stream);
            let error = receiver.join().unwrap().unwrap_err();
            assert!(matches!(error, FlowError::Damaged(4321)), "{error}");
        });
    }

    #[test]
    fn a_missing_byte_is_missed() {
        let pattern = pattern();
        let (announce, announced) = mpsc::channel();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(Ipv4Addr::LOCALHOST, &pattern, announce));
            let mut stream = TcpStream::connect(announced.recv().unwrap()).unwrap();
            stream.write_all(&pattern[..999]).unwrap();
            drop(stream);
            assert_eq!(receiver.join().unwrap().unwrap().0, 999);
        });
    }
}
