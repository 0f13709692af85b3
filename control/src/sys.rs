//! System calls that no library wraps safely.
#![allow(unsafe_code)]

use std::io;

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
