//! The forwarding database as its users see it.

use core::time::Duration;

use pontoon_dataplane::fdb::{EntryKind, Fdb, FdbConfig, FdbEntry, FdbError, Learned, Stickiness};
use pontoon_dataplane::network::MAX_PORTS;
use pontoon_dataplane::{MacAddr, PortId, Timestamp};

const A: PortId = PortId(1);
const B: PortId = PortId(2);
const FREE: Stickiness = Stickiness::Free;
const STICKY: Stickiness = Stickiness::Sticky;

fn mac(n: u64) -> MacAddr {
    MacAddr::from_u64(0x0242_0a00_0000 + n)
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn table(capacity: usize, port_share: usize) -> Fdb {
    Fdb::with_seed(FdbConfig { capacity, port_share, ..FdbConfig::default() }, 7)
}

#[test]
fn an_address_is_learned_found_and_moves() {
    let fdb = Fdb::new(FdbConfig::default());
    assert_eq!(fdb.lookup(mac(1), at(0)), None);
    assert_eq!(fdb.learn(mac(1), A, FREE, at(0)), Learned::New);
    assert_eq!(fdb.learn(mac(1), A, FREE, at(0)), Learned::Known);
    assert_eq!(fdb.lookup(mac(1), at(1)), Some(A));
    assert_eq!(fdb.lookup(mac(2), at(1)), None);
    assert_eq!(fdb.learn(mac(1), B, FREE, at(2)), Learned::Moved { from: A });
    assert_eq!(fdb.lookup(mac(1), at(2)), Some(B));
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (0, 1));
    let stats = fdb.stats();
    assert_eq!((stats.entries, stats.learned, stats.moved), (1, 1, 1));
}

#[test]
fn an_address_lives_for_the_ageing_time_after_its_last_frame() {
    let fdb = table(16, 16);
    fdb.learn(mac(1), A, FREE, at(0));
    fdb.learn(mac(1), A, FREE, at(200));
    assert_eq!(fdb.lookup(mac(1), at(499)), Some(A));
    assert_eq!(fdb.sweep(at(499)), 0);
    // Gone before any sweep.
    assert_eq!(fdb.lookup(mac(1), at(500)), None);
    assert_eq!(fdb.entries(at(500)), []);
    assert_eq!(fdb.held_entries(at(500)).len(), 1);
    assert_eq!(fdb.sweep(at(500)), 1);
    assert_eq!(fdb.held_entries(at(500)), []);
    assert_eq!((fdb.stats().entries, fdb.stats().expired, fdb.port_entries(A)), (0, 1, 0));
}

#[test]
fn what_expired_is_learned_as_new_even_if_it_was_sticky() {
    let fdb = table(16, 16);
    fdb.learn(mac(1), A, STICKY, at(0));
    assert_eq!(fdb.learn(mac(1), B, FREE, at(299)), Learned::Kept);
    assert_eq!(fdb.learn(mac(1), B, FREE, at(300)), Learned::New);
    assert_eq!(fdb.lookup(mac(1), at(300)), Some(B));
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (0, 1));
}

#[test]
fn the_ageing_time_can_change_and_zero_keeps_nothing() {
    let fdb = table(16, 16);
    fdb.learn(mac(1), A, FREE, at(0));
    fdb.set_ageing(Duration::from_secs(10));
    assert_eq!(fdb.ageing(), Duration::from_secs(10));
    assert_eq!(fdb.lookup(mac(1), at(10)), None);
    fdb.set_ageing(Duration::ZERO);
    assert_eq!(fdb.learn(mac(2), A, FREE, at(0)), Learned::Refused);
    assert_eq!(fdb.lookup(mac(2), at(0)), None);
    fdb.add_static(mac(3), A).unwrap();
    assert_eq!(fdb.learn(mac(3), A, FREE, at(0)), Learned::Known);
    assert_eq!(fdb.lookup(mac(3), at(0)), Some(A));
    fdb.set_ageing(Duration::MAX);
    assert!(fdb.ageing() > Duration::from_secs(2 * 365 * 24 * 3600));
}

