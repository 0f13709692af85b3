//! On which CPU a worker is best, where programs share it.
//!
//! Two programs talk by turns, and two workers carry what they say. A worker on the CPU of the one that it reads from has to wait until that
//! one has spoken and fallen asleep, and then wakes the other from afar. On the CPU of the other it sees the frame in the moment in which it
//! is sent, and wakes where it is: round trips are a fifth shorter (docs/decisions/0023-readers.md). The scheduler knows nothing of that, for
//! nobody sleeps. So a worker that notices goes to another CPU, and is free to be moved again at once.

use std::io;
use std::time::{Duration, Instant};

use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::sys::current_cpu;

/// Frames after which a worker judges where it is.
const WINDOW: u32 = 64;

/// When a program had the CPU for so long, it did something. To find that there is nothing to do takes a neighbour 1 to 3 µs.
const SPEAKING: Duration = Duration::from_micros(5);
/// Who keeps it for longer does not talk by turns.
const WORKING: Duration = Duration::from_micros(60);

/// A worker changes its CPU once in this time at most ...
const PAUSE: Duration = Duration::from_millis(20);
/// ... and more seldom when that did not help, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a worker notices about the programs on its CPU.
#[derive(Debug)]
pub(super) struct Affinity {
    /// How long the CPU was gone when it was given away after the last frame, first and last.
    away: Option<(Duration, Duration)>,
    /// Frames that came one by one, and those among them that were sent from this CPU to another.
    frames: u32,
    sent_from_here: u32,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Affinity {
    pub(super) fn new() -> Affinity {
        Affinity { away: None, frames: 0, sent_from_here: 0, pause: PAUSE, not_before: None }
    }

    /// The CPU was given away for so long, for want of frames.
    #[inline]
    pub(super) fn was_away(&mut self, away: Duration) {
        let (first, _) = self.away.unwrap_or((away, away));
        self.away = Some((first, away));
    }

    /// A turn brought `frames`. Returns whether to be on another CPU were better.
    #[inline]
    pub(super) fn found(&mut self, frames: usize) -> bool {
        let Some((first, last)) = self.away.take() else { return false };
        if frames != 1 {
            // Not by turns.
            (self.frames, self.sent_from_here) = (0, 0);
            return false;
        }
        // Whom the frame before was for does not run here, and who sent this one does.
        let sent_from_here = first < SPEAKING && (SPEAKING..WORKING).contains(&last);
        self.frames += 1;
        self.sent_from_here += u32::from(sent_from_here);
        self.frames == WINDOW && self.judge(Instant::now())
    }

    #[cold]
    fn judge(&mut self, now: Instant) -> bool {
        let is_bad = self.sent_from_here > WINDOW / 4 * 3;
        (self.frames, self.sent_from_here) = (0, 0);
        if !is_bad {
            self.pause = PAUSE;
            return false;
        }
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return false;
        }
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Has the calling thread run on another CPU, if it may, and lets the scheduler move it as before.
///
/// # Errors
/// The system's, when it does not allow that.
#[cold]
pub(super) fn leave_cpu() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut others = allowed;
    others.unset(current_cpu()?);
    if others.count() > 0 {
        sched_setaffinity(None, &others)?;
        sched_setaffinity(None, &allowed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(1);
    const LONG: Duration = Duration::from_micros(10);

    /// Single frames, and before each of them the CPU was `away` for so long each time. Whether and after how many the worker leaves.
    fn leaves_after(affinity: &mut Affinity, away: &[Duration]) -> Option<u32> {
        (1..=4 * WINDOW).find(|_| {
            away.iter().for_each(|&away| affinity.was_away(away));
            affinity.found(1)
        })
    }

    #[test]
    fn who_is_beside_the_one_that_it_reads_from_leaves() {
        assert_eq!(leaves_after(&mut Affinity::new(), &[SHORT, SHORT, LONG]), Some(WINDOW));
    }

    #[test]
    fn who_is_well_placed_stays() {
        for away in [
            // Who is spoken to is here; the answer is somebody else's to read.
            &[LONG, SHORT, SHORT][..],
            // Both are.
            &[LONG],
            &[LONG, LONG],
            // Nobody is.
            &[SHORT, SHORT],
            // A program that works.
            &[SHORT, SHORT, Duration::from_micros(200)],
        ] {
            assert_eq!(leaves_after(&mut Affinity::new(), away), None, "{away:?}");
        }
    }

    #[test]
    fn who_gets_many_at_once_stays() {
        let mut affinity = Affinity::new();
        for turn in 0..4 * WINDOW {
            [SHORT, LONG].into_iter().for_each(|away| affinity.was_away(away));
            assert!(!affinity.found(if turn % 32 == 0 { 2 } else { 1 }));
        }
        assert!(!affinity.found(1), "it was not away");
    }

    #[test]
    fn what_does_not_help_is_tried_more_and_more_seldom() {
        let mut affinity = Affinity::new();
        let start = Instant::now();
        let mut at = |millis, bad| {
            affinity.sent_from_here = if bad { WINDOW } else { 0 };
            affinity.judge(start + Duration::from_millis(millis))
        };
        let tried: Vec<_> = (0..1000).filter(|&millis| at(millis, true)).collect();
        assert_eq!(tried, [0, 20, 60, 140, 300, 620]);
        assert!(!at(2000, false));
        let tried: Vec<_> = (2000..2100).filter(|&millis| at(millis, true)).collect();
        assert_eq!(tried, [2000, 2020, 2060]);
    }

    #[test]
    fn a_thread_that_leaves_its_cpu_may_go_everywhere_as_before() {
        let allowed = sched_getaffinity(None).unwrap();
        // Nobody else moves it meanwhile.
        let mut here = allowed;
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|&cpu| allowed.is_set(cpu))
            .skip(1)
            .for_each(|cpu| here.unset(cpu));
        sched_setaffinity(None, &here).unwrap();
        leave_cpu().unwrap();
        assert!(here.is_set(current_cpu().unwrap()), "it may not go elsewhere");
        assert_eq!(sched_getaffinity(None).unwrap(), here);
        sched_setaffinity(None, &allowed).unwrap();
        leave_cpu().unwrap();
        assert_eq!(sched_getaffinity(None).unwrap(), allowed);
    }
}
