//! Networks and ports, as control asks for them.

use std::time::Duration;

use crate::edge::config::NetworkEdge;
use crate::network::{Gateway, Identity, Place, PortSettings};

/// A network, as control asks for it.
#[derive(Debug, Clone)]
pub struct NetworkSpec {
    /// The address that the core answers for.
    pub gateway: Option<Gateway>,
    /// Largest layer-3 packet in bytes that the gateway sends.
    pub mtu: u16,
    /// How long learned addresses live.
    pub ageing: Duration,
    /// How it is connected to the host and the outside.
    pub edge: NetworkEdge,
}

/// A port, as control asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Where it belongs.
    pub place: Place,
    /// What it may do.
    pub settings: PortSettings,
    /// Who is behind it.
    pub identity: Option<Identity>,
    /// Largest layer-3 packet in bytes that may leave by it.
    pub mtu: u16,
}
