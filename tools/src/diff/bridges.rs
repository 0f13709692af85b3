//! The two bridges that are held against one another, each with its ports and the stations behind them in namespaces of its own.

mod kernel;
mod pontoon;

use std::fmt::Debug;

use pontoon_dataplane::port::memory::OwnedFrame;

use super::script::Change;
use crate::lab::LabError;

pub use kernel::KernelBridge;
pub use pontoon::{Pontoon, Ports};

/// What arrived at each port's station, in order.
pub type Arrived = Vec<Vec<OwnedFrame>>;

/// A bridge with stations.
pub trait Bridge: Send + Debug {
    /// Passes frames, each sent into its port when the one before it has been decided about. Returns when all of them have been
    /// delivered: what arrived at which port.
    ///
    /// # Errors
    /// The lab fails, not the bridge.
    fn pass(&mut self, frames: &[(usize, &OwnedFrame)]) -> Result<Arrived, LabError>;

    /// Changes something. Returns when that holds.
    ///
    /// # Errors
    /// The lab fails, not the bridge.
    fn change(&mut self, change: &Change) -> Result<(), LabError>;

    /// Makes it as if new: all ports up with default settings, nothing learned.
    ///
    /// # Errors
    /// The lab fails, not the bridge.
    fn reset(&mut self) -> Result<(), LabError>;
}
