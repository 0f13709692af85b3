//! What an uplink's socket hears: a classic BPF program, so that the host's own traffic is never copied to us.
//!
//! Admitted are, of the frames that are for the interface itself and of no VLAN (a priority tag alone, VLAN id 0, makes none): ARP replies and announcements (requests for
//! the sender's own address, also broadcast), and of IPv4: ICMP, all fragments but first
//! ones (which carry no ports), TCP and UDP to ports that NAT or a publication holds. Ports are found by a balanced tree of comparisons, in about
//! as many instructions as the number of ranges has binary digits.
//!
//! The kernel charges the program to `net.core.optmem_max`, 20,480 bytes on older kernels, and old and new program together while
//! they change places. [`MAX_RANGES`] for each protocol keep a program below half of that, at three 8-byte instructions of its own making
//! for each end of a range. When there are more ranges the narrowest gaps between them are closed: a few packets
//! more come up, and the core leaves them to the host. [`Ports::all`] is for kernels that allow less still.

use pontoon_dataplane::port::packet::SockFilter;

use super::lease::PortRange;

/// The most ranges of ports for each protocol in one program.
const MAX_RANGES: usize = 96;

/// Ports to admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    /// TCP; ascending, not overlapping.
    pub(super) tcp: Vec<PortRange>,
    /// UDP; the same.
    pub(super) udp: Vec<PortRange>,
}

impl Ports {
    /// Every port.
    pub(super) fn all() -> Ports {
        Ports { tcp: vec![(0, u16::MAX)], udp: vec![(0, u16::MAX)] }
    }
}

/// The program for an interface with or without Ethernet headers.
pub(super) fn program(ethernet: bool, ports: &Ports) -> Vec<SockFilter> {
    let mut program = Vec::new();
    let ip_offset = if ethernet {
        ethernet_header(&mut program);
        14
    } else {
        bare_header(&mut program);
        0
    };
    ipv4_header(&mut program, ip_offset);
    let (tcp, udp) = (port_tree(&ports.tcp), port_tree(&ports.udp));
    // Protocols: `ipv4_header` has left the protocol in the accumulator.
    let header_len = [
        // The index register becomes the IP header's length.
        statement(LDX_IP_HEADER_LEN, ip_offset),
        statement(LD_HALF_INDEXED, ip_offset + 2),
    ];
    let tcp_len = (header_len.len() + tcp.len()) as u32;
    program.push(jump(JEQ, 6, 1, 0));
    program.push(statement(JA, tcp_len));
    program.extend(header_len);
    program.extend(tcp);
    program.push(jump(JEQ, 17, 1, 0));
    program.push(REJECT);
    program.extend(header_len);
    program.extend(udp);
    program
}

/// Rejects what is not IPv4 nor an ARP message that tells who has an address, and admits the latter.
fn ethernet_header(program: &mut Vec<SockFilter>) {
    program.extend([
        statement(LD_WORD, VLAN_TAG_PRESENT),
        jump(JEQ, 0, 4, 0),
        statement(LD_WORD, VLAN_TAG),
        statement(AND, VLAN_ID),
        jump(JEQ, 0, 1, 0),
        REJECT,
        statement(LD_HALF, 12),
        jump(JEQ, 0x0800, 11, 0),
        jump(JEQ, 0x0806, 1, 0),
        REJECT,
        // The operation: a reply, or else a request whose sender and target address are the same.
        statement(LD_HALF, 20),
        jump(JEQ, 2, 5, 0),
        jump(JEQ, 1, 0, 5),
        statement(LD_WORD, 28),
        statement(TAX, 0),
        statement(LD_WORD, 38),
        jump(JEQ_INDEX, 0, 0, 1),
        ADMIT,
        REJECT,
    ]);
}

/// Rejects what is not IPv4.
fn bare_header(program: &mut Vec<SockFilter>) {
    program.extend([statement(LD_BYTE, 0), statement(AND, 0xf0), jump(JEQ, 0x40, 1, 0), REJECT]);
}

