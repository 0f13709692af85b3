//! The thread that hears what the kernel tells of its own accord.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::monitor::{Monitor, News};
use super::state::Shared;

/// The kernel is looked at again at most this often. The first change after a quiet time is acted on at once; of a storm (a routing
/// daemon that starts) only the state that it has come to is of interest.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long until the next try when the kernel could not be looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// Follows the kernel until `stop` is readable.
pub(super) fn run(shared: &Arc<Shared>, mut monitor: Monitor, stop: &OwnedFd) {
    let mut news = News::default();
    let mut not_before = Instant::now();
    loop {
        let pause = news.is_any().then(|| not_before.saturating_duration_since(Instant::now()));
        match wait(&monitor, stop, pause) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::error!("the kernel's changes can no longer be followed: {error}");
                return;
            }
        }
        match monitor.read() {
            Ok(later) => news.add(later),
            Err(error) => tracing::warn!("cannot read what the kernel tells: {error}"),
        }
        if !news.is_any() || Instant::now() < not_before {
            continue;
        }
        not_before = Instant::now() + INTERVAL;
        match shared.follow(&mut shared.lock(), &news) {
            Ok(()) => news = News::default(),
            Err(error) => {
                tracing::warn!("cannot follow the host's interfaces and routes: {error}");
                not_before = Instant::now() + PATIENCE;
            }
        }
    }
}

/// Waits for news, for `pause` to pass, or for the end. Returns whether it is the end.
fn wait(monitor: &Monitor, stop: &OwnedFd, pause: Option<Duration>) -> io::Result<bool> {
    let timeout = pause.map(|pause| Timespec {
        tv_sec: pause.as_secs() as i64,
        // Rather a little too late than once too often.
        tv_nsec: i64::from(pause.subsec_nanos()) + 1,
    });
    // While changes wait for their time, more of them need not wake anybody.
    let events = if pause.is_some_and(|pause| !pause.is_zero()) { PollFlags::empty() } else { PollFlags::IN };
    let stop = stop.as_fd();
    let mut descriptors = [PollFd::new(&stop, PollFlags::IN), PollFd::new(monitor, events)];
    match poll(&mut descriptors, timeout.as_ref()) {
        Ok(_) => Ok(descriptors[0].revents().contains(PollFlags::IN)),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
