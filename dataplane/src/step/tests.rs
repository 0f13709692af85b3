//! Runs end in time: whatever a frame's fate hangs on, the frame after the change has the fate that it would have had without any run.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::addr::MacAddr;
use crate::counters::{CounterSum, PortCounters};
use crate::edge::config::Link;
use crate::edge::tuple::Protocol;
use crate::fdb::{FdbConfig, FdbEntry, FdbStats, Stickiness};
use crate::frame::ethertype;
use crate::network::{Identity, NetworkId};
use crate::offload::Offload;
use crate::testing::*;
use crate::time::Timestamp;

const UDP: u8 = 17;
/// Not the one that other tests have: its address is that of endpoint 1.
const GATEWAY: Gateway =
    Gateway { mac: MacAddr([0x02, 0x42, 10, 0, 0, 9]), address: Ipv4Addr::new(10, 0, 0, 9), prefix_len: 24 };
/// Endpoints 1 and 2 talk, of ports that are open; 3 and 4 are guarded.
const PORTS: [u8; 4] = [1, 2, 3, 4];

struct Lab {
    core: Core,
    now: Timestamp,
    out: Out,
}

impl Lab {
    /// Everybody has been heard of.
    fn new() -> Lab {
        let ports = vec![open_port(1), open_port(2), guarded_port(3), guarded_port(4)];
        let mut lab = Lab { core: Core::with_seed(0, 1), now: Timestamp::from_secs(1000), out: Out::new() };
        let mut world = snapshot(ports);
        let config = FdbConfig { capacity: 64, port_share: 16, ageing: Duration::from_secs(300) };
        change_network(&mut world, |network| {
            network.fdb = Arc::new(crate::fdb::Fdb::with_seed(config, 1));
            network.gateway = Some(GATEWAY);
        });
        lab.core.adopt(lab.now, Arc::new(world));
        for n in PORTS {
            lab.send(n, &ethernet(MacAddr::BROADCAST, mac(n), 0x9000, &[0; 46]));
        }
        lab
    }

    fn send(&mut self, port: u8, frame: &[u8]) -> Verdict {
        self.core.step(self.now, PortId(port.into()), &Frame::plain(frame), &mut self.out)
    }

    fn send_with(&mut self, port: u8, bytes: &[u8], offload: Offload) -> Verdict {
        self.core.step(self.now, PortId(port.into()), &Frame { bytes, offload }, &mut self.out)
    }

    /// From `from` to `to`, so often that a run has begun.
    fn run(&mut self, from: u8, to: u8) {
        for _ in 0..3 {
            assert_eq!(self.send(from, &udp(from, to)), forward(to));
        }
        assert!(self.is_run(from, &udp(from, to)), "the run that the test is about has not begun");
    }

    fn is_run(&self, port: u8, frame: &[u8]) -> bool {
        let frame = Frame::plain(frame);
        let run = self.core.runs.of(PortId(port.into()), &frame);
        run.is_some_and(|run| run.egress(self.now, &self.core.snapshot, &frame).is_some())
    }

    fn fdb(&self) -> Arc<crate::fdb::Fdb> {
        Arc::clone(&self.core.snapshot.network(NETWORK).unwrap().fdb)
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn change(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(&self.core.snapshot);
        change(&mut snapshot);
        self.core.adopt(self.now, Arc::new(snapshot));
    }
}

fn change_network(snapshot: &mut Snapshot, change: impl FnOnce(&mut Network)) {
    let network = &mut snapshot.networks[usize::from(NETWORK.0)];
    let mut changed = Network::clone(network.as_ref().unwrap());
    change(&mut changed);
    *network = Some(Arc::new(changed));
}

fn port_of(snapshot: &mut Snapshot, n: u8) -> &mut Port {
    snapshot.ports[usize::from(n)].as_mut().unwrap()
}

fn udp(from: u8, to: u8) -> Vec<u8> {
    ethernet(mac(to), mac(from), ethertype::IPV4, &ipv4(address(from), address(to), UDP, &[0; 18]))
}

fn forward(port: u8) -> Verdict {
    Verdict::Forward { egress: PortId(port.into()) }
}

fn is_flood(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Flood { cause: FloodCause::UnknownUnicast, .. })
}

