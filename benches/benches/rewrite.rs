//! Reading a packet at the edge and writing the headers with which it leaves: what NAT costs beside finding the session.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon_dataplane::edge::packet::Packet;
use pontoon_dataplane::edge::quote::{self, Quote};
use pontoon_dataplane::edge::rewrite::{Change, rewrite};
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::network::PortId;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::trace::Probe;
use pontoon_dataplane::{DropReason, Frame, MacAddr, checksum};

const INSIDE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OUTSIDE: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn frame(text: &str) -> OwnedFrame {
    let probe: Probe = text.parse().expect("a frame in words");
    OwnedFrame { bytes: probe.frame(INSIDE, OUTSIDE), offload: Offload::NONE }
}

/// The checksum left to the device, as TAPs give it.
fn partial(frame: OwnedFrame, csum_offset: u16) -> OwnedFrame {
    let offload = Offload { needs_checksum: true, csum_start: 34, csum_offset, ..Offload::NONE };
    OwnedFrame { offload, ..frame }
}

fn super_frame() -> OwnedFrame {
    let frame = partial(frame("tcp 10.0.0.2:4000 > 192.0.2.7:80 flags=ack len=60000"), 16);
    OwnedFrame { offload: Offload { gso: Gso::TcpV4, gso_size: 1448, ..frame.offload }, ..frame }
}

/// "Host unreachable" about what `quoted` says.
fn error_about(quoted: &str) -> OwnedFrame {
    let packet = frame(quoted).bytes.split_off(14);
    let mut outer = frame(&format!("icmp 203.0.113.254 > {HOST} len={}", packet.len())).bytes;
    outer[34..36].copy_from_slice(&[3, 1]);
    outer[36..42].fill(0);
    outer[42..].copy_from_slice(&packet);
    let sum = checksum::checksum(&outer[34..]);
    outer[36..38].copy_from_slice(&sum.to_be_bytes());
    OwnedFrame { bytes: outer, offload: Offload::NONE }
}

/// Reads the packet and writes its new headers, as the edge does with an established session.
fn translate(frame: &Frame<'_>, change: &Change<'_>, out: &mut Out) -> Result<(), DropReason> {
    let view = EthernetView::parse(frame.bytes)?;
    let packet = Packet::parse(&view, frame)?;
    black_box(packet.tuple());
    out.forward_rewritten_with(PortId(1), |headers| rewrite(frame, &packet, change, headers))
}

fn translate_error(frame: &Frame<'_>, change: &Change<'_>, out: &mut Out) -> Result<(), DropReason> {
    let view = EthernetView::parse(frame.bytes)?;
    let packet = Packet::parse(&view, frame)?;
    let quote = Quote::parse(frame, &packet)?;
    let source = black_box(packet.src);
    out.forward_rewritten_with(PortId(1), |headers| {
        quote::rewrite(frame, &packet, &quote, source, change, headers)
    })
}

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite");
    let mut out = Out::new();
    for (name, protocol, frame) in [
        ("tcp", Protocol::Tcp, frame("tcp 10.0.0.2:4000 > 192.0.2.7:80 flags=ack len=1400")),
        (
            "tcp, partial checksum",
            Protocol::Tcp,
            partial(frame("tcp 10.0.0.2:4000 > 192.0.2.7:80 flags=ack len=1400"), 16),
        ),
        ("tcp, super-frame of 60 kB", Protocol::Tcp, super_frame()),
        ("tcp, opening, segment size clamped", Protocol::Tcp, frame("tcp 10.0.0.2:4000 > 192.0.2.7:80")),
        ("udp", Protocol::Udp, frame("udp 10.0.0.2:4000 > 192.0.2.7:53 len=64")),
    ] {
        let tuple = Tuple::v4(protocol, (HOST, 40_000), (PEER, 80));
        let change =
            Change { dst_mac: OUTSIDE, src_mac: INSIDE, tuple: Some(&tuple), max_segment_size: Some(1240) };
        let borrowed = Frame { bytes: &frame.bytes, offload: frame.offload };
        assert_eq!(translate(&borrowed, &change, &mut out), Ok(()));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                translate(black_box(&borrowed), black_box(&change), &mut out)
            });
        });
    }
    group.finish();
}

fn errors(c: &mut Criterion) {
    let mut out = Out::new();
    let tuple = Tuple::v4(Protocol::Tcp, (Ipv4Addr::new(10, 0, 0, 2), 4000), (PEER, 80));
    let change = Change { dst_mac: INSIDE, src_mac: OUTSIDE, tuple: Some(&tuple), max_segment_size: None };
    let frame = error_about("tcp 203.0.113.1:40000 > 192.0.2.7:80 flags=ack len=500");
    let borrowed = Frame::plain(&frame.bytes);
    assert_eq!(translate_error(&borrowed, &change, &mut out), Ok(()));
    c.bench_function("rewrite/icmp error", |b| {
        b.iter(|| {
            out.clear();
            translate_error(black_box(&borrowed), black_box(&change), &mut out)
        });
    });
}

criterion_group!(benches, packets, errors);
criterion_main!(benches);
