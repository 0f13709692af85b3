//! Tests that need namespaces: without the privilege to make them they are reported as ignored, with the reason in their names; with
//! CI=true that is a failure.

use std::process::Output;

use libtest_mimic::Trial;
use pontoon_tools::lab::Namespace;

/// Moves into private namespaces; what is missing for tests in them, if anything is. Call it before any thread is started.
pub fn lack() -> Option<String> {
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("/dev/net/tun: {error}"));
    }
    if let Err(error) = pontoon::private::enter() {
        return Some(error.to_string());
    }
    Namespace::new("probe").err().map(|error| error.to_string())
}

/// A test that can run if nothing is missing.
pub fn trial(lack: &Option<String>, (name, work): (&str, fn())) -> Trial {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    match lack.clone() {
        None => Trial::test(name, move || {
            work();
            Ok(())
        }),
        Some(reason) if ci => Trial::test(name, move || Err(format!("cannot run: {reason}").into())),
        // Nothing else of an ignored test is printed.
        Some(reason) => {
            Trial::test(format!("{name} (cannot run: {reason})"), || Ok(())).with_ignored_flag(true)
        }
    }
}

/// Whether the full counts were asked for.
pub fn full() -> bool {
    std::env::var("PONTOON_FULL").is_ok_and(|value| value == "1")
}

/// Everything that a command said.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
