//! The daemon with real devices, the kernel's own network stack in namespaces, and real frames.
//!
//! The whole target runs in private network and mount namespaces with an empty /run: whatever it makes, the machine never
//! sees it and the kernel clears it away, however the run ends. Where the privilege for that is missing every test is
//! reported as ignored, with the reason in its name; with CI=true that is a failure.
//!
//! PONTOON_FULL=1 runs the full counts: every combination, longer transfers, 200 endpoints.

// A test's way to fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bad_input;
mod bench;
mod command_line;
mod conformance;
mod connection;
mod daemon;
mod docker;
mod docker_socket;
mod edge;
mod edge_bad_input;
mod edge_commands;
mod exhaustion;
mod flags;
mod fragments;
mod frames;
mod gateway;
mod guard;
mod host_access;
mod host_ports;
mod icmp_errors;
mod interfaces;
mod killed;
mod leases;
mod loss;
mod many;
mod matrix;
mod names;
mod names_forward;
mod names_gateway;
mod nameserver;
mod networks;
mod outside;
mod pmtu;
mod published;
mod remote;
mod resolver;
mod rules;
mod run;
mod rungs;
mod sessions;
mod stations;
mod storms;
mod survive;
mod trace;
mod uplink;
mod uplink_changes;
mod uplinks;
mod vlan;
mod witness;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use pontoon_tools::lab::Namespace;

/// A test: its name and its work, which panics when something is not as it must be.
type Test = (String, Box<dyn FnOnce() + Send>);

fn test(name: impl Into<String>, work: impl FnOnce() + Send + 'static) -> Test {
    (name.into(), Box::new(work))
}

/// Whether the full counts were asked for.
fn full() -> bool {
    std::env::var("PONTOON_FULL").is_ok_and(|value| value == "1")
}

/// How long each test took.
static TOOK: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

fn timed(name: &str, work: impl FnOnce()) {
    let started = Instant::now();
    work();
    TOOK.lock().unwrap().push((started.elapsed(), name.to_owned()));
}

/// Says where the time went.
fn print_slowest() {
    let mut took = TOOK.lock().unwrap();
    took.sort_unstable_by(|a, b| b.cmp(a));
    let sum: Duration = took.iter().map(|(time, _)| *time).sum();
    println!("{} tests took {:.0} s one after another; the longest:", took.len(), sum.as_secs_f64());
    for (time, name) in took.iter().take(12) {
        println!("  {:5.1} s  {name}", time.as_secs_f64());
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait more than they work.
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    arguments.test_threads.get_or_insert(2 * cpus);
    // Before any thread is started.
    let lack = lack();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let docker = lack.clone().or_else(docker::lack);
    let all = [
        matrix::tests(),
        rungs::tests(),
        vlan::tests(),
        guard::tests(),
        flags::tests(),
        loss::tests(),
        survive::tests(),
        killed::tests(),
        many::tests(),
        interfaces::tests(),
        networks::tests(),
        stations::tests(),
        storms::tests(),
        connection::tests(),
        leases::tests(),
        command_line::tests(),
        bad_input::tests(),
        edge_commands::tests(),
        trace::tests(),
        edge_bad_input::tests(),
        gateway::tests(),
        witness::tests(),
        uplink::tests(),
        edge::tests(),
        outside::tests(),
        published::tests(),
        host_access::tests(),
        sessions::tests(),
        rules::tests(),
        pmtu::tests(),
        icmp_errors::tests(),
        fragments::tests(),
        uplink_changes::tests(),
        uplinks::tests(),
        host_ports::tests(),
        exhaustion::tests(),
        names::tests(),
        names_forward::tests(),
        names_gateway::tests(),
        resolver::tests(),
        docker_socket::tests(),
        bench::tests(),
        run::tests(),
    ];
    let trial = |lack: &Option<String>, (name, work): Test| match lack.clone() {
        None => Trial::test(name.clone(), move || {
            timed(&name, work);
            Ok(())
        }),
        Some(reason) if ci => Trial::test(name, move || Err(format!("cannot run: {reason}").into())),
        // Nothing else of an ignored test is printed.
        Some(reason) => {
            Trial::test(format!("{name} (cannot run: {reason})"), || Ok(())).with_ignored_flag(true)
        }
    };
    let all: Vec<Test> = all.into_iter().flatten().collect();
    let named = conformance::test_of(all.iter().map(|(name, _)| name.clone()).collect());
    // The longest first, so that nothing long is left for the end.
    let trials = docker::tests().into_iter().map(|test| trial(&docker, test));
    let trials: Vec<Trial> =
        trials.chain(all.into_iter().chain([named]).map(|test| trial(&lack, test))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.num_passed > 0 && !arguments.list {
        print_slowest();
    }
    conclusion.exit_code()
}

/// Moves into private namespaces; what is missing for the tests, if anything is.
fn lack() -> Option<String> {
    let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    if let Err(error) = tun {
        return Some(format!("/dev/net/tun: {error}"));
    }
    if let Err(error) = pontoon::private::enter() {
        return Some(error.to_string());
    }
    Namespace::new("probe").err().map(|error| error.to_string())
}
