//! A switch: production cores, one for each worker, that serve ports as workers do, with finite time for each frame.
//!
//! Workers share the FDB, counters and what was flooded, as in production; what a switch's second worker hands over goes through a bounded queue
//! to the first, which has the edge. Each is at work when virtual time says so, a batch at a time: which of them is first follows from the
//! seed. Memory orders between them are loom's to check.

use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pontoon_dataplane::counters::PortCounters;
use pontoon_dataplane::edge::Edge;
use pontoon_dataplane::edge::punt::{Answer, Request};
use pontoon_dataplane::network::Snapshot;
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::segment::{Work, needs_work, segment};
use pontoon_dataplane::step::Core;
use pontoon_dataplane::trace::describe::describe;
use pontoon_dataplane::verdict::FloodCause;
use pontoon_dataplane::{DropReason, Frame, MacAddr, PortId, Timestamp, Verdict};

use super::agenda::{MILLI, Micros, SECOND};
use super::lane::{BATCH, Lane};
use super::ledger::Ledger;
use super::link::{Origin, Wire};
use super::superframe::is_cut_right;

/// The switch.
pub(super) struct Switch {
    pub(super) number: usize,
    /// By worker.
    workers: Vec<Worker>,
    /// On their way from the second worker to the edge.
    handed: VecDeque<(PortId, Wire)>,
    /// Frames that were handed over.
    pub(super) handed_over: u64,
    /// How often it was started.
    pub(super) started: u64,
    /// What is published next.
    pub(super) snapshot: Snapshot,
    /// By port number.
    pub(super) lanes: Vec<Option<Lane>>,
    /// How long one frame takes.
    pub(super) cost: Micros,
    /// How far its clock is ahead.
    pub(super) jumped: Duration,
    /// When a tick is on the agenda.
    pub(super) tick_at: Option<Micros>,
    out: Out,
    /// Who made the frames that wait in the edge.
    held: Vec<(PortId, Vec<u8>, Wire)>,
    pub(super) ledger: Ledger,
    /// Super-frames that left whole, and that were cut.
    pub(super) super_frames: (u64, u64),
    /// Answers to ARP are lost: a switch that is broken on purpose.
    pub(super) loses_answers: bool,
}

/// A worker.
struct Worker {
    core: Core,
    busy: VecDeque<PortId>,
    /// It is at work: its next visit is on the agenda.
    is_serving: bool,
    next_tick: Option<Timestamp>,
}

impl Worker {
    fn new(number: usize, seed: u64) -> Worker {
        let core = Core::with_seed(number, seed);
        Worker { core, busy: VecDeque::new(), is_serving: false, next_tick: Some(Timestamp::ZERO) }
    }
}

/// Frames that may be on their way from one worker to another (`worker/handover.rs`).
const DEPTH: usize = 256;
/// Workers that a switch may have.
pub(super) const WORKERS: usize = 2;

/// Counters of a new port.
pub(super) fn counters() -> Arc<[PortCounters]> {
    (0..WORKERS).map(|_| PortCounters::default()).collect()
}

/// What a switch did.
#[derive(Default)]
pub(super) struct Effects {
    /// Frames that leave, and how long after now.
    pub(super) sent: Vec<(Micros, PortId, Wire)>,
    pub(super) requests: Vec<Request>,
    /// The first worker has to be woken.
    pub(super) wakes_edge: bool,
    /// What must not happen.
    pub(super) findings: Vec<String>,
    /// What happened, for people; only if wanted.
    pub(super) told: Option<Vec<String>>,
}

impl Switch {
    pub(super) fn new(number: usize, seed: u64, cost: Micros, workers: usize) -> Switch {
        Switch {
            number,
            workers: (0..workers).map(|worker| Worker::new(worker, seed)).collect(),
            handed: VecDeque::new(),
            handed_over: 0,
            started: 1,
            snapshot: Snapshot::default(),
            lanes: Vec::new(),
            cost,
            jumped: Duration::ZERO,
            tick_at: None,
            out: Out::new(),
            held: Vec::new(),
            ledger: Ledger::default(),
            super_frames: (0, 0),
            loses_answers: false,
        }
    }

