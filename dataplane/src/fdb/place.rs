//! Where a new address goes, and what yields to it.

use core::cmp::Reverse;

use super::count::add;
use super::table::Slot;
use super::word::Word;
use super::{EntryKind, Fdb};
use crate::time::Timestamp;

/// What became of an attempt to insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// The entry is in the table.
    Done,
    /// Another thread was faster somewhere: look again.
    Raced,
    /// A bound is reached and nothing may be evicted.
    Full,
}

impl Fdb {
    /// Inserts `new` under `key`, which was not found a moment ago.
    pub(super) fn place(&self, key: u64, new: Word, now: Timestamp) -> Placed {
        let at_share = !new.is_static() && self.counts.is_at_share(new.port());
        let free = if at_share || self.counts.is_full() { None } else { self.table.place_for(key) };
        let victim = || self.victim(self.table.candidates(key), new, at_share, now);
        let Some((slot, old)) = free.or_else(victim) else {
            return if !at_share && self.make_room(key, new, now) { Placed::Raced } else { Placed::Full };
        };
        let busy = old.busy_for_next();
        if !self.exchange(slot, old, busy, new) {
            return Placed::Raced;
        }
        if old.is_entry() {
            self.count_victim(old, now);
        }
        slot.publish(key, new.in_generation_of(busy));
        if self.settle(key, slot) { Placed::Done } else { Placed::Raced }
    }

    /// Puts `word` in the place of `old`, where it stands for the entry `new`, and counts that.
    pub(super) fn exchange(&self, slot: &Slot, old: Word, word: Word, new: Word) -> bool {
        if !self.counts.reserve(new, old) {
            return false;
        }
        let exchanged = slot.exchange(old, word);
        if exchanged {
            self.counts.commit(new, old);
        } else {
            self.counts.cancel(new, old);
        }
        exchanged
    }

    /// Removes an entry, unless its word is `old` no more.
    pub(super) fn retire(&self, slot: &Slot, old: Word) -> bool {
        let retired = slot.retire(old);
        if retired {
            self.counts.release(old);
        }
        retired
    }

    /// The table is full, and of the slots that `new` might have none holds an entry that yields: lets one nearby
    /// go, so that a free slot may be used. False: there was none, or no free slot is to be had by it.
    fn make_room(&self, key: u64, new: Word, now: Timestamp) -> bool {
        if !self.counts.is_full() || self.table.place_for(key).is_none() {
            return false;
        }
        let Some((slot, old)) = self.victim(self.table.neighbours(key), new, false, now) else {
            return false;
        };
        if self.retire(slot, old) {
            self.count_victim(old, now);
        }
        true
    }

    fn count_victim(&self, old: Word, now: Timestamp) {
        let expired = old.is_expired(now, self.ageing_millis());
        add(if expired { &self.events.expired } else { &self.events.evicted }, 1);
    }

    /// The one of `slots` that yields to `new`, if any may: see the eviction rule in the module's header.
    fn victim<'a>(
        &self,
        slots: impl Iterator<Item = &'a Slot>,
        new: Word,
        at_share: bool,
        now: Timestamp,
    ) -> Option<(&'a Slot, Word)> {
        let ranked = slots.filter_map(|slot| {
            let word = slot.word();
            let rank = self.victim_rank(word, new, at_share, now)?;
            Some(((rank, Reverse(word.age_millis(now))), (slot, word)))
        });
        ranked.min_by_key(|&(rank, _)| rank).map(|(_, victim)| victim)
    }

    /// Lower yields first; nothing: does not yield.
    fn victim_rank(&self, word: Word, new: Word, at_share: bool, now: Timestamp) -> Option<u8> {
        let own = word.port() == new.port();
        if !word.is_dynamic() || at_share && !own {
            None
        } else if word.is_expired(now, self.ageing_millis()) {
            Some(0)
        } else if own {
            Some(1)
        } else if new.is_static() {
            Some(if word.kind() == Some(EntryKind::Learned) { 2 } else { 3 })
        } else {
            let larger = self.counts.dynamic(word.port()) > self.counts.dynamic(new.port());
            (word.kind() == Some(EntryKind::Learned) && larger).then_some(2)
        }
    }

    /// Leaves one holder of `key` of those that threads inserted at once: the weightiest kind, then the first
    /// in the table. False: `mine` had to go.
    fn settle(&self, key: u64, mine: &Slot) -> bool {
        loop {
            let mut winner: Option<(&Slot, Word)> = None;
            let mut loser = None;
            for holder in self.table.holders(key) {
                match winner {
                    Some(first) if first.1.kind() >= holder.1.kind() => loser = Some(holder),
                    _ => loser = winner.replace(holder).or(loser),
                }
            }
            match loser {
                // Look again in any case: whoever changed the loser's word meanwhile may have changed the order.
                Some((slot, word)) => self.retire(slot, word),
                None => return winner.is_none_or(|(slot, _)| core::ptr::eq(slot, mine)),
            };
        }
    }
}
