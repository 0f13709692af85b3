//! The forwarding database: MAC -> port, lock-free.
//!
//! # Layout
//!
//! A bucket is one cache line: four slots of a key word (MAC, and 16 bits of filtering id that stay 0 until
//! VLANs are filtered) and a value word (port, state, generation, time stamp; see `fdb/word.rs`). A key has
//! two candidate buckets and goes into the emptier (two-choice hashing), so entries never move between slots:
//! a reader cannot miss one that is on its way. With two slots for each entry of the capacity, a few
//! addresses in ten thousand find their eight slots taken when the table is full; the eviction rule decides
//! then. The hash is a multiplication keyed with a secret, so that a station cannot aim its addresses at one
//! bucket. (A key's first bucket is preferred while it is half empty: a lookup mostly guesses right and
//! touches one cache line.)
//!
//! # Concurrency
//!
//! No locks, and no reader waits. The value word alone decides: it goes from *free* or from an entry to
//! *busy* by a compare-and-swap of the whole word, and only the thread that made it busy writes the key. Each
//! tenancy of a slot has a new generation. A reader reads value, key, value: equal generations mean that the
//! key belongs to the value (wrong only if a slot changes hands a multiple of 4096 times between two loads).
//! Refreshing and moving exchange the value word in place. A thread that dies while a slot is busy costs that
//! slot, and nobody waits for it.
//!
//! Two threads may insert one address at the same time into different slots. After publishing, each looks at
//! all candidates once more, with a full fence between, so one at least sees both and removes the lesser
//! (static before sticky before learned, then the first in the table). For that moment a lookup may answer
//! with either.
//!
//! A frame from a known station writes nothing unless its stamp is older than a second (or an eighth of
//! the ageing time): ageing is that much coarse, and the hot path shares its cache lines.
//!
//! # Bounds
//!
//! The table holds `capacity` entries, and a port `port_share` learned ones; counts are raised before an
//! entry goes in. By default 16384 entries (512 KiB; open vSwitch allows 8192, a kernel bridge any number)
//! and a quarter of that for a port: an endpoint has one address, but behind an existing interface there may
//! be a whole LAN, and it takes four such ports in league to fill the table.
//!
//! A new address finds its port at its share: an own dynamic entry among the candidates yields (expired
//! first, then the oldest), or the address is refused (if it moved from another port it is forgotten there
//! all the same). It finds the table or its buckets full: an expired entry yields, else the port's own
//! oldest, else the oldest learned entry of a port that holds more than the learner does (as open vSwitch's
//! `mac-learning` evicts from the port with most), else it is refused. So who floods the table evicts itself,
//! and a port with few addresses gets them in. Sticky and static entries do not yield to other ports; a
//! static entry, which the administrator wants, takes the place of any dynamic one.
//!
//! # Ageing
//!
//! An entry that was not seen for the ageing time counts as absent at once; [`Fdb::sweep`] takes such entries
//! out.

#[path = "fdb/count.rs"] // Paths, so that the model checker's test can take this file in from where it is.
mod count;
#[path = "fdb/model.rs"]
pub mod model;
#[path = "fdb/pair.rs"]
pub mod pair;
#[path = "fdb/place.rs"]
mod place;
#[path = "fdb/table.rs"]
mod table;
#[path = "fdb/word.rs"]
mod word;

use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::time::Duration;

use crate::addr::MacAddr;
use crate::id::{MAX_PORTS, PortId};
use crate::random;
use crate::time::Timestamp;
use count::{Counts, Events, add};
use place::Placed;
use table::{SLOTS, Slot, Table};
use word::Word;

pub use table::Hint;