    /// Its edge, which the first worker has.
    pub(super) fn edge(&self) -> Option<&Edge> {
        self.workers.first()?.core.edge()
    }

    /// The worker that reads a port.
    fn reader(&self, port: PortId) -> usize {
        port.index() % self.workers.len()
    }

    /// What its clock shows.
    pub(super) fn clock(&self, now: Micros) -> Timestamp {
        Timestamp::from_millis(now / MILLI) + self.jumped
    }

    /// When it wants a tick.
    pub(super) fn due(&self) -> Option<Micros> {
        let due = self.due_by_clock()?;
        Some(due.as_millis().saturating_sub(self.jumped.as_millis() as u64) * MILLI)
    }

    fn due_by_clock(&self) -> Option<Timestamp> {
        let ticks = self.workers.iter().filter_map(|worker| worker.next_tick);
        ticks.chain(self.edge().and_then(Edge::due)).min()
    }

    /// Its core decides by the changed snapshot from now on.
    pub(super) fn publish(&mut self, now: Micros) {
        self.snapshot.generation += 1;
        self.ledger.know_ports(&self.snapshot);
        let before = self.waiting();
        let (clock, snapshot) = (self.clock(now), Arc::new(self.snapshot.clone()));
        for worker in &mut self.workers {
            worker.core.adopt(clock, Arc::clone(&snapshot));
        }
        let there = |port: PortId| snapshot.port(port).is_some();
        self.held.retain(|(port, ..)| there(*port));
        self.handed.retain(|(port, _)| there(*port));
        self.ledger.forgotten += before - self.waiting();
    }

