//! The decision about a frame, told and without consequences.

use super::run::Runs;
use super::{Core, Turn, is_within, may_leave};
use crate::edge::Telling;
use crate::edge::link::{self, Passage};
use crate::edge::rules::permits;
use crate::fdb::EntryKind;
use crate::frame::{EthernetView, Frame};
use crate::guard;
use crate::id::PortId;
use crate::network::{Network, Port};
use crate::out::Out;
use crate::port::memory::OwnedFrame;
use crate::storm::PortStorm;
use crate::time::Timestamp;
use crate::trace::decision::{Bridging, Decision, Guard, LeftOut};
use crate::trace::{KnownRoute, Leaving, Trace};
use crate::verdict::{DropReason, FloodCause, Verdict};

impl Core {
    /// Decides about a frame as [`Core::step`] would, tells how, and changes nothing: see [`trace`](crate::trace). `known` counts
    /// where the edge does not know that route yet.
    pub fn trace(
        &mut self,
        now: Timestamp,
        ingress: PortId,
        frame: &Frame<'_>,
        known: Option<KnownRoute>,
    ) -> Trace {
        self.trace_flooding(now, ingress, frame, known, None)
    }

    /// As [`Core::trace`] for a port that another worker reads, which knows what the port has flooded lately.
    pub(crate) fn trace_flooding(
        &mut self,
        now: Timestamp,
        ingress: PortId,
        frame: &Frame<'_>,
        known: Option<KnownRoute>,
        floods: Option<PortStorm>,
    ) -> Trace {
        let mut out = Out::new();
        let mut gateway = self.gateway.rehearsal();
        if let Some(edge) = &mut self.edge {
            edge.begin_trace(known);
        }
        let decided = match self.snapshot.port(ingress) {
            Some(port) => {
                let edge = self.edge.as_deref_mut();
                let (worker, snapshot) = (self.worker, &self.snapshot);
                let (gateway, out, runs) = (&mut gateway, &mut out, &mut Runs::new());
                let storm = &mut self.storm.rehearsal(ingress, floods);
                Turn::<true> { worker, snapshot, gateway, storm, edge, runs, now, frame, out }.decide(port)
            }
            None => Err(DropReason::UnknownPort),
        };
        let told = self.edge.as_mut().map(|edge| edge.end_trace()).unwrap_or_default();
        trace_of(decided.unwrap_or_else(Verdict::Drop), told, frame, &out)
    }
}

fn trace_of(verdict: Verdict, told: Telling, frame: &Frame<'_>, out: &Out) -> Trace {
    let waits: Vec<_> = told.waits().collect();
    let Telling { decisions, questions, lacks, .. } = told;
    let owned = |bytes: Vec<u8>, offload| OwnedFrame { bytes, offload };
    let copies = out.copies().iter().map(|&port| (port, owned(frame.bytes.to_vec(), frame.offload)));
    let rewritten = out.rewritten().map(|it| (it.egress, owned(it.assemble(frame), it.offload)));
    let last = copies.chain(rewritten).map(|(port, frame)| Leaving { port, frame, after: waits.len() });
    let made = out.made().enumerate().map(|(place, (port, made))| {
        let after = waits.iter().filter(|(_, made_before)| *made_before <= place).count();
        Leaving { port, frame: owned(made.bytes.to_vec(), made.offload), after }
    });
    let mut leaves: Vec<Leaving> = last.chain(made).collect();
    leaves.sort_by_key(|it| it.after);
    let asked_at_once = if waits.is_empty() { usize::MAX } else { questions };
    Trace {
        verdict,
        decisions,
        waits: waits.into_iter().map(|(wait, _)| wait).collect(),
        asks: out.requests().iter().take(asked_at_once).copied().collect(),
        leaves,
        lacks,
    }
}

/// Why the guard lets frames of `port` pass.
pub(super) fn guard(port: &Port) -> Bridging {
    Bridging::Guard(match port.is_host() {
        true => Guard::Host,
        false if port.is_resolver() => Guard::Resolver,
        false if guard::is_guarded(port) => Guard::Own(port.id),
        false => Guard::Off(port.id),
    })
}

impl<const DRY: bool> Turn<'_, DRY> {
    #[inline]
    pub(super) fn tell<D: Into<Decision>>(&mut self, decision: impl FnOnce() -> D) {
        if DRY && let Some(edge) = &mut self.edge {
            edge.tell(decision);
        }
    }

    /// The port that the frame's destination is behind, told.
    #[cold]
    pub(super) fn rehearse_lookup(
        &mut self,
        network: &Network,
        port: &Port,
        view: &EthernetView,
    ) -> Option<PortId> {
        let entry = network.fdb.entry(view.dst, self.now);
        let mut found = entry.map(|entry| (entry.port, entry.kind, entry.age));
        // Whoever sends a frame to himself has been learned by now, where nothing speaks against it.
        let learns = port.settings.learning && !port.has_gateway_address() && !network.fdb.ageing().is_zero();
        if view.dst == view.src && learns && found.is_none_or(|(_, kind, _)| kind == EntryKind::Learned) {
            let kind = if guard::is_guarded(port) { EntryKind::Sticky } else { EntryKind::Learned };
            found = Some((port.id, kind, core::time::Duration::ZERO));
        }
        self.tell(|| Bridging::Fdb { mac: view.dst, found });
        found.map(|(port, ..)| port)
    }

    /// Tells which ports of the network a flooded frame does not leave by, the one that it came in by aside.
    #[cold]
    pub(super) fn tell_left_out(
        &mut self,
        network: &Network,
        ingress: &Port,
        view: &EthernetView,
        cause: FloodCause,
        answered: bool,
    ) {
        let left_out = |egress: &Port| {
            let is_wanted = egress.settings.flood || cause != FloodCause::UnknownUnicast;
            match link::passage(network, ingress, egress, view, self.frame) {
                _ if egress.is_resolver() => Some(LeftOut::NotForResolver),
                _ if answered && egress.is_host() => Some(LeftOut::Answered),
                _ if ingress.is_resolver() && egress.is_host() => Some(LeftOut::ResolverAsks),
                _ if !is_wanted => Some(LeftOut::FloodOff),
                _ if may_leave(ingress, egress).is_err() => Some(LeftOut::Isolated),
                Passage::Closed if egress.is_host() => Some(LeftOut::NotForHost),
                Passage::Closed => Some(LeftOut::NotLinked),
                Passage::Ruled(rule) if !permits(rule) => Some(LeftOut::Denied),
                Passage::Tracked => Some(LeftOut::OnlySessions),
                Passage::Open | Passage::Ruled(_) if !is_within(egress.mtu, view, self.frame) => {
                    Some(LeftOut::TooLarge { mtu: egress.mtu })
                }
                Passage::Open | Passage::Ruled(_) => None,
            }
        };
        let others = network.members.iter().filter(|&&id| id != ingress.id);
        let ports = others.filter_map(|&id| self.snapshot.port(id));
        let told: Vec<Bridging> = ports
            .filter_map(|egress| Some(Bridging::LeftOut { port: egress.id, why: left_out(egress)? }))
            .collect();
        told.into_iter().for_each(|decision| self.tell(|| decision));
    }
}
