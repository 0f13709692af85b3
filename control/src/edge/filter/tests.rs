//! Programs are run by an interpreter of classic BPF and held against a model that reads packets the plain way.

use proptest::prelude::*;

use super::*;

/// A packet as the kernel shows it to a filter.
#[derive(Debug, Clone)]
struct Seen {
    bytes: Vec<u8>,
    /// 0: for this host, 1: broadcast, 2: multicast, 3: for another host, 4: sent by this host.
    packet_type: u32,
    /// The VLAN tag that was taken off.
    tag: Option<u16>,
}

/// Runs a program; the kernel's rules: a load beyond the end rejects, and what runs out of the program is never loaded.
fn admits(program: &[SockFilter], seen: &Seen) -> bool {
    let load = |at: usize, len: usize| -> Option<u32> {
        let bytes = seen.bytes.get(at..at + len)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    loop {
        let SockFilter { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let loaded = match code {
            LD_WORD if operand == PACKET_TYPE => Some(seen.packet_type),
            LD_WORD if operand == VLAN_TAG_PRESENT => Some(seen.tag.is_some().into()),
            LD_WORD if operand == VLAN_TAG => Some(seen.tag.unwrap_or(0).into()),
            LD_WORD => load(operand as usize, 4),
            LD_HALF => load(operand as usize, 2),
            LD_BYTE => load(operand as usize, 1),
            LD_HALF_INDEXED => load((operand + x) as usize, 2),
            AND => Some(a & operand),
            LDX_IP_HEADER_LEN => {
                let Some(first) = load(operand as usize, 1) else { return false };
                x = 4 * (first & 0xf);
                continue;
            }
            TAX => {
                x = a;
                continue;
            }
            RET => return operand != 0,
            JA => {
                at += operand as usize;
                continue;
            }
            JEQ | JEQ_INDEX | JGE | JSET => {
                let holds = match code {
                    JEQ => a == operand,
                    JEQ_INDEX => a == x,
                    JGE => a >= operand,
                    _ => a & operand != 0,
                };
                at += usize::from(if holds { jump_true } else { jump_false });
                continue;
            }
            other => panic!("no such instruction: {other:#x}"),
        };
        let Some(loaded) = loaded else { return false };
        a = loaded;
    }
}

/// What shall be admitted, as this file's header tells it.
fn model(ethernet: bool, ports: &Ports, seen: &Seen) -> bool {
    let packet = if ethernet {
        let Some((header, packet)) = seen.bytes.split_at_checked(14) else { return false };
        match (seen.tag.is_some_and(|tag| tag % 4096 != 0), u16::from_be_bytes([header[12], header[13]])) {
            (false, 0x0806) => {
                return match packet.get(6..8) {
                    Some([0, 2]) => true,
                    Some([0, 1]) => packet.get(24..28).is_some_and(|target| packet[14..18] == *target),
                    _ => false,
                };
            }
            (false, 0x0800) => packet,
            _ => return false,
        }
    } else if seen.bytes.first().is_some_and(|first| first >> 4 == 4) {
        &seen.bytes[..]
    } else {
        return false;
    };
    let (Some(&first), Some(&[high, low])) = (packet.first(), packet.get(6..8).and_then(<[u8]>::first_chunk))
    else {
        return false;
    };
    if seen.packet_type != 0 {
        return false;
    }
    if u16::from_be_bytes([high, low]) & 0x1fff != 0 {
        return true;
    }
    let header_len = 4 * usize::from(first & 0xf);
    let port = packet.get(header_len + 2..header_len + 4).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let within = |ranges: &[PortRange]| {
        port.is_some_and(|port| ranges.iter().any(|&(first, last)| (first..=last).contains(&port)))
    };
    match packet.get(9) {
        Some(1) => true,
        Some(6) => within(&ports.tcp),
        Some(17) => within(&ports.udp),
        _ => false,
    }
}

/// Disjoint ranges in order, `edges` being their ends in any order.
fn ranges(mut edges: Vec<u16>) -> Vec<PortRange> {
    edges.sort_unstable();
    edges.dedup();
    edges.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

fn packet(ethernet: bool, protocol: u8, fragment: u16, options: u8, port: u16) -> Vec<u8> {
    let mut bytes = if ethernet { vec![0; 14] } else { vec![] };
    if ethernet {
        bytes[12] = 8;
    }
    let ip = bytes.len();
    let header_len = 20 + 4 * usize::from(options);
    bytes.resize(ip + header_len + 8, 0);
    bytes[ip] = 0x40 | (5 + options);
    bytes[ip + 6..ip + 8].copy_from_slice(&fragment.to_be_bytes());
    bytes[ip + 9] = protocol;
    bytes[ip + header_len + 2..ip + header_len + 4].copy_from_slice(&port.to_be_bytes());
    bytes
}

fn any_packet(ethernet: bool) -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()];
    let fragment = prop_oneof![3 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x4000), 1 => any::<u16>()];
    let sound = (protocol, fragment, 0u8..=10, any::<u16>(), 0usize..100).prop_map(
        move |(protocol, fragment, options, port, len)| {
            let mut bytes = packet(ethernet, protocol, fragment, options, port);
            // Now and then one that was cut short.
            bytes.truncate(if len < 90 { 14 + len } else { usize::MAX });
            bytes
        },
    );
    let arp = (any::<u16>(), 0u8..4, 0u8..2, 40usize..=42).prop_map(|(kind, operation, last, len)| {
        let mut bytes = vec![0; 42];
        bytes[31] = last;
        bytes.truncate(len);
        bytes[12..14].copy_from_slice(&[8, 6]);
        bytes[20..22].copy_from_slice(&[(kind == 0) as u8, operation]);
        bytes
    });
    prop_oneof![6 => sound, 1 => arp, 1 => proptest::collection::vec(any::<u8>(), 0..80)]
}

