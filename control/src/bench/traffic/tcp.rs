//! TCP streams as fast as they go.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use socket2::SockRef;

use super::{PATIENCE, Time, any_port, socket_in, watch};
use crate::bench::error::{BenchError, cannot, joined};
use crate::bench::lab::Station;

/// Bytes written and read at once.
const CHUNK: usize = 256 * 1024;

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From whoever connects.
    Out,
    /// To whoever connects.
    In,
}

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams {
    pub count: usize,
    /// The senders' congestion control, as the kernel calls it.
    pub congestion: &'static str,
    pub direction: Direction,
}

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Payload of all streams together, in Gbit/s.
    pub gbit_per_s: f64,
    /// Milliseconds of processor time of the whole machine for each Gbit of payload.
    pub cpu_ms_per_gbit: f64,
}

/// Streams from `client`, who connects, to `server`, or back.
pub(crate) fn measure(
    client: &Station,
    server: &Station,
    streams: Streams,
    time: Time,
) -> Result<Flow, BenchError> {
    let listener = socket_in(server, "listen on", || TcpListener::bind(any_port(server)))?;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    let pairs = (0..streams.count).map(|_| pair(client, server, &listener, streams));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let (received, stop) = (&AtomicU64::new(0), &AtomicBool::new(false));
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (sender, sink) in pairs {
            threads.push(scope.spawn(move || send(sender, stop)));
            threads.push(scope.spawn(move || receive(sink, received)));
        }
        let window = watch(time, || received.load(Relaxed));
        stop.store(true, Relaxed);
        for thread in threads {
            joined(thread.join()).map_err(cannot("keep a TCP stream going"))?;
        }
        let window = window?;
        let gbit = window.count as f64 * 8.0 / 1e9;
        Ok(Flow { gbit_per_s: gbit / window.seconds, cpu_ms_per_gbit: window.cpu_seconds * 1e3 / gbit })
    })
}

/// Sender and sink of a new connection.
fn pair(
    client: &Station,
    server: &Station,
    listener: &TcpListener,
    streams: Streams,
) -> Result<(TcpStream, TcpStream), BenchError> {
    let target = listener.local_addr().map_err(cannot("listen"))?;
    let what = format!("connect to {target} from");
    let from = socket_in(client, &what, || TcpStream::connect_timeout(&target, PATIENCE))?;
    let (to, _) = listener.accept().map_err(cannot(format!("accept a connection on {}", server.address)))?;
    let (sender, sink) = match streams.direction {
        Direction::Out => (from, to),
        Direction::In => (to, from),
    };
    SockRef::from(&sender)
        .set_tcp_congestion(streams.congestion.as_bytes())
        .map_err(cannot(format!("use the congestion control {}", streams.congestion)))?;
    sender.set_write_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    sink.set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    Ok((sender, sink))
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    while !stop.load(Relaxed) {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

/// Reads to the end, counting as it goes.
fn receive(mut stream: TcpStream, received: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => received.fetch_add(read as u64, Relaxed),
        };
    }
}

/// The congestion controls that the kernel has loaded.
pub(crate) fn congestion_controls() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
