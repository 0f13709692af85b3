//! The system calls that no safe wrapper offers: the TUN driver's ioctls, AF_PACKET's socket options, and on which CPU a thread is.
//!
//! Each function is one call, takes descriptors by reference and gives the system's error as it is.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Longest interface name in bytes, the terminating zero not counted (`IFNAMSIZ` - 1).
pub(crate) const MAX_INTERFACE_NAME: usize = libc::IFNAMSIZ - 1;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `sched_getcpu(3)`: the CPU that the calling thread is on. rustix has it too, but reads the vDSO's address where valgrind has put nothing.
pub(crate) fn current_cpu() -> io::Result<usize> {
    // SAFETY: it takes nothing and touches no memory of ours.
    Ok(check(unsafe { libc::sched_getcpu() })?.unsigned_abs() as usize)
}

/// `TUNGETFEATURES`: the `IFF_*` flags that the driver knows.
pub(crate) fn tun_features(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut features: libc::c_uint = 0;
    // SAFETY: the request writes one c_uint to the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETFEATURES as _, &raw mut features) })?;
    Ok(features)
}

/// A request about the interface `name`, with `flags` (`IFF_*`).
fn interface_request(name: &str, flags: u32) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() > MAX_INTERFACE_NAME || name.contains(['\0', '%']) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// `TUNSETIFF`: creates or attaches to the device `name` with `flags` (`IFF_*`).
pub(crate) fn tun_set_interface(fd: BorrowedFd<'_>, name: &str, flags: u32) -> io::Result<()> {
    let mut request = interface_request(name, flags)?;
    // SAFETY: the request reads and writes one ifreq, valid for the call and zero-terminated.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    Ok(())
}

/// `TUNSETOFFLOAD`: the `TUN_F_*` work that may be left to us.
pub(crate) fn tun_set_offload(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: the request takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(flags)) })?;
    Ok(())
}

/// `TUNSETVNETHDRSZ`: length in bytes of the virtio-net header in front of each frame.
pub(crate) fn tun_set_vnet_header_len(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len = libc::c_int::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the request reads one c_int from the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw const len) })?;
    Ok(())
}

/// `TUNSETPERSIST`: whether the device outlives its last descriptor.
pub(crate) fn tun_set_persist(fd: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: the request takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST as _, libc::c_ulong::from(persistent)) })?;
    Ok(())
}

/// `setsockopt` with an option of plain data.
fn set_option<T: Copy>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from the value, which is plain data and lives for the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

/// Switches an integer option of an AF_PACKET socket (`PACKET_VNET_HDR`, `PACKET_AUXDATA`, ...).
pub(crate) fn set_packet_option(fd: BorrowedFd<'_>, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::SOL_PACKET, name, value)
}

