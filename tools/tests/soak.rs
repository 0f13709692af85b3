//! The soak in its everyday form: a few seconds, and its end by signals. PONTOON_FULL=1 soaks for a minute, and sees that what is broken
//! on purpose is found.

// A test's way to fail.
#![allow(missing_docs, unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{Outside, Way};

mod common;

use common::{full, said, trial};

const SOAK: &str = env!("CARGO_BIN_EXE_pontoon-soak");
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let lack = common::lack().or_else(lack_of_veth);
    let mut tests: Vec<(&str, fn())> = vec![
        ("nothing_grows_and_nothing_is_lost", nothing_grows_and_nothing_is_lost),
        ("it_ends_with_its_verdict_when_it_is_told_to", it_ends_with_its_verdict_when_it_is_told_to),
        ("nothing_is_left_when_it_is_killed", nothing_is_left_when_it_is_killed),
    ];
    if full() {
        tests.push(("what_is_broken_on_purpose_is_found", what_is_broken_on_purpose_is_found));
    }
    let trials = tests.into_iter().map(|test| trial(&lack, test)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn lack_of_veth() -> Option<String> {
    let outside = Namespace::new("probe").and_then(|host| Outside::behind(&host, Way::Direct(1500)));
    outside.err().map(|error| error.to_string())
}

fn soak(arguments: &[&str]) -> Output {
    Command::new(SOAK).args(arguments).output().unwrap()
}

fn nothing_grows_and_nothing_is_lost() {
    let seconds = if full() { "60" } else { "4" };
    let output = soak(&["--seconds", seconds]);
    let said = said(&output);
    assert!(output.status.success() && said.contains("descriptors and threads flat"), "{said}");
    if full() {
        assert!(said.contains("memory flat"), "{said}");
    }
}

/// A soak that has rested once, and the process of its daemon.
fn under_way() -> (Child, u32, BufReader<ChildStdout>) {
    let mut child = Command::new(SOAK).args(["--seconds", "600"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("1 rests"), "{line}");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let daemon = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    (child, daemon, lines)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// A process that has ended but is not waited for by anybody has ended, too.
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn it_ends_with_its_verdict_when_it_is_told_to() {
    let (mut child, daemon, lines) = under_way();
    signal(&child, Signal::SIGINT);
    let last = lines.lines().map_while(Result::ok).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{last}");
    assert!(last.starts_with("ok: "), "{last}");
    assert!(!lives(daemon), "the daemon is there still");
}

fn nothing_is_left_when_it_is_killed() {
    let (mut child, daemon, _lines) = under_way();
    assert!(lives(daemon));
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let end = Instant::now() + PATIENCE;
    while lives(daemon) {
        assert!(Instant::now() < end, "the daemon is there still");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn what_is_broken_on_purpose_is_found() {
    for (what, seconds, words) in [
        ("memory", "60", "resident memory grew from "),
        ("descriptors", "5", "descriptors and threads were as before: /dev/null"),
        ("threads", "5", "descriptors and threads were as before: "),
    ] {
        let output = soak(&["--seconds", seconds, "--break", what]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains("FAILED with seed 1: ") && said.contains(words), "{what}: {said}");
    }
}
