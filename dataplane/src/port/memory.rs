//! Memory ports: bounded queues instead of a device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rustix::event::EventfdFlags;

use super::buffer::Buffer;
use super::{Offloads, Received, SendError};
use crate::frame::Frame;
use crate::offload::Offload;
use crate::verdict::DropReason;

/// A frame with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFrame {
    /// The bytes from the destination MAC on.
    pub bytes: Vec<u8>,
    /// What must still be done to them.
    pub offload: Offload,
}

impl OwnedFrame {
    /// The frame, borrowed.
    pub fn as_frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes, offload: self.offload }
    }
}

/// The data plane's end of a memory port.
#[derive(Debug)]
pub struct Memory {
    ingress: Receiver<OwnedFrame>,
    egress: Sender<OwnedFrame>,
    /// Readable while frames may wait in `ingress`.
    waiting: Arc<OwnedFd>,
    offloads: Offloads,
}

/// The other end: puts frames in and takes frames out.
#[derive(Debug, Clone)]
pub struct MemoryPeer {
    ingress: Sender<OwnedFrame>,
    egress: Receiver<OwnedFrame>,
    waiting: Arc<OwnedFd>,
}

/// A memory port whose queues hold `depth` frames each way.
///
/// # Errors
/// No descriptor is to be had.
pub fn pair(depth: usize, offloads: Offloads) -> std::io::Result<(Memory, MemoryPeer)> {
    let (to_port, ingress) = bounded(depth);
    let (egress, from_port) = bounded(depth);
    let waiting = Arc::new(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let peer = MemoryPeer { ingress: to_port, egress: from_port, waiting: Arc::clone(&waiting) };
    Ok((Memory { ingress, egress, waiting, offloads }, peer))
}

impl Memory {
    /// The offloads that the port was made with.
    #[inline]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    pub(super) fn recv(&self, buffer: &mut Buffer) -> Received {
        // Cleared before the queue is looked at: a frame that comes in between leaves it readable.
        let _ = rustix::io::read(&self.waiting, &mut [0u8; 8]);
        match self.ingress.try_recv() {
            Ok(frame) => {
                buffer.load(&frame.as_frame());
                if !self.ingress.is_empty() {
                    self.wake();
                }
                Received::Frame
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Received::Empty,
        }
    }

    pub(super) fn send(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        let owned = OwnedFrame { bytes: frame.bytes.to_vec(), offload: frame.offload };
        self.egress.try_send(owned).map_err(|_| SendError::Dropped(DropReason::PortFull))
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.waiting, &1u64.to_ne_bytes());
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl MemoryPeer {
    /// Puts a frame in; gives it back when the queue is full or the port is gone.
    ///
    /// # Errors
    /// The frame that was not taken.
    pub fn send(&self, frame: OwnedFrame) -> Result<(), OwnedFrame> {
        self.ingress.try_send(frame).map_err(|refused| refused.into_inner())?;
        let _ = rustix::io::write(&self.waiting, &1u64.to_ne_bytes());
        Ok(())
    }

    /// Frames that left by the port.
    pub fn frames(&self) -> &Receiver<OwnedFrame> {
        &self.egress
    }
}
