//! Storms: how much of what is copied to everybody one port may send, and how it is noticed that such frames go in a circle.
//!
//! Only frames that are about to be flooded come here: to a known station none of this costs anything. Each worker has a bucket for
//! every port and cause, for a port is read by one worker; with no limit set nothing is counted.
//!
//! # Limits
//!
//! Frames a second and port, at most one second's worth at once; a super-frame is one. Broadcasts have a limit unless told otherwise,
//! far above what ARP, DHCP and discovery of a thousand stations come to, and far below what goes in a circle.
//!
//! # Loops
//!
//! A frame that was flooded a moment ago and comes in again, byte for byte, by another port has found a way around: two ports lead to
//! the same link. The network remembers the frames that it flooded last ([`Flooded`]), and each port counts those that come back by it.
//! [`RETURNS`] of them in one second are a loop: what else the port would flood in that second is dropped, and control is told, which
//! blocks the port ([`Place::Blocked`](crate::network::Place::Blocked)). Spanning trees are not spoken: a loop behind a kernel's bridge or a
//! switch that does is theirs to open, for their frames pass (01:80:c2:00:00:00 is flooded).
//!
//! A station cannot have its neighbour's port blocked: frames with another's source do not pass the guard, and which place of the table
//! a frame has is a secret. On ports without guard whoever hears a frame can send it again, which counts on his own port.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::addr::MacAddr;
use crate::id::{MAX_PORTS, PortId};
use crate::network::{Snapshot, StormLimits};
use crate::random::{self, BytesHasher};
use crate::time::Timestamp;
use crate::verdict::{DropReason, FloodCause};

/// Frames that come back by a port in one second and mean that it is in a loop. One of a storm's would do, but for a station that
/// moves, or that is heard by two ways for the moment in which somebody plugs cables.
pub const RETURNS: u32 = 32;

/// Something that goes in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loop {
    /// The port that flooded frames come back by.
    pub port: PortId,
    /// The port that the last of them had come in by before.
    pub other: PortId,
    /// Who sent it.
    pub station: MacAddr,
}

/// One worker's buckets, and its counts of frames that came back.
#[derive(Debug, Default, Clone)]
pub(crate) struct Storm {
    ports: Vec<PortStorm>,
    /// Not yet told.
    seen: Option<Loop>,
}

/// What a port has flooded lately.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PortStorm {
    /// By cause: when all that has passed so far is paid for at the limit's rate, in nanoseconds since the clock's start.
    paid_at_ns: [u64; 3],
    /// The second in which frames were counted that came back.
    second: u64,
    returned: u32,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Storm {
    /// Ports that come anew start with full buckets.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot) {
        self.ports.resize(snapshot.ports.len().min(MAX_PORTS), PortStorm::default());
        for (port, storm) in snapshot.ports.iter().zip(&mut self.ports) {
            if port.is_none() {
                *storm = PortStorm::default();
            }
        }
    }

    /// What `port` has flooded lately.
    pub(crate) fn of(&self, port: PortId) -> PortStorm {
        self.ports.get(port.index()).copied().unwrap_or_default()
    }

    /// What `port` has flooded lately on the worker that read it until now.
    pub(crate) fn go_on(&mut self, port: PortId, floods: PortStorm) {
        if let Some(storm) = self.ports.get_mut(port.index()) {
            *storm = floods;
        }
    }

    /// A copy that a frame may change that does not really come. What its port has flooded is `floods` where another worker reads the
    /// port and knows that.
    pub(crate) fn rehearsal(&self, port: PortId, floods: Option<PortStorm>) -> Storm {
        let mut copy = self.clone();
        if let Some(floods) = floods {
            copy.go_on(port, floods);
        }
        copy
    }

    /// Whether one more frame may be flooded for this cause; if so it is taken from the bucket.
    ///
    /// # Errors
    /// The reason for dropping it.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        port: PortId,
        cause: FloodCause,
        limits: &StormLimits,
    ) -> Result<(), DropReason> {
        let (place, per_second, reason) = match cause {
            FloodCause::Broadcast => (0, limits.broadcast, DropReason::BroadcastStorm),
            FloodCause::Multicast => (1, limits.multicast, DropReason::MulticastStorm),
            FloodCause::UnknownUnicast => (2, limits.unknown_unicast, DropReason::UnicastStorm),
        };
        let Some(cost_ns) = SECOND_NS.checked_div(per_second.into()) else { return Ok(()) };
        let Some(storm) = self.ports.get_mut(port.index()) else { return Ok(()) };
        let now_ns = now.as_millis().saturating_mul(1_000_000);
        let start_ns = now_ns.max(storm.paid_at_ns[place]);
        if start_ns - now_ns + cost_ns > SECOND_NS {
            return Err(reason);
        }
        storm.paid_at_ns[place] = start_ns + cost_ns;
        Ok(())
    }

    /// Whether so much came back by the port in this second that nothing of it is flooded.
    pub(crate) fn is_looping(&self, now: Timestamp, port: PortId) -> bool {
        let storm = self.ports.get(port.index());
        storm.is_some_and(|storm| storm.second == second(now) && storm.returned >= RETURNS)
    }

    /// A frame came back by `found.port`. The one that makes a loop of it is told.
    pub(crate) fn came_back(&mut self, now: Timestamp, found: Loop) {
        let Some(storm) = self.ports.get_mut(found.port.index()) else { return };
        if storm.second != second(now) {
            (storm.second, storm.returned) = (second(now), 0);
        }
        storm.returned += 1;
        if storm.returned == RETURNS {
            self.seen = Some(found);
        }
    }

    /// A loop that was noticed and has not been told yet.
    pub(crate) fn take_seen(&mut self) -> Option<Loop> {
        self.seen.take()
    }
}

