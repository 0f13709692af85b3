//! The whole decision about a frame, without I/O and without a clock.

mod run;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;

use crate::edge::link::{self, Bridged, Passage};
use crate::edge::punt::Answer;
use crate::edge::{Edge, Held, Outside};
use crate::frame::{EthernetView, Frame};
use crate::gateway::{GatewayState, Received};
use crate::guard;
use crate::network::{Gateway, Network, Place, Port, PortId, Snapshot};
use crate::out::Out;
use crate::random;
use crate::storm::{Loop, PortStorm, Storm};
use crate::time::Timestamp;
use crate::trace::decision::Bridging;
use crate::verdict::{DropReason, FloodCause, Reply, Verdict};
use run::{Forwarded, Runs};

/// One worker's decisions: the snapshot that it decides by, and what it must remember of its own.
#[derive(Debug)]
pub struct Core {
    worker: usize,
    snapshot: Arc<Snapshot>,
    gateway: GatewayState,
    storm: Storm,
    /// Owned by worker 0.
    edge: Option<Box<Edge>>,
    runs: Runs,
}

impl Core {
    /// The core of worker number `worker`: that block of each port's counters is its own. Worker 0 has the edge.
    pub fn new(worker: usize) -> Self {
        Self::with_seed(worker, random::seed())
    }

    /// As [`Core::new`], with all that the edge chooses at random following from `seed`, which nobody outside must be able to
    /// foresee: for tests and replay.
    pub fn with_seed(worker: usize, seed: u64) -> Self {
        Self {
            worker,
            snapshot: Arc::new(Snapshot::default()),
            gateway: GatewayState::new(worker),
            storm: Storm::default(),
            edge: (worker == 0).then(|| Box::new(Edge::with_seed(worker, seed))),
            runs: Runs::new(),
        }
    }

    /// Decides by `snapshot` from `now` on.
    pub fn adopt(&mut self, now: Timestamp, snapshot: Arc<Snapshot>) {
        self.gateway.forget_missing_ports(&snapshot);
        self.storm.adopt(&snapshot);
        if let Some(edge) = &mut self.edge {
            edge.adopt(now, &self.snapshot, &snapshot);
        }
        self.snapshot = snapshot;
        self.runs.clear();
    }

    /// What the core decides by.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Decides about one frame that came in by `ingress`; `out` is cleared and then says where it leaves.
    ///
    /// Counts the frame on its ingress port, and the drop if it is one. Sending, and counting what was sent,
    /// is the caller's.
    #[inline]
    pub fn step(&mut self, now: Timestamp, ingress: PortId, frame: &Frame<'_>, out: &mut Out) -> Verdict {
        out.clear();
        let Some(port) = self.snapshot.port(ingress) else { return Verdict::Drop(DropReason::UnknownPort) };
        let counters = &port.counters[self.worker];
        counters.rx.add(frame.bytes.len());
        // Most frames go on with a run; who is no member has none.
        if port.is_member()
            && let Some(run) = self.runs.of(ingress, frame)
            && let Some(egress) = run.egress(now, &self.snapshot, frame)
        {
            out.forward(egress);
            return Verdict::Forward { egress };
        }
        let edge = self.edge.as_deref_mut();
        let (snapshot, gateway, storm) = (&self.snapshot, &mut self.gateway, &mut self.storm);
        let worker = self.worker;
        let runs = &mut self.runs;
        let mut turn = Turn::<false> { worker, snapshot, gateway, storm, edge, runs, now, frame, out };
        match turn.decide(port) {
            Ok(verdict) => verdict,
            Err(reason) => {
                counters.drop(reason, frame.bytes.len());
                Verdict::Drop(reason)
            }
        }
    }

