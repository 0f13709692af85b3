//! Programs of eBPF, as the kernel takes them (include/uapi/linux/bpf.h; RFC 9669).

/// What a program is for (`enum bpf_prog_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// What a socket receives: the program returns how many bytes of it are let in.
    Socket = 1,
    /// What an interface hears or sends.
    Traffic = 3,
}

/// An instruction (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Both registers; which one is in which half depends on the machine's byte order.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The register that a program begins with: it points to the packet's `struct __sk_buff`.
pub(crate) const CONTEXT: u8 = 1;
/// Offsets in bytes in `struct __sk_buff`.
pub(crate) const VLAN_TCI: i16 = 24;
pub(crate) const INTERFACE: i16 = 40;

impl Instruction {
    /// Ends the program; register 0 is what it returns.
    pub(crate) const EXIT: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };

    /// Makes `value` what the program returns.
    pub(crate) const fn result(value: i32) -> Instruction {
        Instruction { code: 0xb7, registers: registers(0, 0), offset: 0, immediate: value }
    }

    /// Loads a word of the packet's `struct __sk_buff`.
    pub(crate) const fn load(register: u8, offset: i16) -> Instruction {
        Instruction { code: 0x61, registers: registers(register, CONTEXT), offset, immediate: 0 }
    }

    /// Leaves of a register what `mask` has.
    pub(crate) const fn and(register: u8, mask: i32) -> Instruction {
        Instruction { code: 0x57, registers: registers(register, 0), offset: 0, immediate: mask }
    }

    /// Skips `over` instructions when the register has `value`.
    pub(crate) const fn skip_if_equal(register: u8, value: i32, over: i16) -> Instruction {
        Instruction { code: 0x15, registers: registers(register, 0), offset: over, immediate: value }
    }
}

/// The byte that names two registers.
const fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "big") { destination << 4 | source } else { source << 4 | destination }
}
