//! The forwarding table held against its model, and under real threads.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Barrier;

use pontoon_dataplane::fdb::model::FdbModel;
use pontoon_dataplane::fdb::{EntryKind, Fdb, FdbConfig, Hint, Stickiness};
use pontoon_dataplane::network::MAX_PORTS;
use pontoon_dataplane::{MacAddr, PortId, Timestamp};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Learn(MacAddr, PortId, Stickiness),
    Lookup(MacAddr),
    AddStatic(MacAddr, PortId),
    Remove(MacAddr),
    FlushPort(PortId),
    FlushLearned(Option<PortId>),
    Sweep,
    Wait(u64),
    Ageing(u64),
}

fn macs() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        40 => (0..40u64).prop_map(|n| MacAddr::from_u64(0x0242_0a00_0000 + n)),
        1 => Just(MacAddr::ZERO),
        1 => Just(MacAddr::BROADCAST),
    ]
}

fn ports() -> impl Strategy<Value = PortId> {
    prop_oneof![30 => (0..5u16).prop_map(PortId), 1 => Just(PortId(MAX_PORTS as u16)), 1 => Just(PortId(u16::MAX))]
}

fn ops() -> impl Strategy<Value = Op> {
    let stickiness = prop_oneof![3 => Just(Stickiness::Free), 1 => Just(Stickiness::Sticky)];
    prop_oneof![
        60 => (macs(), ports(), stickiness).prop_map(|(mac, port, sticky)| Op::Learn(mac, port, sticky)),
        20 => macs().prop_map(Op::Lookup),
        4 => (macs(), ports()).prop_map(|(mac, port)| Op::AddStatic(mac, port)),
        4 => macs().prop_map(Op::Remove),
        1 => ports().prop_map(Op::FlushPort),
        1 => proptest::option::of(ports()).prop_map(Op::FlushLearned),
        4 => Just(Op::Sweep),
        12 => prop_oneof![0..50u64, 0..3_000u64, 0..200_000u64].prop_map(Op::Wait),
        1 => prop_oneof![Just(0), 1..100u64, 1_000..400_000u64].prop_map(Op::Ageing),
    ]
}

fn run(config: FdbConfig, seed: u64, ops: &[Op]) -> Result<(), TestCaseError> {
    let fdb = Fdb::with_seed(config, seed);
    let mut model = FdbModel::new(config);
    let mut now = Timestamp::ZERO;
    // As a worker has them: of the last source and the last destination, whatever became of the table since.
    let [mut source, mut destination] = [Hint::default(); 2];
    for op in ops {
        let judged = match *op {
            Op::Learn(mac, port, stickiness) => {
                let answer = fdb.learn_near(mac, port, stickiness, now, &mut source);
                model.learn(mac, port, stickiness, now, answer, &fdb.held_entries(now))
            }
            Op::AddStatic(mac, port) => {
                let answer = fdb.add_static(mac, port);
                model.add_static(mac, port, answer, now, &fdb.held_entries(now))
            }
            Op::Lookup(mac) => {
                prop_assert_eq!(fdb.lookup(mac, now), model.lookup(mac, now));
                prop_assert_eq!(fdb.lookup_near(mac, now, &mut destination), model.lookup(mac, now));
                prop_assert_eq!(fdb.lookup_near(mac, now, &mut source), model.lookup(mac, now));
                Ok(())
            }
            Op::Remove(mac) => {
                prop_assert_eq!(fdb.remove(mac), model.remove(mac));
                Ok(())
            }
            Op::FlushPort(port) => {
                prop_assert_eq!(fdb.flush_port(port), model.flush_port(port));
                Ok(())
            }
            Op::FlushLearned(port) => {
                prop_assert_eq!(fdb.flush_learned(port), model.flush_learned(port));
                Ok(())
            }
            Op::Sweep => {
                prop_assert_eq!(fdb.sweep(now), model.sweep(now));
                Ok(())
            }
            Op::Wait(millis) => {
                now = now + Duration::from_millis(millis);
                Ok(())
            }
            Op::Ageing(millis) => {
                fdb.set_ageing(Duration::from_millis(millis));
                model.set_ageing(Duration::from_millis(millis));
                Ok(())
            }
        };
        judged.and_then(|()| model.compare(&fdb.held_entries(now), now)).map_err(TestCaseError::fail)?;
        check_counts(&fdb, config, now).map_err(TestCaseError::fail)?;
    }
    Ok(())
}

