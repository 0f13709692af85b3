//! The control plane of pontoon.

pub mod api;
pub mod apply;
mod clock;
pub mod error;
pub mod host;
pub mod ipam;
pub mod link;
pub mod names;
pub mod netns;
pub mod plan;
pub mod state;
pub mod store;
pub mod world;

pub use error::Error;
