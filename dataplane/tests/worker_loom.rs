//! Every interleaving of what control and workers tell one another, by loom: commands and the bell that goes with them, frames that are
//! handed over to a worker that may be asleep, and the last frames of a port that is removed.
//!
//! The sources are taken in here a second time, with loom's primitives in the place of the processor's. What the queues are made of is
//! another's work and not looked into: they stand here as a queue that promises no more than what is relied on (see [`sync::channel`]).
//! `PONTOON_FULL=1` allows three preemptions in place of two, and more frames.

// A test's way to fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../src/worker/doorbell.rs"]
mod doorbell;
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../src/fdb.rs"]
mod fdb;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/worker/mailbox.rs"]
mod mailbox;

/// What the sources find under `crate::`.
mod sync {
    pub(crate) use loom::sync::Arc;

    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

        /// All stores to an atomic have one order, and an exchange is next to the store that it has read. Loom does not know of a store
        /// by another thread that it comes behind such an exchange, and would let it be overlooked afterwards, by which models of three
        /// frames and three preemptions fail. So a store is an exchange here, too.
        #[derive(Debug)]
        pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

        impl AtomicBool {
            pub(crate) fn new(value: bool) -> Self {
                Self(loom::sync::atomic::AtomicBool::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> bool {
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: bool, _: Ordering) {
                self.0.swap(value, Ordering::Release);
            }

            pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
                self.0.swap(value, order)
            }
        }
    }

    /// A queue that promises this: what was queued comes out in order and is seen whole, and nothing more. In particular, whether there is
    /// something is asked without a lock, and may be answered by what was a while ago.
    pub(crate) mod channel {
        use loom::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
        use loom::sync::{Arc, Condvar, Mutex};

        /// More than any model queues.
        const ROOM: usize = 4;

        #[derive(Debug)]
        struct Queue<T> {
            slots: [Mutex<Option<T>>; ROOM],
            /// How many were queued; written by senders, which take turns.
            queued: AtomicUsize,
            /// How many were taken; written by the receiver.
            taken: AtomicUsize,
            turn: Mutex<()>,
            /// For receivers that wait.
            more: Condvar,
        }

        #[derive(Debug)]
        pub(crate) struct Sender<T>(Arc<Queue<T>>);

        #[derive(Debug)]
        pub(crate) struct Receiver<T>(Arc<Queue<T>>);

        pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
            let queue = Arc::new(Queue {
                slots: core::array::from_fn(|_| Mutex::new(None)),
                queued: AtomicUsize::new(0),
                taken: AtomicUsize::new(0),
                turn: Mutex::new(()),
                more: Condvar::new(),
            });
            (Sender(queue.clone()), Receiver(queue))
        }

        pub(crate) fn bounded<T>(_: usize) -> (Sender<T>, Receiver<T>) {
            unbounded()
        }

        impl<T> Clone for Sender<T> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<T> Sender<T> {
            pub(crate) fn send(&self, value: T) -> Result<(), T> {
                let _turn = self.0.turn.lock().unwrap();
                let place = self.0.queued.load(Relaxed);
                *self.0.slots[place].lock().unwrap() = Some(value);
                self.0.queued.store(place + 1, Release);
                self.0.more.notify_all();
                Ok(())
            }
        }

        impl<T> Receiver<T> {
            pub(crate) fn is_empty(&self) -> bool {
                self.0.queued.load(Acquire) == self.0.taken.load(Relaxed)
            }

            pub(crate) fn try_recv(&self) -> Result<T, ()> {
                if self.is_empty() {
                    return Err(());
                }
                let place = self.0.taken.load(Relaxed);
                self.0.taken.store(place + 1, Relaxed);
                self.0.slots[place].lock().unwrap().take().ok_or(())
            }

            /// Waits for the next one.
            pub(crate) fn recv(&self) -> Result<T, ()> {
                let mut turn = self.0.turn.lock().unwrap();
                loop {
                    match self.try_recv() {
                        Ok(value) => return Ok(value),
                        Err(()) => turn = self.0.more.wait(turn).unwrap(),
                    }
                }
            }
        }
    }
}
mod wake {
    use loom::sync::{Condvar, Mutex};

    /// An eventfd, with the kernel's lock.
    #[derive(Debug)]
    pub(crate) struct Wake {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Wake {
        pub(crate) fn new() -> Wake {
            Wake { rung: Mutex::new(false), changed: Condvar::new() }
        }

        pub(crate) fn ring(&self) {
            *self.rung.lock().unwrap() = true;
            self.changed.notify_all();
        }

        pub(crate) fn heed(&self) -> bool {
            core::mem::take(&mut *self.rung.lock().unwrap())
        }

