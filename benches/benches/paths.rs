//! What one frame costs on each path of the core: nanoseconds, and instructions, which no busy machine disturbs.
//!
//! ```text
//! cargo bench -p pontoon-benches --bench paths              nanoseconds a frame
//! cargo bench -p pontoon-benches --bench paths -- --check   instructions a frame, held against the baseline (needs valgrind)
//! cargo bench -p pontoon-benches --bench paths -- --bless   writes the baseline anew
//! ```
//!
//! Frames come in full batches of 256, all counters on; filling the batch is not measured, for a frame has just been read when it is
//! decided about. A time is that of the fastest and of the middle batch: on a shared machine the fastest one tells what the code can do.
//! The baseline is `benches/instructions.txt`, for one version of the compiler. A path that grows by more than 5 % fails the check: mend it, or bless it in the commit that
//! makes it grow and say there why.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use pontoon_benches::site::{ENDPOINT, SYN, Site, UPLINK, outbound, shuffled};
use pontoon_benches::{small_frame, snapshot, snapshot_with, station, table};
use pontoon_dataplane::fdb::{Fdb, Stickiness};
use pontoon_dataplane::network::PortId;
use pontoon_dataplane::out::Out;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::{Frame, MacAddr, Timestamp, checksum};

/// Frames in a batch.
const BATCH: usize = 256;
/// Batches whose time is taken.
const TIMED: usize = 4000;
/// Batches whose instructions are counted.
const COUNTED: usize = 40;
/// By how much a path may grow before the check fails.
const TOLERANCE: f64 = 0.05;
const NOW: Timestamp = Timestamp::from_secs(1000);
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// Fills a batch, then has it decided about.
trait Work {
    fn fill(&mut self);
    fn run(&mut self);
}

/// Frames of several kinds, in a batch in any order, each to the same core.
struct Frames<S, D> {
    ingress: PortId,
    frames: Vec<[u8; 60]>,
    next: D,
    batch: Vec<[u8; 60]>,
    step: S,
}

impl<S: FnMut(PortId, &[u8]), D: FnMut() -> usize> Work for Frames<S, D> {
    fn fill(&mut self) {
        self.batch.iter_mut().for_each(|frame| *frame = self.frames[(self.next)()]);
    }

    fn run(&mut self) {
        for frame in &self.batch {
            // Hidden as a thin pointer: of a slice two words would be stored and loaded as one, for which the processor waits until
            // all before it is done, so that no frame could begin before the last one had ended.
            (self.step)(self.ingress, black_box::<&[u8; 60]>(frame));
        }
    }
}

/// What needs no filling.
struct Plain<R>(R);

impl<R: FnMut()> Work for Plain<R> {
    fn fill(&mut self) {}

    fn run(&mut self) {
        (0..BATCH).for_each(|_| (self.0)());
    }
}

fn frames<S>(ingress: PortId, frames: Vec<[u8; 60]>, step: S) -> Box<dyn Work>
where
    S: FnMut(PortId, &[u8]) + 'static,
{
    let next = shuffled(frames.len());
    Box::new(Frames { ingress, frames, next, batch: vec![[0; 60]; BATCH], step })
}

fn whole(frame: &[u8]) -> [u8; 60] {
    frame.try_into().expect("a frame of 60 bytes")
}

/// A core of `ports` ports that has heard of each station.
fn bridge(ports: u16, guard: bool) -> impl FnMut(PortId, &[u8]) {
    let mut core = Core::with_seed(0, 1);
    let mut out = Out::new();
    core.adopt(Timestamp::ZERO, snapshot(ports, guard));
    for port in 0..ports {
        let frame = small_frame(port, MacAddr::BROADCAST);
        core.step(NOW, PortId(port), &Frame::plain(&frame), &mut out);
    }
    move |ingress, frame| {
        black_box(core.step(NOW, ingress, &Frame::plain(frame), &mut out));
    }
}

