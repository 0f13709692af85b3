//! Replay: frames with times go through the production `step`, and everything that happens is told.
//!
//! No thread, no device, no clock: what happens depends on the input alone. Golden captures, the fuzzer's finds and
//! `pontoon-replay` run on this.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::edge::punt::{Answer, Request, Route};
use crate::edge::tuple::Protocol;
use crate::frame::{EthernetView, Frame};
use crate::network::{PortId, Snapshot};
use crate::out::Out;
use crate::port::Offloads;
use crate::port::memory::OwnedFrame;
use crate::segment::segment;
use crate::step::Core;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};

pub mod case;

/// A frame that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When, since the start of the replay.
    pub at: Duration,
    /// By which port.
    pub ingress: PortId,
    /// The frame.
    pub frame: OwnedFrame,
}

/// Something that happened. [`fmt::Display`] says it in a line.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// When, since the start of the replay.
    pub at: Duration,
    /// The port that it happened on.
    pub port: PortId,
    /// What it happened to.
    pub frame: Frame<'a>,
    /// What happened.
    pub what: What,
}

/// What happened to a frame on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It came in, and this was decided.
    Decided(Verdict),
    /// It had to wait, and then this was decided.
    Resumed(Verdict),
    /// It left, as the port's device takes it.
    Sent,
    /// It should have left, but could not be brought into a form that the port's device takes.
    Refused(DropReason),
}

/// What control and the kernel would answer the edge, at once.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Routes, the first that fits: destinations, and their way.
    pub routes: Vec<(Ipv4Net, Route)>,
    /// Ports that are held from the start, both ends included; no other can be had.
    pub ports: Vec<(Protocol, (u16, u16))>,
}

impl Kernel {
    fn answer(&self, request: &Request) -> Option<Answer> {
        match *request {
            Request::Route { network, destination } => {
                let found = self.routes.iter().find(|(net, _)| net.contains(&destination));
                Some(Answer::Route { network, destination, route: found.map(|(_, route)| *route) })
            }
            Request::KeepPort { protocol, port } => Some(Answer::PortRefused { protocol, port }),
            Request::MorePorts { protocol } => Some(Answer::PortsHeld { protocol, ports: Vec::new() }),
            Request::ReleasePort { .. } => None,
        }
    }
}

/// A replay on its way.
#[derive(Debug)]
pub struct Replay {
    core: Core,
    /// By port number.
    egress: Vec<Offloads>,
    out: Out,
    scratch: Vec<u8>,
    next_tick: Option<Timestamp>,
    kernel: Kernel,
}

impl Replay {
    /// Starts with `snapshot`. `offloads` says what each port's device can be left to do.
    pub fn new(snapshot: Arc<Snapshot>, offloads: impl Fn(PortId) -> Offloads) -> Replay {
        let ids = (0..snapshot.ports.len()).map(|index| PortId(index as u16));
        let egress = ids.map(offloads).collect();
        let mut core = Core::with_seed(0, 0);
        core.adopt(Timestamp::ZERO, snapshot);
        Replay {
            core,
            egress,
            out: Out::new(),
            scratch: Vec::new(),
            next_tick: Some(Timestamp::ZERO),
            kernel: Kernel::default(),
        }
    }

    /// With these answers to what the edge asks; without, it has no routes and no ports.
    #[must_use]
    pub fn with_kernel(mut self, kernel: Kernel) -> Replay {
        for &(protocol, ports) in &kernel.ports {
            self.core.answer(Timestamp::ZERO, &Answer::PortsHeld { protocol, ports: vec![ports] });
        }
        self.kernel = kernel;
        self
    }

    /// The core, for its snapshot, tables and counters.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Lets time pass up to what is due before the frame, then decides about the frame. Frames must come in the order
    /// of their times.
    pub fn feed(&mut self, arrival: &Arrival, tell: &mut dyn FnMut(&Event<'_>)) {
        self.advance(arrival.at, tell);
        let frame = arrival.frame.as_frame();
        let verdict = self.core.step(timestamp(arrival.at), arrival.ingress, &frame, &mut self.out);
        let (at, port) = (arrival.at, arrival.ingress);
        tell(&Event { at, port, frame, what: What::Decided(verdict) });
        self.send_all(at, &frame, tell);
        self.let_waiting_go_on(at, tell);
    }

    /// Sends what was decided about `frame`.
    fn send_all(&mut self, at: Duration, frame: &Frame<'_>, tell: &mut dyn FnMut(&Event<'_>)) {
        for &egress in self.out.copies() {
            send(&self.core, &self.egress, &mut self.scratch, at, egress, frame, tell);
        }
        if let Some(rewritten) = self.out.rewritten() {
            let bytes = rewritten.assemble(frame);
            let leaving = Frame { bytes: &bytes, offload: rewritten.offload };
            send(&self.core, &self.egress, &mut self.scratch, at, rewritten.egress, &leaving, tell);
        }
        self.send_made(at, tell);
    }

