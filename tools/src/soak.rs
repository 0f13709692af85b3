//! A soak: the real daemon under a load that does not end, while networks, endpoints, published ports, rules and links come and go.
//!
//! Again and again all that came is removed, and the load rests. Then the daemon must be as it was: its networks, ports and names, its
//! descriptors and threads, its log and the host's interfaces; and its counters must be the kernel's ([`ledger`]). Memory is judged at
//! the end, by what it was each time ([`footprint`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pontoon::api::types::{DnsName, FdbEntry, NatStats, Network, Port};
use pontoon::link::Links;

use crate::lab::LabError;

mod churn;
pub mod footprint;
mod ledger;
mod load;
mod site;

use churn::Churn;
use footprint::{Footprint, Memory, differences, judge};
use ledger::Ledger;
use load::Load;
use site::{Daemon, Site, until};

/// The variable that tells the daemon what to break.
const BREAK: &str = "PONTOON_SOAK_BREAK";
/// What is done from one rest to the next.
const ACTS: usize = 20;
/// How the threads of the daemon's runtime are called.
const RUNTIME: &str = "tokio";
/// Those for blocking work come and go: so many more than at first are no leak.
const POOL: usize = 8;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Memory is never given back: 64 KiB every few milliseconds.
    Memory,
    /// Descriptors are never closed.
    Descriptors,
    /// Threads never end.
    Threads,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 3] = [Sabotage::Memory, Sabotage::Descriptors, Sabotage::Threads];

    /// How it is called.
    pub fn name(self) -> &'static str {
        match self {
            Sabotage::Memory => "memory",
            Sabotage::Descriptors => "descriptors",
            Sabotage::Threads => "threads",
        }
    }
}

/// How to soak.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// For how long.
    pub length: Duration,
    /// What is done follows from it.
    pub seed: u64,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Since the load began.
    pub time: Duration,
    /// Changes that were asked of the daemon or happened to it.
    pub acts: u64,
    /// How often all of them were undone, and everything was as before.
    pub rests: u64,
    /// Bytes of the load that arrived and were right.
    pub bytes: u64,
    /// What the daemon took of the machine when it rested last.
    pub footprint: Footprint,
    /// Its resident memory at each rest, in KiB.
    pub memory_kib: Vec<u64>,
}

/// Soaks until the time is over, `stop` says so, or something is wrong. `tell` hears of every rest.
///
/// # Errors
/// The outer one: it could not begin. The inner one: what was found.
pub fn run(
    options: &Options,
    stop: impl Fn() -> bool,
    tell: impl FnMut(&Progress),
) -> Result<Result<Progress, String>, LabError> {
    let places = Site::host()?;
    let daemon = Daemon::start(&places.0, options.sabotage)?;
    let site = Arc::new(Site::build(places, &daemon)?);
    let load = Load::start(&site)?;
    let mut soak = Soak {
        site: &site,
        daemon: &daemon,
        load: &load,
        churn: Churn::new(&site, &daemon, options.seed),
        ledger: Ledger::new(),
        before: None,
        start: Instant::now(),
        progress: Progress::default(),
    };
    let found = soak.go(options.length, stop, tell);
    let progress = soak.progress;
    drop(load);
    let last = daemon.last_words();
    let found = found.and_then(|()| end(daemon, &site));
    Ok(found.map(|()| progress).map_err(|error| format!("{error}\nthe daemon's last words:\n{last}")))
}

/// A soak under way.
struct Soak<'a> {
    site: &'a Site,
    daemon: &'a Daemon,
    load: &'a Load,
    churn: Churn<'a>,
    ledger: Ledger,
    /// What was there at the first rest.
    before: Option<(Things, Footprint)>,
    start: Instant,
    progress: Progress,
}

impl Soak<'_> {
    fn go(
        &mut self,
        length: Duration,
        stop: impl Fn() -> bool,
        mut tell: impl FnMut(&Progress),
    ) -> Result<(), LabError> {
        while !stop() && (self.start.elapsed() < length || self.progress.rests < 2) {
            for _ in 0..ACTS {
                let acts = self.progress.acts + 1;
                let told = |error| LabError::from(format!("change {acts}, {error}"));
                let act = self.churn.act().map_err(told)?;
                self.progress.acts = acts;
                self.ledger.look(self.daemon)?;
                self.load.check().map_err(|error| format!("after change {acts}, {act:?}: {error}"))?;
            }
            self.churn.clear()?;
            self.load.at_rest(|| self.rest())?;
            self.progress.time = self.start.elapsed();
            self.progress.bytes = self.load.bytes();
            tell(&self.progress);
            self.load.go_on()?;
        }
        match judge(&self.progress.memory_kib) {
            Memory::Grows(first, last) => {
                Err(format!("resident memory grew from {first:.0} to {last:.0} KiB").into())
            }
            Memory::Flat(..) | Memory::TooShort => Ok(()),
        }
    }

    /// Nothing is there but what stays, and the load rests.
    fn rest(&mut self) -> Result<(), LabError> {
        self.ledger.look(self.daemon)?;
        self.ledger.settle(self.site, self.daemon)?;
        let Soak { site, daemon, before, .. } = self;
        let before = match before {
            Some(before) => before,
            None => before.insert((Things::of(site, daemon)?, footprint(daemon)?)),
        };
        until("all was as before", || Ok(before.0.same(&Things::of(site, daemon)?)))?;
        let mut now = Footprint::default();
        until("descriptors and threads were as before", || {
            now = footprint(daemon)?;
            Ok(differences(&before.1.descriptors, &now.descriptors)
                .or_else(|| differences(&lasting(&before.1), &lasting(&now)))
                .or_else(|| more_of_the_pool(&before.1, &now))
                .map_or(Ok(()), Err))
        })?;
        if let Some(fault) = daemon.faults()?.first() {
            return Err(format!("the daemon's log says: {fault}").into());
        }
        self.progress.memory_kib.push(now.resident_kib);
        self.progress.footprint = now;
        self.progress.rests += 1;
        Ok(())
    }
}

