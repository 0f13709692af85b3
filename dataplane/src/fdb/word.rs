//! The value word of a slot: where an address is, of what kind the entry is, and when it was last seen.
//!
//! ```text
//! 63            27 26        15 14   12 11      0
//! | stamp (37 ms) | generation | state | port    |
//! ```
//!
//! The stamp is in milliseconds, as [`Timestamp`] is, so the table and its model agree to the millisecond; 37 bits
//! of them wrap after 4.3 years, and half of that is the longest ageing time. It lies highest so that a
//! difference of two stamps is one subtraction. The generation counts the addresses that a slot has held:
//! whoever read a word before the slot was given to another address can no longer exchange it.

use core::time::Duration;

use super::EntryKind;
use crate::id::{MAX_PORTS, PortId};
use crate::time::Timestamp;

const PORT_BITS: u32 = 12;
const STATE_BITS: u32 = 3;
const GENERATION_BITS: u32 = 12;
const STAMP_BITS: u32 = 37;

const STATE_SHIFT: u32 = PORT_BITS;
const GENERATION_SHIFT: u32 = STATE_SHIFT + STATE_BITS;
const STAMP_SHIFT: u32 = GENERATION_SHIFT + GENERATION_BITS;

const PORT_MASK: u64 = (1 << PORT_BITS) - 1;
const STATE_MASK: u64 = ((1 << STATE_BITS) - 1) << STATE_SHIFT;
const GENERATION_MASK: u64 = ((1 << GENERATION_BITS) - 1) << GENERATION_SHIFT;
const STAMP_MASK: u64 = u64::MAX << STAMP_SHIFT;

const _: () = assert!(PORT_BITS + STATE_BITS + GENERATION_BITS + STAMP_BITS == u64::BITS);
const _: () = assert!(MAX_PORTS <= 1 << PORT_BITS);

// States; free is 0 so that a new table is zeroed memory.
const BUSY: u64 = 1 << STATE_SHIFT;
const LEARNED: u64 = 2 << STATE_SHIFT;
const STICKY: u64 = 3 << STATE_SHIFT;
const STATIC: u64 = 4 << STATE_SHIFT;

/// The longest ageing time that stamps can tell apart: half their range, 2.2 years.
pub(super) const MAX_AGEING: Duration = Duration::from_millis((1 << (STAMP_BITS - 1)) - 1);

/// A value word. Free, busy (its slot belongs to the one thread that made it so), or an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// An entry, last seen at `now`, in a slot of generation 0.
    #[inline]
    pub(super) fn entry(kind: EntryKind, port: PortId, now: Timestamp) -> Word {
        Word(u64::from(port.0) & PORT_MASK | state_of(kind) | now.as_millis() << STAMP_SHIFT)
    }

    /// Whether it is an entry of that kind, on that port.
    #[inline]
    pub(super) fn is_of(self, kind: EntryKind, port: PortId) -> bool {
        self.0 & STATE_MASK == state_of(kind) && self.port() == port
    }

    /// The same in a slot that is in the generation of `other`.
    pub(super) fn in_generation_of(self, other: Word) -> Word {
        Word(self.0 & !GENERATION_MASK | other.0 & GENERATION_MASK)
    }

    /// What a slot holds while its key is taken away.
    pub(super) fn busy(self) -> Word {
        Word(self.0 & GENERATION_MASK | BUSY)
    }

    /// What a slot holds while its next key is written.
    pub(super) fn busy_for_next(self) -> Word {
        Word(self.0.wrapping_add(1 << GENERATION_SHIFT)).busy()
    }

    /// What a slot without an entry holds.
    pub(super) fn free(self) -> Word {
        Word(self.0 & GENERATION_MASK)
    }

    #[inline]
    pub(super) fn is_free(self) -> bool {
        self.0 & STATE_MASK == 0
    }

    #[inline]
    pub(super) fn is_entry(self) -> bool {
        self.0 & STATE_MASK >= LEARNED
    }

    #[inline]
    pub(super) fn is_static(self) -> bool {
        self.0 & STATE_MASK == STATIC
    }

    /// An entry that learning made, sticky or not.
    #[inline]
    pub(super) fn is_dynamic(self) -> bool {
        self.is_entry() && !self.is_static()
    }

    /// The entry's kind; nothing when the word is not an entry.
    #[inline]
    pub(super) fn kind(self) -> Option<EntryKind> {
        match self.0 & STATE_MASK {
            LEARNED => Some(EntryKind::Learned),
            STICKY => Some(EntryKind::Sticky),
            STATIC => Some(EntryKind::Static),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn port(self) -> PortId {
        PortId((self.0 & PORT_MASK) as u16)
    }

    /// Both words are of the same tenancy of their slot.
    #[inline]
    pub(super) fn same_generation(self, other: Word) -> bool {
        (self.0 ^ other.0) & GENERATION_MASK == 0
    }

    /// Milliseconds since the entry was seen; 0 when another worker's clock was ahead of `now`.
    #[inline]
    pub(super) fn age_millis(self, now: Timestamp) -> u64 {
        let difference = (now.as_millis() << STAMP_SHIFT).wrapping_sub(self.0 & STAMP_MASK);
        (difference as i64 >> STAMP_SHIFT).max(0) as u64
    }

    /// The entry counts as gone: it was not seen for `ageing_millis`. Static entries never are.
    #[inline]
    pub(super) fn is_expired(self, now: Timestamp, ageing_millis: u64) -> bool {
        !self.is_static() && self.age_millis(now) >= ageing_millis
    }
}

#[inline]
fn state_of(kind: EntryKind) -> u64 {
    match kind {
        EntryKind::Learned => LEARNED,
        EntryKind::Sticky => STICKY,
        EntryKind::Static => STATIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let now = Timestamp::from_millis((1 << STAMP_BITS) - 1);
        let last_port = PortId((1 << PORT_BITS) - 1);
        for kind in [EntryKind::Learned, EntryKind::Sticky, EntryKind::Static] {
            let word = Word::entry(kind, last_port, now).in_generation_of(Word(u64::MAX));
            assert_eq!((word.kind(), word.port(), word.age_millis(now)), (Some(kind), last_port, 0));
            assert!(word.same_generation(Word(u64::MAX)) && !word.same_generation(Word(0)));
            assert!(word.free().is_free() && word.free().same_generation(word));
            assert!(!word.busy().is_entry() && !word.busy().is_free());
            // The generation wraps without spilling into the stamp.
            assert_eq!(word.busy_for_next(), Word(BUSY));
        }
    }

    #[test]
    fn age_survives_the_wrap_and_clocks_that_disagree() {
        let wrap = 1u64 << STAMP_BITS;
        let word = Word::entry(EntryKind::Learned, PortId(1), Timestamp::from_millis(wrap - 5));
        assert_eq!(word.age_millis(Timestamp::from_millis(wrap + 7)), 12);
        assert_eq!(word.age_millis(Timestamp::from_millis(wrap - 6)), 0);
        assert!(word.is_expired(Timestamp::from_millis(wrap + 7), 12));
        assert!(!word.is_expired(Timestamp::from_millis(wrap + 7), 13));
    }
}