fn second(now: Timestamp) -> u64 {
    now.as_millis() / 1000
}

/// How many flooded frames are remembered: more of them in a second, and the oldest are forgotten.
const REMEMBERED: usize = 1024;
/// How much of a frame tells it from others.
const LOOKED_AT: usize = 128;
/// How long a frame is remembered, in units of 64 ms.
const MEMORY: u64 = 16;

/// The frames that a network flooded last. All workers share it; each place is one word, and who comes later has it.
///
/// A word is 40 bits of the frame's hash, 12 bits of its port and 12 bits of time in units of 64 ms.
#[derive(Debug)]
pub struct Flooded {
    words: Box<[AtomicU64]>,
    hasher: BytesHasher,
}

const _: () = assert!(MAX_PORTS <= 1 << 12);

impl Flooded {
    /// A frame came in by `port` and is to be flooded. Returns the port that the very same came in by a moment ago, if that was
    /// another one.
    pub(crate) fn note(&self, now: Timestamp, port: PortId, frame: &[u8]) -> Option<PortId> {
        let (place, word) = self.place(now, port, frame)?;
        let before = place.load(Relaxed);
        place.store(word, Relaxed);
        came_in_by(before, word).filter(|&other| other != port)
    }

    /// As [`Flooded::note`], of a frame that does not really come: it is not remembered.
    pub(crate) fn rehearse(&self, now: Timestamp, port: PortId, frame: &[u8]) -> Option<PortId> {
        let (place, word) = self.place(now, port, frame)?;
        came_in_by(place.load(Relaxed), word).filter(|&other| other != port)
    }

    /// Where a frame is remembered, and as what.
    fn place(&self, now: Timestamp, port: PortId, frame: &[u8]) -> Option<(&AtomicU64, u64)> {
        let hash = self.hasher.hash(frame, LOOKED_AT);
        let time = (now.as_millis() >> 6) & 0xfff;
        let word = hash & !0xff_ffff | u64::from(port.0 & 0xfff) << 12 | time;
        Some((self.words.get(hash as usize % REMEMBERED)?, word))
    }
}

/// The port that the frame of `before` came in by, if `word` is of the same frame a moment later.
fn came_in_by(before: u64, word: u64) -> Option<PortId> {
    let is_same = before != 0 && (before ^ word) >> 24 == 0;
    let is_fresh = word.wrapping_sub(before) & 0xfff <= MEMORY;
    (is_same && is_fresh).then_some(PortId((before >> 12) as u16 & 0xfff))
}

