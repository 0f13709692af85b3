//! Who ends for a new session: what has one of its tuples and yields, what is due, and where there is still no room, what yields in
//! the order of the table's header. Who that is, is found out before anything is changed, so that a trace may ask as well.

use super::moment::Moment;
use super::owners::Group;
use super::queues::Class;
use super::{NewSession, Refused, SessionId, Sessions, held};
use crate::edge::ports::Lease;
use crate::id::PortId;
use crate::time::Timestamp;

/// How many sessions a new one may end that are due, before others must yield.
const DUE_AT_LIMIT: usize = 16;
/// One for each of its tuples, those that are due, one for each of the two bounds, and one that has ended before.
const MOST: usize = 2 + DUE_AT_LIMIT + 2 + 1;

/// Sessions that end for a new one, in that order.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    ended: [(u32, Why); MOST],
    len: usize,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It has done so already.
    HasEnded,
    /// It was silent for too long.
    Due,
    /// It yields.
    Yields,
}

impl Room {
    fn new(ended: Option<SessionId>) -> Room {
        let mut room = Room { ended: [(0, Why::HasEnded); MOST], len: 0 };
        if let Some(SessionId(id)) = ended {
            room.add(id, Why::HasEnded);
        }
        room
    }

    fn add(&mut self, id: u32, why: Why) {
        if let Some(place) = self.ended.get_mut(self.len) {
            *place = (id, why);
            self.len += 1;
        }
    }

    fn all(&self) -> &[(u32, Why)] {
        self.ended.get(..self.len).unwrap_or_default()
    }

    fn has(&self, session: u32) -> bool {
        self.all().iter().any(|&(id, _)| id == session)
    }

    /// Those that yield.
    pub fn yielding(&self) -> impl Iterator<Item = SessionId> {
        self.all().iter().filter(|(_, why)| *why == Why::Yields).map(|&(id, _)| SessionId(id))
    }
}

impl Sessions {
    /// Who ends for a new session, and why that is refused all the same, if it is. `ended` counts as one that has ended already.
    pub fn room(
        &self,
        now: Timestamp,
        new: &NewSession,
        ended: Option<SessionId>,
    ) -> (Room, Option<Refused>) {
        let mut room = Room::new(ended);
        let found =
            self.make_way(new, ended, &mut room).and_then(|()| self.find_room(now, new.owner, &mut room));
        (room, found.err())
    }

    /// Ends those sessions.
    pub(super) fn make_room(&mut self, now: Timestamp, room: &Room) {
        for &(id, why) in room.all() {
            let id = SessionId(id);
            match why {
                Why::HasEnded => {}
                Why::Due => self.counted.expired += 1,
                Why::Yields => match self.get(id).group() {
                    Group::Closed => {}
                    Group::HalfOpen => self.counted.evicted_half_open += 1,
                    Group::Inbound | Group::OneWay | Group::Lasting => self.counted.evicted_other += 1,
                },
            }
            self.remove(id, now);
        }
    }

    /// Sessions that have one of the new one's tuples and yield: closed ones, and half-open ones whose port it was given.
    fn make_way(&self, new: &NewSession, ended: Option<SessionId>, room: &mut Room) -> Result<(), Refused> {
        for (tuple, is_chosen) in [(&new.original, false), (&new.reply, new.lease == Lease::Shared)] {
            let Some((id, _)) = self.find(tuple).filter(|(id, _)| !room.has(id.0)) else { continue };
            match self.get(id).group() {
                Group::Closed => room.add(id.0, Why::Yields),
                Group::HalfOpen if is_chosen => room.add(id.0, Why::Yields),
                _ => return Err(Refused::Collision),
            }
        }
        let is_anothers = held(new.lease, &new.original, &new.reply).is_some_and(|(internal, external)| {
            new.lease == Lease::Mapped
                && !self.mappings.admits(new.original.protocol, internal, external)
                && !ended.is_some_and(|id| self.is_all_of_mapping(id, internal))
        });
        if is_anothers { Err(Refused::Collision) } else { Ok(()) }
    }

    /// Who ends so that there is room for one more session of `owner`.
    fn find_room(&self, now: Timestamp, owner: PortId, room: &mut Room) -> Result<(), Refused> {
        if self.shortage(owner, room).is_some() {
            self.find_due(Moment::at(now), room);
        }
        // Once for each of the two bounds; limits that were lowered are not enforced all at once.
        for _ in 0..2 {
            let Some(refused) = self.shortage(owner, room) else { return Ok(()) };
            let ended = |id: u32| room.has(id);
            let may_go = |id: u32| self.get(SessionId(id)).may_yield(Moment::at(now));
            let victim = match refused {
                Refused::Share => self.owners.oldest_of(owner, ended, may_go),
                _ => {
                    self.owners.oldest_of_all(ended, |owner, group| self.ended_of(room, owner, group), may_go)
                }
            };
            room.add(victim.ok_or(refused)?, Why::Yields);
        }
        self.shortage(owner, room).map_or(Ok(()), Err)
    }

    /// Why there is no room for one more session of `owner`, if there is none.
    fn shortage(&self, owner: PortId, room: &Room) -> Option<Refused> {
        let own = room.all().iter().filter(|&&(id, _)| self.get(SessionId(id)).owner == owner).count();
        if self.owners.count(owner) - own as u32 >= self.limits.sessions_per_endpoint {
            Some(Refused::Share)
        } else if self.len() - room.len as u32 >= self.limits.sessions {
            Some(Refused::Full)
        } else {
            None
        }
    }

    /// Adds sessions that are due.
    fn find_due(&self, now: Moment, room: &mut Room) {
        let before = room.len;
        for class in Class::ALL {
            let timeout = class.timeout(&self.timeouts);
            for id in self.queues.iter(class) {
                if room.has(id) {
                    continue;
                }
                let is_due = self.get(SessionId(id)).last_seen.after(timeout) <= now;
                if !is_due || room.len - before == DUE_AT_LIMIT {
                    break;
                }
                room.add(id, Why::Due);
            }
        }
    }

    /// How many of an endpoint's group have ended.
    fn ended_of(&self, room: &Room, owner: PortId, group: Group) -> u32 {
        let ended = room.all().iter().map(|&(id, _)| self.get(SessionId(id)));
        ended.filter(|it| it.owner == owner && it.group() == group).count() as u32
    }
}
