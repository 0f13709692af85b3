//! TAP ports: a device in a sandbox whose other side is a descriptor of ours.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::buffer::Buffer;
use super::{Offloads, Received, SendError};
use crate::frame::Frame;
use crate::offload::VNET_HEADER_LEN;
use crate::sys;
use crate::verdict::DropReason;

/// Where the TUN driver is found.
pub const DEVICE_NODE: &str = "/dev/net/tun";

// include/uapi/linux/if_tun.h
const IFF_TAP: u32 = 0x0002;
const IFF_NO_PI: u32 = 0x1000;
const IFF_VNET_HDR: u32 = 0x4000;
const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO: u32 = 0x02 | 0x04 | 0x08; // IPv4, IPv6, ECN
const TUN_F_USO: u32 = 0x20 | 0x40; // IPv4, IPv6; one without the other is refused

/// A queue of a TAP device in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    offloads: Offloads,
}

/// A TAP could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// `/dev/net/tun` could not be opened.
    #[error("cannot open /dev/net/tun: {0}")]
    DeviceNode(#[source] io::Error),
    /// Something else than the TUN driver answers behind `/dev/net/tun`.
    #[error("/dev/net/tun is not the TUN driver's device; `pontoon doctor` says more")]
    WrongDevice,
    /// The kernel refused to create the device or to attach to it.
    #[error("cannot attach to the TAP device {name}: {source}")]
    Attach {
        /// The interface's name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Tap {
    /// Creates the TAP device `name` in the calling thread's network namespace, or attaches to it again when it
    /// exists (a persistent one that an earlier process left). At most `wanted` offloads are used; what the
    /// kernel refuses falls away.
    ///
    /// # Errors
    /// No device node or a wrong one, no privilege, a name that another kind of device has, or a device that another
    /// process holds.
    pub fn open(name: &str, wanted: Offloads) -> Result<Tap, TapError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(DEVICE_NODE, flags, Mode::empty())
            .map_err(|errno| TapError::DeviceNode(errno.into()))?;
        let failed = |source: io::Error| match Errno::from_io_error(&source) {
            // Every kernel's TUN driver knows these requests; who does not is another device.
            Some(Errno::NOTTY) => TapError::WrongDevice,
            _ => TapError::Attach { name: name.to_owned(), source },
        };
        let vnet_header =
            wanted.vnet_header && sys::tun_features(fd.as_fd()).map_err(failed)? & IFF_VNET_HDR != 0;
        let flags = IFF_TAP | IFF_NO_PI | if vnet_header { IFF_VNET_HDR } else { 0 };
        sys::tun_set_interface(fd.as_fd(), name, flags).map_err(failed)?;
        if vnet_header {
            // State of the device, not of the descriptor: an earlier owner may have set another length.
            sys::tun_set_vnet_header_len(fd.as_fd(), VNET_HEADER_LEN).map_err(failed)?;
        }
        let wanted = if vnet_header { wanted } else { Offloads::NONE };
        let offloads = settle_offloads(fd.as_fd(), wanted)
            .map_err(|source| TapError::Attach { name: name.to_owned(), source })?;
        Ok(Tap { fd, offloads })
    }

    /// Whether the device outlives its last descriptor.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        sys::tun_set_persist(self.fd.as_fd(), persistent)
    }

    /// Whether the device is up: only then does the driver say that it may be written (drivers/net/tun.c, tun_sock_writeable), for the
    /// room that it has for frames cannot run out.
    pub(super) fn has_link(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.fd, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&now)).map_or(true, |_| descriptors[0].revents().contains(PollFlags::OUT))
    }

    /// The offloads in use.
    #[inline]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    #[inline]
    pub(super) fn recv(&self, buffer: &mut Buffer) -> io::Result<Received> {
        let space = if self.offloads.vnet_header { buffer.space_with_header() } else { buffer.space() };
        match rustix::io::read(&self.fd, space) {
            Ok(len) if self.offloads.vnet_header => {
                let sensible = buffer.filled_with_header(len);
                Ok(if sensible { Received::Frame } else { Received::Dropped(DropReason::MalformedOffload) })
            }
            Ok(len) => {
                buffer.filled(len);
                Ok(Received::Frame)
            }
            Err(Errno::AGAIN) => Ok(Received::Empty),
            Err(Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => Ok(Received::Skipped),
            // A super-frame of a kind that virtio cannot name (kernel: tun_put_user gives EINVAL and drops it).
            Err(Errno::INVAL) => Ok(Received::Dropped(DropReason::MalformedOffload)),
            Err(errno) => Err(errno.into()),
        }
    }

    #[inline]
    pub(super) fn send_buffer(&self, buffer: &Buffer) -> Result<(), SendError> {
        let whole = if self.offloads.vnet_header { buffer.with_header() } else { buffer.frame().bytes };
        rustix::io::write(&self.fd, whole).map(drop).map_err(refused)
    }

    pub(super) fn send(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        let header = frame.offload.emit();
        let parts = [IoSlice::new(&header), IoSlice::new(frame.bytes)];
        let parts = if self.offloads.vnet_header { &parts[..] } else { &parts[1..] };
        rustix::io::writev(&self.fd, parts).map(drop).map_err(refused)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Asks for less and less until the kernel agrees: kernels before 6.2 refuse USO, very small ones all of it.
/// Asking for nothing is asked too, for the device remembers what an earlier owner had.
fn settle_offloads(fd: BorrowedFd<'_>, wanted: Offloads) -> io::Result<Offloads> {
    let tso = wanted.checksum && wanted.tso;
    let rungs = [
        Offloads { uso: wanted.uso && tso, tso, ..wanted },
        Offloads { uso: false, tso, ..wanted },
        Offloads { uso: false, tso: false, ..wanted },
        Offloads { uso: false, tso: false, checksum: false, ..wanted },
    ];
    let mut refusal = io::Error::from(Errno::INVAL);
    for rung in rungs {
        let flags = if rung.checksum { TUN_F_CSUM } else { 0 }
            | if rung.tso { TUN_F_TSO } else { 0 }
            | if rung.uso { TUN_F_USO } else { 0 };
        match sys::tun_set_offload(fd, flags) {
            Ok(()) => return Ok(rung),
            Err(error) => refusal = error,
        }
    }
    // A kernel that knows no offload ioctl at all never leaves work to us.
    if wanted.vnet_header { Err(refusal) } else { Ok(Offloads::NONE) }
}

fn refused(errno: Errno) -> SendError {
    match errno {
        Errno::IO => SendError::Dropped(DropReason::PortDown),
        Errno::BADFD => SendError::Gone(errno.into()),
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => SendError::Dropped(DropReason::PortFull),
        _ => SendError::Dropped(DropReason::PortError),
    }
}
