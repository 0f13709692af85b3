//! Runs the daemon for long, under load and under change, and says whether anything of it grows or is lost.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use pontoon::private;
use pontoon_tools::soak::footprint::{Memory, judge};
use pontoon_tools::soak::{self, Options, Progress};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Run the daemon under load while networks, endpoints, published ports, rules and links come and go, and check that memory,
/// descriptors and threads stay flat, that no counter is lost, and that every byte of the load arrives right.
///
/// It needs root, or user namespaces and a /dev/net/tun that may be opened, and a kernel with veth. All of it happens in private namespaces.
/// Exit code 0: nothing was found. 1: something was. 2: it could not begin. On Ctrl-C it ends early with its verdict so far, and 130
/// when nothing was found; a second Ctrl-C ends it at once. Nothing is left in any case.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 3600)]
    seconds: u64,
    /// What is done follows from it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Break something on purpose, to see that it is found.
    #[arg(long = "break", value_name = "WHAT")]
    sabotage: Option<Sabotage>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sabotage {
    /// Memory that is never given back.
    Memory,
    /// Descriptors that are never closed.
    Descriptors,
    /// Threads that never end.
    Threads,
}

/// Lines of progress at most, and how far they lie apart at least.
const LINES: u32 = 60;
const BETWEEN_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // It is a process of this program, too: so there is no other that need be built or found.
    if let Some(code) = soak::daemon() {
        return code;
    }
    let arguments = Arguments::parse();
    // Before any thread is started.
    if let Err(error) = private::enter() {
        return cannot(&error);
    }
    let signals = match watch_signals() {
        Ok(signals) => signals,
        Err(error) => return cannot(&error),
    };
    let sabotage = arguments.sabotage.map(|what| match what {
        Sabotage::Memory => soak::Sabotage::Memory,
        Sabotage::Descriptors => soak::Sabotage::Descriptors,
        Sabotage::Threads => soak::Sabotage::Threads,
    });
    let length = Duration::from_secs(arguments.seconds);
    let options = Options { length, seed: arguments.seed, sabotage };
    let mut next_line = Instant::now();
    let tell = |progress: &Progress| {
        if Instant::now() >= next_line {
            say(&line(progress));
            next_line = Instant::now() + BETWEEN_LINES.max(length / LINES);
        }
    };
    match soak::run(&options, || signals.load(Relaxed) > 0, tell) {
        Err(error) => cannot(&*error),
        Ok(Err(found)) => {
            say(&format!("FAILED with seed {}: {found}", arguments.seed));
            ExitCode::FAILURE
        }
        Ok(Ok(progress)) => {
            say(&verdict(&progress));
            if signals.load(Relaxed) > 0 { ExitCode::from(130) } else { ExitCode::SUCCESS }
        }
    }
}

/// Counts the signals that tell the program to end. The second one ends it, and the kernel clears up.
fn watch_signals() -> io::Result<Arc<AtomicUsize>> {
    let seen = Arc::new(AtomicUsize::new(0));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let count = Arc::clone(&seen);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if count.fetch_add(1, Relaxed) > 0 {
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(seen)
}

fn line(progress: &Progress) -> String {
    let Progress { time, acts, rests, bytes, footprint, .. } = progress;
    format!(
        "{:>5} s  {acts} changes, {rests} rests, {} MB checked; {} KiB resident, {} descriptors, {} threads",
        time.as_secs(),
        bytes / 1_000_000,
        footprint.resident_kib,
        footprint.descriptors(),
        footprint.threads()
    )
}

fn verdict(progress: &Progress) -> String {
    let memory = match judge(&progress.memory_kib) {
        Memory::Flat(first, last) => format!("memory flat (median {first:.0} KiB early, {last:.0} KiB late)"),
        _ => "too short to say anything of memory".to_owned(),
    };
    let Progress { time, acts, rests, bytes, .. } = progress;
    format!(
        "ok: {acts} changes in {} s, {rests} times all as before; descriptors and threads flat, {memory}; no counter lost, {} MB arrived right",
        time.as_secs(),
        bytes / 1_000_000
    )
}

fn cannot(error: &dyn std::fmt::Display) -> ExitCode {
    // Nowhere is left to report that standard error is closed.
    let _ = writeln!(io::stderr(), "pontoon-soak: cannot begin: {error}");
    ExitCode::from(2)
}

/// Whoever reads may have seen enough.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
