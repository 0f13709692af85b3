//! The control plane of pontoon.

pub mod api;
