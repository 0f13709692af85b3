//! Which port of the host a new session gets, and whom it takes it from.
//!
//! `ports.rs` has the order of choice. When nothing is left, another session to the same remote yields its port:
//!
//! 1. a closed one (TCP);
//! 2. a half-open one, of those that the search met that of the endpoint with most of them, so that who floods with SYNs
//!    pays for others' connections. Not while control is asked for more ports: a new flow waits for those.
//!
//! # Share
//!
//! Ports towards one remote are few: when fewer than an eighth of those held are unused, an endpoint that has half of them
//! towards a remote gets no more towards that one, and only its own sessions yield to it. With endpoint-independent mapping,
//! where a port is one flow's own whatever the remote, half of all is the most. Sessions that are there stay; closed ones do not
//! count.

use super::mapping::Transport;
use super::owners::Group;
use super::{Direction, SessionId, Sessions, held};
use crate::edge::ports::{Claim, Lease};
use crate::edge::tuple::Tuple;
use crate::id::PortId;
use crate::time::Timestamp;

/// How many other ports of a client are tried, to tell two of its sessions apart.
const TRIES: u32 = 16;
/// Ports below are services' (RFC 6335, section 6).
const FIRST_USER: u16 = 1024;

/// A new session that wants a port: as [`Sessions::choose_port`] takes it.
#[derive(Debug, Clone, Copy)]
pub struct Seeker<'a> {
    /// The endpoint that it is counted for.
    pub owner: PortId,
    /// Its own address and port.
    pub own: Transport,
    /// What replies look like, their destination port aside.
    pub reply: &'a Tuple,
    /// How it would hold the port.
    pub lease: Lease,
    /// There will be more ports, so half-open sessions do not yield.
    pub spare: bool,
}

impl Sessions {
    /// An external port for a new session of `owner` from `own` address and port, whose replies look like `reply`, its destination
    /// port aside. Unless `spare`, half-open sessions yield. [`Sessions::insert`] takes the port, at once.
    pub fn choose_port(
        &mut self,
        now: Timestamp,
        owner: PortId,
        own: Transport,
        reply: &Tuple,
        lease: Lease,
        spare: bool,
    ) -> Option<u16> {
        self.choose_port_for(now, &Seeker { owner, own, reply, lease, spare }, None)
    }

    /// What [`Sessions::choose_port`] would choose, had the session `ended` done so, and were the flow's own port held if `keeps_own`.
    /// Everything stays as it was.
    pub fn rehearse_port(
        &mut self,
        now: Timestamp,
        seeker: &Seeker<'_>,
        ended: Option<SessionId>,
        keeps_own: bool,
    ) -> Option<u16> {
        let protocol = seeker.reply.protocol;
        let saved = self.ports.save(protocol);
        if let Some((_, internal, external)) = ended.and_then(|id| self.lease_of(id)) {
            self.ports.give_back(protocol, external.1, internal.0, now, &self.timeouts);
        }
        if keeps_own {
            self.ports.keep(protocol, seeker.own.1, now);
        }
        let port = self.choose_port_for(now, seeker, ended);
        self.ports.restore(protocol, saved);
        port
    }

    /// Whether the session is the only one that uses the mapping of that internal side.
    pub fn is_all_of_mapping(&self, id: SessionId, internal: Transport) -> bool {
        self.lease_of(id).is_some_and(|(lease, its, _)| {
            lease == Lease::Mapped
                && its == internal
                && self.mappings.sessions(self.get(id).protocol(), internal) == 1
        })
    }

    /// How a session holds a port of the host, and both sides of it.
    fn lease_of(&self, id: SessionId) -> Option<(Lease, Transport, Transport)> {
        let lease = self.details.get(id.index())?.lease;
        let [original, reply] = &self.get(id).tuples;
        held(lease, original, reply).map(|(internal, external)| (lease, internal, external))
    }

    /// How many sessions count for a share, without the one that has `ended`.
    fn count_share(&self, share: u32, ended: Option<SessionId>) -> u32 {
        let counted = ended.and_then(|id| {
            let ((lease, internal, _), session) = (self.lease_of(id)?, self.get(id));
            let is_last = lease != Lease::Mapped || self.is_all_of_mapping(id, internal);
            let its_share = self.share(lease, session.owner, internal, session.tuple(Direction::Reply));
            (is_last && session.counts(lease)).then_some(its_share)
        });
        self.shares.count(share).saturating_sub(u32::from(counted == Some(share)))
    }

    fn choose_port_for(
        &mut self,
        now: Timestamp,
        seeker: &Seeker<'_>,
        ended: Option<SessionId>,
    ) -> Option<u16> {
        let &Seeker { owner, own, reply, lease, spare } = seeker;
        let share = self.share(lease, owner, own, reply);
        let has_share = self.ports.is_share(reply.protocol, self.count_share(share, ended));
        let Self { ports, index, hasher, sessions, owners, .. } = self;
        let holder = |port: u16| {
            let tuple = Tuple { dst_port: port, ..*reply };
            let is_it = |id: SessionId, direction| sessions[id.index()].tuple(direction) == &tuple;
            let found = index.find(hasher.hash(&tuple), is_it).filter(|(id, _)| Some(*id) != ended);
            found.map(|(id, _)| &sessions[id.index()])
        };
        let claim = |port| match holder(port) {
            None if has_share => Claim::Refused,
            None => Claim::Free,
            Some(holder) if has_share && holder.owner != owner => Claim::Refused,
            Some(holder) => match holder.group() {
                Group::Closed => Claim::Yields(u32::MAX),
                Group::HalfOpen if !spare => {
                    let is_less = ended.is_some_and(|id| sessions[id.index()].is_half_open_of(holder.owner));
                    Claim::Yields(owners.half_open_of(holder.owner) - u32::from(is_less))
                }
                _ => Claim::Refused,
            },
        };
        ports.choose(reply.protocol, own, lease, now, share, claim)
    }

    /// What the ports of an endpoint count by: the remote, or with mappings, which are for all remotes, whom they belong to.
    pub(super) fn share(&self, lease: Lease, owner: PortId, internal: Transport, reply: &Tuple) -> u32 {
        let counted = match lease {
            Lease::Mapped => Tuple { src: internal.0, src_port: 0, dst: internal.0, dst_port: 0, ..*reply },
            Lease::Shared | Lease::None => Tuple { dst_port: owner.0, ..*reply },
        };
        self.hasher.hash(&counted)
    }

    /// The reply of a new session from outside by a published port. A client may use one port for two publications that lead to
    /// the same service: its answers would look alike, so the endpoint sees another port of that client then. It needs no
    /// lease, for nobody else sees it. Should none be free among a few, the reply stays as it is, and collides.
    pub fn tell_apart(&self, original: &Tuple, reply: Tuple) -> Tuple {
        let is_taken =
            |reply: &Tuple| self.find(reply).is_some_and(|(id, _)| self.get(id).group() != Group::Closed);
        let first = self.hasher.hash(original);
        let others = (0..TRIES).map(|n| Tuple {
            dst_port: FIRST_USER + (first.wrapping_add(n) % u32::from(u16::MAX - FIRST_USER)) as u16,
            ..reply
        });
        core::iter::once(reply).chain(others).find(|it| !is_taken(it)).unwrap_or(reply)
    }
}
