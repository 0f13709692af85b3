//! Runs of frames between two stations: what became of the last one becomes of the next, while nothing that it hangs on is another.
//!
//! A frame that is forwarded to a known station was let pass by rules that look at
//!
//! * the snapshot: ports, their settings and identities, isolation, the gateway. A new one ends all runs ([`Runs::clear`]);
//! * its port, its two MACs and its type, which the next one must have too;
//! * what the FDB knows of both stations, which must be the very same still, by whatever worker ([`Fdb::is_as_it_was`]): where they
//!   are, by which kind of entry, and when they were last seen. So the run also ends when the source's stamp has to be renewed;
//! * the rest of the frame: its length, its IPv4 header, what is left to the device. That is asked of every frame.
//!
//! Whatever is not so goes the long way, and begins a new run there: nothing is decided here but that a frame passes. What hangs on
//! more than this has no runs: floods, the gateway, sessions, tags, ports with the gateway's address, and IPv6, whose neighbour
//! discovery the guard reads.
//!
//! There are few, each at a place that its two stations choose: who is not here, be it because another aims at his place, pays a
//! comparison. A run takes 13 ns a frame where the long way takes 24 (docs/performance.md).

use crate::edge::link;
#[cfg(doc)]
use crate::fdb::Fdb;
use crate::fdb::Hint;
use crate::fdb::pair::Pair;
use crate::frame::{ETHERNET_HEADER_LEN, EthernetView, Frame, ethertype};
use crate::guard::{self, SourceRule};
use crate::id::{NetworkId, PortId};
use crate::network::{Network, Port, Snapshot};
use crate::time::Timestamp;

/// How many: as many pairs of stations as one expects in a batch of frames.
const PLACES: usize = 16;

/// What a frame must have in common with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// The destination, and the first bytes of the source.
    first: u64,
    /// The source, and the type.
    last: u64,
    ingress: PortId,
}

impl Head {
    #[inline(always)]
    fn of(ingress: PortId, bytes: &[u8]) -> Option<Head> {
        let header = bytes.first_chunk::<ETHERNET_HEADER_LEN>()?;
        let (first, last) = (header.first_chunk()?, header.last_chunk()?);
        Some(Head { first: u64::from_ne_bytes(*first), last: u64::from_ne_bytes(*last), ingress })
    }

    /// Fibonacci hashing. There and back are two places.
    #[inline(always)]
    fn place(&self) -> usize {
        let both = self.first.rotate_left(8) ^ self.last;
        (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % PLACES
    }
}

/// What became of the last frames that began so.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Run {
    head: Head,
    network: NetworkId,
    egress: PortId,
    mtu: u16,
    source: SourceRule,
    pair: Pair,
}

impl Run {
    /// Nothing has come with that head.
    const fn unknown(head: Head) -> Run {
        Run {
            head,
            network: NetworkId(0),
            egress: PortId(0),
            mtu: 0,
            source: SourceRule::NONE,
            pair: Pair::OVER,
        }
    }

    /// Where `frame` leaves, which begins as the run's frames do, if all else is as it was.
    // A function of its own: what goes another way keeps its registers.
    #[inline(never)]
    pub(super) fn egress(&self, now: Timestamp, snapshot: &Snapshot, frame: &Frame<'_>) -> Option<PortId> {
        let fdb = &snapshot.network(self.network)?.fdb;
        let view = &EthernetView::untagged(frame.bytes, ethertype::IPV4)?;
        let goes_on = fdb.is_as_it_was(&self.pair, now)
            && frame.offload.is_consistent(frame.bytes.len())
            && self.source.admits(view, frame)
            && super::is_within(self.mtu, view, frame);
        goes_on.then_some(self.egress)
    }
}

/// One worker's runs.
#[derive(Debug)]
pub(super) struct Runs {
    /// Where the FDB had the last frame's source and destination.
    pub(super) hints: [Hint; 2],
    places: [Run; PLACES],
}

impl Runs {
    pub(super) const fn new() -> Runs {
        let nobody = Head { first: 0, last: 0, ingress: PortId(0) };
        Runs { hints: [Hint::NONE; 2], places: [Run::unknown(nobody); PLACES] }
    }

    /// Ends them all: the snapshot is another one.
    pub(super) fn clear(&mut self) {
        *self = Runs::new();
    }

    /// The run of frames that begin as `frame` does, if the last one at its place was such.
    #[inline(always)]
    pub(super) fn of(&self, ingress: PortId, frame: &Frame<'_>) -> Option<&Run> {
        let head = Head::of(ingress, frame.bytes)?;
        Some(&self.places[head.place()]).filter(|run| run.head == head)
    }

    /// A frame was forwarded. It begins a run when the one before was between the same two stations: where there are more pairs of them than
    /// places, nothing is to be gained and little spent.
    #[inline(always)]
    pub(super) fn note(&mut self, now: Timestamp, it: &Forwarded<'_>) {
        if self.hints[0].is_again() && self.hints[1].is_again() {
            self.begin(now, it);
        }
    }

    #[inline(never)]
    fn begin(&mut self, now: Timestamp, it: &Forwarded<'_>) {
        if let Some(run) = run_of(now, it, &self.hints) {
            self.places[run.head.place()] = run;
        }
    }
}

/// A frame that was counted, let pass by the guard, learned from and forwarded.
pub(super) struct Forwarded<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) network: &'a Network,
    /// Where it came in.
    pub(super) port: &'a Port,
    /// Where its destination is known to be.
    pub(super) egress: PortId,
    pub(super) view: &'a EthernetView,
    pub(super) frame: &'a Frame<'a>,
}

/// What becomes of frames as `it`, if that can be said of the next one.
fn run_of(now: Timestamp, it: &Forwarded<'_>, hints: &[Hint; 2]) -> Option<Run> {
    let &Forwarded { network, port, view, .. } = it;
    let egress = it.snapshot.port(it.egress)?;
    let is_plain = view.ethertype == ethertype::IPV4 && view.payload_offset == ETHERNET_HEADER_LEN;
    if !is_plain || !port.settings.learning || !link::is_open(network, port, egress) {
        return None;
    }
    let stickiness = guard::stickiness(port);
    let pair = network.fdb.pair([view.src, view.dst], port.id, stickiness, now, hints)?;
    let source = SourceRule::of(network.gateway.as_ref(), port, view, it.frame)?;
    (pair.egress() == egress.id).then_some(Run {
        head: Head::of(port.id, it.frame.bytes)?,
        network: network.id,
        egress: egress.id,
        mtu: egress.mtu,
        source,
        pair,
    })
}