    /// It starts anew, with nothing but its snapshot.
    pub(super) fn restart(&mut self, now: Micros, seed: u64) {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            // Its next visit stays on the agenda.
            *worker = Worker { is_serving: worker.is_serving, ..Worker::new(number, seed) };
        }
        self.started += 1;
        self.ledger = Ledger::default();
        self.held.clear();
        self.handed.clear();
        self.lanes.iter_mut().flatten().for_each(Lane::clear);
        self.publish(now);
    }

    /// Frames that wait in the edge, or on their way to it.
    pub(super) fn waiting(&self) -> u64 {
        self.handed.len() as u64 + self.edge().map_or(0, |edge| u64::from(edge.stats().waiting))
    }

    /// The lane of a port.
    pub(super) fn lane(&mut self, port: PortId) -> Option<&mut Lane> {
        self.lanes.get_mut(port.index())?.as_mut()
    }

    /// A frame has come to the port's queue. Returns the worker that has to be woken.
    pub(super) fn arrive(
        &mut self,
        now: Micros,
        port: PortId,
        wire: Wire,
        effects: &mut Effects,
    ) -> Option<usize> {
        let (share, reader) = (self.share(), self.reader(port));
        let number = self.number;
        let lane = self.lane(port).filter(|lane| lane.up)?;
        if let Err(finding) = lane.take_in(now, share, wire) {
            effects.findings.extend(finding.map(|what| format!("switch {number}, {port}: {what}")));
            return None;
        }
        let is_new = !std::mem::replace(&mut lane.busy, true);
        let worker = &mut self.workers[reader];
        if is_new {
            worker.busy.push_back(port);
        }
        (!std::mem::replace(&mut worker.is_serving, true)).then_some(reader)
    }

    /// How long a frame takes at the least rate that a port can count on: when all others are busy as well.
    fn share(&self) -> Micros {
        self.cost * self.lanes.iter().flatten().count() as u64
    }

    /// A worker visits its next lane, and before that what was handed over to it. Returns how long that took; none: there is nothing more to do.
    pub(super) fn serve(&mut self, now: Micros, worker: usize, effects: &mut Effects) -> Option<Micros> {
        let mut served = if worker == 0 { self.take_handed(now, effects) } else { 0 };
        let Some(port) = self.workers[worker].busy.pop_front() else {
            self.workers[worker].is_serving = served > 0;
            return (served > 0).then_some(served as u64 * self.cost);
        };
        let before = served;
        while served < before + BATCH {
            let Some(wire) = self.lane(port).and_then(Lane::take_out) else { break };
            self.decide(now, served as u64 * self.cost, (worker, port), &wire, effects);
            served += 1;
        }
        if served > before {
            self.workers[worker].busy.push_back(port);
        } else if let Some(lane) = self.lane(port) {
            lane.busy = false;
        }
        Some(served as u64 * self.cost)
    }

    /// The first worker goes on with what was handed over. Returns how many frames that were.
    fn take_handed(&mut self, now: Micros, effects: &mut Effects) -> usize {
        let mut taken = 0;
        while taken < BATCH {
            let Some((port, wire)) = self.handed.pop_front() else { break };
            let clock = self.clock(now);
            let verdict = self.workers[0].core.resume(clock, port, &wire.frame(), &mut self.out);
            self.ledger.resumed(verdict);
            self.tell(now, port, &wire.bytes, ("takes over", verdict), effects);
            if matches!(verdict, Verdict::Wait(_)) {
                self.held.push((port, wire.bytes.to_vec(), wire.clone()));
            }
            self.send(0, taken as u64 * self.cost, Some((port, &wire)), effects);
            self.let_waiting_go_on(now, effects);
            taken += 1;
        }
        taken
    }

    /// A frame is for the edge, and its reader is another worker.
    fn hand_over(&mut self, worker: usize, port: PortId, wire: &Wire, effects: &mut Effects) {
        if worker == 0 {
            effects.findings.push(format!("switch {} hands a frame over to itself", self.number));
        } else if self.handed.len() < DEPTH {
            self.handed.push_back((port, wire.clone()));
            self.handed_over += 1;
            effects.wakes_edge |= !std::mem::replace(&mut self.workers[0].is_serving, true);
        } else if let Some(it) = self.snapshot.port(port) {
            self.workers[worker].core.count_drop(it, DropReason::EdgeBusy, wire.bytes.len());
        }
    }

    fn decide(
        &mut self,
        now: Micros,
        delay: Micros,
        (worker, port): (usize, PortId),
        wire: &Wire,
        effects: &mut Effects,
    ) {
        let clock = self.clock(now);
        let verdict = self.workers[worker].core.step(clock, port, &wire.frame(), &mut self.out);
        self.ledger.decided(verdict);
        self.tell(now, port, &wire.bytes, ("gets", verdict), effects);
        if verdict == Verdict::HandOver {
            self.hand_over(worker, port, wire, effects);
        }
        // Switches are joined in a tree.
        if let Some(seen) = self.workers[worker].core.take_loop() {
            effects
                .findings
                .push(format!("switch {} sees a loop where there is none: {seen:?}", self.number));
        }
        if matches!(verdict, Verdict::Wait(_)) {
            self.held.push((port, wire.bytes.to_vec(), wire.clone()));
        }
        self.check_lookup((worker, port), clock, wire, verdict, effects);
        self.send(worker, delay, Some((port, wire)), effects);
        self.let_waiting_go_on(now, effects);
    }

    /// A frame leaves where the FDB has its address, or by all ports if it has none. The core remembers where in the table it has found an
    /// address last; here it is looked for.
    fn check_lookup(
        &self,
        (worker, port): (usize, PortId),
        clock: Timestamp,
        wire: &Wire,
        verdict: Verdict,
        effects: &mut Effects,
    ) {
        let snapshot = self.workers[worker].core.snapshot();
        let found = || {
            let network = snapshot.network(snapshot.port(port)?.place.network()?)?;
            let egress = network.fdb.lookup(MacAddr::from_prefix(&wire.bytes), clock)?;
            snapshot.port(egress).map(|egress| egress.id)
        };
        let is_right = match verdict {
            // To an isolated endpoint also what the FDB has forgotten.
            Verdict::Forward { egress } => found().is_none_or(|known| known == egress),
            Verdict::Flood { cause: FloodCause::UnknownUnicast, .. } => found().is_none(),
            _ => true,
        };
        if !is_right {
            let (number, frame, found) = (self.number, describe(&wire.frame()), found());
            effects
                .findings
                .push(format!("switch {number}: {frame} by {port}: {verdict}; the FDB has {found:?}"));
        }
    }

    /// What waited goes on with what is known now.
    fn let_waiting_go_on(&mut self, now: Micros, effects: &mut Effects) {
        while let Some(held) = self.workers[0].core.next_ready() {
            let frame = Frame { bytes: &held.bytes, offload: held.offload };
            let clock = self.clock(now);
            let verdict = self.workers[0].core.resume(clock, held.ingress, &frame, &mut self.out);
            self.ledger.resumed(verdict);
            self.tell(now, held.ingress, &held.bytes, ("goes on with", verdict), effects);
            let is_it =
                |(port, bytes, _): &(PortId, Vec<u8>, Wire)| *port == held.ingress && *bytes == held.bytes;
            let Some(place) = self.held.iter().position(is_it) else {
                effects
                    .findings
                    .push(format!("switch {} goes on with a frame that never waited", self.number));
                continue;
            };
            let wire = match verdict {
                Verdict::Wait(_) => self.held[place].2.clone(),
                _ => self.held.remove(place).2,
            };
            self.send(0, 0, Some((held.ingress, &wire)), effects);
        }
    }

    /// Sends what a worker's core has decided about `ingress`, or made by itself.
    fn send(
        &mut self,
        worker: usize,
        delay: Micros,
        ingress: Option<(PortId, &Wire)>,
        effects: &mut Effects,
    ) {
        let Switch { number, workers, lanes, ledger, out, super_frames, .. } = self;
        let core = &workers[worker].core;
        let mut egress = Egress { number: *number, core, lanes, ledger, super_frames, delay, effects };
        if let Some((port, wire)) = ingress {
            for &copy in out.copies() {
                egress.check_copy(port, copy);
                egress.send(copy, wire.clone());
            }
            if let Some(rewritten) = out.rewritten() {
                let bytes: Rc<[u8]> = rewritten.assemble(&wire.frame()).into();
                let offload = rewritten.offload;
                if wire.offload == Offload::NONE && offload != Offload::NONE {
                    egress.find("leaves a plain frame unfinished");
                }
                egress.send(rewritten.egress, Wire { bytes, offload, origin: wire.origin, routed: true });
            }
        }
        for (port, frame) in out.made() {
            if !(self.loses_answers && frame.bytes.get(12..14) == Some(&[8, 6])) {
                let (bytes, origin) = (frame.bytes.into(), Origin::Switch(*number));
                egress.send(port, Wire { bytes, offload: frame.offload, origin, routed: true });
            }
        }
        effects.requests.extend_from_slice(out.requests());
    }

    /// Does what time alone causes.
    pub(super) fn tick(&mut self, now: Micros, effects: &mut Effects) {
        let clock = self.clock(now);
        for worker in 0..self.workers.len() {
            let again = self.workers[worker].core.tick(clock, &mut self.out);
            self.workers[worker].next_tick = again.map(|next| next.max(clock + Duration::from_millis(1)));
            self.send(worker, 0, None, effects);
        }
        self.let_waiting_go_on(now, effects);
    }

    /// Control tells something.
    pub(super) fn answer(&mut self, now: Micros, answer: &Answer, effects: &mut Effects) {
        let clock = self.clock(now);
        self.workers[0].core.answer(clock, answer);
        self.let_waiting_go_on(now, effects);
    }

    /// Nothing comes any more, and all its timers run out within `silence`. `control` answers what is asked.
    pub(super) fn run_out(
        &mut self,
        now: Micros,
        silence: Duration,
        effects: &mut Effects,
        mut control: impl FnMut(&Request) -> Option<Answer>,
    ) {
        self.lanes.iter_mut().flatten().for_each(Lane::clear);
        while self.take_handed(now, effects) > 0 {}
        let end = self.clock(now) + silence;
        while self.clock(now) < end {
            self.tick(now, effects);
            while let Some(request) = effects.requests.pop() {
                if let Some(answer) = control(&request) {
                    self.answer(now, &answer, effects);
                }
            }
            let next =
                self.due_by_clock().map_or(end, |due| due.max(self.clock(now) + Duration::from_millis(1)));
            self.jumped += next.since(self.clock(now));
        }
    }

    fn tell(&self, now: Micros, port: PortId, bytes: &[u8], decided: (&str, Verdict), effects: &mut Effects) {
        if let Some(told) = &mut effects.told {
            let (at, (verb, verdict)) = (now as f64 / SECOND as f64, decided);
            told.push(format!("{at:13.6} {port} {verb} {}: {verdict}", describe(&Frame::plain(bytes))));
        }
    }
}

