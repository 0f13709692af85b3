//! A switch: the production core, served as a worker serves its ports, with finite time for each frame.

use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pontoon_dataplane::edge::Edge;
use pontoon_dataplane::edge::punt::{Answer, Request};
use pontoon_dataplane::network::Snapshot;
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::segment::{Work, needs_work, segment};
use pontoon_dataplane::step::Core;
use pontoon_dataplane::trace::describe::describe;
use pontoon_dataplane::{DropReason, Frame, PortId, Timestamp, Verdict};

use super::agenda::{MILLI, Micros, SECOND};
use super::lane::{BATCH, Lane};
use super::ledger::Ledger;
use super::link::{Origin, Wire};
use super::superframe::is_cut_right;

/// The switch.
pub(super) struct Switch {
    pub(super) number: usize,
    pub(super) core: Core,
    /// How often it was started.
    pub(super) started: u64,
    /// What is published next.
    pub(super) snapshot: Snapshot,
    /// By port number.
    pub(super) lanes: Vec<Option<Lane>>,
    busy: VecDeque<PortId>,
    /// It is at work: a visit to the next lane is on the agenda.
    pub(super) is_serving: bool,
    /// How long one frame takes.
    pub(super) cost: Micros,
    /// How far its clock is ahead.
    pub(super) jumped: Duration,
    /// When a tick is on the agenda.
    pub(super) tick_at: Option<Micros>,
    next_tick: Option<Timestamp>,
    out: Out,
    /// Who made the frames that wait in the edge.
    held: Vec<(PortId, Vec<u8>, Wire)>,
    pub(super) ledger: Ledger,
    /// Super-frames that left whole, and that were cut.
    pub(super) super_frames: (u64, u64),
    /// Answers to ARP are lost: a switch that is broken on purpose.
    pub(super) loses_answers: bool,
}

/// What a switch did.
#[derive(Default)]
pub(super) struct Effects {
    /// Frames that leave, and how long after now.
    pub(super) sent: Vec<(Micros, PortId, Wire)>,
    pub(super) requests: Vec<Request>,
    /// What must not happen.
    pub(super) findings: Vec<String>,
    /// What happened, for people; only if wanted.
    pub(super) told: Option<Vec<String>>,
}

impl Switch {
    pub(super) fn new(number: usize, seed: u64, cost: Micros) -> Switch {
        Switch {
            number,
            core: Core::with_seed(0, seed),
            started: 1,
            snapshot: Snapshot::default(),
            lanes: Vec::new(),
            busy: VecDeque::new(),
            is_serving: false,
            cost,
            jumped: Duration::ZERO,
            tick_at: None,
            next_tick: Some(Timestamp::ZERO),
            out: Out::new(),
            held: Vec::new(),
            ledger: Ledger::default(),
            super_frames: (0, 0),
            loses_answers: false,
        }
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
        let since = self.core.edge().and_then(Edge::due);
        [self.next_tick, since].into_iter().flatten().min()
    }

    /// Its core decides by the changed snapshot from now on.
    pub(super) fn publish(&mut self, now: Micros) {
        self.snapshot.generation += 1;
        self.ledger.know_ports(&self.snapshot);
        let before = self.waiting();
        self.core.adopt(self.clock(now), Arc::new(self.snapshot.clone()));
        let there = |port: PortId| self.core.snapshot().port(port).is_some();
        self.held.retain(|(port, ..)| there(*port));
        self.ledger.forgotten += before - self.waiting();
    }

    /// It starts anew, with nothing but its snapshot.
    pub(super) fn restart(&mut self, now: Micros, seed: u64) {
        self.core = Core::with_seed(0, seed);
        self.started += 1;
        self.next_tick = Some(Timestamp::ZERO);
        self.ledger = Ledger::default();
        self.held.clear();
        self.busy.clear();
        self.lanes.iter_mut().flatten().for_each(Lane::clear);
        self.publish(now);
    }

