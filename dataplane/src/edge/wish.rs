//! Wishes: ports of the host that flows would like to keep, because somebody inside chose them on purpose, and that control was
//! asked for.
//!
//! Bound: 512 wishes, half of every eight for one protocol at most where the other wants them ([`Cache`]). A wish that is refused, or
//! that nobody answers within a second, is not asked for again for ten: flows then make do with another port.

use core::time::Duration;

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
/// How many ports are kept at once, of TCP and UDP together: what is kept the host's programs cannot have.
pub(super) const MAX_KEPT: usize = 256;

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

#[derive(Debug, Clone, Copy)]
struct Wish {
    asked: bool,
    /// When it is given up, or may be asked for again.
    until: Timestamp,
}

/// The memory of wishes.
#[derive(Debug)]
pub(super) struct Wishes(Cache<WishKey, Wish>);

impl Wishes {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Whether somebody chose this port on purpose.
    pub(super) fn is_wish(protocol: Protocol, port: u16) -> bool {
        protocol != Protocol::Icmp && (FIRST_USER..FIRST_EPHEMERAL).contains(&port)
    }

    /// A flow has this port, which is not held, as its own: whether it should wait for it.
    pub(super) fn is_worth_waiting(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        port: u16,
        out: &mut Out,
    ) -> bool {
        if !Self::is_wish(protocol, port) {
            return false;
        }
        let key = WishKey { protocol, port };
        match self.0.get(&key, now) {
            Some(wish) if now < wish.until => wish.asked,
            Some(wish) if wish.asked => {
                *wish = Wish { asked: false, until: now + REFUSED };
                false
            }
            _ => {
                out.ask(Request::KeepPort { protocol, port });
                self.0.insert(key, now, Wish { asked: true, until: now + PATIENCE });
                true
            }
        }
    }

    /// The port is held now. Whether it was wished for.
    pub(super) fn fulfil(&mut self, protocol: Protocol, port: u16) -> bool {
        let key = WishKey { protocol, port };
        let wished = self.0.get(&key, Timestamp::ZERO).is_some_and(|wish| wish.asked);
        self.0.remove(&key);
        wished
    }

    /// The port cannot be had.
    pub(super) fn refuse(&mut self, now: Timestamp, protocol: Protocol, port: u16) {
        self.0.insert(WishKey { protocol, port }, now, Wish { asked: false, until: now + REFUSED });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_chosen_port_is_asked_for_once_and_waited_for_a_second() {
        let (mut wishes, mut out) = (Wishes::new(), Out::new());
        assert!(wishes.is_worth_waiting(at(0), Protocol::Udp, 5060, &mut out));
        assert!(wishes.is_worth_waiting(at(500), Protocol::Udp, 5060, &mut out));
        assert_eq!(out.requests(), [Request::KeepPort { protocol: Protocol::Udp, port: 5060 }]);
        assert!(!wishes.is_worth_waiting(at(1000), Protocol::Udp, 5060, &mut out));
        assert!(!wishes.is_worth_waiting(at(10_999), Protocol::Udp, 5060, &mut out));
        assert!(wishes.is_worth_waiting(at(11_000), Protocol::Udp, 5060, &mut out), "and asked for again");
    }

    #[test]
    fn a_refusal_holds_for_a_while_and_ephemeral_ports_are_no_wish() {
        let (mut wishes, mut out) = (Wishes::new(), Out::new());
        assert!(!wishes.is_worth_waiting(at(0), Protocol::Tcp, 40_000, &mut out));
        assert!(!wishes.is_worth_waiting(at(0), Protocol::Icmp, 7, &mut out));
        assert!(!wishes.is_worth_waiting(at(0), Protocol::Tcp, 1023, &mut out), "the host's own");
        assert!(out.requests().is_empty());
        wishes.refuse(at(0), Protocol::Tcp, 8080);
        assert!(!wishes.is_worth_waiting(at(9999), Protocol::Tcp, 8080, &mut out));
        assert!(!wishes.fulfil(Protocol::Tcp, 8080), "a pool that has it by chance is a pool");
        assert!(wishes.is_worth_waiting(at(20_000), Protocol::Tcp, 8081, &mut out));
        assert!(wishes.fulfil(Protocol::Tcp, 8081));
    }
}
