//! What the edge decides about one packet, told while it decides. When nobody traces this costs one branch at each place where
//! something would be told.

use std::net::Ipv4Addr;

use super::Edge;
use super::config::Uplink;
use super::ingress::Ingress;
use super::neighbour::{self, NeighbourKey, Resolved};
use super::open::{self, Chosen};
use super::ports::Lease;
use super::punt::{Neighbour, Request, Route};
use super::route::{RouteKey, Way};
use super::session::mapping::Transport;
use super::session::tcp::TcpFlags;
use super::session::{NewSession, Seeker, SessionId};
use super::tuple::{Protocol, Tuple};
use super::waiting::Awaited;
use crate::id::NetworkId;
use crate::out::Out;
use crate::time::Timestamp;
use crate::trace::KnownRoute;
use crate::trace::decision::{Decision, Routing, Tracking};
use crate::verdict::{DropReason, Wait};

/// What is told while a packet is traced, and what the trace must know that the edge must not remember.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    pub(crate) decisions: Vec<Decision>,
    /// What the packet waits for, and how many frames were made before.
    waits: Vec<(Awaited, usize)>,
    /// Routes and next hops that were looked up: who looks again need not ask again.
    seen: Vec<Awaited>,
    /// How many questions were put before it waits for the first time.
    pub(crate) questions: usize,
    /// The route that it needs and that is not known.
    pub(crate) lacks: Option<(NetworkId, Ipv4Addr)>,
    known: Option<KnownRoute>,
    /// The session that the packet has ended.
    ended: Option<SessionId>,
}

impl Telling {
    /// What the packet waits for, and how many frames were made before.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (Wait, usize)> {
        self.waits.iter().map(|(awaited, made)| (awaited.wait(), *made))
    }

    /// Whether something is looked up for the first time.
    fn is_news(&mut self, what: Awaited) -> bool {
        let is_news = !self.seen.contains(&what);
        if is_news {
            self.seen.push(what);
        }
        is_news
    }
}

impl Edge {
    /// Tells what it decides from now on, and changes nothing, until [`Edge::end_trace`]. `known` counts where that route is not known
    /// yet.
    pub(crate) fn begin_trace(&mut self, known: Option<KnownRoute>) {
        self.told = Some(Box::new(Telling { known, ..Telling::default() }));
    }

    /// What was told.
    pub(crate) fn end_trace(&mut self) -> Telling {
        self.told.take().map_or_else(Telling::default, |told| *told)
    }

    /// Whether nothing must change.
    #[inline]
    pub(super) fn is_dry(&self) -> bool {
        self.told.is_some()
    }

    /// Tells a decision, if somebody traces.
    #[inline(always)]
    pub(crate) fn tell<D: Into<Decision>>(&mut self, decision: impl FnOnce() -> D) {
        if let Some(told) = &mut self.told {
            told.decisions.push(decision().into());
        }
    }

    /// The packet would be kept, with what is in `out` done already. Whether it goes on as if what it waits for had come: in a trace.
    pub(super) fn goes_on<D: Into<Decision>>(
        &mut self,
        awaited: Awaited,
        out: &Out,
        decision: impl FnOnce() -> D,
    ) -> bool {
        let Some(told) = &mut self.told else { return false };
        if told.waits.iter().any(|(before, _)| *before == awaited) {
            return true;
        }
        if told.waits.is_empty() {
            told.questions = out.requests().len();
        }
        told.waits.push((awaited, out.made().count()));
        told.decisions.push(decision().into());
        true
    }

    /// In a trace: what is known of a route. What control would be asked goes into `out`.
    #[cold]
    pub(super) fn rehearse_route(&mut self, it: &mut Ingress<'_>, key: RouteKey, may_wait: bool) -> Way {
        let (way, question) = self.routes.rehearse(it.now, key, may_wait);
        let is_news = self.told.as_mut().is_some_and(|told| told.is_news(Awaited::Route(key)));
        if let Some(question) = question.filter(|_| is_news) {
            it.out.ask(question);
        }
        way
    }

    /// In a trace: what is known of a next hop. The ARP request for it goes into `out`.
    #[cold]
    pub(super) fn rehearse_next_hop(
        &mut self,
        it: &mut Ingress<'_>,
        uplink: &Uplink,
        (address, told): (Ipv4Addr, Option<Neighbour>),
        may_wait: bool,
    ) -> Resolved {
        let key = NeighbourKey { uplink: uplink.port, address };
        let (resolved, question) = self.neighbours.rehearse(it.now, key, told, may_wait);
        let is_news = self.told.as_mut().is_some_and(|told| told.is_news(Awaited::Neighbour(key)));
        if let Some(to) = question.filter(|_| is_news) {
            neighbour::ask(uplink, address, to, it.out);
        }
        resolved
    }

