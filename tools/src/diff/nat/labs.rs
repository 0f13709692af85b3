//! The two routers with NAT: the kernel's bridge, forwarding, MASQUERADE and DNAT here, pontoon's edge there.
//!
//! Pontoon's decides in process, by the production `step` as a replay runs it: what lies between wire and decision is compared with
//! bridged frames, and the hundred thousand flows need no hundred thousand leases of the host's ports.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::counters::PortCounters;
use pontoon_dataplane::edge::config::{EdgeConfig, NetworkEdge, Publication, Uplink};
use pontoon_dataplane::edge::punt::{Neighbour, Route};
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::fdb::{Fdb, FdbConfig};
use pontoon_dataplane::network::{
    Gateway, Identity, Network, NetworkId, Place, Port, PortId, PortSettings, Snapshot,
};
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::replay::{Arrival, Event, Kernel as Answers, Replay, What};

use super::flows::PUBLISHED;
use super::ip;
use crate::diff::wires::{Marks, Wires, eventually, inner, outer, quiet_namespace, stay_on_cpu};
use crate::kernel::bridge::Moves;
use crate::kernel::{Kernel, Route as KernelRoute};
use crate::lab::{LabError, Namespace};

/// How many endpoints there are inside. Who comes behind them is the outside.
pub const INSIDE: usize = 3;
/// The outside's place among the ends.
pub const OUTSIDE: usize = INSIDE;
/// The gateway's address.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// The host's address outside.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The next router outside.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The host's MAC outside.
pub const HOST_MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 3, 2]);
/// The next router's.
pub const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 3, 1]);
const MTU: u16 = 1500;
const PREFIX_LEN: u8 = 24;

/// The address of an endpoint.
pub fn endpoint(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 0, number as u8 + 2)
}

/// A router with NAT between endpoints and the outside.
pub trait Router: Send {
    /// Takes frames, each at an end. Returns what has arrived at each end when all have been dealt with.
    ///
    /// # Errors
    /// The lab fails.
    fn pass(&mut self, frames: &[(usize, Vec<u8>)]) -> Result<Vec<Vec<Vec<u8>>>, LabError>;
}

/// What Docker has on a host with one network, as far as it matters here; the host itself neither listens nor answers.
/// `plain`: as Docker has it; otherwise what belongs to no connection is dropped, and not forwarded as it is.
fn rules(plain: bool) -> String {
    let mut nat = String::from("*nat\n-A POSTROUTING -s 10.88.0.0/24 ! -o br0 -j MASQUERADE\n");
    let mut filter = String::from("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n");
    if !plain {
        filter += "-A FORWARD -m conntrack --ctstate INVALID -j DROP\n";
    }
    filter += "-A FORWARD -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n";
    for (protocol, port, inside, own) in PUBLISHED {
        let (name, to) = (if protocol == ip::TCP { "tcp" } else { "udp" }, endpoint(inside));
        nat += &format!(
            "-A PREROUTING -d {HOST} -p {name} --dport {port} -j DNAT --to-destination {to}:{own}\n"
        );
        filter += &format!("-A FORWARD -o br0 -d {to} -p {name} --dport {own} -j ACCEPT\n");
    }
    format!("{nat}COMMIT\n{filter}-A FORWARD -i br0 -j ACCEPT\nCOMMIT\n")
}

/// The kernel's.
#[derive(Debug)]
pub struct KernelRouter {
    wires: Wires,
    marks: Marks,
    cpu: usize,
    _host: Namespace,
}

impl KernelRouter {
    /// In namespaces of its own, on one CPU. `plain`: with no rule but Docker's, so that it leaks what belongs to no connection.
    ///
    /// # Errors
    /// No privilege, no iptables, or a kernel without bridge, veth or netfilter.
    pub fn new(cpu: usize, plain: bool) -> Result<KernelRouter, LabError> {
        let (host, stations) = (quiet_namespace("diff-nat")?, quiet_namespace("diff-station")?);
        let marks = host.run(|| -> Result<_, LabError> {
            let (links, kernel) = (Links::open()?, Kernel::open()?);
            kernel.create_plain_bridge("br0", MacAddr::from_ipv4(GATEWAY), Duration::from_secs(300))?;
            let bridge = links.get("br0")?;
            for end in 0..=OUTSIDE {
                links.create_veth(&inner(end), &outer(end), stations.netns())?;
                let link = links.get(&inner(end))?;
                if end == OUTSIDE {
                    links.dress_as(&link, &inner(end), HOST_MAC, MTU)?;
                    links.add_address(&link, HOST.into(), PREFIX_LEN)?;
                } else {
                    let mac = MacAddr::from_ipv4(endpoint(end));
                    kernel.enslave(link.index, bridge.index)?;
                    kernel.add_static(link.index, mac, Moves::No)?;
                    kernel.add_neighbour(bridge.index, endpoint(end), mac)?;
                }
                links.set_up(&link, true)?;
            }
            links.add_address(&bridge, GATEWAY.into(), PREFIX_LEN)?;
            links.set_up(&bridge, true)?;
            let wan = links.get(&inner(OUTSIDE))?.index;
            kernel.add_neighbour(wan, ROUTER, ROUTER_MAC)?;
            for (file, value) in [
                ("ip_forward", "1"),
                ("icmp_ratelimit", "0"),
                ("icmp_msgs_per_sec", "1000000"),
                ("icmp_msgs_burst", "1000000"),
            ] {
                match std::fs::write(format!("/proc/sys/net/ipv4/{file}"), value) {
                    // Not every kernel has each of them in every namespace.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    written => written?,
                }
            }
            restore(&rules(plain))?;
            Marks::open((0..=OUTSIDE).map(inner))
        })??;
        let wires = Wires::open(stations, OUTSIDE + 1, |_| MTU)?;
        host.run(|| -> Result<(), LabError> {
            let (links, kernel) = (Links::open()?, Kernel::open()?);
            for end in 0..=OUTSIDE {
                let index = links.get(&inner(end))?.index;
                eventually("take note of a carrier", || kernel.is_running(index))?;
            }
            // Only an interface that is up takes a route.
            kernel.set_route(KernelRoute::default_via(ROUTER))
        })??;
        Ok(KernelRouter { wires, marks, cpu, _host: host })
    }
}

