//! The limit of ICMP errors (RFC 1812, section 4.3.2.8): a token bucket for each port.
//!
//! An error costs about as much to make as a frame to forward and is never longer than 590 bytes, so the limit is
//! there for what is behind the port, not for us: 100 a second with a burst of 50 is 59 kB/s at most. A burst lets
//! a traceroute (16 probes at once) or a program that tries many addresses hear at once about each, and
//! afterwards each 10 ms suffices to tell a client that it talks to nobody. The kernel's own limits are of that size
//! (net.ipv4.icmp_msgs_per_sec 1000 and icmp_msgs_burst 50 for the whole host).
//!
//! Bound: one word for each port number, all there from the start; nothing is evicted. No port draws on another's.

use core::time::Duration;

use crate::network::{MAX_PORTS, PortId, Snapshot};
use crate::time::Timestamp;

/// Time between two errors in the long run.
const INTERVAL: Duration = Duration::from_millis(10);
/// Errors that may come at once.
const BURST: u32 = 50;

/// A bucket for each port.
#[derive(Debug, Clone)]
pub(super) struct ErrorLimit {
    /// By port: when all errors sent so far are paid for at the long-run rate.
    paid_at: Box<[Timestamp]>,
}

impl ErrorLimit {
    pub(super) fn new() -> Self {
        Self { paid_at: vec![Timestamp::ZERO; MAX_PORTS].into_boxed_slice() }
    }

    /// Whether one more error may go to `port`; if so it is taken from the bucket.
    pub(super) fn take(&mut self, now: Timestamp, port: PortId) -> bool {
        let Some(paid_at) = self.paid_at.get_mut(port.index()) else { return false };
        let start = now.max(*paid_at);
        let fits = start.since(now) <= INTERVAL * (BURST - 1);
        if fits {
            *paid_at = start + INTERVAL;
        }
        fits
    }

    /// Ports that come anew start with a full bucket.
    pub(super) fn forget_missing_ports(&mut self, snapshot: &Snapshot) {
        for (index, paid_at) in self.paid_at.iter_mut().enumerate() {
            if snapshot.ports.get(index).is_none_or(Option::is_none) {
                *paid_at = Timestamp::ZERO;
            }
        }
    }
}
