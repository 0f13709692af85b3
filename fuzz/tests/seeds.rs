//! Every seed below `seeds/TARGET/` goes through its target on the stable toolchain; a target without seeds fails.
//!
//! `PONTOON_BLESS=1 cargo test -p pontoon-fuzz --test seeds` writes the seeds that are made here: those of `step`
//! from the golden captures, those of the others from what is described below. Seeds that a fuzzer found are put
//! beside them by hand, named after what they showed.

// A test's way to fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use etherparse::PacketBuilder;
use libtest_mimic::{Arguments, Failed, Trial};
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::replay::Arrival;
use pontoon_dataplane::replay::case::Case;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("plugin", pontoon_fuzz::plugin),
    ("edge", pontoon_fuzz::edge),
    ("step", pontoon_fuzz::step),
    ("fdb_against_model", pontoon_fuzz::fdb_against_model),
    ("segment", pontoon_fuzz::segment),
    ("rewrite_packet", pontoon_fuzz::rewrite_packet),
    ("icmp_error", pontoon_fuzz::icmp_error),
    ("trace_grammar", pontoon_fuzz::trace_grammar),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if std::env::var_os("PONTOON_BLESS").is_some_and(|value| value == "1") {
        bless().expect("seeds can be written");
    }
    let trials = TARGETS.iter().flat_map(|&target| trials_of(target)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials_of((target, run): Target) -> Vec<Trial> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(seeds(target))
        .map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect())
        .unwrap_or_default();
    if paths.is_empty() {
        let message = format!("there are no seeds in {}", seeds(target).display());
        return vec![Trial::test(target, || Err(Failed::from(message)))];
    }
    paths.sort();
    let trial = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        Trial::test(format!("{target}::{name}"), move || {
            run(&std::fs::read(&path)?);
            Ok(())
        })
    };
    paths.into_iter().map(trial).collect()
}

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

fn bless() -> std::io::Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/tests/golden");
    for entry in std::fs::read_dir(golden)? {
        let directory = entry?.path();
        if directory.is_dir() {
            let case = Case::load(&directory).expect("a golden case");
            let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
            write("step", &name, &step_seed(case.arrivals()))?;
        }
    }
    for (name, bytes) in edge_seeds() {
        write("edge", name, &bytes)?;
    }
    for (name, bytes) in segment_seeds() {
        write("segment", name, &bytes)?;
    }
    for (name, bytes) in fdb_seeds() {
        write("fdb_against_model", name, &bytes)?;
    }
    for (name, bytes) in rewrite_seeds() {
        write("rewrite_packet", name, &bytes)?;
    }
    for (name, bytes) in error_seeds() {
        write("icmp_error", &name, &bytes)?;
    }
    for (name, text) in plugin_seeds()? {
        write("plugin", &name, text.as_bytes())?;
    }
    for (name, text) in TRACE_SEEDS {
        write("trace_grammar", name, text.as_bytes())?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(seeds(target))?;
    std::fs::write(seeds(target).join(name), bytes)
}

/// The first call of each method in what Engines were recorded to say. The format is told at `pontoon_fuzz::plugin`.
fn plugin_seeds() -> std::io::Result<BTreeMap<String, String>> {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control/tests/recordings");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(recordings)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut seeds = BTreeMap::new();
    for path in paths {
        for line in std::fs::read_to_string(path)?.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let Some(method) = line["call"].as_str() else { continue };
            let name = method.trim_start_matches('/').to_owned();
            seeds.entry(name).or_insert_with(|| format!("{method}\n{}", line["said"]));
        }
    }
    Ok(seeds)
}

/// The format is told at `pontoon_fuzz::step`.
fn step_seed(arrivals: &[Arrival]) -> Vec<u8> {
    let mut seed = Vec::new();
    let mut before = core::time::Duration::ZERO;
    for arrival in arrivals {
        let delay = u16::try_from((arrival.at - before).as_millis() / 8).unwrap_or(u16::MAX);
        before = arrival.at;
        seed.push(arrival.ingress.0 as u8);
        seed.extend(delay.to_le_bytes());
        seed.extend(arrival.frame.offload.emit());
        seed.extend((arrival.frame.bytes.len() as u16).to_le_bytes());
        seed.extend(&arrival.frame.bytes);
    }
    seed
}