/// What holds of any table that nobody is changing.
fn check_counts(fdb: &Fdb, config: FdbConfig, now: Timestamp) -> Result<(), String> {
    let held = fdb.held_entries(now);
    if held.len() != fdb.stats().entries || held.len() > config.capacity {
        return Err(format!("{} entries, {:?}", held.len(), fdb.stats()));
    }
    if let Some(pair) = held.windows(2).find(|pair| pair[0].mac == pair[1].mac) {
        return Err(format!("{} is there twice", pair[0].mac));
    }
    let mut ports = BTreeMap::<PortId, (usize, usize)>::new();
    for entry in &held {
        let (all, dynamic) = ports.entry(entry.port).or_default();
        *all += 1;
        *dynamic += usize::from(entry.kind != EntryKind::Static);
    }
    for port in (0..16).map(PortId) {
        let (all, dynamic) = ports.get(&port).copied().unwrap_or_default();
        if fdb.port_entries(port) as usize != all || dynamic > config.port_share {
            return Err(format!(
                "{port}: {all} entries, {dynamic} dynamic, counted {}",
                fdb.port_entries(port)
            ));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var("PONTOON_FULL").is_ok_and(|v| v == "1") { 20_000 } else { 400 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_the_model_admits(
        capacity in prop_oneof![0..6usize, 6..40usize],
        port_share in prop_oneof![0..4usize, 4..40usize],
        seed: u64,
        ops in proptest::collection::vec(ops(), 1..300),
    ) {
        run(FdbConfig { capacity, port_share, ..FdbConfig::default() }, seed, &ops)?;
    }
}

/// Threads learn, look up, remove, flush and sweep at once; afterwards the books balance. While they do, a
/// lookup only ever answers with a port that the address is learned on.
#[test]
fn threads_leave_the_books_balanced() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 40_000;
    let config = FdbConfig { capacity: 48, port_share: 24, ageing: Duration::from_millis(500) };
    let fdb = Fdb::with_seed(config, 3);
    let start = Barrier::new(THREADS as usize);
    // Address n is learned on the ports n % 8 and (n + 1) % 8, and on no other.
    let homes = |n: u64| [PortId((n % 8) as u16), PortId(((n + 1) % 8) as u16)];
    let work = |thread: u64| {
        let mut state = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut hint = Hint::default();
        start.wait();
        for round in 0..ROUNDS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let n = (state >> 8) % 96;
            let (mac, now) = (MacAddr::from_u64(0x0242_0a00_0000 + n), Timestamp::from_millis(round / 16));
            let port = homes(n)[(state >> 40) as usize % 2];
            match state >> 56 {
                0..=1 => drop(fdb.add_static(mac, port)),
                2..=8 => drop(fdb.remove(mac)),
                9 => drop(fdb.flush_port(port)),
                10..=12 => drop(fdb.sweep(now)),
                13..=100 => {
                    let found = fdb.lookup_near(mac, now, &mut hint);
                    assert!(found.is_none_or(|port| homes(n).contains(&port)), "{mac} on {found:?}");
                }
                101..=120 => drop(fdb.learn(mac, port, Stickiness::Sticky, now)),
                _ => drop(fdb.learn_near(mac, port, Stickiness::Free, now, &mut hint)),
            }
            assert!(fdb.stats().entries <= config.capacity);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (1..=THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        // Joined by name: what a scope does at its end is code of the standard library, which ThreadSanitizer does not see.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    check_counts(&fdb, config, Timestamp::ZERO).unwrap();
    assert!(fdb.stats().learned > 1000 && fdb.stats().moved > 100, "{:?}", fdb.stats());
}
