//! Runs the seeds of every target, and the corpora that fuzzing has left, and tells which decisions of the core they reach.
//!
//! ```text
//! cargo run -p pontoon-fuzz --example reach
//! ```

use std::collections::BTreeSet;

use pontoon_fuzz::{TARGETS, reach};

fn main() {
    let mut by_none: BTreeSet<&str> = reach::take().into_iter().map(|(name, _)| name).collect();
    let all = by_none.len();
    println!("{:18} {:>6} {:>7}  decisions reached, of {all}", "target", "seeds", "corpus");
    for target in &TARGETS {
        let (seeds, corpus) = (reach::run_all("seeds", target), reach::run_all("corpus", target));
        let reached: Vec<&str> =
            reach::take().into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect();
        if !reached.is_empty() {
            println!("{:18} {seeds:6} {corpus:7}  {}", target.0, reached.len());
        }
        reached.into_iter().for_each(|name| _ = by_none.remove(name));
    }
    println!("reached by none:");
    for (names, why) in reach::BEYOND {
        let names: Vec<&str> = names.iter().copied().filter(|name| by_none.remove(name)).collect();
        if !names.is_empty() {
            println!("  {}: {why}", names.join(" "));
        }
    }
    if !by_none.is_empty() {
        println!("  {}: nobody knows why", by_none.into_iter().collect::<Vec<_>>().join(" "));
    }
}
