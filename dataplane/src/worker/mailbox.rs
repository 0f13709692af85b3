//! Commands on their way from control to a worker.
//!
//! A command is queued first, and the bell rung then; the worker heeds the bell first, and empties the queue then. So no command is left
//! behind by a worker that falls asleep. Workers carry commands out in the order in which they were told, so that one that is
//! [settled](settle) has done all that it was told before.

use super::wake::Wake;
use crate::sync::Arc;
use crate::sync::channel::{Receiver, Sender, bounded, unbounded};

/// Control's end.
#[derive(Debug)]
pub(crate) struct Post<C> {
    queue: Sender<C>,
    wake: Arc<Wake>,
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Mailbox<C> {
    queue: Receiver<C>,
    wake: Arc<Wake>,
}

/// The worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Both ends, given what wakes the worker. Commands are few and control waits for most of them, so the queue needs no bound.
pub(crate) fn mailbox<C>(wake: Arc<Wake>) -> (Post<C>, Mailbox<C>) {
    let (sender, receiver) = unbounded();
    (Post { queue: sender, wake: Arc::clone(&wake) }, Mailbox { queue: receiver, wake })
}

impl<C> Post<C> {
    /// Tells the worker; it wakes up for it.
    pub(crate) fn tell(&self, command: C) -> Result<(), Gone> {
        self.queue.send(command).map_err(|_| Gone)?;
        self.wake.ring();
        Ok(())
    }
}

impl<C> Mailbox<C> {
    /// What makes the worker look here.
    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// The next command. The bell must have been heeded before.
    pub(crate) fn next(&self) -> Option<C> {
        self.queue.try_recv().ok()
    }
}

/// Waits until these workers have carried out everything so far. `ack` makes the command that a worker answers when it comes to it.
pub(crate) fn settle<'a, C: 'a>(
    workers: impl ExactSizeIterator<Item = &'a Post<C>>,
    ack: impl Fn(Sender<()>) -> C,
) -> Result<(), Gone> {
    let count = workers.len();
    let (done, all_done) = bounded(count);
    for worker in workers {
        worker.tell(ack(done.clone()))?;
    }
    drop(done);
    (0..count).try_for_each(|_| all_done.recv()).map_err(|_| Gone)
}