    /// Goes on with a frame that `step` did not finish: one that waited ([`Core::next_ready`]), or that another worker handed
    /// over ([`Verdict::HandOver`]). It was counted and guarded when it came.
    pub fn resume(&mut self, now: Timestamp, ingress: PortId, frame: &Frame<'_>, out: &mut Out) -> Verdict {
        out.clear();
        let Some(port) = self.snapshot.port(ingress) else { return Verdict::Drop(DropReason::UnknownPort) };
        let edge = self.edge.as_deref_mut();
        let (snapshot, gateway, storm) = (&self.snapshot, &mut self.gateway, &mut self.storm);
        let worker = self.worker;
        let runs = &mut self.runs;
        let mut turn = Turn::<false> { worker, snapshot, gateway, storm, edge, runs, now, frame, out };
        match turn.resume(port) {
            Ok(verdict) => verdict,
            Err(reason) => {
                port.counters[self.worker].drop(reason, frame.bytes.len());
                Verdict::Drop(reason)
            }
        }
    }

    /// What `port` has flooded lately, on the worker that reads it.
    pub(crate) fn floods(&self, port: PortId) -> PortStorm {
        self.storm.of(port)
    }

    /// This worker reads `port` from now on, which has flooded so much on another.
    pub(crate) fn take_over(&mut self, port: PortId, floods: PortStorm) {
        self.storm.go_on(port, floods);
    }

    /// A loop that was noticed. To be asked after a frame was dropped as [`DropReason::Loop`]; each is told once.
    pub fn take_loop(&mut self) -> Option<Loop> {
        self.storm.take_seen()
    }

    /// A frame that waited and may go on now: give it to [`Core::resume`]. To be asked after each [`Core::step`],
    /// [`Core::tick`] and [`Core::answer`] until there is none.
    #[inline]
    pub fn next_ready(&mut self) -> Option<Held> {
        self.edge.as_mut()?.next_ready()
    }

    /// Control tells the edge something.
    pub fn answer(&mut self, now: Timestamp, answer: &Answer) {
        if let Some(edge) = &mut self.edge {
            edge.answer(now, &self.snapshot, answer);
        }
    }

    /// The edge, on the worker that owns it.
    pub fn edge(&self) -> Option<&Edge> {
        self.edge.as_deref()
    }

    /// The edge, to change its sessions.
    pub fn edge_mut(&mut self) -> Option<&mut Edge> {
        self.edge.as_deref_mut()
    }

    /// A frame that never reached a decision, or that its egress refused: counts it on `port` by reason.
    pub fn count_drop(&self, port: &Port, reason: DropReason, bytes: usize) {
        port.counters[self.worker].drop(reason, bytes);
    }

    /// A frame that `port`'s device took.
    #[inline]
    pub fn count_sent(&self, port: &Port, bytes: usize) {
        port.counters[self.worker].tx.add(bytes);
    }

    /// Does what time alone causes: announcements of gateways, fragments that waited too long, ageing of the FDB
    /// (worker 0 only). `out` is cleared first. Returns when it wants to be called again, if ever.
    pub fn tick(&mut self, now: Timestamp, out: &mut Out) -> Option<Timestamp> {
        out.clear();
        let gateway = self.gateway.tick(now, &self.snapshot, out);
        let edge = self.edge.as_mut().and_then(|edge| edge.tick(now, &self.snapshot, out));
        [gateway, edge].into_iter().flatten().min()
    }

    /// The gateway of `network` will announce itself on every port with the next ticks (RFC 5227, section 3).
    pub fn announce(&mut self, network: crate::NetworkId, now: Timestamp) {
        self.gateway.announce(network, now);
    }
}

/// One decision: the core's parts, borrowed singly, and the frame that it is about. `DRY`: nothing must change, and all is told.
struct Turn<'a, const DRY: bool> {
    worker: usize,
    snapshot: &'a Snapshot,
    gateway: &'a mut GatewayState,
    storm: &'a mut Storm,
    edge: Option<&'a mut Edge>,
    runs: &'a mut Runs,
    now: Timestamp,
    frame: &'a Frame<'a>,
    out: &'a mut Out,
}

