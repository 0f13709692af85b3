//! System calls that no library wraps safely.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, PoisonError};

use rustix::thread::UnshareFlags;

/// Gives the calling thread namespaces of its own.
///
/// # Errors
/// The system's error: no privilege, or user namespaces asked for in a process with several threads.
pub fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    // Only an unshared descriptor table can break memory safety's neighbour, I/O safety: other threads would
    // use numbers that mean something else here.
    if namespaces.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `UnshareFlags::FILES`, the one flag for which the call is unsafe, is refused above.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }.map_err(io::Error::from)
}

/// The listening socket that systemd handed over under that name, if it did (sd_listen_fds(3)). Only the first call gets it.
pub fn inherited_socket(name: &str) -> Option<UnixListener> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    // SD_LISTEN_FDS_START
    const FIRST: RawFd = 3;
    let variable = |name| env::var(name).ok();
    if variable("LISTEN_PID")?.parse() != Ok(std::process::id()) {
        return None;
    }
    let count: usize = variable("LISTEN_FDS")?.parse().ok()?;
    let names = variable("LISTEN_FDNAMES")?;
    let place = names.split(':').take(count).position(|it| it == name)?;
    let number = FIRST + RawFd::try_from(place).ok()?;
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        return None;
    }
    // SAFETY: systemd opened it for this process, which the PID above says, nobody else in the process uses these
    // numbers, and `TAKEN` says that it was not given away before.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(UnixListener::from(descriptor))
}
