//! Pontoon beside the kernel: the same frames into both, and what arrives must be the same.
//!
//! Two labs, alike in every point: stations behind ports with the same MTUs and settings, on the kernel's bridge here and on pontoon's
//! engine there ([`bridges`]). A [`script`] says what happens, from a seed, a capture or the fuzzers' corpus. Each frame
//! goes in when the one before it has been decided about, in both labs, so that not only the same frames must arrive at each station
//! but in the same order. A difference is made as short as it gets and told.
//!
//! Both labs age by the one clock there is: ageing is looked at with a time of three seconds, in scripts whose pauses stay clear of it
//! ([`generate::ageing`]), and a machine that is too busy for that ends the run with an error, not with a difference.
//!
//! What is real: the kernel's devices, packet sockets and TAPs on both sides, pontoon's worker with its reading and sending, and time.
//! What is left out: IGMP and MLD snooping (off in the kernel, pontoon has none), VLAN filtering, netfilter, and what is listed as
//! meant.

pub mod bridges;
pub mod frames;
pub mod generate;
pub mod meant;
pub mod nat;
pub mod run;
pub mod script;
pub mod shrink;
pub mod story;
pub mod wires;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bridges::{Arrived, Bridge, KernelBridge, Pontoon, Ports};
use pontoon_dataplane::port::memory::OwnedFrame;
use script::{Change, Event};

use crate::lab::LabError;

/// Frames that are passed before what has arrived is compared.
const BATCH_FRAMES: usize = 512;
/// And their bytes: copies of a batch must fit the sockets' queues.
const BATCH_BYTES: usize = 1 << 20;

/// How long the frames between two pauses may take: [`generate::ageing`] stays clear of ageing by a quarter of three seconds, and pontoon's
/// stamps are coarse by an eighth.
const AGEING_SLACK: Duration = Duration::from_millis(350);

/// Both bridges.
#[derive(Debug)]
pub struct Pair {
    kernel: Box<dyn Bridge>,
    pontoon: Box<dyn Bridge>,
    /// When the last pause was over.
    talking_since: Instant,
}

/// Where the two bridges differ.
#[derive(Debug)]
pub struct Difference {
    /// The port whose station got something else.
    pub port: usize,
    /// How many of the script's events had happened.
    pub after: usize,
    /// What the kernel's bridge alone delivered.
    pub kernel_only: Vec<OwnedFrame>,
    /// What pontoon alone delivered.
    pub pontoon_only: Vec<OwnedFrame>,
}

impl Difference {
    /// Whether the same frames arrived in another order.
    pub fn is_order(&self) -> bool {
        self.kernel_only.is_empty() && self.pontoon_only.is_empty()
    }
}

impl Pair {
    /// Two labs with `count` ports each.
    ///
    /// # Errors
    /// No privilege, no /dev/net/tun, a kernel without bridge or veth.
    pub fn new(count: usize, ports: Ports) -> Result<Pair, LabError> {
        Ok(Pair {
            kernel: Box::new(KernelBridge::new(count, 0)?),
            pontoon: Box::new(Pontoon::new(count, ports, 1)?),
            talking_since: Instant::now(),
        })
    }

    /// Plays a script to both, from a fresh start, up to the first difference.
    ///
    /// # Errors
    /// A lab fails.
    pub fn play(&mut self, script: &[Event]) -> Result<Option<Difference>, LabError> {
        self.kernel.reset()?;
        self.pontoon.reset()?;
        let mut done = 0;
        self.talking_since = Instant::now();
        while done < script.len() {
            let batch = batch(&script[done..]);
            done += batch.len().max(1);
            if batch.is_empty() {
                if let Event::Change(change) = &script[done - 1] {
                    self.change(change)?;
                }
            } else if let Some(difference) = self.pass(&batch, done)? {
                return Ok(Some(difference));
            }
        }
        if script.iter().any(|event| matches!(event, Event::Change(Change::Pass(_)))) {
            self.check_haste()?;
        }
        Ok(None)
    }

    fn change(&mut self, change: &Change) -> Result<(), LabError> {
        if let Change::Pass(time) = change {
            self.check_haste()?;
            std::thread::sleep(*time);
            self.talking_since = Instant::now();
        }
        self.kernel.change(change)?;
        self.pontoon.change(change)
    }

    /// Between two pauses nothing may take long enough to be taken for one.
    fn check_haste(&self) -> Result<(), LabError> {
        let took = self.talking_since.elapsed();
        if took < AGEING_SLACK {
            return Ok(());
        }
        Err(format!("the machine is too busy to compare ageing: what should take no time took {took:?}")
            .into())
    }

    fn pass(
        &mut self,
        frames: &[(usize, &OwnedFrame)],
        after: usize,
    ) -> Result<Option<Difference>, LabError> {
        let (kernel, pontoon) = std::thread::scope(|scope| {
            let kernel = scope.spawn(|| self.kernel.pass(frames));
            let pontoon = scope.spawn(|| self.pontoon.pass(frames));
            (kernel.join(), pontoon.join())
        });
        let panicked = "a bridge's thread has panicked";
        Ok(compare(&kernel.map_err(|_| panicked)??, &pontoon.map_err(|_| panicked)??, after))
    }
}

/// The frames that the script begins with, as many as are passed at once.
fn batch(script: &[Event]) -> Vec<(usize, &OwnedFrame)> {
    let mut bytes = 0;
    let frames = script.iter().map_while(|event| match event {
        Event::Frame { port, frame } => {
            bytes += frame.bytes.len();
            (bytes <= BATCH_BYTES).then_some((*port, frame))
        }
        Event::Change(_) => None,
    });
    frames.take(BATCH_FRAMES).collect()
}

fn compare(kernel: &Arrived, pontoon: &Arrived, after: usize) -> Option<Difference> {
    let same = |(kernel, pontoon): (&Vec<OwnedFrame>, &Vec<OwnedFrame>)| {
        kernel.len() == pontoon.len() && kernel.iter().zip(pontoon).all(|(a, b)| essence(a) == essence(b))
    };
    let port = kernel.iter().zip(pontoon).position(|pair| !same(pair))?;
    Some(Difference {
        port,
        after,
        kernel_only: less(&kernel[port], &pontoon[port]),
        pontoon_only: less(&pontoon[port], &kernel[port]),
    })
}

/// What of a frame must be the same: its bytes, and what is still to be done to them. The rest of the metadata are hints.
fn essence(frame: &OwnedFrame) -> (&[u8], bool, u8, [u16; 3]) {
    let offload = &frame.offload;
    let places = match offload.needs_checksum {
        true => [offload.gso_size, offload.csum_start, offload.csum_offset],
        false => [offload.gso_size, 0, 0],
    };
    (&frame.bytes, offload.needs_checksum, offload.gso as u8, places)
}

/// The frames of `all` that `others` has not, each as often as it has not.
fn less<'a>(all: &'a [OwnedFrame], others: &'a [OwnedFrame]) -> Vec<OwnedFrame> {
    let mut counts: HashMap<_, usize> = HashMap::new();
    others.iter().for_each(|frame| *counts.entry(essence(frame)).or_default() += 1);
    let mut more = Vec::new();
    for frame in all {
        match counts.get_mut(&essence(frame)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => more.push(frame.clone()),
        }
    }
    more
}
