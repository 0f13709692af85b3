//! The forwarding database: MAC -> port, lock-free.

use core::time::Duration;

use crate::addr::MacAddr;
use crate::network::PortId;
use crate::time::Timestamp;

/// Bounds of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbConfig {
    /// How many addresses the table holds at most.
    pub capacity: usize,
    /// How many learned addresses one port may hold at most.
    pub port_share: usize,
    /// How long a learned address lives after its last frame; zero: nothing is kept.
    pub ageing: Duration,
}

/// Whether a learned address may move to another port while it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stickiness {
    /// It may: the station has moved.
    Free,
    /// It may not: the guard vouches for it (kernel: `BR_FDB_STICKY`).
    Sticky,
}

/// What learning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The address was there, on this port; its age starts anew.
    Known,
    /// The address is new.
    New,
    /// The address was on another port and has moved.
    Moved {
        /// The port it was on.
        from: PortId,
    },
    /// The address is static or sticky on another port and stays there.
    Kept,
    /// The port's share or the table is full and nothing could be evicted.
    Refused,
}

/// The table.
#[derive(Debug)]
pub struct Fdb {}

impl Fdb {
    /// An empty table.
    pub fn new(config: FdbConfig) -> Self {
        let _ = config;
        Self {}
    }

    /// The port that `mac` is behind.
    #[inline]
    pub fn lookup(&self, mac: MacAddr, now: Timestamp) -> Option<PortId> {
        let _ = (mac, now);
        None
    }

    /// `mac` was seen as a source on `port`.
    #[inline]
    pub fn learn(&self, mac: MacAddr, port: PortId, stickiness: Stickiness, now: Timestamp) -> Learned {
        let _ = (mac, port, stickiness, now);
        Learned::Refused
    }

    /// Sets ageing.
    pub fn set_ageing(&self, ageing: Duration) {
        let _ = ageing;
    }

    /// Flushes everything behind the port.
    pub fn flush_port(&self, port: PortId) -> usize {
        let _ = port;
        0
    }
}

impl Default for FdbConfig {
    fn default() -> Self {
        Self { capacity: 16384, port_share: 4096, ageing: crate::network::DEFAULT_AGEING }
    }
}