/// Two ports with `count` stations behind each, all of them known, none guarded.
fn many_stations(count: u32) -> Box<dyn Work> {
    let mut core = Core::with_seed(0, 1);
    let mut out = Out::new();
    core.adopt(Timestamp::ZERO, snapshot_with(2, false, 4 * count as usize));
    let frame = |from: u32, to: u32| {
        let mut frame = small_frame(0, station(to));
        frame[6..12].copy_from_slice(&station(from).0);
        whole(&frame)
    };
    for number in 0..count {
        core.step(NOW, PortId(0), &Frame::plain(&frame(number, count + number)), &mut out);
        core.step(NOW, PortId(1), &Frame::plain(&frame(count + number, number)), &mut out);
    }
    let (mut from, mut to) = (shuffled(count as usize), shuffled(count as usize));
    let _ = to();
    let all = (0..4 * count).map(|_| frame(from() as u32, count + to() as u32)).collect();
    frames(PortId(0), all, move |ingress, frame| {
        black_box(core.step(NOW, ingress, &Frame::plain(frame), &mut out));
    })
}

fn translated(flows: u32, outwards: bool) -> Box<dyn Work> {
    let mut site = Site::new();
    let [out, back] = site.establish(flows);
    let (ingress, all) = if outwards { (ENDPOINT, out) } else { (UPLINK, back) };
    frames(ingress, all, move |ingress, frame| {
        black_box(site.step(ingress, frame));
    })
}

/// The first packets of flows, one after another; everything begins anew when a few hundred thousand are open.
struct NewSessions {
    site: Site,
    number: u32,
    batch: Vec<[u8; 60]>,
}

impl NewSessions {
    const MOST: u32 = 400_000;

    fn new() -> NewSessions {
        NewSessions { site: Site::new(), number: 1, batch: vec![[0; 60]; BATCH] }
    }
}

impl Work for NewSessions {
    fn fill(&mut self) {
        if self.number + BATCH as u32 > Self::MOST {
            *self = NewSessions::new();
        }
        for frame in &mut self.batch {
            *frame = outbound(self.number, SYN);
            self.number += 1;
        }
    }

    fn run(&mut self) {
        for frame in &self.batch {
            black_box(self.site.step(ENDPOINT, black_box::<&[u8; 60]>(frame)));
        }
    }
}

fn fdb_of(count: u32) -> Fdb {
    let fdb = table(count as usize + count as usize / 4);
    for number in 0..count {
        fdb.learn(station(number), PortId((number % 64) as u16), Stickiness::Free, NOW);
    }
    fdb
}

fn lookup(count: u32) -> Box<dyn Work> {
    let (fdb, mut next) = (fdb_of(count), shuffled(count as usize));
    Box::new(Plain(move || _ = black_box(fdb.lookup(station(next() as u32), NOW))))
}

fn sum(len: usize) -> Box<dyn Work> {
    let bytes = vec![0x5a; len];
    Box::new(Plain(move || _ = black_box(checksum::checksum(black_box(&bytes)))))
}

type Make = fn() -> Box<dyn Work>;

/// Every path, by its name in the baseline.
const PATHS: [(&str, Make); 14] = [
    ("step, known unicast", || frames(PortId(0), vec![whole(&small_frame(0, station(1)))], bridge(2, false))),
    ("step, guarded", || frames(PortId(0), vec![whole(&small_frame(0, station(1)))], bridge(2, true))),
    ("step, 10,000 x 10,000 stations", || many_stations(10_000)),
    ("step, flood to 15", || {
        frames(PortId(0), vec![whole(&small_frame(0, MacAddr::BROADCAST))], bridge(16, true))
    }),
    ("step, flood to 127", || {
        frames(PortId(0), vec![whole(&small_frame(0, MacAddr::BROADCAST))], bridge(128, true))
    }),
    ("fdb lookup, 1,000", || lookup(1_000)),
    ("fdb lookup, 1,000,000", || lookup(1_000_000)),
    ("nat out, 1 flow", || translated(1, true)),
    ("nat in, 1 flow", || translated(1, false)),
    ("nat out, 10,000 flows", || translated(10_000, true)),
    ("nat in, 10,000 flows", || translated(10_000, false)),
    ("nat, new session", || Box::new(NewSessions::new())),
    ("checksum, 20 bytes", || sum(20)),
    ("checksum, 1,500 bytes", || sum(1_500)),
];

