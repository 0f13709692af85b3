//! The table of sessions: every flow that the edge lets through, found by the tuple of either direction.
//!
//! # Layout
//!
//! What a packet needs of its session is 128 bytes, two neighbouring cache lines: both tuples, both hops, the state and when it was last
//! seen. Links and the rest stand in arrays of their own. An index of one-word slots leads from a tuple to its session
//! (`session/index.rs`). All memory is reserved when the limit is set, and touched when it is needed: nothing moves while
//! sessions come. A million sessions take 190 MB, see docs/decisions/0010-sessions.md.
//!
//! # Expiry
//!
//! A session stands in one queue for each class of timeouts, in the order of the epochs (4 s) in which sessions were last seen: a packet goes to
//! the tail with its session when it is the first of an epoch, and otherwise only writes the time. So the queues' heads are due
//! first, within an epoch, and nobody ever looks at the others: idle sessions cost nothing. [`Sessions::expire`] ends those that are
//! due, so many a call, never early and at most an epoch late. A clock that jumps makes many due at once, or few for long; no more.
//!
//! # Bounds
//!
//! There are [`Limits::sessions`] in all and [`Limits::sessions_per_endpoint`] for one endpoint. Where a new one finds no room, another
//! yields, in this order:
//!
//! 1. the one that closed longest ago (TCP, both FINs or a RST seen; the kernel's conntrack drops those early as well);
//! 2. the oldest half-open one (TCP, handshake not complete);
//! 3. of UDP and ICMP that began outside, the one that was used longest ago: senders may be forged by the thousand, and whom it
//!    hits comes in again by the same publication;
//! 4. of UDP from inside that nobody has answered, the one that was used longest ago, unless that was within 30 s,
//!
//! at the endpoint's share of the endpoint itself, where 4 comes before 2, at the table's limit of the endpoint that has most of its kind. So who
//! floods evicts itself: no endpoint loses one while another has more. Nothing else yields, established TCP and answered UDP least of all: the new session is refused. Who yields a port, and
//! how many an endpoint may have, is said in `session/choose.rs`.

mod choose;
mod entry;
mod index;
pub(crate) mod list;
pub mod mapping;
pub(crate) mod moment;
mod owners;
mod queues;
mod recent;
mod room;
mod shares;
mod show;
pub mod tcp;
#[cfg(test)]
mod tests;

use super::config::{Limits, Timeouts};
use super::ports::{Lease, Ports};
use super::tuple::{Protocol, Tuple};
use crate::id::PortId;
use crate::random;
use crate::sys::prefer_huge_pages;
use crate::time::Timestamp;
use entry::held;
use index::{Index, TupleHasher};
use mapping::{Mappings, Transport};
use moment::Moment;
use owners::Owners;
use queues::{Class, Queues};
use recent::Recents;
use shares::Shares;
use tcp::{State, TcpFlags};

pub use choose::Seeker;
pub use entry::{Direction, Hop, NewSession, Session};
pub use recent::FlowKey;
pub use room::Room;

/// How many sessions one [`Sessions::page`] or [`Sessions::sweep`] looks at: some 50 us.
const SCAN: usize = 4096;
/// No publication.
const NO_PUBLICATION: u32 = u32::MAX;

/// A session's place in the table: it is another session's when that one has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u32);

impl SessionId {
    /// The number, as people see it.
    pub fn number(self) -> u32 {
        self.0
    }

    #[inline]
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a session cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The endpoint has its share.
    Share,
    /// The table is full.
    Full,
    /// Another session has one of the tuples, or another endpoint the mapping: a port chosen too long ago.
    Collision,
}

/// What nobody asks for with every packet.
#[derive(Debug, Clone, Copy)]
struct Details {
    publication: u32,
    lease: Lease,
    /// The place is a session's.
    used: bool,
}

/// What the table counted since it was made.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    opened: u64,
    expired: u64,
    evicted_half_open: u64,
    evicted_other: u64,
    refused_tcp: u64,
    refused_other: u64,
}

