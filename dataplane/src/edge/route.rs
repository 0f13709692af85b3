//! The kernel's routes, as far as they were asked for: one for each network and destination.
//!
//! A route is good until control says that routes have changed. It is then asked for again when it is next used, and the old one
//! serves for one second more: the news comes late anyway, and a change that does not concern a flow must not hold it up.
//! The kernel says nothing when it learns a path's MTU, so a route in use is asked for again every five minutes. "No route" is
//! believed for three seconds: short enough for whoever waits for his network to come up.
//!
//! Routes to clients of published ports are asked for as well, for their MTU ([`Edge::way_back`](super::Edge::way_back)).
//!
//! Bound: 4096 routes, half of every eight for one network at most where others want them ([`Cache`]); a route that had to go
//! costs its next user a question. A question that nobody answers is asked again every second, and given up after five.

use core::time::Duration;
use std::net::Ipv4Addr;

use super::cache::{Cache, Key};
use super::punt::{Request, Route};
use crate::network::NetworkId;
use crate::out::Out;
use crate::time::Timestamp;

/// Routes that are remembered at most.
const CAPACITY: usize = 4096;
/// A route in use is asked for again after this long.
const REFRESH: Duration = Duration::from_secs(300);
/// How long a route serves after it may have changed.
const GRACE: Duration = Duration::from_secs(1);
/// How long "no route" is believed.
const NEGATIVE: Duration = Duration::from_secs(3);
/// Time between two questions for one route.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a question stands, and how long a packet waits for its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a route is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RouteKey {
    pub(super) network: NetworkId,
    pub(super) destination: Ipv4Addr,
}

impl Key for RouteKey {
    fn owner(&self) -> u16 {
        self.network.0
    }
}

impl RouteKey {
    fn request(&self) -> Request {
        Request::Route { network: self.network, destination: self.destination }
    }
}

/// What is known of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The kernel's route.
    Known(Route),
    /// The kernel has none.
    None,
    /// Control has been asked.
    Asked,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    way: Way,
    /// When the question was first put, while it stands.
    asked: Timestamp,
    /// When to ask (again).
    ask_at: Timestamp,
    /// When what is known is believed no longer.
    until: Timestamp,
}

/// The memory of routes.
#[derive(Debug)]
pub(super) struct Routes {
    cache: Cache<RouteKey, Entry>,
    /// When the next question is to be put again.
    due: Option<Timestamp>,
}

impl Routes {
    pub(super) fn new(seed: u64) -> Self {
        Self { cache: Cache::new(CAPACITY, seed), due: None }
    }

    /// The way to a destination; asks control where needed. Of an unknown one only if the packet `may_wait` for the answer.
    pub(super) fn lookup(&mut self, now: Timestamp, key: RouteKey, may_wait: bool, out: &mut Out) -> Way {
        let entry = self.cache.get(&key, now);
        let (way, is_asked_for) = judge(entry.as_deref(), now, may_wait);
        if !is_asked_for {
            return way;
        }
        let ask_at = now + ASK_AGAIN;
        match entry.filter(|_| way != Way::Asked) {
            Some(entry) => entry.ask_at = ask_at,
            None => {
                self.cache.insert(key, now, Entry { way, asked: now, ask_at, until: now });
                self.due = Some(self.due.map_or(ask_at, |due| due.min(ask_at)));
            }
        }
        out.ask(key.request());
        way
    }

    /// What [`Routes::lookup`] would say and ask, without a change.
    pub(super) fn rehearse(&self, now: Timestamp, key: RouteKey, may_wait: bool) -> (Way, Option<Request>) {
        let (way, is_asked_for) = judge(self.cache.peek(&key), now, may_wait);
        (way, is_asked_for.then(|| key.request()))
    }

    /// Control has answered.
    pub(super) fn learn(&mut self, now: Timestamp, key: RouteKey, route: Option<Route>) {
        let (way, lifetime) = match route {
            Some(route) => (Way::Known(route), Duration::MAX),
            None => (Way::None, NEGATIVE),
        };
        let entry = Entry { way, asked: now, ask_at: now + REFRESH, until: now + lifetime };
        self.cache.insert(key, now, entry);
    }

    /// Every route may have changed.
    pub(super) fn distrust(&mut self, now: Timestamp) {
        self.cache.retain(|_, entry| {
            (entry.ask_at, entry.until) = (now.min(entry.ask_at), entry.until.min(now + GRACE));
            entry.way != Way::None
        });
        self.due = Some(now);
    }