#[test]
fn static_entries_neither_move_nor_age() {
    let fdb = table(16, 16);
    fdb.learn(mac(1), A, STICKY, at(0));
    fdb.add_static(mac(1), B).unwrap();
    assert_eq!(fdb.learn(mac(1), A, STICKY, at(1)), Learned::Kept);
    assert_eq!(fdb.lookup(mac(1), at(1_000_000)), Some(B));
    assert_eq!(fdb.sweep(at(1_000_000)), 0);
    assert_eq!(fdb.flush_learned(None), 0);
    let entry = FdbEntry { mac: mac(1), port: B, kind: EntryKind::Static, age: Duration::ZERO };
    assert_eq!(fdb.entries(at(1_000_000)), [entry]);
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (0, 1));
    assert!(fdb.remove(mac(1)) && !fdb.remove(mac(1)));
    assert_eq!(fdb.lookup(mac(1), at(1)), None);
}

#[test]
fn what_is_no_station_or_no_port_is_refused() {
    let fdb = table(16, 16);
    let nowhere = PortId(u16::try_from(MAX_PORTS).unwrap());
    for bad in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(fdb.add_static(bad, A), Err(FdbError::NotAStation(bad)));
        assert_eq!(fdb.learn(bad, A, FREE, at(0)), Learned::Refused);
        assert_eq!(fdb.lookup(bad, at(0)), None);
        assert!(!fdb.remove(bad));
    }
    assert_eq!(fdb.add_static(mac(1), nowhere), Err(FdbError::NoSuchPort(nowhere)));
    assert_eq!(fdb.learn(mac(1), nowhere, FREE, at(0)), Learned::Refused);
    fdb.learn(mac(1), A, FREE, at(0));
    assert_eq!(fdb.learn(mac(1), nowhere, FREE, at(0)), Learned::Refused);
    assert_eq!(fdb.stats().entries, 1);
}

#[test]
fn a_flush_takes_what_it_names() {
    let fdb = table(64, 64);
    for n in 0..4 {
        fdb.learn(mac(n), A, FREE, at(0));
        fdb.learn(mac(n + 10), B, STICKY, at(0));
    }
    fdb.add_static(mac(20), A).unwrap();
    assert_eq!(fdb.flush_learned(Some(A)), 4);
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (1, 4));
    assert_eq!(fdb.flush_port(A), 1);
    assert_eq!(fdb.flush_learned(None), 4);
    assert_eq!(fdb.stats().entries, 0);
}

#[test]
fn a_port_that_floods_the_table_does_not_keep_others_out() {
    let fdb = table(1024, 256);
    for n in 0..100_000 {
        fdb.learn(mac(n), A, FREE, at(0));
    }
    assert!(fdb.port_entries(A) <= 256);
    for port in 2..6u16 {
        for n in 0..10_000 {
            fdb.learn(mac(u64::from(port) << 20 | n), PortId(port), FREE, at(1));
        }
    }
    assert!(fdb.stats().entries <= 1024);
    // Newcomers with one address each, after the table is full.
    let learned = (100u16..150)
        .filter(|&port| fdb.learn(mac(u64::from(port) << 32), PortId(port), FREE, at(2)) == Learned::New);
    assert_eq!(learned.count(), 50);
    // And a sticky newcomer stays, whatever the others do.
    let (quiet, own_port) = (mac(99 << 32), PortId(99));
    assert_eq!(fdb.learn(quiet, own_port, STICKY, at(2)), Learned::New);
    for n in 10_000..50_000 {
        fdb.learn(mac(3 << 20 | n), PortId(3), FREE, at(3));
    }
    assert_eq!(fdb.lookup(quiet, at(3)), Some(own_port));
    assert!(fdb.stats().entries <= 1024 && fdb.stats().evicted > 0);
}

