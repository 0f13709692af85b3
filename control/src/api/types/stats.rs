//! What the FDB holds, and what was counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Mac;

/// An FDB entry (`GET /fdb`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbEntry {
    /// The network.
    pub network: String,
    /// The station.
    pub mac: Mac,
    /// The port that it is behind.
    pub port: String,
    /// `learned`, `sticky` (learned from a guarded port) or `static`.
    pub kind: String,
    /// Seconds since its last frame; absent for static entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

/// `POST /fdb`: a static entry to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbRequest {
    /// The network.
    pub network: String,
    /// The station.
    pub mac: Mac,
    /// The port: `NETWORK/ENDPOINT`, or the endpoint's or interface's name alone.
    pub port: String,
}

/// Frames and bytes; a super-frame is one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes from the destination MAC on.
    pub bytes: u64,
}

/// Counters of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStats {
    /// The port's name.
    pub port: String,
    /// The network; an uplink has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The worker that reads it, counted from 0, the edge's; it changes with the port's traffic. Absent when the port has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<usize>,
    /// Frames that came in by it.
    pub rx: Traffic,
    /// Frames that left by it.
    pub tx: Traffic,
    /// Drops by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, Traffic>,
}

/// Counters of one network's FDB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbStats {
    /// The network.
    pub network: String,
    /// Entries now.
    pub entries: u64,
    /// Entries at most.
    pub capacity: u64,
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that moved to another port.
    pub moved: u64,
    /// Moves refused because the address is static or sticky.
    pub kept: u64,
    /// Addresses not learned for want of room.
    pub refused: u64,
    /// Addresses evicted for newer ones.
    pub evicted: u64,
    /// Addresses that aged out.
    pub expired: u64,
}

/// `GET /stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// The daemon's version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Worker threads.
    pub workers: u64,
    /// Ports, in order of their names.
    pub ports: Vec<PortStats>,
    /// Uplinks (`uplink:IFACE`), in order of their interfaces' names.
    #[serde(default)]
    pub uplinks: Vec<PortStats>,
    /// FDBs, in order of their networks' names.
    pub fdbs: Vec<FdbStats>,
}
