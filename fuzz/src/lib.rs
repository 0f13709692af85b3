//! What fuzzing holds the data plane, and what reads other programs' words in the control plane, to. Each target is a plain function that panics when something is wrong, so
//! that an ordinary test runs the seeds through it (`tests/seeds.rs`), and libFuzzer everything else
//! (`fuzz_targets/`, behind the feature `libfuzzer`).
//!
//! Inputs are read by hand, not derived: seeds must stay what their names say when a type changes, and be
//! made from captures. Numbers are little-endian; an input that ends early is read as far as it goes.

// Failing is what these functions are for.
#![allow(clippy::expect_used)]

mod dns;
mod edge;
mod fdb;
mod input;
mod plugin;
mod rehearsal;
mod segment;
mod step;
mod trace;
mod translate;

pub use dns::dns;
pub use edge::{edge, edge_errors, edge_fragments};
pub use fdb::fdb_against_model;
pub use plugin::plugin;
pub use rehearsal::trace;
pub use segment::segment;
pub use step::step;
pub use trace::trace_grammar;
pub use translate::{icmp_error, rewrite_packet};
