//! Two stations that speak: as long as nothing of what the table has of them is another, neither has to be looked for.

use super::table::Hint;
use super::word::Word;
use super::{EntryKind, Fdb, Stickiness, key_of, stale_age};
use crate::addr::MacAddr;
use crate::id::PortId;
use crate::time::Timestamp;

/// Two stations as the table had them, and until when that does without a look at the clock for each: see [`Fdb::is_as_it_was`].
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    source: Hint,
    destination: Hint,
    /// The ageing time that `until` follows from.
    ageing: u64,
    /// In milliseconds: when the source's stamp has to be renewed, or the destination is gone.
    until: u64,
}

impl Pair {
    /// None: it never is as it was.
    pub const OVER: Pair = Pair { source: Hint::NONE, destination: Hint::NONE, ageing: 0, until: 0 };

    /// The port that the destination was behind.
    pub fn egress(&self) -> PortId {
        self.destination.word.port()
    }
}

impl Fdb {
    /// Two stations, as a frame from the one to the other has just found them: the source by [`Fdb::learn_near`] with `hints[0]` on
    /// `port`, which had nothing to change, and the destination by [`Fdb::lookup_near`] with `hints[1]`.
    #[inline]
    pub fn pair(
        &self,
        [src, dst]: [MacAddr; 2],
        port: PortId,
        stickiness: Stickiness,
        now: Timestamp,
        &[source, destination]: &[Hint; 2],
    ) -> Option<Pair> {
        let ageing = self.ageing_millis();
        let learned = source.word.is_of(stickiness.kind(), port);
        if source.key != key_of(src)
            || destination.key != key_of(dst)
            || !(learned || source.word.is_of(EntryKind::Static, port))
        {
            return None;
        }
        let left = |word: Word, lifetime: u64| match word.is_static() {
            true => u64::MAX,
            false => lifetime.saturating_sub(word.age_millis(now)),
        };
        let left = left(source.word, stale_age(ageing)).min(left(destination.word, ageing));
        Some(Pair { source, destination, ageing, until: now.as_millis().saturating_add(left) })
    }

    /// Whether the source of `pair` need not be learned, and its destination is where it was: all is in the table as it was then, and no
    /// stamp has grown too old meanwhile.
    #[inline(always)]
    pub fn is_as_it_was(&self, pair: &Pair, now: Timestamp) -> bool {
        now.as_millis() < pair.until
            && self.ageing_millis() == pair.ageing
            && self.table.still_says(&pair.source)
            && self.table.still_says(&pair.destination)
    }
}
