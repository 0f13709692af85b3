//! The edge: everything of a network that is layer 3. Routing to the host and the outside, NAT, publishing, rules.
//!
//! ```text
//! from an endpoint, to the gateway's MAC           from an uplink
//!   the session's next packet?  ─▶ translate         the session's next packet? ─▶ translate
//!   a published port?           ─▶ new session       an ICMP error about one?   ─▶ translate
//!   an open mapping?            ─▶ new session       a published port?          ─▶ new session
//!   the gateway itself?         ─▶ answer            an open mapping?           ─▶ new session
//!   an address of the host?     ─▶ host port         else the host's own business
//!   a way out?                  ─▶ new session
//! ```
//!
//! One worker owns the edge of the host, with its one table of sessions: other workers hand frames over
//! ([`Verdict::HandOver`](crate::verdict::Verdict)).
//!
//! Chapters: a packet comes in (`ingress`) from a network (`inside`) or an uplink (`outside`); it may open a session (`open`, `hairpin`) and
//! goes on within one (`forward`) by its way (`way`), translated ([`rewrite`], [`quote`], [`fragment`]). What the edge remembers: [`session`],
//! [`ports`], `route`, `neighbour`, `fragments`, `waiting`.

mod cache;
pub mod config;
mod explain;
mod forward;
pub mod fragment;
mod fragments;
mod hairpin;
mod ingress;
mod inside;
pub mod link;
mod neighbour;
mod open;
mod outside;
pub mod packet;
mod place;
pub mod ports;
mod publish;
pub mod punt;
pub mod quote;
pub mod rewrite;
mod route;
pub(crate) mod rules;
pub mod session;
#[cfg(test)]
mod specimen;
mod supply;
#[cfg(test)]
mod tests;
pub mod tuple;
pub mod view;
mod waiting;
mod way;
mod wish;

use core::time::Duration;
use std::sync::Arc;

use self::config::EdgeConfig;
pub(crate) use self::explain::Telling;
use self::fragment::Fragmenter;
use self::fragments::Fragments;
use self::neighbour::{NeighbourKey, Neighbours};
use self::place::Places;
use self::publish::Published;
use self::punt::{Answer, Request};
use self::route::{RouteKey, Routes};
use self::session::Sessions;
use self::supply::Supply;
use self::tuple::Protocol;
use self::view::{EdgeStats, SessionFilter, SessionView};
use self::waiting::{Awaited, Waiting};
use self::wish::Wishes;
use crate::frame::{EthernetView, Frame};
use crate::gateway::{GatewayState, Received};
use crate::network::{Port, PortId, Snapshot};
use crate::offload::Offload;
use crate::out::Out;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};

/// Next hops that sessions remember are looked up again after this long: that keeps routes and neighbours in use fresh, at one
/// look-up for each session.
const HOP_LIFETIME: Duration = Duration::from_secs(8);
/// Sessions that one tick ends at most, so that a tick is short.
const EXPIRY_BUDGET: usize = 1024;

/// A frame that came by an uplink.
#[derive(Debug, Clone, Copy)]
pub struct Outside<'a> {
    /// What the core decides by.
    pub snapshot: &'a Snapshot,
    /// The uplink's port.
    pub port: &'a Port,
    /// The frame's Ethernet header; on an uplink without one, the one that the port has put there.
    pub view: &'a EthernetView,
    /// The frame.
    pub frame: &'a Frame<'a>,
}

/// A frame that had to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The port that it came in by.
    pub ingress: PortId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What must still be done to them.
    pub offload: Offload,
}

/// The edge of the host: what one worker remembers for all networks.
#[derive(Debug)]
pub struct Edge {
    worker: usize,
    sessions: Sessions,
    published: Published,
    places: Places,
    routes: Routes,
    neighbours: Neighbours,
    fragments: Fragments,
    waiting: Waiting,
    wishes: Wishes,
    fragmenter: Fragmenter,
    /// What hops in sessions must carry to be believed; counts up when one of them may be wrong.
    generation: u32,
    /// When that is to be the case by itself.
    generation_ends: Timestamp,
    supply: Supply,
    /// When [`Edge::tick`] wants to be called, as far as packets have changed that since the last time.
    due: Option<Timestamp>,
    /// What is told while a frame is traced.
    told: Option<Box<Telling>>,
}

impl Edge {
    /// Nothing remembered yet. Worker number `worker` has its block in each port's counters.
    /// What it chooses at random follows from `seed`.
    pub fn with_seed(worker: usize, seed: u64) -> Self {
        let EdgeConfig { limits, timeouts, .. } = EdgeConfig::default();
        Self {
            worker,
            sessions: Sessions::with_seed(limits, timeouts, seed),
            published: Published::default(),
            places: Places::default(),
            routes: Routes::new(seed),
            neighbours: Neighbours::new(seed),
            fragments: Fragments::new(seed),
            waiting: Waiting::new(),
            wishes: Wishes::new(seed),
            fragmenter: Fragmenter::default(),
            generation: 1,
            generation_ends: Timestamp::ZERO,
            supply: Supply::new(),
            due: None,
            told: None,
        }
    }

