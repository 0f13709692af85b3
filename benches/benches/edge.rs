//! The edge through `step`: packets of established sessions both ways, and the first packets of new ones.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon_benches::site::{ENDPOINT, SYN, Site, UPLINK, outbound, shuffled};
use pontoon_dataplane::Verdict;

/// Frames in a batch.
const BATCH: usize = 256;
/// As many flows as one core is filled with.
const MAX_FLOWS: u32 = 900_000;

/// Packets of established sessions, a batch as a worker reads it at a time. Filling the batch is not measured: a frame has just been
/// read when it is decided about.
fn established(c: &mut Criterion) {
    let mut group = c.benchmark_group("edge, established");
    for (name, flows) in [("1 flow", 1u32), ("10,000 at random", 10_000), ("250,000 at random", 250_000)] {
        let mut site = Site::new();
        let [out, back] = site.establish(flows);
        for (way, ingress, frames) in [("out", ENDPOINT, &out), ("in", UPLINK, &back)] {
            let mut next = shuffled(frames.len());
            let mut batch = [[0; 60]; BATCH];
            group.bench_function(format!("{name}, {way}"), |b| {
                b.iter_custom(|iterations| {
                    let (mut spent, mut left) = (Duration::ZERO, iterations as usize);
                    while left > 0 {
                        let batch = &mut batch[..left.min(BATCH)];
                        batch.iter_mut().for_each(|frame| *frame = frames[next()]);
                        let start = Instant::now();
                        for frame in &*batch {
                            let verdict = site.step(ingress, black_box(frame));
                            debug_assert!(matches!(verdict, Verdict::Route { .. }), "{verdict}");
                            black_box(verdict);
                        }
                        spent += start.elapsed();
                        left -= batch.len();
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

fn new_sessions(c: &mut Criterion) {
    let mut group = c.benchmark_group("edge");
    let (mut site, mut number) = (Site::new(), 1);
    group.bench_function("new session", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = u32::try_from(iterations).unwrap_or(u32::MAX);
            while left > 0 {
                if number >= MAX_FLOWS {
                    (site, number) = (Site::new(), 1);
                }
                let end = number + left.min(MAX_FLOWS - number);
                left -= end - number;
                let start = Instant::now();
                for number in number..end {
                    let verdict = site.step(ENDPOINT, black_box(&outbound(number, SYN)));
                    debug_assert!(matches!(verdict, Verdict::Route { .. }), "{verdict}");
                }
                spent += start.elapsed();
                number = end;
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, established, new_sessions);
criterion_main!(benches);
