//! Every interleaving of a few threads on a very small forwarding table, by loom.
//!
//! The table's source is taken in here a second time, with loom's atomics in the place of the processor's.
//! The usual run bounds how often a thread may be preempted; `PONTOON_FULL=1` allows three
//! preemptions in place of two, and larger tables. (Without any bound a model takes hours.)

#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../src/fdb.rs"]
mod fdb;

/// What the table's source finds under `crate::`.
mod sync {
    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};

        /// Loom remembers only the last load of an atomic, by whichever thread: a writer that loads before it
        /// stores hides the reader before it, and their other orders are never tried. In models that ask for
        /// it, a write, and a load by a watched thread, is preceded by an exchange of another word, which
        /// loom does not overlook. That is relaxed: what a load may see of the atomic itself stays as it was.
        #[derive(Debug)]
        pub(crate) struct AtomicU64 {
            turn: loom::sync::atomic::AtomicU64,
            value: loom::sync::atomic::AtomicU64,
        }

        impl AtomicU64 {
            pub(crate) fn new(value: u64) -> Self {
                let [turn, value] = [0, value].map(loom::sync::atomic::AtomicU64::new);
                Self { turn, value }
            }

            pub(crate) fn load(&self, order: Ordering) -> u64 {
                if crate::is_watched() { self.take_turn().load(order) } else { self.value.load(order) }
            }

            pub(crate) fn store(&self, value: u64, order: Ordering) {
                self.written().store(value, order);
            }

            pub(crate) fn compare_exchange(
                &self,
                old: u64,
                new: u64,
                success: Ordering,
                failure: Ordering,
            ) -> Result<u64, u64> {
                self.written().compare_exchange(old, new, success, failure)
            }

            fn written(&self) -> &loom::sync::atomic::AtomicU64 {
                if crate::has_watched() { self.take_turn() } else { &self.value }
            }

            fn take_turn(&self) -> &loom::sync::atomic::AtomicU64 {
                self.turn.swap(0, Ordering::Relaxed);
                &self.value
            }
        }
    }
}
mod explored;

use core::cell::Cell;

use explored::{addr, explore, full, id, random, sys, time};

use addr::MacAddr;
use fdb::{Fdb, FdbConfig, Hint, Learned, Stickiness};
use id::PortId;
use loom::sync::Arc;
use time::Timestamp;

const K: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const L: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const A: PortId = PortId(1);
const B: PortId = PortId(2);
const FREE: Stickiness = Stickiness::Free;
const NOW: Timestamp = Timestamp::from_secs(1000);

/// One bucket for a capacity of one or two, two buckets for four.
fn table(capacity: usize) -> Arc<Fdb> {
    Arc::new(Fdb::with_seed(FdbConfig { capacity, port_share: capacity, ..FdbConfig::default() }, 1))
}