    /// Decides by `new` instead of `old` from now on. Sessions of endpoints and publications that there are no more end.
    pub fn adopt(&mut self, now: Timestamp, old: &Snapshot, new: &Snapshot) {
        let (before, after) = (&old.edge, &new.edge);
        self.distrust_hops();
        if (before.limits, before.timeouts) != (after.limits, after.timeouts) {
            self.sessions.configure(after.limits, after.timeouts);
        }
        let is_gone = |id: PortId| match (old.port(id), new.port(id)) {
            // A port that has another's number has counters of its own.
            (Some(was), Some(is)) => !Arc::ptr_eq(&was.counters, &is.counters),
            (_, is) => is.is_none(),
        };
        for port in old.ports.iter().flatten().filter(|port| is_gone(port.id)) {
            self.sessions.remove_owner(port.id, now);
        }
        self.waiting.forget_ports(is_gone);
        self.neighbours.adopt(after);
        self.places = Places::new(new);
        if !Arc::ptr_eq(before, after) {
            let published = Published::new(&after.publications);
            let ended = published.missing_from(&self.published);
            self.published = published;
            self.end_sessions_of(now, &ended);
        }
        self.call_for_release();
    }

    /// A frame from a network to its gateway's MAC that is not for the gateway itself ([`GatewayState::is_meant`]).
    ///
    /// # Errors
    /// The reason for dropping the frame.
    #[inline]
    pub fn receive_inside(
        &mut self,
        now: Timestamp,
        gateway: &mut GatewayState,
        received: &Received<'_>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        let packet = packet::Packet::parse(received.view, received.frame)?;
        let mut ingress = ingress::Ingress::from_inside(now, gateway, received, packet, out);
        if let Some(verdict) = self.go_on(&mut ingress) {
            return verdict;
        }
        self.decide_inside(&mut ingress, received)
    }

    /// A frame from an uplink.
    ///
    /// # Errors
    /// The reason for dropping the frame.
    #[inline]
    pub fn receive_outside(
        &mut self,
        now: Timestamp,
        gateway: &mut GatewayState,
        outside: &Outside<'_>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        self.decide_outside(now, gateway, outside, out)
    }

    /// A frame that waited and may go on now.
    pub fn next_ready(&mut self) -> Option<Held> {
        self.waiting.next_ready()
    }

    /// Control tells something.
    pub fn answer(&mut self, now: Timestamp, snapshot: &Snapshot, answer: &Answer) {
        match answer {
            &Answer::Route { network, destination, route } => {
                let known = route.filter(|route| snapshot.edge.uplink(route.uplink).is_some());
                let key = RouteKey { network, destination };
                self.routes.learn(now, key, known);
                self.waiting.release(Awaited::Route(key));
            }
            Answer::RoutesChanged => {
                self.routes.distrust(now);
                self.neighbours.distrust(now);
                self.distrust_hops();
                self.call_at(now);
            }
            Answer::PortsHeld { protocol, ports } => {
                self.sessions.ports_mut().hold(*protocol, ports);
                self.supply.answered(now, *protocol, !ports.is_empty());
                self.waiting.release(Awaited::MorePorts(*protocol));
            }
            &Answer::PortKept { protocol, port } => {
                // Control holds it even if nobody waits for it any more: it is given back as one that is not used.
                if self.sessions.ports_mut().keep(protocol, port, now) {
                    self.wishes.fulfil(protocol, port);
                } else {
                    self.wishes.settle(protocol, port);
                }
                self.waiting.release(Awaited::Port(protocol, port));
                self.call_for_release();
            }
            Answer::PortsLost { protocol, ports } => self.lose_ports(now, *protocol, ports),
            &Answer::PortRefused { protocol, port } => {
                self.wishes.refuse(now, protocol, port);
                self.waiting.release(Awaited::Port(protocol, port));
            }
        }
    }

