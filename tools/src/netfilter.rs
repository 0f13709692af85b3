//! A kernel without netfilter, as far as one program can tell: seccomp takes away every way in.
//!
//! nf_tables, conntrack and ipset speak netlink of the family NETLINK_NETFILTER; iptables, arptables and ebtables of the old
//! kind speak socket options. Whoever tries either gets EPERM.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, netlink, recv, send, socket};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::lab::LabError;
use crate::sys;

// include/uapi/linux/netfilter_ipv4/ip_tables.h, .../ip6_tables.h, ../netfilter_arp/arp_tables.h,
// ../netfilter_bridge/ebtables.h: first and last numbers of socket options. IPv6's own options have some of the same numbers.
const OPTIONS: [(libc::c_int, u64, u64); 5] = [
    (libc::SOL_IP, 64, 67),
    (libc::SOL_IP, 96, 99),
    (libc::SOL_IP, 128, 131),
    (libc::SOL_IPV6, 64, 65),
    (libc::SOL_IPV6, 68, 69),
];

/// Takes netfilter from the calling thread and from every program that it starts from now on. There is no way back.
///
/// # Errors
/// A kernel without seccomp, or a processor that the filter's compiler does not know.
pub fn deny() -> Result<(), LabError> {
    let equal =
        |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let family = libc::AF_NETLINK as u64;
    let sockets = vec![SeccompRule::new(vec![equal(0, family)?, equal(2, libc::NETLINK_NETFILTER as u64)?])?];
    let mut options = Vec::new();
    for (level, first, last) in OPTIONS {
        for name in first..=last {
            options.push(SeccompRule::new(vec![equal(1, level as u64)?, equal(2, name)?])?);
        }
    }
    let rules = [
        (libc::SYS_socket, sockets),
        (libc::SYS_setsockopt, options.clone()),
        (libc::SYS_getsockopt, options),
    ];
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

/// Asks iptables about its filter table, if the calling thread may.
///
/// # Errors
/// EPERM after [`deny`]; else whatever a kernel without iptables says.
pub fn iptables() -> io::Result<()> {
    sys::iptables_info(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?.as_fd())
}

/// How many nf_tables tables there are in the calling thread's namespace; none on a kernel without them.
///
/// # Errors
/// The system's error.
pub fn tables() -> io::Result<usize> {
    // include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h and ../netlink.h
    const SUBSYSTEM: u16 = 10;
    const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
    const NEW_TABLE: u16 = SUBSYSTEM << 8;
    const REQUEST_DUMP: u16 = 0x0001 | 0x0300;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    let socket = match socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER)) {
        Err(rustix::io::Errno::PROTONOSUPPORT) => return Ok(0),
        socket => socket?,
    };
    let header = [&20u32.to_ne_bytes()[..], &GET_TABLE.to_ne_bytes(), &REQUEST_DUMP.to_ne_bytes()].concat();
    let request = [&header[..], &[0; 8], &[0; 4]].concat();
    send(&socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    let mut count = 0;
    loop {
        let (_, len) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..len];
        while let (Some(len), Some(kind)) = (number(rest, 0..4), number(rest, 4..6)) {
            match kind as u16 {
                DONE => return Ok(count),
                // A kernel without nf_tables knows no such subsystem.
                ERROR => return Ok(0),
                NEW_TABLE => count += 1,
                _ => {}
            }
            rest = rest.get((len as usize).max(16).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn number(bytes: &[u8], range: std::ops::Range<usize>) -> Option<u32> {
    let bytes = bytes.get(range)?;
    let mut word = [0; 4];
    // Netlink has the machine's byte order.
    let place = if cfg!(target_endian = "little") { 0 } else { 4 - bytes.len() };
    word.get_mut(place..place + bytes.len())?.copy_from_slice(bytes);
    Some(u32::from_ne_bytes(word))
}
