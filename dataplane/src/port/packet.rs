//! AF_PACKET ports on existing interfaces: bridge ports, which see everything, and uplinks, which see what their filter
//! admits of the frames that are for the interface itself.
//!
//! Some interfaces carry bare packets (tun, WireGuard, PPP). Elsewhere every frame has an Ethernet header: such a port puts
//! one in front of what comes in and takes it off what leaves.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::buffer::{BARE_HEADER_LEN, Buffer};
use super::{Offloads, Received, SendError};
use crate::addr::MacAddr;
use crate::frame::{EthernetView, Frame, ethertype};
use crate::offload::Gso;
use crate::sys;
use crate::verdict::DropReason;

/// Bytes of frames that may wait for us: a burst of some dozen super-frames, or thousands of small ones.
const RECEIVE_BUFFER_BYTES: i32 = 8 << 20;

/// Bytes of frames that may wait in a slow interface's queue. The default holds three super-frames.
const SEND_BUFFER_BYTES: i32 = 4 << 20;

/// One instruction of a classic BPF program (`struct sock_filter`, include/uapi/linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// What to do.
    pub code: u16,
    /// Instructions to skip when a condition holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

impl SockFilter {
    /// Admits nothing (`BPF_RET | BPF_K`, 0 bytes).
    const ADMIT_NOTHING: SockFilter = SockFilter { code: 0x06, jump_true: 0, jump_false: 0, operand: 0 };
}

/// An AF_PACKET socket on an interface of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Packet {
    socket: Socket,
    interface_index: u32,
    role: Role,
    /// The interface carries packets without an Ethernet header.
    bare: bool,
    /// The interface's own MAC when it was opened.
    mac: MacAddr,
    offloads: Offloads,
    /// Falls when the kernel refuses the first UDP super-frame (before 6.2); there is no way to ask ahead.
    takes_uso: AtomicBool,
    /// The kernel took a UDP super-frame: a later refusal is that frame's own fault.
    uso_proven: AtomicBool,
}

/// What a packet port is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A member of a network: sees all that the interface hears.
    Bridge,
    /// An uplink: sees what its filter admits of the frames to the interface itself and to everybody.
    Uplink,
}

impl Packet {
    /// Binds to the interface `name` in the calling thread's network namespace and makes it promiscuous for as
    /// long as the port lives.
    ///
    /// Super-frames always come in whole, since the kernel has no way to cut them for us; `wanted` says which may leave
    /// whole. Output of our own, and of the host, is never seen.
    ///
    /// # Errors
    /// No such interface, no privilege, an interface without Ethernet header.
    pub fn open(name: &str, wanted: Offloads) -> io::Result<Packet> {
        Self::open_as(Role::Bridge, name, wanted)
    }

    /// Binds to the interface `name` in the calling thread's network namespace as an uplink: not promiscuous, and deaf
    /// until [`Packet::set_filter`] says what to hear.
    ///
    /// # Errors
    /// No such interface, no privilege, the loopback interface or one of a kind that carries no IP packets.
    pub fn open_uplink(name: &str, wanted: Offloads) -> io::Result<Packet> {
        Self::open_as(Role::Uplink, name, wanted)
    }