std::thread_local! {
    // All threads of a model run on the one thread of its test.
    static HAS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

loom::thread_local! {
    static WATCHED: Cell<bool> = Cell::new(false);
}

/// Does `act` in such a way that every one of its loads is tried before and after other threads' writes.
fn watched<T>(act: impl FnOnce() -> T) -> T {
    WATCHED.with(|watched| watched.set(true));
    let done = act();
    WATCHED.with(|watched| watched.set(false));
    done
}

fn is_watched() -> bool {
    WATCHED.with(Cell::get)
}

fn has_watched() -> bool {
    HAS_WATCHED.with(Cell::get)
}

/// One bucket, and in the full run two.
fn capacities() -> impl Iterator<Item = usize> {
    [2, 4].into_iter().take(if full() { 2 } else { 1 })
}

/// Explores a model that has [`watched`] acts.
fn explore_watched(test: impl Fn() + Send + Sync + 'static) {
    HAS_WATCHED.with(|has| has.set(true));
    explore(test);
}

/// What holds of any table that nobody is changing.
fn check(fdb: &Fdb) {
    let entries = fdb.held_entries(NOW);
    assert!(
        entries.windows(2).all(|pair| pair[0].mac < pair[1].mac),
        "an address is there twice: {entries:?}"
    );
    assert_eq!(fdb.stats().entries, entries.len());
    assert!(entries.len() <= fdb.stats().capacity);
    for port in [A, B] {
        let behind = entries.iter().filter(|entry| entry.port == port).count();
        assert_eq!(fdb.port_entries(port) as usize, behind, "entries behind {port}");
    }
}

#[test]
fn two_threads_learn_one_new_address() {
    for capacity in capacities() {
        explore(move || {
            let fdb = table(capacity);
            let other = fdb.clone();
            let thread = loom::thread::spawn(move || other.learn(K, B, FREE, NOW));
            let mine = fdb.learn(K, A, FREE, NOW);
            let theirs = thread.join().unwrap();
            check(&fdb);
            let port = fdb.lookup(K, NOW);
            assert!(port == Some(A) || port == Some(B), "lost: {mine:?} and {theirs:?}");
            assert_eq!(fdb.held_entries(NOW).len(), 1);
        });
    }
}

#[test]
fn an_address_is_learned_while_it_is_removed() {
    explore_watched(|| {
        let fdb = table(2);
        fdb.learn(K, A, FREE, NOW);
        let other = fdb.clone();
        let thread = loom::thread::spawn(move || other.remove(K));
        let learned = watched(|| fdb.learn(K, B, FREE, NOW));
        assert!(thread.join().unwrap());
        check(&fdb);
        match fdb.lookup(K, NOW) {
            None => assert_eq!(learned, Learned::Moved { from: A }),
            port => assert_eq!(port, Some(B)),
        }
    });
}

#[test]
fn an_address_is_learned_while_its_port_is_flushed() {
    explore(|| {
        let fdb = table(2);
        fdb.learn(K, A, FREE, NOW);
        let other = fdb.clone();
        let thread = loom::thread::spawn(move || other.flush_port(A));
        fdb.learn(L, A, FREE, NOW);
        assert!((1..=2).contains(&thread.join().unwrap()));
        check(&fdb);
        assert_eq!(fdb.lookup(K, NOW), None);
    });
}

#[test]
fn who_is_told_that_a_station_has_gone_does_not_take_it_for_where_it_was() {
    explore_watched(|| {
        // One slot changes hands: L comes where K was, by the same port.
        let fdb = table(1);
        fdb.learn(K, A, FREE, NOW);
        let mut hints = [Hint::NONE; 2];
        fdb.learn_near(K, A, FREE, NOW, &mut hints[0]);
        fdb.lookup_near(K, NOW, &mut hints[1]);
        let pair = fdb.pair([K, K], A, FREE, NOW, &hints).unwrap();
        assert!(fdb.is_as_it_was(&pair, NOW));
        let told = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let (other, tell) = (fdb.clone(), told.clone());
        let thread = loom::thread::spawn(move || {
            other.learn(L, A, FREE, NOW);
            tell.store(true, loom::sync::atomic::Ordering::Release);
        });
        let is_told = told.load(loom::sync::atomic::Ordering::Acquire);
        let is_as_it_was = watched(|| fdb.is_as_it_was(&pair, NOW));
        assert!(!(is_told && is_as_it_was), "it has gone");
        thread.join().unwrap();
        assert!(!fdb.is_as_it_was(&pair, NOW));
    });
}

#[test]
fn a_reader_never_sees_the_port_of_another_address() {
    explore_watched(|| {
        // One slot changes hands: the table holds one entry.
        let fdb = table(1);
        fdb.learn(K, A, FREE, NOW);
        let other = fdb.clone();
        let thread = loom::thread::spawn(move || {
            // Each evicts the other: its port holds more.
            other.learn(L, B, FREE, NOW);
            other.learn(K, A, FREE, NOW);
        });
        assert!(
            watched(|| fdb.lookup(K, NOW)).is_none_or(|port| port == A),
            "an address that was never behind B"
        );
        thread.join().unwrap();
        check(&fdb);
        assert_eq!(fdb.lookup(K, NOW), Some(A));
    });
}

#[test]
fn a_reader_never_sees_the_port_of_the_address_that_evicts() {
    explore_watched(|| {
        let fdb = table(1);
        fdb.learn(K, A, FREE, NOW);
        let other = fdb.clone();
        let thread = loom::thread::spawn(move || other.add_static(L, B));
        assert!(watched(|| fdb.lookup(K, NOW)).is_none_or(|port| port == A));
        assert!(watched(|| fdb.lookup(L, NOW)).is_none_or(|port| port == B));
        thread.join().unwrap().unwrap();
        check(&fdb);
        assert_eq!((fdb.lookup(K, NOW), fdb.lookup(L, NOW)), (None, Some(B)));
    });
}

#[test]
fn a_move_is_not_undone_by_a_refresh() {
    explore_watched(|| {
        let fdb = table(2);
        fdb.learn(K, A, FREE, Timestamp::from_secs(900));
        let other = fdb.clone();
        // The stamp is old: both have to write.
        let thread = loom::thread::spawn(move || other.learn(K, A, FREE, NOW));
        let moved = watched(|| fdb.learn(K, B, FREE, NOW));
        let refreshed = thread.join().unwrap();
        check(&fdb);
        assert_eq!(moved, Learned::Moved { from: A });
        // Whoever came last decides: a refresh that came after the move is itself a move.
        let expected = match refreshed {
            Learned::Known => B,
            Learned::Moved { from } => {
                assert_eq!(from, B);
                A
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(fdb.lookup(K, NOW), Some(expected));
    });
}

#[test]
fn a_static_entry_wins_against_learning() {
    for capacity in capacities() {
        explore(move || {
            let fdb = table(capacity);
            let other = fdb.clone();
            let thread = loom::thread::spawn(move || other.add_static(K, B));
            fdb.learn(K, A, FREE, NOW);
            thread.join().unwrap().unwrap();
            check(&fdb);
            assert_eq!(fdb.lookup(K, NOW), Some(B));
        });
    }
}

#[test]
fn two_threads_at_the_bound_do_not_exceed_it() {
    explore(|| {
        let fdb = table(1);
        let other = fdb.clone();
        let thread = loom::thread::spawn(move || other.learn(L, B, FREE, NOW));
        fdb.learn(K, A, FREE, NOW);
        thread.join().unwrap();
        check(&fdb);
        assert!(fdb.stats().entries <= 1);
    });
}
