//! Which of the core's decisions inputs have reached, in this process.
//!
//! Where a toolchain has no tools for source coverage, this tells what fuzzing does not see: every drop has a name.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::path::Path;

use pontoon_dataplane::{DropReason, Verdict};

use crate::Target;

/// What no seed reaches, and why. All else is reached by one.
pub const BEYOND: [(&[&str], &str); 4] = [
    (
        &["port-down", "port-error", "port-full", "port-gone", "unsegmentable"],
        "devices refuse, after the decision; end-to-end tests reach them",
    ),
    (
        &["hand-over", "edge-busy"],
        "need a second worker; dataplane/tests/engine.rs, the simulation, and the bench handover",
    ),
    (
        &["fragment-timeout", "route-timeout", "fragments-full"],
        "what waits is given up, by time or for another frame, and no verdict tells of it; unit tests hold the counters",
    ),
    (
        &["reply-limited", "resolver-share"],
        "need thousands of frames, and an input has a hundred; the simulation and end-to-end tests reach them",
    ),
];

static DROPS: [AtomicU64; DropReason::COUNT] = [const { AtomicU64::new(0) }; DropReason::COUNT];

/// Verdicts other than drops.
const KINDS: [&str; 7] = ["forward", "flood", "reply", "taken", "wait", "hand-over", "route"];
static VERDICTS: [AtomicU64; KINDS.len()] = [const { AtomicU64::new(0) }; KINDS.len()];

/// A decision was made.
pub(crate) fn note(verdict: Verdict) {
    let count = match verdict {
        Verdict::Drop(reason) => &DROPS[reason as usize],
        Verdict::Forward { .. } => &VERDICTS[0],
        Verdict::Flood { .. } => &VERDICTS[1],
        Verdict::Reply(_) => &VERDICTS[2],
        Verdict::Taken(_) => &VERDICTS[3],
        Verdict::Wait(_) => &VERDICTS[4],
        Verdict::HandOver => &VERDICTS[5],
        Verdict::Route { .. } => &VERDICTS[6],
    };
    count.fetch_add(1, Relaxed);
}

/// The names of all decisions, verdicts first, and how often each was made since this was last asked.
pub fn take() -> Vec<(&'static str, u64)> {
    let verdicts = KINDS.iter().copied().zip(VERDICTS.iter().map(|count| count.swap(0, Relaxed)));
    let drops = DropReason::ALL.iter().map(|&it| (it.name(), DROPS[it as usize].swap(0, Relaxed)));
    verdicts.chain(drops).collect()
}

/// Runs every input in `folder` of a target (`seeds` or `corpus`); how many there were.
pub fn run_all(folder: &str, (name, work): &Target) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let inputs = entries.filter_map(|entry| std::fs::read(entry.path()).ok());
    inputs.map(|input| work(&input)).count()
}
