//! How long a worker goes on looking for frames before it sleeps.

use std::time::{Duration, Instant};

/// After so many frames in a row for which the worker did not have to be woken, a longer silence is borne.
const EARNED_BY: u32 = 32;

/// How long to go on looking for frames before sleeping.
///
/// To be woken costs tens of microseconds, so looking on for about as long pays while answers come within that time
/// (request-response, a stream's acknowledgements), and only then: when the next frame came long after the spin was
/// over, the next spin is cut to half, and one that comes soon after falling asleep doubles it.
///
/// A conversation that has kept its worker awake for [`EARNED_BY`] frames may be silent for three times as long, once: the timer's tick or
/// another program takes a CPU away for that time now and then. A worker that falls asleep over it is late itself, so the one at the other
/// end falls asleep as well, and the next round trips wait for both to be woken (docs/performance.md).
#[derive(Debug)]
pub(super) struct Spin {
    longest: Duration,
    budget: Duration,
    last_frame: Instant,
    waiting: bool,
    /// The budget is used up, and the worker looks on for what it has earned.
    overtime: bool,
    /// Frames in a row that came within the budget, counted to [`EARNED_BY`].
    in_time: u32,
}

impl Spin {
    pub(super) fn new(longest: Duration) -> Self {
        let last_frame = Instant::now();
        Self { longest, budget: longest, last_frame, waiting: false, overtime: false, in_time: 0 }
    }

    #[inline]
    pub(super) fn saw_traffic(&mut self) {
        if self.waiting {
            self.waiting = false;
            self.in_time = if self.overtime { 0 } else { (self.in_time + 1).min(EARNED_BY) };
            self.overtime = false;
        }
    }

    /// Called when no lane had a frame.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.waiting {
            self.waiting = true;
            self.last_frame = Instant::now();
        }
        let silence = self.last_frame.elapsed();
        if silence < self.budget {
            return false;
        }
        self.overtime = true;
        let earned = if self.in_time == EARNED_BY { self.longest * 2 } else { Duration::ZERO };
        silence >= self.budget + earned
    }

    /// Called when sleep ends: was it worth falling asleep?
    pub(super) fn woke_up(&mut self) {
        let silence = self.last_frame.elapsed();
        self.budget = if silence < self.longest * 2 {
            (self.budget * 2).clamp(self.longest / 8, self.longest)
        } else {
            self.budget / 2
        };
        self.waiting = false;
        self.overtime = false;
        self.in_time = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(50);

    /// Whether it is over when the last frame came `silence` ago.
    fn is_over_after(spin: &mut Spin, silence: Duration) -> bool {
        spin.waiting = true;
        spin.last_frame = Instant::now() - silence;
        spin.is_over()
    }

    fn talk(spin: &mut Spin, frames: u32) {
        for _ in 0..frames {
            assert!(!is_over_after(spin, LONGEST / 2));
            spin.saw_traffic();
        }
    }

    #[test]
    fn spinning_dies_out_when_frames_are_rare() {
        let mut spin = Spin::new(LONGEST);
        for _ in 0..10 {
            spin.last_frame = Instant::now() - 4 * LONGEST;
            spin.woke_up();
        }
        assert!(spin.budget < LONGEST / 500);
        spin.last_frame = Instant::now();
        spin.woke_up();
        assert!(spin.budget >= LONGEST / 8);
    }

    #[test]
    fn a_conversation_that_went_well_may_pause_for_longer_once() {
        let mut spin = Spin::new(LONGEST);
        let pause = 2 * LONGEST;
        talk(&mut spin, EARNED_BY - 1);
        assert!(is_over_after(&mut spin, pause), "too few frames have come");
        spin.saw_traffic();
        talk(&mut spin, EARNED_BY);
        assert!(!is_over_after(&mut spin, pause));
        assert!(is_over_after(&mut spin, 4 * LONGEST), "not for ever");
        spin.saw_traffic();
        assert!(is_over_after(&mut spin, pause), "once");
    }

    #[test]
    fn who_had_to_be_woken_has_earned_nothing() {
        let mut spin = Spin::new(LONGEST);
        talk(&mut spin, EARNED_BY);
        spin.last_frame = Instant::now();
        spin.woke_up();
        assert!(is_over_after(&mut spin, 2 * LONGEST));
    }
}
