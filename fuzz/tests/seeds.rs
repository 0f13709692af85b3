//! Every seed below `seeds/TARGET/` goes through its target on the stable toolchain; a target without seeds fails.
//!
//! `PONTOON_BLESS=1 cargo test -p pontoon-fuzz --test seeds` writes the seeds that are made here: those of `step`
//! from the golden captures, those of the others from what is described below, which they must be. Seeds that a fuzzer
//! found are put beside them by hand, named after what they showed, until they are described as well.

// A test's way to fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "seeds/built.rs"]
mod built;
#[path = "seeds/edge.rs"]
mod edge;
#[path = "seeds/files.rs"]
mod files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use etherparse::PacketBuilder;
use files::{CONFIG_SEEDS, pcap_seeds, vnet_seeds};
use libtest_mimic::{Arguments, Failed, Trial};
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::offload::{Gso, Offload, VNET_HEADER_LEN};
use pontoon_dataplane::replay::Arrival;
use pontoon_dataplane::replay::case::Case;
use pontoon_fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if std::env::var_os("PONTOON_BLESS").is_some_and(|value| value == "1") {
        bless().expect("seeds can be written");
    }
    let mut trials: Vec<Trial> = TARGETS.iter().flat_map(|&target| trials_of(target)).collect();
    trials.push(Trial::test("are_as_described", are_as_described));
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

/// A seed: its target, its name, its bytes.
type Seed = (&'static str, String, Vec<u8>);

/// The seeds that are described here.
fn described() -> std::io::Result<Vec<Seed>> {
    let mut seeds = golden_seeds()?;
    let edge = edge::edge_seeds();
    for (target, described) in [
        ("dns", dns_seeds()),
        ("edge", edge.clone()),
        ("trace", edge),
        ("edge_errors", edge::error_seeds()),
        ("edge_fragments", edge::fragment_seeds()),
        ("segment", segment_seeds()),
        ("segment_built", built::segment_seeds()),
        ("step_built", built::step_seeds()),
        ("fdb_against_model", fdb_seeds()),
        ("rewrite_packet", rewrite_seeds()),
        ("parsers", parser_seeds()),
        ("pcap", pcap_seeds()?),
        ("vnet_header", vnet_seeds()),
    ] {
        seeds.extend(described.into_iter().map(|(name, bytes)| (target, name.to_owned(), bytes)));
    }
    seeds.extend(error_seeds().into_iter().map(|(name, bytes)| ("icmp_error", name, bytes)));
    seeds.extend(plugin_seeds()?.into_iter().map(|(name, text)| ("plugin", name, text.into_bytes())));
    let texts = [("config", &CONFIG_SEEDS[..]), ("trace_grammar", &TRACE_SEEDS[..])];
    for (target, described) in texts {
        seeds.extend(
            described.iter().map(|(name, text)| (target, (*name).to_owned(), text.as_bytes().to_vec())),
        );
    }
    Ok(seeds)
}

fn golden_seeds() -> std::io::Result<Vec<Seed>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/tests/golden");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(golden)? {
        let directory = entry?.path();
        if directory.join("case.txt").exists() {
            let case = Case::load(&directory).expect("a golden case");
            let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
            seeds.push(("step", name, step_seed(case.arrivals())));
        }
    }
    Ok(seeds)
}

fn bless() -> std::io::Result<()> {
    for (target, name, bytes) in described()? {
        std::fs::create_dir_all(seeds(target))?;
        std::fs::write(seeds(target).join(name), bytes)?;
    }
    Ok(())
}

/// What a target reads may change: a seed is then still what is described, not what it was in bytes.
fn are_as_described() -> Result<(), Failed> {
    let mut others = Vec::new();
    for (target, name, bytes) in described()? {
        if std::fs::read(seeds(target).join(&name)).ok() != Some(bytes) {
            others.push(format!("{target}/{name}"));
        }
    }
    match others.is_empty() {
        true => Ok(()),
        false => Err(format!("not as described, PONTOON_BLESS=1 writes them: {}", others.join(" ")).into()),
    }
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
fn ends() -> Vec<u8> {
    let end = |address: [u8; 4], port: u16| {
        [&u32::from_be_bytes(address).to_le_bytes()[..], &port.to_le_bytes()].concat()
    };
    [end([203, 0, 113, 1], 40_000), end([192, 0, 2, 7], 80)].concat()
}

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

/// The frames of those.
fn parser_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let before_frame = ends().len() + 4 + VNET_HEADER_LEN;
    rewrite_seeds().into_iter().map(|(name, seed)| (name, seed[before_frame..].to_vec())).collect()
}

