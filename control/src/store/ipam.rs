//! Records of addresses: pools that were asked for apart from networks, leases in them, and whose turn it is.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// A subnet that somebody asked for before there is a network on it, as Docker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The part of it that addresses are chosen from; all of it when none.
    pub range: Option<Ipv4Net>,
    /// When it was asked for.
    pub created: String,
}

/// An address of a pool that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The pool's subnet.
    pub subnet: Ipv4Net,
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it, as far as that was said: who asks again gets the same.
    pub owner: Option<String>,
}

/// The address of a subnet that was chosen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorRecord {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The address.
    pub address: Ipv4Addr,
}

/// An address that was released lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestingRecord {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The address.
    pub address: Ipv4Addr,
    /// Its place in the order of releases.
    pub order: u64,
}
