//! Runs simulated worlds, one for each seed, and says which of them went wrong.

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::{Parser, ValueEnum};
use pontoon_tools::sim::{self, Options, Outcome};

/// Simulate switches, hosts and bad links, one world for each seed, and check that everything holds.
///
/// The same seed is the same world, down to the last frame. Exit code 0: nothing was found in any of them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Run the worlds FIRST..LAST, both included.
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds, default_value = "1..100")]
    seeds: RangeInclusive<u64>,
    /// Run this one world.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Say everything that switches decide.
    #[arg(long, requires = "seed")]
    verbose: bool,
    /// Break something on purpose, to see that it is found.
    #[arg(long = "break", value_name = "WHAT")]
    sabotage: Option<Sabotage>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sabotage {
    /// Ports that must be guarded are not.
    Guard,
    /// Tables are larger than they are said to be, and a port may have all of them.
    Share,
    /// Answers to ARP are lost.
    Arp,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sabotage = arguments.sabotage.map(|what| match what {
        Sabotage::Guard => sim::Sabotage::NoGuard,
        Sabotage::Share => sim::Sabotage::NoShare,
        Sabotage::Arp => sim::Sabotage::LostAnswers,
    });
    let seeds = arguments.seed.map_or(arguments.seeds, |seed| seed..=seed);
    let failed = run_all(seeds, Options { verbose: arguments.verbose, sabotage });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all seeds on all CPUs and returns how many failed.
fn run_all(seeds: RangeInclusive<u64>, options: Options) -> u64 {
    let next = AtomicU64::new(*seeds.start());
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|seed| seeds.contains(seed)) {
                    let outcome = sim::run(seed, options);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.add(&outcome, seeds.start() == seeds.end(), options.sabotage.is_some());
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!(
        "{} worlds, {} failed; {} transfers, {} events, {} h of virtual time",
        total.worlds,
        total.failed,
        total.transfers,
        total.events,
        total.virtual_seconds / 3600
    );
    total.failed
}

#[derive(Debug, Default)]
struct Total {
    worlds: u64,
    failed: u64,
    transfers: usize,
    events: u64,
    virtual_seconds: u64,
}

impl Total {
    fn add(&mut self, outcome: &Outcome, alone: bool, is_broken: bool) {
        self.worlds += 1;
        self.failed += u64::from(!outcome.findings.is_empty());
        self.transfers += outcome.transfers.0;
        self.events += outcome.events;
        self.virtual_seconds += outcome.virtual_micros / 1_000_000;
        let Outcome { seed, hash, transfers, troubles, attacks, drops, overruns, .. } = outcome;
        if alone {
            let (done, restarts) = transfers;
            println!("seed {seed}: trace {hash:016x}, {done} transfers, {restarts} begun anew");
            println!("  disturbed by {troubles:?} and {attacks:?}");
            println!("  dropped {drops:?}, and {overruns} for which a queue had no room");
        }
        for finding in &outcome.findings {
            println!("seed {seed} FAILED {finding}");
        }
        if !outcome.findings.is_empty() && !alone && !is_broken {
            println!("  replay: pontoon-sim --seed {seed} --verbose");
        }
    }
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number =
        |text: &str| text.parse().map_err(|_| format!("{text:?} is no number: write seeds as 1..2000"));
    let (first, last) = text.split_once("..").ok_or("write seeds as 1..2000")?;
    let (first, last): (u64, u64) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} comes after {last}")) } else { Ok(first..=last) }
}
