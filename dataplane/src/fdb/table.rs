//! The slots and how a key finds its own.

use super::word::Word;
use crate::random::{Random, fold};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU64, fence};
use crate::sys::prefer_huge_pages;

/// Slots in a bucket: a cache line's worth.
pub(super) const SLOTS: usize = 4;

/// Buckets that are searched for an entry to evict when a key's own hold none.
const NEIGHBOURS: usize = 16;

/// Room for one entry. The value word says whose the slot is; the key is written only by the thread that has
/// made the value word busy.
#[derive(Debug)]
pub(super) struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

/// One cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Bucket {
    slots: [Slot; SLOTS],
}

// The second form is for a model checker's atomics, which are larger.
const _: () = assert!(size_of::<Bucket>() == 64 || size_of::<AtomicU64>() != 8);
const _: () = assert!(align_of::<Bucket>() == 64);

impl Bucket {
    /// A bit for each slot whose key is `key` at first sight.
    #[inline]
    fn matches(&self, key: u64) -> u32 {
        let bit = |place: usize| u32::from(self.slots[place].key.load(Relaxed) == key) << place;
        (0..SLOTS).fold(0, |bits, place| bits | bit(place))
    }
}

impl Slot {
    fn new() -> Self {
        Self { key: AtomicU64::new(0), value: AtomicU64::new(0) }
    }

    /// The word, whatever the key.
    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.value.load(Acquire))
    }

    /// The entry, with the key that it belongs to.
    ///
    /// The word is read on both sides of the key: as long as the generation is the same, no other key was
    /// there in between. If the second read of the word came from a later tenancy, then so might the key; if
    /// the key came from a later tenancy, then so does the second read of the word (the key is released after
    /// the word was made busy). Either way the generations differ.
    #[inline]
    pub(super) fn read(&self) -> Option<(u64, Word)> {
        let before = Word(self.value.load(Acquire));
        let key = self.key.load(Acquire);
        let word = Word(self.value.load(Acquire));
        let whole = before.is_entry() && word.is_entry() && before.same_generation(word);
        whole.then_some((key, word))
    }

    /// The word, if the slot holds `key`.
    #[inline]
    fn read_if(&self, key: u64) -> Option<Word> {
        self.read().filter(|&(found, _)| found == key).map(|(_, word)| word)
    }

    /// Puts `new` in the place of `old`, unless the word is `old` no more.
    pub(super) fn exchange(&self, old: Word, new: Word) -> bool {
        self.value.compare_exchange(old.0, new.0, AcqRel, Relaxed).is_ok()
    }

    /// Gives the slot, which the caller has made busy, to `key`.
    pub(super) fn publish(&self, key: u64, word: Word) {
        self.key.store(key, Release);
        self.value.store(word.0, Release);
    }

    /// Frees the slot, unless the word is `old` no more.
    pub(super) fn retire(&self, old: Word) -> bool {
        if !self.exchange(old, old.busy()) {
            return false;
        }
        self.key.store(0, Release);
        self.value.store(old.free().0, Release);
        true
    }
}

/// Where an address was found last: the slot that is looked at first, and believed only if it still says so. Frames come in runs
/// between the same two stations, and a look there costs a third of a search.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hint {
    pub(super) key: u64,
    bucket: u32,
    slot: u8,
    /// What the slot said then.
    pub(super) word: Word,
    /// It was looked for twice in a row.
    again: bool,
}

impl Hint {
    /// Nothing was found.
    pub const NONE: Hint = Hint { key: 0, bucket: 0, slot: 0, word: Word(0), again: false };

    /// Whether the address was looked for twice in a row, and was where it had been.
    #[inline]
    pub fn is_again(&self) -> bool {
        self.again
    }
}

/// The buckets, and the secret that spreads keys over them.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Box<[Bucket]>,
    secret: [u64; 3],
}

impl Table {
    /// A table of `buckets` (at least one, at most 2^32) empty buckets.
    pub(super) fn new(buckets: usize, seed: u64) -> Self {
        let bucket = || Bucket { slots: core::array::from_fn(|_| Slot::new()) };
        let mut random = Random::new(seed);
        let secret = core::array::from_fn(|_| random.next() | 1);
        let mut room = Vec::with_capacity(buckets.max(1));
        // A lookup goes anywhere in the table: with small pages it would miss the TLB as often as the cache.
        prefer_huge_pages(room.spare_capacity_mut());
        room.extend(core::iter::repeat_with(bucket).take(buckets.max(1)));
        Self { buckets: room.into_boxed_slice(), secret }
    }

    #[inline]
    fn hash(&self, key: u64) -> u64 {
        // Once would leave a lattice where neighbouring addresses meet under some secrets.
        fold(fold(key ^ self.secret[0], self.secret[1]), self.secret[2])
    }

