//! Traffic between two stations, by the kernel's own stack on both sides: the bench's own generator and sink.
//!
//! A rate is what arrived at the receiving program within a window of time that starts when the senders have warmed up. What the
//! whole machine worked in the window is what it cost: senders, switch and receivers together.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::error::{BenchError, cannot};
use super::lab::Station;
use super::meter;
use crate::netns;

pub(super) mod connect;
pub(super) mod flood;
pub(super) mod iperf3;
pub(super) mod latency;
pub(super) mod tcp;
pub(super) mod udp;

/// How long a socket waits for the other side before the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a measurement takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub warm_up: Duration,
    pub window: Duration,
}

impl Time {
    /// A window of that length, and a fifth of it before.
    pub(super) fn of(window: Duration) -> Time {
        Time { warm_up: window / 5, window }
    }
}

/// What happened in a window.
#[derive(Debug, Clone, Copy)]
struct Window {
    count: u64,
    seconds: f64,
    /// Seconds that all processors together worked.
    cpu_seconds: f64,
}

/// Sleeps through warm-up and window, and says by how much `count` grew in the window.
fn watch(time: Time, count: impl Fn() -> u64) -> Result<Window, BenchError> {
    thread::sleep(time.warm_up);
    let (start, before, worked) = (Instant::now(), count(), meter::machine_seconds()?);
    thread::sleep(time.window);
    let (count, seconds) = (count() - before, start.elapsed().as_secs_f64());
    Ok(Window { count, seconds, cpu_seconds: meter::machine_seconds()? - worked })
}

/// Makes a socket in a station's namespace.
fn socket_in<T: Send>(
    station: &Station,
    what: &str,
    make: impl FnOnce() -> std::io::Result<T> + Send,
) -> Result<T, BenchError> {
    netns::run_in(&station.netns, make)?.map_err(cannot(format!("{what} {}", station.address)))
}

/// Where a station is reached, on a port of the kernel's choice.
fn any_port(station: &Station) -> SocketAddr {
    (station.address, 0).into()
}
