//! The control plane of pontoon.

pub mod api;
pub mod link;
pub mod netns;