    fn open_as(role: Role, name: &str, wanted: Offloads) -> io::Result<Packet> {
        // Protocol 0: deaf until bound, so that no frame of another interface slips in.
        let socket =
            Socket::new_raw(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        let fd = socket.as_fd();
        let interface_index = rustix::net::netdevice::name_to_index(fd, name)?;
        let (hardware_type, mac) = sys::hardware_address(fd, name)?;
        let bare = carries_bare_packets(hardware_type)?;
        if bare && role == Role::Bridge {
            return Err(unsupported("an interface without Ethernet header cannot be bridged"));
        }
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
        match role {
            Role::Bridge => sys::set_promiscuous(fd, interface_index)?,
            Role::Uplink => attach(&socket, &[SockFilter::ADMIT_NOTHING])?,
        }
        sys::bind_packet(fd, interface_index)?;
        let offloads = if vnet_header { Offloads { vnet_header, ..wanted } } else { Offloads::NONE };
        Ok(Packet {
            socket,
            interface_index,
            role,
            bare,
            mac: MacAddr(mac),
            offloads,
            takes_uso: AtomicBool::new(offloads.uso),
            uso_proven: AtomicBool::new(false),
        })
    }

    /// Hears from now on what `program` admits. One program takes the other's place at once: no frame passes between them, and
    /// what waits already was admitted by the old one. The program sees a frame from its Ethernet header on; on an interface
    /// without one ([`Packet::is_bare`]) from its IP header on.
    ///
    /// # Errors
    /// A program that the kernel does not take: none or more than 4096 instructions, more memory than `net.core.optmem_max`,
    /// a jump out of it.
    pub fn set_filter(&self, program: &[SockFilter]) -> io::Result<()> {
        attach(&self.socket, program)
    }

    /// Whether the interface carries packets without an Ethernet header.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// The interface's own MAC when it was opened; none where frames have none.
    pub(super) fn own_mac(&self) -> Option<MacAddr> {
        (!self.bare).then_some(self.mac)
    }

    /// The offloads in use.
    #[inline]
    pub fn offloads(&self) -> Offloads {
        Offloads { uso: self.takes_uso.load(Relaxed), ..self.offloads }
    }

    #[inline]
    pub(super) fn recv(&self, buffer: &mut Buffer) -> io::Result<Received> {
        let vnet_header = self.offloads.vnet_header;
        let space = match (self.bare, vnet_header) {
            (true, _) => buffer.bare_space(vnet_header),
            (false, true) => buffer.space_with_header(),
            (false, false) => buffer.space(),
        };
        let info = match sys::receive_packet(self.socket.as_fd(), space) {
            Ok(info) => info,
            Err(error) => return self.receive_error(error),
        };
        if info.outgoing || self.role == Role::Uplink && !info.concerns_host {
            return Ok(Received::Skipped);
        }
        let filled = if self.bare {
            buffer.filled_bare(info.len, vnet_header)
        } else if vnet_header {
            buffer.filled_with_header(info.len).then_some(()).ok_or(DropReason::MalformedOffload)
        } else {
            buffer.filled(info.len);
            Ok(())
        };
        if let Err(reason) = filled {
            return Ok(Received::Dropped(reason));
        }
        if info.truncated {
            return Ok(Received::Dropped(DropReason::TooBig));
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
        if self.bare {
            return self.send_bare(&buffer.frame());
        }
        let whole = if self.offloads.vnet_header { buffer.with_header() } else { buffer.frame().bytes };
        self.sent(self.socket.send(whole), &buffer.frame())
    }

    pub(super) fn send(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        if self.bare {
            return self.send_bare(frame);
        }
        let header = frame.offload.emit();
        let parts = [IoSlice::new(&header), IoSlice::new(frame.bytes)];
        let parts = if self.offloads.vnet_header { &parts[..] } else { &parts[1..] };
        self.sent(self.socket.send_vectored(parts), frame)
    }

    /// Sends the packet without its Ethernet header, whose type travels in the address: not every such interface finds out
    /// by itself what it is given (PPP).
    fn send_bare(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        let refused = SendError::Dropped(DropReason::PortError);
        let Ok(view) = EthernetView::parse(frame.bytes) else { return Err(refused) };
        if view.payload_offset != BARE_HEADER_LEN
            || !matches!(view.ethertype, ethertype::IPV4 | ethertype::IPV6)
        {
            return Err(refused);
        }
        let header = frame.offload.shifted_back(BARE_HEADER_LEN as u16).emit();
        let parts = [IoSlice::new(&header), IoSlice::new(view.payload(frame.bytes))];
        let parts = if self.offloads.vnet_header { &parts[..] } else { &parts[1..] };
        let sent = sys::send_packet(self.socket.as_fd(), parts, self.interface_index, view.ethertype);
        self.sent(sent, frame)
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

    /// Whether the interface is up and has a carrier. When that cannot be found out it is taken to be.
    pub(super) fn has_link(&self) -> bool {
        let socket = self.socket.as_fd();
        let name = rustix::net::netdevice::index_to_name(socket, self.interface_index);
        let flags = name.map_err(io::Error::from).and_then(|name| sys::interface_flags(socket, &name));
        flags.map_or(true, |flags| flags & libc::IFF_RUNNING != 0)
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

/// Whether interfaces of that hardware type (`ARPHRD_*`, include/uapi/linux/if_arp.h) carry packets without an Ethernet
/// header.
fn carries_bare_packets(hardware_type: u16) -> io::Result<bool> {
    const RAW_IP: u16 = 519; // ARPHRD_RAWIP, which libc does not name
    match hardware_type {
        libc::ARPHRD_ETHER => Ok(false),
        libc::ARPHRD_NONE | libc::ARPHRD_PPP | libc::ARPHRD_TUNNEL | RAW_IP => Ok(true),
        libc::ARPHRD_LOOPBACK => Err(unsupported("the loopback interface leads nowhere")),
        other => Err(unsupported(&format!(
            "interfaces of hardware type {other} carry neither Ethernet frames nor bare IP packets"
        ))),
    }
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

fn attach(socket: &Socket, program: &[SockFilter]) -> io::Result<()> {
    if program.len() > usize::from(u16::MAX) {
        return Err(Errno::INVAL.into());
    }
    let instruction =
        |it: &SockFilter| socket2::SockFilter::new(it.code, it.jump_true, it.jump_false, it.operand);
    socket.attach_filter(&program.iter().map(instruction).collect::<Vec<_>>())
}
