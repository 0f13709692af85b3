//! A packet that came in, and which flow it is of.

use super::fragments::FragmentKey;
use super::packet::{Content, Packet};
use super::quote::Quote;
use super::tuple::{Protocol, Tuple};
use super::waiting::Awaited;
use super::{Edge, Held, Outside};
use crate::frame::{EthernetView, Frame};
use crate::gateway::errors::{IcmpError, PROHIBITED};
use crate::gateway::packet::Back;
use crate::gateway::{GatewayState, Received};
use crate::network::{Gateway, Port, PortId, Snapshot};
use crate::out::Out;
use crate::time::Timestamp;
use crate::trace::decision::Tracking;
use crate::verdict::{DropReason, Verdict, Wait};

/// A packet that came in, and what deciding about it takes.
pub(super) struct Ingress<'a> {
    pub(super) now: Timestamp,
    pub(super) snapshot: &'a Snapshot,
    pub(super) port: &'a Port,
    pub(super) view: &'a EthernetView,
    pub(super) frame: &'a Frame<'a>,
    pub(super) packet: Packet,
    /// The gateway of the network that it came from; none: it came by an uplink.
    gateway: Option<&'a Gateway>,
    pub(super) errors: &'a mut GatewayState,
    pub(super) out: &'a mut Out,
}

/// Which flow a packet is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// One that sessions are kept for.
    Of(Tuple),
    /// It is an ICMP error about a packet.
    Error(Quote),
    /// One that no sessions are kept for.
    Other,
    /// That cannot be told before its first fragment comes.
    Unknown(Wait),
}

impl<'a> Ingress<'a> {
    /// A packet from a network to its gateway's MAC.
    // As the other one always inlined: a packet that is moved right after it was written stalls on store forwarding.
    #[inline(always)]
    pub(super) fn from_inside(
        now: Timestamp,
        errors: &'a mut GatewayState,
        received: &Received<'a>,
        packet: Packet,
        out: &'a mut Out,
    ) -> Self {
        let &Received { snapshot, port, view, frame, gateway, .. } = received;
        Self { now, snapshot, port, view, frame, packet, gateway: Some(gateway), errors, out }
    }

    /// A packet that came by an uplink.
    #[inline(always)]
    pub(super) fn from_outside(
        now: Timestamp,
        errors: &'a mut GatewayState,
        outside: &Outside<'a>,
        packet: Packet,
        out: &'a mut Out,
    ) -> Self {
        let &Outside { snapshot, port, view, frame } = outside;
        Self { now, snapshot, port, view, frame, packet, gateway: None, errors, out }
    }

    /// The flow of a packet that is whole and that sessions are kept for, as nearly all are.
    #[inline(always)]
    pub(super) fn plain_flow(&self) -> Option<Tuple> {
        if self.packet.is_fragment() { None } else { self.packet.tuple() }
    }

    /// Tells the packet's sender of an error, if that is allowed.
    pub(super) fn refuse(&mut self, error: IcmpError) -> Result<Verdict, DropReason> {
        let packet = self.view.payload(self.frame.bytes);
        let (from_mac, from) = match self.gateway {
            Some(gateway) => (gateway.mac, gateway.address),
            None => (self.view.dst, self.packet.dst),
        };
        let back = Back { egress: self.port.id, from_mac, from, to_mac: self.view.src };
        self.errors.refuse(self.now, self.gateway, &back, error, packet, self.out)
    }

    /// The packet is dropped for `reason`, and its sender is told of `error`, if that is allowed.
    pub(super) fn drop_with(&mut self, error: IcmpError, reason: DropReason) -> DropReason {
        // The reason counts, whether the sender could be told or not.
        let _ = self.refuse(error);
        reason
    }

    /// The packet is dropped for `reason`, a matter of policy (RFC 1812, section 5.2.7.1: code 13).
    pub(super) fn prohibit(&mut self, reason: DropReason) -> DropReason {
        self.drop_with(PROHIBITED, reason)
    }
}

