//! UDP datagrams as fast as one program sends them, a system call each.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{Time, any_port, socket_in, watch};
use crate::bench::error::{BenchError, cannot, joined};
use crate::bench::lab::Station;

/// Bytes of payload that make a 64-byte Ethernet frame of a datagram, its check sequence included.
pub(crate) const SMALLEST_PAYLOAD: usize = 18;
/// Datagrams between two looks whether it is time to stop.
const BURST: u32 = 64;
/// Silence after which nothing more will come.
const SILENCE: Duration = Duration::from_millis(200);
/// The sink's receive buffer, in bytes.
const BUFFER: usize = 4 << 20;

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blast {
    /// Thousands of datagrams that the receiving program read in a second.
    pub delivered_kpps: f64,
    /// Of those that the sender's kernel took, how many hundredths were lost.
    pub loss_percent: f64,
    /// Seconds of processor time of the whole machine for each million that was delivered.
    pub cpu_s_per_million: f64,
}

/// Blasts datagrams with `payload` bytes from one station to another.
pub(crate) fn measure(from: &Station, to: &Station, payload: usize, time: Time) -> Result<Blast, BenchError> {
    let sink = socket_in(to, "bind a UDP socket to", || UdpSocket::bind(any_port(to)))?;
    SockRef::from(&sink).set_recv_buffer_size(BUFFER).map_err(cannot("set a buffer size"))?;
    sink.set_read_timeout(Some(SILENCE)).map_err(cannot("set a timeout"))?;
    let source = socket_in(from, "open a UDP socket at", || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    let target = sink.local_addr().map_err(cannot("bind a UDP socket"))?;
    source.connect(target).map_err(cannot(format!("send to {target}")))?;
    let (received, stop, ended) = (&AtomicU64::new(0), &AtomicBool::new(false), &AtomicBool::new(false));
    let (sink, source) = (&sink, &source);
    thread::scope(|scope| {
        let receiver = scope.spawn(move || receive(sink, received, ended));
        let sender = scope.spawn(move || send(source, payload, stop));
        let window = watch(time, || received.load(Relaxed));
        stop.store(true, Relaxed);
        let sent = joined(sender.join());
        ended.store(true, Relaxed);
        joined(receiver.join());
        let (window, received) = (window?, received.load(Relaxed));
        Ok(Blast {
            delivered_kpps: window.count as f64 / window.seconds / 1e3,
            loss_percent: 100.0 * (1.0 - received as f64 / sent.max(1) as f64),
            cpu_s_per_million: window.cpu_seconds / (window.count as f64 / 1e6),
        })
    })
}

/// Returns how many datagrams the kernel took.
fn send(source: &UdpSocket, payload: usize, stop: &AtomicBool) -> u64 {
    let datagram = vec![0x5a; payload];
    let mut sent = 0;
    while !stop.load(Relaxed) {
        for _ in 0..BURST {
            // One that the kernel has no room for was not sent.
            sent += u64::from(source.send(&datagram).is_ok());
        }
    }
    sent
}

fn receive(sink: &UdpSocket, received: &AtomicU64, ended: &AtomicBool) {
    let mut buffer = [0; 2048];
    loop {
        match sink.recv(&mut buffer) {
            Ok(_) => received.store(received.load(Relaxed) + 1, Relaxed),
            Err(_) if ended.load(Relaxed) => return,
            Err(_) => {}
        }
    }
}
