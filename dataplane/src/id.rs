//! Numbers of ports and networks.

use core::fmt;

/// How many ports an engine has at most: bounds every table that is indexed by port.
pub const MAX_PORTS: usize = 4096;
/// How many networks an engine has at most.
pub const MAX_NETWORKS: usize = 1024;

/// A port's number, below [`MAX_PORTS`]; given anew only when no frame of the old port can be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl PortId {
    /// The number as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// A network's number, below [`MAX_NETWORKS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u16);

impl NetworkId {
    /// The number as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