#[test]
fn a_run_is_counted_and_leaves_as_its_first_frame_did() {
    for (from, to) in [(1, 2), (3, 4)] {
        let mut lab = Lab::new();
        let received = |lab: &Lab| {
            let port = lab.core.snapshot.port(PortId(from.into())).unwrap();
            CounterSum::of(&port.counters).rx
        };
        let before = received(&lab);
        lab.run(from, to);
        assert_eq!(lab.send(from, &udp(from, to)), forward(to));
        assert_eq!(lab.out.copies(), [PortId(to.into())]);
        let len = udp(from, to).len() as u64;
        assert_eq!(received(&lab).frames - before.frames, 4);
        assert_eq!(received(&lab).bytes - before.bytes, 4 * len);
        assert_eq!(lab.send(to, &udp(to, from)), forward(from), "there is not back");
    }
}

#[test]
fn pairs_that_take_turns_have_runs_side_by_side() {
    let mut lab = Lab::new();
    for (from, to) in [(1, 2), (2, 1), (3, 4), (1, 3)] {
        (0..2).for_each(|_| assert_eq!(lab.send(from, &udp(from, to)), forward(to)));
    }
    let runs =
        [(1, 2), (2, 1), (3, 4), (1, 3)].into_iter().filter(|&(from, to)| lab.is_run(from, &udp(from, to)));
    assert!(runs.count() >= 3, "more than one may share a place, but not all");
}

#[test]
fn what_becomes_of_stations_ends_a_run() {
    let mut lab = Lab::new();
    lab.run(1, 2);
    lab.fdb().learn(mac(2), PortId(4), Stickiness::Free, lab.now);
    assert_eq!(lab.send(1, &udp(1, 2)), forward(4), "another worker has seen the destination move");

    let mut lab = Lab::new();
    lab.run(1, 2);
    lab.fdb().learn(mac(2), PortId(1), Stickiness::Free, lab.now);
    assert_eq!(lab.send(1, &udp(1, 2)), Verdict::Drop(DropReason::SamePort));

    let mut lab = Lab::new();
    lab.run(1, 2);
    lab.fdb().learn(mac(1), PortId(4), Stickiness::Free, lab.now);
    assert_eq!(lab.send(1, &udp(1, 2)), forward(2));
    assert_eq!(lab.fdb().lookup(mac(1), lab.now), Some(PortId(1)), "the source has come back");

    let forgets: [fn(&crate::fdb::Fdb); 3] = [
        |fdb| _ = fdb.remove(mac(2)),
        |fdb| _ = fdb.flush_port(PortId(2)),
        |fdb| _ = fdb.flush_learned(None),
    ];
    for forget in forgets {
        let mut lab = Lab::new();
        lab.run(1, 2);
        forget(&lab.fdb());
        assert!(is_flood(lab.send(1, &udp(1, 2))), "the destination was forgotten");
        assert_eq!(lab.fdb().lookup(mac(1), lab.now), Some(PortId(1)), "the source is learned anew");
    }

    let mut lab = Lab::new();
    lab.run(1, 2);
    lab.fdb().remove(mac(1));
    assert_eq!(lab.send(1, &udp(1, 2)), forward(2));
    assert_eq!(lab.fdb().lookup(mac(1), lab.now), Some(PortId(1)), "the source is learned anew");

    let mut lab = Lab::new();
    lab.run(1, 2);
    lab.fdb().add_static(mac(2), PortId(3)).unwrap();
    assert_eq!(lab.send(1, &udp(1, 2)), forward(3));

    let mut lab = Lab::new();
    lab.run(1, 2);
    lab.fdb().add_static(mac(1), PortId(3)).unwrap();
    (0..5).for_each(|_| assert_eq!(lab.send(1, &udp(1, 2)), forward(2)));
    assert_eq!(lab.fdb().stats().kept, 5, "each frame of a station that is elsewhere is counted");
}