/// The kernel's own checks (net/core/filter.c, bpf_check_classic): jumps stay within, the last instruction returns.
fn assert_loadable(program: &[SockFilter]) {
    assert!(program.len() <= 4096);
    assert_eq!(program.last().unwrap().code, RET);
    for (at, it) in program.iter().enumerate() {
        let farthest = match it.code {
            JA => it.operand as usize,
            JEQ | JGE | JSET => usize::from(it.jump_true.max(it.jump_false)),
            _ => continue,
        };
        assert!(at + 1 + farthest < program.len(), "{at}: {it:?} of {}", program.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn programs_admit_what_the_model_does(
        ethernet: bool,
        tcp in proptest::collection::vec(any::<u16>(), 0..60),
        udp in proptest::collection::vec(any::<u16>(), 0..180),
        bytes in any::<bool>().prop_flat_map(any_packet),
        packet_type in prop_oneof![4 => Just(0u32), 1 => 0u32..5],
        tag in prop_oneof![4 => Just(None), 1 => any::<u16>().prop_map(Some), 1 => (0u16..8).prop_map(|it| Some(it << 13))],
    ) {
        let ports = Ports { tcp: ranges(tcp), udp: ranges(udp) };
        let program = program(ethernet, &ports);
        assert_loadable(&program);
        let seen = Seen { bytes, packet_type, tag: tag.filter(|_| ethernet) };
        prop_assert_eq!(admits(&program, &seen), model(ethernet, &ports, &seen));
    }
}

#[test]
fn every_port_is_right() {
    let ports = Ports {
        tcp: vec![(0, 0), (80, 80), (443, 445), (20_000, 24_095)],
        udp: vec![(53, 53), (65_535, 65_535)],
    };
    for ethernet in [true, false] {
        let program = program(ethernet, &ports);
        for protocol in [6, 17] {
            for port in 0..=u16::MAX {
                let bytes = packet(ethernet, protocol, 0, 0, port);
                let seen = Seen { bytes, packet_type: 0, tag: None };
                assert_eq!(admits(&program, &seen), model(ethernet, &ports, &seen), "{protocol} {port}");
            }
        }
    }
}

#[test]
fn too_many_ranges_admit_more_and_never_less() {
    // Gaps of one port, and a wide one that must stay.
    let low = (0..2_000u16).map(|number| (2 * number, 2 * number));
    let ports = Ports { tcp: low.chain([(50_000, 50_000)]).collect(), udp: Vec::new() };
    let program = program(true, &ports);
    assert_loadable(&program);
    // Half of what the kernel allows on older machines, at most twice as many instructions as ours.
    assert!(program.len() * 2 * 8 < 20_480 / 2, "{} instructions", program.len());
    let tcp = |port| Seen { bytes: packet(true, 6, 0, 0, port), packet_type: 0, tag: None };
    for port in 0..2_000 {
        assert!(admits(&program, &tcp(2 * port)), "{port}");
    }
    assert!(admits(&program, &tcp(50_000)));
    assert!(!admits(&program, &tcp(45_000)));
    assert!(!admits(&program, &tcp(50_001)));
}

#[test]
fn a_search_is_short() {
    let many =
        Ports { tcp: (0..96).map(|number| (600 * number, 600 * number + 9)).collect(), udp: Vec::new() };
    let tree = port_tree(&many.tcp);
    fn depth(tree: &[SockFilter], at: usize) -> usize {
        let it = tree[at];
        match it.code {
            RET => 1,
            JA => 1 + depth(tree, at + 1 + it.operand as usize),
            _ => {
                1 + depth(tree, at + 1 + usize::from(it.jump_true))
                    .max(depth(tree, at + 1 + usize::from(it.jump_false)))
            }
        }
    }
    assert!(depth(&tree, 0) <= 12, "{}", depth(&tree, 0));
}
