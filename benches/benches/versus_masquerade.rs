//! Pontoon's NAT beside the kernel's bridge with MASQUERADE, in the same run.
//!
//! `cargo bench -p pontoon-benches --bench versus_masquerade [-- ROUNDS [SECONDS]]`, as root. Rounds are interleaved (A B, A B, ...) and
//! ratios are taken within a round, as in `versus_kernel`. The whole process moves into private namespaces first.

use std::time::Duration;

use pontoon_benches::{Scenario, compare};
use pontoon_tools::lab::LabError;
use pontoon_tools::masquerade::NatLab;
use pontoon_tools::outside::OUTSIDE;
use pontoon_tools::traffic::{Direction, connections_per_second, tcp_stream_towards};

const SCENARIOS: [Scenario<NatLab>; 5] = [
    ("TCP 1 stream out, cubic, Gbit/s", |lab, time| stream(lab, Direction::Upload, "cubic", time)),
    ("TCP 1 stream in, cubic, Gbit/s", |lab, time| stream(lab, Direction::Download, "cubic", time)),
    ("TCP 1 stream out, bbr, Gbit/s", |lab, time| stream(lab, Direction::Upload, "bbr", time)),
    ("new TCP connections, 1 client, thousands a second", |lab, time| connections(lab, 1, time)),
    ("new TCP connections, 8 clients, thousands a second", |lab, time| connections(lab, 8, time)),
];

fn stream(lab: &NatLab, direction: Direction, congestion: &str, time: Duration) -> Result<f64, LabError> {
    tcp_stream_towards(direction, &lab.inside, (&lab.outside.machine, OUTSIDE), congestion, time)
}

fn connections(lab: &NatLab, clients: usize, time: Duration) -> Result<f64, LabError> {
    Ok(connections_per_second(&lab.inside, (&lab.outside.machine, OUTSIDE), clients, time)? / 1e3)
}

fn main() -> Result<(), LabError> {
    // Before any thread is started.
    pontoon::private::enter()?;
    let directory = tempfile::tempdir()?;
    let labs = [
        ("kernel bridge and MASQUERADE", NatLab::kernel()?),
        ("pontoon", NatLab::pontoon(directory.path().to_owned())?),
    ];
    compare(&labs, &SCENARIOS);
    Ok(())
}
