//! A kernel without netfilter, as far as one program can tell: seccomp takes away every way in.
//!
//! nf_tables, conntrack and ipset speak netlink of the family NETLINK_NETFILTER; iptables, arptables and ebtables of the old
//! kind speak socket options. Whoever tries either gets EPERM.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::lab::{LabError, Namespace};
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

/// Runs `work` inside a namespace on a thread that netfilter is taken from; what `work` starts there has none either.
///
/// # Errors
/// As [`deny`], or the namespace cannot be entered.
pub fn run_without<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    namespace.run(|| {
        deny()?;
        Ok(work())
    })?
}

/// Asks iptables about its filter table, if the calling thread may.
///
/// # Errors
/// EPERM after [`deny`]; else whatever a kernel without iptables says.
pub fn iptables() -> io::Result<()> {
    sys::iptables_info(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?.as_fd())
}
