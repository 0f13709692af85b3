//! The world: switches, hosts and links, and the one loop in which everything happens.

use std::collections::BTreeMap;
use std::rc::Rc;

use pontoon_dataplane::edge::punt::Answer;
use pontoon_dataplane::fdb::FdbConfig;
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::{NetworkId, PortId};

use super::agenda::{Agenda, MILLI, Micros, SECOND};
use super::control::Control;
use super::faults::Fault;
use super::frames;
use super::hostile::Hostile;
use super::link::{End, Link, Origin, Wire};
use super::station::Station;
use super::superframe;
use super::switch::{Effects, Switch};
use super::trace::Trace;
use crate::random::Random;

/// How long honest hosts may take once all is quiet.
const PATIENCE: Micros = 600 * SECOND;
/// How long a host that leaves work to its device waits for more to come: then it has more to send in one go.
const MODERATION: Micros = 2 * MILLI;
/// How often tables and counters are looked at.
const INSPECTION: Micros = SECOND / 4;

/// One broadcast domain, of which every switch of a site has a part. Number 0 is the outside.
#[derive(Debug)]
pub(super) struct Lan {
    /// The first three bytes of its addresses.
    pub(super) prefix: [u8; 3],
    pub(super) gateway: Option<frames::Station>,
    /// The switch whose edge routes for it.
    pub(super) edge: Option<usize>,
    /// The switches that have a part of it.
    pub(super) switches: Vec<usize>,
}

/// A host, honest or not.
pub(super) struct Host {
    pub(super) lan: usize,
    pub(super) own: frames::Station,
    pub(super) guarded: bool,
    /// The link that it is at; it is end number 0.
    pub(super) link: usize,
    pub(super) place: (usize, PortId),
    /// What it leaves to its device.
    pub(super) offloads: Offloads,
    /// Its stack; a hostile host has none, nor one that is deaf.
    pub(super) station: Option<Station>,
    /// It answers ARP for its address and nothing else.
    pub(super) is_deaf: bool,
    wakes: Option<Micros>,
    is_done: bool,
}

/// What happens.
pub(super) enum Event {
    /// A frame arrives at that end of the link.
    Arrive(usize, usize, Wire),
    /// A worker of a switch has its turn.
    Serve(usize, usize),
    Tick(usize),
    Wake(usize),
    /// For a switch that was started that often.
    Answer(usize, u64, Answer),
    Attack(usize),
    /// A fault begins, or ends.
    Fault(usize, bool),
    Inspect,
}

/// Everything.
pub(super) struct World {
    pub(super) now: Micros,
    pub(super) agenda: Agenda<Event>,
    pub(super) random: Random,
    pub(super) switches: Vec<Switch>,
    /// By switch.
    pub(super) controls: Vec<Option<Control>>,
    pub(super) hosts: Vec<Host>,
    pub(super) links: Vec<Link>,
    pub(super) lans: Vec<Lan>,
    /// By switch and LAN: the part of it, and how large its FDB may be.
    pub(super) networks: BTreeMap<(usize, usize), (NetworkId, FdbConfig)>,
    pub(super) hostiles: Vec<Hostile>,
    pub(super) faults: Vec<Fault>,
    /// From then on nobody disturbs.
    pub(super) quiet_from: Micros,
    pub(super) trace: Trace,
    pub(super) events: u64,
    /// Tables are so small that honest hosts alone nearly fill them.
    pub(super) tiny: bool,
}

impl Host {
    pub(super) fn new(
        lan: usize,
        own: frames::Station,
        guarded: bool,
        link: usize,
        place: (usize, PortId),
    ) -> Host {
        Host {
            lan,
            own,
            guarded,
            link,
            place,
            offloads: Offloads::NONE,
            station: None,
            is_deaf: false,
            wakes: None,
            is_done: false,
        }
    }
}