/// The format is told at `pontoon_fuzz::edge`.
fn edge_seeds() -> Vec<(&'static str, Vec<u8>)> {
    // A route to 192.0.2.7 with a known next hop; packets of UDP and TCP by ports 2 and 9; time; changes.
    const ROUTE: [u8; 3] = [6, 0, 0x18];
    let packet = |port: u8, kind: u8, src: u8, dst: u8, ports: u8, flags: u8, shape: u8| {
        vec![0, port, kind, src, dst, ports, flags, shape, 1]
    };
    let out = |shape| packet(0, 0x11, 0, 8, 0x46, 0, shape);
    let back = |shape| packet(5, 0x11, 8, 6, 0x04, 0, shape);
    let syn = packet(5, 0x10, 8, 6, 0x36, 2, 2);
    let answer = packet(1, 0x10, 1, 8, 0x66, 0x12, 2);
    let hairpin = packet(0, 0x10, 0, 6, 0x36, 2, 2);
    let ping = packet(0, 0x12, 0, 8, 0x06, 1, 2);
    let error = packet(5, 0x12, 8, 6, 0x04, 4, 2);
    let linked = packet(0, 0x80, 0, 1, 0x36, 2, 2);
    let later = |time: u16| [&[5][..], &time.to_le_bytes()].concat();
    vec![
        ("outbound-and-back", [&ROUTE[..], &out(2), &back(2), &error, &ping].concat()),
        ("waits-for-a-route", [out(2), later(200), ROUTE.to_vec(), later(1000), out(2)].concat()),
        ("fragments", [&ROUTE[..], &out(0xc2), &out(0x82), &back(0xc2), &back(0x82)].concat()),
        (
            "published-and-unpublished",
            [syn.clone(), answer.clone(), vec![7, 16], syn.clone(), answer].concat(),
        ),
        ("hairpin", [hairpin.clone(), later(40_000), hairpin].concat()),
        ("rules-change", [&ROUTE[..], &out(2), &[7, 4], &out(2), &[7, 4], &out(2)].concat()),
        ("open-mapping", [&[7, 8][..], &ROUTE, &out(2), &back(2), &[7, 8], &back(2)].concat()),
        ("links", [&[7, 2][..], &linked, &[7, 2], &linked, &[7, 64], &linked].concat()),
        ("routes-change", [&ROUTE[..], &out(2), &[6, 3, 0], &out(2), &[6, 0, 0xd8], &out(2)].concat()),
    ]
}