#[test]
fn time_ends_a_run() {
    let mut lab = Lab::new();
    for _ in 0..2999 {
        lab.wait(100);
        assert_eq!(lab.send(1, &udp(1, 2)), forward(2));
        let age = lab.fdb().entry(mac(1), lab.now).unwrap().age;
        assert!(age < Duration::from_secs(1), "who speaks is not {age:?} old");
    }
    lab.wait(100);
    assert!(is_flood(lab.send(1, &udp(1, 2))), "who was silent for 300 s is unknown");

    let mut lab = Lab::new();
    lab.wait(10_000);
    lab.run(1, 2);
    lab.fdb().set_ageing(Duration::from_secs(5));
    assert!(is_flood(lab.send(1, &udp(1, 2))), "the ageing time holds at once");
}

#[test]
fn a_new_snapshot_ends_a_run() {
    type Change = fn(&mut Snapshot);
    let drop = |reason| Some(Verdict::Drop(reason));
    let isolated: Change = |it| [1, 2].into_iter().for_each(|n| port_of(it, n).settings.isolated = true);
    let guarded: Change = |it| *port_of(it, 1) = Port { id: PortId(1), ..guarded_port(3) };
    let new_gateway: Change = |it| {
        change_network(it, |network| network.gateway.as_mut().unwrap().address = address(1));
    };
    let changes: [(Change, Option<Verdict>); 10] = [
        (isolated, drop(DropReason::Isolated)),
        (guarded, drop(DropReason::GuardMac)),
        (new_gateway, drop(DropReason::GatewayAddressClaimed)),
        (|it| change_network(it, |network| network.edge.isolated = true), drop(DropReason::LinkDenied)),
        (|it| port_of(it, 1).place = Place::Blocked(NETWORK), drop(DropReason::Loop)),
        (|it| port_of(it, 2).mtu = 37, drop(DropReason::TooBig)),
        (|it| it.ports[1] = None, drop(DropReason::UnknownPort)),
        (|it| port_of(it, 1).place = Place::Member(NetworkId(7)), drop(DropReason::UnknownPort)),
        (|it| it.ports[2] = None, None),
        (
            |it| {
                change_network(it, |network| {
                    network.fdb = snapshot(vec![]).networks[0].clone().unwrap().fdb.clone()
                })
            },
            None,
        ),
    ];
    for (number, (change, fate)) in changes.into_iter().enumerate() {
        let mut lab = Lab::new();
        lab.run(1, 2);
        lab.change(change);
        let verdict = lab.send(1, &udp(1, 2));
        match fate {
            Some(fate) => assert_eq!(verdict, fate, "change {number}"),
            None => assert!(is_flood(verdict), "change {number}: {verdict}"),
        }
    }
}

