//! Ports: where frames enter and leave.
//!
//! A [`Device`] is read by the one worker that owns it and may be written to by any worker.

pub mod buffer;
pub mod capture;
pub mod memory;
pub mod packet;
pub mod pcap;
pub mod tap;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::addr::MacAddr;
use crate::frame::Frame;
use crate::verdict::DropReason;
use buffer::Buffer;

/// A device that frames are read from and written to.
#[derive(Debug)]
pub enum Device {
    /// A TAP device.
    Tap(tap::Tap),
    /// AF_PACKET on an existing interface.
    Packet(packet::Packet),
    /// Queues in memory, for tests and benches.
    Memory(memory::Memory),
    /// A capture file that is played, and another that records.
    Capture(capture::Capture),
}

/// What a device can be left to do. Fallbacks switch these off one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// The device speaks the virtio-net header at all; without it nothing below is possible.
    pub vnet_header: bool,
    /// It completes partial checksums.
    pub checksum: bool,
    /// It takes and gives TCP super-frames over IPv4 and IPv6.
    pub tso: bool,
    /// It takes and gives UDP super-frames.
    pub uso: bool,
}

impl Offloads {
    /// Everything.
    pub const ALL: Offloads = Offloads { vnet_header: true, checksum: true, tso: true, uso: true };
    /// Plain frames only.
    pub const NONE: Offloads = Offloads { vnet_header: false, checksum: false, tso: false, uso: false };
}

/// What reading from a device gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A frame is in the buffer.
    Frame,
    /// Something came that is no frame for us and is dropped for this reason; there may be more behind it.
    Dropped(DropReason),
    /// Nothing of interest came (our own output, a passing error); there may be more behind it.
    Skipped,
    /// The device has nothing more.
    Empty,
    /// The interface went down. It may come up again, or be on its way out: that the kernel does not tell, so
    /// [`Device::is_gone`] must be asked from time to time.
    Down,
}

/// Why a device did not take a frame.
#[derive(Debug)]
pub enum SendError {
    /// The frame is dropped for this reason; the device lives on.
    Dropped(DropReason),
    /// The device has vanished.
    Gone(io::Error),
}

impl Device {
    /// What the device can be left to do.
    #[inline]
    pub fn offloads(&self) -> Offloads {
        match self {
            Device::Tap(tap) => tap.offloads(),
            Device::Packet(packet) => packet.offloads(),
            Device::Memory(memory) => memory.offloads(),
            Device::Capture(capture) => capture.offloads(),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// The device has vanished.
    #[inline]
    pub fn recv(&self, buffer: &mut Buffer) -> io::Result<Received> {
        match self {
            Device::Tap(tap) => tap.recv(buffer),
            Device::Packet(packet) => packet.recv(buffer),
            Device::Memory(memory) => Ok(memory.recv(buffer)),
            Device::Capture(capture) => Ok(capture.recv(buffer)),
        }
    }

    /// The MAC that the kernel had given the interface itself when the device was opened. A TAP's is that of whoever is behind it, and the
    /// others have none.
    pub fn own_mac(&self) -> Option<MacAddr> {
        match self {
            Device::Packet(packet) => packet.own_mac(),
            Device::Tap(_) | Device::Memory(_) | Device::Capture(_) => None,
        }
    }

    /// Exchanges what the device hears; see [`packet::Packet::set_filter`].
    ///
    /// # Errors
    /// Not an AF_PACKET device, or a program that the kernel does not take.
    pub fn set_filter(&self, program: &[packet::SockFilter]) -> io::Result<()> {
        match self {
            Device::Packet(packet) => packet.set_filter(program),
            Device::Tap(_) | Device::Memory(_) | Device::Capture(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the interface of a port that went down has vanished. The other kinds of port tell when they are read.
    pub fn is_gone(&self) -> bool {
        match self {
            Device::Packet(packet) => !packet.interface_exists(),
            Device::Tap(_) | Device::Memory(_) | Device::Capture(_) => false,
        }
    }

    /// Whether the link is there: the interface is up and has a carrier. Costs a system call or two.
    pub fn has_link(&self) -> bool {
        match self {
            Device::Tap(tap) => tap.has_link(),
            Device::Packet(packet) => packet.has_link(),
            Device::Memory(_) | Device::Capture(_) => true,
        }
    }

    /// Writes the frame that `buffer` holds, its virtio-net header in place.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn send_buffer(&self, buffer: &Buffer) -> Result<(), SendError> {
        match self {
            Device::Tap(tap) => tap.send_buffer(buffer),
            Device::Packet(packet) => packet.send_buffer(buffer),
            Device::Memory(memory) => memory.send(&buffer.frame()),
            Device::Capture(capture) => capture.send(&buffer.frame()),
        }
    }

    /// Writes a frame from anywhere.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        match self {
            Device::Tap(tap) => tap.send(frame),
            Device::Packet(packet) => packet.send(frame),
            Device::Memory(memory) => memory.send(frame),
            Device::Capture(capture) => capture.send(frame),
        }
    }
}

impl AsFd for Device {
    /// The descriptor that is readable when frames wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Device::Tap(tap) => tap.as_fd(),
            Device::Packet(packet) => packet.as_fd(),
            Device::Memory(memory) => memory.as_fd(),
            Device::Capture(capture) => capture.as_fd(),
        }
    }
}
