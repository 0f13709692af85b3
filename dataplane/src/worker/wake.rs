//! What wakes a worker: an eventfd. It is readable from when somebody rings until the worker heeds it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;

/// A worker's bell.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Wake> {
        Ok(Wake(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Wakes the worker up, or keeps it from falling asleep.
    #[inline]
    pub(crate) fn ring(&self) {
        // A full eventfd is readable already, which is all that is wanted.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Silences the bell. Returns whether it was rung. What it was rung for must be looked for after this, not before: else what comes
    /// in between is not told of any more.
    pub(crate) fn heed(&self) -> bool {
        rustix::io::read(&self.0, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for Wake {
    /// Readable when the bell was rung.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
