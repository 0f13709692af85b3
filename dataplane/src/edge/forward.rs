//! A packet of a session goes on: translated, to the hop that its session remembers.
//!
//! A hop is good for the edge's present generation; then it is derived anew: from route and neighbour towards the outside, from the
//! endpoint's port towards a network. Answers go back to where the last packet of whoever began came from, and are as large as the
//! route towards him takes.

use super::Edge;
use super::config::{Publication, Uplink};
use super::hairpin::is_kept_apart;
use super::ingress::Ingress;
use super::packet::{Content, Packet, TcpFlags};
use super::quote::{self, Quote};
use super::rewrite::{Change, rewrite};
use super::rules::{first_match, permits};
use super::session::{Direction, FlowKey, Hop, Session, SessionId};
use super::tuple::Tuple;
use super::way::{Found, endpoint_hop, uplink_hop};
use crate::addr::MacAddr;
use crate::gateway::errors::{TIME_EXCEEDED, fragmentation_needed};
use crate::guard;
use crate::network::{Network, Snapshot};
use crate::trace::decision::{Ended, Routing, Tracking};
use crate::verdict::{DropReason, Translation, Verdict, Wait};

/// What became of a packet whose session was found.
pub(super) enum Passed {
    /// It is decided.
    Done(Verdict),
    /// It is between a network and the host, as it is.
    ToHost,
    /// The session must not go on, and has ended.
    Ended,
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
    /// A packet of a flow whose last packet has just gone through, when the same becomes of this one. That is so if the session can be neither
    /// opened, nor closed, nor clamped by it, and it can go one hop more.
    #[inline(always)]
    pub(super) fn go_on(&mut self, it: &mut Ingress<'_>) -> Option<Result<Verdict, DropReason>> {
        // What is traced is told step by step.
        if self.is_dry() || it.packet.ttl <= 1 {
            return None;
        }
        let key = FlowKey::of(&it.packet, it.port.id, it.view.src)?;
        let (id, direction) = self.sessions.recent(&key)?;
        let generation = self.generation(it.now);
        let session = self.sessions.get(id);
        let (hop, translation) = (*session.hop(direction), session.translation(direction));
        let tuple = session.translated(direction);
        let opens = tcp_flags(&it.packet).is_some_and(|flags| flags.has(TcpFlags::SYN));
        if hop.generation != generation || opens {
            return None;
        }
        let verdict = self.send(it, &tuple, translation, &hop, None);
        if verdict.is_ok() {
            self.seen(it, id, direction);
        }
        Some(verdict)
    }

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
        if let Some(key) = FlowKey::of(&it.packet, it.port.id, it.view.src)
            && !self.is_dry()
        {
            self.sessions.remember(key, id, direction);
        }
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
        let &Hop { dst_mac, src_mac, egress, mtu, .. } = &hop;
        let change = Change { dst_mac, src_mac, tuple: Some(quoted), max_segment_size: None };
        let (frame, packet) = (it.frame, &it.packet);
        let len = packet.total_len.into();
        if len > usize::from(mtu) {
            self.tell(|| Routing::TooLarge { len, mtu });
        }
        it.out.forward_rewritten_with(egress, |headers| {
            let head = quote::rewrite(frame, packet, quote, source, &change, headers)?;
            quote::cut(frame, packet, quote, head, mtu, headers)
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
                Some(uplink) => self.way_as_it_came(it, &session, uplink, old.dst_mac),
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
        let network = owners_network(it.snapshot, session);
        let (Some(network), Some(destination)) = (network, translated.dst.to_ipv4_mapped()) else {
            return Ok(Renewed::Ended);
        };
        Ok(match self.way_out(it, network, destination)? {
            Found::Known((_, source)) if source_counts && source.to_ipv6_mapped() != translated.src => {
                Renewed::Ended
            }
            Found::Known((hop, _)) => Renewed::Hop(hop),
            Found::Wait(wait) => Renewed::Wait(wait),
        })
    }

    /// The way of a session's answers to whoever came by that uplink, from the station `from`.
    fn way_as_it_came(
        &mut self,
        it: &mut Ingress<'_>,
        session: &Session,
        uplink: &Uplink,
        from: MacAddr,
    ) -> Renewed {
        let client = session.translated(Direction::Reply).dst.to_ipv4_mapped();
        let (Some(network), Some(client)) = (owners_network(it.snapshot, session), client) else {
            return Renewed::Ended;
        };
        match self.way_back(it, network, client, uplink, from) {
            Found::Known(hop) => Renewed::Hop(hop),
            Found::Wait(wait) => Renewed::Wait(wait),
        }
    }

    /// Whoever began may have moved, outside to another router or uplink, inside to another MAC: answers follow. If it was somebody who is
    /// not guarded, in the name of an endpoint that is, they follow the endpoint as soon as it speaks, and nobody else after that.
    ///
    /// # Errors
    /// [`DropReason::EdgeSource`]: not by that uplink, for he is on another's subnet.
    #[inline(always)]
    fn note_sender(&mut self, it: &Ingress<'_>, id: SessionId) -> Result<(), DropReason> {
        let session = self.sessions.get(id);
        let hop = *session.hop(Direction::Reply);
        if hop.dst_mac == it.view.src && hop.egress == it.port.id {
            return Ok(());
        }
        let is_outside = it.port.place.home().is_none();
        if is_outside && hop.egress != it.port.id && it.snapshot.edge.is_elsewhere(it.port.id, it.packet.src)
        {
            return Err(DropReason::EdgeSource);
        }
        let moved = match it.snapshot.edge.uplink(it.port.id) {
            Some(_) if hop.egress == it.port.id => Some(Hop { dst_mac: it.view.src, ..hop }),
            // Not believed: the next answer looks for the route.
            Some(uplink) => Some(uplink_hop(uplink, it.view.src, uplink.mtu, Hop::UNKNOWN.generation)),
            None if guard::is_guarded(it.port) => self.hop_back_inside(it),
            None if hop.egress != it.port.id
                && it.snapshot.port(hop.egress).is_some_and(guard::is_guarded) =>
            {
                None
            }
            None if it.port.id == session.owner() => self.hop_back_inside(it),
            None => None,
        };
        if let Some(hop) = moved.filter(|_| !self.is_dry()) {
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
        let Some(network) = owners_network(snapshot, session) else { return false };
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

/// The network of the endpoint that a session is counted for.
fn owners_network<'a>(snapshot: &'a Snapshot, session: &Session) -> Option<&'a Network> {
    snapshot.network(snapshot.port(session.owner())?.place.home()?)
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
