//! Counters: none goes backwards, and none is lost. What the kernel counted at a station's interface must be what the daemon says of its
//! port, and what came in must have gone out or have been dropped by name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pontoon::api::types::{NatStats, PortStats, Stats, Traffic};

use super::site::{CLOSED, Daemon, Site, Station, until};
use crate::lab::LabError;

/// How long the gateway of a network may still announce itself after the last endpoint came (RFC 5227: twice, two seconds apart). Those
/// frames leave and have never come in.
const ANNOUNCEMENTS: Duration = Duration::from_secs(4);

/// What counters said last.
#[derive(Debug)]
pub(super) struct Ledger {
    since: Instant,
    last: BTreeMap<String, u64>,
    /// What [`CLOSED`] had counted when its gateway had fallen silent.
    first: Option<Balance>,
}

/// What came into a network by its ports, and what left by them or was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Balance {
    taken: Traffic,
    gone: Traffic,
}

/// An interface's counters: frames and bytes that its owner received and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interface {
    received: Traffic,
    sent: Traffic,
}

impl Ledger {
    /// Of a site that has just been built.
    pub(super) fn new() -> Ledger {
        Ledger { since: Instant::now(), last: BTreeMap::new(), first: None }
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// One is less than it was.
    pub(super) fn look(&mut self, daemon: &Daemon) -> Result<(), LabError> {
        let stats: Stats = daemon.client.get("/stats")?;
        let nat: NatStats = daemon.client.get("/nat/stats")?;
        self.compare(named(&stats, &nat))
    }

    fn compare(&mut self, now: BTreeMap<String, u64>) -> Result<(), LabError> {
        for (name, count) in &now {
            if let Some(before) = self.last.get(name).filter(|before| *before > count) {
                return Err(format!("the counter {name} was {before} and is {count}").into());
            }
        }
        // What is gone may come again under the same name, from zero.
        self.last = now;
        Ok(())
    }

    /// Compares with the kernel, and what came in with what became of it, while nobody sends.
    ///
    /// # Errors
    /// The two differ, and go on to.
    pub(super) fn settle(&mut self, site: &Site, daemon: &Daemon) -> Result<(), LabError> {
        // The kernels' last acknowledgements may still be on their way.
        until("ports had counted what the kernel counted", || {
            let stats: Stats = daemon.client.get("/stats")?;
            let told = site.stations().map(|station| against_kernel(station, &stats));
            Ok(told.collect::<Result<Vec<_>, LabError>>()?.into_iter().flatten().next().map_or(Ok(()), Err))
        })?;
        if self.since.elapsed() < ANNOUNCEMENTS {
            return Ok(());
        }
        until("what had come into a network of two had gone out or been dropped", || {
            let stats: Stats = daemon.client.get("/stats")?;
            let now = Balance::of(stats.ports.iter().filter(|port| port.network == CLOSED));
            Ok(self.first.get_or_insert(now).told(&now))
        })
    }
}

/// Every counter that only grows, by a name of its own.
fn named(stats: &Stats, nat: &NatStats) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    let mut put = |name: String, traffic: Traffic| {
        counters.insert(format!("{name} frames"), traffic.frames);
        counters.insert(format!("{name} bytes"), traffic.bytes);
    };
    for port in stats.ports.iter().chain(&stats.uplinks) {
        put(format!("{} rx", port.port), port.rx);
        put(format!("{} tx", port.port), port.tx);
        port.drops.iter().for_each(|(reason, drops)| put(format!("{} {reason}", port.port), *drops));
    }
    for fdb in &stats.fdbs {
        for (name, count) in [
            ("learned", fdb.learned),
            ("moved", fdb.moved),
            ("kept", fdb.kept),
            ("refused", fdb.refused),
            ("evicted", fdb.evicted),
            ("expired", fdb.expired),
        ] {
            counters.insert(format!("FDB of {} {name}", fdb.network), count);
        }
    }
    for (name, count) in [
        ("opened", nat.opened),
        ("expired", nat.expired),
        ("evicted half-open", nat.evicted_half_open),
        ("evicted", nat.evicted_other),
        ("refused TCP", nat.refused_tcp),
        ("refused", nat.refused_other),
    ] {
        counters.insert(format!("NAT {name}"), count);
    }
    counters
}

