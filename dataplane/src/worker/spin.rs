//! How long a worker goes on looking for frames before it sleeps.

use std::time::{Duration, Instant};

/// How long to go on looking for frames before sleeping.
///
/// To be woken costs tens of microseconds, so looking on for about as long pays while answers come within that time
/// (request-response, a stream's acknowledgements), and only then: when the next frame came long after the spin was
/// over, the next spin is cut to half, and one that comes soon after falling asleep doubles it.
#[derive(Debug)]
pub(super) struct Spin {
    longest: Duration,
    budget: Duration,
    last_frame: Instant,
    waiting: bool,
}

impl Spin {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, budget: longest, last_frame: Instant::now(), waiting: false }
    }

    #[inline]
    pub(super) fn saw_traffic(&mut self) {
        self.waiting = false;
    }

    /// Called when no lane had a frame.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.waiting {
            self.waiting = true;
            self.last_frame = Instant::now();
        }
        self.last_frame.elapsed() >= self.budget
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_dies_out_when_frames_are_rare() {
        let mut spin = Spin::new(Duration::from_micros(50));
        for _ in 0..10 {
            assert!(!spin.waiting || spin.budget <= spin.longest);
            spin.last_frame = Instant::now() - Duration::from_secs(1);
            spin.woke_up();
        }
        assert!(spin.budget < Duration::from_micros(1));
        spin.last_frame = Instant::now() + Duration::from_secs(1);
        spin.woke_up();
        assert!(spin.budget >= spin.longest / 8);
    }
}
