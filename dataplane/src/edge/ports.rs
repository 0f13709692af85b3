//! Ports of the host that NAT translates to, of those that control holds for it.
//!
//! Control leases ports from the kernel ahead of need: a pool, and single ones on demand, when a flow wants to keep its own
//! source port ([`Request::KeepPort`](super::punt::Request::KeepPort)). Only those are ever given out. ICMP identifiers cannot be leased; a random range of
//! [`ICMP_IDENTIFIERS`] is used, so a ping of the host's own may by bad luck have one of them.
//!
//! # Which port
//!
//! 1. The flow's own, if it is held and no other flow to the same remote has it. If it rests (see 2), only the endpoint gets it
//!    that had it last.
//! 2. The one that has been unused for longest, if that is [`Timeouts::port_reuse`] ago.
//! 3. One that flows to other remotes use: with port-dependent mapping a port serves any number of remotes. The search goes
//!    round, so it begins with those taken longest ago, and ends after [`PROBES`] ports.
//! 4. The one that has been unused for longest, all the same.
//! 5. Of the ports met in 3, the one whose flow to the same remote yields most readily ([`Claim`]).
//!
//! Where a search (3) was in vain, those of the same kind of flow are shorter for a second: they end at the first closed flow, and
//! after four ports if 4 has an answer. An endpoint that opens thousands of connections to one remote would look at
//! [`PROBES`] ports in vain for each.
//!
//! A port of an endpoint-independent mapping is its own; such a mapping takes an unused port (1, 2, 4).
//!
//! Fresh ports are drawn in random order (RFC 6056).
//!
//! # Bounds
//!
//! There are no more than 65536 ports of a protocol, in all some 2 MB; kept ones count among them. How many of those there are, and
//! whose, is said in `wish.rs`: a few hundred, so all are looked at when one may go. A kept port goes back to the kernel [`KEPT_IDLE`] after its
//! last session, for the host's programs cannot have it meanwhile.

mod rehearsal;

use core::time::Duration;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use super::config::Timeouts;
use super::session::list::{Link, List};
use super::session::mapping::Transport;
use super::session::moment::Moment;
use super::tuple::Protocol;
use crate::random::Random;
use crate::time::Timestamp;

/// How many ports in use are tried for a new flow.
pub const PROBES: usize = 64;
/// How many where a search was in vain lately.
const FEW_PROBES: usize = 4;
/// How long that is.
const VAIN: Duration = Duration::from_secs(1);
/// How many searches in vain are remembered.
const VAIN_SEARCHES: usize = 8;
/// How many ICMP identifiers NAT uses.
pub const ICMP_IDENTIFIERS: u16 = 16384;
/// Fewer unused ports than this, or than an eighth of those held: more are wanted.
const LOW_WATER: usize = 64;

/// How long a kept port is held that no session uses: somebody may be about to use it again.
const KEPT_IDLE: Duration = Duration::from_secs(2);

/// A port that was kept and is held no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Nobody else shall have it before this.
    pub rests_until: Timestamp,
    /// The address that it was last translated from.
    pub last_user: Ipv6Addr,
}

/// What a port is to a new flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It is not to be had.
    Refused,
    /// A flow to the same remote has it, and yields; the more readily, the higher this is: a closed one with the highest number.
    Yields(u32),
    /// No flow to the same remote has it.
    Free,
}

/// For what a port is held by a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// No port of ours: the session is only routed, or came by a publication.
    None,
    /// Address- and port-dependent mapping: flows to other remotes may use the port as well.
    Shared,
    /// Endpoint-independent mapping: the port is one internal port's own.
    Mapped,
}

/// The ports of all protocols.
#[derive(Debug)]
pub struct Ports {
    pools: [Pool; 3],
    random: Random,
}

impl Ports {
    /// Nothing is held yet but identifiers of ICMP.
    pub fn new(seed: u64) -> Self {
        let mut ports = Self { pools: [Pool::new(), Pool::new(), Pool::new()], random: Random::new(seed) };
        let first = ports.random.below(usize::from(u16::MAX - ICMP_IDENTIFIERS)) as u16 + 1;
        ports.hold(Protocol::Icmp, &[(first, first + (ICMP_IDENTIFIERS - 1))]);
        ports
    }