/// How the kernel's counters of a station's interface and the daemon's of its port differ, if they do.
fn against_kernel(station: &Station, stats: &Stats) -> Result<Option<String>, LabError> {
    let port = stats.ports.iter().find(|port| port.port == station.port);
    let port = port.ok_or_else(|| format!("{} has no counters", station.port))?;
    let kernel =
        interface(&station.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??)?;
    let told = [("in", port.rx, kernel.sent), ("out", port.tx, kernel.received)].into_iter();
    let mut told = told.filter(|(_, ours, theirs)| ours != theirs).map(|(way, ours, theirs)| {
        format!(
            "{} counted {} frames ({} bytes) {way}, the kernel {} ({} bytes)",
            station.port, ours.frames, ours.bytes, theirs.frames, theirs.bytes
        )
    });
    Ok(told.next())
}

/// The line of eth0 in /proc/net/dev: eight columns of what was received, then eight of what was sent.
fn interface(table: &str) -> Result<Interface, LabError> {
    let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let line = line.ok_or("a station has no eth0")?;
    let columns = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let of = |at: usize| {
        let column = |at| columns.get(at).copied().ok_or("a line of /proc/net/dev is short");
        Ok::<_, LabError>(Traffic { bytes: column(at)?, frames: column(at + 1)? })
    };
    Ok(Interface { received: of(0)?, sent: of(8)? })
}

impl Balance {
    fn of<'a>(ports: impl Iterator<Item = &'a PortStats>) -> Balance {
        let mut balance = Balance { taken: Traffic::default(), gone: Traffic::default() };
        let add = |sum: &mut Traffic, traffic: Traffic| {
            sum.frames += traffic.frames;
            sum.bytes += traffic.bytes;
        };
        for port in ports {
            add(&mut balance.taken, port.rx);
            add(&mut balance.gone, port.tx);
            port.drops.values().for_each(|drops| add(&mut balance.gone, *drops));
        }
        balance
    }

    /// What was taken since must be gone.
    fn told(&self, now: &Balance) -> Result<(), String> {
        let since = |now: Traffic, first: Traffic| (now.frames - first.frames, now.bytes - first.bytes);
        let (taken, gone) = (since(now.taken, self.taken), since(now.gone, self.gone));
        if taken == gone {
            return Ok(());
        }
        Err(format!(
            "{} frames ({} bytes) in, {} ({} bytes) out or dropped",
            taken.0, taken.1, gone.0, gone.1
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(rx: u64, tx: u64, dropped: u64) -> PortStats {
        let traffic = |frames| Traffic { frames, bytes: 100 * frames };
        PortStats {
            port: "closed/one".to_owned(),
            rx: traffic(rx),
            tx: traffic(tx),
            drops: [("runt".to_owned(), traffic(dropped))].into(),
            ..PortStats::default()
        }
    }

    #[test]
    fn a_counter_that_goes_backwards_is_named() {
        let stats = |port| Stats { ports: vec![port], ..Stats::default() };
        let mut ledger = Ledger::new();
        let mut see =
            |port| ledger.compare(named(&stats(port), &NatStats::default())).map_err(|e| e.to_string());
        see(port(5, 6, 1)).unwrap();
        see(port(5, 7, 1)).unwrap();
        assert_eq!(see(port(5, 7, 0)).unwrap_err(), "the counter closed/one runt bytes was 100 and is 0");
        // Another port of that name.
        see(PortStats { port: "closed/two".to_owned(), ..PortStats::default() }).unwrap();
        see(port(0, 0, 0)).unwrap();
    }

    #[test]
    fn a_frame_that_is_lost_shows_in_the_balance() {
        let first = Balance::of([port(3, 9, 0)].iter());
        let told = |ports: [PortStats; 2]| first.told(&Balance::of(ports.iter()));
        told([port(13, 9, 2), port(0, 8, 0)]).unwrap();
        let lost = told([port(13, 9, 2), port(0, 7, 0)]).unwrap_err();
        assert_eq!(lost, "10 frames (1000 bytes) in, 9 (900 bytes) out or dropped");
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "Inter-| Receive\n face |bytes packets\n    lo: 1 2 0 0 0 0 0 0 1 2 0 0 0 0 0 0\n  eth0: 70 7 0 0 0 0 0 0 90 9 0 0 0 0 0 0\n";
        let read = interface(table).unwrap();
        assert_eq!(read.received, Traffic { frames: 7, bytes: 70 });
        assert_eq!(read.sent, Traffic { frames: 9, bytes: 90 });
    }
}
