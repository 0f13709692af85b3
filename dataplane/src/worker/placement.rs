//! By which worker a port is best read.
//!
//! Ports are spread over the workers: with two of them, who sends and who answers each find one awake on their own CPU, and a round trip
//! takes half the time. Some traffic goes better by one worker alone, the edge's (docs/decisions/0023-readers.md has the figures):
//!
//! * What is for the edge. To hand a frame over wakes that worker and takes the bytes to its CPU, for each frame.
//! * All that flows while programs want the CPUs for themselves. A second worker then only takes turns with them.
//!
//! A worker notices and says so ([`Event::ReadElsewhere`](crate::engine::Event::ReadElsewhere)); control has the port read by the other
//! ([`Engine::set_reader`](crate::engine::Engine::set_reader)). A port that was moved goes home after a while, to see whether it was for the
//! moment: what it then costs to be moved again is [`WINDOW`] frames.
//!
//! Where CPUs are few it also matters on which of them a worker is: see `affinity`.

use std::time::{Duration, Instant};

use super::affinity::{Affinity, leave_cpu};
use crate::engine::Reader;
use crate::time::Timestamp;

/// Frames of a port after which it is judged.
const WINDOW: u32 = 64;

/// How long a port stays with the edge's worker before it may go home.
const STAY: Duration = Duration::from_secs(2);

/// One port at most goes home in this time, so that moving many costs next to nothing.
const BETWEEN_RETURNS: Duration = Duration::from_millis(250);

/// What a worker knows about its own place among the others.
#[derive(Debug)]
pub(crate) struct Placement {
    kind: Kind,
    crowding: Option<Crowding>,
    affinity: Option<Affinity>,
}

#[derive(Debug)]
enum Kind {
    /// The only worker: nothing can be moved.
    Alone,
    /// The edge's, with others beside it.
    Edge { next_return: Timestamp },
    /// One of those others.
    Other,
}

/// What is known about a port that a worker reads.
#[derive(Debug, Default)]
pub(super) struct Stay {
    /// Since when it has been here, if its home is elsewhere.
    guest_since: Option<Timestamp>,
    frames: u32,
    for_edge: u32,
    asked: bool,
}

impl Placement {
    /// Of worker `number` of `workers`, on `cpus` CPUs.
    pub(crate) fn new(number: usize, workers: usize, cpus: usize) -> Placement {
        let kind = match number {
            _ if workers < 2 => Kind::Alone,
            0 => Kind::Edge { next_return: Timestamp::ZERO },
            _ => Kind::Other,
        };
        // With two CPUs for each worker there is room for programs beside it.
        let shares_cpu = !matches!(kind, Kind::Alone) && cpus < 2 * workers;
        let can_be_crowded = matches!(kind, Kind::Other) && shares_cpu;
        Placement {
            kind,
            crowding: can_be_crowded.then(Crowding::default),
            affinity: shares_cpu.then(Affinity::new),
        }
    }

    /// A port has come: what was noticed before was about others.
    pub(super) fn begin(&mut self) {
        if let Some(crowding) = &mut self.crowding {
            *crowding = Crowding::default();
        }
    }

    /// Gives the CPU away once, and notices for how long it was gone.
    pub(super) fn give_way(&mut self) {
        let Some(affinity) = &mut self.affinity else { return std::thread::yield_now() };
        let before = Instant::now();
        std::thread::yield_now();
        let away = before.elapsed();
        affinity.was_away(away);
        if let Some(crowding) = &mut self.crowding {
            crowding.note(before, away);
        }
    }

    /// A turn over all ports brought `frames`.
    #[inline]
    pub(super) fn found(&mut self, frames: usize) {
        if let Some(affinity) = &mut self.affinity
            && affinity.found(frames)
        {
            // Where that is not allowed the worker stays where it is.
            let _ = leave_cpu();
        }
    }

    /// A port had its turn, `frames` came, `for_edge` of them were handed over. Returns who should read it, told once for each stay.
    #[inline]
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        stay: &mut Stay,
        frames: usize,
        for_edge: usize,
    ) -> Option<Reader> {
        if frames == 0 || stay.asked {
            return None;
        }
        let better = match &mut self.kind {
            Kind::Alone => None,
            Kind::Edge { next_return } => {
                let is_over =
                    stay.guest_since.is_some_and(|since| now >= since + STAY) && now >= *next_return;
                is_over.then(|| {
                    *next_return = now + BETWEEN_RETURNS;
                    Reader::Home
                })
            }
            Kind::Other => {
                let crowded = self.crowding.as_ref().is_some_and(Crowding::is_crowded);
                (stay.is_for_edge(frames, for_edge) || crowded).then_some(Reader::Edge)
            }
        };
        stay.asked = better.is_some();
        better
    }
}

impl Stay {
    /// A port that has come just now.
    pub(super) fn new(guest_since: Option<Timestamp>) -> Stay {
        Stay { guest_since, ..Stay::default() }
    }