/// What the daemon and the host have.
#[derive(Debug, PartialEq)]
struct Things {
    networks: Vec<Network>,
    ports: Vec<Port>,
    names: Vec<DnsName>,
    /// Addresses that the FDB has behind ports of others than the stations that stay. Those that stay may have been flushed.
    strangers: Vec<String>,
    interfaces: Vec<String>,
}

impl Things {
    fn of(site: &Site, daemon: &Daemon) -> Result<Things, LabError> {
        let client = &daemon.client;
        let known: Vec<FdbEntry> = client.get("/fdb")?;
        let stays = |entry: &&FdbEntry| site.stations().any(|station| station.port == entry.port);
        let strangers = known.iter().filter(|entry| !stays(entry));
        let interfaces = site.host.run(|| Links::open()?.all())??;
        Ok(Things {
            networks: client.get("/networks")?,
            ports: client.get("/ports")?,
            names: client.get("/dns/names")?,
            strangers: strangers.map(|entry| format!("{} behind {}", entry.mac, entry.port)).collect(),
            interfaces: interfaces.into_iter().map(|link| link.name).collect(),
        })
    }

    fn same(&self, now: &Things) -> Result<(), String> {
        if self == now { Ok(()) } else { Err(format!("{now:?} instead of {self:?}")) }
    }
}

/// What the daemon takes, without the sockets that hold ports for NAT: those come with sessions and go a while after them.
fn footprint(daemon: &Daemon) -> Result<Footprint, LabError> {
    let held = daemon.client.get::<NatStats>("/nat/stats")?.ports_held;
    let mut footprint = Footprint::of(daemon.id())?;
    let sockets = footprint.descriptors.entry("socket".to_owned()).or_default();
    *sockets = sockets.saturating_sub((held.tcp + held.udp) as usize);
    Ok(footprint)
}

/// Threads by their names, but for the runtime's.
fn lasting(footprint: &Footprint) -> BTreeMap<String, usize> {
    let own = footprint.threads.iter().filter(|(name, _)| !name.starts_with(RUNTIME));
    own.map(|(name, count)| (name.clone(), *count)).collect()
}

fn more_of_the_pool(before: &Footprint, now: &Footprint) -> Option<String> {
    let pool = |footprint: &Footprint| footprint.threads() - lasting(footprint).values().sum::<usize>();
    let (before, now) = (pool(before), pool(now));
    (now > before + POOL).then(|| format!("the runtime has {now} threads, and had {before}"))
}

/// The daemon ends when it is told to, and leaves nothing.
fn end(daemon: Daemon, site: &Site) -> Result<(), LabError> {
    daemon.end()?;
    let left = site.host.run(|| Links::open()?.all())??.into_iter().map(|link| link.name);
    let left: Vec<String> = left.filter(|name| name.starts_with("ptn-")).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("the daemon has ended and left {left:?}").into()) }
}

/// The program as the daemon, if it was started as that.
pub fn daemon() -> Option<ExitCode> {
    if !std::env::args().any(|argument| argument == "daemon") {
        return None;
    }
    let wanted = std::env::var(BREAK).ok();
    if let Some(what) = Sabotage::ALL.into_iter().find(|what| Some(what.name()) == wanted.as_deref()) {
        thread::spawn(move || spoil(what));
    }
    Some(pontoon::cli::main())
}

fn spoil(what: Sabotage) {
    let mut kept = Vec::new();
    loop {
        match what {
            Sabotage::Memory => kept.push(Kept::Memory(vec![1; 64 * 1024])),
            Sabotage::Descriptors => kept.extend(File::open("/dev/null").map(Kept::Descriptor)),
            Sabotage::Threads => kept.push(Kept::Thread(thread::spawn(thread::park))),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What is never given back.
#[derive(Debug)]
#[allow(dead_code)]
enum Kept {
    Memory(Vec<u8>),
    Descriptor(File),
    Thread(thread::JoinHandle<()>),
}