/// All sessions of the host, with the ports and mappings that they hold: whoever ends a session gives back what it held.
#[derive(Debug)]
pub struct Sessions {
    limits: Limits,
    timeouts: Timeouts,
    hasher: TupleHasher,
    index: Index,
    sessions: Vec<Session>,
    details: Vec<Details>,
    /// Places that are no session's any more.
    vacant: Vec<u32>,
    queues: Queues,
    owners: Owners,
    ports: Ports,
    shares: Shares,
    mappings: Mappings,
    recents: Recents,
    counted: Counted,
}

impl Sessions {
    /// An empty table, keyed at random.
    pub fn new(limits: Limits, timeouts: Timeouts) -> Self {
        Self::with_seed(limits, timeouts, random::seed())
    }

    /// An empty table. With the same seed everything happens in the same way, which no peer must be able to foresee.
    pub fn with_seed(limits: Limits, timeouts: Timeouts, seed: u64) -> Self {
        let mut table = Self {
            limits,
            timeouts,
            hasher: TupleHasher::new(seed),
            index: Index::new(0),
            sessions: Vec::new(),
            details: Vec::new(),
            vacant: Vec::new(),
            queues: Queues::new(),
            owners: Owners::new(),
            ports: Ports::new(!seed),
            shares: Shares::default(),
            mappings: Mappings::default(),
            recents: Recents::new(),
            counted: Counted::default(),
        };
        table.configure(limits, timeouts);
        table
    }

    /// Sets bounds and timeouts. Sessions beyond lower bounds live on; new ones are refused until there are fewer.
    pub fn configure(&mut self, limits: Limits, timeouts: Timeouts) {
        let sessions = limits.sessions as usize;
        self.index.reserve(2 * sessions);
        let more = sessions.saturating_sub(self.sessions.len());
        self.sessions.reserve_exact(more);
        prefer_huge_pages(self.sessions.spare_capacity_mut());
        self.details.reserve_exact(more);
        self.vacant.reserve_exact(sessions.saturating_sub(self.vacant.len()));
        self.queues.reserve(sessions);
        self.owners.reserve(sessions);
        self.limits = limits;
        self.timeouts = timeouts;
    }

    /// The session that packets of this tuple belong to, and which way they go.
    #[inline(always)]
    pub fn find(&self, tuple: &Tuple) -> Option<(SessionId, Direction)> {
        self.index.find(self.hasher.hash(tuple), |id, direction| {
            self.sessions.get(id.index()).is_some_and(|session| session.tuple(direction) == tuple)
        })
    }

    /// A session that was found and has not ended since.
    #[inline]
    pub fn get(&self, id: SessionId) -> &Session {
        &self.sessions[id.index()]
    }

    /// A session that was found and has not ended since, to change its hops and generation.
    #[inline]
    pub fn get_mut(&mut self, id: SessionId) -> &mut Session {
        let session = &mut self.sessions[id.index()];
        self.recents.forget(session);
        session
    }

    /// The session of the last packet of that flow, and its direction there, if the session is still what it was.
    #[inline(always)]
    pub fn recent(&self, key: &FlowKey) -> Option<(SessionId, Direction)> {
        self.recents.find(key)
    }

    /// A packet of that flow went on.
    #[inline(always)]
    pub fn remember(&mut self, key: FlowKey, id: SessionId, direction: Direction) {
        self.recents.remember(key, id, direction);
    }

    /// The publication that a session came by.
    pub fn publication(&self, id: SessionId) -> Option<u32> {
        Some(self.details[id.index()].publication).filter(|&it| it != NO_PUBLICATION)
    }

    /// The ports that NAT may use.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The ports that NAT may use, to tell which are held.
    pub fn ports_mut(&mut self) -> &mut Ports {
        &mut self.ports
    }

    /// The external side of an endpoint-independent mapping that is in use.
    pub fn mapping_from(&self, protocol: Protocol, internal: Transport) -> Option<Transport> {
        self.mappings.external(protocol, internal)
    }

