//! What the table does, said plainly: a map. Property tests and fuzzing hold the table against it.
//!
//! Single-threaded. Where the answer depends on which slots an address may be in (evictions and refusals at a
//! bound), the model does not predict it but judges whether the rules admit what the table did.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{EntryKind, FdbConfig, FdbEntry, FdbError, Learned, Stickiness};
use crate::addr::MacAddr;
use crate::id::{MAX_PORTS, PortId};
use crate::time::Timestamp;

/// A pair of buckets holds this many addresses; a table with fewer cannot have run out of slots.
const PAIR_SLOTS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    port: PortId,
    kind: EntryKind,
    seen: Timestamp,
}

/// The model of a table.
#[derive(Debug, Clone)]
pub struct FdbModel {
    config: FdbConfig,
    entries: BTreeMap<MacAddr, Entry>,
}

impl FdbModel {
    /// The model of an empty table.
    pub fn new(config: FdbConfig) -> Self {
        Self { config, entries: BTreeMap::new() }
    }

    /// The model of [`super::Fdb::lookup`].
    pub fn lookup(&self, mac: MacAddr, now: Timestamp) -> Option<PortId> {
        self.entries.get(&mac).filter(|entry| !self.is_expired(entry, now)).map(|entry| entry.port)
    }

    /// Judges what [`super::Fdb::learn`] answered, and follows it. `held` is what the table holds afterwards
    /// ([`super::Fdb::held_entries`]).
    ///
    /// # Errors
    /// What the rules do not admit, in words.
    pub fn learn(
        &mut self,
        mac: MacAddr,
        port: PortId,
        stickiness: Stickiness,
        now: Timestamp,
        answer: Learned,
        held: &[FdbEntry],
    ) -> Result<(), String> {
        let kind = match stickiness {
            Stickiness::Free => EntryKind::Learned,
            Stickiness::Sticky => EntryKind::Sticky,
        };
        let before = self.entries.get(&mac).copied();
        let alive = before.filter(|entry| !self.is_expired(entry, now));
        let settled = match alive {
            _ if !mac.is_station() || port.index() >= MAX_PORTS => Some(Learned::Refused),
            Some(entry) if entry.port == port => Some(Learned::Known),
            Some(entry) if entry.kind != EntryKind::Learned => Some(Learned::Kept),
            _ if self.config.ageing.is_zero() => Some(Learned::Refused),
            _ => None,
        };
        match (settled, alive) {
            (Some(expected), _) if answer != expected => return Err(format!("{answer:?}, not {expected:?}")),
            (Some(Learned::Known), Some(entry)) => self.refresh(mac, entry, kind, now),
            (Some(_), _) => {}
            (None, _) => self.follow_change(mac, Entry { port, kind, seen: now }, alive, answer, held)?,
        }
        self.compare(held, now)
    }

    /// Judges what [`super::Fdb::add_static`] answered, and follows it.
    ///
    /// # Errors
    /// What the rules do not admit, in words.
    pub fn add_static(
        &mut self,
        mac: MacAddr,
        port: PortId,
        answer: Result<(), FdbError>,
        now: Timestamp,
        held: &[FdbEntry],
    ) -> Result<(), String> {
        let refusal = if !mac.is_station() {
            Some(FdbError::NotAStation(mac))
        } else if port.index() >= MAX_PORTS {
            Some(FdbError::NoSuchPort(port))
        } else {
            None
        };
        let room = self.entries.contains_key(&mac) || !self.may_be_full();
        match (answer, refusal) {
            (Err(error), Some(expected)) if error == expected => {}
            (Err(FdbError::Full), None) if !room => {}
            (Ok(()), None) => {
                let new = Entry { port, kind: EntryKind::Static, seen: Timestamp::ZERO };
                self.follow_victim(mac, new, Timestamp::ZERO, held)?;
                self.entries.insert(mac, new);
            }
            _ => return Err(format!("adding a static entry: {answer:?}")),
        }
        self.compare(held, now)
    }

    /// The model of [`super::Fdb::remove`].
    pub fn remove(&mut self, mac: MacAddr) -> bool {
        self.entries.remove(&mac).is_some()
    }

    /// The model of [`super::Fdb::flush_port`].
    pub fn flush_port(&mut self, port: PortId) -> usize {
        self.retain(|entry| entry.port != port)
    }

    /// The model of [`super::Fdb::flush_learned`].
    pub fn flush_learned(&mut self, port: Option<PortId>) -> usize {
        self.retain(|entry| entry.kind == EntryKind::Static || port.is_some_and(|port| entry.port != port))
    }

    /// The model of [`super::Fdb::sweep`] on a table that is small enough for one call.
    pub fn sweep(&mut self, now: Timestamp) -> usize {
        let ageing = self.config.ageing;
        self.retain(|entry| entry.kind == EntryKind::Static || now.since(entry.seen) < ageing)
    }

