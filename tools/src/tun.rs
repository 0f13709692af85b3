//! A wire between two namespaces without Ethernet on it: two TUN devices and two threads that carry packets across.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::lab::{LabError, Namespace};
use crate::sys;

/// The wire. It is cut when dropped, and the devices vanish.
#[derive(Debug)]
pub struct TunWire {
    carriers: Vec<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
}

impl TunWire {
    /// A TUN device of that name in each namespace, down and without address, each the far end of the other.
    ///
    /// # Errors
    /// No privilege, no /dev/net/tun, or the name is taken.
    pub fn between(a: &Namespace, b: &Namespace, name: &str) -> Result<TunWire, LabError> {
        TunWire::of(a, b, |fd| sys::tun_create(fd, name))
    }

    /// As [`TunWire::between`], for devices that pass TCP's super-frames to each other whole.
    ///
    /// # Errors
    /// As there.
    pub fn with_super_frames(a: &Namespace, b: &Namespace, name: &str) -> Result<TunWire, LabError> {
        TunWire::of(a, b, |fd| sys::tun_create_with_offloads(fd, name))
    }

    fn of(
        a: &Namespace,
        b: &Namespace,
        create: impl Fn(BorrowedFd<'_>) -> io::Result<()> + Sync,
    ) -> Result<TunWire, LabError> {
        let open = || -> io::Result<std::fs::File> {
            let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
            create(file.as_fd())?;
            Ok(file)
        };
        let (a, b) = (a.run(open)??, b.run(open)??);
        let stop = Arc::new(eventfd(0, EventfdFlags::empty())?);
        let pairs = [(a.try_clone()?, b.try_clone()?), (b, a)];
        let carriers = pairs.map(|(from, to)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || carry(from, to, &stop))
        });
        Ok(TunWire { carriers: carriers.into(), stop })
    }
}

impl Drop for TunWire {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

fn carry(mut from: std::fs::File, mut to: std::fs::File, stop: &OwnedFd) {
    // A virtio-net header may stand in front of the packet.
    let mut buffer = vec![0; 65_536 + 64];
    loop {
        let mut fds =
            [PollFd::new(&from, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        if poll(&mut fds, None).is_err() || !fds[1].revents().is_empty() {
            return;
        }
        // A device that is down gives nothing and takes nothing: what is on the wire then is lost.
        match from.read(&mut buffer) {
            Ok(len) => drop(to.write(&buffer[..len])),
            Err(_) => std::thread::yield_now(),
        }
    }
}