/// A frame that waited is dropped for `reason`. Copies of fragments from outside are the host's own as far as one can tell, and count
/// nowhere.
pub(super) fn count_lost(
    snapshot: &Snapshot,
    worker: usize,
    awaited: Awaited,
    held: &Held,
    reason: DropReason,
) {
    let Some(port) = snapshot.port(held.ingress) else { return };
    if port.place.home().is_some() || !matches!(awaited, Awaited::FirstFragment(_)) {
        port.counters[worker].drop(reason, held.bytes.len());
    }
}

/// What all fragments of the packet have in common.
fn fragment_key(ingress: PortId, packet: &Packet) -> FragmentKey {
    let &Packet { src, dst, ident, protocol, .. } = packet;
    FragmentKey { ingress, src, dst, ident, protocol }
}

impl Edge {
    /// Which flow a packet is of that came in by `ingress`.
    ///
    /// # Errors
    /// [`DropReason::WaitFull`] for a fragment that finds no room to wait, [`DropReason::EdgeMalformed`] for an ICMP error that is no
    /// good.
    #[inline]
    pub(super) fn flow(
        &mut self,
        now: Timestamp,
        snapshot: &Snapshot,
        ingress: PortId,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Result<Flow, DropReason> {
        let flow = self.find_flow(now, snapshot, ingress, frame, packet)?;
        match flow {
            Flow::Of(tuple) => self.tell(|| Tracking::Flow(tuple)),
            Flow::Error(quote) => self.tell(|| Tracking::ErrorAbout(quote.tuple)),
            Flow::Other | Flow::Unknown(_) => {}
        }
        Ok(flow)
    }

    #[inline]
    fn find_flow(
        &mut self,
        now: Timestamp,
        snapshot: &Snapshot,
        ingress: PortId,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Result<Flow, DropReason> {
        if let Some(tuple) = packet.tuple() {
            return Ok(Flow::Of(tuple));
        }
        match packet.content {
            Content::IcmpError => match Quote::parse(frame, packet) {
                Ok(quote) => Ok(Flow::Error(quote)),
                Err(DropReason::NoSession) => Ok(Flow::Other),
                Err(reason) => Err(reason),
            },
            Content::Fragment if Protocol::from_number(packet.protocol).is_some() => {
                let key = fragment_key(ingress, packet);
                let flow = match self.is_dry() {
                    true => self.fragments.rehearse(now, &key),
                    false => self.fragments.flow(now, &key),
                };
                match flow {
                    Some(tuple) => Ok(Flow::Of(tuple)),
                    None => self
                        .hold(now, snapshot, Awaited::FirstFragment(key), ingress, frame)
                        .map(Flow::Unknown),
                }
            }
            _ => Ok(Flow::Other),
        }
    }

    /// `packet` has been decided about: if it is the first fragment of one, the others are decided about like it from now on. A first
    /// fragment that waits is not decided yet, and the others would find no session.
    pub(super) fn has_decided(&mut self, now: Timestamp, ingress: PortId, packet: &Packet) {
        if let Some(tuple) = packet.tuple().filter(|_| packet.is_fragment() && !self.is_dry()) {
            let key = fragment_key(ingress, packet);
            self.fragments.first(now, key, tuple);
            self.waiting.release(Awaited::FirstFragment(key));
        }
    }

    /// Keeps the frame until `awaited` is there.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        snapshot: &Snapshot,
        awaited: Awaited,
        ingress: PortId,
        frame: &Frame<'_>,
    ) -> Result<Wait, DropReason> {
        if self.is_dry() {
            let has_room = self.waiting.has_room(ingress, frame.bytes.len());
            return if has_room { Ok(awaited.wait()) } else { Err(DropReason::WaitFull) };
        }
        let worker = self.worker;
        let wait = self.waiting.hold(now, awaited, ingress, frame, |awaited, held| {
            count_lost(snapshot, worker, awaited, held, DropReason::WaitFull);
        })?;
        // Whatever was asked is asked again after a second, and nothing waits for less.
        self.call_at(now + core::time::Duration::from_secs(1));
        Ok(wait)
    }
}
