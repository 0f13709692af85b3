//! `pontoon run`: a command in a fresh sandbox.
//!
//! ```text
//! pontoon run ──spawns, unshare(CLONE_NEWPID)──▶ process 1 in there ──spawns──▶ the command
//!      │  ◀──── ready: network, mount and UTS namespaces are there ────┤
//!      ├──▶ the daemon: POST /sandboxes                               │
//!      ├───── go: what the files in /etc say, and standard input ─────▶│ binds them over, starts the command
//!      ├───── signals ────────────────────────────────────────────────▶│ passes them on
//!      │  ◀──── its end, with the command's status ────────────────────┘
//!      └──▶ the daemon: DELETE /sandboxes/ID
//! ```
//!
//! Nothing that was started in there survives: process 1 ends with the command, and with `pontoon run` (`PR_SET_PDEATHSIG`), and the kernel
//! kills whatever else is in a PID namespace when its process 1 ends (pid_namespaces(7)). Where nobody is left to ask the daemon, it
//! notices by itself that the sandbox has gone. `docs/decisions/0020-run.md` says more.

mod channel;
mod etc;
mod files;
pub(crate) mod init;
mod signals;

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use hyper::Method;
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::api::types::{Membership, Sandbox, SandboxRef, SandboxRequest};
use crate::cli::args::{Networks, RunArgs};
use crate::cli::client::{Client, path};
use crate::failure::Failure;
use crate::id::Id;
use crate::private::has_capability;
use crate::{names, sys};
use channel::{Channel, FromInit, ToInit};
use files::Files;
use signals::{Heard, Signals};

/// What `pontoon run` ends with when it fails itself.
pub(crate) const FAILED: u8 = 125;
/// What it ends with when the command is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// What it ends with when there is no such command.
const NOT_FOUND: u8 = 127;

/// Runs a command as the arguments say, and returns its status.
///
/// # Errors
/// The command was not started: [`Failure::code`] says whose fault that is.
pub fn run(socket: &Path, args: RunArgs) -> Result<ExitCode, Failure> {
    let networks = args.memberships().map_err(failed)?;
    match networks {
        Networks::Host => Err(execute(&args)),
        Networks::None => in_sandbox(&args, |_, _| Ok(Wired::nowhere())),
        Networks::These(memberships) => {
            let client = Client::new(socket).map_err(failed)?;
            in_sandbox(&args, |pid, name| Wired::by(client, &args, pid, name, memberships))
        }
    }
}

fn failed(cause: impl ToString) -> Failure {
    Failure::Coded { sentence: cause.to_string(), code: FAILED }
}

/// What became of starting the command.
fn not_started(command: &Command, error: &io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    let (code, sentence) = match error.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, format!("cannot run {program}: there is no such command")),
        _ => (NOT_EXECUTABLE, format!("cannot run {program}: {error}")),
    };
    Failure::Coded { sentence, code }
}

fn command_of(words: &[std::ffi::OsString]) -> Command {
    let mut command = Command::new(words.first().map(|it| it.as_os_str()).unwrap_or_default());
    command.args(words.iter().skip(1));
    command
}

/// Becomes the command; returns only when that fails.
fn execute(args: &RunArgs) -> Failure {
    let mut command = command_of(&args.command);
    let error = command.exec();
    not_started(&command, &error)
}

/// How a sandbox is connected.
struct Wired {
    client: Option<Client>,
    id: Id,
    /// Its addresses, in the order of its networks.
    addresses: Vec<Ipv4Addr>,
}

impl Wired {
    /// On no network.
    fn nowhere() -> Wired {
        Wired { client: None, id: Id::NONE, addresses: Vec::new() }
    }

    fn by(
        client: Client,
        args: &RunArgs,
        pid: u32,
        name: &str,
        networks: Vec<Membership>,
    ) -> Result<Wired, Failure> {
        let request = SandboxRequest {
            name: name.to_owned(),
            sandbox: SandboxRef::Pid(pid),
            networks,
            dns: args.dns.clone(),
            publications: args.publish.clone(),
            links: args.link_targets(),
        };
        let made: Sandbox = client.send(Method::POST, "/sandboxes", &request).map_err(failed)?;
        let addresses = made.endpoints.iter().filter_map(|it| match it.address.addr() {
            std::net::IpAddr::V4(address) => Some(address),
            std::net::IpAddr::V6(_) => None,
        });
        Ok(Wired { id: made.id, addresses: addresses.collect(), client: Some(client) })
    }

