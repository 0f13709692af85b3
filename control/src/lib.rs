//! The control plane of pontoon.

pub mod api;
pub mod apply;
pub mod choose;
pub mod cli;
mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod error;
pub mod host;
pub mod ipam;
pub mod link;
pub mod manager;
pub mod names;
pub mod netns;
pub mod plan;
pub mod private;
pub mod state;
pub mod store;
pub mod sys;
#[cfg(test)]
mod testing;
pub mod world;

pub use error::Error;
