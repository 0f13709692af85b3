//! How many entries there are, in all and by port, and what happened to them.

use core::sync::atomic::AtomicU64;

use super::word::Word;
use super::{FdbConfig, Learned};
use crate::id::{MAX_PORTS, PortId};
use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::Relaxed;

/// The bounds of the table. What is counted is counted before it is in the table and until it has left it, so
/// the bounds hold at every moment, and the counts are exact when no thread is at work.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Counts {
    capacity: u32,
    port_share: u32,
    entries: AtomicU32,
    ports: Box<[PortCounts]>,
}

/// Entries behind one port.
#[derive(Debug)]
struct PortCounts {
    /// Learned and sticky ones: bounded by the port's share.
    dynamic: AtomicU32,
    /// Static ones: bounded by the table alone.
    fixed: AtomicU32,
}

impl Counts {
    pub(super) fn new(config: &FdbConfig) -> Self {
        let clamp = |bound: usize| u32::try_from(bound).unwrap_or(u32::MAX);
        let none = || PortCounts { dynamic: AtomicU32::new(0), fixed: AtomicU32::new(0) };
        Self {
            capacity: clamp(config.capacity),
            port_share: clamp(config.port_share),
            entries: AtomicU32::new(0),
            ports: core::iter::repeat_with(none).take(MAX_PORTS).collect(),
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn entries(&self) -> u32 {
        self.entries.load(Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries() >= self.capacity
    }

    /// Learned and sticky entries behind `port`.
    pub(super) fn dynamic(&self, port: PortId) -> u32 {
        self.ports.get(port.index()).map_or(0, |port| port.dynamic.load(Relaxed))
    }

    /// All entries behind `port`.
    pub(super) fn port(&self, port: PortId) -> u32 {
        let fixed = self.ports.get(port.index()).map_or(0, |port| port.fixed.load(Relaxed));
        self.dynamic(port) + fixed
    }

    pub(super) fn is_at_share(&self, port: PortId) -> bool {
        self.dynamic(port) >= self.port_share
    }

    /// Makes room in the counts for `new` in the place of `old`, which may be no entry. False: a bound is reached.
    pub(super) fn reserve(&self, new: Word, old: Word) -> bool {
        if same_account(new, old) {
            return true;
        }
        if !old.is_entry() && !increase(&self.entries, self.capacity) {
            return false;
        }
        let limit = if new.is_static() { u32::MAX } else { self.port_share };
        let reserved = self.account(new).is_some_and(|count| increase(count, limit));
        if !reserved && !old.is_entry() {
            self.entries.fetch_sub(1, Relaxed);
        }
        reserved
    }

    /// `new` did not get the place of `old` after all.
    pub(super) fn cancel(&self, new: Word, old: Word) {
        if !same_account(new, old) {
            self.leave(new);
            if !old.is_entry() {
                self.entries.fetch_sub(1, Relaxed);
            }
        }
    }

    /// `new` has the place of `old` now.
    pub(super) fn commit(&self, new: Word, old: Word) {
        if old.is_entry() && !same_account(new, old) {
            self.leave(old);
        }
    }

    /// The entry `old` has left the table.
    pub(super) fn release(&self, old: Word) {
        self.leave(old);
        self.entries.fetch_sub(1, Relaxed);
    }

    fn leave(&self, word: Word) {
        if let Some(count) = self.account(word) {
            count.fetch_sub(1, Relaxed);
        }
    }

    fn account(&self, word: Word) -> Option<&AtomicU32> {
        let port = self.ports.get(word.port().index())?;
        Some(if word.is_static() { &port.fixed } else { &port.dynamic })
    }
}

/// Both words are entries that the same count counts.
fn same_account(a: Word, b: Word) -> bool {
    a.is_entry() && b.is_entry() && a.port() == b.port() && a.is_static() == b.is_static()
}

fn increase(count: &AtomicU32, limit: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |n| (n < limit).then(|| n + 1)).is_ok()
}

/// What happened since the table was made. Written only where the table changes or refuses to.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Events {
    pub(super) learned: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) expired: AtomicU64,
}

impl Events {
    pub(super) fn add(&self, outcome: Learned) {
        let event = match outcome {
            Learned::Known => return,
            Learned::New => &self.learned,
            Learned::Moved { .. } => &self.moved,
            Learned::Kept => &self.kept,
            Learned::Refused => &self.refused,
        };
        add(event, 1);
    }
}

/// Adds to an event's count.
pub(super) fn add(event: &AtomicU64, count: u64) {
    event.fetch_add(count, core::sync::atomic::Ordering::Relaxed);
}