/// `SO_RCVBUFFORCE`: the receive buffer's size in bytes, beyond the system's limit.
pub(crate) fn force_receive_buffer(fd: BorrowedFd<'_>, bytes: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

/// `SO_SNDBUFFORCE`: the send buffer's size in bytes, beyond the system's limit.
pub(crate) fn force_send_buffer(fd: BorrowedFd<'_>, bytes: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

/// `PACKET_ADD_MEMBERSHIP` with `PACKET_MR_PROMISC`: the interface is promiscuous until the socket is closed.
pub(crate) fn set_promiscuous(fd: BorrowedFd<'_>, interface_index: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: interface_index as libc::c_int,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, request)
}

/// Binds an AF_PACKET socket to one interface and all protocols: from here on it receives.
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, interface_index: u32) -> io::Result<()> {
    let address = link_address(interface_index, libc::ETH_P_ALL as u16);
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from the address, which is plain data and lives for the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}

/// The link-layer address of an interface and an Ethernet type.
fn link_address(interface_index: u32, ethertype: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: interface_index as libc::c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// `SIOCGIFHWADDR`: the interface's hardware type (`ARPHRD_*`) and the first six bytes of its address.
pub(crate) fn hardware_address(fd: BorrowedFd<'_>, name: &str) -> io::Result<(u16, [u8; 6])> {
    let mut request = interface_request(name, 0)?;
    // SAFETY: the request reads and writes one ifreq, valid for the call and zero-terminated.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut request) })?;
    // SAFETY: the kernel has filled in this member, and any bytes make a sockaddr.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = address.sa_data.map(|byte| byte as u8);
    Ok((address.sa_family, [a, b, c, d, e, f]))
}

/// `SIOCGIFFLAGS`: the interface's `IFF_*` flags.
pub(crate) fn interface_flags(fd: BorrowedFd<'_>, name: &str) -> io::Result<libc::c_int> {
    let mut request = interface_request(name, 0)?;
    // SAFETY: the request reads and writes one ifreq, valid for the call and zero-terminated.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: the kernel has filled in this member, and any bytes make flags.
    Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// Sends one packet by an AF_PACKET socket on an interface without Ethernet header, and says its Ethernet type.
pub(crate) fn send_packet(
    fd: BorrowedFd<'_>,
    parts: &[io::IoSlice<'_>],
    interface_index: u32,
    ethertype: u16,
) -> io::Result<usize> {
    let mut address = link_address(interface_index, ethertype);
    let message = libc::msghdr {
        msg_name: (&raw mut address).cast(),
        msg_namelen: size_of_val(&address) as libc::socklen_t,
        // An IoSlice is an iovec by its documentation, and the kernel only reads it.
        msg_iov: parts.as_ptr().cast_mut().cast(),
        msg_iovlen: parts.len() as _,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    // SAFETY: every pointer in the message goes to live memory of the length beside it, which is only read.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// `MADV_HUGEPAGE` for memory that has not been touched yet. Only advice: nothing is lost when the kernel does not take it.
pub(crate) fn prefer_huge_pages<T>(room: &mut [T]) {
    const PAGE: usize = 4096;
    let start = room.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let len = size_of_val(room).saturating_sub(skipped);
    if len == 0 {
        return;
    }
    // SAFETY: the range lies within `room`; the advice changes neither its contents nor its protection.
    let _ = unsafe { libc::madvise(start.wrapping_add(skipped).cast(), len, libc::MADV_HUGEPAGE) };
}

/// What `recvmsg` told about a frame besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketInfo {
    /// Bytes written to the buffer, virtio-net header included.
    pub(crate) len: usize,
    /// The buffer was too small for the frame.
    pub(crate) truncated: bool,
    /// The kernel took the frame on its way out (`PACKET_OUTGOING`).
    pub(crate) outgoing: bool,
    /// The frame is for the interface's own address or for everybody (`PACKET_HOST`, `PACKET_BROADCAST`).
    pub(crate) concerns_host: bool,
    /// The outermost VLAN tag, that the kernel has taken off: TPID and TCI.
    pub(crate) vlan: Option<(u16, u16)>,
}

const AUX_STATUS_VLAN_VALID: u32 = 1 << 4;
const AUX_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const ETH_P_8021Q: u16 = 0x8100;

/// Receives one frame from an AF_PACKET socket with `PACKET_AUXDATA` on.
pub(crate) fn receive_packet(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<PacketInfo> {
    let mut address = libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut control = Control([0; CONTROL_LEN]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = libc::msghdr {
        msg_name: (&raw mut address).cast(),
        msg_namelen: size_of_val(&address) as libc::socklen_t,
        msg_iov: &raw mut part,
        msg_iovlen: 1,
        msg_control: (&raw mut control).cast(),
        msg_controllen: CONTROL_LEN as _,
        msg_flags: 0,
    };
    // SAFETY: every pointer in the message goes to a live buffer of the length beside it.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let control_len = (message.msg_controllen as usize).min(CONTROL_LEN);
    Ok(PacketInfo {
        len,
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
        outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
        concerns_host: matches!(address.sll_pkttype, libc::PACKET_HOST | libc::PACKET_BROADCAST),
        vlan: stripped_tag(&control.0[..control_len]),
    })
}

const CONTROL_LEN: usize = 64;

/// Room for control messages, aligned as `cmsghdr` wants it.
#[repr(align(8))]
struct Control([u8; CONTROL_LEN]);

/// The VLAN tag in a control message of type `PACKET_AUXDATA` (`struct tpacket_auxdata`, 20 bytes).
fn stripped_tag(control: &[u8]) -> Option<(u16, u16)> {
    const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*control.get(at..at + 4)?.first_chunk()?));
    let u16_at = |at: usize| Some(u16::from_ne_bytes(*control.get(at..at + 2)?.first_chunk()?));
    let level_at = HEADER_LEN - 8;
    // PACKET_AUXDATA is the only kind that is switched on, so it comes first.
    if u32_at(level_at)? != libc::SOL_PACKET as u32 || u32_at(level_at + 4)? != libc::PACKET_AUXDATA as u32 {
        return None;
    }
    let status = u32_at(HEADER_LEN)?;
    let (tci, tpid) = (u16_at(HEADER_LEN + 16)?, u16_at(HEADER_LEN + 18)?);
    let has_tpid = status & AUX_STATUS_VLAN_TPID_VALID != 0;
    (status & AUX_STATUS_VLAN_VALID != 0).then_some((if has_tpid { tpid } else { ETH_P_8021Q }, tci))
}