impl Router for KernelRouter {
    fn pass(&mut self, frames: &[(usize, Vec<u8>)]) -> Result<Vec<Vec<Vec<u8>>>, LabError> {
        stay_on_cpu(self.cpu)?;
        for (end, bytes) in frames {
            let frame = OwnedFrame { bytes: bytes.clone(), offload: Offload::NONE };
            self.wires.send(*end, &frame)?;
        }
        self.marks.settle(&mut self.wires)?;
        let taken = self.wires.take().into_iter();
        Ok(taken.map(|frames| frames.into_iter().map(|frame| frame.bytes).collect()).collect())
    }
}

/// Gives the calling thread's namespace rules.
fn restore(rules: &str) -> Result<(), LabError> {
    let mut restore = Command::new("iptables-restore")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run iptables-restore: {error}"))?;
    if let Some(mut input) = restore.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    if restore.wait()?.success() { Ok(()) } else { Err("iptables-restore refused the rules".into()) }
}

/// Pontoon's, and its clock.
#[derive(Debug)]
pub struct PontoonRouter {
    replay: Replay,
    now: Duration,
}

impl PontoonRouter {
    /// In process.
    pub fn new() -> PontoonRouter {
        let uplink_port = PortId(OUTSIDE as u16);
        let neighbour = Some(Neighbour::Fixed(ROUTER_MAC));
        let route = Route { uplink: uplink_port, next_hop: ROUTER, source: HOST, mtu: MTU, neighbour };
        let pool = (20_000, 29_999);
        let kernel = Answers {
            routes: vec![(ipnet::Ipv4Net::default(), route)],
            ports: vec![(Protocol::Tcp, pool), (Protocol::Udp, pool)],
        };
        let replay = Replay::new(Arc::new(snapshot(uplink_port)), |_| Offloads::NONE).with_kernel(kernel);
        PontoonRouter { replay, now: Duration::ZERO }
    }
}

impl Default for PontoonRouter {
    fn default() -> Self {
        Self::new()
    }
}

impl Router for PontoonRouter {
    fn pass(&mut self, frames: &[(usize, Vec<u8>)]) -> Result<Vec<Vec<Vec<u8>>>, LabError> {
        let mut arrived = vec![Vec::new(); OUTSIDE + 1];
        let mut sent = |event: &Event<'_>| {
            if event.what == What::Sent {
                arrived[event.port.index()].push(event.frame.bytes.to_vec());
            }
        };
        for (end, bytes) in frames {
            // Slow enough for the limit of ICMP errors to be of no account, as it is in the kernel.
            self.now += Duration::from_millis(1);
            let frame = OwnedFrame { bytes: bytes.clone(), offload: Offload::NONE };
            let arrival = Arrival { at: self.now, ingress: PortId(*end as u16), frame };
            self.replay.feed(&arrival, &mut sent);
        }
        Ok(arrived)
    }
}

/// Who an endpoint is: the kernel's neighbour table and bridge are told the same.
fn identity(number: usize) -> Identity {
    let own = vec![endpoint(number).into()];
    Identity { mac: MacAddr::from_ipv4(endpoint(number)), addresses: own.clone(), sandbox_addresses: own }
}

fn snapshot(uplink: PortId) -> Snapshot {
    let id = NetworkId(0);
    let port = |number: usize| Port {
        id: PortId(number as u16),
        place: if number == OUTSIDE { Place::Uplink } else { Place::Member(id) },
        settings: PortSettings::default(),
        identity: (number != OUTSIDE).then(|| Arc::new(identity(number))),
        own_mac: None,
        mtu: MTU,
        counters: Arc::from([PortCounters::default()]),
    };
    let publications = PUBLISHED.iter().enumerate().map(|(number, &(protocol, port, inside, own))| {
        Arc::new(Publication {
            id: number as u32 + 1,
            address: None,
            protocol: if protocol == ip::TCP { Protocol::Tcp } else { Protocol::Udp },
            ports: (port, port),
            network: id,
            endpoint: PortId(inside as u16),
            to_address: endpoint(inside),
            to_port: own,
            rules: Arc::default(),
        })
    });
    let edge = EdgeConfig {
        uplinks: vec![Uplink {
            port: uplink,
            interface_index: 1,
            name: "wan0".into(),
            mac: Some(HOST_MAC),
            addresses: vec![(HOST, PREFIX_LEN)],
            mtu: MTU,
        }],
        host_addresses: vec![HOST],
        publications: publications.collect(),
        ..EdgeConfig::default()
    };
    let network = Network {
        id,
        gateway: Some(Gateway { mac: MacAddr::from_ipv4(GATEWAY), address: GATEWAY, prefix_len: PREFIX_LEN }),
        mtu: MTU,
        flooded: Arc::default(),
        fdb: Arc::new(Fdb::with_seed(FdbConfig::default(), 0)),
        members: (0..INSIDE as u16).map(PortId).collect(),
        edge: NetworkEdge::default(),
    };
    Snapshot {
        generation: 1,
        networks: vec![Some(Arc::new(network))],
        ports: (0..=OUTSIDE).map(|number| Some(port(number))).collect(),
        edge: Arc::new(edge),
    }
}
