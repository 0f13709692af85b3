//! System calls that no library wraps safely.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// An instruction of eBPF (include/uapi/linux/bpf.h, `struct bpf_insn`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// Both registers; which one is in which half depends on the machine's byte order.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest for zero.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// Loads a program that filters what a socket receives.
///
/// # Errors
/// The system's error: no such call, no privilege, a program that the kernel's verifier does not like.
pub(super) fn load_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let load = Load {
        program_type: BPF_PROG_TYPE_SOCKET_FILTER,
        instruction_count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
    };
    // SAFETY: the attributes, the program and the licence that they point to live until the call is back, and have the
    // sizes that are given; the kernel only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    match i32::try_from(fd) {
        // SAFETY: the call has just opened this descriptor for us, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts a loaded program in the place of a socket's filter, if it has one.
///
/// # Errors
/// The system's error.
pub(super) fn attach_program(socket: impl AsFd, program: &OwnedFd) -> io::Result<()> {
    let program: libc::c_int = program.as_raw_fd();
    // SAFETY: the option's value is an int that lives until the call is back, and its size is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