    /// These ports, both ends included, belong to the pool from now on.
    pub fn hold(&mut self, protocol: Protocol, ranges: &[(u16, u16)]) {
        let Self { pools, random } = self;
        let mut fresh: Vec<u16> = ranges.iter().flat_map(|&(first, last)| first..=last).collect();
        for at in (1..fresh.len()).rev() {
            fresh.swap(at, random.below(at + 1));
        }
        pools[number(protocol)].hold(&fresh);
    }

    /// This port is held for flows that have it as their own. Returns whether it is a single one; otherwise it is of the pool.
    pub fn keep(&mut self, protocol: Protocol, port: u16, now: Timestamp) -> bool {
        self.pool_mut(protocol).keep(port, Moment::at(now))
    }

    /// Whether that is a single port that is kept, and a session uses it.
    pub fn is_kept_in_use(&self, protocol: Protocol, port: u16) -> bool {
        self.pool(protocol).kept.get(&port).is_some_and(|kept| kept.entry.users > 0)
    }

    /// Whether NAT may use the port.
    #[inline]
    pub fn is_held(&self, protocol: Protocol, port: u16) -> bool {
        self.pool(protocol).entry(port).is_some()
    }

    /// A port for a new flow from `own` address and port, if any is left. Flows of one `kind` are refused the same ports;
    /// `claim` tells which. The port is not taken yet.
    pub fn choose(
        &mut self,
        protocol: Protocol,
        own: Transport,
        lease: Lease,
        now: Timestamp,
        kind: u32,
        claim: impl Fn(u16) -> Claim,
    ) -> Option<u16> {
        self.pool_mut(protocol).choose(own, lease, Moment::at(now), kind, claim)
    }

    /// Whether so many ports are all that an endpoint may have while few are left.
    pub fn is_share(&self, protocol: Protocol, ports: u32) -> bool {
        let Pool { unused, entries, .. } = self.pool(protocol);
        (unused.len() as usize) < entries.len() / 8 && ports as usize >= entries.len() / 2
    }

    /// A session more uses the port. Ports that are not held are none of ours.
    pub fn take(&mut self, protocol: Protocol, port: u16, lease: Lease) {
        self.pool_mut(protocol).take(port, lease);
    }

    /// A session less uses the port, which was translated to from address `user`.
    pub fn give_back(
        &mut self,
        protocol: Protocol,
        port: u16,
        user: Ipv6Addr,
        now: Timestamp,
        timeouts: &Timeouts,
    ) {
        let now = Moment::at(now);
        self.pool_mut(protocol).give_back(port, user, now, now.after(timeouts.port_reuse));
    }

    /// Whether control should be asked for more ports. It stays so until there are more, or sessions have ended.
    #[inline]
    pub fn wants_more(&self, protocol: Protocol) -> bool {
        let pool = self.pool(protocol);
        protocol != Protocol::Icmp && (pool.unused.len() as usize) < LOW_WATER.max(pool.entries.len() / 8)
    }

    /// A kept port that no session has used for [`KEPT_IDLE`]: it is held no longer, and control should be told
    /// ([`Request::ReleasePort`](super::punt::Request::ReleasePort)). To be asked again until there is none.
    pub fn release(&mut self, now: Timestamp) -> Option<Released> {
        let now = Moment::at(now);
        [Protocol::Tcp, Protocol::Udp].into_iter().find_map(|protocol| {
            let (due, port) = self.pool(protocol).next_release()?;
            (due <= now).then(|| self.lose(protocol, port)).flatten()
        })
    }

    /// A kept port is held no longer, whoever uses it.
    pub fn lose(&mut self, protocol: Protocol, port: u16) -> Option<Released> {
        let pool = self.pool_mut(protocol);
        let Entry { users, rests_until, last_user, .. } = pool.kept.remove(&port)?.entry;
        pool.used -= u32::from(users > 0);
        Some(Released { protocol, port, rests_until: rests_until.timestamp(), last_user })
    }

