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
use super::{NewSession, Refused, SessionId, Sessions, held};
use crate::edge::ports::{Claim, Lease};
use crate::edge::tuple::Tuple;
use crate::id::PortId;
use crate::time::Timestamp;

/// How many other ports of a client are tried, to tell two of its sessions apart.
const TRIES: u32 = 16;
/// Ports below are services' (RFC 6335, section 6).
const FIRST_USER: u16 = 1024;

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
        let share = self.share(lease, owner, own, reply);
        let has_share = self.ports.is_share(reply.protocol, self.shares.count(share));
        let Self { ports, index, hasher, sessions, owners, .. } = self;
        let holder = |port: u16| {
            let tuple = Tuple { dst_port: port, ..*reply };
            let is_it = |id: SessionId, direction| sessions[id.index()].tuple(direction) == &tuple;
            index.find(hasher.hash(&tuple), is_it).map(|(id, _)| &sessions[id.index()])
        };
        let claim = |port| match holder(port) {
            None if has_share => Claim::Refused,
            None => Claim::Free,
            Some(holder) if has_share && holder.owner != owner => Claim::Refused,
            Some(holder) => match holder.group() {
                Group::Closed => Claim::Yields(u32::MAX),
                Group::HalfOpen if !spare => Claim::Yields(owners.half_open_of(holder.owner)),
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

    /// Ends sessions that have one of the new one's tuples and yield: closed ones, and half-open ones whose port it was given.
    pub(super) fn make_way(&mut self, now: Timestamp, new: &NewSession) -> Result<(), Refused> {
        for (tuple, is_chosen) in [(&new.original, false), (&new.reply, new.lease == Lease::Shared)] {
            let Some((id, _)) = self.find(tuple) else { continue };
            match self.get(id).group() {
                Group::Closed => self.remove(id, now),
                Group::HalfOpen if is_chosen => self.evict(now, id.0),
                _ => return Err(Refused::Collision),
            }
        }
        let is_anothers = held(new.lease, &new.original, &new.reply).is_some_and(|(internal, external)| {
            new.lease == Lease::Mapped && !self.mappings.admits(new.original.protocol, internal, external)
        });
        if is_anothers { Err(Refused::Collision) } else { Ok(()) }
    }
}