#[test]
fn who_yields_when_the_table_is_full() {
    // One bucket: every entry is a candidate.
    let macs = |fdb: &Fdb| fdb.held_entries(at(0)).iter().map(|entry| entry.mac).collect::<Vec<_>>();
    // The learner's own oldest, although the other port's is older.
    let fdb = table(2, 2);
    fdb.learn(mac(1), A, FREE, at(0));
    fdb.learn(mac(2), B, FREE, at(1));
    assert_eq!(fdb.learn(mac(3), B, FREE, at(2)), Learned::New);
    assert_eq!(macs(&fdb), [mac(1), mac(3)]);
    // What has expired, before that.
    assert_eq!(fdb.learn(mac(4), B, FREE, at(301)), Learned::New);
    assert_eq!(macs(&fdb), [mac(3), mac(4)]);
    // The oldest of a port that holds more, unless it is sticky.
    assert_eq!(fdb.learn(mac(5), A, FREE, at(301)), Learned::New);
    assert_eq!(macs(&fdb), [mac(4), mac(5)]);
    assert_eq!(fdb.learn(mac(6), PortId(3), FREE, at(301)), Learned::New);
    fdb.flush_learned(None);
    fdb.learn(mac(1), A, STICKY, at(0));
    fdb.learn(mac(2), A, STICKY, at(0));
    assert_eq!(fdb.learn(mac(3), B, FREE, at(1)), Learned::Refused);
    assert_eq!(fdb.learn(mac(3), A, STICKY, at(1)), Learned::New);
    assert_eq!(fdb.stats().entries, 2);
}

#[test]
fn a_port_at_its_share_replaces_its_own_oldest() {
    let fdb = table(2, 1);
    fdb.learn(mac(1), A, FREE, at(0));
    fdb.learn(mac(2), B, FREE, at(200));
    // Even when what others hold has expired.
    assert_eq!(fdb.learn(mac(3), B, FREE, at(400)), Learned::New);
    assert_eq!(fdb.lookup(mac(2), at(400)), None);
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (1, 1));
    assert_eq!(table(2, 0).learn(mac(1), A, FREE, at(0)), Learned::Refused);
}

#[test]
fn a_station_that_moves_to_a_full_port_is_not_sought_where_it_was() {
    let fdb = table(64, 1);
    fdb.learn(mac(1), A, FREE, at(0));
    fdb.learn(mac(2), B, FREE, at(0));
    fdb.learn(mac(1), B, FREE, at(1));
    assert_ne!(fdb.lookup(mac(1), at(1)), Some(A));
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (0, 1));
}

#[test]
fn a_static_entry_gets_in_until_all_are_static() {
    let fdb = table(4, 4);
    for n in 0..4 {
        fdb.learn(mac(n), A, STICKY, at(0));
    }
    for n in 10..14 {
        assert_eq!(fdb.add_static(mac(n), B), Ok(()));
    }
    assert_eq!(fdb.add_static(mac(14), B), Err(FdbError::Full));
    assert_eq!((fdb.port_entries(A), fdb.port_entries(B)), (0, 4));
}

#[test]
fn addresses_in_patterns_fill_the_table_almost_without_evictions() {
    let patterns = [
        ("02:42 and an address", 0x0242_ac11_0000, 1),
        ("every 256th", 0x0011_2200_0000, 256),
        ("every 65536th", 0x5254_0000_0000, 1 << 16),
    ];
    for (name, base, step) in patterns {
        for seed in 0..16 {
            let config = FdbConfig { capacity: 16384, port_share: 16384, ..FdbConfig::default() };
            let fdb = Fdb::with_seed(config, seed);
            for n in 0..16384 {
                fdb.learn(MacAddr::from_u64(base + n * step), A, FREE, at(0));
            }
            let stats = fdb.stats();
            assert!(stats.evicted <= 24 && stats.refused == 0, "{name}, seed {seed}: {stats:?}");
        }
    }
}

#[test]
fn a_large_table_is_swept_in_parts() {
    let fdb = table(40_000, 40_000);
    for n in 0..30_000 {
        fdb.learn(mac(n), A, FREE, at(0));
    }
    let held = fdb.stats().entries;
    let first = fdb.sweep(at(300));
    assert!(first > 0 && first < held);
    assert_eq!(first + (0..4).map(|_| fdb.sweep(at(300))).sum::<usize>(), held);
    assert_eq!(fdb.stats().entries, 0);
}
