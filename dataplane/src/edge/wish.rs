//! Wishes: ports of the host that flows would like to keep, because somebody inside chose them on purpose, and that control was
//! asked for.
//!
//! Bound: there are never more than [`MAX_KEPT`] ports that are kept or asked for; who comes then makes do with another port.
//! A wish that is refused, or that nobody answers within a second, is not asked for again for ten. Until then an answer that comes
//! late is still expected, so the question counts. Refusals are remembered in a [`Cache`] of 512.

use core::time::Duration;
use std::collections::VecDeque;

use super::cache::{Cache, Key};
use super::punt::Request;
use super::tuple::Protocol;
use crate::out::Out;
use crate::time::Timestamp;

const CAPACITY: usize = 512;
/// How long flows wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a port that cannot be had is not asked for.
const REFUSED: Duration = Duration::from_secs(10);
/// Ports below are for the host's own services (RFC 6335, section 6): an endpoint must not be able to take them from it.
const FIRST_USER: u16 = 1024;
/// Ports from here on are the kernel's choice (net.ipv4.ip_local_port_range), below somebody's.
const FIRST_EPHEMERAL: u16 = 32_768;
/// How many ports are kept or asked for at once, of TCP and UDP together: what is kept the host's programs cannot have.
const MAX_KEPT: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct WishKey {
    protocol: Protocol,
    port: u16,
}

impl Key for WishKey {
    fn owner(&self) -> u16 {
        self.protocol as u16
    }
}

/// The memory of wishes.
#[derive(Debug)]
pub(super) struct Wishes {
    /// Those that control was asked for, in that order, and when.
    open: VecDeque<(WishKey, Timestamp)>,
    /// Until when those that cannot be had are not asked for.
    refused: Cache<WishKey, Timestamp>,
}

impl Wishes {
    pub(super) fn new(seed: u64) -> Self {
        Self { open: VecDeque::with_capacity(MAX_KEPT), refused: Cache::new(CAPACITY, seed) }
    }

    /// Whether somebody chose this port on purpose.
    pub(super) fn is_wish(protocol: Protocol, port: u16) -> bool {
        protocol != Protocol::Icmp && (FIRST_USER..FIRST_EPHEMERAL).contains(&port)
    }

    /// A flow has this port, which is not held, as its own: whether it should wait for it. `kept` ports are kept already.
    pub(super) fn is_worth_waiting(
        &self,
        now: Timestamp,
        protocol: Protocol,
        port: u16,
        kept: usize,
    ) -> bool {
        if !Self::is_wish(protocol, port) {
            return false;
        }
        let key = WishKey { protocol, port };
        match self.asked(now, key) {
            Some(asked) => now < asked + PATIENCE,
            None => {
                // In the order in which they were asked for.
                let lost = self.open.iter().take_while(|(_, asked)| is_lost(now, *asked)).count();
                kept + self.open.len() - lost < MAX_KEPT
                    && self.refused.peek(&key).is_none_or(|until| now >= *until)
            }
        }
    }

    /// A packet waits for the port: control is asked for it, unless it was.
    pub(super) fn ask(&mut self, now: Timestamp, protocol: Protocol, port: u16, out: &mut Out) {
        while self.open.front().is_some_and(|&(_, asked)| is_lost(now, asked)) {
            self.open.pop_front();
        }
        if let Some(question) = self.question(now, protocol, port) {
            self.open.push_back((WishKey { protocol, port }, now));
            out.ask(question);
        }
    }

    /// What control is asked when a packet waits for the port; none: it was.
    pub(super) fn question(&self, now: Timestamp, protocol: Protocol, port: u16) -> Option<Request> {
        let was = self.asked(now, WishKey { protocol, port }).is_some();
        (!was).then_some(Request::KeepPort { protocol, port })
    }

    /// Control has answered: the port is held now.
    pub(super) fn fulfil(&mut self, protocol: Protocol, port: u16) {
        self.open.retain(|(key, _)| *key != WishKey { protocol, port });
    }

    /// The port cannot be had.
    pub(super) fn refuse(&mut self, now: Timestamp, protocol: Protocol, port: u16) {
        self.fulfil(protocol, port);
        self.refused.insert(WishKey { protocol, port }, now, now + REFUSED);
    }

    /// When control was asked for a port; none: it was not, or has answered, or that was lost.
    fn asked(&self, now: Timestamp, wanted: WishKey) -> Option<Timestamp> {
        let found = self.open.iter().find(|(key, asked)| *key == wanted && !is_lost(now, *asked));
        found.map(|&(_, asked)| asked)
    }
}

/// Whether an answer to what was asked then is expected no longer.
fn is_lost(now: Timestamp, asked: Timestamp) -> bool {
    now >= asked + PATIENCE + REFUSED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Whether a flow waits for a port of UDP; if so, it is asked for.
    fn waits(wishes: &mut Wishes, now: Timestamp, port: u16, kept: usize, out: &mut Out) -> bool {
        let waits = wishes.is_worth_waiting(now, Protocol::Udp, port, kept);
        if waits {
            wishes.ask(now, Protocol::Udp, port, out);
        }
        waits
    }

    #[test]
    fn a_chosen_port_is_asked_for_once_and_waited_for_a_second() {
        let (mut wishes, mut out) = (Wishes::new(7), Out::new());
        assert!(waits(&mut wishes, at(0), 5060, 0, &mut out));
        assert!(waits(&mut wishes, at(500), 5060, 0, &mut out));
        assert_eq!(out.requests(), [Request::KeepPort { protocol: Protocol::Udp, port: 5060 }]);
        assert!(!waits(&mut wishes, at(1000), 5060, 0, &mut out));
        assert!(!waits(&mut wishes, at(10_999), 5060, 0, &mut out));
        assert!(waits(&mut wishes, at(11_000), 5060, 0, &mut out), "and asked for again");
    }

    #[test]
    fn a_refusal_holds_for_a_while_and_ephemeral_ports_are_no_wish() {
        let mut wishes = Wishes::new(7);
        assert!(!wishes.is_worth_waiting(at(0), Protocol::Tcp, 40_000, 0));
        assert!(!wishes.is_worth_waiting(at(0), Protocol::Icmp, 7, 0));
        assert!(!wishes.is_worth_waiting(at(0), Protocol::Tcp, 1023, 0), "the host's own");
        wishes.refuse(at(0), Protocol::Tcp, 8080);
        assert!(!wishes.is_worth_waiting(at(9999), Protocol::Tcp, 8080, 0));
        assert!(wishes.is_worth_waiting(at(10_000), Protocol::Tcp, 8080, 0));
    }

    #[test]
    fn ports_that_are_kept_and_asked_for_are_bounded_together() {
        let (mut wishes, mut out) = (Wishes::new(7), Out::new());
        let wanted = 2000..2200;
        assert_eq!(wanted.filter(|&port| waits(&mut wishes, at(0), port, 200, &mut out)).count(), 56);
        assert!(!waits(&mut wishes, at(5000), 3000, 200, &mut out), "an answer may come late");
        wishes.fulfil(Protocol::Udp, 2000);
        assert!(!waits(&mut wishes, at(5000), 3000, 201, &mut out), "it is kept instead");
        wishes.refuse(at(5000), Protocol::Udp, 2001);
        assert!(waits(&mut wishes, at(5000), 3000, 201, &mut out));
        assert!(waits(&mut wishes, at(11_000), 3001, 201, &mut out), "those questions were lost");
    }
}
