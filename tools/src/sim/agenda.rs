//! What is to happen, in the order of virtual time; what is due at the same moment happens in the order in which it was noted.

use core::cmp::Ordering;
use std::collections::BinaryHeap;

/// Microseconds of virtual time since the start of a run.
pub(super) type Micros = u64;
/// A second.
pub(super) const SECOND: Micros = 1_000_000;
/// A millisecond.
pub(super) const MILLI: Micros = 1_000;

/// The notes.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    heap: BinaryHeap<Note<E>>,
    noted: u64,
}

#[derive(Debug)]
struct Note<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), noted: 0 }
    }

    pub(super) fn note(&mut self, at: Micros, event: E) {
        self.noted += 1;
        self.heap.push(Note { at, number: self.noted, event });
    }

    /// What comes next, and when.
    pub(super) fn next(&mut self) -> Option<(Micros, E)> {
        self.heap.pop().map(|note| (note.at, note.event))
    }
}

impl<E> Ord for Note<E> {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Note<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Note<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Note<E> {}