        /// What epoll_wait(2) does: sleeps until somebody has rung. Loom finds out when nobody ever does.
        pub(crate) fn sleep(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.changed.wait(rung).unwrap();
            }
        }
    }
}
mod explored;

use explored::{addr, explore, full, id, random, sys, time};

use addr::MacAddr;
use doorbell::Doorbell;
use fdb::{Fdb, FdbConfig, Stickiness};
use id::PortId;
use mailbox::{Mailbox, Post, mailbox, settle};
use sync::Arc;
use sync::channel::{Receiver, Sender, unbounded};
use time::Timestamp;
use wake::Wake;

const K: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const A: PortId = PortId(1);
const NOW: Timestamp = Timestamp::from_secs(1000);

/// What control tells a worker here: the commands that matter to the models.
enum Command {
    /// Decide by this from now on: whether there is port A.
    Publish(Arc<bool>),
    Ack(Sender<()>),
    Stop,
}

/// A worker between two batches, as `Worker::poll` has it: sleeps, heeds the bell, obeys. Before it sleeps it does `work` by what it
/// was last told.
fn serve(mailbox: &Mailbox<Command>, mut work: impl FnMut(bool)) {
    let mut snapshot = Arc::new(false);
    loop {
        work(*snapshot);
        mailbox.wake().sleep();
        mailbox.wake().heed();
        while let Some(command) = mailbox.next() {
            match command {
                Command::Publish(next) => snapshot = next,
                Command::Ack(done) => done.send(()).unwrap(),
                Command::Stop => return,
            }
        }
    }
}

fn started(work: impl FnMut(bool) + 'static) -> (Post<Command>, loom::thread::JoinHandle<()>) {
    let (post, mailbox) = mailbox(Arc::new(Wake::new()));
    let thread = loom::thread::spawn(move || serve(&mailbox, work));
    (post, thread)
}

#[test]
fn no_command_is_left_behind_by_a_worker_that_falls_asleep() {
    explore(|| {
        let (post, thread) = started(|_| {});
        settle([&post].into_iter(), Command::Ack).unwrap();
        post.tell(Command::Stop).unwrap();
        // A command that nobody wakes it for would leave it asleep, which loom finds.
        thread.join().unwrap();
    });
}

#[test]
fn two_who_command_one_worker_are_both_heard() {
    explore(|| {
        let (post, thread) = started(|_| {});
        let post = Arc::new(post);
        let other = post.clone();
        let teller = loom::thread::spawn(move || other.tell(Command::Publish(Arc::new(true))).unwrap());
        settle([&*post].into_iter(), Command::Ack).unwrap();
        teller.join().unwrap();
        post.tell(Command::Stop).unwrap();
        thread.join().unwrap();
    });
}

/// As `Engine::remove_port`: publish, settle, flush.
#[test]
fn nothing_is_learned_from_a_port_that_every_worker_has_let_go() {
    explore(|| {
        let fdb =
            Arc::new(Fdb::with_seed(FdbConfig { capacity: 2, port_share: 2, ..FdbConfig::default() }, 1));
        let table = fdb.clone();
        let (post, thread) = started(move |has_port| {
            if has_port {
                table.learn(K, A, Stickiness::Free, NOW);
            }
        });
        let publish = |has_port| post.tell(Command::Publish(Arc::new(has_port))).unwrap();
        publish(true);
        publish(false);
        settle([&post].into_iter(), Command::Ack).unwrap();
        fdb.flush_port(A);
        post.tell(Command::Stop).unwrap();
        thread.join().unwrap();
        assert_eq!(fdb.lookup(K, NOW), None, "a worker has learned from it since");
    });
}

/// The edge's worker, as `Worker::wait_for_work` has it, until it has so many frames.
fn take(queue: &Receiver<usize>, doorbell: &Doorbell, wake: &Wake, count: usize) {
    let mut taken = 0;
    loop {
        while let Ok(frame) = queue.try_recv() {
            assert_eq!(frame, taken, "frames keep their order");
            taken += 1;
        }
        if taken == count {
            return;
        }
        if doorbell.fall_asleep(|| !queue.is_empty()) {
            wake.sleep();
            wake.heed();
        }
        doorbell.wake_up();
    }
}

#[test]
fn no_frame_is_left_behind_by_a_worker_that_falls_asleep() {
    explore(|| {
        let count = if full() { 3 } else { 2 };
        let wake = Arc::new(Wake::new());
        let doorbell = Arc::new(Doorbell::new(wake.clone()));
        let (sender, receiver) = unbounded();
        let giver = doorbell.clone();
        let thread = loom::thread::spawn(move || {
            for frame in 0..count {
                sender.send(frame).unwrap();
                giver.ring();
            }
        });
        take(&receiver, &doorbell, &wake, count);
        thread.join().unwrap();
    });
}
