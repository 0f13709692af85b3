//! System calls that no library wraps safely.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::bpf::{Instruction, Kind};

/// Gives the calling thread namespaces of its own.
///
/// # Errors
/// The system's error: no privilege, or user namespaces asked for in a process with several threads.
pub fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    // Only an unshared descriptor table can break memory safety's neighbour, I/O safety: other threads would
    // use numbers that mean something else here.
    if namespaces.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `UnshareFlags::FILES`, the one flag for which the call is unsafe, is refused above.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }.map_err(io::Error::from)
}

/// bpf(2). The kernel takes what `attributes` lack of `union bpf_attr` for zero.
///
/// # Safety
/// `command` is one that returns a new descriptor, and `attributes` are what it reads (include/uapi/linux/bpf.h), with every pointer
/// in them valid for the call.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's; the size is given, and the kernel only reads.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: the call has just opened this descriptor for us, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Loads a program of eBPF.
///
/// # Errors
/// The system's error: no such call, no privilege, a program that the kernel's verifier does not like.
pub(crate) fn load_program(kind: Kind, program: &[Instruction]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    #[repr(C)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
    }
    let load = Load {
        kind: kind as u32,
        instruction_count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
    };
    // SAFETY: these are the command's attributes; the program and the licence that they point to outlive the call.
    unsafe { bpf(BPF_PROG_LOAD, &load) }
}

/// Has a program of [`Kind::Traffic`] see what an interface of the calling thread's network namespace hears, behind packet sockets and
/// in front of everything else, until the descriptor that this returns is closed.
///
/// # Errors
/// The system's error: a kernel before 6.6, no privilege, no such interface.
pub(crate) fn attach_ingress(program: &OwnedFd, interface_index: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_long = 28;
    const BPF_TCX_INGRESS: u32 = 46;
    #[repr(C)]
    struct Link {
        program: u32,
        interface_index: u32,
        place: u32,
        flags: u32,
    }
    let program = u32::try_from(program.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let link = Link { program, interface_index, place: BPF_TCX_INGRESS, flags: 0 };
    // SAFETY: these are the command's attributes, without pointers.
    unsafe { bpf(BPF_LINK_CREATE, &link) }
}

/// The listening socket that systemd handed over under that name, if it did (sd_listen_fds(3)). Only the first call gets it.
pub fn inherited_socket(name: &str) -> Option<UnixListener> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    // SD_LISTEN_FDS_START
    const FIRST: RawFd = 3;
    let variable = |name| env::var(name).ok();
    if variable("LISTEN_PID")?.parse() != Ok(std::process::id()) {
        return None;
    }
    let count: usize = variable("LISTEN_FDS")?.parse().ok()?;
    let names = variable("LISTEN_FDNAMES")?;
    let place = names.split(':').take(count).position(|it| it == name)?;
    let number = FIRST + RawFd::try_from(place).ok()?;
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        return None;
    }
    // SAFETY: systemd opened it for this process, which the PID above says, nobody else in the process uses these
    // numbers, and `TAKEN` says that it was not given away before.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(UnixListener::from(descriptor))
}

/// Starts a program in a network namespace. The kernel kills it when the calling thread ends, however that ends.
///
/// # Errors
/// The system's error.
pub(crate) fn spawn_bound(command: &mut Command, netns: BorrowedFd<'_>) -> io::Result<Child> {
    let netns = netns.try_clone_to_owned()?;
    let enter = move || -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?)
    };
    // SAFETY: between fork and exec `enter` makes two system calls and nothing else: no allocation, no lock; the descriptor that it
    // uses is its own.
    unsafe { command.pre_exec(enter) };
    command.spawn()
}