/// How long learned addresses live unless told otherwise: 300 s, as in a kernel bridge and IEEE 802.1D.
pub const DEFAULT_AGEING: Duration = Duration::from_secs(300);
/// How many buckets one [`Fdb::sweep`] looks at: some 20 us.
const SWEEP_BUCKETS: usize = 4096;
/// How often a change is tried again when other threads are faster; then it is refused until the next frame.
const ATTEMPTS: usize = 8;
/// A stamp is not renewed before it is this old, in milliseconds.
const STAMP_GRAIN: u64 = 1000;

/// Bounds of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbConfig {
    /// How many addresses the table holds at most.
    pub capacity: usize,
    /// How many learned addresses one port may hold at most.
    pub port_share: usize,
    /// How long a learned address lives after its last frame; zero: nothing is kept.
    pub ageing: Duration,
}

impl Default for FdbConfig {
    fn default() -> Self {
        Self { capacity: 16384, port_share: 4096, ageing: DEFAULT_AGEING }
    }
}

/// Whether a learned address may move to another port while it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stickiness {
    /// It may: the station has moved.
    Free,
    /// It may not: the guard vouches for it (kernel: `BR_FDB_STICKY`).
    Sticky,
}

impl Stickiness {
    #[inline]
    fn kind(self) -> EntryKind {
        match self {
            Stickiness::Free => EntryKind::Learned,
            Stickiness::Sticky => EntryKind::Sticky,
        }
    }
}

/// What learning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The address was there, on this port; its age starts anew.
    Known,
    /// The address is new.
    New,
    /// The address was on another port and has moved.
    Moved {
        /// The port it was on.
        from: PortId,
    },
    /// The address is static or sticky on another port and stays there.
    Kept,
    /// Nothing was learned: the port's share or the table is full and nothing could be evicted, the ageing time
    /// is zero, or the address is no station's.
    Refused,
}

/// Where an entry comes from; later kinds weigh more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Learned from a frame.
    Learned,
    /// Learned from a frame of a guarded port: does not move while it is alive.
    Sticky,
    /// Added by the administrator: neither moves nor ages.
    Static,
}

/// One address of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbEntry {
    /// The station.
    pub mac: MacAddr,
    /// The port it is behind.
    pub port: PortId,
    /// Where the entry comes from.
    pub kind: EntryKind,
    /// How long ago the station was seen, to about a second; zero for static entries.
    pub age: Duration,
}

/// Counters of a table, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FdbStats {
    /// Entries now, those included that have expired and wait for the sweep.
    pub entries: usize,
    /// Entries at most.
    pub capacity: usize,
    /// Addresses learned that were not there or had expired.
    pub learned: u64,
    /// Addresses that moved to another port.
    pub moved: u64,
    /// Frames whose source is static or sticky on another port.
    pub kept: u64,
    /// Addresses refused because a bound was reached.
    pub refused: u64,
    /// Living entries that yielded to new ones.
    pub evicted: u64,
    /// Entries that left because they had expired.
    pub expired: u64,
}

/// Why a static entry cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FdbError {
    /// A group address, or all zero.
    #[error("{0} is not the address of a station: it is a group address or zero")]
    NotAStation(MacAddr),
    /// There is no such port.
    #[error("{0} does not exist: ports are numbered from 0 to {max}", max = MAX_PORTS - 1)]
    NoSuchPort(PortId),
    /// The table is full and no learned entry could be evicted.
    #[error("the forwarding table is full; remove static entries or make it larger")]
    Full,
}

/// The table.
pub struct Fdb {
    table: Table,
    /// In milliseconds, at most [`word::MAX_AGEING`].
    ageing: AtomicU64,
    /// The age in milliseconds from which a stamp is renewed; follows from the one above.
    stale: AtomicU64,
    counts: Counts,
    events: Events,
    /// Where the next sweep starts.
    next_sweep: AtomicUsize,
}

impl Fdb {
    /// An empty table with a secret of its own.
    pub fn new(config: FdbConfig) -> Self {
        Self::with_seed(config, random::seed())
    }