    /// Counts; says at the end of a window whether more than half of it was for the edge.
    fn is_for_edge(&mut self, frames: usize, for_edge: usize) -> bool {
        self.frames += frames as u32;
        self.for_edge += for_edge as u32;
        if self.frames < WINDOW {
            return false;
        }
        let most = self.for_edge > self.frames / 2;
        (self.frames, self.for_edge) = (0, 0);
        most
    }
}

/// Whether others have so much use for the CPU that a worker hardly gets it back.
///
/// To give it away for a moment costs a worker a microsecond, or ten while two programs talk by turns; where a stream keeps the CPUs busy it is
/// gone for a hundred and more, most of the time.
#[derive(Debug, Default)]
struct Crowding {
    window: Option<Instant>,
    lost: Duration,
    /// In the window before.
    was_crowded: bool,
}

impl Crowding {
    /// What is shorter is the ordinary course of things: programs that read, think and answer.
    const LONG: Duration = Duration::from_micros(50);
    const WINDOW: Duration = Duration::from_millis(50);
    /// A worker that has slept since knows nothing of how it is now.
    const LASTING: Duration = Duration::from_millis(200);

    fn is_crowded(&self) -> bool {
        self.was_crowded && self.window.is_some_and(|begin| begin.elapsed() < Self::LASTING)
    }

    fn note(&mut self, now: Instant, away: Duration) {
        let begin = *self.window.get_or_insert(now);
        if away >= Self::LONG {
            self.lost += away;
        }
        let length = (now + away).duration_since(begin);
        if length >= Self::WINDOW {
            *self = Crowding {
                window: Some(now + away),
                lost: Duration::ZERO,
                was_crowded: self.lost > length / 3,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Timestamp = Timestamp::from_secs(1);

    /// Turns of 32 frames, `for_edge` of each handed over, until somebody asks, `turns` at most.
    fn ask(placement: &mut Placement, stay: &mut Stay, for_edge: usize, turns: usize) -> Option<Reader> {
        (0..turns).find_map(|_| placement.judge(SECOND, stay, 32, for_edge))
    }

    #[test]
    fn a_port_that_speaks_to_the_edge_is_read_by_its_worker() {
        let mut placement = Placement::new(1, 2, 8);
        let mut stay = Stay::default();
        assert_eq!(ask(&mut placement, &mut stay, 12, 100), None, "most of it is for others");
        assert_eq!(ask(&mut placement, &mut stay, 20, 100), Some(Reader::Edge));
        assert_eq!(ask(&mut placement, &mut stay, 32, 100), None, "it was said");
        assert_eq!(ask(&mut placement, &mut Stay::default(), 32, 1), None, "too few to judge by");
    }

    #[test]
    fn guests_go_home_one_by_one() {
        let mut placement = Placement::new(0, 2, 2);
        let guest = || Stay::new(Some(SECOND));
        let (mut one, mut other, mut own) = (guest(), guest(), Stay::default());
        let mut at = |stay: &mut Stay, millis| placement.judge(Timestamp::from_millis(millis), stay, 1, 0);
        assert_eq!(at(&mut one, 2999), None);
        assert_eq!(at(&mut own, 9000), None, "it is at home");
        assert_eq!(at(&mut one, 9000), Some(Reader::Home));
        assert_eq!(at(&mut other, 9249), None);
        assert_eq!(at(&mut other, 9250), Some(Reader::Home));
        assert_eq!(at(&mut one, 19_000), None, "it was said");
    }

    #[test]
    fn a_crowded_worker_gives_its_ports_away_and_begins_anew_with_those_that_come_back() {
        let mut placement = Placement::new(1, 2, 2);
        let now = Instant::now();
        let spend_from = |placement: &mut Placement, start: Instant, away: Duration| {
            let crowding = placement.crowding.as_mut().unwrap();
            (0..2000).for_each(|turn| crowding.note(start + turn * 2 * away, away));
        };
        spend_from(&mut placement, now, Duration::from_micros(20));
        assert_eq!(ask(&mut placement, &mut Stay::default(), 0, 1), None, "they only take turns");
        placement.begin();
        spend_from(&mut placement, now, Duration::from_micros(120));
        assert_eq!(ask(&mut placement, &mut Stay::default(), 0, 1), Some(Reader::Edge));
        placement.begin();
        assert_eq!(ask(&mut placement, &mut Stay::default(), 0, 1), None);
        spend_from(&mut placement, now - Duration::from_secs(60), Duration::from_micros(120));
        assert_eq!(ask(&mut placement, &mut Stay::default(), 0, 1), None, "it was so a minute ago");
    }

    #[test]
    fn nobody_is_crowded_who_has_cpus_enough_and_who_is_alone_moves_nothing() {
        assert!(Placement::new(1, 2, 4).crowding.is_none());
        assert!(Placement::new(1, 2, 3).crowding.is_some());
        let mut alone = Placement::new(0, 1, 2);
        let mut stay = Stay::new(Some(Timestamp::ZERO));
        assert_eq!(alone.judge(Timestamp::from_secs(99), &mut stay, 1, 0), None);
    }
}
