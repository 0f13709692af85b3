//! Ports of the switch and their settings.

use pontoon_dataplane::network::StormLimits;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SandboxRef;

/// What a port may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortFlags {
    /// Source addresses go into the FDB.
    pub learning: bool,
    /// Frames to unknown stations leave by it.
    pub flood: bool,
    /// No frame passes between two isolated ports.
    pub isolated: bool,
    /// A frame may leave by the port that it came from.
    pub hairpin: bool,
    /// Frames must carry the endpoint's own addresses.
    pub guard: bool,
    /// Broadcasts a second that are taken from it; 0: any number.
    #[serde(default = "broadcast_limit")]
    pub broadcast_limit: u32,
    /// Frames to groups a second that are taken from it; 0: any number.
    #[serde(default)]
    pub multicast_limit: u32,
    /// Frames to unknown stations a second that are taken from it; 0: any number.
    #[serde(default)]
    pub unknown_limit: u32,
    /// It is blocked for a while when it is in a loop.
    #[serde(default = "loop_guard")]
    pub loop_guard: bool,
}

/// What ports had that were made before there was a choice, and what they have without one.
fn broadcast_limit() -> u32 {
    StormLimits::DEFAULT.broadcast
}

fn loop_guard() -> bool {
    true
}

/// `PATCH /ports/PORT`: flags to change; fields left out stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortPatch {
    /// See [`PortFlags::learning`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning: Option<bool>,
    /// See [`PortFlags::flood`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<bool>,
    /// See [`PortFlags::isolated`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// See [`PortFlags::hairpin`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// See [`PortFlags::guard`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<bool>,
    /// See [`PortFlags::broadcast_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_limit: Option<u32>,
    /// See [`PortFlags::multicast_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast_limit: Option<u32>,
    /// See [`PortFlags::unknown_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_limit: Option<u32>,
    /// See [`PortFlags::loop_guard`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_guard: Option<bool>,
}

/// A port (`GET /ports`): an endpoint's or an interface's place in the data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// `NETWORK/ENDPOINT` or `NETWORK/INTERFACE`: the name that `port set` and the FDB use.
    pub port: String,
    /// The network.
    pub network: String,
    /// `tap`, `veth` or `packet`.
    pub kind: String,
    /// The interface's name as it is now: inside the sandbox for endpoints.
    pub ifname: String,
    /// The interface's number in its namespace; absent when it has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<u32>,
    /// The sandbox; absent for existing interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxRef>,
    /// The inode number of the interface's namespace: what `lsns -t net` calls NS.
    pub netns: u64,
    /// The other end of a veth pair: of an endpoint the one in the daemon's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// What it may do.
    pub flags: PortFlags,
    /// It is in a loop: nothing is taken from it, and nothing is flooded to it, until that has been tried again.
    #[serde(default)]
    pub blocked: bool,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// The offloads in use, a subset of `checksum`, `tso`, `uso`, in that order.
    pub offloads: Vec<String>,
}

/// The other end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its number in the namespace that it is in.
    pub ifindex: u32,
    /// Its name, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}
