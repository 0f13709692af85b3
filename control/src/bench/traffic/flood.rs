//! Broadcasts: one sender, and a copy for each of many others.
//!
//! Nobody reads them: with many receivers on few processors their programs would be what is measured. A copy counts when the
//! receiving namespace's IP stack has taken it (`InDelivers` of RFC 4293, section 5).

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::udp::SMALLEST_PAYLOAD;
use super::{Time, socket_in};
use crate::bench::error::{BenchError, cannot, joined};
use crate::bench::lab::Station;
use crate::bench::meter;

/// The discard service (RFC 863), which nobody offers there.
const PORT: u16 = 9;
/// How long the counters must stand still until nothing more will come.
const SILENCE: Duration = Duration::from_millis(50);
/// How long that may take.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flood {
    /// Thousands of copies that were delivered in a second.
    pub delivered_kpps: f64,
    /// Of the copies that there should be, how many hundredths were lost.
    pub loss_percent: f64,
    /// Seconds of processor time of the whole machine for each million copies.
    pub cpu_s_per_million: f64,
}

/// Broadcasts from the first station; the others count.
pub(crate) fn measure(stations: &[Station], time: Time) -> Result<Flood, BenchError> {
    let (sender, receivers) =
        stations.split_first().ok_or_else(|| BenchError::sentence("the lab has no sandbox"))?;
    let counters = receivers.iter().map(Counter::open).collect::<Result<Vec<_>, _>>()?;
    let source = socket_in(sender, "open a UDP socket at", || {
        let source = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        source.set_broadcast(true)?;
        // The limited broadcast (RFC 919, section 7), whatever the subnet is; without the interface it would need a route.
        SockRef::from(&source).bind_device(Some(b"eth0"))?;
        source.connect((Ipv4Addr::BROADCAST, PORT))?;
        Ok(source)
    })?;
    let before = total(&counters)?;
    let (start, worked) = (Instant::now(), meter::machine_seconds()?);
    let sent = send_for(&source, time.window);
    let after = quiet_total(&counters)?;
    // The silence at the end is not of the transfer, and next to nothing is done in it.
    let seconds = (start.elapsed() - SILENCE).as_secs_f64();
    let copies = (after - before) as f64;
    Ok(Flood {
        delivered_kpps: copies / seconds / 1e3,
        loss_percent: (100.0 * (1.0 - copies / (sent as f64 * receivers.len() as f64))).max(0.0),
        cpu_s_per_million: (meter::machine_seconds()? - worked) / (copies / 1e6),
    })
}

/// Returns how many datagrams the kernel took.
fn send_for(source: &UdpSocket, window: Duration) -> u64 {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut sent = 0u64;
            while !stop.load(Relaxed) {
                sent += u64::from(source.send(&[0x5a; SMALLEST_PAYLOAD]).is_ok());
            }
            sent
        });
        thread::sleep(window);
        stop.store(true, Relaxed);
        joined(sender.join())
    })
}

/// A namespace's /proc/net/snmp, held open.
struct Counter(File);

impl Counter {
    fn open(station: &Station) -> Result<Counter, BenchError> {
        let open = || File::open("/proc/thread-self/net/snmp");
        socket_in(station, "open the counters of", open).map(Counter)
    }

    fn delivered(&self) -> io::Result<u64> {
        let mut text = [0; 4096];
        let read = self.0.read_at(&mut text, 0)?;
        in_delivers(&String::from_utf8_lossy(&text[..read]))
            .ok_or_else(|| io::Error::other("/proc/net/snmp has no InDelivers"))
    }
}

/// A line of names is followed by one of values.
fn in_delivers(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let place = lines.next()?.split(' ').position(|name| name == "InDelivers")?;
    lines.next()?.split(' ').nth(place)?.parse().ok()
}

fn total(counters: &[Counter]) -> Result<u64, BenchError> {
    let counts = counters.iter().map(Counter::delivered);
    counts.sum::<io::Result<u64>>().map_err(cannot("read counters"))
}

/// The total when nothing more comes.
fn quiet_total(counters: &[Counter]) -> Result<u64, BenchError> {
    let start = Instant::now();
    let mut last = total(counters)?;
    while start.elapsed() < LONGEST_WAIT {
        thread::sleep(SILENCE);
        let now = total(counters)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    Err(BenchError::sentence("the counters do not come to rest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let snmp = "Ip: Forwarding DefaultTTL InReceives InDelivers OutRequests\nIp: 2 64 1234 5678 90\n\
                    Icmp: InMsgs InDelivers\nIcmp: 3 4\n";
        assert_eq!(in_delivers(snmp), Some(5678));
        assert_eq!(in_delivers("Ip: Forwarding\nIp: 2\n"), None);
    }
}
