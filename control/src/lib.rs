//! The control plane of pontoon, in the order of its chapters.
//!
//! ```text
//! cli ──HTTP+JSON──▶ api ──▶ manager ──▶ plan: a list of steps ──▶ apply, undone on failure ──▶ store, host
//! ```
//!
//! 1. [`cli`]: arguments, the client of the API, tables. [`demo`], [`bench`] and [`doctor`] need no daemon. [`run`]: a command in a
//!    fresh sandbox.
//! 2. [`daemon`]: the socket, the signals, the end. [`api`]: resources and verbs.
//! 3. [`manager`]: operations on what there is ([`state`]); names ([`names`]), ids ([`id`]) and addresses ([`ipam`], [`choose`]).
//! 4. [`plan`]: a change as a list of steps, without doing it. [`apply`]: does it, and undoes it when a step fails.
//! 5. [`store`]: what survives. [`world`]: the machine as a trait; [`host`]: this machine, with [`netns`] and [`link`];
//!    [`edge`] keeps the engine in step with the kernel's routes, addresses and ports.
//! 6. [`config`]: the declared state. [`error`], [`failure`]: one sentence each. `failpoint`: death at a chosen step, for tests.

pub mod api;
pub mod apply;
pub mod bench;
mod bpf;
pub mod choose;
pub mod cli;
mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod dns;
pub mod doctor;
pub mod edge;
pub mod error;
mod failpoint;
pub mod failure;
pub mod host;
pub mod id;
pub mod ipam;
pub mod link;
pub mod manager;
pub mod names;
pub mod netns;
pub mod plan;
pub mod plugin;
pub mod private;
pub mod run;
pub mod state;
pub mod store;
pub mod sys;
#[cfg(test)]
mod testing;
pub mod world;

pub use error::Error;
