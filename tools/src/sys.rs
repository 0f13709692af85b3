//! System calls that no safe wrapper offers: the TUN driver's, and iptables'.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `TUNSETIFF`: creates the TUN device `name`, whose packets have no header in front of them.
pub(crate) fn tun_create(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    tun_set_interface(fd, name, libc::IFF_TUN | libc::IFF_NO_PI)
}

/// `TUNSETIFF` and `TUNSETOFFLOAD`: creates the TUN device `name`, whose packets have a virtio-net header and may be
/// super-frames of TCP.
pub(crate) fn tun_create_with_offloads(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    tun_set_interface(fd, name, libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR)?;
    let offloads = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6);
    // SAFETY: the request takes its argument by value.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, offloads) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn tun_set_interface(fd: BorrowedFd<'_>, name: &str, flags: libc::c_int) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request reads and writes one ifreq, valid for the call and zero-terminated above.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `IPT_SO_GET_INFO` about the table of IPv4 filter rules; what it says is thrown away.
pub(crate) fn iptables_info(fd: BorrowedFd<'_>) -> io::Result<()> {
    const IPT_SO_GET_INFO: libc::c_int = 64;
    // struct ipt_getinfo: the table's name, zero-terminated, and room for the answer.
    let mut info = [0u8; 84];
    info[..6].copy_from_slice(b"filter");
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the kernel reads and writes no more than `len` bytes of the array, which lives for the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_IP,
            IPT_SO_GET_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
