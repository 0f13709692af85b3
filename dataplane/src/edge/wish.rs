//! Wishes: ports of the host that flows would like to keep, because somebody inside chose them on purpose, and that control was
//! asked for.
//!
//! # Which ports
//!
//! Those from 1024 to 32767. Below are the host's own services; from 32768 on the kernel of a namespace chooses source ports by itself
//! (its `net.ipv4.ip_local_port_range`, which no namespace takes over from another), and nobody can tell such a port from one that was
//! chosen on purpose: each new flow would cost a socket of the host's, to no avail.
//!
//! # Bound and share
//!
//! There are never more than [`MAX_KEPT`] ports that are kept or asked for, of both protocols together: what is kept the host's programs
//! cannot have. Nobody loses one that a session uses, as with sessions, so room must stay for whoever comes: an endpoint gets one more
//! only while it has fewer than an eighth of those that are left (Choudhury and Hahne, "Dynamic queue length thresholds", 1998); who
//! has none gets one as long as there is any. Alone an endpoint gets 28; eight that want all that they can get have 16 each and leave
//! half, 20 that come one after another leave a tenth. Whoever gets none makes do with another port.
//!
//! # Ageing
//!
//! A port goes back soon after its last session ([`super::ports`]). For as long as it would rest in the pool nobody but who had
//! it last asks for it. A wish that is refused, or that nobody answers within a second, its endpoint does not repeat for ten. Until then
//! an answer that comes late is still expected, so the question counts. Refusals and rests are remembered in a [`Cache`] of 512 each;
//! of refusals half of every eight are one endpoint's at most, where others want them.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv6Addr;

use super::cache::{Cache, Key};
use super::ports::Released;
use super::punt::Request;
use super::tuple::Protocol;
use crate::id::{MAX_PORTS, PortId};
use crate::out::Out;
use crate::time::Timestamp;

const CAPACITY: usize = 512;
/// How long flows wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a port that cannot be had is not asked for.
const REFUSED: Duration = Duration::from_secs(10);
/// Ports below are for the host's own services (RFC 6335, section 6): an endpoint must not be able to take them from it.
const FIRST_USER: u16 = 1024;
/// Ports from here on are the kernel's choice in every new namespace (net/ipv4/af_inet.c, inet_init_net), below somebody's.
const FIRST_EPHEMERAL: u16 = 32_768;
/// How many ports are kept or asked for at once, of TCP and UDP together.
const MAX_KEPT: usize = 256;
/// An endpoint has fewer than this part of those that are left, or gets no more.
const PART: usize = 8;

/// A port that somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wish {
    protocol: Protocol,
    port: u16,
}

impl Key for Wish {
    fn owner(&self) -> u16 {
        self.protocol as u16
    }
}

/// A port that an endpoint wanted and did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Refusal {
    asker: PortId,
    wish: Wish,
}

impl Key for Refusal {
    fn owner(&self) -> u16 {
        self.asker.0
    }
}

/// Who wants a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker {
    /// The endpoint whose share it counts for.
    pub(super) endpoint: PortId,
    /// The address that the flow comes from.
    pub(super) address: Ipv6Addr,
}

/// A question that control has not answered.
#[derive(Debug, Clone, Copy)]
struct Open {
    wish: Wish,
    asker: PortId,
    asked: Timestamp,
}

impl Open {
    /// Whether its answer is expected no longer.
    fn is_lost(&self, now: Timestamp) -> bool {
        now >= self.asked + PATIENCE + REFUSED
    }
}

/// The memory of wishes.
#[derive(Debug)]
pub(super) struct Wishes {
    /// In the order in which control was asked.
    open: VecDeque<Open>,
    /// Ports that are kept, and for whom; none: nobody remembers, for the answer came late.
    kept: HashMap<Wish, Option<PortId>>,
    /// How many of both each endpoint has, by its port.
    shares: Box<[u16]>,
    /// Until when those that cannot be had are not asked for.
    refused: Cache<Refusal, Timestamp>,
    /// Those that were given back: until when they rest, and who may have them meanwhile.
    resting: Cache<Wish, (Timestamp, Ipv6Addr)>,
}

