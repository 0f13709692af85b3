//! Following one frame through the decisions without sending it.

mod build;
pub mod describe;
pub mod grammar;

pub use describe::describe;
pub use grammar::{GrammarError, Probe};
