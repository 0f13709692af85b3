//! Runs simulated worlds, one for each seed, and says which of them went wrong.

use core::ops::RangeInclusive;
use core::time::Duration;
use std::io::{self, Write};
use std::process::ExitCode;

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
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Say everything that switches decide.
    #[arg(long, requires = "seed")]
    verbose: bool,
    /// Begin no other world after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    at_most: Option<u64>,
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
    let options = Options { tell: arguments.verbose.then_some(say as fn(&str)), sabotage };
    let seeds = arguments.seed.map_or(arguments.seeds, |seed| seed..=seed);
    let mut total = Total { alone: arguments.seed.is_some(), ..Total::default() };
    let wanted = seeds.end() - seeds.start() + 1;
    sim::run_all(seeds, options, arguments.at_most.map(Duration::from_secs), |outcome| total.add(&outcome));
    let Total { worlds, failed, transfers, events, super_frames, .. } = total;
    let cut_off = if worlds < wanted { format!(" of {wanted}, for time was up") } else { String::new() };
    let (whole, cut) = super_frames;
    say(&format!(
        "{worlds} worlds{cut_off}; {failed} failed; {transfers} transfers, {events} events, {} super-frames, {cut} of them cut",
        whole + cut
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of all worlds.
#[derive(Debug, Default)]
struct Total {
    /// There is but one, and people want to know more of it.
    alone: bool,
    worlds: u64,
    failed: u64,
    transfers: usize,
    events: u64,
    super_frames: (u64, u64),
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        let Outcome { seed, hash, findings, events, transfers, troubles, attacks, drops, overruns, .. } =
            outcome;
        let (whole, cut) = outcome.super_frames;
        self.worlds += 1;
        self.failed += u64::from(!findings.is_empty());
        self.transfers += transfers.0;
        self.events += events;
        self.super_frames = (self.super_frames.0 + whole, self.super_frames.1 + cut);
        if self.alone {
            let (done, restarts) = transfers;
            say(&format!("seed {seed}: trace {hash:016x}, {done} transfers, {restarts} begun anew"));
            say(&format!("  super-frames: {whole} left whole, {cut} were cut"));
            say(&format!("  disturbed by {troubles:?} and {attacks:?}"));
            say(&format!("  dropped {drops:?}, and {overruns} for which a queue had no room"));
        }
        for finding in findings {
            say(&format!("seed {seed} FAILED {finding}"));
        }
        if !findings.is_empty() && !self.alone {
            say(&format!("  replay: {}", outcome.replay()));
        }
    }
}

/// Whoever reads may have seen enough.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number =
        |text: &str| text.parse().map_err(|_| format!("{text:?} is no number: write seeds as 1..2000"));
    let (first, last) = text.split_once("..").ok_or("write seeds as 1..2000")?;
    let (first, last): (u64, u64) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} comes after {last}")) } else { Ok(first..=last) }
}
