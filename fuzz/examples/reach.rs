//! Runs the seeds of every target, and the corpora that fuzzing has left, and tells which decisions of the core they reach.
//!
//! ```text
//! cargo run -p pontoon-fuzz --example reach
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use pontoon_fuzz::{TARGETS, reach};

/// Runs whatever is below `folder` and of that target; how many inputs that were.
fn run_all(folder: &str, (name, work): (&str, fn(&[u8]))) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let inputs = entries.filter_map(|entry| std::fs::read(entry.path()).ok());
    inputs.map(|input| work(&input)).count()
}

fn main() {
    let mut by_none: BTreeSet<&str> = reach::take().into_iter().map(|(name, _)| name).collect();
    let all = by_none.len();
    println!("{:18} {:>6} {:>7}  decisions reached, of {all}", "target", "seeds", "corpus");
    for target in TARGETS {
        let (seeds, corpus) = (run_all("seeds", target), run_all("corpus", target));
        let reached: Vec<&str> =
            reach::take().into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect();
        if !reached.is_empty() {
            println!("{:18} {seeds:6} {corpus:7}  {}", target.0, reached.len());
        }
        reached.into_iter().for_each(|name| _ = by_none.remove(name));
    }
    println!("reached by none: {}", by_none.into_iter().collect::<Vec<_>>().join(" "));
}
