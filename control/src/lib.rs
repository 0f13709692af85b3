//! The control plane of pontoon.

pub mod api;
pub mod cli;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod link;
pub mod netns;
pub mod private;
pub mod sys;
