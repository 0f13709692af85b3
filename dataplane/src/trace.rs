//! Following one frame through the decisions without sending it: what is decided about it, and what would leave.
//!
//! A trace takes the production path and changes nothing: no session is opened, refreshed or ended, no address or next hop learned,
//! no rule or frame counted, nothing kept waiting, nobody asked. Where the packet would have to wait for an answer, that is told, and
//! the rest as if the answer had come. A property test and a fuzz target hold traces against [`step`](crate::step::Core::step).

mod build;
pub mod decision;
pub mod describe;
pub mod grammar;
mod unfinished;

use std::net::Ipv4Addr;

pub use decision::{Decision, Names};
pub use describe::describe;
pub use grammar::{GrammarError, Probe};
pub use unfinished::{agreed_segment_size, left_to_device};

use crate::edge::punt::{Request, Route};
use crate::id::{NetworkId, PortId};
use crate::port::memory::OwnedFrame;
use crate::verdict::{Verdict, Wait};

/// What becomes of a traced frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What is decided in the end; [`fmt::Display`](core::fmt::Display) says it in words, the reason of a drop included.
    pub verdict: Verdict,
    /// What is decided on the way, in order.
    pub decisions: Vec<Decision>,
    /// What the packet waits for on the way, in order. After each everything is told as if that had come.
    pub waits: Vec<Wait>,
    /// What control is asked at once.
    pub asks: Vec<Request>,
    /// What leaves, in order.
    pub leaves: Vec<Leaving>,
    /// The route that is not known, without which the trace does not go on: that of packets from this network to this destination.
    pub lacks: Option<(NetworkId, Ipv4Addr)>,
}

/// A frame that would leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Where.
    pub port: PortId,
    /// The frame. A next hop's MAC that is not known yet is zero.
    pub frame: OwnedFrame,
    /// How many of [`Trace::waits`] are over by then.
    pub after: usize,
}

/// The kernel's answer about a way that a trace lacks ([`Trace::lacks`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownRoute {
    /// The network that packets come from.
    pub network: NetworkId,
    /// Where they go.
    pub destination: Ipv4Addr,
    /// The way; none: the kernel has no route, or one that refuses.
    pub route: Option<Route>,
}
