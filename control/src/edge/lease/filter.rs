//! What sockets that hold ports let in.
//!
//! A filter is a program of eBPF that all sockets share, or, where the kernel has no bpf(2) for us (gVisor, a seccomp
//! filter, no CAP_BPF), one of classic BPF that each socket gets a copy of: that takes three times as long and some 5 KiB of the
//! kernel's memory for each port more.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockFilter, Socket};

use super::sys;
use crate::bpf::{self, Instruction, Kind};
use crate::sys::load_program;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only to hold the port for NAT: nothing is let in.
    Nat,
    /// To serve clients on the host: what did not come from the host itself is not let in.
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
enum Program {
    DropAll,
    /// What the host sends to an address of its own, whichever, comes by the loopback interface and by no other.
    OnlyLoopback,
}

/// The loopback interface's number, the same in every network namespace (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const LOOPBACK: u8 = 1;

impl Filters {
    /// `share`: if the kernel can.
    pub(super) fn new(share: bool) -> Filters {
        let filter = |program: Program| {
            let loaded = share.then(|| load_program(Kind::Socket, &program.extended()).ok()).flatten();
            loaded.map_or_else(|| Filter::Copied(program.classic()), Filter::Shared)
        };
        Filters { nat: filter(Program::DropAll), published: filter(Program::OnlyLoopback) }
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

impl Program {
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
            Program::OnlyLoopback => {
                let load = SockFilter::new(LOAD_WORD, 0, 0, INTERFACE);
                vec![load, SockFilter::new(JUMP_EQUAL, 0, 1, LOOPBACK.into()), PASS, DROP]
            }
        }
    }

    /// In eBPF.
    fn extended(self) -> Vec<Instruction> {
        const DROP: Instruction = Instruction::result(0);
        const PASS: Instruction = Instruction::result(-1);
        const EXIT: Instruction = Instruction::EXIT;
        match self {
            Program::DropAll => vec![DROP, EXIT],
            Program::OnlyLoopback => {
                let load = Instruction::load(2, bpf::INTERFACE);
                // Over DROP and its exit.
                let compare = Instruction::skip_if_equal(2, LOOPBACK.into(), 2);
                vec![load, compare, DROP, EXIT, PASS, EXIT]
            }
        }
    }
}
