//! The whole decision, on arbitrary frames with arbitrary metadata.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use pontoon_dataplane::counters::{CounterSum, PortCounters};
use pontoon_dataplane::edge::config::NetworkEdge;
use pontoon_dataplane::fdb::{Fdb, FdbConfig};
use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::network::{
    DEFAULT_AGEING, Gateway, Identity, Network, NetworkId, Place, Port, PortSettings, Snapshot,
};
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::segment::segment;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::verdict::FloodCause;
use pontoon_dataplane::{DropReason, Frame, MacAddr, PortId, Timestamp, Verdict};

use crate::input::{at_most, each, offload};
use crate::reach;

mod built;

pub use built::step_built;

/// More frames find nothing that fewer do not.
const MAX_FRAMES: usize = 100;
/// Ports 0 to 7; there is no port 8, but frames come from it as well.
const PORTS: u8 = 8;

/// Input: frames, each with its port (modulo 9), the time since the one before it (in units of 8 ms), its virtio-net
/// header, its length, its bytes. Every decision must be one that the rules allow, every copy must be fit for a port
/// without offloads, and the counters must add up.
pub fn step(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut world = World::of(snapshot());
    for Arrival { port, delay, frame } in each(&mut input, MAX_FRAMES) {
        world.wait(delay);
        world.receive(port, &frame);
    }
    world.check_counters();
}

/// By which port a frame comes, and how long after the one before it.
struct Arrival<'a> {
    port: PortId,
    delay: Duration,
    frame: Frame<'a>,
}

impl<'a> Arbitrary<'a> for Arrival<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Arrival<'a>> {
        let port = input.int_in_range(0..=u16::from(PORTS)).map(PortId)?;
        let delay = Duration::from_millis(u64::from(input.arbitrary::<u16>()?) * 8);
        let (offload, len) = (offload(input)?, input.arbitrary()?);
        Ok(Arrival { port, delay, frame: Frame { bytes: at_most(input, len)?, offload } })
    }
}

/// The input of [`step`] that is these frames: each with its port, when it comes and its bytes (65,535 at most), with nothing left to do.
pub fn step_input<'a>(frames: impl IntoIterator<Item = (u8, Duration, &'a [u8])>) -> Vec<u8> {
    let mut input = Vec::new();
    let mut before = None;
    for (port, at, bytes) in frames {
        let delay = at.saturating_sub(before.unwrap_or(at)).as_millis() / 8;
        before = Some(at);
        let bytes = &bytes[..bytes.len().min(u16::MAX.into())];
        input.push(port);
        input.extend(u16::try_from(delay).unwrap_or(u16::MAX).to_le_bytes());
        input.extend(Offload::NONE.emit());
        input.extend((bytes.len() as u16).to_le_bytes());
        input.extend(bytes);
    }
    input
}

/// Two networks. In the first are ports 0 to 5, all of them different, in the second 6 and 7.
fn snapshot() -> Snapshot {
    let default = PortSettings::default();
    let settings = [
        default,
        PortSettings { hairpin: true, ..default },
        PortSettings { guard: true, ..default },
        PortSettings { guard: true, isolated: true, ..default },
        PortSettings { isolated: true, flood: false, ..default },
        PortSettings { learning: false, ..default },
        default,
        PortSettings { isolated: true, hairpin: true, guard: true, ..default },
    ];
    let port = |number: u8| Port {
        id: PortId(number.into()),
        place: Place::Member(NetworkId(u16::from(number >= 6))),
        settings: settings[usize::from(number)],
        identity: settings[usize::from(number)].guard.then(|| Arc::new(identity(number))),
        own_mac: None,
        mtu: if number == 5 { 600 } else { 1500 },
        counters: Arc::from([PortCounters::default()]),
    };
    let network = |number: u16, members: core::ops::Range<u16>| {
        let address = Ipv4Addr::new(10, 0, number as u8, 1);
        // Small, so that fuzzing reaches its bounds; seeded, so that a find stays one.
        let fdb = FdbConfig { capacity: 16, port_share: 8, ageing: DEFAULT_AGEING };
        Arc::new(Network {
            id: NetworkId(number),
            gateway: Some(Gateway { mac: MacAddr::from_ipv4(address), address, prefix_len: 24 }),
            mtu: 1500,
            flooded: Arc::default(),
            fdb: Arc::new(Fdb::with_seed(fdb, 0)),
            members: members.map(PortId).collect(),
            edge: NetworkEdge::default(),
        })
    };
    Snapshot {
        generation: 1,
        networks: vec![Some(network(0, 0..6)), Some(network(1, 6..8))],
        ports: (0..PORTS).map(|number| Some(port(number))).collect(),
        edge: Arc::default(),
    }
}

fn identity(number: u8) -> Identity {
    let own: Vec<IpAddr> = vec![
        Ipv4Addr::new(10, 0, u8::from(number >= 6), number).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
    ];
    Identity { mac: MacAddr([0x02, 0x42, 10, 0, 0, number]), addresses: own.clone(), sandbox_addresses: own }
}

