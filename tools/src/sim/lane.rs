//! The queue of a port, as a TAP has it, and the share of the worker's time that the port can count on.
//!
//! A worker goes round: up to [`BATCH`] frames of each busy port. So a port is served at least as fast as if all ports were busy all the
//! time. Beside the real queue stands an ideal one that is served at just that rate. As long as that has never been full, whoever is
//! behind the port has kept to his share, and the real one must have room.

use std::collections::VecDeque;

use pontoon_dataplane::port::Offloads;

use super::agenda::Micros;
use super::link::Wire;

/// Frames of one port that a worker takes in one visit.
pub(super) const BATCH: usize = 32;
/// Frames that the kernel keeps for the reader of a TAP (its default txqueuelen).
const QUEUE: usize = 500;
/// Service comes in batches: by so much may the real queue be longer than the ideal one.
const SLACK: usize = 2 * BATCH;

/// The port as the worker sees it.
#[derive(Debug)]
pub(super) struct Lane {
    /// The link that it is at, and which end of it.
    pub(super) link: (usize, usize),
    /// What its device can be left to do.
    pub(super) offloads: Offloads,
    pub(super) up: bool,
    /// It is among those that the worker visits.
    pub(super) busy: bool,
    queue: VecDeque<Wire>,
    /// How long the ideal queue would take from `seen` on.
    backlog: Micros,
    seen: Micros,
    exceeds: bool,
    /// Frames for which the queue had no room.
    pub(super) overrun: u64,
}

impl Lane {
    pub(super) fn new(link: (usize, usize), offloads: Offloads) -> Lane {
        Lane {
            link,
            offloads,
            up: true,
            busy: false,
            queue: VecDeque::new(),
            backlog: 0,
            seen: 0,
            exceeds: false,
            overrun: 0,
        }
    }

    /// A frame comes; each takes `share` at the rate that the port can count on.
    ///
    /// # Errors
    /// There is no room, and perhaps there had to be.
    pub(super) fn take_in(&mut self, now: Micros, share: Micros, wire: Wire) -> Result<(), Option<String>> {
        self.backlog = self.backlog.saturating_sub(now - self.seen);
        self.seen = now;
        self.exceeds &= !self.queue.is_empty();
        self.exceeds |= self.backlog > share * (QUEUE - SLACK) as u64;
        if !self.exceeds {
            self.backlog += share;
        }
        if self.queue.len() < QUEUE {
            self.queue.push_back(wire);
            return Ok(());
        }
        self.overrun += 1;
        let kept_to_share = !self.exceeds;
        Err(kept_to_share.then(|| "a port that keeps to its share loses a frame".to_owned()))
    }

    pub(super) fn take_out(&mut self) -> Option<Wire> {
        self.queue.pop_front()
    }

    /// What waits in the queue is lost.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        (self.busy, self.backlog, self.exceeds) = (false, 0, false);
    }
}
