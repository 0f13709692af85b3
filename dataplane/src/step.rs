//! The whole decision about a frame, without I/O and without a clock.

use std::sync::Arc;

use crate::fdb::Stickiness;
use crate::frame::{EthernetView, Frame};
use crate::gateway::{GatewayState, Received};
use crate::guard;
use crate::network::{Network, Port, PortId, Snapshot};
use crate::out::Out;
use crate::time::Timestamp;
use crate::verdict::{DropReason, FloodCause, Verdict};

/// One worker's decisions: the snapshot that it decides by, and what it must remember of its own.
#[derive(Debug)]
pub struct Core {
    worker: usize,
    snapshot: Arc<Snapshot>,
    gateway: GatewayState,
}

impl Core {
    /// The core of worker number `worker`: that block of each port's counters is its own.
    pub fn new(worker: usize) -> Self {
        Self { worker, snapshot: Arc::new(Snapshot::default()), gateway: GatewayState::new(worker) }
    }

    /// Decides by `snapshot` from now on.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        self.gateway.forget_missing_ports(&snapshot);
        self.snapshot = snapshot;
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
        let Some(network) = self.snapshot.network(port.network) else {
            return Verdict::Drop(DropReason::UnknownPort);
        };
        let counters = &port.counters[self.worker];
        counters.rx.add(frame.bytes.len());
        match decide(&self.snapshot, &mut self.gateway, network, port, now, frame, out) {
            Ok(verdict) => verdict,
            Err(reason) => {
                counters.drop(reason, frame.bytes.len());
                Verdict::Drop(reason)
            }
        }
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
        self.gateway.tick(now, &self.snapshot, out)
    }

    /// The gateway of `network` will announce itself on every port with the next ticks (RFC 5227, section 3).
    pub fn announce(&mut self, network: crate::NetworkId, now: Timestamp) {
        self.gateway.announce(network, now);
    }
}

fn decide(
    snapshot: &Snapshot,
    gateway_state: &mut GatewayState,
    network: &Network,
    port: &Port,
    now: Timestamp,
    frame: &Frame<'_>,
    out: &mut Out,
) -> Result<Verdict, DropReason> {
    let view = EthernetView::parse(frame.bytes)?;
    refuse_impossible(&view, frame)?;
    guard::check(network.gateway.as_ref(), port, &view, frame)?;

    if port.settings.learning {
        let stickiness = if guard::is_guarded(port) { Stickiness::Sticky } else { Stickiness::Free };
        network.fdb.learn(view.src, port.id, stickiness, now);
    }

    if let Some(gateway) = &network.gateway {
        if view.dst == gateway.mac {
            let received = Received { snapshot, network, gateway, port, view: &view, frame };
            return gateway_state.receive(now, &received, out);
        }
        if view.dst.is_group() && gateway_state.answer_group(gateway, port, &view, frame, out) {
            let flooded = flood(snapshot, network, port, &view, frame, FloodCause::Broadcast, out);
            return Ok(match flooded {
                Ok(Verdict::Flood { cause, copies, .. }) => Verdict::Flood { cause, copies, answered: true },
                _ => Verdict::Reply(crate::verdict::Reply::Arp),
            });
        }
    }

    if view.dst.is_broadcast() {
        flood(snapshot, network, port, &view, frame, FloodCause::Broadcast, out)
    } else if view.dst.is_group() {
        flood(snapshot, network, port, &view, frame, FloodCause::Multicast, out)
    } else {
        match network.fdb.lookup(view.dst, now).and_then(|egress| snapshot.port(egress)) {
            Some(egress) => forward(port, egress, &view, frame, out),
            None => flood(snapshot, network, port, &view, frame, FloodCause::UnknownUnicast, out),
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
    } else if view.dst.is_reserved_link_local() {
        Err(DropReason::ReservedGroup)
    } else if !frame.offload.is_consistent(frame.bytes.len()) {
        Err(DropReason::MalformedOffload)
    } else {
        Ok(())
    }
}

/// The destination is known to be behind `egress`.
#[inline]
fn forward(
    ingress: &Port,
    egress: &Port,
    view: &EthernetView,
    frame: &Frame<'_>,
    out: &mut Out,
) -> Result<Verdict, DropReason> {
    may_leave(ingress, egress)?;
    if !fits(egress, view, frame) {
        return Err(DropReason::TooBig);
    }
    out.forward(egress.id);
    Ok(Verdict::Forward { egress: egress.id })
}

/// The frame leaves by every other port of the network that wants it.
fn flood(
    snapshot: &Snapshot,
    network: &Network,
    ingress: &Port,
    view: &EthernetView,
    frame: &Frame<'_>,
    cause: FloodCause,
    out: &mut Out,
) -> Result<Verdict, DropReason> {
    let mut too_big = false;
    for egress in network.members.iter().filter_map(|&id| snapshot.port(id)) {
        let wanted = egress.settings.flood || cause != FloodCause::UnknownUnicast;
        if !wanted || may_leave(ingress, egress).is_err() {
            continue;
        }
        if fits(egress, view, frame) {
            out.forward(egress.id);
        } else {
            too_big = true;
        }
    }
    match u16::try_from(out.copies().len()).unwrap_or(u16::MAX) {
        0 if too_big => Err(DropReason::TooBig),
        0 => Err(DropReason::NoEgress),
        copies => Ok(Verdict::Flood { cause, copies, answered: false }),
    }
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
fn fits(egress: &Port, view: &EthernetView, frame: &Frame<'_>) -> bool {
    let mtu = usize::from(egress.mtu);
    frame.bytes.len() - view.payload_offset <= mtu || view.packet_len(frame) <= mtu
}