    /// Index of the bucket where an address is most likely.
    #[inline]
    fn first(&self, hash: u64) -> usize {
        // Scales 32 bits of hash to the number of buckets, which need not be a power of two then.
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    /// Index of the other bucket; the same only when there is just one.
    #[inline]
    fn second(&self, hash: u64) -> usize {
        let (first, count) = (self.first(hash), self.buckets.len());
        match (((hash >> 32) * count as u64) >> 32) as usize {
            second if second != first => second,
            second if second + 1 == count => 0,
            second => second + 1,
        }
    }

    /// Indexes of the two buckets that `key` may be in; they differ unless there is only one bucket.
    fn pair(&self, key: u64) -> [usize; 2] {
        let hash = self.hash(key);
        [self.first(hash), self.second(hash)]
    }

    /// The slot that holds `key`, and its word.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<(&Slot, Word)> {
        let hash = self.hash(key);
        let in_bucket = |bucket| {
            let (slot, word) = self.find_in(bucket, key)?;
            Some((&self.buckets[bucket].slots[slot], word))
        };
        in_bucket(self.first(hash)).or_else(|| in_bucket(self.second(hash)))
    }

    /// As [`Table::find`], at first where `hint` says.
    #[inline(always)]
    pub(super) fn find_near(&self, key: u64, hint: &mut Hint) -> Option<(&Slot, Word)> {
        // Keys are compared first: who has another address does not touch the slot's cache line.
        if hint.key == key
            && let Some(bucket) = self.buckets.get(hint.bucket as usize)
            && let slot = &bucket.slots[usize::from(hint.slot) % SLOTS]
            && let Some(word) = slot.read_if(key)
        {
            (hint.word, hint.again) = (word, true);
            return Some((slot, word));
        }
        self.find_and_note(key, hint)
    }

    /// Whether the slot that `hint` names says what it said when the hint was noted, in this very table.
    ///
    /// The same word is the same tenancy, and so the address is there and was there without a break, unless the slot has changed hands
    /// a multiple of 4096 times and did so last in the millisecond of the word's stamp. The key is looked at for even that.
    #[inline(always)]
    pub(super) fn still_says(&self, hint: &Hint) -> bool {
        let Some(bucket) = self.buckets.get(hint.bucket as usize) else { return false };
        let slot = &bucket.slots[usize::from(hint.slot) % SLOTS];
        slot.word() == hint.word && slot.key.load(Acquire) == hint.key
    }

    #[inline(never)]
    fn find_and_note(&self, key: u64, hint: &mut Hint) -> Option<(&Slot, Word)> {
        let hash = self.hash(key);
        let in_bucket = |bucket| self.find_in(bucket, key).map(|(slot, word)| (bucket, slot, word));
        let Some((bucket, slot, word)) = in_bucket(self.first(hash)).or_else(|| in_bucket(self.second(hash)))
        else {
            *hint = Hint::NONE;
            return None;
        };
        // There are at most 2^32 buckets, and four slots in one.
        *hint = Hint { key, bucket: bucket as u32, slot: slot as u8, word, again: false };
        Some((&self.buckets.get(bucket)?.slots[slot], word))
    }

    /// Looks at all keys of a bucket before it branches: which of them it is cannot be predicted, and a wrong guess
    /// costs more than the comparisons. That it is in the first bucket is a good guess (see [`Table::place_for`]).
    #[inline]
    fn find_in(&self, index: usize, key: u64) -> Option<(usize, Word)> {
        let bucket = self.buckets.get(index)?;
        let mut matches = bucket.matches(key);
        while matches != 0 {
            let slot = matches.trailing_zeros() as usize % SLOTS;
            if let Some(word) = bucket.slots[slot].read_if(key) {
                return Some((slot, word));
            }
            matches &= matches - 1;
        }
        None
    }

    /// Every slot that `key` may be in, in the one order that all threads agree on.
    pub(super) fn candidates(&self, key: u64) -> impl Iterator<Item = &Slot> {
        let [first, second] = self.pair(key);
        let second = if first == second { &[][..] } else { &self.buckets[second].slots[..] };
        self.buckets[first].slots.iter().chain(second)
    }

    /// A free slot for `key`, and its word: in its first bucket while that is at most half full, else in the
    /// emptier one.
    pub(super) fn place_for(&self, key: u64) -> Option<(&Slot, Word)> {
        let free = |index: usize| {
            let slots = self.buckets[index].slots.iter();
            slots.map(|slot| (slot, slot.word())).filter(|(_, word)| word.is_free())
        };
        let [first, second] = self.pair(key);
        let room = free(first).count();
        let index = if room >= SLOTS / 2 || room >= free(second).count() { first } else { second };
        free(index).next()
    }

    /// Some slots near to those that `key` may be in.
    pub(super) fn neighbours(&self, key: u64) -> impl Iterator<Item = &Slot> {
        let [first, _] = self.pair(key);
        self.slots(first.min(self.len().saturating_sub(NEIGHBOURS)), NEIGHBOURS)
    }

    /// The slots that hold `key` now. More than one, for a moment, when two threads inserted it at once.
    ///
    /// Of two threads that publish the same key and then call this, one at least sees the other's slot.
    pub(super) fn holders(&self, key: u64) -> impl Iterator<Item = (&Slot, Word)> {
        fence(crate::sync::atomic::Ordering::SeqCst);
        self.candidates(key).filter_map(move |slot| Some((slot, slot.read_if(key)?)))
    }

    /// How many buckets there are.
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    /// The slots of `count` buckets from `start` on.
    pub(super) fn slots(&self, start: usize, count: usize) -> impl Iterator<Item = &Slot> {
        self.buckets.iter().skip(start).take(count).flat_map(|bucket| &bucket.slots)
    }
}