/// The format is told at `pontoon_fuzz::rewrite_packet`.
fn rewrite_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |limit: u16, mtu: u16, offload: Offload, frame: &[u8]| {
        [&ends()[..], &limit.to_le_bytes(), &mtu.to_le_bytes(), &offload.emit(), frame].concat()
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
    let seed = |choice: u8, quoted: &[u8]| [&[choice], &ends()[..], quoted].concat();
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

/// The format is told at `pontoon_fuzz::dns`.
fn dns_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let name = |text: &str| {
        let labels = text.split('.').filter(|label| !label.is_empty());
        let labels = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        labels.chain([0]).collect::<Vec<u8>>()
    };
    let head = |flags: [u8; 2], counts: [u8; 4]| {
        [&[0x12, 0x34], &flags[..], &counts.map(|count| [0, count]).concat()].concat()
    };
    let question = |text: &str, kind: u8| [&name(text)[..], &[0, kind, 0, 1]].concat();
    let query = |text, kind| [head([1, 0], [1, 0, 0, 0]), question(text, kind)].concat();
    let opt = |version: u8| [0, 0, 41, 0x10, 0, 0, version, 0x80, 0, 0, 0];
    let with_opts = |text, versions: &[u8]| {
        let opts = versions.iter().flat_map(|&version| opt(version));
        [head([1, 0], [1, 0, 0, versions.len() as u8]), question(text, 1), opts.collect()].concat()
    };
    // As an upstream answers: under the id of the fuzzer's, with so many addresses.
    let answer = |text, records: u8| {
        let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &[192, 0, 2, 1][..]].concat();
        let head = [&[0xbe, 0xef], &head([0x81, 0x80], [1, records, 0, 0])[2..]].concat();
        [head, question(text, 1), record.repeat(records.into())].concat()
    };
    let seed = |how: u8, query: &[u8], theirs: &[u8]| {
        [&[how], &(query.len() as u16).to_le_bytes()[..], query, theirs].concat()
    };
    let refused = [&[0xbe, 0xef, 0x81, 0x85], &[0u8; 8][..]].concat();
    vec![
        ("known-name", seed(0, &query("web", 1), &[])),
        ("known-name-other-case", seed(0, &query("WEB.Red", 1), &[])),
        ("known-name-other-type", seed(0, &query("web", 28), &[])),
        ("known-name-with-a-dot", seed(2, &query("db.old", 1), &[])),
        ("name-of-another-network", seed(6, &query("db.old", 1), &answer("db.old", 1))),
        ("unknown-name", seed(1, &query("nobody", 1), &[])),
        ("root", seed(0, &query("", 2), &[])),
        // Found by fuzzing: the library's count of labels leaves it out.
        ("an-asterisk-is-a-single-label", seed(3, &query("*", 12), &[])),
        ("known-address", seed(0, &query("3.0.88.10.in-addr.arpa", 12), &[])),
        ("unknown-address", seed(6, &query("9.1.88.10.in-addr.arpa", 12), &[])),
        ("address-elsewhere", seed(0, &query("9.113.0.203.in-addr.arpa", 12), &[])),
        ("localhost", seed(4, &query("www.localhost", 255), &[])),
        ("edns", seed(0, &with_opts("web", &[0]), &[])),
        ("edns-of-another-version", seed(0, &with_opts("example.com", &[1]), &[])),
        ("edns-twice", seed(0, &with_opts("example.com", &[0, 0]), &[])),
        ("passed-on", seed(0, &query("example.com", 1), &answer("eXample.com", 3))),
        ("passed-on-too-long", seed(0, &query("example.com", 1), &answer("example.com", 40))),
        ("passed-on-long-by-tcp", seed(1, &query("example.com", 1), &answer("example.com", 40))),
        ("passed-on-refused-without-question", seed(0, &query("example.com", 1), &refused)),
        ("answer-to-something-else", seed(0, &query("example.com", 1), &answer("example.org", 1))),
        ("response", seed(0, &answer("web", 1), &[])),
        (
            "name-that-points-to-itself",
            seed(0, &[head([1, 0], [1, 0, 0, 0]), vec![0xc0, 12, 0, 1, 0, 1]].concat(), &[]),
        ),
        ("no-question", seed(0, &head([1, 0], [0, 0, 0, 0]), &[])),
        ("runt", seed(0, &query("web", 1)[..11], &[])),
    ]
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
