//! Limits for each port: token buckets.
//!
//! ICMP errors (RFC 1812, section 4.3.2.8): an error costs about as much to make as a frame to forward and is never longer than
//! 590 bytes, so the limit is there for what is behind the port, not for us: 100 a second with a burst of 50 is 59 kB/s at most. A burst
//! lets a traceroute (16 probes at once) or a program that tries many addresses hear at once about each, and
//! afterwards each 10 ms suffices to tell a client that it talks to nobody. The kernel's own limits are of that size
//! (net.ipv4.icmp_msgs_per_sec 1000 and icmp_msgs_burst 50 for the whole host).
//!
//! Questions to the resolver at the gateway: all endpoints of a network share its one socket there, and whoever fills that shuts the
//! others out. One of them may send what a busy resolver itself would, and less than ours can answer.
//!
//! Bound: one word for each port number, all there from the start; nothing is evicted. No port draws on another's.

use crate::network::{MAX_PORTS, PortId, Snapshot};
use crate::time::Timestamp;

/// How much may pass in the long run, and how much at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    per_second: u64,
    burst: u64,
}

/// ICMP errors to a port.
pub(crate) const ERRORS: Rate = Rate { per_second: 100, burst: 50 };

/// Packets from a port to the resolver at the gateway.
pub(crate) const QUESTIONS: Rate = Rate { per_second: 25_000, burst: 500 };

/// What one token costs: milliseconds times tokens a second.
const TOKEN: u64 = 1_000;

/// A bucket for each port.
#[derive(Debug, Clone)]
pub(crate) struct PortLimit {
    rate: Rate,
    /// By port: when all that has passed so far is paid for at the long-run rate, in milliseconds times tokens a second.
    paid_at: Box<[u64]>,
}

impl PortLimit {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, paid_at: vec![0; MAX_PORTS].into_boxed_slice() }
    }

    /// Whether one more may pass at `port`; if so it is taken from the bucket.
    pub(crate) fn take(&mut self, now: Timestamp, port: PortId) -> bool {
        let Some(paid_at) = self.paid_at.get_mut(port.index()) else { return false };
        let now = now.as_millis().saturating_mul(self.rate.per_second);
        let start = now.max(*paid_at);
        let fits = start - now <= TOKEN * (self.rate.burst - 1);
        if fits {
            *paid_at = start + TOKEN;
        }
        fits
    }

    /// Ports that come anew start with a full bucket.
    pub(crate) fn forget_missing_ports(&mut self, snapshot: &Snapshot) {
        for (index, paid_at) in self.paid_at.iter_mut().enumerate() {
            if snapshot.ports.get(index).is_none_or(Option::is_none) {
                *paid_at = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_long_run_rate() {
        for (rate, refill) in [(ERRORS, 1), (QUESTIONS, 250)] {
            let mut limit = PortLimit::new(rate);
            let passes = |limit: &mut PortLimit, now, port| {
                (0..100_000).take_while(|_| limit.take(Timestamp::from_millis(now), PortId(port))).count()
                    as u64
            };
            assert_eq!(passes(&mut limit, 5, 1), rate.burst);
            assert_eq!(passes(&mut limit, 5, 1), 0);
            assert_eq!(passes(&mut limit, 15, 1), refill, "10 ms later");
            assert_eq!(passes(&mut limit, 15, 2), rate.burst, "another port has its own");
            assert_eq!(passes(&mut limit, 100_000, 1), rate.burst, "no more than that is saved up");
        }
    }
}