    /// When [`Ports::release`] has something, if sessions do not change that.
    pub fn next_release(&self) -> Option<Timestamp> {
        self.pools.iter().filter_map(Pool::next_release).min().map(|(due, _)| due.timestamp())
    }

    /// How many ports are held, kept ones included, and how many of them are in use.
    pub fn count(&self, protocol: Protocol) -> (u32, u32) {
        let pool = self.pool(protocol);
        ((pool.entries.len() + pool.kept.len()) as u32, pool.used)
    }

    fn pool(&self, protocol: Protocol) -> &Pool {
        &self.pools[number(protocol)]
    }

    fn pool_mut(&mut self, protocol: Protocol) -> &mut Pool {
        &mut self.pools[number(protocol)]
    }
}

#[inline]
fn number(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::Icmp => 2,
    }
}

/// A held port.
#[derive(Debug, Clone, Copy)]
struct Entry {
    port: u16,
    /// It belongs to a mapping.
    mapped: bool,
    /// How many sessions use it.
    users: u32,
    /// Unused ones are not to be used again before this, where others are free.
    rests_until: Moment,
    /// The address that it was last translated from.
    last_user: Ipv6Addr,
}

impl Entry {
    fn new(port: u16) -> Entry {
        Entry { port, mapped: false, users: 0, rests_until: Moment::START, last_user: Ipv6Addr::UNSPECIFIED }
    }

    /// Whether a flow may have the port, if that is free for its remote.
    fn may_serve(&self, lease: Lease) -> bool {
        !self.mapped && (self.users == 0 || lease == Lease::Shared)
    }

    fn rests(&self, now: Moment) -> bool {
        self.users == 0 && now < self.rests_until
    }
}

/// A single port.
#[derive(Debug, Clone)]
struct Kept {
    entry: Entry,
    /// Since when no session uses it, if none does.
    unused_since: Moment,
}

/// The ports of one protocol.
#[derive(Debug, Clone)]
struct Pool {
    entries: Vec<Entry>,
    /// For each port one more than its place among `entries`; zero: not of the pool.
    places: Vec<u32>,
    links: Vec<Link>,
    /// Unused ones of the pool, the one that rests longest first.
    unused: List,
    /// Those that other flows may use as well, the one that a search met last at the end.
    busy: List,
    /// Kinds of flows that a search was in vain for, and until when that counts.
    vain: [(u32, Moment); VAIN_SEARCHES],
    /// Single ports, which only flows get that want them.
    kept: HashMap<u16, Kept>,
    /// Ports in use.
    used: u32,
}

impl Pool {
    fn new() -> Pool {
        Pool {
            entries: Vec::new(),
            places: vec![0; 1 << 16],
            links: Vec::new(),
            unused: List::EMPTY,
            busy: List::EMPTY,
            vain: [(0, Moment::START); VAIN_SEARCHES],
            kept: HashMap::new(),
            used: 0,
        }
    }

    #[inline]
    fn place(&self, port: u16) -> Option<usize> {
        (self.places[usize::from(port)] as usize).checked_sub(1)
    }

    #[inline]
    fn entry(&self, port: u16) -> Option<&Entry> {
        match self.place(port) {
            Some(place) => self.entries.get(place),
            None => self.kept.get(&port).map(|kept| &kept.entry),
        }
    }

    fn entry_mut(&mut self, port: u16) -> Option<&mut Entry> {
        match self.place(port) {
            Some(place) => self.entries.get_mut(place),
            None => self.kept.get_mut(&port).map(|kept| &mut kept.entry),
        }
    }

    fn hold(&mut self, ports: &[u16]) {
        for &port in ports {
            if port == 0 || self.entry(port).is_some() {
                continue;
            }
            let place = self.entries.len() as u32;
            self.places[usize::from(port)] = place + 1;
            self.entries.push(Entry::new(port));
            self.links.push(Link::ALONE);
            self.unused.push_first(&mut self.links, place);
        }
    }

