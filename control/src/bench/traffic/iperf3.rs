//! The same streams by iperf3, to hold the generator of our own against.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Time;
use super::tcp::{Direction, Streams};
use crate::bench::error::BenchError;
use crate::bench::lab::Station;
use crate::bench::process::{Process, run};
use crate::netns::{Netns, run_in};

/// The program, and the package that has it.
pub(crate) const PROGRAM: &str = "iperf3";
const PORT: u16 = 5201;

/// Payload of all streams together in Gbit/s, by the receivers' word. iperf3 knows whole seconds only.
pub(crate) fn measure(
    client: &Station,
    server: &Station,
    streams: Streams,
    time: Time,
) -> Result<f64, BenchError> {
    let mut listener = Command::new(PROGRAM);
    listener.args(["--server", "--one-off", "--port", &PORT.to_string()]);
    let mut listener = Process::start(listener, &server.netns, Path::new("/run"))?;
    listener.wait_until(|| listens(&server.netns))?;
    let mut command = Command::new(PROGRAM);
    let seconds = time.window.as_secs_f64().ceil().max(1.0);
    command.args(["--json", "--client", &server.address.to_string(), "--port", &PORT.to_string()]);
    command.args(["--time", &seconds.to_string(), "--parallel", &streams.count.to_string()]);
    command.args(["--congestion", streams.congestion]);
    if streams.direction == Direction::In {
        command.arg("--reverse");
    }
    let told = run(command, &client.netns)?;
    rate(&told).ok_or_else(|| BenchError::sentence("iperf3 did not tell what was received"))
}

fn rate(told: &str) -> Option<f64> {
    let told: Value = serde_json::from_str(told).ok()?;
    Some(told["end"]["sum_received"]["bits_per_second"].as_f64()? / 1e9)
}

/// Whether somebody listens on the port: to connect would be taken for a client.
fn listens(netns: &Netns) -> bool {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let sockets = || read("/proc/thread-self/net/tcp") + &read("/proc/thread-self/net/tcp6");
    run_in(netns, sockets).is_ok_and(|text| text.lines().any(is_listener))
}

/// proc(5), /proc/net/tcp: the local address, its port behind a colon, the remote one, and the state; 0A is listening.
fn is_listener(line: &str) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let port = format!(":{PORT:04X}");
    fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some("0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        assert!(is_listener("   0: 00000000:1451 00000000:0000 0A 00000000:00000000 00:00000000"));
        assert!(!is_listener("   0: 0100007F:1451 0100007F:C350 01 00000000:00000000 00:00000000"));
        assert!(!is_listener("   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000"));
    }

    #[test]
    fn the_receivers_word_counts() {
        let told = r#"{"end":{"sum_sent":{"bits_per_second":3e9},"sum_received":{"bits_per_second":2.5e9}}}"#;
        assert_eq!(rate(told), Some(2.5));
        assert_eq!(rate("{}"), None);
    }
}