#[test]
fn what_a_frame_says_is_held_against_the_guard_within_a_run() {
    let from_other = |source: Ipv4Addr| {
        ethernet(mac(4), mac(3), ethertype::IPV4, &ipv4(source, address(4), UDP, &[0; 18]))
    };
    let mut lab = Lab::new();
    lab.run(3, 4);
    assert_eq!(lab.send(3, &from_other(address(1))), Verdict::Drop(DropReason::GuardIpv4));
    assert_eq!(lab.send(3, &from_other(GATEWAY.address)), Verdict::Drop(DropReason::GatewayAddressClaimed));
    let malformed = ethernet(mac(4), mac(3), ethertype::IPV4, &[0x45; 10]);
    assert_eq!(lab.send(3, &malformed), Verdict::Drop(DropReason::GuardMalformed));
    let mut other_version = udp(3, 4);
    other_version[14] = 0x65;
    assert_eq!(lab.send(3, &other_version), Verdict::Drop(DropReason::GuardMalformed));
    let mut longer_than_it_is = udp(3, 4);
    longer_than_it_is[16] = 0x05;
    assert_eq!(lab.send(3, &longer_than_it_is), Verdict::Drop(DropReason::GuardMalformed));
    let lie = ethernet(mac(4), mac(3), ethertype::ARP, &arp(2, (mac(3), address(1)), (mac(4), address(4))));
    assert_eq!(lab.send(3, &lie), Verdict::Drop(DropReason::GuardArp));
    assert_eq!(lab.send(4, &udp(3, 4)), Verdict::Drop(DropReason::GuardMac), "by another port");
    assert_eq!(lab.send(3, &udp(3, 4)), forward(4), "and the run goes on");

    let mut lab = Lab::new();
    lab.run(1, 2);
    let claim = ethernet(mac(2), mac(1), ethertype::IPV4, &ipv4(GATEWAY.address, address(2), UDP, &[0; 18]));
    assert_eq!(lab.send(1, &claim), Verdict::Drop(DropReason::GatewayAddressClaimed));
}

#[test]
fn what_looks_like_ipv4_and_is_not_has_no_run() {
    // An ARP message whose hardware and protocol type would be the start of an IPv4 header.
    let message = |sender: Ipv4Addr| {
        let mut message = arp(2, (mac(1), sender), (mac(2), address(2)));
        message[..4].copy_from_slice(&[0x45, 0, 0, 28]);
        message
    };
    for disguise in [
        (|message| ethernet(mac(2), mac(1), ethertype::ARP, &message)) as fn(Vec<u8>) -> Vec<u8>,
        // The same behind a tag that would be one.
        |message| tagged(&ethernet(mac(2), mac(1), ethertype::ARP, &message), ethertype::VLAN, 0x4500),
    ] {
        let mut lab = Lab::new();
        for _ in 0..4 {
            assert_eq!(lab.send(1, &disguise(message(address(1)))), forward(2));
        }
        let claim = disguise(message(GATEWAY.address));
        assert_eq!(lab.send(1, &claim), Verdict::Drop(DropReason::GatewayAddressClaimed));
    }
}

#[test]
fn what_needs_a_session_has_no_run() {
    let mut lab = Lab::new();
    lab.change(|it| {
        let link = Link { from: PortId(1), to: PortId(2), service: Some((Protocol::Udp, 53)) };
        change_network(it, |network| (network.edge.isolated, network.edge.links) = (true, Arc::from([link])));
    });
    let to_port = |port: u16| {
        let header = [&[0x9c, 0x40][..], &port.to_be_bytes(), &[0, 18, 0, 0], &[0; 10]].concat();
        ethernet(mac(2), mac(1), ethertype::IPV4, &ipv4(address(1), address(2), UDP, &header))
    };
    for _ in 0..4 {
        assert_eq!(lab.send(1, &to_port(53)), forward(2));
    }
    assert_eq!(lab.send(1, &to_port(54)), Verdict::Drop(DropReason::LinkDenied));
}

#[test]
fn length_and_work_left_are_asked_of_each_frame_of_a_run() {
    let mut lab = Lab::new();
    lab.run(1, 2);
    let long =
        |len| ethernet(mac(2), mac(1), ethertype::IPV4, &ipv4(address(1), address(2), UDP, &vec![0; len]));
    assert_eq!(lab.send(1, &long(1480)), forward(2));
    assert_eq!(lab.send(1, &long(1481)), Verdict::Drop(DropReason::TooBig));
    let partial = |csum_start| Offload { needs_checksum: true, csum_start, csum_offset: 6, ..Offload::NONE };
    assert_eq!(lab.send_with(1, &udp(1, 2), partial(34)), forward(2));
    for start in [20, 33, 50, 4000] {
        let verdict = lab.send_with(1, &udp(1, 2), partial(start));
        assert_eq!(verdict, Verdict::Drop(DropReason::MalformedOffload), "a checksum from byte {start} on");
    }
    assert_eq!(lab.send(1, &udp(1, 2)[..13]), Verdict::Drop(DropReason::Runt));
}

