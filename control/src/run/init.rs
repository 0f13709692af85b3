//! Process 1 of a sandbox: makes its namespaces, starts the command, and ends with it.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, set_parent_process_death_signal};
use rustix::system::sethostname;
use rustix::thread::{UnshareFlags, set_name};

use super::channel::{Channel, FromInit, ToInit};
use super::etc::{self, Etc};
use super::files::Files;
use super::signals::Signals;
use super::{FAILED, command_of, not_started};
use crate::failure::Failure;
use crate::link::Links;
use crate::sys;

/// What it is called.
pub(super) const CALLED: &str = "pontoon-run-init";

/// How long after a file of the host's could not be bound over it is tried again.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The command that this process shall start, if it is process 1 of a sandbox: `pontoon run` calls it so.
pub(crate) fn command() -> Option<Vec<OsString>> {
    let mut words = env::args_os();
    (words.next()? == CALLED).then(|| words.collect())
}

/// Does what [`super::run`] says.
///
/// # Errors
/// It was not started by `pontoon run`, which hears of every other failure itself.
pub(crate) fn run(command: &[OsString]) -> Result<ExitCode, Failure> {
    let stranger = || Failure::Sentence(format!("{CALLED} is for `pontoon run` to start; use that"));
    if std::process::id() != 1 {
        return Err(stranger());
    }
    let channel = Channel::inherited().map_err(|_| stranger())?;
    Ok(match live(&channel, command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let (sentence, code) = (failure.to_string(), failure.code());
            // When nobody listens any more nobody wants to know.
            let _ = channel.send(&FromInit::Failed { sentence, code });
            ExitCode::from(code)
        }
    })
}

fn failed(action: &str) -> impl FnOnce(io::Error) -> Failure {
    let action = action.to_owned();
    move |error| Failure::Coded { sentence: format!("cannot {action}: {error}"), code: FAILED }
}

fn live(channel: &Channel, command: &[OsString]) -> Result<u8, Failure> {
    settle().map_err(failed("make the sandbox"))?;
    // Fails when `pontoon run` ended before we asked to end with it.
    channel.send(&FromInit::Ready).map_err(failed("report"))?;
    let told = channel.receive_with().map_err(failed("hear what to do"))?;
    // It has ended, or gives up.
    let Some((ToInit::Go(files), Some(stdin))) = told else { return Ok(FAILED) };
    let etc = furnish(&files).map_err(failed("furnish the sandbox"))?;
    let signals = Signals::of_children().map_err(failed("wait for children"))?;
    let mut command = command_of(command);
    let child = start(command.stdin(Stdio::from(stdin)))?;
    // Whoever writes to the command must learn when it does not read any more.
    drop(command);
    channel.send(&FromInit::Started).map_err(failed("report"))?;
    wait(channel, &signals, &etc, child).map_err(failed("wait for the command"))
}

/// Moves into namespaces of its own.
fn settle() -> io::Result<()> {
    let _ = set_name(c"pontoon-init");
    set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS)?;
    etc::separate()?;
    let links = Links::open().map_err(io::Error::other)?;
    let up = links.get("lo").and_then(|lo| links.set_up(&lo, true));
    up.map_err(io::Error::other)
}

fn furnish(files: &Files) -> io::Result<Etc> {
    sethostname(files.hostname.as_bytes())?;
    etc::furnish(files)
}

fn start(command: &mut Command) -> Result<Pid, Failure> {
    let child = command.spawn().map_err(|error| not_started(command, &error))?;
    // It is waited for with all the others that end in here.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Failure::sentence("the command has no number"))
}

/// Waits for the command's end and returns its status as shells say it. Meanwhile orphans that end are waited for, signals are passed on,
/// and what the host replaces is bound again.
fn wait(channel: &Channel, signals: &Signals, etc: &Etc, command: Pid) -> io::Result<u8> {
    let mounts = File::open("/proc/self/mountinfo")?;
    // It tells of changes from here on: what the host has replaced since the command was started is bound again first.
    let mut is_furnished = etc.repair();
    loop {
        let mut ready = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(channel, PollFlags::IN),
            PollFd::new(&mounts, PollFlags::PRI),
        ];
        match poll(&mut ready, (!is_furnished).then_some(&AGAIN)) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        let [children, told, mounts] = ready.map(|it| !it.revents().is_empty());
        if children {
            signals.next()?;
            if let Some(status) = reap(command)? {
                return Ok(status);
            }
        }
        if told {
            match channel.receive()? {
                Some(ToInit::Signal(number)) => pass_on(command, number),
                Some(ToInit::Go(_)) => {}
                // `pontoon run` has ended.
                None => return Ok(FAILED),
            }
        }
        if mounts || !is_furnished {
            is_furnished = etc.repair();
        }
    }
}

/// Waits for all that have ended; the command's status if it is among them.
fn reap(command: Pid) -> io::Result<Option<u8>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == command => return Ok(status_of(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn status_of(status: WaitStatus) -> Option<u8> {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
}

fn pass_on(command: Pid, number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        // It may have ended just now.
        let _ = kill_process(command, signal);
    }
}
