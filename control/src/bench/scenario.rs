//! What is measured. Each scenario is written once, for every lab that fits it.

use super::error::{BenchError, joined};
use super::lab::{Lab, Namespace, Site, Station};
use super::meter;
use super::noise::Better::{self, Less, More};
use super::statistics::quantile;
use super::traffic::tcp::{Direction, Streams};
use super::traffic::{Time, connect, flood, iperf3, latency, tcp, udp};

/// A figure that a scenario gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Metric {
    /// Stable, for programs; its end says the unit.
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    /// For people.
    pub unit: &'static str,
    /// What is better; none for what is told, and not compared.
    pub better: Option<Better>,
}

/// What one measurement gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measurement {
    /// One for each metric of the scenario, in their order. What is not finite was not to be had.
    pub figures: Vec<f64>,
    /// Round-trip times in microseconds at [`QUANTILES`]; empty where there are none.
    pub curve: Vec<f64>,
}

impl From<Vec<f64>> for Measurement {
    fn from(figures: Vec<f64>) -> Measurement {
        Measurement { figures, curve: Vec::new() }
    }
}

/// Where latency curves have their points.
pub(super) const QUANTILES: [f64; 11] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];

type Measure = Box<dyn Fn(&mut Lab, Time) -> Result<Measurement, BenchError>>;

/// A scenario.
pub(super) struct Scenario {
    /// As it is called on the command line: a family, and what it varies.
    pub name: String,
    /// For people.
    pub title: String,
    pub site: Site,
    pub metrics: Vec<Metric>,
    /// The congestion control that the kernel must have.
    pub congestion: Option<&'static str>,
    /// Whether `--quick` has it.
    pub quick: bool,
    pub measure: Measure,
}

const fn metric(
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    better: Option<Better>,
) -> Metric {
    Metric { key, title, unit, better }
}

const GBIT: Metric = metric("gbit_per_s", "throughput", "Gbit/s", Some(More));
const BY_IPERF3: Metric = metric("iperf3_gbit_per_s", "throughput by iperf3", "Gbit/s", Some(More));
const CPU_PER_GBIT: Metric = metric("cpu_ms_per_gbit", "CPU", "ms/Gbit", Some(Less));
const DELIVERED: Metric = metric("delivered_kpps", "delivered", "thousands/s", Some(More));
const FLOODED: Metric = metric("flood_kpps", "the flood, delivered", "thousands/s", None);
const LOSS: Metric = metric("loss_percent", "lost", "%", None);
const CPU_PER_MILLION: Metric = metric("cpu_s_per_million", "CPU", "s/million", Some(Less));
const P50: Metric = metric("rtt_p50_us", "p50", "µs", Some(Less));
const P99: Metric = metric("rtt_p99_us", "p99", "µs", Some(Less));
const P999: Metric = metric("rtt_p999_us", "p99.9", "µs", Some(Less));
const CONNECTIONS: Metric = metric("connections_per_s", "connections", "/s", Some(More));
const CPU_PER_CONNECTION: Metric = metric("cpu_us_per_connection", "CPU", "µs each", Some(Less));
const IDLE: Metric = metric("idle_cpu_percent", "idle CPU of its programs", "% of a core", None);
const PROCESS_MEMORY: Metric = metric("process_memory_mb", "memory of its programs", "MB", None);
const MACHINE_MEMORY: Metric = metric("machine_memory_mb", "memory of the machine", "MB", None);
const ATTACH: Metric = metric("attach_ms", "attach", "ms", Some(Less));
const DETACH: Metric = metric("detach_ms", "detach", "ms", Some(Less));
const BUILD: Metric = metric("build_ms_per_endpoint", "building, each", "ms", None);

const PAIR: Site = Site { sandboxes: 2, outside: false, grows: false };
const NAT: Site = Site { sandboxes: 1, outside: true, grows: false };
/// Endpoints that a round of `setup` adds and removes.
const ADDED: usize = 8;

/// All there are, those of one site together. TCP streams are measured by iperf3 as well, if that is wanted.
pub(super) fn all(with_iperf3: bool) -> Vec<Scenario> {
    let mut all = Vec::new();
    for congestion in ["cubic", "bbr"] {
        all.extend([1, 4, 16].map(|count| streams_between(count, congestion, with_iperf3)));
    }
    all.extend([
        udp("udp-64", "UDP, 64-byte frames", udp::SMALLEST_PAYLOAD),
        udp("udp-1400", "UDP, 1400 bytes", 1400),
    ]);
    all.extend([request_response(), idle(), setup()]);
    for congestion in ["cubic", "bbr"] {
        all.extend(
            [Direction::Out, Direction::In].map(|direction| through_nat(direction, congestion, with_iperf3)),
        );
    }
    all.extend([1, 8].map(connections));
    all.push(overload());
    all.extend([2, 16, 128].map(broadcasts));
    all.extend([2, 32, 128, 512].map(ports));
    all
}

