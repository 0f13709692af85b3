//! What is decided about a frame on its way, step by step, and how that is said.

mod bridging;
mod routing;
mod tracking;

use core::fmt;

pub use bridging::{Bridging, Guard, LeftOut};
pub use routing::Routing;
pub use tracking::{Ended, RuleList, Tracking};

use crate::id::{NetworkId, PortId};

/// One step of a decision. [`Decision::words`] says it for people, [`fmt::Display`] with the engine's own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// About the frame on its network.
    Bridging(Bridging),
    /// About its packet's session, and whether there may be one.
    Tracking(Tracking),
    /// About its packet's way, and what becomes of it there.
    Routing(Routing),
}

impl From<Bridging> for Decision {
    fn from(decision: Bridging) -> Self {
        Decision::Bridging(decision)
    }
}

impl From<Tracking> for Decision {
    fn from(decision: Tracking) -> Self {
        Decision::Tracking(decision)
    }
}

impl From<Routing> for Decision {
    fn from(decision: Routing) -> Self {
        Decision::Routing(decision)
    }
}

/// What people call what the engine numbers.
pub trait Names {
    /// A port.
    fn port(&self, id: PortId) -> String {
        id.to_string()
    }

    /// A network.
    fn network(&self, id: NetworkId) -> String {
        format!("network {}", id.0)
    }

    /// A publication.
    fn publication(&self, id: u32) -> String {
        format!("publication {id}")
    }
}

/// The engine's own numbers.
struct Numbers;

impl Names for Numbers {}

impl Decision {
    /// The decision in words.
    pub fn words(&self, names: &dyn Names) -> String {
        match self {
            Decision::Bridging(decision) => decision.words(names),
            Decision::Tracking(decision) => decision.words(names),
            Decision::Routing(decision) => decision.words(names),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(&Numbers))
    }
}
