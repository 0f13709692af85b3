//! Deterministic simulation: a world of switches, hosts and bad links in one process, under a virtual clock and one seed.
//!
//! The switches are production cores ([`pontoon_dataplane::step::Core`]) with everything around them: snapshots, guard, FDB, gateway, edge
//! with NAT. The hosts have a TCP/IP stack that is not ours (smoltcp). Everything else follows from the seed: how switches are
//! joined, which links are bad and how, who fetches what from whom, what breaks, and who is hostile.
//!
//! ```text
//! build: seed ──▶ World ─┬─ agenda: what happens next (`world`)
//!                        │    station, errand: honest hosts and what they fetch
//!                        │    hostile, faults: who and what disturbs them
//!                        │    superframe: what they leave to their devices
//!                        │    switch, lane, control: cores, served as a worker serves them
//!                        │    link: loss, delay, duplicates, disorder
//!                        └─ checks, ledger: what must hold (`trace` keeps what did not)
//! ```

mod agenda;
mod build;
mod checks;
mod control;
mod errand;
mod faults;
mod frames;
mod hostile;
mod lane;
mod ledger;
mod link;
mod station;
mod superframe;
mod switch;
mod trace;
mod world;

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pontoon_dataplane::DropReason;

pub use faults::Trouble;
pub use hostile::Attack;

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Who is told everything that switches decide, line by line.
    pub tell: Option<fn(&str)>,
    /// Break something on purpose.
    pub sabotage: Option<Sabotage>,
}

/// What can be broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Ports that must be guarded are not.
    NoGuard,
    /// Tables are larger than they are said to be, and a port may have all of them.
    NoShare,
    /// Gateways' answers to ARP, and edges' questions, are lost.
    LostAnswers,
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// A hash of all that happened: the same for the same seed.
    pub hash: u64,
    /// What must not have happened.
    pub findings: Vec<String>,
    /// How many events there were.
    pub events: u64,
    /// How long it took, in microseconds of virtual time.
    pub virtual_micros: u64,
    /// Transfers that were completed, and how often one had to begin anew.
    pub transfers: (usize, u32),
    /// Faults that happened.
    pub troubles: Vec<Trouble>,
    /// Hostile hosts, and how many frames each sent.
    pub attacks: Vec<(Attack, u64)>,
    /// Frames that switches dropped since they were last started, by reason.
    pub drops: BTreeMap<&'static str, u64>,
    /// Half-open sessions that made room for others.
    pub evicted: u64,
    /// Frames for which a port's queue had no room.
    pub overruns: u64,
    /// Super-frames that left whole, and that were cut.
    pub super_frames: (u64, u64),
    /// Frames that one worker handed over to another.
    pub handed_over: u64,
}

impl Outcome {
    /// The command that runs it again.
    pub fn replay(&self) -> String {
        format!("cargo run --release -p pontoon-tools --bin pontoon-sim -- --seed {} --verbose", self.seed)
    }
}

/// Runs the world of `seed` to its end.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut world = build::build(seed, options);
    world.run();
    world.outcome(seed)
}

/// Runs the worlds of `seeds` on all CPUs, each to its end, and gives `each` what came of them, in any order. After `limit` no
/// other one is begun.
pub fn run_all(
    seeds: RangeInclusive<u64>,
    options: Options,
    limit: Option<Duration>,
    each: impl FnMut(Outcome) + Send,
) {
    let (next, each, began) = (AtomicU64::new(*seeds.start()), Mutex::new(each), Instant::now());
    let more = || {
        let in_time = limit.is_none_or(|limit| began.elapsed() < limit);
        in_time.then(|| next.fetch_add(1, Relaxed)).filter(|seed| seeds.contains(seed))
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = more() {
                    let outcome = run(seed, options);
                    let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                    (*each)(outcome);
                }
            });
        }
    });
}

impl world::World {
    fn outcome(mut self, seed: u64) -> Outcome {
        let ledgers = || self.switches.iter().map(|switch| &switch.ledger);
        let drops: BTreeMap<_, _> = DropReason::ALL
            .iter()
            .map(|&reason| (reason.name(), ledgers().map(|ledger| ledger.drops(reason)).sum()))
            .filter(|(_, frames): &(_, u64)| *frames > 0)
            .collect();
        let decided: Vec<u64> = ledgers().flat_map(|ledger| ledger.decided.values().copied()).collect();
        decided.iter().chain(drops.values()).for_each(|&count| self.trace.mix(count));
        let errands = self.hosts.iter().filter_map(|host| host.station.as_ref()).flat_map(|it| &it.errands);
        let restarts = errands.clone().map(|errand| errand.restarts).sum();
        let done = errands.filter(|errand| errand.is_done()).count();
        let happened = self.faults.iter().filter(|fault| fault.happened).map(|fault| fault.trouble);
        let tiny = self.tiny.then_some(Trouble::TinyTables);
        let troubles = happened.chain(tiny).collect();
        let attacks = self.hostiles.iter().map(|hostile| (hostile.attack, hostile.sent)).collect();
        let overruns = self.switches.iter().flat_map(|it| &it.lanes).flatten().map(|lane| lane.overrun).sum();
        let counts = self.switches.iter().map(|it| it.super_frames);
        let super_frames = counts.fold((0, 0), |(whole, cut), it| (whole + it.0, cut + it.1));
        let edges = self.switches.iter().filter_map(|it| it.edge());
        let evicted = edges.map(|edge| edge.stats().evicted_half_open).sum();
        let (hash, findings) = self.trace.end();
        Outcome {
            seed,
            hash,
            findings,
            events: self.events,
            virtual_micros: self.now,
            transfers: (done, restarts),
            troubles,
            attacks,
            drops,
            evicted,
            overruns,
            super_frames,
            handed_over: self.switches.iter().map(|it| it.handed_over).sum(),
        }
    }
}