    /// The answer to a question about a route that a trace was given beforehand.
    pub(super) fn answered_route(&mut self, key: RouteKey) -> Option<Option<Route>> {
        let told = self.told.as_mut()?;
        match told.known {
            Some(known) if (known.network, known.destination) == (key.network, key.destination) => {
                Some(known.route)
            }
            _ => {
                told.lacks = Some((key.network, key.destination));
                None
            }
        }
    }

    /// A session ends: for good, or for the rest of a trace.
    pub(super) fn remove_session(&mut self, id: SessionId, now: Timestamp) {
        if let Some(told) = &mut self.told {
            told.ended = Some(id);
        } else {
            self.sessions.remove(id, now);
            self.call_for_release();
        }
    }

    /// A session begins, for good or in a trace.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn insert_session(
        &mut self,
        now: Timestamp,
        new: &NewSession,
        flags: Option<TcpFlags>,
    ) -> Result<(), DropReason> {
        let Some(told) = &mut self.told else {
            return self.sessions.insert(now, new, flags).map(drop).map_err(open::reason);
        };
        let (room, refused) = self.sessions.room(now, new, told.ended);
        told.decisions.extend(room.yielding().map(|id| {
            let (number, state) = (id.number(), self.sessions.get(id).state());
            Decision::from(Tracking::MakesRoom { number, state })
        }));
        if let Some(refused) = refused {
            return Err(open::reason(refused));
        }
        told.decisions.push(Tracking::New { original: new.original, reply: new.reply }.into());
        Ok(())
    }

    /// Whether a mapping has ended in a trace, with the only session that uses it.
    pub(super) fn has_ended_mapping(&self, internal: Transport) -> bool {
        self.ended_session().is_some_and(|id| self.sessions.is_all_of_mapping(id, internal))
    }

    /// The session that a trace has ended.
    fn ended_session(&self) -> Option<SessionId> {
        self.told.as_ref()?.ended
    }

    /// The port that a flow would get that wants to keep its own: as if that were granted.
    #[cold]
    pub(super) fn rehearse_wish(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        reply: &Tuple,
        lease: Lease,
    ) -> Result<Chosen, DropReason> {
        let (protocol, port) = (tuple.protocol, tuple.src_port);
        if let Some(question) = self.wishes.question(it.now, protocol, port) {
            it.out.ask(question);
        }
        let otherwise = self.look_for_port(it, tuple, reply, lease, false);
        self.goes_on(Awaited::Port(protocol, port), it.out, || Routing::AsksPort { port, otherwise });
        self.rehearse_port(it, tuple, reply, lease, true)
    }

    /// The port that a flow would get, with its own one held if it `keeps_own`.
    #[cold]
    pub(super) fn rehearse_port(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        reply: &Tuple,
        lease: Lease,
        keeps_own: bool,
    ) -> Result<Chosen, DropReason> {
        let protocol = tuple.protocol;
        if let Some(question) = self.question_for_more(it.now, protocol) {
            it.out.ask(question);
        }
        if let Some(port) = self.look_for_port(it, tuple, reply, lease, keeps_own) {
            self.tell(|| Routing::Port(port));
            return Ok(Chosen::Port(port));
        }
        if !self.expects_more(it.now, protocol) {
            return Err(it.prohibit(DropReason::PortsExhausted));
        }
        let awaited = Awaited::MorePorts(protocol);
        self.hold(it.now, it.snapshot, awaited, it.port.id, it.frame)?;
        self.goes_on(awaited, it.out, || Routing::AsksPorts(protocol));
        Ok(Chosen::Port(0))
    }

    fn look_for_port(
        &mut self,
        it: &Ingress<'_>,
        tuple: &Tuple,
        reply: &Tuple,
        lease: Lease,
        keeps_own: bool,
    ) -> Option<u16> {
        let (own, spare) = ((tuple.src, tuple.src_port), self.expects_more(it.now, tuple.protocol));
        let seeker = Seeker { owner: it.port.id, own, reply, lease, spare };
        let ended = self.ended_session();
        self.sessions.rehearse_port(it.now, &seeker, ended, keeps_own)
    }

    /// What control would be asked now because few ports are left.
    fn question_for_more(&self, now: Timestamp, protocol: Protocol) -> Option<Request> {
        let is_low = self.sessions.ports().wants_more(protocol);
        self.supply.question(now, protocol).filter(|_| is_low)
    }

    /// Whether more ports would be expected after that.
    fn expects_more(&self, now: Timestamp, protocol: Protocol) -> bool {
        self.supply.is_expected(now, protocol) || self.question_for_more(now, protocol).is_some()
    }
}
