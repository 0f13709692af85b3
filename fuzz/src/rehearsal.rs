//! Traces, held against what happens then.

use pontoon_dataplane::counters::CounterSum;
use pontoon_dataplane::edge::punt::{Request, Route};
use pontoon_dataplane::edge::view::{EdgeStats, SessionFilter, SessionView};
use pontoon_dataplane::fdb::{FdbEntry, FdbStats};
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::trace::{KnownRoute, Trace};
use pontoon_dataplane::verdict::Wait;
use pontoon_dataplane::{Frame, PortId, Timestamp, Verdict};

use crate::edge;

/// Input: that of [`edge`](crate::edge). Every frame is traced before it comes: the trace says what happens then, nothing that can be seen
/// has changed by it, and everything goes on as it does in a life without traces.
pub fn trace(data: &[u8]) {
    let life = |is_traced| edge::run(data, Some(Log::new(is_traced))).map(|log| log.happened);
    assert_eq!(life(true), life(false), "traces have changed something");
}

/// What has happened to a frame.
#[derive(Debug, PartialEq, Eq)]
struct Happened {
    verdict: Verdict,
    left: Vec<(PortId, OwnedFrame)>,
    asked: Vec<Request>,
}

/// What happens in a world, and whether it is traced.
#[derive(Debug)]
pub(crate) struct Log {
    is_traced: bool,
    happened: Vec<Happened>,
    told: Option<Trace>,
}

impl Log {
    fn new(is_traced: bool) -> Log {
        Log { is_traced, happened: Vec::new(), told: None }
    }

    /// A frame is about to come.
    pub(crate) fn before(&mut self, core: &mut Core, now: Timestamp, ingress: PortId, frame: &Frame<'_>) {
        if !self.is_traced {
            return;
        }
        let look = look(core, now);
        let told = core.trace(now, ingress, frame, None);
        if let Some((network, destination)) = told.lacks {
            let next_hop = destination;
            let source = core.snapshot().edge.host_addresses.first().copied();
            let uplink = core.snapshot().edge.uplinks.first().map(|uplink| uplink.port);
            let route = source.zip(uplink).map(|(source, uplink)| Route {
                uplink,
                next_hop,
                source,
                mtu: 1500,
                neighbour: None,
            });
            let further = core.trace(now, ingress, frame, Some(KnownRoute { network, destination, route }));
            assert_eq!(further.waits.first(), Some(&Wait::Route), "{further:#?}");
            assert!(further.leaves.iter().all(|it| it.after > 0), "{further:#?}");
        }
        assert_eq!(look, self::look(core, now), "the trace has changed something");
        self.told = Some(told);
    }

    /// It has come, or one that waited has gone on.
    pub(crate) fn after(&mut self, verdict: Verdict, frame: &Frame<'_>, out: &Out) {
        let owned = |bytes: Vec<u8>, offload| OwnedFrame { bytes, offload };
        let copies = out.copies().iter().map(|&port| (port, owned(frame.bytes.to_vec(), frame.offload)));
        let rewritten = out.rewritten().map(|it| (it.egress, owned(it.assemble(frame), it.offload)));
        let made = out.made().map(|(port, made)| (port, owned(made.bytes.to_vec(), made.offload)));
        let left = copies.chain(rewritten).chain(made).collect();
        let happened = Happened { verdict, left, asked: out.requests().to_vec() };
        if let Some(told) = self.told.take() {
            let at_once = told.leaves.iter().filter(|it| it.after == 0);
            let said = Happened {
                verdict: told.waits.first().map_or(told.verdict, |wait| Verdict::Wait(*wait)),
                left: at_once.map(|it| (it.port, it.frame.clone())).collect(),
                asked: told.asks.clone(),
            };
            assert_eq!(said, happened, "{:#?}", told.decisions);
        }
        self.happened.push(happened);
    }
}

type Look = (Vec<SessionView>, EdgeStats, Option<Timestamp>, Vec<CounterSum>, Vec<(Vec<FdbEntry>, FdbStats)>);

/// All that can be seen.
fn look(core: &Core, now: Timestamp) -> Look {
    let edge = core.edge().expect("worker 0 has the edge");
    let snapshot = core.snapshot();
    let counters = snapshot.ports.iter().flatten().map(|port| CounterSum::of(&port.counters)).collect();
    let tables = snapshot.networks.iter().flatten().map(|network| &network.fdb);
    let tables = tables.map(|fdb| (fdb.held_entries(now), fdb.stats())).collect();
    let (sessions, _) = edge.page(now, SessionFilter::default(), 0, usize::MAX);
    (sessions, edge.stats(), edge.due(), counters, tables)
}
