//! What fuzzing holds the data plane, and what reads other programs' words in the control plane, to. Each target is a plain function that panics when something is wrong, so
//! that an ordinary test runs the seeds through it (`tests/seeds.rs`), and libFuzzer everything else
//! (`fuzz_targets/`, behind the feature `libfuzzer`).
//!
//! Inputs are read with `arbitrary`: numbers are little-endian, and one that ends early goes on with zeros.

// Failing is what these functions are for.
#![allow(clippy::expect_used)]

mod dns;
mod edge;
mod fdb;
mod files;
mod input;
mod parsers;
mod plugin;
pub mod reach;
mod rehearsal;
mod segment;
mod step;
mod trace;
mod translate;
mod vnet;

pub use dns::dns;
pub use edge::{edge, edge_errors, edge_fragments};
pub use fdb::fdb_against_model;
pub use files::{config, pcap};
pub use parsers::parsers;
pub use plugin::plugin;
pub use rehearsal::trace;
pub use segment::{segment, segment_built};
pub use step::{step, step_built, step_input};
pub use trace::trace_grammar;
pub use translate::{icmp_error, rewrite_packet};
pub use vnet::vnet_header;

/// A target: its name, and its work.
pub type Target = (&'static str, fn(&[u8]));

/// Every target: its name, which is that of its folders of seeds and corpora, and its work.
pub const TARGETS: [Target; 18] = [
    ("config", config),
    ("dns", dns),
    ("edge", edge),
    ("edge_errors", edge_errors),
    ("edge_fragments", edge_fragments),
    ("fdb_against_model", fdb_against_model),
    ("icmp_error", icmp_error),
    ("parsers", parsers),
    ("pcap", pcap),
    ("plugin", plugin),
    ("rewrite_packet", rewrite_packet),
    ("segment", segment),
    ("segment_built", segment_built),
    ("step", step),
    ("step_built", step_built),
    ("trace", trace),
    ("trace_grammar", trace_grammar),
    ("vnet_header", vnet_header),
];
