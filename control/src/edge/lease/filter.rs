//! What sockets that hold ports let in.
//!
//! A filter is a program of eBPF that all sockets share, or, where the kernel has no bpf(2) for us (gVisor, a seccomp
//! filter, no CAP_BPF), one of classic BPF that each socket gets a copy of: that takes three times as long and some 5 KiB of the
//! kernel's memory for each port more.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockFilter, Socket};

use super::sys::{self, Instruction};

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only to hold the port for NAT: nothing is let in.
    Nat,
    /// To serve clients on the host: what arrives on an uplink is not let in.
    Published,
}

/// The filters of all sockets.
#[derive(Debug)]
pub(super) struct Filters {
    nat: Filter,
    published: Filter,
}

#[derive(Debug)]
enum Filter {
    Shared(OwnedFd),
    Copied(Vec<SockFilter>),
}

/// What can be told from the interface that a packet came by.
#[derive(Debug, Clone, Copy)]
enum Program<'a> {
    DropAll,
    /// The numbers of interfaces.
    DropFrom(&'a [u32]),
}

impl Filters {
    /// Filters for hosts with these uplinks, by the numbers of their interfaces. `share`: if the kernel can.
    pub(super) fn new(uplinks: &[u32], share: bool) -> Filters {
        let filter = |program: Program<'_>| {
            let loaded = share.then(|| sys::load_filter(&program.extended()).ok()).flatten();
            loaded.map_or_else(|| Filter::Copied(program.classic()), Filter::Shared)
        };
        Filters { nat: filter(Program::DropAll), published: filter(Program::DropFrom(uplinks)) }
    }

    /// Replaces the socket's filter; there is no moment without one.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn attach(&self, socket: &Socket, purpose: Purpose) -> io::Result<()> {
        let filter = match purpose {
            Purpose::Nat => &self.nat,
            Purpose::Published => &self.published,
        };
        match filter {
            Filter::Shared(program) => sys::attach_program(socket, program),
            Filter::Copied(program) => socket.attach_filter(program),
        }
    }
}

impl Program<'_> {
    /// In classic BPF (include/uapi/linux/filter.h).
    fn classic(self) -> Vec<SockFilter> {
        const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        #[allow(clippy::cast_sign_loss, reason = "the kernel means the same bits")]
        const INTERFACE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32;
        const DROP: SockFilter = SockFilter::new(RETURN, 0, 0, 0);
        const PASS: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);
        match self {
            Program::DropAll => vec![DROP],
            Program::DropFrom(interfaces) => {
                let load = SockFilter::new(LOAD_WORD, 0, 0, INTERFACE);
                // Each comparison passes over a return of its own, so that no jump is long.
                let compare = |index: &u32| [SockFilter::new(JUMP_EQUAL, 0, 1, *index), DROP];
                std::iter::once(load).chain(interfaces.iter().flat_map(compare)).chain([PASS]).collect()
            }
        }
    }

    /// In eBPF: the verdict is in register 0, the interface's number in register 2.
    fn extended(self) -> Vec<Instruction> {
        const EXIT: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };
        const DROP: Instruction = Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 0 };
        const PASS: Instruction = Instruction { code: 0xb7, registers: 0, offset: 0, immediate: -1 };
        // `ifindex` of the `struct __sk_buff` that register 1 points to.
        const LOAD: Instruction =
            Instruction { code: 0x61, registers: registers(2, 1), offset: 40, immediate: 0 };
        match self {
            Program::DropAll => vec![DROP, EXIT],
            Program::DropFrom(interfaces) => {
                let compare = |(left, index): (i16, &u32)| Instruction {
                    code: 0x15,
                    registers: registers(2, 0),
                    // To the exit: over the comparisons that are left, and PASS.
                    offset: left + 1,
                    // The kernel's numbers of interfaces are positive.
                    immediate: index.cast_signed(),
                };
                // From the last one to the first, so that each knows how many follow.
                let mut program: Vec<Instruction> = (0..).zip(interfaces.iter().rev()).map(compare).collect();
                program.extend([DROP, LOAD]);
                program.reverse();
                program.extend([PASS, EXIT]);
                program
            }
        }
    }
}

/// The byte that names two registers.
const fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "big") { destination << 4 | source } else { source << 4 | destination }
}
