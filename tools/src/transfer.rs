//! TCP transfers between namespaces of which every byte is checked.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
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

/// A TCP connection, by both of its ends.
#[derive(Debug)]
pub struct Connection {
    /// Who connected.
    pub client: TcpStream,
    /// Who accepted.
    pub server: TcpStream,
}

impl Connection {
    /// Connects from a namespace to `target`, which leads to `listener`, maybe by another address.
    ///
    /// # Errors
    /// No connection.
    pub fn open(
        from: &Namespace,
        target: impl Into<SocketAddr>,
        listener: &TcpListener,
    ) -> Result<Connection, LabError> {
        let target = target.into();
        let client = from
            .run(|| TcpStream::connect_timeout(&target, PATIENCE))?
            .map_err(|error| format!("cannot connect to {target}: {error}"))?;
        Connection::accept(client, listener)
    }

    /// The other end of `client`, which has connected to what leads to `listener`.
    ///
    /// # Errors
    /// The connection did not come.
    pub fn accept(client: TcpStream, listener: &TcpListener) -> Result<Connection, LabError> {
        Self::accept_within(PATIENCE, client, listener)
    }

    /// The same of a connection that may be cut off before it is taken.
    ///
    /// # Errors
    /// The connection did not come within `patience`.
    pub fn accept_within(
        patience: Duration,
        client: TcpStream,
        listener: &TcpListener,
    ) -> Result<Connection, LabError> {
        SockRef::from(listener).set_read_timeout(Some(patience))?;
        let (server, _) =
            listener.accept().map_err(|error| format!("the connection did not come: {error}"))?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        Ok(Connection { client, server })
    }

    /// Sends a byte each way.
    ///
    /// # Errors
    /// It did not arrive.
    pub fn check(&self) -> Result<(), LabError> {
        let mut byte = [0];
        // Reading and writing take shared streams.
        let (client, server) = (&self.client, &self.server);
        for (mut from, mut to) in [(client, server), (server, client)] {
            from.write_all(&[0x5a])?;
            to.read_exact(&mut byte)?;
        }
        Ok(())
    }

    /// Sends that many bytes each way, one way after the other, and checks each of them. The connection is closed then.
    ///
    /// # Errors
    /// See [`Transfer`].
    pub fn both_ways(self, bytes: u64) -> Result<(), LabError> {
        let Connection { client, server } = self;
        Transfer::over(client.try_clone()?, server.try_clone()?, Some(bytes))?.complete(bytes)?;
        Transfer::over(server, client, Some(bytes))?.complete(bytes)
    }
}

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<io::Result<u64>>,
    /// Where it goes to, to end that when nothing more can come.
    end: TcpStream,
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
        let Connection { client, server } = Connection::open(from, listener.local_addr()?, &listener)?;
        Transfer::over(client, server, bytes)
    }

    /// Starts to send from one end of a connection to the other, as [`Transfer::start`].
    ///
    /// # Errors
    /// The system's error.
    pub fn over(sender: TcpStream, receiver: TcpStream, bytes: Option<u64>) -> Result<Transfer, LabError> {
        sender.set_write_timeout(Some(PATIENCE))?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&received), Arc::clone(&stop));
        Ok(Transfer {
            end: receiver.try_clone()?,
            sender: thread::spawn(move || send(sender, bytes.unwrap_or(u64::MAX), &stopped)),
            receiver: thread::spawn(move || {
                let received = receive(&receiver, &counter);
                if received.is_err() {
                    // Whoever sends need not wait for room either.
                    let _ = receiver.shutdown(Shutdown::Both);
                }
                received
            }),
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

    /// Waits until `bytes` bytes came through.
    ///
    /// # Errors
    /// As [`Transfer::finish`], or another number of bytes came.
    pub fn complete(self, bytes: u64) -> Result<(), LabError> {
        match self.finish()? {
            received if received == bytes => Ok(()),
            received => Err(format!("{received} bytes arrived instead of {bytes}").into()),
        }
    }

    /// Waits for the end; the bytes that came through.
    ///
    /// # Errors
    /// A byte arrived wrong, some did not arrive, or the connection broke.
    pub fn finish(self) -> Result<u64, LabError> {
        let sent = self.sender.join().map_err(|_| "the sending thread panicked")?;
        if sent.is_err() {
            let _ = self.end.shutdown(Shutdown::Both);
        }
        let received = self.receiver.join().map_err(|_| "the receiving thread panicked")?;
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
    Transfer::start(from, to, to_address, Some(bytes))?.complete(bytes)
}

fn send(mut stream: TcpStream, bytes: u64, stop: &AtomicBool) -> io::Result<u64> {
    let pattern = pattern();
    let mut sent = 0;
    while sent < bytes && !stop.load(Relaxed) {
        let offset = (sent % PATTERN as u64) as usize;
        let len = CHUNK.min((bytes - sent).try_into().unwrap_or(CHUNK));
        sent += stream.write(&pattern[offset..offset + len])? as u64;
    }
    // The other direction may be in use.
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn receive(mut stream: &TcpStream, received: &AtomicU64) -> io::Result<u64> {
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
