//! What people see of the edge: sessions, and how much of it is used.

use core::time::Duration;

use super::tuple::Tuple;
use crate::id::PortId;

/// A session, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its number: goes up with its place in the table, not with time.
    pub id: u32,
    /// The endpoint that it is counted for.
    pub owner: PortId,
    /// The packets of whoever began, on his side of the edge.
    pub original: Tuple,
    /// The packets of whoever answers, on his side of the edge.
    pub reply: Tuple,
    /// Its state in one word: `half-open`, `established`, `closing`, ... and for UDP and ICMP `one-way` or `two-way`.
    pub state: &'static str,
    /// The publication that it came by.
    pub publication: Option<u32>,
    /// How long it has been silent.
    pub idle: Duration,
    /// How long until it ends if it stays silent.
    pub expires_in: Duration,
}

/// Which sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Those of this endpoint.
    pub owner: Option<PortId>,
    /// Those that came by this publication.
    pub publication: Option<u32>,
}

/// How much of the edge is used, and what it counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EdgeStats {
    /// Sessions now.
    pub sessions: u32,
    /// Of those, half-open TCP.
    pub half_open: u32,
    /// Sessions ever opened.
    pub opened: u64,
    /// Sessions that ended by silence.
    pub expired: u64,
    /// Half-open TCP sessions that made room for others.
    pub evicted_half_open: u64,
    /// Sessions of UDP and ICMP that made room for others: begun outside, or answered by nobody.
    pub evicted_other: u64,
    /// New sessions that were refused for want of room, TCP.
    pub refused_tcp: u64,
    /// New sessions that were refused for want of room, the rest.
    pub refused_other: u64,
    /// Ports of the host held for NAT: TCP, UDP.
    pub ports_held: (u32, u32),
    /// Ports of the host in use by NAT: TCP, UDP.
    pub ports_used: (u32, u32),
    /// Frames that wait.
    pub waiting: u32,
    /// Sessions of each endpoint that has some.
    pub per_endpoint: Vec<(PortId, u32)>,
}
