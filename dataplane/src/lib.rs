//! The data plane of pontoon: decide what happens to an Ethernet frame, and move frames.
//!
//! The life of a frame, in the order of the chapters:
//!
//! ```text
//! port.recv ──▶ batch ──▶ step(now, ingress, frame, &mut out) ──▶ port.send
//!                         tick(now, &mut out) ──────────────────▶
//! ```
//!
//! 1. [`port`]: a frame enters by a port, with what its sender left undone ([`offload`]).
//! 2. [`worker`]: one thread reads a bounded batch from each of its ports and asks the core about every frame.
//! 3. [`step`](mod@step): the whole decision, without I/O and without a clock, in this order: view the header
//!    ([`frame`]); hold it against the port's rules ([`guard`]); learn its source ([`fdb`]); answer what is for
//!    the [`gateway`], route and translate what goes beyond it ([`edge`]); look the destination up and forward, or flood
//!    within bounds ([`storm`]).
//! 4. [`out`]: where it leaves, and frames that the core made. [`verdict`]: what was decided, in words.
//! 5. [`segment`] and [`checksum`]: the sender's unfinished work, done where an egress port cannot.
//! 6. [`counters`]: everything that came, went or was dropped, by name.
//!
//! [`network`] holds what the core decides by, published as immutable snapshots. [`engine`] starts the workers,
//! takes plain-data commands and gives plain-data events. [`replay`] runs captures through the same decisions. `sys`
//! wraps the system calls.

pub mod addr;
pub mod checksum;
pub mod counters;
pub mod edge;
pub mod engine;
pub mod fdb;
pub mod frame;
pub mod gateway;
pub mod guard;
pub mod id;
pub mod network;
pub mod offload;
pub mod out;
pub mod port;
mod random;
pub mod replay;
pub mod segment;
pub mod step;
pub mod storm;
mod sync;
mod sys;
#[cfg(test)]
mod testing;
pub mod time;
pub mod trace;
pub mod verdict;
pub mod worker;

pub use addr::MacAddr;
pub use frame::Frame;
pub use id::{NetworkId, PortId};
pub use time::Timestamp;
pub use verdict::{DropReason, Verdict};