impl Default for Flooded {
    fn default() -> Self {
        let words = (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect();
        Self { words, hasher: BytesHasher::new(random::seed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open_port, snapshot};

    fn storm() -> Storm {
        let mut storm = Storm::default();
        storm.adopt(&snapshot(vec![open_port(0), open_port(1)]));
        storm
    }

    fn passes(storm: &mut Storm, millis: u64, port: u16, limits: &StormLimits) -> usize {
        let now = Timestamp::from_millis(millis);
        let mut take = || storm.take(now, PortId(port), FloodCause::Broadcast, limits).is_ok();
        (0..5000).take_while(|_| take()).count()
    }

    #[test]
    fn a_second_of_frames_passes_at_once_and_then_the_rate() {
        let limits = StormLimits { broadcast: 1000, ..StormLimits::NONE };
        let mut storm = storm();
        assert_eq!(passes(&mut storm, 5, 1, &limits), 1000);
        assert_eq!(passes(&mut storm, 5, 1, &limits), 0);
        assert_eq!(passes(&mut storm, 15, 1, &limits), 10, "10 ms later");
        assert_eq!(passes(&mut storm, 15, 0, &limits), 1000, "another port has its own");
        assert_eq!(passes(&mut storm, 100_000, 1, &limits), 1000, "no more than that is saved up");
        let multicast =
            storm.take(Timestamp::from_millis(100_000), PortId(1), FloodCause::Multicast, &limits);
        assert_eq!(multicast, Ok(()), "another cause has its own");
        assert_eq!(passes(&mut storm, 100_000, 1, &StormLimits::NONE), 5000, "no limit");
    }

    #[test]
    fn a_lower_limit_holds_at_once_and_a_higher_one_too() {
        let mut storm = storm();
        let limits = |broadcast| StormLimits { broadcast, ..StormLimits::NONE };
        assert_eq!(passes(&mut storm, 10_000, 1, &limits(1000)), 1000);
        assert_eq!(passes(&mut storm, 10_500, 1, &limits(10)), 5);
        assert_eq!(passes(&mut storm, 11_500, 1, &limits(2000)), 2000);
    }

    #[test]
    fn a_frame_that_comes_by_another_port_has_come_back() {
        let flooded = Flooded::default();
        let frame = [7u8; 60];
        let at = Timestamp::from_millis;
        assert_eq!(flooded.note(at(0), PortId(1), &frame), None);
        assert_eq!(flooded.note(at(1), PortId(1), &frame), None, "a station repeats itself");
        assert_eq!(flooded.note(at(2), PortId(2), &frame), Some(PortId(1)));
        assert_eq!(flooded.note(at(3), PortId(1), &frame), Some(PortId(2)));
        assert_eq!(flooded.note(at(4), PortId(3), &[7u8; 61]), None, "another frame");
        assert_eq!(flooded.note(at(3000), PortId(2), &frame), None, "that is long ago");
    }

    #[test]
    fn enough_that_came_back_is_a_loop_for_a_second() {
        let mut storm = storm();
        let found = Loop { port: PortId(1), other: PortId(0), station: MacAddr([2, 0, 0, 0, 0, 9]) };
        let now = Timestamp::from_millis(5400);
        (1..RETURNS).for_each(|_| storm.came_back(now, found));
        assert!(!storm.is_looping(now, PortId(1)) && storm.take_seen().is_none());
        storm.came_back(now, found);
        storm.came_back(now, found);
        assert!(storm.is_looping(now, PortId(1)) && !storm.is_looping(now, PortId(0)));
        assert_eq!((storm.take_seen(), storm.take_seen()), (Some(found), None), "told once");
        let later = Timestamp::from_millis(6000);
        assert!(!storm.is_looping(later, PortId(1)));
        storm.came_back(later, found);
        assert!(!storm.is_looping(later, PortId(1)), "counted anew");
    }
}
