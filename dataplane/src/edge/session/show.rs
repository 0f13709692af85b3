//! The table as people see it.

use super::moment::Moment;
use super::{SCAN, SessionId, Sessions};
use crate::edge::tuple::Protocol;
use crate::edge::view::{EdgeStats, SessionFilter, SessionView};
use crate::time::Timestamp;

impl Sessions {
    /// At most `max` sessions that the filter lets pass, of the next few thousand from place `from` on; and where to go on, if anywhere.
    pub fn page(
        &self,
        now: Timestamp,
        filter: SessionFilter,
        from: u32,
        max: usize,
    ) -> (Vec<SessionView>, Option<u32>) {
        let end = self.sessions.len().min((from as usize).saturating_add(SCAN));
        let mut views = Vec::new();
        for place in from as usize..end {
            if views.len() == max {
                return (views, Some(place as u32));
            }
            let id = SessionId(place as u32);
            let publication = self.publication(id);
            let wanted = filter.owner.is_none_or(|owner| owner == self.get(id).owner)
                && filter.publication.is_none_or(|wanted| publication == Some(wanted));
            if self.details[place].used && wanted {
                views.push(self.view(now, id));
            }
        }
        (views, (end < self.sessions.len()).then_some(end as u32))
    }

    fn view(&self, now: Timestamp, id: SessionId) -> SessionView {
        let session = self.get(id);
        let (now, due) = (Moment::at(now), session.last_seen.after(session.class().timeout(&self.timeouts)));
        SessionView {
            id: id.number(),
            owner: session.owner,
            original: session.tuples[0],
            reply: session.tuples[1],
            state: session.state(),
            publication: self.publication(id),
            idle: now.since(session.last_seen),
            expires_in: due.since(now),
        }
    }

    /// How much is used, and what was counted; what waits is not known here.
    pub fn stats(&self) -> EdgeStats {
        let ((tcp_held, tcp_used), (udp_held, udp_used)) =
            (self.ports.count(Protocol::Tcp), self.ports.count(Protocol::Udp));
        EdgeStats {
            sessions: self.len(),
            half_open: self.owners.half_open(),
            opened: self.counted.opened,
            expired: self.counted.expired,
            evicted_half_open: self.counted.evicted_half_open,
            evicted_other: self.counted.evicted_other,
            refused_tcp: self.counted.refused_tcp,
            refused_other: self.counted.refused_other,
            ports_held: (tcp_held, udp_held),
            ports_used: (tcp_used, udp_used),
            waiting: 0,
            per_endpoint: self.owners.counts(),
        }
    }
}