impl World {
    /// Runs until all is done, or the deadline has come.
    pub(super) fn run(&mut self) {
        for host in 0..self.hosts.len() {
            self.wake(host);
        }
        for switch in 0..self.switches.len() {
            self.note_tick(switch);
        }
        self.agenda.note(INSPECTION, Event::Inspect);
        let deadline = self.quiet_from + PATIENCE;
        while let Some((at, event)) = self.agenda.next() {
            if at > deadline || self.trace.has_failed() {
                break;
            }
            self.now = at;
            self.events += 1;
            self.happen(event);
            if self.now >= self.quiet_from && self.hosts.iter().all(|host| host.is_done) {
                break;
            }
        }
        self.check_end();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(link, end, wire) => self.arrive(link, end, wire),
            Event::Serve(switch, worker) => self.serve(switch, worker),
            Event::Tick(switch) => self.tick(switch),
            Event::Wake(host) => {
                if self.hosts[host].wakes == Some(self.now) {
                    self.wake(host);
                }
            }
            Event::Answer(switch, started, answer) => {
                if started == self.switches[switch].started {
                    self.tell_edge(switch, &answer);
                }
            }
            Event::Attack(hostile) => self.attack(hostile),
            Event::Fault(fault, begins) => self.fault(fault, begins),
            Event::Inspect => {
                self.inspect();
                self.agenda.note(self.now + INSPECTION, Event::Inspect);
            }
        }
    }

    /// A frame leaves end number `from` of a link.
    pub(super) fn transmit(&mut self, link: usize, from: usize, delay: Micros, wire: &Wire) {
        let arrivals = self.links[link].carry(self.now + delay, from, &mut self.random);
        for at in arrivals.into_iter().flatten() {
            self.agenda.note(at, Event::Arrive(link, 1 - from, wire.clone()));
        }
    }

    fn arrive(&mut self, link: usize, end: usize, wire: Wire) {
        self.trace.note(self.now, (link * 2 + end) as u64, &wire.bytes);
        match self.links[link].ends[end] {
            End::Host(host) => {
                self.check_delivery(host, &wire);
                self.deliver(host, wire);
            }
            End::Port(switch, port) => {
                let kernel = self.controls[switch].as_ref().filter(|control| control.uplink == port);
                if let Some(answer) = kernel.and_then(|control| control.kernel(&wire.bytes)) {
                    let (bytes, origin) = (answer.into(), Origin::Switch(switch));
                    let answer = Wire { bytes, offload: Offload::NONE, origin, routed: true };
                    self.transmit(link, end, 0, &answer);
                }
                let mut effects = self.effects();
                if let Some(worker) = self.switches[switch].arrive(self.now, port, wire, &mut effects) {
                    self.agenda.note(self.now, Event::Serve(switch, worker));
                }
                self.carry_out(switch, effects);
            }
        }
    }

    fn deliver(&mut self, host: usize, wire: Wire) {
        let bytes = match superframe::receive(&wire.bytes, wire.offload) {
            Ok(bytes) => Rc::from(bytes),
            Err(what) => return self.find(&format!("host {host} gets {what}")),
        };
        let it = &mut self.hosts[host];
        let hears = !it.is_deaf || frames::is_arp_request_for(&wire.bytes, it.own.1);
        if let Some(station) = it.station.as_mut().filter(|_| hears) {
            station.receive(self.now, bytes);
            if !it.offloads.tso {
                return self.wake(host);
            }
            let at = self.now + MODERATION;
            if it.wakes.is_none_or(|wakes| at < wakes) {
                it.wakes = Some(at);
                self.agenda.note(at, Event::Wake(host));
            }
        }
    }

    /// The host's stack does what there is to do.
    pub(super) fn wake(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(station) = &mut host.station else {
            host.is_done = true;
            return;
        };
        let (sent, wakes) = station.poll(self.now);
        host.is_done = station.errands.iter().all(super::errand::Errand::is_done);
        let failures: Vec<String> =
            station.errands.iter_mut().filter_map(|errand| errand.failure.take()).collect();
        let wakes = wakes.map(|at| at.max(self.now + 1));
        let again = wakes.filter(|_| host.wakes != wakes);
        host.wakes = wakes;
        if let Some(at) = again {
            self.agenda.note(at, Event::Wake(number));
        }
        for failure in failures {
            self.find(&format!("host {number}: {failure}"));
        }
        for (bytes, offload) in superframe::hand_over(sent, self.hosts[number].offloads) {
            self.send_from(number, bytes, offload);
        }
    }

    /// A host sends a frame.
    pub(super) fn send_from(&mut self, host: usize, bytes: Vec<u8>, offload: Offload) {
        self.overhear(host, &bytes);
        let wire = Wire { bytes: Rc::from(bytes), offload, origin: Origin::Host(host), routed: false };
        self.transmit(self.hosts[host].link, 0, 0, &wire);
    }

    fn serve(&mut self, switch: usize, worker: usize) {
        let mut effects = self.effects();
        if let Some(took) = self.switches[switch].serve(self.now, worker, &mut effects) {
            self.agenda.note(self.now + took, Event::Serve(switch, worker));
        }
        self.carry_out(switch, effects);
    }

    fn tick(&mut self, switch: usize) {
        if self.switches[switch].tick_at != Some(self.now) {
            return;
        }
        self.switches[switch].tick_at = None;
        let mut effects = self.effects();
        self.switches[switch].tick(self.now, &mut effects);
        self.carry_out(switch, effects);
    }

    pub(super) fn tell_edge(&mut self, switch: usize, answer: &Answer) {
        let mut effects = self.effects();
        self.switches[switch].answer(self.now, answer, &mut effects);
        self.carry_out(switch, effects);
    }

    pub(super) fn effects(&self) -> Effects {
        Effects { told: self.trace.is_read().then(Vec::new), ..Effects::default() }
    }

    /// Sends what a switch sends, asks what it asks, and calls it again when it wants.
    pub(super) fn carry_out(&mut self, switch: usize, effects: Effects) {
        for line in effects.told.iter().flatten() {
            self.trace.say(&format!("switch {switch} {line}"));
        }
        for (delay, port, wire) in &effects.sent {
            if let Some((link, end)) = self.switches[switch].lane(*port).map(|lane| lane.link) {
                self.transmit(link, end, *delay, wire);
            }
        }
        if effects.wakes_edge {
            self.agenda.note(self.now, Event::Serve(switch, 0));
        }
        for request in &effects.requests {
            let Some(control) = &mut self.controls[switch] else { continue };
            if let Some(answer) = control.answer(request) {
                let started = self.switches[switch].started;
                self.agenda.note(self.now + control.patience(), Event::Answer(switch, started, answer));
            }
        }
        for finding in &effects.findings {
            self.find(finding);
        }
        self.note_tick(switch);
    }

    /// Calls the switch when it wants its tick.
    pub(super) fn note_tick(&mut self, number: usize) {
        let switch = &mut self.switches[number];
        let Some(due) = switch.due().map(|due| due.max(self.now)) else { return };
        if switch.tick_at.is_none_or(|at| due < at) {
            switch.tick_at = Some(due);
            self.agenda.note(due, Event::Tick(number));
        }
    }

    /// Something is not as it must be.
    pub(super) fn find(&mut self, what: &str) {
        self.trace.find(self.now, what);
    }

    /// The stations of a LAN other than `host`.
    pub(super) fn neighbours(&self, host: usize) -> Vec<frames::Station> {
        let lan = self.hosts[host].lan;
        let others = self.hosts.iter().enumerate().filter(|(number, it)| it.lan == lan && *number != host);
        others.map(|(_, it)| it.own).collect()
    }
}
