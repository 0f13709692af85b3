//! What it costs that one worker owns the edge: frames that its own ports bring beside frames that another worker hands over, both
//! from memory port to memory port through the same decision; and what the alternative would cost, a table of all workers
//! behind a lock.
//!
//! `cargo bench -p pontoon-benches --bench handover [-- ROUNDS]`. Rounds are interleaved.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pontoon_benches::Spread;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::edge::config::{EdgeConfig, NetworkEdge};
use pontoon_dataplane::engine::{Engine, EngineConfig, NetworkSpec, PortSpec};
use pontoon_dataplane::network::{Gateway, Place, PortSettings};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::memory::{MemoryPeer, OwnedFrame, pair};
use pontoon_dataplane::port::{Device, Offloads};

const GATEWAY: Gateway =
    Gateway { mac: MacAddr([0x02, 0x42, 10, 0, 0, 1]), address: Ipv4Addr::new(10, 0, 0, 1), prefix_len: 24 };
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// Frames under way at once when throughput is measured: less than the queue between the workers takes.
const WINDOW: usize = 64;
const FRAMES: usize = 100_000;
const LEN: [usize; 2] = [64, 65_000];

/// Endpoints read by each of two workers, and the host's port that their packets go to.
struct Site {
    _engine: Engine,
    /// One that the edge's worker reads, and one that the other does.
    endpoints: [MemoryPeer; 2],
    host: MemoryPeer,
}

impl Site {
    fn new() -> Site {
        let config = EngineConfig { workers: 2, niceness: 0, ..EngineConfig::default() };
        let engine = Engine::start(config).expect("an engine");
        let spec = |edge| NetworkSpec {
            gateway: Some(GATEWAY),
            mtu: 65_535,
            ageing: Duration::from_secs(300),
            edge,
        };
        let network = engine.add_network(spec(NetworkEdge::default())).expect("a network");
        let port = |place| {
            let (memory, peer) = pair(1024, Offloads::ALL).expect("a memory port");
            let spec = PortSpec { place, settings: PortSettings::default(), identity: None, mtu: 65_535 };
            (engine.add_port(spec, Device::Memory(memory)).expect("a port"), peer)
        };
        // In turn: the first worker reads the first, the second the second, the first the host's.
        let endpoints = [port(Place::Member(network)).1, port(Place::Member(network)).1];
        let (host_port, host) = port(Place::Host(network));
        let edge = NetworkEdge { host_port: Some(host_port), ..NetworkEdge::default() };
        engine.set_network(network, spec(edge)).expect("the network");
        engine
            .set_edge(EdgeConfig { host_addresses: vec![HOST], ..EdgeConfig::default() })
            .expect("the edge");
        Site { _engine: engine, endpoints, host }
    }

    /// Nanoseconds a frame, with a window of frames always under way.
    fn throughput(&self, endpoint: usize, len: usize) -> f64 {
        let frames = if len > 10_000 { FRAMES / 10 } else { FRAMES };
        let frame = frame(endpoint as u8 + 2, len);
        let start = Instant::now();
        for sent in 0..frames + WINDOW {
            if sent >= WINDOW {
                self.host.frames().recv().expect("the frame");
            }
            if sent < frames {
                self.endpoints[endpoint].send(frame.clone()).expect("room");
            }
        }
        start.elapsed().as_nanos() as f64 / frames as f64
    }

    /// Nanoseconds from sending a frame to its arrival when there is no other, the median.
    fn latency(&self, endpoint: usize, len: usize) -> f64 {
        let frame = frame(endpoint as u8 + 2, len);
        let mut times: Vec<_> = (0..2_000)
            .map(|_| {
                let start = Instant::now();
                self.endpoints[endpoint].send(frame.clone()).expect("room");
                while self.host.frames().try_recv().is_err() {
                    std::thread::yield_now();
                }
                start.elapsed().as_nanos() as f64
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

/// A UDP packet of an endpoint to the host; a super-frame if it is long.
fn frame(endpoint: u8, len: usize) -> OwnedFrame {
    let mut bytes = vec![0u8; len];
    bytes[..6].copy_from_slice(&GATEWAY.mac.0);
    bytes[6..12].copy_from_slice(&[0x02, 0x42, 10, 0, 0, endpoint]);
    bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    bytes[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
    bytes[22..24].copy_from_slice(&[64, 17]);
    bytes[26..30].copy_from_slice(&[10, 0, 0, endpoint]);
    bytes[30..34].copy_from_slice(&HOST.octets());
    bytes[34..40].copy_from_slice(&[0x10, 0, 0, 53, 0, 0]);
    bytes[38..40].copy_from_slice(&((len - 34) as u16).to_be_bytes());
    let words = bytes[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    bytes[24..26].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let whole = Offload {
        needs_checksum: true,
        gso: Gso::Udp,
        gso_size: 1_472,
        header_len: 42,
        csum_start: 34,
        csum_offset: 6,
        ..Offload::NONE
    };
    OwnedFrame { bytes, offload: if len > 1_514 { whole } else { Offload::NONE } }
}

/// Nanoseconds for each time that a worker takes a lock and touches two cache lines under it, while `others` do the same without
/// a pause.
fn locked(others: usize) -> f64 {
    const ROUNDS: u64 = 1_000_000;
    let table = Mutex::new([0u64; 16]);
    let (stop, ready) = (AtomicBool::new(false), AtomicU64::new(0));
    let touch = || {
        if let Ok(mut table) = table.lock() {
            table[0] += 1;
            table[8] += 1;
            black_box(&mut *table);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                ready.fetch_add(1, Relaxed);
                while !stop.load(Relaxed) {
                    touch();
                }
            });
        }
        while ready.load(Relaxed) < others as u64 {
            std::thread::yield_now();
        }
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| touch());
        let elapsed = start.elapsed();
        stop.store(true, Relaxed);
        elapsed.as_nanos() as f64 / ROUNDS as f64
    })
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let rounds = numbers.next().unwrap_or(5);
    let site = Site::new();
    println!("median [min-max] of {rounds} rounds, microseconds a frame");
    for len in LEN {
        let mut figures = [(); 4].map(|()| Vec::new());
        for _ in 0..rounds {
            figures[0].push(site.throughput(0, len) / 1e3);
            figures[1].push(site.throughput(1, len) / 1e3);
            figures[2].push(site.latency(0, len) / 1e3);
            figures[3].push(site.latency(1, len) / 1e3);
        }
        let [direct, handed, alone, alone_handed] = figures.map(|figures| Spread::of(&figures));
        println!("{len} bytes, {WINDOW} under way: direct {direct}, handed over {handed}");
        println!("{len} bytes, one at a time:   direct {alone}, handed over {alone_handed}");
    }
    for others in [0, 1] {
        let figures: Vec<_> = (0..rounds).map(|_| locked(others)).collect();
        println!("a lock and two cache lines, {others} other threads: {} ns", Spread::of(&figures));
    }
}
