//! When control is asked for more ports of the pool, and whether its answer is still expected.
//!
//! An answer with ports may be followed by the next question at once, so that the pool grows as fast as it is used up. One without means
//! that there are no more: the next question waits, for what the host has now it may give back later. Silence means that the question was
//! lost: it is asked again after a second.

use core::time::Duration;

use super::punt::Request;
use super::tuple::Protocol;
use crate::out::Out;
use crate::time::Timestamp;

/// How long an answer is expected.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long control is not asked when it had no more.
const NO_MORE: Duration = Duration::from_secs(10);

/// What is known of one protocol's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Nothing stands in the way of a question.
    None,
    /// It was asked, and answered by then, or lost.
    Asked(Timestamp),
    /// There are no more, and until then nobody asks.
    NoMore(Timestamp),
}

/// The questions of both protocols.
#[derive(Debug)]
pub(super) struct Supply {
    tcp: Question,
    udp: Question,
}

impl Supply {
    pub(super) fn new() -> Self {
        Self { tcp: Question::None, udp: Question::None }
    }

    /// Few ports are left.
    pub(super) fn want(&mut self, now: Timestamp, protocol: Protocol, out: &mut Out) {
        if let Some(request) = self.question(now, protocol)
            && let Some(state) = self.state_mut(protocol)
        {
            *state = Question::Asked(now + PATIENCE);
            out.ask(request);
        }
    }

    /// What control is asked where few ports are left; none: nothing now.
    pub(super) fn question(&self, now: Timestamp, protocol: Protocol) -> Option<Request> {
        let may_ask = match self.state(protocol)? {
            Question::None => true,
            Question::Asked(until) | Question::NoMore(until) => now >= until,
        };
        may_ask.then_some(Request::MorePorts { protocol })
    }

    /// Control has answered, with ports or without.
    pub(super) fn answered(&mut self, now: Timestamp, protocol: Protocol, is_more: bool) {
        if let Some(state) = self.state_mut(protocol) {
            *state = if is_more { Question::None } else { Question::NoMore(now + NO_MORE) };
        }
    }

    /// Whether more ports may come any moment.
    pub(super) fn is_expected(&self, now: Timestamp, protocol: Protocol) -> bool {
        matches!(self.state(protocol), Some(Question::Asked(until)) if now < until)
    }

    /// None: identifiers of ICMP are not leased.
    fn state(&self, protocol: Protocol) -> Option<Question> {
        match protocol {
            Protocol::Tcp => Some(self.tcp),
            Protocol::Udp => Some(self.udp),
            Protocol::Icmp => None,
        }
    }

    fn state_mut(&mut self, protocol: Protocol) -> Option<&mut Question> {
        match protocol {
            Protocol::Tcp => Some(&mut self.tcp),
            Protocol::Udp => Some(&mut self.udp),
            Protocol::Icmp => None,
        }
    }
}
