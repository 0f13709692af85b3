//! Sessions of NAT, and how much of it is used.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::published::Protocol;

/// One direction of a session: `tcp 10.88.0.2:40000 > 192.0.2.7:80` as an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The source address.
    pub source: String,
    /// The source port; of ICMP the identifier of a request, and 0 in a reply.
    pub source_port: u16,
    /// The destination address.
    pub destination: String,
    /// The destination port; of ICMP the identifier of a reply, and 0 in a request.
    pub destination_port: u16,
}

/// A session of NAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatSession {
    /// The place in the table.
    pub id: u32,
    /// The endpoint that it is counted for, `NETWORK/ENDPOINT`.
    pub endpoint: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: Protocol,
    /// The packets of whoever began, on his side of the edge.
    pub original: Flow,
    /// The packets of whoever answers, on his side of the edge.
    pub reply: Flow,
    /// `half-open`, `established`, `closing`, ..., of UDP and ICMP `one-way` or `two-way`.
    pub state: String,
    /// The number of the publication that it came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<u32>,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
    /// Seconds until it ends if it stays silent.
    pub expires_seconds: u64,
}

/// A page of sessions (`GET /nat/sessions`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatSessions {
    /// Sessions by their place in the table.
    pub sessions: Vec<NatSession>,
    /// Where the next page begins (`?from=`); absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// What `DELETE /nat/sessions` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatFlushed {
    /// How many sessions ended.
    pub flushed: u64,
}

/// How many sessions an endpoint has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatGauge {
    /// `NETWORK/ENDPOINT`.
    pub endpoint: String,
    /// Sessions now.
    pub sessions: u32,
}

/// TCP's and UDP's share of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByProtocol {
    /// TCP.
    pub tcp: u32,
    /// UDP.
    pub udp: u32,
}

/// How much of NAT is used, and what it counted since the daemon's start (`GET /nat/stats`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatStats {
    /// Sessions now.
    pub sessions: u32,
    /// Sessions at most.
    pub sessions_max: u32,
    /// Sessions of one endpoint at most.
    pub sessions_per_endpoint_max: u32,
    /// Of the sessions, half-open TCP.
    pub half_open: u32,
    /// Sessions ever opened.
    pub opened: u64,
    /// Sessions that ended by silence.
    pub expired: u64,
    /// Half-open TCP sessions that made room for others.
    pub evicted_half_open: u64,
    /// Sessions of UDP and ICMP that made room for others: begun outside, or answered by nobody.
    pub evicted_other: u64,
    /// New TCP sessions that were refused for want of room.
    pub refused_tcp: u64,
    /// Other new sessions that were refused for want of room.
    pub refused_other: u64,
    /// Ports of the host that are held for NAT.
    pub ports_held: ByProtocol,
    /// Of these, in use.
    pub ports_used: ByProtocol,
    /// Frames that wait for a route, a neighbour, a port or a first fragment.
    pub waiting: u32,
    /// Sessions of each endpoint that has some.
    pub endpoints: Vec<NatGauge>,
}
