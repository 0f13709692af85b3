//! A packet of a session goes on: translated, to the hop that its session remembers.
//!
//! A hop is good for the edge's present generation; then it is derived anew: from route and neighbour towards the outside, from the
//! endpoint's port towards a network. Answers go back to where the last packet of whoever began came from.

use super::Edge;
use super::config::{Publication, Uplink, UplinkChoice};
use super::hairpin::is_kept_apart;
use super::ingress::Ingress;
use super::neighbour::{NeighbourKey, Resolved};
use super::packet::{Content, Packet, TcpFlags};
use super::quote::{self, Quote};
use super::rewrite::{Change, rewrite};
use super::route::{RouteKey, Way};
use super::rules::{first_match, permits};
use super::session::{Direction, Hop, Session, SessionId};
use super::tuple::Tuple;
use super::waiting::Awaited;
use crate::addr::MacAddr;
use crate::gateway::errors::{HOST_UNREACHABLE, NETWORK_UNREACHABLE, TIME_EXCEEDED, fragmentation_needed};
use crate::network::{Network, PortId, Snapshot};
use crate::trace::decision::{Ended, Routing, Tracking};
use crate::verdict::{DropReason, Translation, Verdict, Wait};
use std::net::Ipv4Addr;

/// What became of a packet whose session was found.
pub(super) enum Passed {
    /// It is decided.
    Done(Verdict),
    /// It is between a network and the host, as it is.
    ToHost,
    /// The session must not go on, and has ended.
    Ended,
}

/// Where packets leave.
pub(super) enum Exit {
    /// By this hop, and from this address of the host.
    Hop(Hop, Ipv4Addr),
    /// That is not known yet: the packet is kept.
    Wait(Wait),
}

/// What has become of a hop.
enum Renewed {
    Hop(Hop),
    Wait(Wait),
    /// The session's way leads elsewhere now.
    Ended,
}

/// Bytes of IPv4 and TCP headers without options: an MTU less these is the largest segment.
const HEADERS_LEN: u16 = 40;

impl Edge {
    /// A packet of a session that goes in that direction.
    // Always, and so whatever the packets of established sessions pass: as one function they need a sixth less instructions.
    #[inline(always)]
    pub(super) fn forward(
        &mut self,
        it: &mut Ingress<'_>,
        id: SessionId,
        direction: Direction,
    ) -> Result<Passed, DropReason> {
        if !self.may_go_on(it.snapshot, id) {
            return Ok(self.end(it, id, Ended::NotAdmitted));
        }
        let flags = tcp_flags(&it.packet);
        let translation = self.sessions.get(id).translation(direction);
        if translation == Translation::None {
            self.seen(it, id, direction);
            return Ok(Passed::ToHost);
        }
        if it.packet.ttl <= 1 {
            return it.refuse(TIME_EXCEEDED).map(Passed::Done);
        }
        let generation = self.generation(it.now);
        let mut hop = *self.sessions.get(id).hop(direction);
        if hop.generation != generation {
            hop = match self.renew_hop(it, id, direction)? {
                Renewed::Hop(hop) => hop,
                Renewed::Wait(wait) => return Ok(Passed::Done(Verdict::Wait(wait))),
                Renewed::Ended => return Ok(self.end(it, id, Ended::WayChanged)),
            };
        }
        self.tell(|| Routing::Remembered { egress: hop.egress, mac: hop.dst_mac, mtu: hop.mtu });
        if direction == Direction::Original {
            self.note_sender(it, id)?;
        }
        let session = self.sessions.get(id);
        let back = session.hop(direction.opposite());
        let clamp = flags.and_then(|flags| max_segment_size(flags, &hop, back));
        let translated = session.translated(direction);
        let verdict = self.send(it, &translated, translation, &hop, clamp)?;
        self.seen(it, id, direction);
        Ok(Passed::Done(verdict))
    }

    #[inline(always)]
    fn seen(&mut self, it: &Ingress<'_>, id: SessionId, direction: Direction) {
        if !self.is_dry() {
            self.sessions.seen(id, direction, it.now, tcp_flags(&it.packet));
        }
    }

    #[cold]
    fn end(&mut self, it: &Ingress<'_>, id: SessionId, why: Ended) -> Passed {
        self.tell(|| Tracking::Ends(why));
        self.remove_session(id, it.now);
        Passed::Ended
    }