    /// The model of [`super::Fdb::set_ageing`], for times that the table can keep.
    pub fn set_ageing(&mut self, ageing: Duration) {
        self.config.ageing = ageing;
    }

    /// Holds the model against all that the table holds ([`super::Fdb::held_entries`] at `now`), bounds
    /// included.
    ///
    /// # Errors
    /// Where they differ, in words.
    pub fn compare(&self, held: &[FdbEntry], now: Timestamp) -> Result<(), String> {
        let expected: Vec<_> = self.entries.iter().map(|(&mac, entry)| listed(mac, entry, now)).collect();
        if held != expected {
            return Err(format!("the table holds {held:?}, not {expected:?}"));
        }
        let over = self.entries.values().find(|entry| self.dynamic(entry.port) > self.config.port_share);
        match over {
            Some(entry) => Err(format!("{} is over its share", entry.port)),
            None if held.len() > self.config.capacity => Err("the table is over its capacity".to_owned()),
            None => Ok(()),
        }
    }

    /// The address is on its port and alive: its stamp and kind are renewed, if need be.
    fn refresh(&mut self, mac: MacAddr, entry: Entry, kind: EntryKind, now: Timestamp) {
        let grain = Duration::from_millis((self.config.ageing.as_millis() as u64 / 8).min(1000));
        if entry.kind != EntryKind::Static && (entry.kind != kind || now.since(entry.seen) >= grain) {
            self.entries.insert(mac, Entry { kind, seen: now, ..entry });
        }
    }

    /// The address is new, expired or elsewhere: `new` gets in, perhaps at another's cost, or is refused.
    fn follow_change(
        &mut self,
        mac: MacAddr,
        new: Entry,
        alive: Option<Entry>,
        answer: Learned,
        held: &[FdbEntry],
    ) -> Result<(), String> {
        let at_share = self.dynamic(new.port) >= self.config.port_share;
        let here = self.entries.get(&mac).is_some_and(|entry| entry.port == new.port);
        if at_share && !here {
            // Forgotten where it was, whatever comes now.
            self.entries.remove(&mac);
        }
        let expected = match alive {
            Some(entry) if !at_share => Learned::Moved { from: entry.port },
            _ => Learned::New,
        };
        let refusable = !self.entries.contains_key(&mac) && (at_share || self.may_be_full());
        match answer {
            Learned::Refused if refusable => Ok(()),
            _ if answer == expected => {
                self.follow_victim(mac, new, new.seen, held)?;
                self.entries.insert(mac, new);
                Ok(())
            }
            _ => Err(format!("{answer:?}, not {expected:?}")),
        }
    }

    /// At most one other entry is gone, and it was one that yields to `new`.
    fn follow_victim(
        &mut self,
        mac: MacAddr,
        new: Entry,
        now: Timestamp,
        held: &[FdbEntry],
    ) -> Result<(), String> {
        let is_held = |mac: &MacAddr| held.binary_search_by_key(mac, |entry| entry.mac).is_ok();
        let mut gone = self.entries.iter().filter(|&(other, _)| *other != mac && !is_held(other));
        let Some((&victim, entry)) = gone.next() else { return Ok(()) };
        if gone.next().is_some() {
            return Err("more than one entry had to yield".to_owned());
        }
        let at_share = new.kind != EntryKind::Static && self.dynamic(new.port) >= self.config.port_share;
        let own = entry.port == new.port;
        let needed = !self.entries.contains_key(&mac) && (at_share || self.may_be_full());
        let yields = if at_share {
            own
        } else {
            let larger = self.dynamic(entry.port) > self.dynamic(new.port);
            own || new.kind == EntryKind::Static
                || self.is_expired(entry, now)
                || entry.kind == EntryKind::Learned && larger
        };
        if !needed || !yields || entry.kind == EntryKind::Static {
            return Err(format!("{victim} had to yield: {entry:?} to {new:?}"));
        }
        self.entries.remove(&victim);
        Ok(())
    }

    fn may_be_full(&self) -> bool {
        self.entries.len() >= self.config.capacity.min(PAIR_SLOTS)
    }

    /// Learned and sticky entries behind `port`.
    fn dynamic(&self, port: PortId) -> usize {
        let counts = |entry: &&Entry| entry.port == port && entry.kind != EntryKind::Static;
        self.entries.values().filter(counts).count()
    }

    fn is_expired(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.kind != EntryKind::Static && now.since(entry.seen) >= self.config.ageing
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| keep(entry));
        before - self.entries.len()
    }
}

fn listed(mac: MacAddr, entry: &Entry, now: Timestamp) -> FdbEntry {
    let age = if entry.kind == EntryKind::Static { Duration::ZERO } else { now.since(entry.seen) };
    FdbEntry { mac, port: entry.port, kind: entry.kind, age }
}
