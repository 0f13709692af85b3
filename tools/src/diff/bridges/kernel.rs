//! The kernel's bridge, with a veth pair for each port.

use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::DEFAULT_AGEING;
use pontoon_dataplane::port::memory::OwnedFrame;

use super::super::generate::PLAIN;
use super::super::script::Change;
use super::super::wires::{
    Marks, Wires, eventually, inner, mtu, outer, port_mac, quiet_namespace, stay_on_cpu,
};
use super::{Arrived, Bridge};
use crate::kernel::Kernel;
use crate::kernel::bridge::Moves;
use crate::lab::{LabError, Namespace};

/// The bridge's own MAC.
const BRIDGE_MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 2, 0]);
/// The kernel's bridge.
#[derive(Debug)]
pub struct KernelBridge {
    wires: Wires,
    kernel: Kernel,
    bridge: u32,
    ports: Vec<u32>,
    marks: Marks,
    statics: Vec<(u32, MacAddr)>,
    cpu: usize,
    _host: Namespace,
}

impl KernelBridge {
    /// A bridge with `count` ports, whose frames the CPU number `cpu` passes on.
    ///
    /// # Errors
    /// No privilege, or a kernel without bridge or veth.
    pub fn new(count: usize, cpu: usize) -> Result<KernelBridge, LabError> {
        let (host, stations) = (quiet_namespace("diff-bridge")?, quiet_namespace("diff-station")?);
        let (kernel, bridge, ports, marks) = host.run(|| -> Result<_, LabError> {
            let (links, kernel) = (Links::open()?, Kernel::open()?);
            keep_netfilter_off()?;
            kernel.create_plain_bridge("br0", BRIDGE_MAC, DEFAULT_AGEING)?;
            let bridge = links.get("br0")?;
            let mut ports = Vec::new();
            for port in 0..count {
                links.create_veth(&inner(port), &outer(port), stations.netns())?;
                let link = links.get(&inner(port))?;
                links.dress_as(&link, &inner(port), port_mac(port), mtu(port))?;
                kernel.enslave(link.index, bridge.index)?;
                links.set_up(&link, true)?;
                ports.push(link.index);
            }
            // It takes the least MTU of its ports for its own, which is nothing to the frames between them.
            links.set_up(&bridge, true)?;
            Ok((kernel, bridge.index, ports, Marks::open((0..count).map(inner))?))
        })??;
        let wires = Wires::open(stations, count, mtu)?;
        for &port in &ports {
            eventually("let a port of its bridge forward", || kernel.forwards(port))?;
        }
        Ok(KernelBridge { wires, kernel, bridge, ports, marks, statics: Vec::new(), cpu, _host: host })
    }
}

impl Bridge for KernelBridge {
    fn pass(&mut self, frames: &[(usize, &OwnedFrame)]) -> Result<Arrived, LabError> {
        stay_on_cpu(self.cpu)?;
        for (sent, (port, frame)) in frames.iter().enumerate() {
            self.wires.send(*port, frame)?;
            if sent % 64 == 63 {
                self.wires.collect(|_, _| true)?;
            }
        }
        self.marks.settle(&mut self.wires)?;
        Ok(self.wires.take())
    }

    fn change(&mut self, change: &Change) -> Result<(), LabError> {
        match *change {
            Change::Settings { port, settings } => self.kernel.set_bridge_port(self.ports[port], settings),
            Change::Ageing(ageing) => {
                self.kernel.set_ageing(self.bridge, ageing)?;
                self.kernel.flush_fdb(self.bridge)
            }
            Change::AddStatic { mac, port } => {
                self.statics.push((self.ports[port], mac));
                self.kernel.add_static(self.ports[port], mac, Moves::No)
            }
            Change::RemoveEntry { mac } => {
                // The kernel wants to know behind which port.
                for &port in &self.ports {
                    self.kernel.remove_entry(port, mac)?;
                }
                Ok(())
            }
            Change::Flush => self.kernel.flush_fdb(self.bridge),
            Change::Link { port, up, .. } => {
                self.wires.set_up(port, up)?;
                let index = self.ports[port];
                eventually("take note of a port's carrier", || Ok(self.kernel.forwards(index)? == up))
            }
            Change::Pass(_) => Ok(()),
        }
    }

    fn reset(&mut self) -> Result<(), LabError> {
        for port in 0..self.wires.count() {
            if !self.wires.is_up(port) {
                self.change(&Change::Link { port, up: true, seen: true })?;
            }
            self.change(&Change::Settings { port, settings: PLAIN })?;
        }
        for (port, mac) in std::mem::take(&mut self.statics) {
            self.kernel.remove_entry(port, mac)?;
        }
        self.kernel.set_ageing(self.bridge, DEFAULT_AGEING)?;
        self.kernel.flush_fdb(self.bridge)?;
        self.marks.settle(&mut self.wires)?;
        self.wires.take();
        Ok(())
    }
}

/// br_netfilter, where there is one, defragments and drops what passes the calling thread's bridges.
fn keep_netfilter_off() -> Result<(), LabError> {
    for of in ["iptables", "ip6tables", "arptables"] {
        match std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{of}"), "0") {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            written => written?,
        }
    }
    Ok(())
}
