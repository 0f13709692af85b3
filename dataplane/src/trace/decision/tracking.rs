//! What is decided about a packet's session, and whether there may be one.

use std::net::Ipv4Addr;

use super::Names;
use crate::edge::config::Action;
use crate::edge::session::Direction;
use crate::edge::tuple::Tuple;
use crate::id::NetworkId;

/// A decision about a packet's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracking {
    /// The packet is of this flow.
    Flow(Tuple),
    /// The packet is an ICMP error about a packet of this flow.
    ErrorAbout(Tuple),
    /// A session has this tuple.
    Session {
        /// Its number.
        number: u32,
        /// Which way the packet goes in it.
        direction: Direction,
        /// Its state in one word.
        state: &'static str,
    },
    /// The session may not go on.
    Ends(Ended),
    /// No session has the tuple.
    NoSession,
    /// The destination is a published port.
    Published {
        /// The publication.
        id: u32,
        /// The endpoint's address and port that it leads to.
        to: (Ipv4Addr, u16),
    },
    /// The destination is an endpoint-independent mapping.
    Mapped {
        /// The endpoint's address and port.
        to: (Ipv4Addr, u16),
    },
    /// The destination is the host, and the port neither published nor mapped.
    NotPublished,
    /// A list of rules was asked.
    Rules {
        /// Whose list it is.
        list: RuleList,
        /// Whether there are any rules in it.
        is_empty: bool,
        /// The rule that decides: its number, and what it does; none matches: the packet passes.
        hit: Option<(u32, Action)>,
    },
    /// This session ends, so that there is room for the new one.
    MakesRoom {
        /// Its number.
        number: u32,
        /// Its state in one word.
        state: &'static str,
    },
    /// A new session is opened.
    New {
        /// The packets of whoever begins.
        original: Tuple,
        /// The packets of whoever answers.
        reply: Tuple,
    },
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Rules, links or publications have changed, and do not admit it any more.
    NotAdmitted,
    /// Its packets would leave from another address now, or its endpoint has gone.
    WayChanged,
}

/// Whose list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleList {
    /// A network's.
    Network(NetworkId),
    /// Who may come to a publication.
    Publication(u32),
}

impl Tracking {
    pub(super) fn words(&self, names: &dyn Names) -> String {
        match self {
            Tracking::Flow(tuple) => format!("flow {tuple}"),
            Tracking::ErrorAbout(tuple) => format!("ICMP error about {tuple}"),
            Tracking::Session { number, direction, state } => {
                let whose = match direction {
                    Direction::Original => "whoever began it",
                    Direction::Reply => "whoever answers",
                };
                format!("session {number}, {state}: a packet of {whose}")
            }
            Tracking::Ends(why) => format!("the session ends: {}", why.words()),
            Tracking::NoSession => "no session".into(),
            Tracking::Published { id, to: (address, port) } => {
                format!("{} leads to {address}:{port}", names.publication(*id))
            }
            Tracking::Mapped { to: (address, port) } => {
                format!("the port is mapped to {address}:{port}, whoever sends")
            }
            Tracking::NotPublished => "to the host, and to no published port".into(),
            Tracking::Rules { list, is_empty, hit } => list.words(names, *is_empty, *hit),
            Tracking::MakesRoom { number, state } => {
                format!("session {number}, {state}, ends to make room for the new one")
            }
            Tracking::New { original, reply } => format!("new session: {original}, answered by {reply}"),
        }
    }
}

impl Ended {
    fn words(self) -> &'static str {
        match self {
            Ended::NotAdmitted => "rules, links or publications have changed, and do not admit it any more",
            Ended::WayChanged => "its packets would leave from another address now, or its endpoint has gone",
        }
    }
}

impl RuleList {
    fn words(self, names: &dyn Names, is_empty: bool, hit: Option<(u32, Action)>) -> String {
        match self {
            RuleList::Network(id) => {
                let network = names.network(id);
                match hit {
                    None if is_empty => format!("{network} has no rules"),
                    None => format!("rules of {network}: none matches, so it passes"),
                    Some((number, Action::Allow)) => format!("rules of {network}: rule {number} allows it"),
                    Some((number, Action::Deny)) => format!("rules of {network}: rule {number} denies it"),
                }
            }
            RuleList::Publication(id) => {
                let whom = match hit {
                    None => "anybody",
                    Some((_, Action::Allow)) => "this sender too",
                    Some((_, Action::Deny)) => "others, not for this sender",
                };
                format!("{} is for {whom}", names.publication(id))
            }
        }
    }
}