    /// Puts questions again that nobody has answered. Returns when it wants to be called again.
    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Out) -> Option<Timestamp> {
        if self.due.is_none_or(|due| now < due) {
            return self.due;
        }
        let mut next: Option<Timestamp> = None;
        self.cache.retain(|key, entry| {
            if entry.way != Way::Asked {
                return true;
            }
            if now >= entry.ask_at {
                entry.ask_at = now + ASK_AGAIN;
                out.ask(key.request());
            }
            next = Some(next.map_or(entry.ask_at, |next| next.min(entry.ask_at)));
            now < entry.asked + PATIENCE
        });
        self.due = next;
        next
    }
}

/// What is known of a way by its entry, and whether control is to be asked now.
fn judge(entry: Option<&Entry>, now: Timestamp, may_wait: bool) -> (Way, bool) {
    match entry {
        Some(entry) if entry.way == Way::Asked => (Way::Asked, false),
        Some(entry) if now < entry.until => (entry.way, now >= entry.ask_at),
        _ => (Way::Asked, may_wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::PortId;

    const KEY: RouteKey = RouteKey { network: NetworkId(0), destination: Ipv4Addr::new(192, 0, 2, 7) };

    fn route(uplink: u16) -> Route {
        let next_hop = Ipv4Addr::new(198, 51, 100, 1);
        let source = Ipv4Addr::new(198, 51, 100, 2);
        Route { uplink: PortId(uplink), next_hop, source, mtu: 1500, neighbour: None }
    }

    /// What a look-up says, and whether it asked control.
    fn lookup(routes: &mut Routes, millis: u64) -> (Way, bool) {
        let mut out = Out::new();
        let way = routes.lookup(Timestamp::from_millis(millis), KEY, true, &mut out);
        (way, !out.requests().is_empty())
    }

    #[test]
    fn a_route_is_asked_for_once_and_then_every_second_for_five() {
        let mut routes = Routes::new(7);
        assert_eq!(lookup(&mut routes, 0), (Way::Asked, true));
        assert_eq!(lookup(&mut routes, 500), (Way::Asked, false));
        let mut asked = Vec::new();
        let mut out = Out::new();
        let mut now = Timestamp::from_millis(1);
        while let Some(due) = routes.tick(now, &mut out) {
            now = due;
            out.clear();
            let again = routes.tick(now, &mut out);
            asked.extend(out.requests().iter().map(|_| now.as_millis()));
            if again.is_none() {
                break;
            }
        }
        assert_eq!(asked, [1000, 2000, 3000, 4000, 5000]);
        assert_eq!(lookup(&mut routes, 6000), (Way::Asked, true), "forgotten: the next packet begins anew");
    }

    #[test]
    fn nobody_is_asked_for_who_may_not_wait() {
        let (mut routes, mut out) = (Routes::new(7), Out::new());
        assert_eq!(routes.lookup(Timestamp::ZERO, KEY, false, &mut out), Way::Asked);
        assert!(out.requests().is_empty());
        assert_eq!(lookup(&mut routes, 0), (Way::Asked, true), "nor taken for asked");
    }

    #[test]
    fn an_answer_holds_and_no_route_is_believed_for_a_while() {
        let mut routes = Routes::new(7);
        lookup(&mut routes, 0);
        routes.learn(Timestamp::from_millis(1), KEY, Some(route(9)));
        assert_eq!(lookup(&mut routes, 200_000), (Way::Known(route(9)), false));
        assert_eq!(lookup(&mut routes, 300_001), (Way::Known(route(9)), true), "refreshed while it serves");
        assert_eq!(lookup(&mut routes, 300_002), (Way::Known(route(9)), false));
        routes.learn(Timestamp::from_millis(300_003), KEY, None);
        assert_eq!(lookup(&mut routes, 303_000), (Way::None, false));
        assert_eq!(lookup(&mut routes, 303_003), (Way::Asked, true));
    }

    #[test]
    fn a_change_of_routes_is_asked_about_while_the_old_one_serves_a_second_more() {
        let mut routes = Routes::new(7);
        routes.learn(Timestamp::ZERO, KEY, Some(route(9)));
        routes.distrust(Timestamp::from_millis(1000));
        assert_eq!(lookup(&mut routes, 1500), (Way::Known(route(9)), true));
        assert_eq!(lookup(&mut routes, 2001), (Way::Asked, true), "nobody has confirmed it");
        routes.learn(Timestamp::from_millis(2002), KEY, Some(route(8)));
        assert_eq!(lookup(&mut routes, 9000), (Way::Known(route(8)), false));
    }
}
