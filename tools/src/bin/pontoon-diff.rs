//! Holds pontoon against the kernel's bridge: the same frames into both, and what arrives must be the same.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use pontoon_tools::diff::bridges::Ports;
use pontoon_tools::diff::run::Run;
use pontoon_tools::diff::{Pair, generate, meant, nat, story};
use pontoon_tools::lab::LabError;

/// Hold pontoon against the kernel's bridge: the same frames into both, and what arrives must be the same.
///
/// Everything happens in private network namespaces. Without --pcap and --corpus frames are generated. The exit code is 0 if the two did
/// not differ but where that is meant, 1 if they did, 2 if that could not be told.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What is generated follows from this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many frames are generated.
    #[arg(long, default_value_t = 100_000)]
    frames: usize,
    /// Begin with that round of the seed: frames are generated in rounds of 4096, each from a fresh start.
    #[arg(long, value_name = "ROUND", default_value_t = 0)]
    first_round: u64,
    /// Play the frames of a capture; FILE.events beside FILE.pcap says by which ports, and what happens between them.
    #[arg(long, value_name = "FILE")]
    pcap: Vec<PathBuf>,
    /// Play the inputs of a directory, as the fuzz target `step` takes them (fuzz/seeds/step, fuzz/corpus/step).
    #[arg(long, value_name = "DIRECTORY")]
    corpus: Option<PathBuf>,
    /// How many ports both have; those in turn take packets of 1500, 1500, 9000 and 9000 bytes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=32))]
    ports: u8,
    /// What pontoon's ports are.
    #[arg(long, value_enum, default_value_t = Kind::Mixed)]
    kind: Kind,
    /// Compare NAT instead: that many flows, and what ICMP says about them.
    #[arg(long, value_name = "FLOWS")]
    nat: Option<usize>,
    /// Leave the eight seconds out in which addresses age.
    #[arg(long)]
    no_ageing: bool,
    /// Where a capture of what differs is kept.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    keep_in: PathBuf,
    /// Say where the two differ on purpose, and why.
    #[arg(long)]
    meant: bool,
}

/// What pontoon's ports are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// TAP devices.
    Tap,
    /// Packet sockets on veth pairs.
    Packet,
    /// The one and the other by turns.
    Mixed,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.meant {
        let bridge = meant::ALL.iter().map(|meant| (meant.name, meant.reason));
        let nat = nat::meant::ALL.iter().map(|meant| (meant.name, meant.reason));
        bridge.chain(nat).for_each(|(name, reason)| println!("{name}\n    {reason}"));
        return ExitCode::SUCCESS;
    }
    match compare(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pontoon-diff: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing differs that is not meant to.
fn compare(arguments: &Arguments) -> Result<bool, LabError> {
    // Before any thread is started.
    pontoon::private::enter()?;
    let start = Instant::now();
    if let Some(flows) = arguments.nat {
        return compare_nat(arguments.seed, flows);
    }
    let ports = usize::from(arguments.ports);
    let captures = arguments.pcap.iter().map(|path| Ok((path, story::read(path, ports)?)));
    let captures = captures.collect::<Result<Vec<_>, LabError>>()?;
    let ports = captures.iter().filter_map(|(_, kept)| kept.ports).max().unwrap_or(ports).max(ports);
    let kind = match arguments.kind {
        Kind::Tap => Ports::Tap,
        Kind::Packet => Ports::Packet,
        Kind::Mixed => Ports::Mixed,
    };
    let mut pair = Pair::new(ports, kind)?;
    let mut run = Run { pair: &mut pair, ports, keep_in: &arguments.keep_in, seen: Default::default() };
    for (path, kept) in &captures {
        run.script(kept.script.clone(), &format!("{}-shortest", stem(path)))?;
    }
    if let Some(directory) = &arguments.corpus {
        for path in inputs(directory)? {
            let script = story::of_corpus(&std::fs::read(&path)?, ports);
            run.script(script, &format!("corpus-{}", stem(&path)))?;
        }
    }
    if captures.is_empty() && arguments.corpus.is_none() {
        if !arguments.no_ageing {
            run.script(generate::ageing(arguments.seed, ports), "ageing")?;
        }
        run.generated(arguments.seed, arguments.first_round, arguments.frames)?;
    }
    let seen = run.seen;
    for (told, path) in &seen.differences {
        println!("{told}kept; play it again with: pontoon-diff --pcap {}\n", path.display());
    }
    for (name, count) in &seen.left_out {
        println!("left out, for the two differ there on purpose: {count} frames, {name}");
    }
    println!(
        "{} frames and {} changes by {ports} ports in {:.1} s: {}",
        seen.frames,
        seen.changes,
        start.elapsed().as_secs_f64(),
        match seen.differences.len() {
            0 => "no difference".to_owned(),
            1 => "they differ".to_owned(),
            count => format!("{count} differences"),
        }
    );
    Ok(seen.differences.is_empty())
}

/// The same for NAT.
fn compare_nat(seed: u64, flows: usize) -> Result<bool, LabError> {
    let start = Instant::now();
    let seen = nat::compare(seed, flows)?;
    seen.differences.iter().for_each(|told| println!("{told}\n"));
    println!(
        "{} flows, {} packets in ({} in fragments, {} damaged) and {} out in {:.1} s: {}",
        seen.flows,
        seen.packets,
        seen.fragmented,
        seen.damaged,
        seen.came_out,
        start.elapsed().as_secs_f64(),
        if seen.differences.is_empty() { "no difference" } else { "they differ" }
    );
    Ok(seen.differences.is_empty())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "capture".into(), |stem| stem.to_string_lossy().into_owned())
}

fn inputs(directory: &Path) -> Result<Vec<PathBuf>, LabError> {
    let entries = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}