/// Whether `wish` names the scenario: its whole name, or the beginning of it up to a hyphen.
pub(super) fn is_named(name: &str, wish: &str) -> bool {
    name.strip_prefix(wish).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn streams_between(count: usize, congestion: &'static str, with_iperf3: bool) -> Scenario {
    let streams = Streams { count, congestion, direction: Direction::Out };
    let plural = if count == 1 { "" } else { "s" };
    Scenario {
        name: format!("tcp-{count}-{congestion}"),
        title: format!("TCP, {count} stream{plural}, {congestion}"),
        site: PAIR,
        metrics: flow_metrics(with_iperf3),
        congestion: Some(congestion),
        quick: congestion == "cubic" && count < 16,
        measure: Box::new(move |lab, time| flow((lab.first()?, lab.last()?), streams, time, with_iperf3)),
    }
}

fn through_nat(direction: Direction, congestion: &'static str, with_iperf3: bool) -> Scenario {
    let (name, words) = match direction {
        Direction::Out => ("out", "to the outside"),
        Direction::In => ("in", "from the outside"),
    };
    let streams = Streams { count: 1, congestion, direction };
    Scenario {
        name: format!("snat-{name}-{congestion}"),
        title: format!("TCP through SNAT, 1 stream {words}, {congestion}"),
        site: NAT,
        metrics: flow_metrics(with_iperf3),
        congestion: Some(congestion),
        quick: congestion == "cubic",
        measure: Box::new(move |lab, time| {
            lab.send_by(streams.congestion)?;
            flow((lab.first()?, lab.outside()?), streams, time, with_iperf3)
        }),
    }
}

fn flow_metrics(with_iperf3: bool) -> Vec<Metric> {
    let mut metrics = vec![GBIT, CPU_PER_GBIT];
    metrics.extend(with_iperf3.then_some(BY_IPERF3));
    metrics
}

fn flow(
    (client, server): (&Station, &Station),
    streams: Streams,
    time: Time,
    with_iperf3: bool,
) -> Result<Measurement, BenchError> {
    let flow = tcp::measure(client, server, streams, time)?;
    let mut figures = vec![flow.gbit_per_s, flow.cpu_ms_per_gbit];
    if with_iperf3 {
        figures.push(iperf3::measure(client, server, streams, time)?);
    }
    Ok(figures.into())
}

fn udp(name: &str, title: &str, payload: usize) -> Scenario {
    Scenario {
        name: name.to_owned(),
        title: title.to_owned(),
        site: PAIR,
        metrics: vec![DELIVERED, LOSS, CPU_PER_MILLION],
        congestion: None,
        quick: payload == udp::SMALLEST_PAYLOAD,
        measure: Box::new(move |lab, time| {
            let blast = udp::measure(lab.first()?, lab.last()?, payload, time)?;
            Ok(vec![blast.delivered_kpps, blast.loss_percent, blast.cpu_s_per_million].into())
        }),
    }
}

fn request_response() -> Scenario {
    Scenario {
        name: "rr".to_owned(),
        title: "TCP request and response of a byte, round trip".to_owned(),
        site: PAIR,
        metrics: vec![P50, P99, P999],
        congestion: None,
        quick: true,
        measure: Box::new(|lab, time| {
            let times = latency::measure(lab.first()?, lab.last()?, time)?;
            let at = |part: f64| quantile(&times, part).unwrap_or(f64::NAN);
            Ok(Measurement {
                figures: [0.5, 0.99, 0.999].map(at).to_vec(),
                curve: QUANTILES.map(at).to_vec(),
            })
        }),
    }
}

fn connections(clients: usize) -> Scenario {
    let plural = if clients == 1 { "" } else { "s" };
    Scenario {
        name: format!("connect-{clients}"),
        title: format!("new TCP connections through SNAT, {clients} client{plural}"),
        site: NAT,
        metrics: vec![CONNECTIONS, CPU_PER_CONNECTION],
        congestion: None,
        quick: false,
        measure: Box::new(move |lab, time| {
            let opened = connect::measure(lab.first()?, lab.outside()?, clients, time)?;
            Ok(vec![opened.per_second, opened.cpu_us_each].into())
        }),
    }
}

/// What is left to who sends little when another sends as much as it can.
fn overload() -> Scenario {
    let streams = Streams { count: 1, congestion: "cubic", direction: Direction::Out };
    Scenario {
        name: "overload".to_owned(),
        title: "TCP, 1 stream, cubic, beside two others' flood of 64-byte frames".to_owned(),
        site: Site { sandboxes: 4, ..PAIR },
        metrics: vec![GBIT, FLOODED],
        congestion: Some("cubic"),
        quick: false,
        measure: Box::new(move |lab, time| {
            let [client, server, flooder, flooded] = &lab.sandboxes[..] else {
                return Err(BenchError::sentence("the scenario needs four endpoints"));
            };
            std::thread::scope(|scope| {
                let flood = scope.spawn(|| udp::measure(flooder, flooded, udp::SMALLEST_PAYLOAD, time));
                let flow = tcp::measure(client, server, streams, time);
                let flood = joined(flood.join())?;
                Ok(vec![flow?.gbit_per_s, flood.delivered_kpps].into())
            })
        }),
    }
}

fn broadcasts(receivers: usize) -> Scenario {
    Scenario {
        name: format!("flood-{receivers}"),
        title: format!("broadcasts of 64-byte frames to {receivers} others, copies"),
        site: Site { sandboxes: receivers + 1, ..PAIR },
        metrics: vec![DELIVERED, LOSS, CPU_PER_MILLION],
        congestion: None,
        quick: false,
        measure: Box::new(|lab, time| {
            let flood = flood::measure(&lab.sandboxes, time)?;
            Ok(vec![flood.delivered_kpps, flood.loss_percent, flood.cpu_s_per_million].into())
        }),
    }
}

fn idle() -> Scenario {
    Scenario {
        name: "idle".to_owned(),
        title: "idle, 2 endpoints".to_owned(),
        site: PAIR,
        metrics: vec![IDLE, PROCESS_MEMORY],
        congestion: None,
        quick: false,
        measure: Box::new(|lab, time| Ok(vec![idle_percent(lab, time), memory_of_programs(lab)].into())),
    }
}

/// Processor time of the switch's programs while nobody speaks, in hundredths of a core.
fn idle_percent(lab: &Lab, time: Time) -> f64 {
    let before = meter::process_seconds(&lab.processes());
    std::thread::sleep(time.window);
    100.0 * (meter::process_seconds(&lab.processes()) - before) / time.window.as_secs_f64()
}

fn memory_of_programs(lab: &Lab) -> f64 {
    meter::process_memory_mb(&lab.processes())
}

fn setup() -> Scenario {
    Scenario {
        name: "setup".to_owned(),
        title:
            "setting an endpoint up and taking it off (of the kernel: netlink alone, nobody's control plane)"
                .to_owned(),
        site: Site { grows: true, ..PAIR },
        metrics: vec![ATTACH, DETACH],
        congestion: None,
        quick: false,
        measure: Box::new(|lab, _| {
            let namespaces = (0..ADDED).map(|_| Namespace::new()).collect::<Result<Vec<_>, _>>()?;
            let each = |start: std::time::Instant| start.elapsed().as_secs_f64() * 1e3 / ADDED as f64;
            let start = std::time::Instant::now();
            let attached =
                namespaces.iter().map(|it| Ok(lab.attach(it)?.1)).collect::<Result<Vec<_>, BenchError>>()?;
            let attach = each(start);
            let start = std::time::Instant::now();
            attached.into_iter().try_for_each(|number| lab.detach(number))?;
            Ok(vec![attach, each(start)].into())
        }),
    }
}

fn ports(count: usize) -> Scenario {
    let streams = Streams { count: 1, congestion: "cubic", direction: Direction::Out };
    Scenario {
        name: format!("ports-{count}"),
        title: format!("{count} endpoints, the first and the last of them talking"),
        site: Site { sandboxes: count, ..PAIR },
        metrics: vec![GBIT, P50, IDLE, PROCESS_MEMORY, MACHINE_MEMORY, BUILD],
        congestion: Some("cubic"),
        quick: false,
        measure: Box::new(move |lab, time| {
            let part = Time::of(time.window / 3);
            let flow = tcp::measure(lab.first()?, lab.last()?, streams, part)?;
            let times = latency::measure(lab.first()?, lab.last()?, part)?;
            let p50 = quantile(&times, 0.5).unwrap_or(f64::NAN);
            let (idle, memory) = (idle_percent(lab, part), memory_of_programs(lab));
            Ok(vec![flow.gbit_per_s, p50, idle, memory, lab.built.memory_mb, lab.built.ms_per_endpoint]
                .into())
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scenarios_are_called_by_name_or_family() {
        assert!(
            is_named("tcp-4-bbr", "tcp-4-bbr")
                && is_named("tcp-4-bbr", "tcp")
                && is_named("tcp-4-bbr", "tcp-4")
        );
        assert!(!is_named("tcp-16-bbr", "tcp-1") && !is_named("tcp-4-bbr", "bbr") && !is_named("rr", ""));
    }

    #[test]
    fn names_are_unique_and_sites_together() {
        let all = all(false);
        let names: BTreeSet<_> = all.iter().map(|scenario| scenario.name.clone()).collect();
        assert_eq!(names.len(), all.len());
        let mut sites: Vec<Site> = all.iter().map(|scenario| scenario.site).collect();
        sites.dedup();
        for (place, site) in sites.iter().enumerate() {
            assert!(!sites[..place].contains(site) || site.sandboxes == 2, "{site:?} is built twice");
        }
    }
}
