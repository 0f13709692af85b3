//! The books of a switch: whatever came in must have become something.

use std::collections::BTreeMap;
use std::sync::Arc;

use pontoon_dataplane::counters::{CounterSum, PortCounters};
use pontoon_dataplane::network::Snapshot;
use pontoon_dataplane::verdict::Taken;
use pontoon_dataplane::{DropReason, Verdict};

/// For these reasons the gateway drops fragments that it took before, whole packets as one.
const LATE: [DropReason; 2] = [DropReason::FragmentsFull, DropReason::FragmentTimeout];

/// What a core decided since it was started, and the counters of all ports that it ever had.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    blocks: Vec<Arc<[PortCounters]>>,
    /// Frames by what was decided when they came.
    pub(super) decided: BTreeMap<&'static str, u64>,
    /// Decisions about frames that had waited, and how many of them were drops.
    resumed: (u64, u64),
    /// How often a frame had to wait, in the edge or on its way there.
    waited: u64,
    /// Drops at once but for [`LATE`] reasons, and those.
    dropped: (u64, u64),
    /// Fragments that the gateway took to put packets together of.
    fragments: u64,
    /// Frames that waited when their port was removed.
    pub(super) forgotten: u64,
    /// Frames that an egress port which is down did not take.
    pub(super) down: u64,
}

impl Ledger {
    /// Counters of ports that are new.
    pub(super) fn know_ports(&mut self, snapshot: &Snapshot) {
        for port in snapshot.ports.iter().flatten() {
            if !self.blocks.iter().any(|known| Arc::ptr_eq(known, &port.counters)) {
                self.blocks.push(Arc::clone(&port.counters));
            }
        }
    }

    /// A frame came, and this was decided.
    pub(super) fn decided(&mut self, verdict: Verdict) {
        let name = match verdict {
            Verdict::Forward { .. } => "forwarded",
            Verdict::Flood { .. } => "flooded",
            Verdict::Route { .. } => "routed",
            Verdict::Wait(_) => "waiting",
            Verdict::HandOver => "handed over",
            Verdict::Reply(_) => "replied",
            Verdict::Taken(_) => "taken",
            Verdict::Drop(_) => "dropped",
        };
        *self.decided.entry(name).or_default() += 1;
        match verdict {
            Verdict::Drop(reason) if LATE.contains(&reason) => self.dropped.1 += 1,
            Verdict::Drop(_) => self.dropped.0 += 1,
            _ => {}
        }
        // What is handed over waits for the other worker.
        self.waited += u64::from(matches!(verdict, Verdict::Wait(_) | Verdict::HandOver));
        self.fragments += u64::from(verdict == Verdict::Taken(Taken::Fragment));
    }

    /// A frame waited, and this was decided.
    pub(super) fn resumed(&mut self, verdict: Verdict) {
        self.resumed.0 += 1;
        self.resumed.1 += u64::from(matches!(verdict, Verdict::Drop(_)));
        self.waited += u64::from(matches!(verdict, Verdict::Wait(_)));
    }

    /// Drops of that reason, on all ports.
    pub(super) fn drops(&self, reason: DropReason) -> u64 {
        self.blocks.iter().map(|block| CounterSum::of(block).dropped(reason)).sum()
    }

    /// Whether counters and decisions agree; `waiting` frames wait now.
    ///
    /// # Errors
    /// What does not add up.
    pub(super) fn check(&self, waiting: u64) -> Result<(), String> {
        let sums: Vec<CounterSum> = self.blocks.iter().map(|block| CounterSum::of(block)).collect();
        let received: u64 = sums.iter().map(|sum| sum.rx.frames).sum();
        let drops = || sums.iter().flat_map(|sum| &sum.drops);
        let count = |late: bool| {
            drops().filter(move |(reason, _)| LATE.contains(reason) == late).map(|(_, it)| it.frames)
        };
        let (counted, late): (u64, u64) = (count(false).sum(), count(true).sum());
        let decided: u64 = self.decided.values().sum();
        if received != decided {
            return Err(format!("{received} frames are counted as received, and {decided} came"));
        }
        // What waited went on, waits, went with its port, or was given up and counted.
        let over = self.resumed.0 + waiting + self.forgotten;
        let Some(given_up) = self.waited.checked_sub(over) else {
            return Err(format!("{} frames waited, and {over} went on, wait or are forgotten", self.waited));
        };
        let known = self.dropped.0 + self.resumed.1 + self.down + given_up;
        if counted != known {
            return Err(format!(
                "{counted} drops are counted, and there were {known}: {} at once, {} after waiting, {given_up} \
                 given up, {} at ports that are down",
                self.dropped.0, self.resumed.1, self.down
            ));
        }
        match late.checked_sub(self.dropped.1) {
            Some(late) if late <= self.fragments => Ok(()),
            _ => Err(format!(
                "{late} fragments are counted as dropped, {} of them at once, and {} were taken",
                self.dropped.1, self.fragments
            )),
        }
    }
}