#[derive(Debug, Clone)]
enum Event {
    /// From a station to another, by the port of the third: what it says, and how often.
    Frames(u8, u8, u8, Kind, usize),
    Wait(u64),
    Learn(u8, u8, bool),
    Static(u8, u8),
    Remove(u8),
    FlushPort(u8),
    FlushLearned,
    Ageing(u64),
    Change(u8, Setting),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Udp,
    /// In the name of another.
    As(u8),
    AsGateway,
    Long,
    Partial(u16),
    Tagged,
    Malformed,
    Ipv6,
}

#[derive(Debug, Clone, Copy)]
enum Setting {
    Isolated(bool),
    Guarded(bool),
    Learning(bool),
    Hairpin(bool),
    Flood(bool),
    Mtu(bool),
    Blocked(bool),
    NetworkIsolated(bool),
    Gateway(bool),
}

fn events() -> impl Strategy<Value = Event> {
    // Of a few runs something becomes: two stations speak most.
    let n = || prop_oneof![3 => 1..3u8, 1 => 1..5u8];
    let kind = prop_oneof![
        12 => Just(Kind::Udp),
        1 => (1..5u8).prop_map(Kind::As),
        1 => Just(Kind::AsGateway),
        1 => Just(Kind::Long),
        2 => prop_oneof![Just(34), 0..64u16].prop_map(Kind::Partial),
        1 => Just(Kind::Tagged),
        1 => Just(Kind::Malformed),
        1 => Just(Kind::Ipv6),
    ];
    let setting = (0..9u8, any::<bool>()).prop_map(|(which, on)| match which {
        0 => Setting::Isolated(on),
        1 => Setting::Guarded(on),
        2 => Setting::Learning(on),
        3 => Setting::Hairpin(on),
        4 => Setting::Flood(on),
        5 => Setting::Mtu(on),
        6 => Setting::Blocked(on),
        7 => Setting::NetworkIsolated(on),
        _ => Setting::Gateway(on),
    });
    // By one's own port, but for a few who have moved or lie.
    let by = |from: u8| prop_oneof![8 => Just(from), 1 => 1..5u8];
    let frames = (n(), n(), kind, 1..5usize).prop_flat_map(move |(from, to, kind, times)| {
        by(from).prop_map(move |port| Event::Frames(from, to, port, kind, times))
    });
    prop_oneof![
        30 => frames,
        6 => prop_oneof![0..50u64, 100..1200u64, 0..200_000u64].prop_map(Event::Wait),
        2 => (n(), n(), any::<bool>()).prop_map(|(mac, port, sticky)| Event::Learn(mac, port, sticky)),
        1 => (n(), n()).prop_map(|(mac, port)| Event::Static(mac, port)),
        2 => n().prop_map(Event::Remove),
        1 => n().prop_map(Event::FlushPort),
        1 => Just(Event::FlushLearned),
        1 => prop_oneof![Just(0), 1..100u64, 1_000..400_000u64].prop_map(Event::Ageing),
        4 => (n(), setting).prop_map(|(port, setting)| Event::Change(port, setting)),
    ]
}

