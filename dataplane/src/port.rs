//! Ports: where frames enter and leave.

pub mod memory;
pub mod packet;
pub mod pcap;
pub mod tap;

/// A device that frames are read from and written to.
#[derive(Debug)]
pub enum Device {
    /// A TAP device.
    Tap(tap::Tap),
    /// AF_PACKET on an existing interface.
    Packet(packet::Packet),
    /// Queues in memory, for tests, benches and replay.
    Memory(memory::Memory),
}

/// What a device can be left to do. Fallbacks switch these off one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// The device speaks the virtio-net header at all; without it nothing below is possible.
    pub vnet_header: bool,
    /// It completes partial checksums.
    pub checksum: bool,
    /// It takes and gives TCP super-frames over IPv4 and IPv6.
    pub tso: bool,
    /// It takes and gives UDP super-frames.
    pub uso: bool,
}

impl Offloads {
    /// Everything.
    pub const ALL: Offloads = Offloads { vnet_header: true, checksum: true, tso: true, uso: true };
    /// Plain frames only.
    pub const NONE: Offloads = Offloads { vnet_header: false, checksum: false, tso: false, uso: false };
}