struct World {
    core: Core,
    out: Out,
    scratch: Vec<u8>,
    now: Timestamp,
    next_tick: Option<Timestamp>,
    /// What should have been counted, by port: frames in, bytes in, frames dropped by reason.
    received: [(u64, u64); PORTS as usize],
    dropped: [[u64; DropReason::COUNT]; PORTS as usize],
}

impl World {
    fn of(snapshot: Snapshot) -> World {
        let mut core = Core::new(0);
        core.adopt(Timestamp::ZERO, Arc::new(snapshot));
        World {
            core,
            out: Out::new(),
            scratch: Vec::new(),
            now: Timestamp::ZERO,
            next_tick: Some(Timestamp::ZERO),
            received: Default::default(),
            dropped: [[0; DropReason::COUNT]; PORTS as usize],
        }
    }

    fn wait(&mut self, delay: Duration) {
        self.now = self.now + delay;
        if self.next_tick.is_some_and(|due| due <= self.now) {
            self.next_tick = self.core.tick(self.now, &mut self.out);
            assert!(self.next_tick.is_none_or(|due| due > self.now), "a worker would tick for ever");
            assert_eq!(self.out.copies(), []);
        }
    }

    fn receive(&mut self, ingress: PortId, frame: &Frame<'_>) {
        let verdict = self.core.step(self.now, ingress, frame, &mut self.out);
        reach::note(verdict);
        let snapshot = Arc::clone(self.core.snapshot());
        let Some(port) = snapshot.port(ingress) else {
            assert_eq!(verdict, Verdict::Drop(DropReason::UnknownPort));
            assert!(self.out.copies().is_empty() && !self.out.has_made());
            return;
        };
        let (frames, bytes) = &mut self.received[ingress.index()];
        *frames += 1;
        *bytes += frame.bytes.len() as u64;

        let copies = self.out.copies().len();
        match verdict {
            Verdict::Forward { egress } => assert_eq!(self.out.copies(), [egress]),
            Verdict::Flood { copies: said, .. } => assert!(copies == usize::from(said) && copies > 0),
            Verdict::Reply(_) => assert!(copies == 0 && self.out.has_made()),
            Verdict::Taken(_) | Verdict::Wait(_) | Verdict::HandOver | Verdict::Route { .. } => {
                assert_eq!(copies, 0)
            }
            Verdict::Drop(reason) => {
                assert_eq!(copies, 0);
                self.dropped[ingress.index()][reason as usize] += 1;
            }
        }
        if frame.bytes.len() >= 6 && MacAddr::from_prefix(frame.bytes).is_reserved_link_local() {
            assert!(copies == 0 && !self.out.has_made(), "{verdict}");
        }
        for (index, &egress) in self.out.copies().iter().enumerate() {
            let egress = snapshot.port(egress).expect("a frame leaves by a port that there is");
            assert!(!self.out.copies()[..index].contains(&egress.id), "twice by {}", egress.id);
            assert_eq!(egress.place, port.place);
            assert!(egress.id != port.id || port.settings.hairpin, "back by {}", egress.id);
            assert!(!(egress.settings.isolated && port.settings.isolated), "{} is isolated", egress.id);
            let is_unknown = matches!(verdict, Verdict::Flood { cause: FloodCause::UnknownUnicast, .. });
            assert!(egress.settings.flood || !is_unknown, "{} takes nothing for strangers", egress.id);
            check_leaves(frame, egress, &mut self.scratch);
        }
        for (egress, made) in self.out.made() {
            let egress = snapshot.port(egress).expect("a frame leaves by a port that there is");
            let gateway =
                port.place.network().and_then(|id| snapshot.network(id)).and_then(|network| network.gateway);
            assert_eq!(egress.place, port.place);
            assert_eq!(EthernetView::parse(made.bytes).ok().map(|view| view.src), gateway.map(|g| g.mac));
            check_leaves(&made, egress, &mut self.scratch);
        }
    }

    fn check_counters(&self) {
        for port in self.core.snapshot().ports.iter().flatten() {
            let counted = CounterSum::of(&port.counters);
            assert_eq!((counted.rx.frames, counted.rx.bytes), self.received[port.id.index()], "{}", port.id);
            // What waits is dropped by time, or makes way for others, and no verdict speaks of it.
            let waited = [
                DropReason::FragmentTimeout,
                DropReason::FragmentsFull,
                DropReason::FragmentLost,
                DropReason::RouteTimeout,
            ];
            for &reason in DropReason::ALL.iter().filter(|reason| !waited.contains(reason)) {
                let seen = self.dropped[port.id.index()][reason as usize];
                assert_eq!(counted.dropped(reason), seen, "{reason} on {}", port.id);
            }
        }
    }
}

/// A port that takes plain frames alone gets plain frames that are within its MTU.
fn check_leaves(frame: &Frame<'_>, egress: &Port, scratch: &mut Vec<u8>) {
    // What cannot be brought into that form is dropped there by name.
    let _ = segment(frame, Offloads::NONE, scratch, &mut |piece| {
        assert!(!piece.offload.needs_checksum && !piece.offload.is_super_frame());
        let view = EthernetView::parse(piece.bytes).expect("what leaves has a header");
        let len = piece.bytes.len() - view.payload_offset;
        assert!(len <= usize::from(egress.mtu), "{len} bytes for an MTU of {}", egress.mtu);
    });
}
