//! Sessions in the order in which they expire, one queue for each timeout.

use core::time::Duration;

use super::list::{Link, List};
use crate::edge::config::Timeouts;

/// How long a UDP session with a name server outside lives after its first answer or its last question, at most (RFC 4787, REQ-5a
/// and section 4.3: shorter than two minutes for a well-known port). Most are of one question, and each holds a port of the
/// host towards that server.
pub(super) const DNS_TIMEOUT: Duration = Duration::from_secs(30);
/// The port of name servers.
pub(super) const DNS_PORT: u16 = 53;

/// Sessions of one timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    TcpEstablished,
    TcpHalfOpen,
    TcpClosed,
    Udp,
    /// UDP with a name server that has answered.
    Dns,
    Icmp,
}

impl Class {
    pub(super) const ALL: [Class; 6] =
        [Class::TcpEstablished, Class::TcpHalfOpen, Class::TcpClosed, Class::Udp, Class::Dns, Class::Icmp];

    /// How long its sessions live without a packet.
    #[inline]
    pub(super) fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Class::TcpEstablished => timeouts.tcp_established,
            Class::TcpHalfOpen => timeouts.tcp_half_open,
            Class::TcpClosed => timeouts.tcp_closed,
            Class::Udp => timeouts.udp,
            Class::Dns => timeouts.udp.min(DNS_TIMEOUT),
            Class::Icmp => timeouts.icmp,
        }
    }
}

/// One queue for each class.
#[derive(Debug)]
pub(super) struct Queues {
    links: Vec<Link>,
    queues: [List; Class::ALL.len()],
}

impl Queues {
    pub(super) fn new() -> Queues {
        Queues { links: Vec::new(), queues: [List::EMPTY; Class::ALL.len()] }
    }

    /// Makes room for so many sessions.
    pub(super) fn reserve(&mut self, sessions: usize) {
        self.links.reserve_exact(sessions.saturating_sub(self.links.len()));
    }

    /// A session joins its class; places are taken up in ascending order.
    #[inline]
    pub(super) fn add(&mut self, class: Class, session: u32) {
        if session as usize == self.links.len() {
            self.links.push(Link::ALONE);
        }
        self.queues[class as usize].push_last(&mut self.links, session);
    }

    /// A session leaves its class.
    #[inline]
    pub(super) fn remove(&mut self, class: Class, session: u32) {
        self.queues[class as usize].remove(&mut self.links, session);
    }

    /// The sessions, in the order in which they are due.
    pub(super) fn iter(&self, class: Class) -> impl Iterator<Item = u32> {
        self.queues[class as usize].iter(&self.links)
    }

    /// The session that is due first.
    #[inline]
    pub(super) fn first(&self, class: Class) -> Option<u32> {
        self.queues[class as usize].first()
    }
}