impl<const DRY: bool> Turn<'_, DRY> {
    #[inline]
    fn decide(&mut self, port: &Port) -> Result<Verdict, DropReason> {
        let view = &EthernetView::parse(self.frame.bytes)?;
        refuse_impossible(view, self.frame)?;
        let Some(network) = port.place.network() else { return self.decide_elsewhere(port, view) };
        let network = self.snapshot.network(network).ok_or(DropReason::UnknownPort)?;
        guard::check(network.gateway.as_ref(), port, view, self.frame)?;
        if port.has_gateway_address() {
            let hosts = port.is_host().then_some(&*self.snapshot.edge);
            guard::check_host(network.gateway.as_ref(), hosts, view, self.frame)?;
        }
        self.tell(|| told::guard(port));
        if port.settings.learning && !port.has_gateway_address() && !DRY {
            network.fdb.learn_near(
                view.src,
                port.id,
                guard::stickiness(port),
                self.now,
                &mut self.runs.hints[0],
            );
        }
        refuse_reserved(view)?;
        let decided = self.decide_network(network, port, view);
        if !DRY && let Ok(Verdict::Forward { egress }) = decided {
            let forwarded =
                Forwarded { snapshot: self.snapshot, network, port, egress, view, frame: self.frame };
            self.runs.note(self.now, &forwarded);
        }
        decided
    }

    /// A frame that was counted, guarded and learned from when it came.
    fn resume(&mut self, port: &Port) -> Result<Verdict, DropReason> {
        let view = &EthernetView::parse(self.frame.bytes)?;
        let Some(network) = port.place.network() else { return self.decide_elsewhere(port, view) };
        let network = self.snapshot.network(network).ok_or(DropReason::UnknownPort)?;
        self.decide_network(network, port, view)
    }

    /// The port is no member of a network.
    fn decide_elsewhere(&mut self, port: &Port, view: &EthernetView) -> Result<Verdict, DropReason> {
        if let Place::Blocked(_) = port.place {
            return Err(DropReason::Loop);
        }
        refuse_reserved(view)?;
        self.decide_uplink(port, view)
    }

    #[inline]
    fn decide_uplink(&mut self, port: &Port, view: &EthernetView) -> Result<Verdict, DropReason> {
        let outside = Outside { snapshot: self.snapshot, port, view, frame: self.frame };
        match &mut self.edge {
            Some(edge) => edge.receive_outside(self.now, self.gateway, &outside, self.out),
            None => Ok(Verdict::HandOver),
        }
    }

    #[inline(always)]
    fn decide_network(
        &mut self,
        network: &Network,
        port: &Port,
        view: &EthernetView,
    ) -> Result<Verdict, DropReason> {
        if let Some(gateway) = &network.gateway
            && view.dst == gateway.mac
        {
            return self.decide_gateway(network, gateway, port, view);
        }
        if view.dst.is_group() {
            return self.decide_group(network, port, view);
        }
        let found = if DRY {
            self.rehearse_lookup(network, port, view)
        } else {
            network.fdb.lookup_near(view.dst, self.now, &mut self.runs.hints[1])
        };
        match found.and_then(|egress| self.snapshot.port(egress)) {
            Some(egress) => self.forward(network, port, egress, view),
            None if port.own_mac == Some(view.dst) => Err(DropReason::InterfaceMac),
            None => {
                self.admit_flood(network, port, view, FloodCause::UnknownUnicast)?;
                self.flood(network, port, view, FloodCause::UnknownUnicast, false)
            }
        }
    }

    /// A frame to all, or to a group.
    #[inline(never)]
    fn decide_group(
        &mut self,
        network: &Network,
        port: &Port,
        view: &EthernetView,
    ) -> Result<Verdict, DropReason> {
        let cause = if view.dst.is_broadcast() { FloodCause::Broadcast } else { FloodCause::Multicast };
        self.admit_flood(network, port, view, cause)?;
        let asks_gateway = |gateway| self.gateway.answer_group(gateway, port, view, self.frame, self.out);
        let answered = network.gateway.as_ref().is_some_and(asks_gateway);
        let flooded = self.flood(network, port, view, cause, answered);
        if answered { Ok(flooded.unwrap_or(Verdict::Reply(Reply::Arp))) } else { flooded }
    }

    /// Whether the port may send one more frame to everybody, and none that goes in a circle.
    #[inline(never)]
    fn admit_flood(
        &mut self,
        network: &Network,
        port: &Port,
        view: &EthernetView,
        cause: FloodCause,
    ) -> Result<(), DropReason> {
        // A trace has a copy of the buckets, and the network does not remember its frame.
        self.storm.take(self.now, port.id, cause, &port.settings.storm)?;
        if !port.settings.loop_guard || !port.is_member() {
            return Ok(());
        }
        let came_back = match DRY {
            true => network.flooded.rehearse(self.now, port.id, self.frame.bytes),
            false => network.flooded.note(self.now, port.id, self.frame.bytes),
        };
        if let Some(other) = came_back {
            self.storm.came_back(self.now, Loop { port: port.id, other, station: view.src });
        }
        if self.storm.is_looping(self.now, port.id) { Err(DropReason::Loop) } else { Ok(()) }
    }

    /// A frame to the gateway's MAC.
    #[inline(never)]
    fn decide_gateway(
        &mut self,
        network: &Network,
        gateway: &Gateway,
        port: &Port,
        view: &EthernetView,
    ) -> Result<Verdict, DropReason> {
        // It has that MAC itself.
        if port.has_gateway_address() {
            return Err(DropReason::SamePort);
        }
        self.tell(|| Bridging::ToGateway);
        let received = Received { snapshot: self.snapshot, network, gateway, port, view, frame: self.frame };
        if GatewayState::is_meant(&received) {
            return self.gateway.receive(self.now, &received, self.out);
        }
        match &mut self.edge {
            Some(edge) => edge.receive_inside(self.now, self.gateway, &received, self.out),
            None => Ok(Verdict::HandOver),
        }
    }

    /// The destination is known to be behind `egress`.
    #[inline(always)]
    fn forward(
        &mut self,
        network: &Network,
        ingress: &Port,
        egress: &Port,
        view: &EthernetView,
    ) -> Result<Verdict, DropReason> {
        may_leave(ingress, egress)?;
        if !is_within(egress.mtu, view, self.frame) {
            return Err(DropReason::TooBig);
        }
        match link::passage(network, ingress, egress, view, self.frame) {
            Passage::Open => {}
            passage => {
                if let Some(verdict) = self.ask_passage(passage, network, [ingress, egress], view)? {
                    return Ok(verdict);
                }
            }
        }
        self.out.forward(egress.id);
        Ok(Verdict::Forward { egress: egress.id })
    }

    /// Whether the frame gets through what stands between two ports; if that cannot be said here and now, the verdict.
    #[inline(never)]
    fn ask_passage(
        &mut self,
        passage: Passage<'_>,
        network: &Network,
        [ingress, egress]: [&Port; 2],
        view: &EthernetView,
    ) -> Result<Option<Verdict>, DropReason> {
        match passage {
            Passage::Open => Ok(None),
            Passage::Ruled(rule) if link::passes(self.edge.as_deref_mut(), network, rule) => Ok(None),
            Passage::Ruled(_) => Err(DropReason::RuleDenied),
            Passage::Closed => {
                self.tell(|| Bridging::NotLinked { from: ingress.id, to: egress.id });
                Err(DropReason::LinkDenied)
            }
            Passage::Tracked => {
                let bridged =
                    Bridged { snapshot: self.snapshot, network, ingress, egress, view, frame: self.frame };
                let Some(edge) = &mut self.edge else { return Ok(Some(Verdict::HandOver)) };
                Ok(edge.admit(self.now, &bridged)?.map(Verdict::Wait))
            }
        }
    }

    /// The frame leaves by every other port of the network that wants it; the host's own wants no question that was `answered`, nor what the
    /// resolver asks in the gateway's name, and the resolver's nothing that is for all.
    #[inline(never)]
    fn flood(
        &mut self,
        network: &Network,
        ingress: &Port,
        view: &EthernetView,
        cause: FloodCause,
        answered: bool,
    ) -> Result<Verdict, DropReason> {
        let (mut too_big, mut denied) = (false, false);
        for egress in network.members.iter().filter_map(|&id| self.snapshot.port(id)) {
            let wanted = (egress.settings.flood || cause != FloodCause::UnknownUnicast)
                && !(egress.is_host() && (answered || ingress.is_resolver()))
                && !egress.is_resolver();
            if !wanted || may_leave(ingress, egress).is_err() {
                continue;
            }
            match link::passage(network, ingress, egress, view, self.frame) {
                Passage::Ruled(rule) if !link::passes(self.edge.as_deref_mut(), network, rule) => {
                    denied = true
                }
                Passage::Open | Passage::Ruled(_) if is_within(egress.mtu, view, self.frame) => {
                    self.out.forward(egress.id);
                }
                Passage::Open | Passage::Ruled(_) => too_big = true,
                Passage::Closed => {}
                // The endpoint has been silent for so long that the FDB has forgotten it.
                Passage::Tracked if egress.has_mac(view.dst) => {
                    return self.forward(network, ingress, egress, view);
                }
                Passage::Tracked => {}
            }
        }
        if DRY {
            self.tell_left_out(network, ingress, view, cause, answered);
        }
        match u16::try_from(self.out.copies().len()).unwrap_or(u16::MAX) {
            0 if denied => Err(DropReason::RuleDenied),
            0 if too_big => Err(DropReason::TooBig),
            0 => Err(DropReason::NoEgress),
            copies => {
                if denied && !DRY {
                    // The host's copy: the frame itself goes on.
                    ingress.counters[self.worker].drop(DropReason::RuleDenied, self.frame.bytes.len());
                }
                Ok(Verdict::Flood { cause, copies, answered })
            }
        }
    }
}

