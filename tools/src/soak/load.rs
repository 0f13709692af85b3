//! The load that goes on: small, every byte checked, and between all kinds of places.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::site::{PUBLISHED, SERVICE, Site};
use crate::lab::{LabError, Namespace};
use crate::outside::{HOST, OUTSIDE};
use crate::traffic;
use crate::transfer::Connection;

/// What a turn of a connection carries each way, in bytes: a few super-frames.
const PIECE: u64 = 128 * 1024;
/// Payloads of datagrams; the larger ones go in fragments.
const DATAGRAMS: [usize; 5] = [1, 100, 1400, 1473, 6000];
/// Between two turns of a load: throughput is not what is looked for, and sessions that have ended rest for minutes.
const PAUSE: Duration = Duration::from_millis(100);

/// Loads under way. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Read by loads during a turn.
    gate: RwLock<()>,
    stop: Mutex<bool>,
    /// It was told to stop.
    told: Condvar,
    turns: AtomicU64,
    bytes: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// One turn of a load: carries something from end to end and checks it; how many bytes there were.
type Turn = Box<dyn FnMut() -> Result<u64, LabError> + Send>;

impl Load {
    /// Starts them all.
    pub(super) fn start(site: &Arc<Site>) -> Result<Load, LabError> {
        let mut load = Load { shared: Arc::default(), threads: Vec::new() };
        for (name, turn) in turns(site)? {
            let shared = Arc::clone(&load.shared);
            let work = move || run(&name, turn, &shared);
            load.threads.push(thread::Builder::new().name("load".into()).spawn(work)?);
        }
        Ok(load)
    }

    /// Bytes that arrived and were right.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }

    /// Does something while all loads rest.
    pub(super) fn at_rest<T>(&self, work: impl FnOnce() -> T) -> T {
        let _gate = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Waits until each load had a turn, on average.
    ///
    /// # Errors
    /// One failed.
    pub(super) fn go_on(&self) -> Result<(), LabError> {
        let goal = self.shared.turns.load(Relaxed) + self.threads.len() as u64;
        super::site::until("the load went on", || {
            self.check()?;
            let turns = self.shared.turns.load(Relaxed);
            Ok(if turns >= goal { Ok(()) } else { Err(format!("{turns} turns of {goal}")) })
        })
    }

    /// # Errors
    /// One of the loads failed: which, and why.
    pub(super) fn check(&self) -> Result<(), LabError> {
        match &*self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sentence) => Err(sentence.clone().into()),
            None => Ok(()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.told.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(name: &str, mut turn: Turn, shared: &Shared) {
    loop {
        let done = {
            let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
            turn()
        };
        match done {
            Ok(bytes) => {
                shared.bytes.fetch_add(bytes, Relaxed);
                shared.turns.fetch_add(1, Relaxed);
            }
            Err(error) => {
                let mut failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(format!("the load {name}: {error}"));
                return;
            }
        }
        let stop = shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = shared.told.wait_timeout_while(stop, PAUSE, |stop| !*stop);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
    }
}

/// Where a load begins or ends.
#[derive(Debug, Clone, Copy)]
enum Place {
    One,
    Other,
    Open,
    Host,
    Outside,
}

impl Place {
    fn of(self, site: &Site) -> &Namespace {
        match self {
            Place::One => &site.closed[0].namespace,
            Place::Other => &site.closed[1].namespace,
            Place::Open => &site.open.namespace,
            Place::Host => &site.host,
            Place::Outside => &site.outside.machine,
        }
    }
}

/// Every load by its name.
fn turns(site: &Arc<Site>) -> Result<Vec<(String, Turn)>, LabError> {
    use Place::{Host, One, Open, Other, Outside};
    let (other, open) = (site.closed[1].address, site.open.address);
    let mut turns = Vec::new();
    for (from, target, to, own) in [
        (One, None, Other, (other, SERVICE)),
        (Open, None, Outside, (OUTSIDE, SERVICE)),
        (Outside, Some((HOST, PUBLISHED)), Open, (open, SERVICE)),
    ] {
        let listener = to.of(site).run(|| TcpListener::bind(own))??;
        let target = target.unwrap_or(own);
        turns.push((format!("TCP, {from:?} to {to:?}"), connections(site, from, target, listener)?));
    }
    for (from, to, address) in [
        (One, Other, other),
        (Other, One, site.closed[0].address),
        (Open, Outside, OUTSIDE),
        (Host, Open, open),
    ] {
        turns.push((format!("UDP, {from:?} to {to:?}"), datagrams(site, from, to, address)));
    }
    Ok(turns)
}

/// One connection that lasts and says a little in each turn, and a new one in each that carries much.
fn connections(
    site: &Arc<Site>,
    from: Place,
    target: (Ipv4Addr, u16),
    listener: TcpListener,
) -> Result<Turn, LabError> {
    let lasting = Connection::open(from.of(site), target, &listener)?;
    let site = Arc::clone(site);
    Ok(Box::new(move || {
        lasting.check()?;
        Connection::open(from.of(&site), target, &listener)?.both_ways(PIECE)?;
        Ok(2 * PIECE + 2)
    }))
}

fn datagrams(site: &Arc<Site>, from: Place, to: Place, address: Ipv4Addr) -> Turn {
    let site = Arc::clone(site);
    Box::new(move || {
        traffic::udp_each(from.of(&site), to.of(&site), address, DATAGRAMS)?;
        Ok(DATAGRAMS.iter().sum::<usize>() as u64)
    })
}