/// What is counted under valgrind: nothing outside of this function is.
#[inline(never)]
fn measured_batch(work: &mut dyn Work) {
    work.run();
}

fn nanoseconds(make: Make) -> (f64, f64) {
    let mut work = make();
    let mut times: Vec<u64> = (0..TIMED)
        .map(|_| {
            work.fill();
            let start = Instant::now();
            measured_batch(work.as_mut());
            start.elapsed().as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    let each = |time: u64| time as f64 / BATCH as f64;
    (each(times[0]), each(times[TIMED / 2]))
}

/// Runs one path under valgrind in a process of its own.
fn instructions(name: &str) -> f64 {
    let own = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured_batch*")
        .arg(own)
        .args(["--count", name])
        .output()
        .unwrap_or_else(|error| panic!("valgrind cannot be started ({error}); install it"));
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, number)| number);
    let total: f64 = collected
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind counted nothing for {name}:\n{said}"));
    total / (COUNTED * BATCH) as f64
}

/// The child's part of [`instructions`]: warms up, then runs what is counted.
fn count(name: &str) {
    let (_, make) = PATHS.iter().find(|(path, _)| *path == name).expect("a path of that name");
    let mut work = make();
    work.fill();
    work.run();
    for _ in 0..COUNTED {
        work.fill();
        measured_batch(work.as_mut());
    }
}

fn baseline() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(Path::new(BASELINE)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(": "))
        .filter_map(|(name, n)| Some((name.into(), n.parse().ok()?)))
        .collect()
}

/// The compiler that is at hand. What another one makes of the code has other instructions.
fn compiler() -> String {
    let said = Command::new("rustc").arg("--version").output().map(|it| it.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn check() {
    let text = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let of = text.lines().find_map(|line| line.strip_prefix("# By ")).unwrap_or("no compiler");
    if of != compiler() {
        return println!("not checked: the baseline is by {of}, and here is {}; bless it anew", compiler());
    }
    let known = baseline();
    let mut grown = Vec::new();
    println!("instructions a frame, beside the baseline");
    for (name, _) in PATHS {
        let is = instructions(name);
        match known.get(name) {
            Some(was) => {
                println!("  {name:32} {is:9.1}  {was:9.1}  {:+6.1} %", (is / was - 1.0) * 100.0);
                if is > was * (1.0 + TOLERANCE) {
                    grown.push(name);
                }
            }
            None => {
                println!("  {name:32} {is:9.1}  not in the baseline");
                grown.push(name);
            }
        }
    }
    if !grown.is_empty() {
        eprintln!(
            "more than 5 % above benches/instructions.txt: {}; mend it or bless it (--bless) with the reason",
            grown.join("; ")
        );
        std::process::exit(1);
    }
}

fn bless() {
    let mut text = format!(
        "# Instructions a frame, by `cargo bench -p pontoon-benches --bench paths -- --bless`.\n# By {}\n",
        compiler()
    );
    for (name, _) in PATHS {
        let _ = writeln!(text, "{name}: {:.1}", instructions(name));
    }
    std::fs::write(BASELINE, &text).expect("the baseline can be written");
    print!("{text}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--count", name] => count(name),
        ["--check"] => check(),
        ["--bless"] => bless(),
        ref filter => {
            println!("nanoseconds a frame: fastest and middle one of {TIMED} batches of {BATCH}");
            for (name, make) in PATHS.iter().filter(|(name, _)| filter.iter().all(|it| name.contains(it))) {
                let (fastest, middle) = nanoseconds(*make);
                println!("  {name:32} {fastest:8.1} {middle:8.1}");
            }
        }
    }
}