/// Super-frames for an egress that takes nothing; the format is told at `pontoon_fuzz::segment`.
fn segment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const NOTHING: u8 = 0;
    const CHECKSUM: u8 = 3;
    let partial = |gso, gso_size, csum_start, csum_offset| Offload {
        needs_checksum: true,
        gso,
        gso_size,
        csum_start,
        csum_offset,
        ..Offload::NONE
    };
    let seed = |flags: u8, offload: Offload, frame: &[u8]| [&[flags], &offload.emit()[..], frame].concat();
    let data = [0x5a; 300];
    let macs = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let build = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frame
    };
    let v4 = || PacketBuilder::ethernet2(macs.0, macs.1).ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64);
    let v6 = || PacketBuilder::ethernet2(macs.0, macs.1).ipv6([0xfd; 16], [0xfe; 16], 64);
    let tcp4 = build(&|frame| v4().tcp(1, 2, 3, 4).psh().fin().cwr().write(frame, &data).unwrap());
    let tcp6 = build(&|frame| v6().tcp(1, 2, 3, 4).ack(5).write(frame, &data).unwrap());
    let udp4 = build(&|frame| v4().udp(1, 2).write(frame, &data).unwrap());
    let udp6 = build(&|frame| v6().udp(1, 2).write(frame, &data).unwrap());
    let tagged = build(&|frame| {
        let vlan = PacketBuilder::ethernet2(macs.0, macs.1).single_vlan(100.try_into().unwrap());
        vlan.ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64).tcp(1, 2, 3, 4).write(frame, &data).unwrap();
    });
    // A destination options header between IPv6 and TCP.
    let extended = {
        let mut frame = tcp6.clone();
        frame[20] = 60;
        frame[18..20].copy_from_slice(&(20u16 + 300 + 8).to_be_bytes());
        frame.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
        frame
    };
    vec![
        ("tcp-v4", seed(NOTHING, partial(Gso::TcpV4, 100, 34, 16), &tcp4)),
        ("tcp-v6", seed(NOTHING, partial(Gso::TcpV6, 100, 54, 16), &tcp6)),
        ("tcp-v6-destination-options", seed(NOTHING, partial(Gso::TcpV6, 100, 62, 16), &extended)),
        ("tcp-v4-in-a-vlan", seed(NOTHING, partial(Gso::TcpV4, 99, 38, 16), &tagged)),
        ("tcp-v4-left-partial", seed(CHECKSUM, partial(Gso::TcpV4, 100, 34, 16), &tcp4)),
        ("tcp-v4-one-byte-segments", seed(NOTHING, partial(Gso::TcpV4, 1, 34, 16), &tcp4)),
        ("udp-v4", seed(NOTHING, partial(Gso::Udp, 100, 34, 6), &udp4)),
        ("udp-v6", seed(NOTHING, partial(Gso::Udp, 100, 54, 6), &udp6)),
        ("udp-v4-fragments", seed(NOTHING, partial(Gso::UdpFragments, 104, 34, 6), &udp4)),
        ("udp-v6-fragments", seed(NOTHING, partial(Gso::UdpFragments, 104, 54, 6), &udp6)),
        ("tcp-v4-partial-checksum", seed(NOTHING, partial(Gso::None, 0, 34, 16), &tcp4)),
        ("udp-said-to-be-tcp", seed(NOTHING, partial(Gso::TcpV4, 100, 34, 16), &udp4)),
        ("checksum-outside", seed(NOTHING, partial(Gso::None, 0, 350, 16), &tcp4)),
    ]
}

/// The format is told at `pontoon_fuzz::fdb_against_model`.
fn fdb_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const LEARN: u8 = 0;
    const STATIC: u8 = 7;
    const REMOVE: u8 = 8;
    const FLUSH_PORT: u8 = 9;
    const FLUSH: u8 = 10;
    const SWEEP: u8 = 11;
    const AGEING: u8 = 12;
    const WAIT: u8 = 13;
    const LOOKUP: u8 = 14;
    const FREE: u8 = 1;
    const STICKY: u8 = 0;
    let roomy = [40, 40, 0];
    let tight = [5, 2, 0];
    let seed = |config: [u8; 3], operations: &[[u8; 4]]| [&config[..], operations.as_flattened()].concat();
    let crowd: Vec<_> = (0..30u8).map(|n| [LEARN, n, n % 4, FREE]).collect();
    vec![
        ("learn-and-look-up", seed(roomy, &[[LEARN, 1, 1, FREE], [LOOKUP, 1, 0, 0], [LOOKUP, 2, 0, 0]])),
        ("move", seed(roomy, &[[LEARN, 1, 1, FREE], [LEARN, 1, 2, FREE], [LOOKUP, 1, 0, 0]])),
        ("sticky-stays", seed(roomy, &[[LEARN, 1, 1, STICKY], [LEARN, 1, 2, FREE], [LOOKUP, 1, 0, 0]])),
        (
            "static-stays",
            seed(roomy, &[[STATIC, 1, 1, 0], [LEARN, 1, 2, FREE], [FLUSH, 0, 0, 1], [LOOKUP, 1, 0, 0]]),
        ),
        (
            "ageing",
            seed(
                roomy,
                &[
                    [AGEING, 0, 0, 5],
                    [LEARN, 1, 1, FREE],
                    [WAIT, 0, 0, 40],
                    [LOOKUP, 1, 0, 0],
                    [SWEEP, 0, 0, 0],
                    [LEARN, 1, 2, FREE],
                ],
            ),
        ),
        (
            "flush-and-remove",
            seed(
                roomy,
                &[
                    [LEARN, 1, 1, FREE],
                    [LEARN, 2, 2, FREE],
                    [FLUSH_PORT, 0, 1, 0],
                    [REMOVE, 2, 0, 0],
                    [LOOKUP, 1, 0, 0],
                ],
            ),
        ),
        ("full-table", seed(tight, &crowd)),
        ("no-room-at-all", seed([0, 0, 0], &crowd)),
        (
            "impossible-addresses",
            seed(roomy, &[[LEARN, 0xff, 1, FREE], [STATIC, 0xfe, 1, 0], [LEARN, 1, 0xff, FREE]]),
        ),
    ]
}