    /// The internal side of an endpoint-independent mapping that is in use.
    pub fn mapping_to(&self, protocol: Protocol, external: Transport) -> Option<Transport> {
        self.mappings.internal(protocol, external)
    }

    /// Opens a session with its first packet; `flags` if that is TCP.
    ///
    /// # Errors
    /// Where there is no room, see the file's header, or the tuples are another's.
    pub fn insert(
        &mut self,
        now: Timestamp,
        new: &NewSession,
        flags: Option<TcpFlags>,
    ) -> Result<SessionId, Refused> {
        let (room, refused) = self.room(now, new, None);
        self.make_room(now, &room);
        match refused {
            None => Ok(self.open(now, new, flags)),
            Some(refused) => {
                self.count_refused(new.original.protocol);
                Err(refused)
            }
        }
    }

    /// A new session found no room: in the table, or among the ports.
    pub fn count_refused(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Tcp => self.counted.refused_tcp += 1,
            Protocol::Udp | Protocol::Icmp => self.counted.refused_other += 1,
        }
    }

    /// Puts a session into the table, which has room for it.
    fn open(&mut self, now: Timestamp, new: &NewSession, flags: Option<TcpFlags>) -> SessionId {
        let session = Session::open(Moment::at(now), new, flags);
        let details =
            Details { publication: new.publication.unwrap_or(NO_PUBLICATION), lease: new.lease, used: true };
        let id = self.place(session, details);
        for direction in [Direction::Original, Direction::Reply] {
            self.index.insert(self.hasher.hash(session.tuple(direction)), id, direction);
        }
        self.queues.add(session.class(), id.0);
        self.owners.add(session.owner, session.group(), id.0);
        if let Some((internal, external)) = held(new.lease, &new.original, &new.reply) {
            self.ports.take(session.protocol(), external.1, new.lease);
            let is_first =
                new.lease != Lease::Mapped || self.mappings.attach(session.protocol(), internal, external);
            if is_first && session.counts(new.lease) {
                self.shares.add(self.share(new.lease, new.owner, internal, &new.reply));
            }
        }
        self.counted.opened += 1;
        id
    }

    /// Stores a session in a vacant place, or a new one.
    fn place(&mut self, session: Session, details: Details) -> SessionId {
        if let Some(id) = self.vacant.pop() {
            self.sessions[id as usize] = session;
            self.details[id as usize] = details;
            return SessionId(id);
        }
        let id = self.sessions.len() as u32;
        self.sessions.push(session);
        self.details.push(details);
        SessionId(id)
    }

    /// A packet of the session went through; `flags` if it is TCP.
    #[inline(always)]
    pub fn seen(&mut self, id: SessionId, direction: Direction, now: Timestamp, flags: Option<TcpFlags>) {
        let session = &mut self.sessions[id.index()];
        let (state, last_seen) = (session.state, session.last_seen);
        session.state = state.after(direction, flags);
        // The shorter time of a question that was answered begins with the answer.
        let is_first_answer = session.state != state && session.class() == Class::Dns;
        if session.is_refreshed_by(direction) || is_first_answer {
            session.last_seen = Moment::at(now);
        }
        if session.state != state || !session.last_seen.same_epoch(last_seen) {
            self.file_anew(id, state, last_seen);
        }
    }

    /// Moves a session, which was in that state and was last seen then, to where it belongs now. A session that was not refreshed
    /// keeps its place in the queue.
    #[cold]
    fn file_anew(&mut self, id: SessionId, state: State, last_seen: Moment) {
        let after = &self.sessions[id.index()];
        let before = Session { state, ..*after };
        let is_used = !last_seen.same_epoch(after.last_seen);
        if before.class() != after.class() || is_used {
            self.queues.remove(before.class(), id.0);
            self.queues.add(after.class(), id.0);
        }
        if before.group() != after.group() || is_used && after.group().is_by_use() {
            self.owners.remove(after.owner, before.group(), id.0);
            self.owners.add(after.owner, after.group(), id.0);
        }
        let lease = self.details[id.index()].lease;
        let (counted, counts) = (before.counts(lease), after.counts(lease));
        if counted != counts {
            let [original, reply] = &after.tuples;
            let share = self.share(lease, after.owner, (original.src, original.src_port), reply);
            if counts { self.shares.add(share) } else { self.shares.take(share) }
        }
    }

    /// Ends a session.
    pub fn remove(&mut self, id: SessionId, now: Timestamp) {
        let Some(details) = self.details.get_mut(id.index()).filter(|details| details.used) else { return };
        details.used = false;
        let lease = details.lease;
        let session = self.sessions[id.index()];
        self.recents.forget(&session);
        let [original, reply] = &session.tuples;
        for direction in [Direction::Original, Direction::Reply] {
            self.index.remove(self.hasher.hash(session.tuple(direction)), id, direction);
        }
        self.queues.remove(session.class(), id.0);
        self.owners.remove(session.owner, session.group(), id.0);
        if let Some((internal, external)) = held(lease, original, reply) {
            self.ports.give_back(session.protocol(), external.1, internal.0, now, &self.timeouts);
            let is_last = lease != Lease::Mapped || self.mappings.detach(session.protocol(), internal);
            if is_last && session.counts(lease) {
                self.shares.take(self.share(lease, session.owner, internal, reply));
            }
        }
        self.vacant.push(id.0);
    }

    /// Ends every session of an endpoint: as many as it may have.
    pub fn remove_owner(&mut self, owner: PortId, now: Timestamp) {
        while let Some(id) = self.owners.any_of(owner) {
            self.remove(SessionId(id), now);
        }
    }

    /// Ends every session that holds one of these ports of the host, in ascending order.
    pub fn remove_users(&mut self, now: Timestamp, protocol: Protocol, ports: &[u16]) {
        for place in 0..self.sessions.len() {
            let (Session { tuples: [original, reply], .. }, details) =
                (&self.sessions[place], &self.details[place]);
            let is_user = details.used
                && original.protocol == protocol
                && held(details.lease, original, reply)
                    .is_some_and(|(_, (_, port))| ports.binary_search(&port).is_ok());
            if is_user {
                self.remove(SessionId(place as u32), now);
            }
        }
    }

    /// Ends those of the next few thousand sessions from place `from` on that `condemns` says. Returns where to go on, if
    /// anywhere.
    pub fn sweep(
        &mut self,
        now: Timestamp,
        from: u32,
        mut condemns: impl FnMut(&Session, Option<u32>) -> bool,
    ) -> Option<u32> {
        let end = self.sessions.len().min((from as usize).saturating_add(SCAN));
        for place in from as usize..end {
            let id = SessionId(place as u32);
            if self.details[place].used && condemns(self.get(id), self.publication(id)) {
                self.remove(id, now);
            }
        }
        (end < self.sessions.len()).then_some(end as u32)
    }

    /// Ends sessions that were silent for too long, at most `budget` of them. Returns when there may be more, if ever.
    pub fn expire(&mut self, now: Timestamp, budget: usize) -> Option<Timestamp> {
        let moment = Moment::at(now);
        let mut ended = 0;
        for class in Class::ALL {
            while let Some(due) = self.next_due(class).filter(|&due| due <= moment) {
                if ended == budget {
                    return Some(due.timestamp());
                }
                let Some(id) = self.queues.first(class) else { break };
                self.remove(SessionId(id), now);
                self.counted.expired += 1;
                ended += 1;
            }
        }
        Class::ALL.into_iter().filter_map(|class| self.next_due(class)).min().map(Moment::timestamp)
    }

    /// When the head of a queue is due.
    fn next_due(&self, class: Class) -> Option<Moment> {
        let id = self.queues.first(class)?;
        Some(self.sessions[id as usize].last_seen.after(class.timeout(&self.timeouts)))
    }

    /// How many sessions there are.
    pub fn len(&self) -> u32 {
        (self.sessions.len() - self.vacant.len()) as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
