//! Frames on their way from other workers to the one that owns the edge.
//!
//! Each of the other workers has a queue of its own, so that none takes another's room and the frames of a port keep their
//! order. A frame is handed over in the very buffer that it was read into; the giver goes on with one that came back.
//! At most [`DEPTH`] buffers of 64 KiB are on their way for a worker, which bounds frames and bytes alike: 16 MiB when all were
//! super-frames once. They are made when first needed and used again from then on. What does not fit is dropped by the giver,
//! counted as [`EdgeBusy`](crate::verdict::DropReason::EdgeBusy): waiting would hold up frames that are not for the edge.

use std::mem;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::doorbell::Doorbell;
use super::wake::Wake;
use crate::id::PortId;
use crate::port::buffer::Buffer;

/// Buffers of one worker that may be on their way: half a millisecond of small frames at half a million a second, which is longer
/// than the edge's worker is away at its other ports, and eight batches.
pub(super) const DEPTH: usize = 256;

/// A frame on its way.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) ingress: PortId,
    pub(super) buffer: Buffer,
}

/// A worker's end of the queues.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// It is the edge's worker.
    Take(Taker),
    /// It is one of the others.
    Give(Giver),
}

/// Every worker's end, given what wakes it; the edge's worker is the first.
pub(crate) fn hand_overs(wakes: &[Arc<Wake>]) -> Vec<HandOver> {
    let Some((first, others)) = wakes.split_first() else { return Vec::new() };
    let mut taker = Taker::new(Arc::new(Doorbell::new(Arc::clone(first))));
    let givers: Vec<_> = others.iter().map(|_| HandOver::Give(taker.giver())).collect();
    std::iter::once(HandOver::Take(taker)).chain(givers).collect()
}

/// The other workers' end of a queue.
#[derive(Debug)]
pub(crate) struct Giver {
    queue: Sender<Handed>,
    used: Receiver<Buffer>,
    /// Buffers made so far.
    made: usize,
    doorbell: Arc<Doorbell>,
}

/// The end of the edge's worker: one queue for each of the others.
#[derive(Debug)]
pub(crate) struct Taker {
    queues: Vec<(Receiver<Handed>, Sender<Buffer>)>,
    doorbell: Arc<Doorbell>,
}

impl Taker {
    /// No queue yet.
    fn new(doorbell: Arc<Doorbell>) -> Taker {
        Taker { queues: Vec::new(), doorbell }
    }

    /// The other end of one more queue.
    fn giver(&mut self) -> Giver {
        let (queue, from_giver) = bounded(DEPTH);
        let (to_giver, used) = bounded(DEPTH);
        self.queues.push((from_giver, to_giver));
        Giver { queue, used, made: 0, doorbell: Arc::clone(&self.doorbell) }
    }

    /// How many queues there are.
    pub(super) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// The next frame of one queue.
    #[inline]
    pub(super) fn take(&self, queue: usize) -> Option<Handed> {
        self.queues.get(queue)?.0.try_recv().ok()
    }

    /// The giver may have the buffer of a frame again.
    #[inline]
    pub(super) fn give_back(&self, queue: usize, buffer: Buffer) {
        if let Some((_, used)) = self.queues.get(queue) {
            // There is room for every buffer; only a giver that has ended does not take it.
            let _ = used.try_send(buffer);
        }
    }

    /// Whether some queue has frames.
    pub(super) fn has_frames(&self) -> bool {
        self.queues.iter().any(|(queue, _)| !queue.is_empty())
    }

    /// From now on givers wake this worker up. Returns whether it may sleep: nothing has come in between.
    pub(super) fn fall_asleep(&self) -> bool {
        self.queues.is_empty() || self.doorbell.fall_asleep(|| self.has_frames())
    }

    /// The worker looks at its queues by itself again.
    pub(super) fn wake_up(&self) {
        if !self.queues.is_empty() {
            self.doorbell.wake_up();
        }
    }
}

impl Giver {
    /// Hands the frame in `buffer` over and leaves another buffer in its place. Returns whether there was room; without room
    /// the frame stays where it is.
    #[inline]
    pub(super) fn give(&mut self, ingress: PortId, buffer: &mut Buffer) -> bool {
        let Some(spare) = self.spare() else { return false };
        let handed = Handed { ingress, buffer: mem::replace(buffer, spare) };
        // There is room for every buffer; only a taker that has ended does not take it.
        if self.queue.try_send(handed).is_err() {
            return false;
        }
        self.doorbell.ring();
        true
    }

    #[inline]
    fn spare(&mut self) -> Option<Buffer> {
        if let Ok(buffer) = self.used.try_recv() {
            return Some(buffer);
        }
        (self.made < DEPTH).then(|| {
            self.made += 1;
            Buffer::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn queue() -> (Taker, Giver, Arc<Wake>) {
        let wake = Arc::new(Wake::new().unwrap());
        let mut taker = Taker::new(Arc::new(Doorbell::new(Arc::clone(&wake))));
        let giver = taker.giver();
        (taker, giver, wake)
    }

    #[test]
    fn frames_keep_their_order_and_the_queue_its_bound() {
        let (taker, mut giver, _wake) = queue();
        let mut buffer = Buffer::new();
        for round in 0..3u16 {
            for number in 0..DEPTH as u16 {
                buffer.load(&Frame::plain(&[number.to_be_bytes(), round.to_be_bytes()].concat()));
                assert!(giver.give(PortId(number), &mut buffer));
            }
            buffer.load(&Frame::plain(b"too much"));
            assert!(!giver.give(PortId(0), &mut buffer), "{DEPTH} buffers are on their way");
            assert_eq!(buffer.frame().bytes, b"too much", "it stays with the giver");
            for number in 0..DEPTH as u16 {
                let handed = taker.take(0).unwrap();
                assert_eq!(handed.ingress, PortId(number));
                assert_eq!(handed.buffer.frame().bytes, [number.to_be_bytes(), round.to_be_bytes()].concat());
                taker.give_back(0, handed.buffer);
            }
            assert!(taker.take(0).is_none());
        }
        assert_eq!(giver.made, DEPTH, "buffers are used again");
    }

    #[test]
    fn who_is_awake_is_not_woken_and_who_sleeps_is_woken_once() {
        let (taker, mut giver, wake) = queue();
        let mut buffer = Buffer::new();
        giver.give(PortId(0), &mut buffer);
        assert!(!wake.heed());
        assert!(!taker.fall_asleep(), "a frame waits");
        taker.wake_up();
        taker.take(0).unwrap();
        assert!(taker.fall_asleep());
        giver.give(PortId(0), &mut buffer);
        assert!(wake.heed());
        giver.give(PortId(0), &mut buffer);
        assert!(!wake.heed(), "it was woken already");
    }
}
