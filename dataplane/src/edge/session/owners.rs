//! Sessions by endpoint, and which of them yield first.

use super::list::{Link, List};
use crate::id::PortId;

/// Sessions that yield alike when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// TCP that was closed or reset: yields first.
    Closed,
    /// TCP whose handshake is not complete: yields next.
    HalfOpen,
    /// UDP and ICMP that began outside: yields then, whichever was used longest ago.
    Inbound,
    /// UDP from inside that nobody has answered: yields last, whichever was used longest ago, once that is a while.
    OneWay,
    /// The rest: never yields.
    Lasting,
}

impl Group {
    const ALL: [Group; 5] = [Group::Closed, Group::HalfOpen, Group::Inbound, Group::OneWay, Group::Lasting];
    /// Those that yield to others' sessions, in this order.
    const YIELDING: [Group; 4] = [Group::Closed, Group::HalfOpen, Group::Inbound, Group::OneWay];
    /// Those that yield to their own endpoint's: what it sends without ever being answered must not cut what it is just beginning.
    const YIELDING_TO_OWN: [Group; 4] = [Group::Closed, Group::OneWay, Group::HalfOpen, Group::Inbound];

    /// Whether its sessions are in the order in which they were used last, not in the one in which they came.
    #[inline]
    pub(super) fn is_by_use(self) -> bool {
        matches!(self, Group::Inbound | Group::OneWay)
    }
}

/// Every endpoint's sessions, one list for each group, each in the order in which they came into it or, by epochs, were used.
#[derive(Debug)]
pub(super) struct Owners {
    links: Vec<Link>,
    /// For each group, by endpoint. A group's lists stand side by side, so that the longest of 4096 is found in some microseconds, which
    /// only an exhausted table needs.
    lists: [Vec<List>; Group::ALL.len()],
    half_open: u32,
}

impl Owners {
    pub(super) fn new() -> Owners {
        Owners { links: Vec::new(), lists: [const { Vec::new() }; Group::ALL.len()], half_open: 0 }
    }

    /// Makes room for so many sessions.
    pub(super) fn reserve(&mut self, sessions: usize) {
        self.links.reserve_exact(sessions.saturating_sub(self.links.len()));
    }

    /// A session joins a group; places are taken up in ascending order.
    #[inline]
    pub(super) fn add(&mut self, owner: PortId, group: Group, session: u32) {
        if session as usize == self.links.len() {
            self.links.push(Link::ALONE);
        }
        let lists = &mut self.lists[group as usize];
        if lists.len() <= owner.index() {
            lists.resize(owner.index() + 1, List::EMPTY);
        }
        lists[owner.index()].push_last(&mut self.links, session);
        self.half_open += u32::from(group == Group::HalfOpen);
    }

    /// A session leaves its group.
    #[inline]
    pub(super) fn remove(&mut self, owner: PortId, group: Group, session: u32) {
        self.lists[group as usize][owner.index()].remove(&mut self.links, session);
        self.half_open -= u32::from(group == Group::HalfOpen);
    }

    /// How many sessions an endpoint has.
    #[inline]
    pub(super) fn count(&self, owner: PortId) -> u32 {
        self.lists.iter().filter_map(|lists| lists.get(owner.index())).map(List::len).sum()
    }

    /// How many half-open sessions an endpoint has.
    pub(super) fn half_open_of(&self, owner: PortId) -> u32 {
        self.lists[Group::HalfOpen as usize].get(owner.index()).map_or(0, List::len)
    }

    /// How many sessions are half open.
    pub(super) fn half_open(&self) -> u32 {
        self.half_open
    }

    /// Some session of an endpoint.
    pub(super) fn any_of(&self, owner: PortId) -> Option<u32> {
        self.lists.iter().find_map(|lists| lists.get(owner.index())?.first())
    }

    /// The session of an endpoint that yields first to another of its own, of those that `may_go`. `ended` ones count as gone.
    pub(super) fn oldest_of(
        &self,
        owner: PortId,
        ended: impl Fn(u32) -> bool,
        may_go: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let first = |group: Group| self.first_of(self.lists[group as usize].get(owner.index())?, &ended);
        Group::YIELDING_TO_OWN.into_iter().filter_map(first).find(|&session| may_go(session))
    }

    /// The session that yields first, of the endpoint that has most of its group, if it `may_go`. `ended` ones count as gone: so
    /// many of an endpoint's group.
    pub(super) fn oldest_of_all(
        &self,
        ended: impl Fn(u32) -> bool,
        ended_of: impl Fn(PortId, Group) -> u32,
        may_go: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let first = |group: Group| {
            let lists = (0..).map(PortId).zip(&self.lists[group as usize]);
            let (_, most) = lists.max_by_key(|&(owner, list)| list.len() - ended_of(owner, group))?;
            self.first_of(most, &ended)
        };
        Group::YIELDING.into_iter().filter_map(first).find(|&session| may_go(session))
    }

    fn first_of(&self, list: &List, ended: impl Fn(u32) -> bool) -> Option<u32> {
        list.iter(&self.links).find(|&session| !ended(session))
    }

    /// Every endpoint that has sessions, and how many.
    pub(super) fn counts(&self) -> Vec<(PortId, u32)> {
        let endpoints = self.lists.iter().map(Vec::len).max().unwrap_or(0);
        (0..endpoints as u16)
            .map(|owner| (PortId(owner), self.count(PortId(owner))))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}
