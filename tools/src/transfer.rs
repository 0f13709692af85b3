//! TCP transfers between namespaces of which every byte is checked.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::lab::{LabError, Namespace};

/// Length of the pattern that is sent over and over: prime, so that it stays in step with no buffer, segment or page.
const PATTERN: usize = 65_521;
/// Bytes written at once.
const CHUNK: usize = 128 * 1024;
/// How long either side waits for the other before it gives up. TCP that lost its way for a second or two (the
/// bridge was being started again) doubles its waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<io::Result<u64>>,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Transfer {
    /// Connects from one namespace to an address of the other, and starts to send `bytes` bytes, or until
    /// [`Transfer::stop`].
    ///
    /// # Errors
    /// No connection.
    pub fn start(
        from: &Namespace,
        to: &Namespace,
        to_address: impl Into<IpAddr>,
        bytes: Option<u64>,
    ) -> Result<Transfer, LabError> {
        let address = SocketAddr::from((to_address.into(), 0));
        let listener = to.run(|| TcpListener::bind(address))??;
        let target = listener.local_addr()?;
        let stream = from.run(|| TcpStream::connect_timeout(&target, PATIENCE))??;
        stream.set_write_timeout(Some(PATIENCE))?;
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        let (sink, _) = listener.accept()?;
        sink.set_read_timeout(Some(PATIENCE))?;
        let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&received), Arc::clone(&stop));
        Ok(Transfer {
            sender: thread::spawn(move || send(stream, bytes.unwrap_or(u64::MAX), &stopped)),
            receiver: thread::spawn(move || receive(sink, &counter)),
            received,
            stop,
        })
    }

    /// Bytes that have come through and were right.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Tells the sender to end.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Whether one of the two sides has ended, well or badly.
    pub fn has_ended(&self) -> bool {
        self.sender.is_finished() || self.receiver.is_finished()
    }

    /// Waits for the end; the bytes that came through.
    ///
    /// # Errors
    /// A byte arrived wrong, some did not arrive, or the connection broke.
    pub fn finish(self) -> Result<u64, LabError> {
        let received = self.receiver.join().map_err(|_| "the receiving thread panicked")?;
        let sent = self.sender.join().map_err(|_| "the sending thread panicked")?;
        match (sent, received) {
            (Ok(sent), Ok(received)) if sent == received => Ok(received),
            (Ok(sent), Ok(received)) => Err(format!("{sent} bytes were sent, {received} arrived").into()),
            (Err(error), received) => Err(format!("cannot send: {error} (receiver: {received:?})").into()),
            (_, Err(error)) => Err(format!("cannot receive: {error}").into()),
        }
    }
}

/// Sends `bytes` bytes from one namespace to the other, and waits until the last one was checked.
///
/// # Errors
/// See [`Transfer`].
pub fn tcp(
    from: &Namespace,
    to: &Namespace,
    to_address: impl Into<IpAddr>,
    bytes: u64,
) -> Result<(), LabError> {
    match Transfer::start(from, to, to_address, Some(bytes))?.finish()? {
        received if received == bytes => Ok(()),
        received => Err(format!("{received} bytes arrived instead of {bytes}").into()),
    }
}

fn send(mut stream: TcpStream, bytes: u64, stop: &AtomicBool) -> io::Result<u64> {
    let pattern = pattern();
    let mut sent = 0;
    while sent < bytes && !stop.load(Relaxed) {
        let offset = (sent % PATTERN as u64) as usize;
        let len = CHUNK.min((bytes - sent).try_into().unwrap_or(CHUNK));
        sent += stream.write(&pattern[offset..offset + len])? as u64;
    }
    Ok(sent)
}

fn receive(mut stream: TcpStream, received: &AtomicU64) -> io::Result<u64> {
    let pattern = pattern();
    let mut buffer = vec![0; CHUNK];
    let mut count = 0;
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(count);
        }
        let offset = (count % PATTERN as u64) as usize;
        if buffer[..len] != pattern[offset..offset + len] {
            return Err(io::Error::other(format!("a byte after the {count}th arrived wrong")));
        }
        count += len as u64;
        received.store(count, Relaxed);
    }
}

/// The pattern, repeated: [`CHUNK`] bytes of the stream from any place in it are one slice.
fn pattern() -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let once = std::iter::repeat_with(|| {
        // xorshift32 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    });
    let mut pattern: Vec<u8> = once.take(PATTERN).collect();
    while pattern.len() < PATTERN + CHUNK {
        pattern.extend_from_within(..PATTERN);
    }
    pattern
}