    /// An empty table whose secret comes from `seed`: two such tables treat the same frames in the same way,
    /// even when full.
    pub fn with_seed(config: FdbConfig, seed: u64) -> Self {
        let fdb = Self {
            table: Table::new(config.capacity.min(1 << 32).div_ceil(SLOTS / 2), seed),
            ageing: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            counts: Counts::new(&config),
            events: Events::default(),
            next_sweep: AtomicUsize::new(0),
        };
        fdb.set_ageing(config.ageing);
        fdb
    }

    /// The port that `mac` is behind.
    #[inline]
    pub fn lookup(&self, mac: MacAddr, now: Timestamp) -> Option<PortId> {
        let (_, word) = self.table.find(key_of(mac))?;
        (!word.is_expired(now, self.ageing_millis())).then(|| word.port())
    }

    /// As [`Fdb::lookup`], quicker when `hint` says where that address was found last.
    #[inline(always)]
    pub fn lookup_near(&self, mac: MacAddr, now: Timestamp, hint: &mut Hint) -> Option<PortId> {
        let (_, word) = self.table.find_near(key_of(mac), hint)?;
        (!word.is_expired(now, self.ageing_millis())).then(|| word.port())
    }

    /// What is known of `mac`, if it is alive.
    pub fn entry(&self, mac: MacAddr, now: Timestamp) -> Option<FdbEntry> {
        let (_, word) = self.table.find(key_of(mac))?;
        let is_alive = !word.is_expired(now, self.ageing_millis());
        word.kind().filter(|_| is_alive).map(|kind| entry_of(mac, kind, word, now))
    }

    /// `mac` was seen as a source on `port`.
    #[inline]
    pub fn learn(&self, mac: MacAddr, port: PortId, stickiness: Stickiness, now: Timestamp) -> Learned {
        self.learn_found(self.table.find(key_of(mac)), mac, port, stickiness, now)
    }

    /// As [`Fdb::learn`], quicker when `hint` says where that address was found last.
    #[inline(always)]
    pub fn learn_near(
        &self,
        mac: MacAddr,
        port: PortId,
        stickiness: Stickiness,
        now: Timestamp,
        hint: &mut Hint,
    ) -> Learned {
        self.learn_found(self.table.find_near(key_of(mac), hint), mac, port, stickiness, now)
    }

    #[inline(always)]
    fn learn_found(
        &self,
        found: Option<(&Slot, Word)>,
        mac: MacAddr,
        port: PortId,
        stickiness: Stickiness,
        now: Timestamp,
    ) -> Learned {
        let kind = stickiness.kind();
        if let Some((_, word)) = found
            && (word.is_of(kind, port) && !self.is_stale(word, now) || word.is_of(EntryKind::Static, port))
        {
            return Learned::Known;
        }
        self.learn_change(mac, port, kind, now)
    }

    /// How long a learned address lives after its last frame.
    pub fn ageing(&self) -> Duration {
        Duration::from_millis(self.ageing_millis())
    }

    /// Changes how long a learned address lives after its last frame, at once and for those already there.
    /// Zero: nothing is kept. More than two years count as two years.
    pub fn set_ageing(&self, ageing: Duration) {
        let millis = ageing.min(word::MAX_AGEING).as_millis() as u64;
        self.ageing.store(millis, Relaxed);
        self.stale.store(stale_age(millis), Relaxed);
    }

    /// Puts `mac` behind `port` for good. Replaces what was known of it, and a dynamic entry if the table is
    /// full.
    ///
    /// # Errors
    /// [`FdbError`] says why the table is as it was.
    pub fn add_static(&self, mac: MacAddr, port: PortId) -> Result<(), FdbError> {
        if !mac.is_station() {
            return Err(FdbError::NotAStation(mac));
        }
        if port.index() >= MAX_PORTS {
            return Err(FdbError::NoSuchPort(port));
        }
        let key = key_of(mac);
        // Static entries carry no time, so that of the evicted is not told apart from that of the living.
        let new = Word::entry(EntryKind::Static, port, Timestamp::ZERO);
        for _ in 0..ATTEMPTS {
            let placed = match self.table.find(key) {
                Some((slot, old)) if self.exchange_in_place(slot, old, new) => Placed::Done,
                Some(_) => Placed::Raced,
                None => self.place(key, new, Timestamp::ZERO),
            };
            match placed {
                Placed::Done => return Ok(()),
                Placed::Full => break,
                Placed::Raced => {}
            }
        }
        Err(FdbError::Full)
    }

