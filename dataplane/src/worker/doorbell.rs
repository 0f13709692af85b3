//! How the edge's worker is told of frames that others hand over: only when it sleeps, for ringing costs a system call.

use super::wake::Wake;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

/// Wakes the edge's worker, but only when it sleeps. Of the queues nothing is relied on but that a frame that is seen is seen whole:
/// the fences of both sides make one of them see the other. Either the sleeper finds the frame, or the giver finds it asleep.
#[derive(Debug)]
pub(super) struct Doorbell {
    asleep: AtomicBool,
    wake: Arc<Wake>,
}

impl Doorbell {
    pub(super) fn new(wake: Arc<Wake>) -> Doorbell {
        Doorbell { asleep: AtomicBool::new(false), wake }
    }

    /// Called by a giver after a frame was queued.
    #[inline]
    pub(super) fn ring(&self) {
        fence(SeqCst);
        if self.asleep.load(Relaxed) && self.asleep.swap(false, SeqCst) {
            self.wake.ring();
        }
    }

    /// From now on givers wake the worker up. Returns whether it may sleep: nothing has come in between, as `has_frames` says.
    pub(super) fn fall_asleep(&self, has_frames: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, SeqCst);
        fence(SeqCst);
        !has_frames()
    }

    /// The worker looks at its queues by itself again.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, SeqCst);
    }
}
