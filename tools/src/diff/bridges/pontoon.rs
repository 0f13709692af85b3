//! Pontoon's engine, with a TAP or a veth pair for each port.

use std::time::Instant;

use pontoon::link::Links;
use pontoon_dataplane::DropReason;
use pontoon_dataplane::edge::config::NetworkEdge;
use pontoon_dataplane::engine::{Engine, EngineConfig, NetworkSpec, PortSpec};
use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::network::{DEFAULT_AGEING, NetworkId, Place, PortId};
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads};

use super::super::generate::PLAIN;
use super::super::script::Change;
use super::super::wires::{
    PATIENCE, Wires, eventually, inner, mtu, outer, port_mac, quiet_namespace, stay_on_cpu,
};
use super::{Arrived, Bridge};
use crate::kernel::Kernel;
use crate::lab::{LabError, Namespace};

/// A frame that every bridge drops, and nobody learns from: to a group that is reserved for links.
const MARK: [u8; 14] = [0x01, 0x80, 0xc2, 0, 0, 0x0f, 0x02, 0, 0x5e, 0xff, 0xff, 0xff, 0x88, 0xb5];
/// Frames that are sent into one port before pontoon must have read them: a TAP's queue holds 500.
const BURST: usize = 128;

/// What kind of ports pontoon has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// TAP devices: the stations' ends are the devices themselves.
    Tap,
    /// Packet sockets on veth pairs.
    Packet,
    /// The one and the other by turns.
    Mixed,
}

impl Ports {
    fn is_tap(self, port: usize) -> bool {
        match self {
            Ports::Tap => true,
            Ports::Packet => false,
            Ports::Mixed => port.is_multiple_of(2),
        }
    }
}

/// An engine with one worker and one network without a gateway.
#[derive(Debug)]
pub struct Pontoon {
    wires: Wires,
    engine: Engine,
    network: NetworkId,
    ports: Vec<PortId>,
    kinds: Ports,
    /// Of the namespace with the host's ends of the pairs.
    kernel: Kernel,
    links: Links,
    /// Frames to reserved groups that pontoon must have counted by port.
    reserved: Vec<u64>,
    /// Frames that had left by each port when the last ones were taken.
    sent: Vec<u64>,
    cpu: usize,
    _host: Namespace,
}

impl Pontoon {
    /// A network with `count` ports, whose worker stays on the CPU number `cpu`.
    ///
    /// # Errors
    /// No privilege, no /dev/net/tun, a kernel without veth.
    pub fn new(count: usize, kinds: Ports, cpu: usize) -> Result<Pontoon, LabError> {
        let (host, stations) = (quiet_namespace("diff-pontoon")?, quiet_namespace("diff-station")?);
        let engine = started_on(cpu)?;
        let network = engine.add_network(NetworkSpec {
            gateway: None,
            mtu: 1500,
            ageing: DEFAULT_AGEING,
            edge: NetworkEdge::default(),
        })?;
        let mut ports = Vec::new();
        for port in 0..count {
            let device = match kinds.is_tap(port) {
                true => Device::Tap(stations.run(|| Tap::open(&outer(port), Offloads::ALL))??),
                false => host.run(|| open_veth(port, &stations))??,
            };
            let (place, settings) = (Place::Member(network), PLAIN);
            ports
                .push(engine.add_port(PortSpec { place, settings, identity: None, mtu: mtu(port) }, device)?);
        }
        let wires = Wires::open(stations, count, mtu)?;
        let (kernel, links) = host.run(|| Ok::<_, LabError>((Kernel::open()?, Links::open()?)))??;
        let (reserved, sent) = (vec![0; count], vec![0; count]);
        let pontoon =
            Pontoon { wires, engine, network, ports, kinds, kernel, links, reserved, sent, cpu, _host: host };
        (0..count).try_for_each(|port| pontoon.await_carrier(port, true))?;
        Ok(pontoon)
    }

    /// The port's own end has seen what became of the other.
    fn await_carrier(&self, port: usize, up: bool) -> Result<(), LabError> {
        if self.kinds.is_tap(port) {
            return Ok(());
        }
        let index = self.links.get(&inner(port))?.index;
        eventually("take note of a port's carrier", || Ok(self.kernel.is_running(index)? == up))
    }