    /// The packet leaves by that hop with another tuple.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        translation: Translation,
        hop: &Hop,
        max_segment_size: Option<u16>,
    ) -> Result<Verdict, DropReason> {
        let len = match it.frame.offload.is_super_frame() {
            true => it.view.packet_len(it.frame),
            false => usize::from(it.packet.total_len),
        };
        let fits = len <= usize::from(hop.mtu);
        self.tell(|| Routing::Becomes(*tuple));
        if !fits {
            self.tell(|| Routing::TooLarge { len, mtu: hop.mtu });
        }
        if !fits && it.packet.dont_fragment {
            return it.refuse(fragmentation_needed(hop.mtu));
        }
        let &Hop { dst_mac, src_mac, egress, .. } = hop;
        let change = Change { dst_mac, src_mac, tuple: Some(tuple), max_segment_size };
        let (frame, packet) = (it.frame, &it.packet);
        it.out.forward_rewritten_with(egress, |headers| rewrite(frame, packet, &change, headers))?;
        if !fits {
            self.fragmenter.cut(frame, hop.mtu, it.out)?;
        }
        Ok(Verdict::Route { egress, translation })
    }

    /// An ICMP error about a packet of a session that is translated; the error itself goes in that direction.
    pub(super) fn forward_error(
        &mut self,
        it: &mut Ingress<'_>,
        quote: &Quote,
        id: SessionId,
        direction: Direction,
    ) -> Result<Verdict, DropReason> {
        if !self.may_go_on(it.snapshot, id) {
            return Err(DropReason::NoSession);
        }
        let session = *self.sessions.get(id);
        let translation = session.translation(direction);
        if it.packet.ttl <= 1 {
            return it.refuse(TIME_EXCEEDED);
        }
        let hop = match self.hop(it, id, direction)? {
            Renewed::Hop(hop) => hop,
            Renewed::Wait(wait) => return Ok(Verdict::Wait(wait)),
            Renewed::Ended => return Err(DropReason::NoSession),
        };
        // Whoever is inside must not be seen outside (RFC 5508, REQ-5); a router outside is who it says it is.
        let own = session.translated(direction).src.to_ipv4_mapped();
        let source = match translation {
            Translation::Destination => it.packet.src,
            _ => own.unwrap_or(it.packet.src),
        };
        let quoted = session.tuple(direction.opposite());
        let &Hop { dst_mac, src_mac, egress, .. } = &hop;
        let change = Change { dst_mac, src_mac, tuple: Some(quoted), max_segment_size: None };
        let (frame, packet) = (it.frame, &it.packet);
        it.out.forward_rewritten_with(egress, |headers| {
            quote::rewrite(frame, packet, quote, source, &change, headers)
        })?;
        Ok(Verdict::Route { egress, translation })
    }

    /// Where packets of that direction leave.
    #[inline(always)]
    fn hop(
        &mut self,
        it: &mut Ingress<'_>,
        id: SessionId,
        direction: Direction,
    ) -> Result<Renewed, DropReason> {
        let generation = self.generation(it.now);
        let hop = self.sessions.get(id).hop(direction);
        if hop.generation == generation {
            return Ok(Renewed::Hop(*hop));
        }
        self.renew_hop(it, id, direction)
    }

    #[cold]
    fn renew_hop(
        &mut self,
        it: &mut Ingress<'_>,
        id: SessionId,
        direction: Direction,
    ) -> Result<Renewed, DropReason> {
        let session = *self.sessions.get(id);
        let old = session.hop(direction);
        let renewed = match (session.translation(direction), direction) {
            (Translation::Source, Direction::Original) => self.way_of(it, &session, direction, true)?,
            (Translation::Source, Direction::Reply) => match it.snapshot.edge.uplink(old.egress) {
                Some(uplink) => Renewed::Hop(uplink_hop(uplink, old.dst_mac, uplink.mtu, self.generation)),
                None => self.way_of(it, &session, direction, false)?,
            },
            (Translation::Both, _) if self.is_mapped_anew(id, &session) => Renewed::Ended,
            _ => match endpoint_hop(it.snapshot, old.egress, old.dst_mac, self.generation) {
                Some(hop) => Renewed::Hop(hop),
                None => Renewed::Ended,
            },
        };
        if let Renewed::Hop(hop) = renewed
            && !self.is_dry()
        {
            self.sessions.get_mut(id).set_hop(direction, hop);
        }
        Ok(renewed)
    }

    /// Whether the mapping that a session came by, within the host, is somebody else's by now.
    fn is_mapped_anew(&self, id: SessionId, session: &Session) -> bool {
        let (original, reply) = (session.tuple(Direction::Original), session.tuple(Direction::Reply));
        let external = (original.dst, original.dst_port);
        self.sessions.publication(id).is_none()
            && self
                .sessions
                .mapping_to(original.protocol, external)
                .is_some_and(|internal| internal != (reply.src, reply.src_port))
    }

    /// The way of a session's packets out of the host, by the routes as they are now. A session whose packets would leave from
    /// another address (where `source_counts`) has ended, as with the kernel's masquerading.
    fn way_of(
        &mut self,
        it: &mut Ingress<'_>,
        session: &Session,
        direction: Direction,
        source_counts: bool,
    ) -> Result<Renewed, DropReason> {
        let translated = session.translated(direction);
        let network = it.snapshot.port(session.owner()).and_then(|port| port.place.network());
        let network = network.and_then(|id| it.snapshot.network(id));
        let (Some(network), Some(destination)) = (network, translated.dst.to_ipv4_mapped()) else {
            return Ok(Renewed::Ended);
        };
        Ok(match self.way_out(it, network, destination)? {
            Exit::Hop(_, source) if source_counts && source.to_ipv6_mapped() != translated.src => {
                Renewed::Ended
            }
            Exit::Hop(hop, _) => Renewed::Hop(hop),
            Exit::Wait(wait) => Renewed::Wait(wait),
        })
    }

    /// The way from a network to a destination outside.
    pub(super) fn way_out(
        &mut self,
        it: &mut Ingress<'_>,
        network: &Network,
        destination: Ipv4Addr,
    ) -> Result<Exit, DropReason> {
        let config = &it.snapshot.edge;
        let key = RouteKey { network: network.id, destination };
        // A sender at its share cannot have more questions put than frames kept.
        let may_wait = self.waiting.has_room(it.port.id, it.frame.bytes.len());
        let way = match network.edge.uplinks {
            UplinkChoice::None => Way::None,
            _ if self.is_dry() => self.rehearse_route(it, key, may_wait),
            _ => self.routes.lookup(it.now, key, may_wait, it.out),
        };
        let route = match way {
            Way::Known(route) => Some(route),
            Way::Asked => {
                let wait = self.hold(it.now, it.snapshot, Awaited::Route(key), it.port.id, it.frame)?;
                let Some(route) = self.answered_route(key) else { return Ok(Exit::Wait(wait)) };
                self.goes_on(Awaited::Route(key), it.out, || Routing::AsksRoute(destination));
                route
            }
            Way::None => None,
        };
        let uplink =
            route.and_then(|route| config.uplink(route.uplink)).filter(|uplink| match network.edge.uplinks {
                UplinkChoice::Only(index) => uplink.interface_index == index,
                _ => true,
            });
        let (Some(route), Some(uplink)) = (route, uplink) else {
            return Err(it.drop_with(NETWORK_UNREACHABLE, DropReason::NoRoute));
        };
        let source = network.edge.snat_address.unwrap_or(route.source);
        if !config.is_host_address(source) {
            let reason = match network.edge.snat_address {
                Some(_) => DropReason::SnatAddress,
                None => DropReason::NoRoute,
            };
            return Err(it.drop_with(NETWORK_UNREACHABLE, reason));
        }
        self.tell(|| Routing::Route(route));
        let key = NeighbourKey { uplink: uplink.port, address: route.next_hop };
        let known = (route.next_hop, route.neighbour);
        let resolved = match uplink.mac {
            None => Resolved::Mac(Uplink::PEER_MAC),
            Some(_) if self.is_dry() => self.rehearse_next_hop(it, uplink, known, may_wait),
            Some(_) => self.neighbours.resolve(it.now, uplink, known, may_wait, it.out),
        };
        let mac = match resolved {
            Resolved::Mac(mac) => {
                self.tell(|| Routing::NextHop { address: route.next_hop, mac });
                mac
            }
            Resolved::Asked => {
                let wait = self.hold(it.now, it.snapshot, Awaited::Neighbour(key), it.port.id, it.frame)?;
                if !self.goes_on(Awaited::Neighbour(key), it.out, || Routing::AsksNextHop(route.next_hop)) {
                    return Ok(Exit::Wait(wait));
                }
                MacAddr::ZERO
            }
            Resolved::Failed => return Err(it.drop_with(HOST_UNREACHABLE, DropReason::NeighbourTimeout)),
        };
        let generation = self.generation(it.now);
        self.call_at(it.now + core::time::Duration::from_secs(1));
        Ok(Exit::Hop(uplink_hop(uplink, mac, uplink.mtu.min(route.mtu), generation), source))
    }

    /// Where answers to whoever sent the packet leave.
    pub(super) fn hop_back(&self, it: &Ingress<'_>) -> Option<Hop> {
        match it.snapshot.edge.uplink(it.port.id) {
            Some(uplink) => Some(uplink_hop(uplink, it.view.src, uplink.mtu, self.generation)),
            None => endpoint_hop(it.snapshot, it.port.id, it.view.src, self.generation),
        }
    }

    /// Whoever began may have moved, outside to another router or uplink, inside to another MAC: answers follow.
    ///
    /// # Errors
    /// [`DropReason::EdgeSource`]: not by that uplink, for he is on another's subnet.
    #[inline(always)]
    fn note_sender(&mut self, it: &Ingress<'_>, id: SessionId) -> Result<(), DropReason> {
        let session = self.sessions.get(id);
        let hop = session.hop(Direction::Reply);
        if hop.dst_mac == it.view.src && hop.egress == it.port.id {
            return Ok(());
        }
        let is_outside = it.port.place.network().is_none();
        if is_outside && hop.egress != it.port.id && it.snapshot.edge.is_elsewhere(it.port.id, it.packet.src)
        {
            return Err(DropReason::EdgeSource);
        }
        let may_move = is_outside || it.port.id == session.owner();
        if may_move
            && !self.is_dry()
            && let Some(hop) = self.hop_back(it)
        {
            self.sessions.get_mut(id).set_hop(Direction::Reply, hop);
        }
        Ok(())
    }

    /// Whether a session may go on by the present rules.
    #[inline(always)]
    pub(super) fn may_go_on(&mut self, snapshot: &Snapshot, id: SessionId) -> bool {
        self.sessions.get(id).rules_generation() == snapshot.edge.rules_generation
            || self.readmit(snapshot, id)
    }

    /// As [`Edge::may_go_on`], for one that was admitted by other rules.
    #[cold]
    fn readmit(&mut self, snapshot: &Snapshot, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        let original = session.tuple(Direction::Original);
        let owner = snapshot.port(session.owner());
        let network = owner.and_then(|port| port.place.network()).and_then(|id| snapshot.network(id));
        let Some(network) = network else { return false };
        let admits =
            |network: &Network| !network.edge.internal && permits(first_match(&network.edge.rules, original));
        let publication = self.sessions.publication(id).and_then(|id| {
            let dst = original.dst.to_ipv4_mapped()?;
            let found = self.published.find(dst, original.protocol, original.dst_port);
            found.filter(|publication| publication.id == id)
        });
        // From inside, the client's network may be another one than the endpoint's.
        let published = |publication: Option<&std::sync::Arc<Publication>>| {
            publication.is_some_and(|it| {
                snapshot.network(it.network).is_some_and(admits) && permits(first_match(&it.rules, original))
            })
        };
        let may_stay = match session.translation(Direction::Original) {
            Translation::Source => admits(network),
            Translation::Destination if self.sessions.publication(id).is_none() => admits(network),
            Translation::Both if self.sessions.publication(id).is_none() => {
                let target = session.tuple(Direction::Reply).src.to_ipv4_mapped();
                let target = target.and_then(|target| snapshot.network(self.places.find(target)?.network));
                admits(network)
                    && target.is_some_and(|target| admits(target) && !is_kept_apart(network, target))
            }
            Translation::Destination | Translation::Both => admits(network) && published(publication),
            Translation::None => super::link::may_stay(snapshot, network, session),
        };
        if may_stay && !self.is_dry() {
            self.sessions.get_mut(id).set_rules_generation(snapshot.edge.rules_generation);
        }
        may_stay
    }
}

