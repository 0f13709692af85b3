//! The command line: [`args`] says what can be asked, [`commands`] asks the daemon by the [`client`], [`show`] and
//! [`table`] print the answer.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use hyper::Method;

pub mod args;
pub mod client;
pub mod commands;
pub mod man;
pub mod output;
pub mod show;
pub mod table;

use crate::api::types::{Document, ErrorBody};
use crate::config;
use crate::daemon::{self, DaemonOptions, DockerPlugin};
use crate::failure::Failure;
use crate::run::init;
use crate::{bench, demo, doctor};
use args::{Cli, Command};
use commands::Session;
use output::Output;

/// The program: parses the command line, does what it says, and reports failure as one line on standard error:
/// text, or `{"error": …}` with `--json`.
pub fn main() -> ExitCode {
    if let Some(command) = init::command() {
        return end(init::run(&command), false);
    }
    match Cli::try_parse() {
        Ok(cli) => {
            let json = cli.json;
            end(run(cli), json)
        }
        Err(error) => no_command_line(&error),
    }
}

fn end(done: Result<ExitCode, Failure>, json: bool) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // Nowhere is left to report that standard error is closed.
            let _ = if json {
                let body = ErrorBody { error: failure.to_string() };
                writeln!(io::stderr(), "{}", serde_json::to_string(&body).unwrap_or_default())
            } else {
                writeln!(io::stderr(), "pontoon: {failure}")
            };
            ExitCode::from(failure.code())
        }
    }
}

/// Prints help, the version or what is wrong with the command line.
fn no_command_line(error: &clap::Error) -> ExitCode {
    // Nowhere is left to report that the output is closed.
    let _ = error.print();
    let code = u8::try_from(error.exit_code()).unwrap_or(1);
    // Whatever the command of `pontoon run` may end with must not mean something else.
    let is_run = || {
        let words = Cli::command().ignore_errors(true).try_get_matches();
        words.is_ok_and(|words| words.subcommand_name() == Some("run"))
    };
    ExitCode::from(if error.use_stderr() && is_run() { crate::run::FAILED } else { code })
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let out = Output { json: cli.json };
    let session = || Session::new(&cli.socket, out);
    match cli.command {
        Command::Demo(args) => return demo::run(&demo::Options { json: cli.json, keep: args.keep }),
        Command::Bench(args) => return bench::run(&bench_options(*args, cli.json)),
        Command::Doctor => return doctor::run(out),
        Command::Daemon(args) => return run_daemon(cli.socket, args),
        Command::Run(args) => return crate::run::run(&cli.socket, *args),
        Command::Network(command) => session()?.network(command),
        Command::Attach(args) => session()?.attach(args),
        Command::Detach(args) => session()?.detach(&args),
        Command::Publish(args) => session()?.publish(args),
        Command::Unpublish(args) => session()?.unpublish(args),
        Command::Ports(args) => session()?.ports(args),
        Command::Rule(command) => session()?.rule(command),
        Command::Link(args) => session()?.link(args),
        Command::Unlink(link) => session()?.unlink(&link),
        Command::Nat(command) => session()?.nat(command),
        Command::Dns(command) => session()?.dns(command),
        Command::Uplink(command) => session()?.uplink(command),
        Command::Trace(args) => session()?.trace(args),
        Command::Port(command) => session()?.port(command),
        Command::Fdb(command) => session()?.fdb(command),
        Command::Stats(args) => session()?.stats(args),
        Command::Events(args) => session()?.events(&args),
        Command::Up(args) => session()?.apply(Method::PUT, &read_document(&args.file)?),
        Command::Down(args) => session()?.apply(Method::DELETE, &read_document(&args.file)?),
        Command::Completions { shell } => output::print(&completions(shell)),
        Command::Man { out: Some(dir) } => man::write_all(&dir).map_err(|e| {
            Failure::Sentence(format!("cannot write the manual pages into {}: {e}", dir.display()))
        }),
        Command::Man { out: None } => {
            let page =
                man::page().map_err(|e| Failure::Sentence(format!("cannot make the manual page: {e}")))?;
            output::print(&page)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn run_daemon(socket: PathBuf, args: args::DaemonArgs) -> Result<ExitCode, Failure> {
    // Another daemon than the machine's own must not take Docker's calls by chance.
    let docker_plugin = match args.docker_plugin {
        Some(path) if path.as_os_str() == "off" => DockerPlugin::Off,
        Some(path) => DockerPlugin::At(path),
        None if socket.as_os_str() == args::DEFAULT_SOCKET => DockerPlugin::Usual,
        None => DockerPlugin::Off,
    };
    let options = DaemonOptions {
        socket,
        state_dir: args.state,
        config: args.config,
        ephemeral: args.ephemeral,
        workers: args.workers.into(),
        edge: args.nat.settings(args.offloads.into()),
        resolv_conf: args.resolv_conf,
        docker_plugin,
    };
    daemon::log_to_stderr();
    daemon::run(options).map(|()| ExitCode::SUCCESS).map_err(|error| Failure::Sentence(error.to_string()))
}

fn bench_options(args: args::BenchArgs, json: bool) -> bench::Options {
    bench::Options {
        json,
        save: args.save,
        html: args.html,
        compare: args.compare,
        quick: args.quick,
        scenarios: args.scenario,
        against: args.against,
        docker: args.docker,
        with_iperf3: args.with_iperf3,
        rounds: args.rounds,
        window: args.seconds,
        list: args.list,
    }
}

fn read_document(file: &Path) -> Result<Document, Failure> {
    config::read(file).map_err(|error| Failure::Sentence(error.to_string()))
}

/// The completion script for a shell.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pontoon", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_gets_completions() {
        for shell in clap_complete::Shell::value_variants() {
            let script = completions(*shell);
            for word in ["pontoon", "network", "attach", "doctor", "ephemeral"] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }
}