    /// Waits until pontoon has decided about everything that was sent into `port`. Its one worker takes no frame of another port
    /// before it has done with that one.
    fn settle(&mut self, port: usize) -> Result<(), LabError> {
        if !self.wires.is_up(port) {
            return Ok(());
        }
        let mark = OwnedFrame { bytes: [&MARK[..], &[0; 46]].concat(), offload: Offload::NONE };
        self.wires.send(port, &mark)?;
        self.reserved[port] += 1;
        let start = Instant::now();
        while self.engine.port_counters(self.ports[port])?.dropped(DropReason::ReservedGroup)
            < self.reserved[port]
        {
            if start.elapsed() > PATIENCE {
                return Err(format!("pontoon does not take the frames of port {port}").into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Takes what pontoon says that it has sent.
    fn take(&mut self) -> Result<Arrived, LabError> {
        // The worker answers between two batches.
        self.engine.edge_stats()?;
        let start = Instant::now();
        for port in 0..self.ports.len() {
            let sent = self.engine.port_counters(self.ports[port])?.tx.frames;
            let expected = sent - std::mem::replace(&mut self.sent[port], sent);
            while self.wires.is_up(port) && (self.wires.arrived(port) as u64) < expected {
                self.wires.collect(|_, _| true)?;
                if start.elapsed() > PATIENCE {
                    let arrived = self.wires.arrived(port);
                    return Err(format!(
                        "pontoon counts {expected} frames that left by port {port}, {arrived} arrived"
                    )
                    .into());
                }
            }
        }
        self.wires.collect(|_, _| true)?;
        Ok(self.wires.take())
    }
}

impl Bridge for Pontoon {
    fn pass(&mut self, frames: &[(usize, &OwnedFrame)]) -> Result<Arrived, LabError> {
        stay_on_cpu(self.cpu)?;
        let mut burst = 0;
        for (index, (port, frame)) in frames.iter().enumerate() {
            if self.wires.send(*port, frame)? && counts_as_reserved(frame) {
                self.reserved[*port] += 1;
            }
            burst += 1;
            if burst == BURST || frames.get(index + 1).is_none_or(|(next, _)| next != port) {
                self.settle(*port)?;
                self.wires.collect(|_, _| true)?;
                burst = 0;
            }
        }
        self.take()
    }

    fn change(&mut self, change: &Change) -> Result<(), LabError> {
        let fdb = self.engine.fdb(self.network)?;
        match *change {
            Change::Settings { port, settings } => {
                self.engine.set_port(self.ports[port], settings)?;
            }
            Change::Ageing(ageing) => {
                fdb.flush_learned(None);
                fdb.set_ageing(ageing);
            }
            Change::AddStatic { mac, port } => fdb.add_static(mac, self.ports[port])?,
            Change::RemoveEntry { mac } => {
                fdb.remove(mac);
            }
            Change::Flush => {
                fdb.flush_learned(None);
            }
            Change::Link { port, up, seen } => {
                self.wires.set_up(port, up)?;
                self.await_carrier(port, up)?;
                if seen {
                    self.engine.forget_behind_lost_links();
                }
            }
            Change::Pass(_) => {}
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), LabError> {
        for port in 0..self.wires.count() {
            if !self.wires.is_up(port) {
                self.change(&Change::Link { port, up: true, seen: true })?;
            }
            self.change(&Change::Settings { port, settings: PLAIN })?;
        }
        let fdb = self.engine.fdb(self.network)?;
        fdb.set_ageing(DEFAULT_AGEING);
        for &port in &self.ports {
            fdb.flush_port(port);
        }
        self.take()?;
        Ok(())
    }
}

/// An engine whose worker, a child of the thread that starts it, stays on one CPU.
fn started_on(cpu: usize) -> Result<Engine, LabError> {
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            stay_on_cpu(cpu)?;
            // As nice as the one who waits for it on the same CPU.
            Ok(Engine::start(EngineConfig { workers: 1, niceness: 0, ..EngineConfig::default() })?)
        });
        starter.join().map_err(|_| "the engine's start has panicked")?
    })
}

fn open_veth(port: usize, stations: &Namespace) -> Result<Device, LabError> {
    let links = Links::open()?;
    links.create_veth(&inner(port), &outer(port), stations.netns())?;
    let link = links.get(&inner(port))?;
    links.dress_as(&link, &inner(port), port_mac(port), mtu(port))?;
    links.keep_host_off(&link)?;
    links.set_up(&link, true)?;
    Ok(Device::Packet(Packet::open(&inner(port), Offloads::ALL)?))
}

/// Whether pontoon counts a frame as it counts the marks.
fn counts_as_reserved(frame: &OwnedFrame) -> bool {
    let view = EthernetView::parse(&frame.bytes);
    view.is_ok_and(|view| view.dst.is_reserved_link_local() && view.src.is_station())
}
