//! `pontoon demo`: three namespaces on one network, their host and the world outside, and the proof that they talk.
//!
//! The process first moves into private namespaces ([`crate::private`]), so that the host never sees any of it and the
//! kernel clears everything away when the process ends, however it ends. In there it runs the very daemon that
//! `pontoon daemon` runs ([`lab`]), lets it make namespaces and network from a declaration, and goes through the
//! [`checks`]; [`report`] shows them.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Instant;

use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::cli::output::Output;
use crate::failure::Failure;
use crate::private::{self, Way};

mod arp;
mod beyond;
mod checks;
mod icmp;
mod kept;
mod lab;
mod outside;
mod ping;
mod report;
mod service;
mod tcp;

use checks::{Check, Findings};
use kept::Kept;
use lab::Lab;
use report::Stage;

/// How the demo runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Print one JSON document instead of text.
    pub json: bool,
    /// Leave everything up until a signal comes.
    pub keep: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    findings: &'a Findings,
    /// How to reach what is left up; absent without `--keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a Kept>,
}

/// Runs the demo. Call it before the process has started any thread.
///
/// # Errors
/// One sentence that says what is missing. Checks that fail are no error but a report with a failing status.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    match show(options) {
        // Success means that every check was made and passed, which nobody has seen now.
        Err(failure) if failure.is_broken_pipe() => Ok(ExitCode::FAILURE),
        shown => shown,
    }
}

fn show(options: &Options) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    let way = prepare()?;
    keep_the_log_quiet();
    let stage = Stage::new(options.json);
    // Until all is done a signal means that the checks did not all pass.
    let signals = watch_signals(&stage)?;
    stage.now(0, "setting up");
    let lab = Lab::build()?;
    let mut findings = Findings { offloads: lab.offloads.clone(), ..Findings::default() };
    stage.picture(&lab)?;
    go_through(&lab, &stage, &mut findings, start)?;
    findings.seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    findings.ok = findings.checks.iter().all(|check| check.ok);
    stage.bar().finish_and_clear();
    stage.tables(&lab, &findings)?;
    stage.verdict(&findings)?;
    let kept = options.keep.then(|| Kept::of(&lab, way));
    if options.json {
        Output { json: true }.show(&Shown { findings: &findings, kept: kept.as_ref() }, String::new)?;
    }
    let code = if findings.ok { 0 } else { 1 };
    if let Some(kept) = kept {
        stage.suggestions(&lab, &kept)?;
        signals.code.store(code, SeqCst);
        loop {
            // The thread that watches for signals ends the process.
            std::thread::park();
        }
    }
    stage.print(" Nothing is left: the namespaces were private.\n")?;
    Ok(ExitCode::from(code as u8))
}

/// Sees to it that a TAP device can be had, and moves into private namespaces.
fn prepare() -> Result<Way, Failure> {
    const NODE: &str = "/dev/net/tun";
    std::fs::OpenOptions::new().read(true).write(true).open(NODE).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("which this user may not open: run it as root, or let everybody open it (`chmod 0666 {NODE}`)")
            }
            io::ErrorKind::NotFound => "which this machine lacks".to_owned(),
            _ => format!("which cannot be opened: {error}"),
        };
        Failure::Sentence(format!("the demo needs {NODE}, {reason}; `pontoon doctor` says what to do"))
    })?;
    private::enter().map_err(|error| Failure::Sentence(format!("the demo cannot run: {error}")))
}

/// The daemon's log would fall between the lines, and what fails is said anyway. PONTOON_LOG asks for it.
fn keep_the_log_quiet() {
    let filter = EnvFilter::try_from_env("PONTOON_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    // Only the first log of a process counts, and this is the first.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Does every check in turn, showing each as it is done.
fn go_through(lab: &Lab, stage: &Stage, findings: &mut Findings, start: Instant) -> Result<(), Failure> {
    let done = |findings: &mut Findings, check: Check| {
        let shown = stage.check(&check);
        findings.checks.push(check);
        shown
    };
    let offloads = if lab.offloads.is_empty() { "no offloads".to_owned() } else { lab.offloads.join(", ") };
    let ready = start.elapsed().as_millis();
    let made = format!("in {ready} ms; TAP devices with {offloads}");
    done(findings, Check::of("set up", Ok(made)))?;
    for (station, percent) in lab.stations.iter().zip([20, 25, 30]) {
        stage.now(percent, format!("pinging from {}", station.name));
        let check = checks::ping_from(station, lab, findings);
        done(findings, check)?;
    }
    let [from, to, _] = lab.stations.as_slice() else {
        return Err(Failure::sentence("a station is missing"));
    };
    stage.now(35, "pinging with 20 kB");
    done(findings, checks::large_ping(from, lab))?;
    stage.now(40, "reading ARP tables and FDB");
    let check = checks::arp_tables(lab, findings);
    done(findings, check)?;
    let check = checks::learning(lab, findings);
    done(findings, check)?;
    stage.now(45, "asking outside, the host and the published port whom they see");
    let check = beyond::seen_outside(lab, findings);
    done(findings, check)?;
    let check = beyond::host(lab, findings);
    done(findings, check)?;
    let check = beyond::published(lab, findings);
    done(findings, check)?;
    for (percent, station) in [50, 53, 60].into_iter().zip(&lab.stations) {
        // All get something, and one of them a lot.
        let file = if station.name == to.name { &service::LARGE } else { &service::SMALL };
        stage.now(percent, format!("{} fetches {} from outside", station.name, file.size));
        let check = beyond::fetch(station, file, findings);
        done(findings, check)?;
    }
    stage.now(65, format!("a TCP stream from {} to {}", from.name, to.name));
    let bar = stage.bar();
    let progress = |part: f64| bar.set_position(65 + (part.min(1.0) * 30.0) as u64);
    for check in checks::stream((from, to), lab, findings, &progress) {
        done(findings, check)?;
    }
    stage.now(95, "reading the drop counters");
    let check = checks::drops(lab, findings);
    done(findings, check)
}

/// What happens on Ctrl-C: the thread that waits for it, and the status that it ends the process with.
struct SignalWatch {
    code: Arc<AtomicI32>,
}

/// Ends the process on a signal. Nothing needs to be undone: namespaces, devices, files and sockets of the demo exist
/// in the process's private namespaces only.
fn watch_signals(stage: &Stage) -> Result<SignalWatch, Failure> {
    const UNSET: i32 = -1;
    let code = Arc::new(AtomicI32::new(UNSET));
    let status = Arc::clone(&code);
    let cannot = |e: io::Error| Failure::Sentence(format!("cannot watch for signals: {e}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let (bar, silent) = (stage.bar(), stage.silent());
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            bar.finish_and_clear();
            if !silent {
                // Past "^C" on the terminal; whether anybody reads it does not matter any more.
                let _ = writeln!(
                    io::stderr(),
                    "\npontoon: ended by a signal; all is cleaned up: the namespaces were private"
                );
            }
            match status.load(SeqCst) {
                UNSET => std::process::exit(128 + signal),
                code => std::process::exit(code),
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(cannot)?;
    Ok(SignalWatch { code })
}
