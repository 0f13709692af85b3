//! From a tuple to its session: open addressing, eight slots to a cache line.
//!
//! A slot is one word: 32 bits of the tuple's hash, and who it belongs to. The hash says where the slot's home is, so
//! that making the index larger and closing gaps (no tombstones) touch no session, and hardly ever is another session
//! looked at than the one that is wanted. The hash is keyed: a peer cannot aim its tuples at one slot.

use super::{Direction, SessionId};
use crate::edge::tuple::Tuple;
use crate::random::{Random, fold};
use crate::sys::prefer_huge_pages;

/// A keyed hash of tuples.
#[derive(Debug, Clone, Copy)]
pub(super) struct TupleHasher {
    keys: [u64; 5],
}

impl TupleHasher {
    /// Keyed by `seed`.
    pub(super) fn new(seed: u64) -> TupleHasher {
        let mut random = Random::new(seed);
        TupleHasher { keys: [(); 5].map(|()| random.next()) }
    }

    /// The tuple's hash. Multiplications of 64 to 128 bits fold each word into all others (as wyhash and foldhash do).
    #[inline(always)]
    pub(super) fn hash(&self, tuple: &Tuple) -> u32 {
        let [a, b, c, d, e] = self.keys;
        let (src_high, src_low) = words(tuple.src.octets());
        let (dst_high, dst_low) = words(tuple.dst.octets());
        let ports = u64::from(tuple.src_port) << 32 | u64::from(tuple.dst_port) << 16 | tuple.protocol as u64;
        let low = fold(src_low ^ a, dst_low ^ b);
        let high = fold(src_high ^ c, dst_high ^ d);
        (fold(low ^ ports, high ^ e) >> 32) as u32
    }
}

#[inline]
fn words(octets: [u8; 16]) -> (u64, u64) {
    let all = u128::from_ne_bytes(octets);
    ((all >> 64) as u64, all as u64)
}

/// Who a slot belongs to, and the hash above it. Zero: nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    fn new(hash: u32, id: SessionId, direction: Direction) -> Slot {
        Slot(u64::from(hash) << 32 | ((u64::from(id.0) << 1 | direction as u64) + 1))
    }

    #[inline(always)]
    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    fn owner(self) -> (SessionId, Direction) {
        let owner = (self.0 as u32).wrapping_sub(1);
        let direction = if owner & 1 == 0 { Direction::Original } else { Direction::Reply };
        (SessionId(owner >> 1), direction)
    }
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    /// A power of two of them, never more than three quarters in use. Plain words, so that fresh ones are the kernel's zero pages.
    slots: Vec<u64>,
}

impl Index {
    /// An index for so many tuples.
    pub(super) fn new(tuples: usize) -> Index {
        let mut slots = vec![0; (tuples + tuples / 3 + 1).next_power_of_two()];
        // A look-up goes anywhere in it: with small pages it would miss the TLB as often as the cache.
        prefer_huge_pages(&mut slots);
        Index { slots }
    }

    /// How much memory there is for it.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }

    /// Makes room for so many tuples; never gives room back.
    pub(super) fn reserve(&mut self, tuples: usize) {
        let mut larger = Index::new(tuples);
        if larger.slots.len() <= self.slots.len() {
            return;
        }
        for slot in self.slots.iter().copied().filter(|&slot| slot != 0) {
            larger.place(Slot(slot));
        }
        *self = larger;
    }

    /// The owner of a slot with this hash for whom `is_it` holds.
    #[inline(always)]
    pub(super) fn find(
        &self,
        hash: u32,
        is_it: impl Fn(SessionId, Direction) -> bool,
    ) -> Option<(SessionId, Direction)> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = Slot(self.slots[at]);
            if slot.0 == 0 {
                return None;
            }
            if slot.hash() == hash {
                let (id, direction) = slot.owner();
                if is_it(id, direction) {
                    return Some((id, direction));
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a tuple, which is not in the index yet.
    #[inline]
    pub(super) fn insert(&mut self, hash: u32, id: SessionId, direction: Direction) {
        self.place(Slot::new(hash, id, direction));
    }

    #[inline]
    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash() as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot.0;
    }

    /// Takes a tuple out, and moves up those behind it that had to give way.
    pub(super) fn remove(&mut self, hash: u32, id: SessionId, direction: Direction) {
        let mask = self.slots.len() - 1;
        let wanted = Slot::new(hash, id, direction).0;
        let mut gap = hash as usize & mask;
        while self.slots[gap] != wanted {
            if self.slots[gap] == 0 {
                return;
            }
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = Slot(self.slots[at]);
            if slot.0 == 0 {
                break;
            }
            let displaced = at.wrapping_sub(slot.hash() as usize) & mask;
            if displaced >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = slot.0;
                gap = at;
            }
        }
        self.slots[gap] = 0;
    }
}
