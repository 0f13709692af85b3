//! Traces: what would become of a frame.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /trace`: a frame to follow without sending it. Exactly one of `packet` and `frame`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The network that it is about.
    pub network: String,
    /// Where it comes in: an endpoint's or existing interface's name, `host`, or `uplink:IFACE`.
    pub from: String,
    /// The packet in words, such as `tcp 10.88.0.2:1234 > 192.0.2.7:80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The whole frame from the destination MAC on, in hexadecimal. Of one that is larger than the MTU, and of a checksum that is none yet,
    /// it is assumed that the sender has left the rest to its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// With `frame`: the largest TCP segment in bytes that both ends of its connection have announced. So a super-frame is cut, unless
    /// the MTU allows less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_size: Option<u16>,
}

/// A frame that would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceFrame {
    /// Where: `NETWORK/NAME` or `uplink:IFACE`.
    pub port: String,
    /// What it is, in words.
    pub packet: String,
    /// The frame from the destination MAC on, in hexadecimal. Its checksum may be left to whoever sends it; a MAC that is not known yet
    /// is zero.
    pub frame: String,
    /// What must come before it leaves, in words; none: it leaves at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What would become of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// Where it comes in: `NETWORK/NAME` or `uplink:IFACE`.
    pub from: String,
    /// What it is, in words.
    pub packet: String,
    /// What was assumed about it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// What happens to it, in words and in order; the last one is the verdict. Where it has to wait for an answer, what follows is as if
    /// that had come.
    pub decisions: Vec<String>,
    /// The name of the reason for which it would be dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
    /// What would leave, and where.
    pub leaves: Vec<TraceFrame>,
}