    fn keep(&mut self, port: u16, now: Moment) -> bool {
        if port != 0 && self.entry(port).is_none() {
            self.kept.insert(port, Kept { entry: Entry::new(port), unused_since: now });
        }
        self.kept.contains_key(&port)
    }

    fn choose(
        &mut self,
        own: Transport,
        lease: Lease,
        now: Moment,
        kind: u32,
        claim: impl Fn(u16) -> Claim,
    ) -> Option<u16> {
        let may_have = |entry: &Entry| entry.may_serve(lease) && claim(entry.port) == Claim::Free;
        let (address, wanted) = own;
        let is_ours = |entry: &&Entry| !entry.rests(now) || entry.last_user == address;
        if self.entry(wanted).filter(is_ours).is_some_and(may_have) {
            return Some(wanted);
        }
        let longest_unused = self.unused.first().map(|place| self.entries[place as usize]).filter(may_have);
        if let Some(rested) = longest_unused.filter(|entry| !entry.rests(now)) {
            return Some(rested.port);
        }
        if lease != Lease::Shared {
            return longest_unused.map(|entry| entry.port);
        }
        let vain = kind as usize % VAIN_SEARCHES;
        let was_in_vain = self.vain[vain].0 == kind && now < self.vain[vain].1;
        let probes = if was_in_vain && longest_unused.is_some() { FEW_PROBES } else { PROBES };
        let enough = if was_in_vain { Claim::Yields(u32::MAX) } else { Claim::Free };
        let (claim, busy) = self.next_busy(probes, enough, claim);
        if claim == Claim::Free {
            return Some(busy);
        }
        if !was_in_vain {
            self.vain[vain] = (kind, now.after(VAIN));
        }
        longest_unused.map(|entry| entry.port).or((claim > Claim::Refused).then_some(busy))
    }

    /// The next port in use that is `enough` for the flow; without one among so many, the best of them.
    fn next_busy(&mut self, probes: usize, enough: Claim, claim: impl Fn(u16) -> Claim) -> (Claim, u16) {
        let mut best = (Claim::Refused, 0);
        for _ in 0..probes.min(self.busy.len() as usize) {
            let Some(place) = self.busy.first() else { break };
            self.busy.remove(&mut self.links, place);
            self.busy.push_last(&mut self.links, place);
            let port = self.entries[place as usize].port;
            let claim = claim(port);
            if claim > best.0 {
                best = (claim, port);
            }
            if claim >= enough {
                break;
            }
        }
        best
    }

    fn take(&mut self, port: u16, lease: Lease) {
        let place = self.place(port);
        let Some(entry) = self.entry_mut(port) else { return };
        entry.mapped = lease == Lease::Mapped;
        entry.users += 1;
        if entry.users == 1 {
            self.used += 1;
            if let Some(place) = place {
                self.unused.remove(&mut self.links, place as u32);
                if lease != Lease::Mapped {
                    self.busy.push_last(&mut self.links, place as u32);
                }
            }
        }
    }

    fn give_back(&mut self, port: u16, user: Ipv6Addr, now: Moment, rests_until: Moment) {
        let place = self.place(port);
        let Some(entry) = self.entry_mut(port).filter(|entry| entry.users > 0) else { return };
        entry.users -= 1;
        if entry.users == 0 {
            let was_mapped = std::mem::take(&mut entry.mapped);
            entry.rests_until = rests_until;
            entry.last_user = user;
            self.used -= 1;
            if let Some(place) = place {
                if !was_mapped {
                    self.busy.remove(&mut self.links, place as u32);
                }
                self.unused.push_last(&mut self.links, place as u32);
            } else if let Some(kept) = self.kept.get_mut(&port) {
                kept.unused_since = now;
            }
        }
    }

    /// The kept port that has been unused for longest, and when it may go.
    fn next_release(&self) -> Option<(Moment, u16)> {
        let unused = self.kept.iter().filter(|(_, kept)| kept.entry.users == 0);
        unused.map(|(&port, kept)| (kept.unused_since.after(KEPT_IDLE), port)).min()
    }
}

#[cfg(test)]
mod tests;