    /// Does what time alone causes. Returns when it wants to be called again, if ever.
    pub fn tick(&mut self, now: Timestamp, snapshot: &Snapshot, out: &mut Out) -> Option<Timestamp> {
        let expiry = self.sessions.expire(now, EXPIRY_BUDGET);
        let routes = self.routes.tick(now, out);
        let (mut failed, waiting) = (false, &mut self.waiting);
        let neighbours = self.neighbours.tick(now, &snapshot.edge, out, |key| {
            failed = true;
            waiting.release(Awaited::Neighbour(key));
        });
        if failed {
            self.distrust_hops();
        }
        while out.may_ask()
            && let Some(released) = self.sessions.ports_mut().release(now)
        {
            self.wishes.give_back(now, &released);
            out.ask(Request::ReleasePort { protocol: released.protocol, port: released.port });
        }
        let (worker, sessions) = (self.worker, &mut self.sessions);
        let waiting = self.waiting.tick(now, |awaited, held| {
            if let Awaited::MorePorts(protocol) = awaited {
                sessions.count_refused(protocol);
            }
            let reason = match awaited {
                Awaited::Route(_) => DropReason::RouteTimeout,
                Awaited::Neighbour(_) => DropReason::NeighbourTimeout,
                Awaited::Port(..) | Awaited::MorePorts(_) => DropReason::PortsExhausted,
                Awaited::FirstFragment(_) => DropReason::FragmentLost,
            };
            ingress::count_lost(snapshot, worker, awaited, held, reason);
        });
        let release = self.sessions.ports().next_release();
        self.due = None;
        [expiry, routes, neighbours, waiting, release].into_iter().flatten().min().map(|due| {
            // Whatever is due already was not finished by this call.
            due.max(now + Duration::from_millis(1))
        })
    }

    /// When [`Edge::tick`] wants to be called because of packets that came since it last was, if ever.
    #[inline]
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// At most `max` sessions that pass `filter`, from number `from` on, and where to go on.
    pub fn page(
        &self,
        now: Timestamp,
        filter: SessionFilter,
        from: u32,
        max: usize,
    ) -> (Vec<SessionView>, Option<u32>) {
        self.sessions.page(now, filter, from, max)
    }

    /// Ends those that pass `filter` of a few thousand sessions from place `from` on. Returns how many there were, and where to go
    /// on, if anywhere.
    pub fn flush(&mut self, now: Timestamp, filter: SessionFilter, from: u32) -> (u64, Option<u32>) {
        let before = self.sessions.len();
        let next = self.sessions.sweep(now, from, |session, publication| {
            filter.owner.is_none_or(|it| it == session.owner())
                && filter.publication.is_none_or(|it| publication == Some(it))
        });
        self.call_for_release();
        (u64::from(before - self.sessions.len()), next)
    }

    /// How much is used.
    pub fn stats(&self) -> EdgeStats {
        EdgeStats { waiting: self.waiting.len() as u32, ..self.sessions.stats() }
    }

    /// Ends the sessions of publications with these numbers, in ascending order. All at once, for whoever unpublishes wants it
    /// so: some 3 ms for a quarter of a million sessions.
    fn end_sessions_of(&mut self, now: Timestamp, publications: &[u32]) {
        let mut from = Some(0).filter(|_| !publications.is_empty());
        while let Some(place) = from {
            from = self.sessions.sweep(now, place, |_, publication| {
                publication.is_some_and(|id| publications.binary_search(&id).is_ok())
            });
        }
    }

    /// Kept ports are somebody else's from now on.
    fn lose_ports(&mut self, now: Timestamp, protocol: Protocol, ports: &[u16]) {
        let used = |port: &u16| self.sessions.ports().is_kept_in_use(protocol, *port);
        let mut used: Vec<u16> = ports.iter().copied().filter(used).collect();
        used.sort_unstable();
        if !used.is_empty() {
            self.sessions.remove_users(now, protocol, &used);
        }
        for &port in ports {
            if let Some(released) = self.sessions.ports_mut().lose(protocol, port) {
                self.wishes.give_back(now, &released);
            }
        }
    }

    /// Kept ports that no session uses any more are to be given back.
    fn call_for_release(&mut self) {
        if let Some(due) = self.sessions.ports().next_release() {
            self.call_at(due);
        }
    }

    /// Whatever sessions remember of next hops must be looked up again.
    fn distrust_hops(&mut self) {
        self.generation = next_generation(self.generation);
    }

    /// What hops must carry to be believed now.
    #[inline]
    fn generation(&mut self, now: Timestamp) -> u32 {
        if now >= self.generation_ends {
            if self.is_dry() {
                return next_generation(self.generation);
            }
            self.generation_ends = now + HOP_LIFETIME;
            self.distrust_hops();
        }
        self.generation
    }

    /// [`Edge::tick`] has something to do at `due`.
    fn call_at(&mut self, due: Timestamp) {
        if self.is_dry() {
            return;
        }
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// A neighbour has said its MAC.
    fn hear(&mut self, now: Timestamp, key: NeighbourKey, mac: crate::MacAddr) {
        let change = self.neighbours.hear(now, key, mac);
        if change.resolved {
            self.waiting.release(Awaited::Neighbour(key));
        }
        if change.stale {
            self.distrust_hops();
        }
    }
}

/// The one after `generation`; never 0, which is that of hops that are not known.
fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}
