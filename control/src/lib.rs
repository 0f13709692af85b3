//! The control plane of pontoon.

pub mod api;
mod clock;
pub mod ipam;
pub mod link;
pub mod names;
pub mod netns;
pub mod store;