impl Wishes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            open: VecDeque::with_capacity(MAX_KEPT),
            kept: HashMap::with_capacity(MAX_KEPT),
            shares: vec![0; MAX_PORTS].into(),
            refused: Cache::new(CAPACITY, seed),
            resting: Cache::new(CAPACITY, seed),
        }
    }

    /// Whether somebody chose this port on purpose.
    pub(super) fn is_wish(protocol: Protocol, port: u16) -> bool {
        protocol != Protocol::Icmp && (FIRST_USER..FIRST_EPHEMERAL).contains(&port)
    }

    /// A flow of `asker` has this port, which is not held, as its own: whether it should wait for it.
    pub(super) fn is_worth_waiting(
        &self,
        now: Timestamp,
        asker: &Asker,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        if !Self::is_wish(protocol, port) {
            return false;
        }
        let wish = Wish { protocol, port };
        match self.asked(now, wish) {
            Some(asked) => now < asked + PATIENCE,
            None => self.has_share(now, asker.endpoint) && self.may_be_had(now, asker, wish),
        }
    }

    /// A packet of `asker` waits for the port: control is asked for it, unless it was.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        asker: PortId,
        protocol: Protocol,
        port: u16,
        out: &mut Out,
    ) {
        self.forget_lost(now);
        if let Some(question) = self.question(now, protocol, port) {
            self.open.push_back(Open { wish: Wish { protocol, port }, asker, asked: now });
            self.count(Some(asker), 1);
            out.ask(question);
        }
    }

    /// What control is asked when a packet waits for the port; none: it was.
    pub(super) fn question(&self, now: Timestamp, protocol: Protocol, port: u16) -> Option<Request> {
        let was = self.asked(now, Wish { protocol, port }).is_some();
        (!was).then_some(Request::KeepPort { protocol, port })
    }

    /// Control has answered: the port is kept from now on.
    pub(super) fn fulfil(&mut self, protocol: Protocol, port: u16) {
        let wish = Wish { protocol, port };
        let asker = self.close(wish);
        if let Some(before) = self.kept.insert(wish, asker) {
            self.count(before, -1);
        }
    }

    /// Control has answered, and the port needs not be kept: it is of the pool by now.
    pub(super) fn settle(&mut self, protocol: Protocol, port: u16) {
        let asker = self.close(Wish { protocol, port });
        self.count(asker, -1);
    }

    /// The port cannot be had.
    pub(super) fn refuse(&mut self, now: Timestamp, protocol: Protocol, port: u16) {
        let wish = Wish { protocol, port };
        if let Some(asker) = self.close(wish) {
            self.count(Some(asker), -1);
            self.refused.insert(Refusal { asker, wish }, now, now + REFUSED);
        }
    }

    /// A port that was kept is not any more.
    pub(super) fn give_back(&mut self, now: Timestamp, released: &Released) {
        let &Released { protocol, port, rests_until, last_user } = released;
        let wish = Wish { protocol, port };
        if let Some(owner) = self.kept.remove(&wish) {
            self.count(owner, -1);
            self.resting.insert(wish, now, (rests_until, last_user));
        }
    }

    fn has_share(&self, now: Timestamp, endpoint: PortId) -> bool {
        // In the order in which they were asked for.
        let lost = self.open.iter().take_while(|open| open.is_lost(now));
        let (all, own) =
            lost.fold((0, 0), |(all, own), open| (all + 1, own + u16::from(open.asker == endpoint)));
        let left = MAX_KEPT.saturating_sub(self.kept.len() + self.open.len() - all);
        let share = self.shares.get(endpoint.index()).map(|share| share.saturating_sub(own));
        share.is_some_and(|own| own == 0 && left > 0 || usize::from(own) < left / PART)
    }

    fn may_be_had(&self, now: Timestamp, asker: &Asker, wish: Wish) -> bool {
        let refusal = Refusal { asker: asker.endpoint, wish };
        let is_refused = self.refused.peek(&refusal).is_some_and(|until| now < *until);
        let rests = self.resting.peek(&wish);
        !is_refused && rests.is_none_or(|&(until, user)| now >= until || user == asker.address)
    }

    /// When control was asked for a port; none: it was not, or has answered, or that was lost.
    fn asked(&self, now: Timestamp, wish: Wish) -> Option<Timestamp> {
        let found = self.open.iter().find(|open| open.wish == wish && !open.is_lost(now));
        found.map(|open| open.asked)
    }

    /// Questions that nobody answers any more count no longer.
    fn forget_lost(&mut self, now: Timestamp) {
        while let Some(&open) = self.open.front()
            && open.is_lost(now)
        {
            self.open.pop_front();
            self.count(Some(open.asker), -1);
        }
    }

    /// The question is answered. Returns whose it was; his share still has it.
    fn close(&mut self, wish: Wish) -> Option<PortId> {
        let place = self.open.iter().position(|open| open.wish == wish)?;
        self.open.remove(place).map(|open| open.asker)
    }

    fn count(&mut self, endpoint: Option<PortId>, change: i16) {
        if let Some(share) = endpoint.and_then(|endpoint| self.shares.get_mut(endpoint.index())) {
            *share = share.saturating_add_signed(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn asker(endpoint: u16) -> Asker {
        let address = std::net::Ipv4Addr::new(10, 0, 0, endpoint as u8).to_ipv6_mapped();
        Asker { endpoint: PortId(endpoint), address }
    }

    /// Whether a flow of an endpoint waits for a port of UDP; if so, it is asked for.
    fn waits(wishes: &mut Wishes, now: Timestamp, endpoint: u16, port: u16, out: &mut Out) -> bool {
        let waits = wishes.is_worth_waiting(now, &asker(endpoint), Protocol::Udp, port);
        if waits {
            wishes.ask(now, PortId(endpoint), Protocol::Udp, port, out);
        }
        waits
    }

    /// How many ports of UDP an endpoint gets of those, one after another.
    fn gets(wishes: &mut Wishes, endpoint: u16, ports: core::ops::Range<u16>) -> usize {
        let mut out = Out::new();
        let gets = |port: &u16| {
            let waits = waits(wishes, at(0), endpoint, *port, &mut out);
            if waits {
                wishes.fulfil(Protocol::Udp, *port);
            }
            waits
        };
        ports.filter(gets).count()
    }

    fn released(port: u16, rests_until: Timestamp, last_user: u16) -> Released {
        Released { protocol: Protocol::Udp, port, rests_until, last_user: asker(last_user).address }
    }

    #[test]
    fn a_chosen_port_is_asked_for_once_and_waited_for_a_second() {
        let (mut wishes, mut out) = (Wishes::new(7), Out::new());
        assert!(waits(&mut wishes, at(0), 1, 5060, &mut out));
        assert!(waits(&mut wishes, at(500), 2, 5060, &mut out));
        assert_eq!(out.requests(), [Request::KeepPort { protocol: Protocol::Udp, port: 5060 }]);
        assert!(!waits(&mut wishes, at(1000), 1, 5060, &mut out));
        assert!(!waits(&mut wishes, at(10_999), 1, 5060, &mut out));
        assert!(waits(&mut wishes, at(11_000), 1, 5060, &mut out), "and asked for again");
    }

    #[test]
    fn a_refusal_holds_for_a_while_and_ephemeral_ports_are_no_wish() {
        let (mut wishes, mut out) = (Wishes::new(7), Out::new());
        assert!(!wishes.is_worth_waiting(at(0), &asker(1), Protocol::Tcp, 40_000));
        assert!(!wishes.is_worth_waiting(at(0), &asker(1), Protocol::Icmp, 2000));
        assert!(!wishes.is_worth_waiting(at(0), &asker(1), Protocol::Tcp, 1023), "the host's own");
        assert!(waits(&mut wishes, at(0), 1, 8080, &mut out));
        wishes.refuse(at(0), Protocol::Udp, 8080);
        assert!(!waits(&mut wishes, at(9999), 1, 8080, &mut out));
        assert!(waits(&mut wishes, at(10_000), 1, 8080, &mut out));
    }

    #[test]
    fn one_endpoint_gets_a_share_and_others_theirs() {
        let mut wishes = Wishes::new(7);
        assert_eq!(gets(&mut wishes, 1, 2000..2300), 28);
        assert_eq!(gets(&mut wishes, 2, 5060..5061), 1);
        // What one gives back he may have again, and no more.
        wishes.give_back(at(0), &released(2000, at(0), 1));
        assert_eq!(gets(&mut wishes, 1, 3000..3300), 1);
        // Twenty who want all that there is leave some to those who come later.
        let mut wishes = Wishes::new(7);
        let got: Vec<usize> =
            (0..50).map(|who| gets(&mut wishes, who, 2000 + who * 300..2300 + who * 300)).collect();
        assert_eq!(got.iter().take(20).sum::<usize>(), 230, "{got:?}");
        assert!(got.iter().take(40).all(|&it| it >= 1) && got.is_sorted_by(|a, b| a >= b), "{got:?}");
        assert_eq!(got.iter().sum::<usize>(), MAX_KEPT);
    }

    #[test]
    fn ports_that_are_kept_and_asked_for_are_bounded_together() {
        let (mut wishes, mut out) = (Wishes::new(7), Out::new());
        let asked = (2000..2200).filter(|&port| waits(&mut wishes, at(0), 1, port, &mut out)).count();
        assert_eq!(asked, 28);
        assert!(!waits(&mut wishes, at(5000), 1, 3000, &mut out), "an answer may come late");
        wishes.fulfil(Protocol::Udp, 2000);
        assert!(!waits(&mut wishes, at(5000), 1, 3000, &mut out), "it is kept instead");
        wishes.refuse(at(5000), Protocol::Udp, 2001);
        assert!(waits(&mut wishes, at(5000), 1, 3000, &mut out));
        wishes.settle(Protocol::Udp, 2002);
        assert!(waits(&mut wishes, at(5000), 1, 3001, &mut out));
        assert!(waits(&mut wishes, at(11_000), 1, 3002, &mut out), "those questions were lost");
        // A late answer is nobody's, and still counts in all.
        (2003..2028).for_each(|port| wishes.fulfil(Protocol::Udp, port));
        assert_eq!((wishes.kept.len(), wishes.open.len()), (26, 3));
        assert_eq!(wishes.shares[1], 4);
    }

    #[test]
    fn a_port_that_rests_goes_to_who_had_it_last_and_to_nobody_else() {
        let (mut wishes, mut out) = (Wishes::new(7), Out::new());
        assert_eq!(gets(&mut wishes, 1, 5060..5061), 1);
        wishes.give_back(at(2000), &released(5060, at(120_000), 1));
        assert!(!waits(&mut wishes, at(2000), 2, 5060, &mut out));
        assert!(waits(&mut wishes, at(2000), 1, 5060, &mut out));
        wishes.refuse(at(2000), Protocol::Udp, 5060);
        assert!(waits(&mut wishes, at(120_000), 2, 5060, &mut out));
    }
}