/// The address and port of a host, and a server's: the ends that packets get.
const ENDS: [u8; 12] = [203, 0, 113, 1, 192, 0, 2, 7, 0x40, 0x9c, 80, 0];

/// One frame of each protocol from an endpoint to a server.
fn flows(data: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let start = || {
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]).ipv4(
            [10, 0, 0, 2],
            [192, 0, 2, 7],
            64,
        )
    };
    let mut frames = [const { Vec::new() }; 4];
    let [tcp, udp, request, reply] = &mut frames;
    start().tcp(4000, 80, 1, 64_240).ack(2).write(tcp, data).unwrap();
    start().udp(4000, 53).write(udp, data).unwrap();
    start().icmpv4_echo_request(4000, 1).write(request, data).unwrap();
    start().icmpv4_echo_reply(4000, 1).write(reply, data).unwrap();
    let [tcp, udp, request, reply] = frames;
    [("tcp", tcp), ("udp", udp), ("echo-request", request), ("echo-reply", reply)]
}

/// The format is told at `pontoon_fuzz::rewrite_packet`.
fn rewrite_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |limit: u16, mtu: u16, offload: Offload, frame: &[u8]| {
        [&ENDS[..], &limit.to_le_bytes(), &mtu.to_le_bytes(), &offload.emit(), frame].concat()
    };
    let [(_, tcp), (_, udp), (_, request), (_, reply)] = flows(&[0x5a; 301]);
    let partial = |gso, gso_size| Offload {
        needs_checksum: true,
        gso,
        gso_size,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    let syn = {
        let mut frame = Vec::new();
        let build = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
        let build = build.ipv4([10, 0, 0, 2], [192, 0, 2, 7], 64).tcp(4000, 80, 1, 64_240).syn();
        build.options_raw(&[1, 2, 4, 0x05, 0xb4, 1, 1, 0]).unwrap().write(&mut frame, &[]).unwrap();
        frame
    };
    // Bytes of the IPv4 header, whose checksum is set right again.
    let with_header = |frame: &[u8], changes: &[(usize, u8)]| {
        let mut frame = frame.to_vec();
        changes.iter().for_each(|&(at, byte)| frame[14 + at] = byte);
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let priority_tagged = [&tcp[..12], &[0x81, 0, 0x60, 0], &tcp[12..]].concat();
    let no_checksum = {
        let mut frame = udp.clone();
        frame[40..42].fill(0);
        frame
    };
    let plain = Offload::NONE;
    vec![
        ("tcp", seed(0, 0, plain, &tcp)),
        ("tcp-syn-clamped-at-an-odd-place", seed(1240, 0, plain, &syn)),
        ("tcp-partial-checksum", seed(0, 0, partial(Gso::None, 0), &tcp)),
        ("tcp-super-frame", seed(0, 0, partial(Gso::TcpV4, 100), &tcp)),
        ("tcp-priority-tag", seed(0, 0, plain, &priority_tagged)),
        ("tcp-padded", seed(0, 0, plain, &[&tcp[..], &[0; 7]].concat())),
        ("tcp-dont-fragment", seed(0, 100, plain, &with_header(&tcp, &[(6, 0x40)]))),
        ("udp-fragmented", seed(0, 100, plain, &udp)),
        ("udp-without-checksum", seed(0, 0, plain, &no_checksum)),
        ("udp-first-fragment", seed(0, 100, plain, &with_header(&udp, &[(6, 0x20)]))),
        ("udp-later-fragment", seed(0, 100, plain, &with_header(&udp, &[(6, 0x20), (7, 40)]))),
        ("tcp-fragment-that-overwrites-the-header", seed(0, 0, plain, &with_header(&tcp, &[(7, 1)]))),
        ("echo-request", seed(0, 0, plain, &request)),
        ("echo-reply", seed(0, 0, plain, &reply)),
        ("echo-reply-without-identifier", seed(0, 0, plain, &[&reply[..38], &[0, 0], &reply[40..]].concat())),
        ("another-protocol", seed(0, 0, plain, &with_header(&udp, &[(9, 50)]))),
        ("checksum-of-something-else", seed(0, 0, partial(Gso::None, 0), &udp)),
    ]
}

/// The format is told at `pontoon_fuzz::icmp_error`.
fn error_seeds() -> Vec<(String, Vec<u8>)> {
    const HOST_UNREACHABLE: u8 = 1 << 2;
    const TIME_EXCEEDED: u8 = 2;
    let seed = |choice: u8, quoted: &[u8]| [&[choice], &ENDS[..], quoted].concat();
    let mut seeds = Vec::new();
    for (name, frame) in flows(&[0x5a; 100]) {
        let packet = &frame[14..];
        let changed = |changes: &[(usize, u8)]| {
            let mut packet = packet.to_vec();
            changes.iter().for_each(|&(at, byte)| packet[at] = byte);
            packet
        };
        let options =
            [&[0x48], &packet[1..20], &[0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0], &packet[20..]].concat();
        seeds.extend([
            (name.to_owned(), seed(HOST_UNREACHABLE, packet)),
            (format!("{name}-eight-bytes"), seed(TIME_EXCEEDED, &packet[..28])),
            (format!("{name}-seven-bytes"), seed(TIME_EXCEEDED, &packet[..27])),
            (format!("{name}-half-a-tcp-checksum"), seed(TIME_EXCEEDED, &packet[..37])),
            (format!("{name}-options"), seed(TIME_EXCEEDED, &options)),
            (format!("{name}-options-beyond-the-end"), seed(TIME_EXCEEDED, &changed(&[(0, 0x4f)])[..40])),
            (format!("{name}-first-fragment"), seed(HOST_UNREACHABLE, &changed(&[(6, 0x20)])[..44])),
            (format!("{name}-later-fragment"), seed(HOST_UNREACHABLE, &changed(&[(7, 3)]))),
            (format!("{name}-length-too-small"), seed(HOST_UNREACHABLE, &changed(&[(2, 0), (3, 27)]))),
            (format!("{name}-about-an-error"), seed(HOST_UNREACHABLE, &changed(&[(9, 1), (20, 3)]))),
            (
                format!("{name}-checksum-all-ones"),
                seed(HOST_UNREACHABLE, &changed(&[(10, 0xff), (11, 0xff)])),
            ),
        ]);
    }
    seeds
}

const TRACE_SEEDS: [(&str, &str); 12] = [
    ("tcp", "tcp 10.0.0.2:1234 > 192.0.2.7:80"),
    ("tcp-options", "tcp 10.0.0.2:1234 > 192.0.2.7:80 flags=syn,ack,psh,rst,fin ttl=3 len=100 df"),
    ("udp", "udp 10.0.0.2:1234 > 192.0.2.7:53 len=65495"),
    ("icmp", "icmp 10.0.0.2 > 192.0.2.7 id 7 seq 9"),
    ("arp", "arp who-has 10.0.0.1 tell 10.0.0.2"),
    ("nothing", ""),
    ("only-spaces", "  \t = "),
    ("no-port", "tcp 10.0.0.2 > 192.0.2.7:80"),
    ("no-destination", "udp 10.0.0.2:1 >"),
    ("flag-unknown", "tcp 10.0.0.2:1 > 192.0.2.7:80 flags=syn,urg"),
    ("number-too-large", "icmp 10.0.0.2 > 192.0.2.7 id 65536"),
    ("beyond-ascii", "tcp 10.0.0.2:1 → 192.0.2.7:80 ü"),
];
