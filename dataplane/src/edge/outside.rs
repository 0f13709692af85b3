//! Packets from uplinks. The host's kernel has every one of them too: what is not for the edge is its own business.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::forward::Passed;
use super::ingress::{Flow, Ingress};
use super::neighbour::NeighbourKey;
use super::packet::Packet;
use super::session::{Direction, SessionId};
use super::tuple::Tuple;
use super::{Edge, Outside};
use crate::frame::ethertype;
use crate::gateway::{GatewayState, arp};
use crate::out::Out;
use crate::time::Timestamp;
use crate::trace::decision::Tracking;
use crate::verdict::{DropReason, Taken, Translation, Verdict, Wait};

const HOSTS_OWN: Verdict = Verdict::Taken(Taken::HostsOwn);

impl Edge {
    /// A frame from an uplink.
    #[inline(always)]
    pub(super) fn decide_outside(
        &mut self,
        now: Timestamp,
        errors: &mut GatewayState,
        outside: &Outside<'_>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        let Outside { snapshot, port, view, frame } = outside;
        let Some(uplink) = snapshot.edge.uplink(port.id) else { return Err(DropReason::UnknownPort) };
        let is_ours = uplink.mac.is_none_or(|mac| mac == view.dst);
        let is_arp = view.ethertype == ethertype::ARP && view.dst.is_broadcast();
        if view.in_vlan || !is_ours && !is_arp {
            return Ok(HOSTS_OWN);
        }
        match view.ethertype {
            ethertype::ARP => {
                let Some((mac, address)) = arp::parse_announcement(view.payload(frame.bytes)) else {
                    return Ok(HOSTS_OWN);
                };
                if !self.is_dry() {
                    self.hear(now, NeighbourKey { uplink: port.id, address }, mac);
                }
                Ok(Verdict::Taken(Taken::Neighbour))
            }
            ethertype::IPV4 => match Packet::parse(view, frame) {
                Ok(packet) => {
                    let mut ingress = Ingress::from_outside(now, errors, outside, packet, out);
                    if let Some(verdict) = self.go_on(&mut ingress) {
                        return verdict;
                    }
                    self.packet_from_outside(&mut ingress)
                }
                Err(_) => Ok(HOSTS_OWN),
            },
            _ => Ok(HOSTS_OWN),
        }
    }

    #[inline(always)]
    fn packet_from_outside(&mut self, it: &mut Ingress<'_>) -> Result<Verdict, DropReason> {
        let Packet { dst, .. } = it.packet;
        if !it.snapshot.edge.is_host_address(dst) {
            return Ok(HOSTS_OWN);
        }
        if let Some(tuple) = it.plain_flow() {
            self.tell(|| Tracking::Flow(tuple));
            return self.flow_from_outside(it, dst, &tuple);
        }
        self.odd_packet_from_outside(it, dst)
    }

    /// A fragment, an ICMP error, or what no sessions are kept for.
    #[inline(never)]
    fn odd_packet_from_outside(
        &mut self,
        it: &mut Ingress<'_>,
        dst: Ipv4Addr,
    ) -> Result<Verdict, DropReason> {
        let mut flow = self.flow(it.now, it.snapshot, it.port.id, it.frame, &it.packet);
        // Of copies that may be needed the latest are the likeliest.
        if self.is_dry() {
            let makes_room = || self.waiting.has_room_after_fragments(it.port.id, it.frame.bytes.len());
            if flow == Err(DropReason::WaitFull) && makes_room() {
                flow = Ok(Flow::Unknown(Wait::FirstFragment));
            }
        } else {
            while flow == Err(DropReason::WaitFull) && self.waiting.forget_oldest_fragment(it.port.id) {
                flow = self.flow(it.now, it.snapshot, it.port.id, it.frame, &it.packet);
            }
        }
        match flow {
            Ok(Flow::Of(tuple)) => {
                let verdict = self.flow_from_outside(it, dst, &tuple);
                if !matches!(verdict, Ok(Verdict::Wait(_))) {
                    self.has_decided(it.now, it.port.id, &it.packet);
                }
                verdict
            }
            Ok(Flow::Error(quote)) => match self.find_session(&quote.tuple.inverted()) {
                Some((id, direction)) if self.comes_from_outside(id, direction) => {
                    self.forward_error(it, &quote, id, direction)
                }
                _ => Ok(HOSTS_OWN),
            },
            Ok(Flow::Unknown(wait)) => Ok(Verdict::Wait(wait)),
            // A copy for which there is no room is none of the edge's as far as one can tell.
            Ok(Flow::Other) | Err(_) => Ok(HOSTS_OWN),
        }
    }

    #[inline(always)]
    fn flow_from_outside(
        &mut self,
        it: &mut Ingress<'_>,
        dst: Ipv4Addr,
        tuple: &Tuple,
    ) -> Result<Verdict, DropReason> {
        if let Some((id, direction)) = self.find_session(tuple) {
            if !self.comes_from_outside(id, direction) {
                return Ok(HOSTS_OWN);
            }
            match self.forward(it, id, direction)? {
                Passed::Done(verdict) => return Ok(verdict),
                Passed::ToHost => return Ok(HOSTS_OWN),
                Passed::Ended => {}
            }
        }
        if let Some(publication) = self.published.find(dst, tuple.protocol, tuple.dst_port) {
            let publication = Arc::clone(publication);
            return self.open_published(it, tuple, &publication);
        }
        match self.behind_mapping(it.snapshot, tuple) {
            Some(mapped) => self.open_mapped(it, tuple, &mapped),
            None => {
                self.tell(|| Tracking::NotPublished);
                Ok(HOSTS_OWN)
            }
        }
    }

    /// Whether packets of that direction are brought by uplinks, to be translated.
    #[inline(always)]
    fn comes_from_outside(&self, id: SessionId, direction: Direction) -> bool {
        self.sessions.get(id).translation(direction) == Translation::Destination
    }
}
