//! Counters: one block for each port and worker, written by that worker alone, summed by whoever reads.
//!
//! A worker adds with a plain load and store, so no cache line is shared on a frame's path and no
//! locked instruction is paid for. A reader may see a frame counted whose bytes are not yet.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::verdict::DropReason;

/// Frames and bytes. Bytes count the whole frame from the destination MAC on; a super-frame is one frame.
#[derive(Debug, Default)]
pub struct Traffic {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Counts one frame of `bytes` bytes. Only the worker that owns the block may call this.
    #[inline]
    pub fn add(&self, bytes: usize) {
        self.frames.store(self.frames.load(Relaxed).wrapping_add(1), Relaxed);
        self.bytes.store(self.bytes.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    fn add_to(&self, sum: &mut TrafficSum) {
        sum.frames += self.frames.load(Relaxed);
        sum.bytes += self.bytes.load(Relaxed);
    }
}

/// What one worker counted on one port. Two cache lines of alignment keep the adjacent-line
/// prefetcher from making neighbours share.
#[derive(Debug)]
#[repr(align(128))]
pub struct PortCounters {
    /// Frames that came in by the port.
    pub rx: Traffic,
    /// Frames that the port's device took, as it took them: the segments of a super-frame that had to be cut are counted singly.
    pub tx: Traffic,
    drops: [Traffic; DropReason::COUNT],
}

impl PortCounters {
    /// Counts a drop on this port: the ingress for decisions, the egress for devices that refuse.
    #[inline]
    pub fn drop(&self, reason: DropReason, bytes: usize) {
        self.drops[reason as usize].add(bytes);
    }
}

impl Default for PortCounters {
    fn default() -> Self {
        Self {
            rx: Traffic::default(),
            tx: Traffic::default(),
            drops: core::array::from_fn(|_| Traffic::default()),
        }
    }
}

/// Frames and bytes, as read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficSum {
    /// Frames; a super-frame is one.
    pub frames: u64,
    /// Bytes from the destination MAC on.
    pub bytes: u64,
}

/// A port's counters, summed over all workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterSum {
    /// Frames that came in by the port.
    pub rx: TrafficSum,
    /// Frames that the port's device took, as it took them: the segments of a super-frame that had to be cut are counted singly.
    pub tx: TrafficSum,
    /// Drops by reason; reasons that never occurred are left out.
    pub drops: Vec<(DropReason, TrafficSum)>,
}

impl CounterSum {
    /// Sums the blocks of all workers.
    pub fn of(blocks: &[PortCounters]) -> CounterSum {
        let mut sum = CounterSum::default();
        for block in blocks {
            block.rx.add_to(&mut sum.rx);
            block.tx.add_to(&mut sum.tx);
        }
        for &reason in DropReason::ALL {
            let mut drops = TrafficSum::default();
            blocks.iter().for_each(|block| block.drops[reason as usize].add_to(&mut drops));
            if drops.frames > 0 {
                sum.drops.push((reason, drops));
            }
        }
        sum
    }

    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.iter().find(|(r, _)| *r == reason).map_or(0, |(_, t)| t.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_workers_and_leaves_silent_reasons_out() {
        let blocks = [PortCounters::default(), PortCounters::default()];
        blocks[0].rx.add(60);
        blocks[1].rx.add(1500);
        blocks[1].tx.add(64);
        blocks[0].drop(DropReason::Runt, 3);
        let sum = CounterSum::of(&blocks);
        assert_eq!(sum.rx, TrafficSum { frames: 2, bytes: 1560 });
        assert_eq!(sum.tx, TrafficSum { frames: 1, bytes: 64 });
        assert_eq!(sum.drops, vec![(DropReason::Runt, TrafficSum { frames: 1, bytes: 3 })]);
        assert_eq!(sum.dropped(DropReason::Isolated), 0);
    }
}
