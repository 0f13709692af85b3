//! Links: they delay, lose, duplicate and reorder what they carry, and can be taken down.

use std::rc::Rc;

use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::{Frame, PortId};

use super::agenda::{MILLI, Micros};
use crate::random::Random;

/// A frame on its way, with what only the simulation knows of it.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) bytes: Rc<[u8]>,
    pub(super) offload: Offload,
    pub(super) origin: Origin,
    /// A switch has put headers of its own to it: it came from a gateway or an uplink.
    pub(super) routed: bool,
}

impl Wire {
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes, offload: self.offload }
    }
}

/// Who made a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Host(usize),
    Switch(usize),
}

/// What is at an end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Host(usize),
    Port(usize, PortId),
}

/// A link between two ends.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [End; 2],
    pub(super) quality: Quality,
    pub(super) up: bool,
    /// Frames get lost this often, in thousandths, until then.
    pub(super) trouble: Option<(usize, Micros)>,
    /// When the last frame arrives that keeps its place, in each direction.
    last: [Micros; 2],
}

/// How good a link is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quality {
    pub(super) delay: Micros,
    pub(super) jitter: Micros,
    /// Thousandths.
    pub(super) loss: usize,
    /// Thousandths.
    pub(super) duplication: usize,
    /// Frames that later ones overtake, in thousandths.
    pub(super) reordering: usize,
}

impl Quality {
    /// One link in three is a perfect one.
    pub(super) fn any(random: &mut Random) -> Quality {
        let bad = usize::from(!random.chance(333, 1000));
        let mut up_to = |most: u64| random.within(0, most) as usize * bad;
        let (loss, duplication, reordering) = (up_to(25), up_to(15), up_to(30));
        Quality { delay: random.within(5, 400), jitter: random.within(0, 100), loss, duplication, reordering }
    }
}

impl Link {
    pub(super) fn new(ends: [End; 2], quality: Quality) -> Link {
        Link { ends, quality, up: true, trouble: None, last: [0; 2] }
    }

    /// When a frame that is sent `now` from end number `from` arrives at the other: never, once or twice.
    pub(super) fn carry(&mut self, now: Micros, from: usize, random: &mut Random) -> [Option<Micros>; 2] {
        if !self.up {
            return [None; 2];
        }
        let Quality { delay, jitter, loss, duplication, reordering } = self.quality;
        let trouble = self.trouble.filter(|(_, until)| now < *until).map_or(0, |(loss, _)| loss);
        if random.chance(loss.max(trouble), 1000) {
            return [None; 2];
        }
        let mut arrival = now + delay + random.within(0, jitter);
        if random.chance(reordering, 1000) {
            arrival += random.within(1, 5) * MILLI;
        } else {
            arrival = arrival.max(self.last[from]);
            self.last[from] = arrival;
        }
        let again = random.chance(duplication, 1000).then(|| arrival + random.within(0, 2 * MILLI));
        [Some(arrival), again]
    }
}
