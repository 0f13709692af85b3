//! Makes an input for the target `step` of a capture: the frames come in by one port, at the times that they were seen.
//!
//! ```text
//! cargo run -p pontoon-fuzz --example seed -- FILE.pcap [PORT] > fuzz/corpus/step/mine
//! ```

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use pontoon_dataplane::port::pcap;
use pontoon_fuzz::step_input;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, port) = match &arguments[..] {
        [path] => (path, Some(0)),
        [path, port] => (path, port.parse().ok()),
        _ => (&String::new(), None),
    };
    let Some(port) = port else {
        eprintln!("usage: seed FILE.pcap [PORT, from 0 to 8] > INPUT");
        return ExitCode::from(2);
    };
    let frames = match pcap::read(Path::new(path)) {
        Ok(frames) => frames,
        Err(error) => {
            eprintln!("seed: {error}");
            return ExitCode::FAILURE;
        }
    };
    let input = step_input(frames.iter().map(|(at, bytes)| (port, *at, &bytes[..])));
    match std::io::stdout().write_all(&input) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seed: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