    /// Forgets `mac`, static or not. False: it was not there.
    pub fn remove(&self, mac: MacAddr) -> bool {
        while let Some((slot, word)) = self.table.find(key_of(mac)) {
            if self.retire(slot, word) {
                return true;
            }
        }
        false
    }

    /// Forgets everything behind `port`, static entries included, and says how many there were. What other
    /// threads learn on the port meanwhile may stay: for a port's removal, call this when no worker knows the
    /// port any more.
    pub fn flush_port(&self, port: PortId) -> usize {
        self.retire_where(0, self.table.len(), |word| word.port() == port)
    }

    /// Forgets what was learned, behind one port or all, and says how much that was.
    pub fn flush_learned(&self, port: Option<PortId>) -> usize {
        self.retire_where(0, self.table.len(), |word| {
            word.is_dynamic() && port.is_none_or(|port| word.port() == port)
        })
    }

    /// Takes out entries that have expired and says how many. One call looks at a part of a large table (8192
    /// entries), the next call at the next part; for an empty table it does nothing.
    pub fn sweep(&self, now: Timestamp) -> usize {
        if self.counts.entries() == 0 {
            return 0;
        }
        let buckets = self.table.len();
        let start =
            self.next_sweep.fetch_add(SWEEP_BUCKETS, Relaxed) % buckets.next_multiple_of(SWEEP_BUCKETS);
        let ageing = self.ageing_millis();
        let gone = self.retire_where(start, SWEEP_BUCKETS, |word| word.is_expired(now, ageing));
        add(&self.events.expired, gone as u64);
        gone
    }

    /// The living entries, in order of their addresses.
    pub fn entries(&self, now: Timestamp) -> Vec<FdbEntry> {
        let ageing = self.ageing_millis();
        self.entries_where(now, |word| !word.is_expired(now, ageing))
    }

    /// All entries, those included that have expired and wait for the sweep, in order of their addresses.
    pub fn held_entries(&self, now: Timestamp) -> Vec<FdbEntry> {
        self.entries_where(now, |_| true)
    }

    /// How many entries are behind `port`, expired ones included.
    pub fn port_entries(&self, port: PortId) -> u32 {
        self.counts.port(port)
    }

    /// Counters.
    pub fn stats(&self) -> FdbStats {
        FdbStats {
            entries: self.counts.entries() as usize,
            capacity: self.counts.capacity() as usize,
            learned: self.events.learned.load(Relaxed),
            moved: self.events.moved.load(Relaxed),
            kept: self.events.kept.load(Relaxed),
            refused: self.events.refused.load(Relaxed),
            evicted: self.events.evicted.load(Relaxed),
            expired: self.events.expired.load(Relaxed),
        }
    }

    #[inline]
    fn ageing_millis(&self) -> u64 {
        self.ageing.load(Relaxed)
    }

    /// The stamp is old enough to be renewed.
    #[inline]
    fn is_stale(&self, word: Word, now: Timestamp) -> bool {
        word.age_millis(now) >= self.stale.load(Relaxed)
    }

