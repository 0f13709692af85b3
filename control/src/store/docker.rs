//! What Docker's Engine was promised: endpoints that it created.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::api::types::{Mac, SandboxRef};
use crate::id::Id;

/// An endpoint that Docker created. Its address and MAC are taken whether it is in a sandbox or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRecord {
    /// Its network.
    pub network: String,
    /// Its name.
    pub name: String,
    /// Docker's id of it.
    pub id: Id,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC.
    pub mac: Mac,
    /// What its device is called until the Engine has moved it, and again when the Engine has given it back.
    pub device: String,
    /// The sandbox that its device was last for; none: it has no device.
    pub sandbox: Option<SandboxRef>,
    /// When it was created.
    pub created: String,
}