    /// What waited goes on with what is known now.
    fn let_waiting_go_on(&mut self, at: Duration, tell: &mut dyn FnMut(&Event<'_>)) {
        while let Some(held) = self.core.next_ready() {
            let (port, frame) = (held.ingress, Frame { bytes: &held.bytes, offload: held.offload });
            let verdict = self.core.resume(timestamp(at), port, &frame, &mut self.out);
            tell(&Event { at, port, frame, what: What::Resumed(verdict) });
            self.send_all(at, &frame, tell);
        }
    }

    /// When the core wants its tick next.
    fn due(&self) -> Option<Timestamp> {
        let since = self.core.edge().and_then(crate::edge::Edge::due);
        [self.next_tick, since].into_iter().flatten().min()
    }

    /// Lets time pass: does what the core wants done by `until`.
    pub fn advance(&mut self, until: Duration, tell: &mut dyn FnMut(&Event<'_>)) {
        while let Some(due) = self.due().filter(|due| *due <= timestamp(until)) {
            let again = self.core.tick(due, &mut self.out);
            // Time goes on, whatever the core asks for.
            self.next_tick = again.map(|next| next.max(due + Duration::from_millis(1)));
            let at = Duration::from_millis(due.as_millis());
            self.send_made(at, tell);
            self.let_waiting_go_on(at, tell);
        }
    }

    fn send_made(&mut self, at: Duration, tell: &mut dyn FnMut(&Event<'_>)) {
        for (egress, frame) in self.out.made() {
            send(&self.core, &self.egress, &mut self.scratch, at, egress, &frame, tell);
        }
        for answer in self.out.requests().iter().filter_map(|request| self.kernel.answer(request)) {
            self.core.answer(timestamp(at), &answer);
        }
    }
}

/// What a worker does to send: brings the frame into a form that the device takes, and counts it.
fn send(
    core: &Core,
    offloads: &[Offloads],
    scratch: &mut Vec<u8>,
    at: Duration,
    egress: PortId,
    frame: &Frame<'_>,
    tell: &mut dyn FnMut(&Event<'_>),
) {
    let (Some(port), Some(&takes)) = (core.snapshot().port(egress), offloads.get(egress.index())) else {
        return;
    };
    let sent = segment(frame, takes, scratch, &mut |piece| {
        tell(&Event { at, port: egress, frame: *piece, what: What::Sent });
    });
    match sent {
        Ok(_) => core.count_sent(port, frame.bytes.len()),
        Err(reason) => {
            core.count_drop(port, reason, frame.bytes.len());
            tell(&Event { at, port: egress, frame: *frame, what: What::Refused(reason) });
        }
    }
}

fn timestamp(at: Duration) -> Timestamp {
    Timestamp::ZERO + at
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:13.6} {:<8}", self.at.as_secs_f64(), self.port.to_string())?;
        let frame = Describe(&self.frame);
        match &self.what {
            What::Decided(verdict) => write!(f, " gets  {frame}: {verdict}"),
            What::Resumed(verdict) => write!(f, " keeps {frame} no longer: {verdict}"),
            What::Sent => write!(f, " sends {frame}"),
            What::Refused(reason) => write!(f, " loses {frame}: {reason}: {}", reason.sentence()),
        }
    }
}

/// A frame in a few words.
struct Describe<'a>(&'a Frame<'a>);

impl fmt::Display for Describe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { bytes, offload } = self.0;
        if let Ok(view) = EthernetView::parse(bytes) {
            write!(f, "{} > {} {:04x}", view.src, view.dst, view.ethertype)?;
            if view.in_vlan {
                f.write_str(" in a VLAN")?;
            }
            f.write_str(", ")?;
        }
        write!(f, "{} bytes", bytes.len())?;
        if offload.is_super_frame() {
            write!(f, ", to be cut every {} ({:?})", offload.gso_size, offload.gso)?;
        } else if offload.needs_checksum {
            f.write_str(", checksum partial")?;
        }
        Ok(())
    }
}
