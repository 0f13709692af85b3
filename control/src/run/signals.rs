//! Signals as something to read (signalfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

/// Those that `pontoon run` passes on. Not SIGTSTP and its like: a shell stops `pontoon run` and the command alike, and both go on.
const PASSED_ON: [Signal; 12] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGWINCH,
];

/// Those that a terminal sends to all who have it in the foreground, the command too. A hang-up is told to the session's leader alone
/// (drivers/tty/tty_jobctrl.c).
const BY_TERMINAL: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH];

/// `si_code` of what the kernel itself sends (asm-generic/siginfo.h).
const SI_KERNEL: i32 = 0x80;

/// Whether the command has got that signal already.
fn is_known(signal: &siginfo) -> bool {
    signal.ssi_code == SI_KERNEL && BY_TERMINAL.iter().any(|it| *it as u32 == signal.ssi_signo)
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A child has ended, or stopped.
    Child,
    /// The signal of this number, for the command.
    Signal(i32),
}

/// Signals that this process reads; they do nothing else to it.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// All that are passed on, and children's ends.
    pub(super) fn passed_on() -> io::Result<Signals> {
        Signals::of(&PASSED_ON)
    }

    /// Children's ends alone.
    pub(super) fn of_children() -> io::Result<Signals> {
        Signals::of(&[])
    }

    fn of(signals: &[Signal]) -> io::Result<Signals> {
        let mut set: SigSet = signals.iter().copied().collect();
        set.add(Signal::SIGCHLD);
        // Children get an empty mask again: std::process::Command sees to that.
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next one that the command has not got already. Waits for it.
    pub(super) fn next(&self) -> io::Result<Heard> {
        loop {
            match self.0.read_signal() {
                Ok(Some(signal)) if signal.ssi_signo == libc::SIGCHLD as u32 => return Ok(Heard::Child),
                Ok(Some(signal)) if !is_known(&signal) => {
                    return Ok(Heard::Signal(signal.ssi_signo.cast_signed()));
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