    /// Gives everything back. Whatever is in the way of that, the daemon or the next one notices by itself that the sandbox has gone.
    fn release(self) {
        if let Some(client) = self.client {
            let _ = client.call(Method::DELETE, &path(&["sandboxes", &self.id.to_string()]));
        }
    }
}

/// Runs the command in a sandbox that `wire` connects, given the number of its process 1 and its name.
fn in_sandbox(
    args: &RunArgs,
    wire: impl FnOnce(u32, &str) -> Result<Wired, Failure>,
) -> Result<ExitCode, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => random_name().map_err(failed)?,
    };
    let hostname = args.hostname.clone().unwrap_or_else(|| name.clone());
    names::check("an endpoint", &name).map_err(failed)?;
    names::check("a host", &hostname).map_err(failed)?;
    if !has_capability(CapabilitySet::SYS_ADMIN) {
        return Err(failed("this user may not make the namespaces of a sandbox; run it as root"));
    }
    let (mut init, channel) = start_init(args).map_err(failed)?;
    let started = (|| {
        expect_ready(&channel)?;
        let wired = wire(init.id(), &name)?;
        let files = Files::of(&hostname, &name, &wired.addresses, &args.dns, wired.client.is_some());
        Ok((wired, files))
    })();
    let (wired, files) = match started {
        Ok(started) => started,
        Err(failure) => {
            // It ends when nobody speaks to it any more.
            drop(channel);
            let _ = init.wait();
            return Err(failure);
        }
    };
    let ended = go(&mut init, &channel, files);
    drop(channel);
    wired.release();
    Ok(ExitCode::from(status_of(ended?)))
}

/// Tells process 1 to start the command, passes signals on, and waits for its end.
fn go(init: &mut Child, channel: &Channel, files: Files) -> Result<ExitStatus, Failure> {
    // From here on they are the command's.
    let signals = Signals::passed_on();
    let told = signals.and_then(|signals| {
        channel.send_with(&ToInit::Go(files), io::stdin())?;
        Ok((signals, channel.receive()?))
    });
    let signals = match told {
        Ok((signals, Some(FromInit::Started))) => signals,
        other => {
            let _ = init.kill();
            let _ = init.wait();
            return Err(match other {
                Ok((_, Some(FromInit::Failed { sentence, code }))) => Failure::Coded { sentence, code },
                Ok(_) => failed("the sandbox ended before the command was started"),
                Err(error) => failed(format!("cannot start the command: {error}")),
            });
        }
    };
    loop {
        let waited =
            init.try_wait().map_err(|error| failed(format!("cannot wait for the command: {error}")))?;
        if let Some(status) = waited {
            return Ok(status);
        }
        match signals.next().map_err(|error| failed(format!("cannot wait for signals: {error}")))? {
            Heard::Child => {}
            // It may have ended just now.
            Heard::Signal(number) => drop(channel.send(&ToInit::Signal(number))),
        }
    }
}

/// As shells say it.
fn status_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// Starts process 1 of a new PID namespace.
fn start_init(args: &RunArgs) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    // The one that is started next is the first in there. No thread of ours can be started any more from here on.
    sys::unshare(UnshareFlags::NEWPID)
        .map_err(|source| io::Error::other(format!("cannot make a PID namespace: {source}")))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(init::CALLED).args(&args.command).stdin(Stdio::from(theirs));
    let init = command
        .spawn()
        .map_err(|source| io::Error::other(format!("cannot start the sandbox's first process: {source}")))?;
    Ok((init, ours))
}

fn expect_ready(channel: &Channel) -> Result<(), Failure> {
    match channel.receive() {
        Ok(Some(FromInit::Ready)) => Ok(()),
        Ok(Some(FromInit::Failed { sentence, code })) => Err(Failure::Coded { sentence, code }),
        Ok(_) => Err(failed("the sandbox's first process ended before it was ready")),
        Err(error) => Err(failed(format!("cannot make the sandbox: {error}"))),
    }
}

/// A name that no other sandbox has.
fn random_name() -> io::Result<String> {
    let id = Id::random()?.to_string();
    Ok(format!("run-{}", id.get(..8).unwrap_or(&id)))
}
