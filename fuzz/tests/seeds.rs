//! Every seed below `seeds/TARGET/` goes through its target on the stable toolchain; a target without seeds fails.
//!
//! `PONTOON_BLESS=1 cargo test -p pontoon-fuzz --test seeds` writes the seeds that are made here: those of `step`
//! from the golden captures, those of the others from what is described below. Seeds that a fuzzer found are put
//! beside them by hand, named after what they showed.

// A test's way to fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use etherparse::PacketBuilder;
use libtest_mimic::{Arguments, Failed, Trial};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::replay::Arrival;
use pontoon_dataplane::replay::case::Case;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] = [
    ("step", pontoon_fuzz::step),
    ("fdb_against_model", pontoon_fuzz::fdb_against_model),
    ("segment", pontoon_fuzz::segment),
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
    for (name, bytes) in segment_seeds() {
        write("segment", name, &bytes)?;
    }
    for (name, bytes) in fdb_seeds() {
        write("fdb_against_model", name, &bytes)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(seeds(target))?;
    std::fs::write(seeds(target).join(name), bytes)
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
