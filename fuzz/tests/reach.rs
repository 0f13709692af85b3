//! What docs/fuzzing.md says of the decisions that seeds reach.

use std::collections::BTreeSet;

use pontoon_fuzz::{TARGETS, reach};

#[test]
fn seeds_reach_all_that_is_not_said_to_be_beyond_reach() {
    TARGETS.iter().for_each(|target| _ = reach::run_all("seeds", target));
    let missed = reach::take().into_iter().filter(|(_, count)| *count == 0);
    let missed: BTreeSet<&str> = missed.map(|(name, _)| name).collect();
    let beyond: BTreeSet<&str> = reach::BEYOND.into_iter().flat_map(|(names, _)| names).copied().collect();
    assert_eq!(missed, beyond);
}
