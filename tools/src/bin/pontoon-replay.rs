//! Runs captures through the data plane's decisions and says in words what becomes of every frame.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use pontoon_dataplane::replay::case::{Case, CaseError};

/// Run captures through pontoon's decisions and say what becomes of every frame.
///
/// DIRECTORY holds case.txt, which describes the network and its ports, and port-N.in.pcap with the frames that come
/// in by port N. For the format see pontoon_dataplane::replay::case; dataplane/tests/golden has examples.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The directory to run.
    directory: PathBuf,
    /// Write what leaves by each port (port-N.out.pcap), events.txt and counters.txt into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match replay(&arguments.directory, arguments.out.as_deref()) {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
            Ok(()) => ExitCode::SUCCESS,
        },
        Err(error) => fail(&error.to_string()),
    }
}

fn replay(directory: &Path, out: Option<&Path>) -> Result<String, CaseError> {
    let outcome = Case::load(directory)?.run();
    if let Some(out) = out {
        let io_error = |source| CaseError::Io { path: out.to_owned(), action: "create", source };
        std::fs::create_dir_all(out).map_err(io_error)?;
        outcome.write(out)?;
    }
    Ok(format!("{}\n{}", outcome.events, outcome.counters))
}

fn fail(error: &str) -> ExitCode {
    eprintln!("pontoon-replay: {error}");
    ExitCode::FAILURE
}
