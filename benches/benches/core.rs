//! The core by itself: step, FDB, checksum, segmentation.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pontoon_benches::{small_frame, snapshot, station, table};
use pontoon_dataplane::fdb::Stickiness;
use pontoon_dataplane::network::PortId;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::{Frame, MacAddr, Timestamp, checksum, segment};

const NOW: Timestamp = Timestamp::from_secs(1);

fn core_with(ports: u16, guard: bool) -> (Core, Out) {
    let mut core = Core::new(0);
    let mut out = Out::new();
    core.adopt(Timestamp::ZERO, snapshot(ports, guard));
    for port in 0..ports {
        let frame = small_frame(port, MacAddr::BROADCAST);
        core.step(NOW, PortId(port), &Frame::plain(&frame), &mut out);
    }
    (core, out)
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for (name, guard) in [("known unicast", false), ("known unicast, guarded", true)] {
        let (mut core, mut out) = core_with(2, guard);
        let frame = small_frame(0, station(1));
        core.step(NOW, PortId(0), &Frame::plain(&frame), &mut out);
        assert_eq!(out.copies(), [PortId(1)]);
        group.bench_function(name, |b| {
            b.iter(|| core.step(NOW, PortId(0), &Frame::plain(black_box(&frame)), &mut out));
        });
    }
    for ports in [2u16, 16, 128] {
        let (mut core, mut out) = core_with(ports, true);
        let frame = small_frame(0, MacAddr::BROADCAST);
        core.step(NOW, PortId(0), &Frame::plain(&frame), &mut out);
        assert_eq!(out.copies().len(), usize::from(ports) - 1);
        group.bench_function(BenchmarkId::new("flood", ports), |b| {
            b.iter(|| core.step(NOW, PortId(0), &Frame::plain(black_box(&frame)), &mut out));
        });
    }
    group.finish();
}

/// Station numbers in an order that no prefetcher follows.
fn shuffled(count: u32) -> impl FnMut() -> MacAddr {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        station(((u64::from(state) * u64::from(count)) >> 32) as u32)
    }
}

fn fdb(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb");
    // To be taken off the figures below: choosing the next address.
    let mut next = shuffled(100_000);
    group.bench_function("choosing an address", |b| b.iter(&mut next));
    for (name, count) in [("1k", 1_000u32), ("100k", 100_000), ("1M", 1_000_000)] {
        let table = table(count as usize + count as usize / 4);
        for number in 0..count {
            table.learn(station(number), PortId((number % 64) as u16), Stickiness::Free, NOW);
        }
        let mut next = shuffled(count);
        group.bench_function(BenchmarkId::new("lookup", name), |b| b.iter(|| table.lookup(next(), NOW)));
        let mut next = shuffled(count);
        group.bench_function(BenchmarkId::new("learn known", name), |b| {
            b.iter(|| {
                let mac = next();
                let number = u32::from_be_bytes([mac.0[2], mac.0[3], mac.0[4], mac.0[5]]);
                table.learn(mac, PortId((number % 64) as u16), Stickiness::Free, NOW)
            });
        });
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut next = shuffled(count);
                while !stop.load(Relaxed) {
                    // Every address moves all the time: the most that a second thread can disturb.
                    table.learn(next(), PortId(0), Stickiness::Free, NOW);
                    table.learn(next(), PortId(1), Stickiness::Free, NOW);
                }
            });
            let mut next = shuffled(count);
            group.bench_function(BenchmarkId::new("lookup, another thread learns", name), |b| {
                b.iter(|| table.lookup(next(), NOW));
            });
            stop.store(true, Relaxed);
        });
    }
    group.finish();
}

fn sums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20usize, 1500, 65_000] {
        let bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| checksum::checksum(black_box(&bytes)))
        });
    }
    group.finish();
}

fn segmentation(c: &mut Criterion) {
    let mut bytes = small_frame(0, station(1));
    bytes.resize(14 + 20 + 20 + 64_000, 0x5a);
    let total_len = u16::try_from(bytes.len() - 14).expect("within an IPv4 packet");
    bytes[16..18].copy_from_slice(&total_len.to_be_bytes());
    bytes[23] = 6;
    bytes[34 + 12] = 5 << 4;
    let offload = Offload {
        needs_checksum: true,
        gso: Gso::TcpV4,
        gso_size: 1460,
        header_len: 54,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    let frame = Frame { bytes: &bytes, offload };
    let mut scratch = Vec::new();
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("64,000 bytes of TCP into 1,460", |b| {
        b.iter(|| {
            let mut frames = 0;
            segment::segment(&frame, Offloads::NONE, &mut scratch, &mut |segment| {
                frames += segment.bytes.len();
            })
            .expect("a sound super-frame")
        });
    });
    group.finish();
}

criterion_group!(benches, step, fdb, sums, segmentation);
criterion_main!(benches);
