//! System calls that no library wraps safely.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;

/// Lets the current runtime wait for a file to become readable.
///
/// # Errors
/// The system's error.
pub(super) fn watch(file: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the descriptor is owned by the `Arc` that is handed over, always the same one, and open as long as that is.
    unsafe { AsyncFd::register(file) }.map_err(io::Error::from)
}