/// Where frames leave.
struct Egress<'a> {
    number: usize,
    core: &'a Core,
    lanes: &'a [Option<Lane>],
    ledger: &'a mut Ledger,
    super_frames: &'a mut (u64, u64),
    delay: Micros,
    effects: &'a mut Effects,
}

impl Egress<'_> {
    fn find(&mut self, what: &str) {
        self.effects.findings.push(format!("switch {} {what}", self.number));
    }

    /// A frame that is bridged stays on its network and never goes back.
    fn check_copy(&mut self, ingress: PortId, egress: PortId) {
        let snapshot = self.core.snapshot();
        let network = |port| snapshot.port(port).and_then(|port| port.place.network());
        let (from, to) = (network(ingress), network(egress));
        if ingress == egress && !snapshot.port(ingress).is_some_and(|port| port.settings.hairpin) {
            self.find(&format!("sends a frame back by {ingress}"));
        }
        if from.is_none() || from != to {
            self.find(&format!("bridges from {ingress} to {egress}, which is of another network"));
        }
    }

    /// As its device takes it.
    fn send(&mut self, egress: PortId, wire: Wire) {
        let offloads = self.lanes.get(egress.index()).and_then(Option::as_ref).map(|lane| lane.offloads);
        let offloads = offloads.unwrap_or(Offloads::NONE);
        if needs_work(&wire.offload, offloads) == Work::Nothing {
            self.super_frames.0 += u64::from(wire.offload.is_super_frame());
            return self.send_one(egress, wire);
        }
        self.super_frames.1 += u64::from(wire.offload.is_super_frame());
        let (mut frames, mut left) = (Vec::new(), Offload::NONE);
        let cut = segment(&wire.frame(), offloads, &mut Vec::new(), &mut |frame| {
            frames.push(frame.bytes.to_vec());
            left = frame.offload;
        });
        if cut != Ok(frames.len()) || !is_cut_right(&wire.frame(), &frames) {
            self.find(&format!("cuts a frame by {egress} otherwise than it must be: {cut:?}"));
        }
        for bytes in frames {
            self.send_one(egress, Wire { bytes: bytes.into(), offload: left, ..wire });
        }
    }

    fn send_one(&mut self, egress: PortId, wire: Wire) {
        let Some(port) = self.core.snapshot().port(egress) else {
            return self.find(&format!("sends by {egress}, which is gone"));
        };
        if self.lanes.get(egress.index()).and_then(Option::as_ref).is_some_and(|lane| lane.up) {
            self.core.count_sent(port, wire.bytes.len());
            self.effects.sent.push((self.delay, egress, wire));
        } else {
            self.core.count_drop(port, DropReason::PortDown, wire.bytes.len());
            self.ledger.down += 1;
        }
    }
}
