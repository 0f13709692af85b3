//! Pontoon beside the kernel's bridge, in the quick form: some thousand frames of a few seeds, the fuzzers' seeds, ageing, and all that
//! is listed as meant. PONTOON_FULL=1 plays a hundred thousand frames a seed.

// A test's way to fail.
#![allow(missing_docs, unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::Arguments;
use pontoon_dataplane::MacAddr;
use pontoon_tools::diff::bridges::Ports;
use pontoon_tools::diff::frames::{Content, Station, ethernet};
use pontoon_tools::diff::nat::labs::KernelRouter;
use pontoon_tools::diff::run::Run;
use pontoon_tools::diff::script::{Change, Event, Script};
use pontoon_tools::diff::{Pair, generate, meant, nat, story};

mod common;

use common::{full, said, trial};

const PORTS: usize = 4;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // The kernel's own bridge is what pontoon is held against.
    let bridge_lack = || Pair::new(1, Ports::Packet).err().map(|error| error.to_string());
    let lack = common::lack().or_else(bridge_lack);
    let nat_lack = lack.clone().or_else(nat_lack);
    let tests: [(&str, fn()); 6] = [
        ("seeds_show_no_difference", seeds_show_no_difference),
        ("the_fuzzers_seeds_show_no_difference", the_fuzzers_seeds_show_no_difference),
        ("addresses_age_alike", addresses_age_alike),
        ("what_is_meant_to_differ_still_does", what_is_meant_to_differ_still_does),
        ("a_difference_is_made_short_and_kept", a_difference_is_made_short_and_kept),
        ("the_command_says_what_it_found", the_command_says_what_it_found),
    ];
    let nat_tests: [(&str, fn()); 2] = [
        ("flows_show_no_difference", flows_show_no_difference),
        ("what_nat_is_meant_to_do_otherwise_it_still_does", what_nat_is_meant_to_do_otherwise_it_still_does),
    ];
    let trials = tests.into_iter().map(|test| trial(&lack, test));
    let trials = trials.chain(nat_tests.into_iter().map(|test| trial(&nat_lack, test)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// What is missing for the kernel's NAT, if anything is.
fn nat_lack() -> Option<String> {
    KernelRouter::new(0, false).err().map(|error| error.to_string())
}

/// A directory for what is kept, of the test's own.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pontoon-diff-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Plays what `play` plays, and fails on a difference.
fn expect_none(kind: Ports, name: &str, play: impl FnOnce(&mut Run<'_>)) {
    let keep_in = directory(name);
    let mut pair = Pair::new(PORTS, kind).unwrap();
    let mut run = Run { pair: &mut pair, ports: PORTS, keep_in: &keep_in, seen: Default::default() };
    play(&mut run);
    let seen = run.seen;
    assert!(seen.frames > 0);
    let told: Vec<String> =
        seen.differences.iter().map(|(told, path)| format!("{told}kept in {}", path.display())).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    std::fs::remove_dir_all(&keep_in).unwrap();
}

fn seeds_show_no_difference() {
    let count = if full() { 100_000 } else { 3000 };
    for (seed, kind) in [(1, Ports::Mixed), (2, Ports::Tap), (3, Ports::Packet)] {
        expect_none(kind, &format!("seed-{seed}"), |run| run.generated(seed, 0, count).unwrap());
    }
}

fn the_fuzzers_seeds_show_no_difference() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/step");
    expect_none(Ports::Mixed, "corpus", |run| {
        for seed in std::fs::read_dir(seeds).unwrap() {
            let path = seed.unwrap().path();
            let script = story::of_corpus(&std::fs::read(&path).unwrap(), PORTS);
            run.script(script, &path.file_name().unwrap().to_string_lossy()).unwrap();
        }
    });
}

fn addresses_age_alike() {
    expect_none(Ports::Mixed, "ageing", |run| run.script(generate::ageing(1, PORTS), "ageing").unwrap());
}

fn what_is_meant_to_differ_still_does() {
    let mut pair = Pair::new(PORTS, Ports::Mixed).unwrap();
    for meant in meant::ALL {
        let difference = pair.play(&(meant.example)()).unwrap();
        assert!(difference.is_some(), "{}: nothing differs any more; take it off the list", meant.name);
    }
}

/// What differs as long as pontoon has not looked after its links: a frame to a station behind one that is down.
fn unseen() -> Script {
    let station = |port: usize| Station::new(port as u16 + 2, port);
    let frame = |port, dst| {
        let content = Content { ethertype: 0x88b6, payload: vec![0; 46], group: None };
        Event::plain(port, ethernet(dst, station(port).mac, &[], &content))
    };
    let down = Event::Change(Change::Link { port: 1, up: false, seen: false });
    vec![frame(1, MacAddr::BROADCAST), down, frame(0, station(1).mac)]
}

fn a_difference_is_made_short_and_kept() {
    let keep_in = directory("short");
    let mut script = generate::script(7, 0, 400, PORTS);
    let place = script.len() / 2;
    script.splice(place..place, unseen());
    let mut pair = Pair::new(PORTS, Ports::Mixed).unwrap();
    let mut run = Run { pair: &mut pair, ports: PORTS, keep_in: &keep_in, seen: Default::default() };
    run.script(script, "found").unwrap();
    let (told, path) = run.seen.differences.first().expect("the two differ").clone();
    let kept = story::read(&path, PORTS).unwrap();
    assert!(kept.script.len() <= unseen().len(), "{told}");
    assert!(told.contains("link 1 down unseen") && told.contains("from the kernel alone"), "{told}");
    assert!(pair.play(&kept.script).unwrap().is_some(), "what was kept shows it again");
    std::fs::remove_dir_all(&keep_in).unwrap();
}

fn flows_show_no_difference() {
    let count = if full() { 20_000 } else { 1500 };
    let seen = nat::compare(1, count).unwrap();
    assert!(seen.differences.is_empty(), "{}", seen.differences.join("\n"));
    assert!(seen.flows == count && seen.came_out > 4 * count, "{seen:?}");
    assert!(seen.fragmented > count / 4 && seen.damaged > count / 20, "{seen:?}");
}

fn what_nat_is_meant_to_do_otherwise_it_still_does() {
    for meant in nat::meant::ALL {
        let differs = nat::play_one(&meant.example(), meant.plain).unwrap();
        assert!(differs.is_some(), "{}: nothing differs any more; take it off the list", meant.name);
    }
}

fn the_command_says_what_it_found() {
    let keep_in = directory("command");
    let run = |arguments: &[&str]| {
        let command = env!("CARGO_BIN_EXE_pontoon-diff");
        Command::new(command).args(arguments).arg("--keep-in").arg(&keep_in).output().unwrap()
    };
    let same = run(&["--seed", "5", "--frames", "300", "--no-ageing"]);
    assert!(same.status.success() && said(&same).contains("no difference"), "{}", said(&same));
    // A frame of a station behind port 1 whose link is down by then.
    let capture = keep_in.join("down.pcap");
    story::keep(&capture, &unseen(), PORTS).unwrap();
    let differs = run(&["--pcap", &capture.to_string_lossy()]);
    assert_eq!(differs.status.code(), Some(1), "{}", said(&differs));
    let to = MacAddr([0x02, 0x42, 10, 88, 0, 3]).to_string();
    assert!(said(&differs).contains(&to) && said(&differs).contains("play it again"), "{}", said(&differs));
    let missing = run(&["--pcap", "/nowhere.pcap"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("/nowhere.pcap"), "{}", said(&missing));
    std::fs::remove_dir_all(&keep_in).unwrap();
}