    /// Learning when something has to be written or refused.
    #[cold]
    #[inline(never)]
    fn learn_change(&self, mac: MacAddr, port: PortId, kind: EntryKind, now: Timestamp) -> Learned {
        if !mac.is_station() || port.index() >= MAX_PORTS {
            return Learned::Refused;
        }
        let key = key_of(mac);
        let new = Word::entry(kind, port, now);
        for _ in 0..ATTEMPTS {
            let outcome = match self.table.find(key) {
                Some((_, old)) if old.is_static() && old.port() == port => Some(Learned::Known),
                Some((_, old)) if old.is_static() => Some(Learned::Kept),
                // Not counted: it is the rule then, not an event.
                _ if self.ageing_millis() == 0 => return Learned::Refused,
                Some((slot, old)) => self.learn_again(slot, old, new, now),
                None => match self.place(key, new, now) {
                    Placed::Done => Some(Learned::New),
                    Placed::Full => Some(Learned::Refused),
                    Placed::Raced => None,
                },
            };
            if let Some(outcome) = outcome {
                self.events.add(outcome);
                return outcome;
            }
        }
        self.events.add(Learned::Refused);
        Learned::Refused
    }

    /// The address is there, as `old`. Nothing: another thread was faster.
    fn learn_again(&self, slot: &Slot, old: Word, new: Word, now: Timestamp) -> Option<Learned> {
        let expired = old.is_expired(now, self.ageing_millis());
        let here = old.port() == new.port();
        if !here && !expired && old.kind() == Some(EntryKind::Sticky) {
            return Some(Learned::Kept);
        }
        if !here && self.counts.is_at_share(new.port()) {
            // It is not where it was, that much is known: from here on it is like any new address.
            self.retire(slot, old);
            return None;
        }
        if !self.exchange_in_place(slot, old, new) {
            return None;
        }
        if expired {
            add(&self.events.expired, 1);
        }
        Some(match (expired, here) {
            (true, _) => Learned::New,
            (false, true) => Learned::Known,
            (false, false) => Learned::Moved { from: old.port() },
        })
    }

    /// Puts `new` in the place of `old` under the same key.
    fn exchange_in_place(&self, slot: &Slot, old: Word, new: Word) -> bool {
        self.exchange(slot, old, new.in_generation_of(old), new)
    }

    fn retire_where(&self, start: usize, buckets: usize, doomed: impl Fn(Word) -> bool) -> usize {
        let retire = |slot: &&Slot| {
            loop {
                let word = slot.word();
                if !word.is_entry() || !doomed(word) {
                    return false;
                }
                if self.retire(slot, word) {
                    return true;
                }
            }
        };
        self.table.slots(start, buckets).filter(retire).count()
    }

    fn entries_where(&self, now: Timestamp, wanted: impl Fn(Word) -> bool) -> Vec<FdbEntry> {
        let entry = |(key, word): (u64, Word)| {
            let kind = word.kind().filter(|_| wanted(word))?;
            Some(entry_of(mac_of(key), kind, word, now))
        };
        let slots = self.table.slots(0, self.table.len());
        let mut entries: Vec<_> = slots.filter_map(Slot::read).filter_map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.mac);
        entries
    }
}

impl fmt::Debug for Fdb {
    /// The counters: a table of a million addresses is no reading matter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fdb")
            .field("ageing", &self.ageing())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

fn entry_of(mac: MacAddr, kind: EntryKind, word: Word, now: Timestamp) -> FdbEntry {
    let age = if word.is_static() { 0 } else { word.age_millis(now) };
    FdbEntry { mac, port: word.port(), kind, age: Duration::from_millis(age) }
}

/// The age in milliseconds from which a stamp is renewed.
#[inline]
fn stale_age(ageing_millis: u64) -> u64 {
    (ageing_millis / 8).min(STAMP_GRAIN)
}

/// The key word: the MAC as it lies in the frame, then filtering id 0.
#[inline]
fn key_of(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The MAC of a key word.
fn mac_of(key: u64) -> MacAddr {
    let [a, b, c, d, e, f, _, _] = key.to_le_bytes();
    MacAddr([a, b, c, d, e, f])
}