/// Rejects packets that are not for this host (what it sends included), admits later fragments and ICMP. Leaves the protocol in the
/// accumulator.
fn ipv4_header(program: &mut Vec<SockFilter>, offset: u32) {
    program.extend([
        statement(LD_WORD, PACKET_TYPE),
        jump(JEQ, PACKET_HOST, 1, 0),
        REJECT,
        statement(LD_HALF, offset + 6),
        jump(JSET, 0x1fff, 2, 0),
        statement(LD_BYTE, offset + 9),
        jump(JEQ, 1, 0, 1),
        ADMIT,
    ]);
}

/// A tree that ends with the port in the accumulator admitted or rejected.
fn port_tree(ranges: &[PortRange]) -> Vec<SockFilter> {
    // Where the answer changes: from that port on it is the other one.
    let mut changes = Vec::new();
    for (first, last) in coarsened(ranges) {
        changes.push(u32::from(first));
        changes.push(u32::from(last) + 1);
    }
    let mut program = Vec::new();
    grow(&mut program, &changes, false);
    program
}

/// Appends the tree for the part of the ports that `changes` divides; below the first change ports are admitted or not.
fn grow(program: &mut Vec<SockFilter>, changes: &[u32], admitted: bool) {
    let middle = changes.len() / 2;
    let Some(&change) = changes.get(middle) else {
        program.push(if admitted { ADMIT } else { REJECT });
        return;
    };
    let mut below = Vec::new();
    grow(&mut below, &changes[..middle], admitted);
    // Conditional jumps reach 255 instructions far, others as far as one likes.
    match u8::try_from(below.len()) {
        Ok(len) => program.push(jump(JGE, change, len, 0)),
        Err(_) => program.extend([jump(JGE, change, 0, 1), statement(JA, below.len() as u32)]),
    }
    program.extend(below);
    grow(program, &changes[middle + 1..], admitted ^ middle.is_multiple_of(2));
}

/// The ranges, with so many of the narrowest gaps between them closed that not too many are left.
fn coarsened(ranges: &[PortRange]) -> Vec<PortRange> {
    let gap = |pair: &[PortRange]| u32::from(pair[1].0).saturating_sub(u32::from(pair[0].1));
    let mut gaps: Vec<u32> = ranges.windows(2).map(gap).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    // Gaps as narrow as this one are closed.
    let narrow = gaps.get(MAX_RANGES - 1).copied().unwrap_or(1);
    let mut coarse: Vec<PortRange> = Vec::new();
    for &(first, last) in ranges {
        match coarse.last_mut() {
            Some(before) if u32::from(first).saturating_sub(u32::from(before.1)) <= narrow => {
                before.1 = before.1.max(last);
            }
            _ => coarse.push((first, last)),
        }
    }
    coarse
}

// Instructions (linux/filter.h, linux/bpf_common.h).
const LD_WORD: u16 = 0x20;
const LD_HALF: u16 = 0x28;
const LD_BYTE: u16 = 0x30;
const LD_HALF_INDEXED: u16 = 0x48;
const LDX_IP_HEADER_LEN: u16 = 0xb1;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JEQ_INDEX: u16 = 0x1d;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
const TAX: u16 = 0x07;

/// Where the kernel shows what it knows of a frame beside its bytes (SKF_AD_OFF).
const ANCILLARY: u32 = -0x1000_i32 as u32;
/// SKF_AD_PKTTYPE.
const PACKET_TYPE: u32 = ANCILLARY + 4;
/// SKF_AD_VLAN_TAG: the tag that the kernel took off, without its type.
const VLAN_TAG: u32 = ANCILLARY + 44;
/// The part of it that is the VLAN's number.
const VLAN_ID: u32 = 0x0fff;
/// SKF_AD_VLAN_TAG_PRESENT.
const VLAN_TAG_PRESENT: u32 = ANCILLARY + 48;
/// The packet type of what is for the host itself (linux/if_packet.h).
const PACKET_HOST: u32 = 0;

const ADMIT: SockFilter = statement(RET, u32::MAX);
const REJECT: SockFilter = statement(RET, 0);

const fn statement(code: u16, operand: u32) -> SockFilter {
    SockFilter { code, jump_true: 0, jump_false: 0, operand }
}

const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> SockFilter {
    SockFilter { code, jump_true, jump_false, operand }
}

#[cfg(test)]
mod tests;
