//! What a port's interface hears is its network's alone: none of it goes on to the host's own IP stack.
//!
//! A packet socket gets a copy of each frame, and the kernel goes on with the frame. A program at the interface's ingress ends that
//! behind packet sockets. It lives as long as its descriptor and leaves no trace. Kernels before 6.6, and some that are told to refuse
//! bpf(2), have no such place; there the settings count that the interface has in any case, and keep while no daemon runs
//! ([`HostStack::KEPT_OFF`](crate::link::HostStack)). `docs/decisions/0014-keeping-the-host-off.md` says what they leave open.

use std::io;
use std::os::fd::OwnedFd;

use crate::bpf::{self, Instruction, Kind};
use crate::sys;

/// Keeps the host's IP stack from what an interface hears, until it is dropped.
#[derive(Debug)]
pub(super) struct Gate {
    _link: OwnedFd,
}

/// Verdicts of the program (include/uapi/linux/bpf.h, `enum tcx_action_base`).
const NEXT: i32 = -1;
const DROP: i32 = 2;

/// The number of the VLAN in a tag's control information.
const VLAN_ID: i32 = 0xfff;

/// Lets frames of a VLAN go on, for the host may have interfaces of its own in VLANs. VLAN 0 is none: such a tag the kernel takes off.
const PROGRAM: [Instruction; 7] = [
    Instruction::load(2, bpf::VLAN_TCI),
    Instruction::and(2, VLAN_ID),
    // Over NEXT and its exit.
    Instruction::skip_if_equal(2, 0, 2),
    Instruction::result(NEXT),
    Instruction::EXIT,
    Instruction::result(DROP),
    Instruction::EXIT,
];

impl Gate {
    /// Closes an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// The system's error: see [`sys::attach_ingress`].
    pub(super) fn close(interface_index: u32) -> io::Result<Gate> {
        let program = sys::load_program(Kind::Traffic, &PROGRAM)?;
        Ok(Gate { _link: sys::attach_ingress(&program, interface_index)? })
    }
}
