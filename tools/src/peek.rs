//! Frames in and out of an interface by a raw socket: what a test sends that no honest kernel would, and what it sees arrive.

use std::io;
use std::time::{Duration, Instant};

use pontoon_dataplane::Frame;
use pontoon_dataplane::port::buffer::Buffer;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::{Device, Offloads, Received, SendError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lab::{LabError, Namespace};

/// A raw socket on one interface. It does not see what the interface itself sends.
#[derive(Debug)]
pub struct Peek {
    device: Device,
}

impl Peek {
    /// Opens the interface of a namespace.
    ///
    /// # Errors
    /// No such interface, no privilege.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Peek, LabError> {
        let packet = namespace.run(|| Packet::open(interface, Offloads::ALL))??;
        Ok(Peek { device: Device::Packet(packet) })
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The interface refuses it.
    pub fn send(&self, bytes: &[u8]) -> Result<(), LabError> {
        self.device.send(&Frame::plain(bytes)).map_err(|error| match error {
            SendError::Dropped(reason) => reason.sentence().into(),
            SendError::Gone(error) => error.into(),
        })
    }

    /// Everything that arrives, up to and with the first frame that `wanted` picks.
    ///
    /// # Errors
    /// None such came within `patience`; the error says how many others did.
    pub fn until(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&OwnedFrame) -> bool,
    ) -> Result<Vec<OwnedFrame>, LabError> {
        let end = Instant::now() + patience;
        let (mut buffer, mut seen) = (Buffer::new(), Vec::new());
        loop {
            match self.device.recv(&mut buffer)? {
                Received::Frame => {
                    let frame = buffer.frame();
                    let frame = OwnedFrame { bytes: frame.bytes.to_vec(), offload: frame.offload };
                    let last = wanted(&frame);
                    seen.push(frame);
                    if last {
                        return Ok(seen);
                    }
                }
                Received::Dropped(_) | Received::Skipped | Received::Down => {}
                Received::Empty => self.wait(end, seen.len())?,
            }
        }
    }

    fn wait(&self, end: Instant, seen: usize) -> Result<(), LabError> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("the frame did not come; {seen} others did").into());
        }
        let mut fds = [PollFd::new(&self.device, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::try_from(left)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}
