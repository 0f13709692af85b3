//! Sessions of the edge by themselves: finding, opening, ending, and what they cost in memory.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pontoon_dataplane::edge::config::{Limits, Timeouts};
use pontoon_dataplane::edge::ports::Lease;
use pontoon_dataplane::edge::session::tcp::TcpFlags;
use pontoon_dataplane::edge::session::{Direction, Hop, NewSession, SessionId, Sessions};
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::{PortId, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1000);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ACK: Option<TcpFlags> = Some(TcpFlags::ACK);
const SYN: Option<TcpFlags> = Some(TcpFlags::SYN);

fn table(sessions: u32) -> Sessions {
    let limits = Limits { sessions, sessions_per_endpoint: sessions };
    let mut table = Sessions::new(limits, Timeouts::default());
    table.ports_mut().hold(Protocol::Tcp, &[(16_384, 32_767)]);
    table
}

/// Flow number `number`: 4096 addresses on 16 ports speak to 3989 servers.
fn flow(number: u32) -> NewSession {
    let inside = (Ipv4Addr::from(0x0a00_0000 | (number % 4096)), 1024 + (number / 4096 % 50_000) as u16);
    let server = (Ipv4Addr::from(0xc633_0000 | (number % 3989)), 443);
    let original = Tuple::v4(Protocol::Tcp, inside, server);
    NewSession {
        original,
        reply: Tuple::v4(Protocol::Tcp, server, (EXTERNAL, 16_384)),
        hops: [Hop::UNKNOWN; 2],
        owner: PortId((number % 16) as u16),
        lease: Lease::Shared,
        publication: None,
        rules_generation: 1,
    }
}

/// What the edge does for the first packet of an outbound flow.
fn open(table: &mut Sessions, number: u32, now: Timestamp) -> Option<SessionId> {
    let mut new = flow(number);
    let own = (new.original.src, new.original.src_port);
    new.reply.dst_port = table.choose_port(now, new.owner, own, &new.reply, new.lease, false)?;
    table.insert(now, &new, SYN).ok()
}

fn established(table: &mut Sessions, flows: u32) -> Vec<Tuple> {
    (0..flows)
        .map(|number| {
            let id = open(table, number, NOW).expect("there is room");
            table.seen(id, Direction::Reply, NOW, Some(TcpFlags::SYN_ACK));
            table.seen(id, Direction::Original, NOW, ACK);
            *table.get(id).tuple(if number % 2 == 0 { Direction::Original } else { Direction::Reply })
        })
        .collect()
}

/// Numbers below `count` in an order that no prefetcher follows.
fn shuffled(count: u32) -> impl FnMut() -> usize {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * u64::from(count)) >> 32) as usize
    }
}

/// Finds an established session, marks it as seen, reads where it goes.
fn packet(c: &mut Criterion) {
    let mut group = c.benchmark_group("session, packet");
    for flows in [1u32, 10_000, 250_000, 1_000_000] {
        let mut table = table(flows.max(Limits::default().sessions));
        let tuples = established(&mut table, flows);
        let mut next = shuffled(flows);
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter(|| {
                let tuple = black_box(&tuples[next()]);
                let (id, direction) = table.find(tuple).expect("established");
                table.seen(id, direction, NOW, ACK);
                let session = table.get(id);
                black_box((session.translated(direction), *session.hop(direction)))
            });
        });
    }
    group.finish();
}

/// Chooses a port and opens a session; ends the oldest beside it, so that the table stays as full as it was.
fn set_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("session, choose port + open + end");
    for flows in [1000u32, 100_000] {
        let mut table = table(Limits::default().sessions);
        let mut ids: std::collections::VecDeque<SessionId> =
            (0..flows).map(|number| open(&mut table, number, NOW).expect("there is room")).collect();
        let (mut number, mut now) = (flows, NOW);
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter(|| {
                number = (number + 1) % 4_000_000;
                now = now + Duration::from_millis(1);
                ids.push_back(open(&mut table, number, now).expect("there is room"));
                let oldest = ids.pop_front().expect("as many as before");
                table.remove(oldest, now);
            });
        });
    }
    group.finish();
}

/// SYNs of one endpoint that has its share: each displaces another.
fn flood(c: &mut Criterion) {
    let mut table = Sessions::new(Limits::default(), Timeouts::default());
    let mut number = 0;
    c.bench_function("session, flood at the share", |b| {
        b.iter(|| {
            number = (number + 1) % 4_000_000;
            let new = NewSession { owner: PortId(0), lease: Lease::None, ..flow(number) };
            let own = new.original.src_port;
            let reply = Tuple { dst_port: own, dst: new.original.src, ..new.reply };
            table.insert(NOW, &NewSession { reply, ..new }, SYN).expect("one yields")
        });
    });
}

/// Fills the table: what a session costs, memory that is touched for the first time included.
fn fill(c: &mut Criterion) {
    const SESSIONS: u32 = 1_000_000;
    let before = resident_bytes();
    let mut table = table(SESSIONS);
    let mut slowest = Duration::ZERO;
    for number in 0..SESSIONS {
        let start = std::time::Instant::now();
        open(&mut table, number, NOW).expect("there is room");
        slowest = slowest.max(start.elapsed());
    }
    let bytes = resident_bytes() - before;
    println!("1,000,000 sessions: {:.1} MB resident, slowest set-up {slowest:?}", bytes as f64 / 1e6);
    drop(table);

    let mut group = c.benchmark_group("session, fill");
    group.sample_size(10).throughput(Throughput::Elements(100_000));
    group.bench_function("100,000", |b| {
        b.iter(|| {
            let mut table = table_of_default();
            (0..100_000).for_each(|number| _ = open(&mut table, number, NOW));
            table.len()
        });
    });
    group.finish();
}

fn table_of_default() -> Sessions {
    table(Limits::default().sessions)
}

/// Memory of this process that is really there.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let resident: u64 = pages.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a number of pages");
    resident * 4096
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = fill, packet, set_up, flood
}
criterion_main!(benches);
