//! AF_PACKET ports on existing interfaces.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::buffer::Buffer;
use super::{Offloads, Received, SendError};
use crate::frame::Frame;
use crate::offload::Gso;
use crate::sys;
use crate::verdict::DropReason;

/// Bytes of frames that may wait for us: a burst of some dozen super-frames, or thousands of small ones.
const RECEIVE_BUFFER_BYTES: i32 = 8 << 20;

/// Bytes of frames that may wait in a slow interface's queue. The default holds three super-frames.
const SEND_BUFFER_BYTES: i32 = 4 << 20;

/// A promiscuous AF_PACKET socket on an interface of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Packet {
    socket: Socket,
    interface_index: u32,
    offloads: Offloads,
    /// Falls when the kernel refuses the first UDP super-frame (before 6.2); there is no way to ask ahead.
    takes_uso: AtomicBool,
    /// The kernel took a UDP super-frame: a later refusal is that frame's own fault.
    uso_proven: AtomicBool,
}

impl Packet {
    /// Binds to the interface `name` in the calling thread's network namespace and makes it promiscuous for as
    /// long as the port lives.
    ///
    /// Super-frames always come in whole, since the kernel has no way to cut them for us; `wanted` says which may leave
    /// whole. Output of our own, and of the host, is never seen.
    ///
    /// # Errors
    /// No such interface, no privilege.
    pub fn open(name: &str, wanted: Offloads) -> io::Result<Packet> {
        // Protocol 0: deaf until bound, so that no frame of another interface slips in.
        let socket =
            Socket::new_raw(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        let fd = socket.as_fd();
        let interface_index = rustix::net::netdevice::name_to_index(fd, name)?;
        let vnet_header = sys::set_packet_option(fd, libc::PACKET_VNET_HDR, 1).is_ok();
        // Kernels before 4.20 cannot; there `recv` drops our own output by its packet type.
        let _ = sys::set_packet_option(fd, libc::PACKET_IGNORE_OUTGOING, 1);
        sys::set_packet_option(fd, libc::PACKET_AUXDATA, 1)?;
        // Needs CAP_NET_ADMIN in the first user namespace; without it the system's limit holds.
        if sys::force_receive_buffer(fd, RECEIVE_BUFFER_BYTES).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES as usize)?;
        }
        if sys::force_send_buffer(fd, SEND_BUFFER_BYTES).is_err() {
            socket.set_send_buffer_size(SEND_BUFFER_BYTES as usize)?;
        }
        sys::set_promiscuous(fd, interface_index)?;
        sys::bind_packet(fd, interface_index)?;
        let offloads = if vnet_header { Offloads { vnet_header, ..wanted } } else { Offloads::NONE };
        Ok(Packet {
            socket,
            interface_index,
            offloads,
            takes_uso: AtomicBool::new(offloads.uso),
            uso_proven: AtomicBool::new(false),
        })
    }

    /// The offloads in use.
    #[inline]
    pub fn offloads(&self) -> Offloads {
        Offloads { uso: self.takes_uso.load(Relaxed), ..self.offloads }
    }

    #[inline]
    pub(super) fn recv(&self, buffer: &mut Buffer) -> io::Result<Received> {
        let vnet_header = self.offloads.vnet_header;
        let space = if vnet_header { buffer.space_with_header() } else { buffer.space() };
        let info = match sys::receive_packet(self.socket.as_fd(), space) {
            Ok(info) => info,
            Err(error) => return self.receive_error(error),
        };
        if info.outgoing {
            return Ok(Received::Skipped);
        }
        if vnet_header && (!buffer.filled_with_header(info.len) || info.truncated) {
            return Ok(Received::Dropped(DropReason::MalformedOffload));
        }
        if !vnet_header {
            buffer.filled(info.len);
            if info.truncated {
                return Ok(Received::Dropped(DropReason::TooBig));
            }
        }
        if let Some((tpid, tci)) = info.vlan {
            buffer.insert_tag(tpid, tci);
        }
        Ok(Received::Frame)
    }

    fn receive_error(&self, error: io::Error) -> io::Result<Received> {
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Ok(Received::Empty),
            Some(Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => Ok(Received::Skipped),
            // A super-frame of a kind that virtio cannot name; the kernel has dropped it.
            Some(Errno::INVAL) => Ok(Received::Dropped(DropReason::MalformedOffload)),
            // Said once when the interface goes down; that it goes away after that is not said any more
            // (net/packet/af_packet.c, packet_notifier).
            Some(Errno::NETDOWN) if self.interface_exists() => Ok(Received::Down),
            _ => Err(error),
        }
    }

    #[inline]
    pub(super) fn send_buffer(&self, buffer: &Buffer) -> Result<(), SendError> {
        let whole = if self.offloads.vnet_header { buffer.with_header() } else { buffer.frame().bytes };
        self.sent(self.socket.send(whole), &buffer.frame())
    }

    pub(super) fn send(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        let header = frame.offload.emit();
        let parts = [IoSlice::new(&header), IoSlice::new(frame.bytes)];
        let parts = if self.offloads.vnet_header { &parts[..] } else { &parts[1..] };
        self.sent(self.socket.send_vectored(parts), frame)
    }

    #[inline]
    fn sent(&self, result: io::Result<usize>, frame: &Frame<'_>) -> Result<(), SendError> {
        match result {
            Ok(_) => {
                if frame.offload.gso == Gso::Udp && !self.uso_proven.load(Relaxed) {
                    self.uso_proven.store(true, Relaxed);
                }
                Ok(())
            }
            Err(error) => Err(self.refused(error, frame)),
        }
    }

    #[cold]
    fn refused(&self, error: io::Error, frame: &Frame<'_>) -> SendError {
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => SendError::Dropped(DropReason::PortFull),
            Some(Errno::INVAL) if frame.offload.gso == Gso::Udp && !self.uso_proven.load(Relaxed) => {
                // The next ones are cut before they come here.
                self.takes_uso.store(false, Relaxed);
                SendError::Dropped(DropReason::PortError)
            }
            Some(Errno::MSGSIZE) => SendError::Dropped(DropReason::TooBig),
            Some(Errno::NETDOWN) if self.interface_exists() => SendError::Dropped(DropReason::PortDown),
            Some(Errno::NETDOWN | Errno::NXIO | Errno::NODEV) => SendError::Gone(error),
            _ => SendError::Dropped(DropReason::PortError),
        }
    }

    /// Asked through the socket, so in its own network namespace, wherever the thread is.
    pub(super) fn interface_exists(&self) -> bool {
        rustix::net::netdevice::index_to_name(self.socket.as_fd(), self.interface_index).is_ok()
    }
}

impl AsFd for Packet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
