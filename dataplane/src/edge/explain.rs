//! What the edge decides about one packet, told while it decides.
//!
//! A trace takes the production path and changes nothing: no session is opened, refreshed or ended, nothing is learned,
//! counted or kept waiting, no next hop is asked for. Only control may be asked for a route that is not known, so that the next trace
//! can say more. When nobody traces this costs one branch at each place where something would be told.

use core::fmt;
use std::net::Ipv4Addr;

use super::Edge;
use super::config::Action;
use super::punt::Route;
use super::session::Direction;
use super::tuple::Tuple;
use crate::addr::MacAddr;
use crate::network::PortId;
use crate::out::Out;
use crate::port::memory::OwnedFrame;
use crate::verdict::Verdict;

/// What became of a traced frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What was decided in the end; [`fmt::Display`] says it in words, the reason of a drop included.
    pub verdict: Verdict,
    /// What the edge decided on the way, in order.
    pub decisions: Vec<Decision>,
    /// What would leave, and by which port.
    pub leaves: Vec<(PortId, OwnedFrame)>,
}

/// One step of a decision. [`fmt::Display`] says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
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
    /// The session may not go on: rules, routes or publications have changed.
    SessionEnds,
    /// No session has the tuple.
    NoSession,
    /// The destination is a published port.
    Published {
        /// The publication.
        id: u32,
        /// The endpoint's address and port that it leads to.
        to: (Ipv4Addr, u16),
    },
    /// The destination is the resolver at the gateway.
    Resolver,
    /// The destination is the mapping of an endpoint, open to all.
    Mapping {
        /// The endpoint's address and port that it leads to.
        to: (Ipv4Addr, u16),
    },
    /// The destination is one of the host's own addresses.
    Host,
    /// A list of rules was asked.
    Rules {
        /// Whose list it is.
        list: RuleList,
        /// The rule that decides: its number, and what it does; none matches: the packet passes.
        hit: Option<(u32, Action)>,
    },
    /// The kernel's route.
    Route(Route),
    /// The next hop's MAC is known.
    NextHop {
        /// The next hop.
        address: Ipv4Addr,
        /// Its MAC.
        mac: MacAddr,
    },
    /// The flow's own source port would be asked for; here it does without.
    PortWish(u16),
    /// The source is translated to this port.
    Port(u16),
    /// A new session would be opened.
    NewSession {
        /// The packets of whoever begins.
        original: Tuple,
        /// The packets of whoever answers.
        reply: Tuple,
    },
    /// What the packet becomes.
    Becomes(Tuple),
    /// The packet is larger than the MTU on its way.
    TooLarge {
        /// The packet's length in bytes; of a super-frame, a segment's.
        len: usize,
        /// The MTU.
        mtu: u16,
    },
}

/// Whose list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleList {
    /// The network's.
    Network,
    /// That of the network which a published port leads to from another.
    Target,
    /// The publication's.
    Publication,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Flow(tuple) => write!(f, "flow {tuple}"),
            Decision::ErrorAbout(tuple) => write!(f, "ICMP error about {tuple}"),
            Decision::Session { number, direction, state } => {
                let which = match direction {
                    Direction::Original => "whoever began it",
                    Direction::Reply => "whoever answers",
                };
                write!(f, "session {number}, {state}: a packet of {which}")
            }
            Decision::SessionEnds => {
                write!(f, "the session ends: rules, routes or publications have changed")
            }
            Decision::NoSession => write!(f, "no session"),
            Decision::Published { id, to: (address, port) } => {
                write!(f, "publication {id} leads to {address}:{port}")
            }
            Decision::Resolver => write!(f, "the destination is the resolver at the gateway"),
            Decision::Mapping { to: (address, port) } => {
                write!(f, "the port is that of {address}:{port}, for everybody")
            }
            Decision::Host => write!(f, "the destination is the host"),
            Decision::Rules { list, hit } => {
                let list = match list {
                    RuleList::Network => "the network's rules",
                    RuleList::Target => "the rules of the network that it leads to",
                    RuleList::Publication => "the publication's rules",
                };
                match hit {
                    Some((number, Action::Allow)) => write!(f, "{list}: rule {number} allows"),
                    Some((number, Action::Deny)) => write!(f, "{list}: rule {number} denies"),
                    None => write!(f, "{list}: none matches, so it passes"),
                }
            }
            Decision::Route(Route { uplink, next_hop, source, mtu, .. }) => {
                write!(f, "route by {uplink} to {next_hop}, from {source}, MTU {mtu}")
            }
            Decision::NextHop { address, mac } => write!(f, "next hop {address} is {mac}"),
            Decision::PortWish(port) => {
                write!(f, "port {port} of the host would be asked for, to be kept; here another one does")
            }
            Decision::Port(port) => write!(f, "source port {port} of the host"),
            Decision::NewSession { original, reply } => {
                write!(f, "new session: {original}, answered by {reply}")
            }
            Decision::Becomes(tuple) => write!(f, "becomes {tuple}"),
            Decision::TooLarge { len, mtu } => write!(f, "{len} bytes are too many for an MTU of {mtu}"),
        }
    }
}

impl Edge {
    /// Tells what it decides from now on, and changes nothing, until [`Edge::end_trace`].
    pub(crate) fn begin_trace(&mut self) {
        self.told = Some(Vec::new());
    }

    /// What was told.
    pub(crate) fn end_trace(&mut self) -> Vec<Decision> {
        self.told.take().unwrap_or_default()
    }

    /// Whether nothing must change.
    #[inline]
    pub(super) fn is_dry(&self) -> bool {
        self.told.is_some()
    }

    /// Tells a decision, if somebody traces.
    #[inline]
    pub(super) fn tell(&mut self, decision: impl FnOnce() -> Decision) {
        if let Some(told) = &mut self.told {
            told.push(decision());
        }
    }
}

/// What would leave: copies of the frame as it came, and what became of it.
pub(crate) fn leaves(frame: &crate::frame::Frame<'_>, out: &Out) -> Vec<(PortId, OwnedFrame)> {
    let owned = |bytes: Vec<u8>, offload| OwnedFrame { bytes, offload };
    let copies = out.copies().iter().map(|&egress| (egress, owned(frame.bytes.to_vec(), frame.offload)));
    let rewritten = out.rewritten().map(|it| (it.egress, owned(it.assemble(frame), it.offload)));
    let made = out.made().map(|(egress, made)| (egress, owned(made.bytes.to_vec(), made.offload)));
    copies.chain(rewritten).chain(made).collect()
}