/// What no port may send, whatever its settings.
#[inline]
fn refuse_impossible(view: &EthernetView, frame: &Frame<'_>) -> Result<(), DropReason> {
    if view.src.is_group() {
        Err(DropReason::SourceGroup)
    } else if !view.src.is_station() {
        Err(DropReason::SourceZero)
    } else if !frame.offload.is_consistent(frame.bytes.len()) {
        Err(DropReason::MalformedOffload)
    } else {
        Ok(())
    }
}

/// What no bridge forwards. It says where its sender is all the same (kernel: `br_handle_local_finish`): a switch that speaks nothing but
/// LLDP is found by it.
#[inline]
fn refuse_reserved(view: &EthernetView) -> Result<(), DropReason> {
    if view.dst.is_reserved_link_local() { Err(DropReason::ReservedGroup) } else { Ok(()) }
}

/// The rules between two ports: no frame back unless hairpin, none between isolated ports.
#[inline]
fn may_leave(ingress: &Port, egress: &Port) -> Result<(), DropReason> {
    if ingress.id == egress.id && !ingress.settings.hairpin {
        Err(DropReason::SamePort)
    } else if ingress.settings.isolated && egress.settings.isolated {
        Err(DropReason::Isolated)
    } else {
        Ok(())
    }
}

/// Whether the frame, or each segment of it, is within the egress port's MTU.
#[inline]
fn is_within(mtu: u16, view: &EthernetView, frame: &Frame<'_>) -> bool {
    let mtu = usize::from(mtu);
    frame.bytes.len() - view.payload_offset <= mtu || view.packet_len(frame) <= mtu
}