/// The control bits, of TCP.
#[inline]
pub(super) fn tcp_flags(packet: &Packet) -> Option<TcpFlags> {
    match packet.content {
        Content::Tcp { flags, .. } => Some(flags),
        _ => None,
    }
}

/// What a SYN may announce: what fits both ways.
#[inline]
pub(super) fn max_segment_size(flags: TcpFlags, there: &Hop, back: &Hop) -> Option<u16> {
    let mtu = there.mtu.min(back.mtu);
    flags.has(TcpFlags::SYN).then(|| mtu.saturating_sub(HEADERS_LEN))
}

/// The way to a station behind an uplink.
fn uplink_hop(uplink: &Uplink, dst_mac: MacAddr, mtu: u16, generation: u32) -> Hop {
    let src_mac = uplink.mac.unwrap_or(Uplink::OWN_MAC);
    Hop { egress: uplink.port, mtu, dst_mac, src_mac, generation }
}

/// The way to the endpoint behind a port: its own MAC, or the one that it was seen with. None: the port has no gateway any more.
pub(super) fn endpoint_hop(snapshot: &Snapshot, port: PortId, seen: MacAddr, generation: u32) -> Option<Hop> {
    let port = snapshot.port(port)?;
    let network = snapshot.network(port.place.network()?)?;
    let gateway = network.gateway?;
    let dst_mac = port.identity.as_ref().map_or(seen, |identity| identity.mac);
    let mtu = port.mtu.min(network.mtu);
    dst_mac.is_station().then_some(Hop { egress: port.id, mtu, dst_mac, src_mac: gateway.mac, generation })
}