    fn waiting(&self) -> u64 {
        self.core.edge().map_or(0, |edge| edge.stats().waiting.into())
    }

    /// The lane of a port.
    pub(super) fn lane(&mut self, port: PortId) -> Option<&mut Lane> {
        self.lanes.get_mut(port.index())?.as_mut()
    }

    /// A frame has come to the port's queue. Returns whether the worker has to be woken.
    pub(super) fn arrive(&mut self, now: Micros, port: PortId, wire: Wire, effects: &mut Effects) -> bool {
        let share = self.share();
        let number = self.number;
        let Some(lane) = self.lane(port).filter(|lane| lane.up) else { return false };
        if let Err(finding) = lane.take_in(now, share, wire) {
            effects.findings.extend(finding.map(|what| format!("switch {number}, {port}: {what}")));
            return false;
        }
        if !lane.busy {
            lane.busy = true;
            self.busy.push_back(port);
        }
        !std::mem::replace(&mut self.is_serving, true)
    }

    /// How long a frame takes at the least rate that a port can count on: when all others are busy as well.
    fn share(&self) -> Micros {
        self.cost * self.lanes.iter().flatten().count() as u64
    }

    /// Visits the next lane, as the worker does. Returns how long that took; none: there is nothing more to do.
    pub(super) fn serve(&mut self, now: Micros, effects: &mut Effects) -> Option<Micros> {
        let Some(port) = self.busy.pop_front() else {
            self.is_serving = false;
            return None;
        };
        let mut served = 0;
        while served < BATCH {
            let Some(wire) = self.lane(port).and_then(Lane::take_out) else { break };
            self.decide(now, served as u64 * self.cost, port, &wire, effects);
            served += 1;
        }
        if served > 0 {
            self.busy.push_back(port);
        } else if let Some(lane) = self.lane(port) {
            lane.busy = false;
        }
        Some(served as u64 * self.cost)
    }

    fn decide(&mut self, now: Micros, delay: Micros, port: PortId, wire: &Wire, effects: &mut Effects) {
        let verdict = self.core.step(self.clock(now), port, &wire.frame(), &mut self.out);
        self.ledger.decided(verdict);
        self.tell(now, port, &wire.bytes, ("gets", verdict), effects);
        if verdict == Verdict::HandOver {
            effects.findings.push(format!("switch {} hands a frame over, and has one worker", self.number));
        }
        // Switches are joined in a tree.
        if let Some(seen) = self.core.take_loop() {
            effects
                .findings
                .push(format!("switch {} sees a loop where there is none: {seen:?}", self.number));
        }
        if matches!(verdict, Verdict::Wait(_)) {
            self.held.push((port, wire.bytes.to_vec(), wire.clone()));
        }
        self.send(delay, Some((port, wire)), effects);
        self.let_waiting_go_on(now, effects);
    }

    /// What waited goes on with what is known now.
    fn let_waiting_go_on(&mut self, now: Micros, effects: &mut Effects) {
        while let Some(held) = self.core.next_ready() {
            let frame = Frame { bytes: &held.bytes, offload: held.offload };
            let verdict = self.core.resume(self.clock(now), held.ingress, &frame, &mut self.out);
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
            self.send(0, Some((held.ingress, &wire)), effects);
        }
    }

    /// Sends what the core has decided about `ingress`, or made by itself.
    fn send(&mut self, delay: Micros, ingress: Option<(PortId, &Wire)>, effects: &mut Effects) {
        let Switch { number, core, lanes, ledger, out, super_frames, .. } = self;
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
        let again = self.core.tick(clock, &mut self.out);
        self.next_tick = again.map(|next| next.max(clock + Duration::from_millis(1)));
        self.send(0, None, effects);
        self.let_waiting_go_on(now, effects);
    }

    /// Control tells something.
    pub(super) fn answer(&mut self, now: Micros, answer: &Answer, effects: &mut Effects) {
        self.core.answer(self.clock(now), answer);
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
