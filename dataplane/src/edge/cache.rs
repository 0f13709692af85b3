//! A bounded memory of what can be learned again: routes, next hops, fragments.
//!
//! Bound: as many entries as it is made with, all room there from the start. A key has eight places, found by a keyed hash,
//! so nobody can aim at another's.
//! Eviction and share: a new key takes a free place of its eight. If there is none, an owner (a network or a port) that holds
//! half of them or more loses its own least recently used entry, and otherwise the least recently used of all goes: who floods
//! the memory evicts itself, and half of every eight stays with the others.
//! Ageing is the users', who know what grows old.

use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;

use crate::time::Timestamp;

/// Places for each hash.
const WAYS: usize = 8;

/// What an entry is found by.
pub(super) trait Key: Copy + Eq + Hash {
    /// Whose share the entry counts for.
    fn owner(&self) -> u16;
}

#[derive(Debug)]
struct Place<K, V> {
    key: K,
    used: Timestamp,
    value: V,
}

/// The memory.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    /// Eight for each hash, one after another.
    places: Box<[Option<Place<K, V>>]>,
    secret: u64,
}

impl<K: Key, V> Cache<K, V> {
    /// Room for `capacity` entries, rounded up to a multiple of eight. The hash is keyed with `seed`, which nobody outside must know.
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let places = capacity.next_multiple_of(WAYS).max(WAYS);
        Self { places: (0..places).map(|_| None).collect(), secret: seed }
    }

    /// The entry of `key`, which counts as used.
    pub(super) fn get(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        let place = self.ways(key).iter_mut().flatten().find(|place| place.key == *key)?;
        place.used = now;
        Some(&mut place.value)
    }

    /// The entry of `key`, which does not count as used by that.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        let first = self.first_way(key);
        let ways = self.places.get(first..first + WAYS).unwrap_or_default();
        ways.iter().flatten().find(|place| place.key == *key).map(|place| &place.value)
    }

    /// Remembers `value`, in place of what was remembered of `key` or of whoever has to go.
    pub(super) fn insert(&mut self, key: K, now: Timestamp, value: V) {
        let ways = self.ways(&key);
        let index = ways
            .iter()
            .position(|place| place.as_ref().is_some_and(|place| place.key == key))
            .or_else(|| ways.iter().position(Option::is_none))
            .or_else(|| victim(ways, key.owner()));
        if let Some(place) = index.and_then(|index| ways.get_mut(index)) {
            *place = Some(Place { key, used: now, value });
        }
    }

    /// Keeps what `keep` says, looking at everything.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for place in &mut self.places {
            if place.as_mut().is_some_and(|place| !keep(&place.key, &mut place.value)) {
                *place = None;
            }
        }
    }

    fn ways(&mut self, key: &K) -> &mut [Option<Place<K, V>>] {
        let first = self.first_way(key);
        self.places.get_mut(first..first + WAYS).unwrap_or_default()
    }

    fn first_way(&self, key: &K) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret);
        key.hash(&mut hasher);
        hasher.finish() as usize % (self.places.len() / WAYS) * WAYS
    }
}

/// Which of the occupied places a new entry of `owner` takes.
fn victim<K: Key, V>(ways: &[Option<Place<K, V>>], owner: u16) -> Option<usize> {
    let own = |place: &Place<K, V>| place.key.owner() == owner;
    let pays_itself = ways.iter().flatten().filter(|place| own(place)).count() >= WAYS / 2;
    let candidates = ways.iter().enumerate().filter_map(|(index, place)| Some((index, place.as_ref()?)));
    let candidates = candidates.filter(|(_, place)| !pays_itself || own(place));
    candidates.min_by_key(|(_, place)| place.used).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Key for (u16, u32) {
        fn owner(&self) -> u16 {
            self.0
        }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn who_floods_evicts_itself() {
        let mut cache = Cache::new(WAYS, 7);
        for number in 0..3 {
            cache.insert((1, number), at(number.into()), number);
        }
        for number in 0..1000 {
            cache.insert((2, number), at(10 + u64::from(number)), number);
        }
        assert!((0..3).all(|number| cache.get(&(1, number), at(2000)).is_some()));
        assert!((995..1000).all(|number| cache.get(&(2, number), at(2000)).is_some()));
        assert!(cache.get(&(2, 994), at(2000)).is_none());
    }

    #[test]
    fn a_newcomer_takes_the_place_least_used() {
        let mut cache = Cache::new(WAYS, 7);
        for number in 0..8 {
            cache.insert((1, number), at(number.into()), number);
        }
        assert_eq!(cache.get(&(1, 0), at(20)), Some(&mut 0), "used again, so the next is the oldest");
        cache.insert((2, 0), at(21), 100);
        assert!(cache.get(&(1, 1), at(22)).is_none());
        assert!(cache.get(&(1, 0), at(22)).is_some() && cache.get(&(2, 0), at(22)).is_some());
    }

    #[test]
    fn an_entry_is_replaced_and_retained_by_its_key() {
        let mut cache = Cache::new(64, 7);
        cache.insert((1, 1), at(0), 1);
        cache.insert((1, 1), at(0), 2);
        cache.insert((1, 2), at(0), 3);
        assert_eq!(cache.get(&(1, 1), at(0)), Some(&mut 2));
        cache.retain(|key, _| *key != (1, 2));
        assert_eq!(cache.get(&(1, 2), at(0)), None);
    }
}
