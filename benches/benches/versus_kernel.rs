//! Pontoon's TAP ports beside the kernel's bridge with veth ports, in the same run.
//!
//! `cargo bench -p pontoon-benches --bench versus_kernel [-- ROUNDS [SECONDS]]`, as root. Rounds are interleaved (A B C, A B C, ...) and
//! ratios are taken within a round, so that a machine whose speed drifts tilts them less. All figures are of one
//! machine at one time: quote the ratios.

use std::time::Duration;

use pontoon_benches::{Scenario, compare};
use pontoon_dataplane::engine::EngineConfig;
use pontoon_dataplane::port::Offloads;
use pontoon_tools::lab::{BridgeFilter, Lab, LabError, address};
use pontoon_tools::traffic::{SMALLEST_PAYLOAD, ping_pong, tcp_stream, udp_blast};

const SCENARIOS: [Scenario<Lab>; 5] = [
    ("TCP 1 stream, cubic, Gbit/s", |lab, time| stream(lab, "cubic", time)),
    ("TCP 1 stream, bbr, Gbit/s", |lab, time| stream(lab, "bbr", time)),
    ("64-byte frames delivered, thousands a second", |lab, time| {
        let blast = udp_blast(&lab.sandboxes[0], &lab.sandboxes[1], address(1), SMALLEST_PAYLOAD, time)?;
        Ok(blast.received as f64 / time.as_secs_f64() / 1e3)
    }),
    ("request-response over TCP, half p50, us", |lab, _| half_round_trip(lab, 0.50)),
    ("request-response over TCP, half p99, us", |lab, _| half_round_trip(lab, 0.99)),
];

fn stream(lab: &Lab, congestion: &str, time: Duration) -> Result<f64, LabError> {
    tcp_stream(&lab.sandboxes[0], &lab.sandboxes[1], address(1), congestion, time)
}

fn half_round_trip(lab: &Lab, quantile: f64) -> Result<f64, LabError> {
    let halves = ping_pong(&lab.sandboxes[0], &lab.sandboxes[1], address(1), 5_000)?;
    Ok(halves[(halves.len() as f64 * quantile) as usize].as_secs_f64() * 1e6)
}

fn main() -> Result<(), LabError> {
    let labs = [
        ("kernel bridge as docker0", Lab::kernel_bridge(2, BridgeFilter::Docker)?),
        ("kernel bridge, br_netfilter on", Lab::kernel_bridge(2, BridgeFilter::Hooks)?),
        ("kernel bridge, br_netfilter off", Lab::kernel_bridge(2, BridgeFilter::Off)?),
        ("pontoon", Lab::pontoon(2, EngineConfig::default(), Offloads::ALL)?),
    ];
    compare(&labs, &SCENARIOS);
    Ok(())
}