fn frame_of(from: u8, to: u8, kind: Kind) -> (Vec<u8>, Offload) {
    let from_address =
        |source| ethernet(mac(to), mac(from), ethertype::IPV4, &ipv4(source, address(to), UDP, &[0; 18]));
    let bytes = match kind {
        Kind::Udp | Kind::Partial(_) => udp(from, to),
        Kind::As(other) => from_address(address(other)),
        Kind::AsGateway => from_address(GATEWAY.address),
        Kind::Long => {
            ethernet(mac(to), mac(from), ethertype::IPV4, &ipv4(address(from), address(to), UDP, &[0; 600]))
        }
        Kind::Tagged => tagged(&udp(from, to), ethertype::VLAN, 7),
        Kind::Malformed => udp(from, to)[..30].to_vec(),
        Kind::Ipv6 => {
            ethernet(mac(to), mac(from), ethertype::IPV6, &ipv6(address6(from), address6(to), UDP, &[0; 18]))
        }
    };
    let offload = match kind {
        Kind::Partial(csum_start) => {
            Offload { needs_checksum: true, csum_start, csum_offset: 6, ..Offload::NONE }
        }
        _ => Offload::NONE,
    };
    (bytes, offload)
}

fn set(snapshot: &mut Snapshot, n: u8, setting: Setting) {
    let port = port_of(snapshot, n);
    match setting {
        Setting::Isolated(on) => port.settings.isolated = on,
        Setting::Guarded(on) => {
            port.settings.guard = on;
            port.identity = on.then(|| Arc::new(Identity { ..identity(n) }));
        }
        Setting::Learning(on) => port.settings.learning = on,
        Setting::Hairpin(on) => port.settings.hairpin = on,
        Setting::Flood(on) => port.settings.flood = on,
        Setting::Mtu(small) => port.mtu = if small { 500 } else { 1500 },
        Setting::Blocked(on) => {
            port.place = if on { Place::Blocked(NETWORK) } else { Place::Member(NETWORK) }
        }
        Setting::NetworkIsolated(on) => change_network(snapshot, |network| network.edge.isolated = on),
        Setting::Gateway(on) => change_network(snapshot, |network| network.gateway = on.then_some(GATEWAY)),
    }
}

/// All that happens, and what was counted and is known in the end.
type Story = (Vec<(Verdict, Vec<PortId>)>, Vec<CounterSum>, Vec<FdbEntry>, FdbStats);

fn tell(events: &[Event], with_runs: bool) -> Story {
    let mut lab = Lab::new();
    // The counters are this story's own.
    lab.change(|it| {
        PORTS.into_iter().for_each(|n| port_of(it, n).counters = Arc::new([PortCounters::default()]))
    });
    let mut told = Vec::new();
    for event in events {
        let (now, fdb) = (lab.now, lab.fdb());
        let port = |n: u8| PortId(n.into());
        match *event {
            Event::Frames(from, to, by, kind, times) => {
                let (bytes, offload) = frame_of(from, to, kind);
                for _ in 0..times {
                    if !with_runs {
                        lab.core.runs.clear();
                    }
                    told.push((lab.send_with(by, &bytes, offload), lab.out.copies().to_vec()));
                }
            }
            Event::Wait(millis) => lab.wait(millis),
            Event::Learn(n, by, sticky) => {
                let stickiness = if sticky { Stickiness::Sticky } else { Stickiness::Free };
                fdb.learn(mac(n), port(by), stickiness, now);
            }
            Event::Static(n, by) => _ = fdb.add_static(mac(n), port(by)),
            Event::Remove(n) => _ = fdb.remove(mac(n)),
            Event::FlushPort(n) => _ = fdb.flush_port(port(n)),
            Event::FlushLearned => _ = fdb.flush_learned(None),
            Event::Ageing(millis) => fdb.set_ageing(Duration::from_millis(millis)),
            Event::Change(n, setting) => lab.change(|it| set(it, n, setting)),
        }
    }
    let ports = lab.core.snapshot.ports.iter().flatten();
    let counters = ports.map(|port| CounterSum::of(&port.counters)).collect();
    (told, counters, lab.fdb().held_entries(lab.now), lab.fdb().stats())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(400)))]

    /// With runs everything is as without, whatever happens: verdicts, copies, counters, the FDB to the millisecond.
    #[test]
    fn runs_change_nothing(events in prop::collection::vec(events(), 1..80)) {
        prop_assert_eq!(tell(&events, true), tell(&events, false));
    }
}
