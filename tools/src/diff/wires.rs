//! The stations' ends of a bridge's ports: raw sockets that put frames in and take out what arrives.

use std::time::{Duration, Instant};

use pontoon::link::Links;
use pontoon_dataplane::frame::{ETHERNET_HEADER_LEN, VLAN_TAG_LEN};
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::buffer::Buffer;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::{Device, Offloads, Received, SendError};
use pontoon_dataplane::{DropReason, MacAddr};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::kernel::Kernel;
use crate::lab::{LabError, Namespace};

/// How long anything may take that the kernel does by itself.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the station's interface at port `port`.
pub fn outer(port: usize) -> String {
    format!("out{port}")
}

/// The name of the bridge's interface at port `port`, where it has one.
pub fn inner(port: usize) -> String {
    format!("port{port}")
}

/// The MTU of port `port` in bytes: the first two of four are ordinary, the others take jumbo frames.
pub fn mtu(port: usize) -> u16 {
    if port % 4 < 2 { 1500 } else { 9000 }
}

/// The MAC of the bridge's interface at port `port`, where it has one.
pub fn port_mac(port: usize) -> MacAddr {
    MacAddr([0x02, 0, 0x5e, 0, 1, port as u8])
}

/// The stations' ends, all in one namespace, where no IP stack says a word.
#[derive(Debug)]
pub struct Wires {
    /// Where they are.
    pub namespace: Namespace,
    links: Links,
    kernel: Kernel,
    ends: Vec<Device>,
    up: Vec<bool>,
    buffer: Buffer,
    received: Vec<Vec<OwnedFrame>>,
}

impl Wires {
    /// Takes the interfaces `out0`, `out1`… of the namespace, which exist already, and brings them up.
    ///
    /// # Errors
    /// No such interfaces, no privilege.
    pub fn open(namespace: Namespace, count: usize, mtu: fn(usize) -> u16) -> Result<Wires, LabError> {
        let (links, kernel, ends) = namespace.run(|| -> Result<_, LabError> {
            let links = Links::open()?;
            let mut ends = Vec::new();
            for port in 0..count {
                let link = links.get(&outer(port))?;
                links.set_mtu(&link, mtu(port))?;
                links.keep_host_off(&link)?;
                links.set_up(&link, true)?;
                ends.push(Device::Packet(Packet::open(&outer(port), Offloads::ALL)?));
            }
            Ok((links, Kernel::open()?, ends))
        })??;
        let received = vec![Vec::new(); count];
        let up = vec![true; count];
        Ok(Wires { namespace, links, kernel, ends, up, buffer: Buffer::new(), received })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Whether the station's interface is up.
    pub fn is_up(&self, port: usize) -> bool {
        self.up[port]
    }

    /// Brings a station's interface up, or takes it down. The port's own end learns of it later.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_up(&mut self, port: usize, up: bool) -> Result<(), LabError> {
        let link = self.links.get(&outer(port))?;
        self.links.set_up(&link, up)?;
        self.up[port] = up;
        if up {
            eventually("bring a station's interface up", || self.kernel.is_running(link.index))?;
        } else {
            // The socket has been told so, and says it to whoever uses it next: better now than instead of sending a frame.
            self.collect(|_, _| true)?;
        }
        Ok(())
    }

    /// Sends a frame into a port. Returns whether that was possible: the kernel refuses runts, what is larger than the interface takes,
    /// and metadata that makes no sense, and drops what ends in its first tag before any bridge sees it, at one end or the other.
    ///
    /// # Errors
    /// The interface has vanished, or does not get rid of its frames.
    pub fn send(&self, port: usize, frame: &OwnedFrame) -> Result<bool, LabError> {
        if is_cut_tag(&frame.bytes) {
            return Ok(false);
        }
        let start = Instant::now();
        loop {
            match self.ends[port].send(&frame.as_frame()) {
                Ok(()) => return Ok(true),
                Err(SendError::Dropped(DropReason::PortFull)) if self.up[port] => {
                    if start.elapsed() > PATIENCE {
                        return Err(format!("the interface of port {port} stays full").into());
                    }
                    std::thread::yield_now();
                }
                Err(SendError::Dropped(_)) => return Ok(false),
                Err(SendError::Gone(error)) => return Err(error.into()),
            }
        }
    }

    /// Takes what has arrived, all that `keep` wants of it. Returns how many frames there were.
    ///
    /// # Errors
    /// An interface has vanished.
    pub fn collect(&mut self, mut keep: impl FnMut(usize, &OwnedFrame) -> bool) -> Result<usize, LabError> {
        let mut seen = 0;
        for port in 0..self.ends.len() {
            loop {
                match self.ends[port].recv(&mut self.buffer)? {
                    Received::Frame => {
                        seen += 1;
                        let frame = self.buffer.frame();
                        let frame = OwnedFrame { bytes: frame.bytes.to_vec(), offload: frame.offload };
                        if keep(port, &frame) {
                            self.received[port].push(frame);
                        }
                    }
                    Received::Dropped(_) | Received::Skipped | Received::Down => {}
                    Received::Empty => break,
                }
            }
        }
        Ok(seen)
    }

    /// How many frames of each port wait to be taken away.
    pub fn arrived(&self, port: usize) -> usize {
        self.received[port].len()
    }

    /// Everything that was collected, by port.
    pub fn take(&mut self) -> Vec<Vec<OwnedFrame>> {
        self.received.iter_mut().map(std::mem::take).collect()
    }
}

/// Whether a frame begins with a tag and ends before a type and something behind it (kernel: `skb_vlan_untag`, net/core/skbuff.c).
fn is_cut_tag(bytes: &[u8]) -> bool {
    let is_tagged = matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    is_tagged && bytes.len() < ETHERNET_HEADER_LEN + VLAN_TAG_LEN + 2
}

/// What marks begin with that say when everything before them has arrived: to everybody, of an EtherType for experiments.
const MARK: [u8; 14] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0x5e, 0xff, 0xff, 0xff, 0x88, 0xb5];

/// The kernel's ends of veth pairs whose other ends are the stations': frames go straight to the stations by them, past bridge and
/// router.
#[derive(Debug)]
pub struct Marks {
    devices: Vec<Device>,
    next: u64,
}

impl Marks {
    /// The interfaces of these names in the calling thread's namespace, in the order of the stations.
    ///
    /// # Errors
    /// No such interface, no privilege.
    pub fn open(names: impl Iterator<Item = String>) -> Result<Marks, LabError> {
        let device = |name: String| Ok(Device::Packet(Packet::open_uplink(&name, Offloads::ALL)?));
        Ok(Marks { devices: names.map(device).collect::<Result<_, LabError>>()?, next: 0 })
    }

    /// Collects until everything that was sent has arrived.
    ///
    /// All of it waits in the queue of the one CPU that this thread stays on: a frame on its way in, then what comes of it on its way
    /// to the stations. A mark that goes straight to a station comes behind the frames that were sent before it, and one that is sent
    /// when the first has arrived comes behind what came of them.
    ///
    /// # Errors
    /// An interface has vanished, or a mark has.
    pub fn settle(&mut self, wires: &mut Wires) -> Result<(), LabError> {
        for _round in 0..2 {
            let bytes = [&MARK[..], &self.next.to_be_bytes(), &[0; 38]].concat();
            let frame = OwnedFrame { bytes, offload: Offload::NONE };
            self.next += 1;
            let mut missing = vec![false; self.devices.len()];
            for (port, device) in self.devices.iter().enumerate().filter(|(port, _)| wires.is_up(*port)) {
                missing[port] = true;
                device
                    .send(&frame.as_frame())
                    .map_err(|error| format!("cannot mark port {port}: {error:?}"))?;
            }
            let start = Instant::now();
            while missing.contains(&true) {
                wires.collect(|port, arrived| {
                    missing[port] &= arrived.bytes != frame.bytes;
                    !arrived.bytes.starts_with(&MARK)
                })?;
                if start.elapsed() > PATIENCE {
                    return Err("a mark has been lost on its way from the kernel".into());
                }
            }
        }
        Ok(())
    }
}

/// Waits until the kernel has done something by itself, which it does not tell.
///
/// # Errors
/// It has not within [`PATIENCE`].
pub fn eventually(what: &str, done: impl Fn() -> Result<bool, LabError>) -> Result<(), LabError> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > PATIENCE {
            return Err(format!("the kernel does not {what}").into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// A namespace in which no interface speaks IPv6 of its own accord.
///
/// # Errors
/// No privilege.
pub fn quiet_namespace(prefix: &str) -> Result<Namespace, LabError> {
    let namespace = Namespace::new(prefix)?;
    namespace.run(|| -> Result<(), LabError> {
        for of in ["all", "default"] {
            match std::fs::write(format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"), "1") {
                // A kernel without IPv6 is quiet.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                written => written?,
            }
        }
        Ok(())
    })??;
    Ok(namespace)
}

/// Keeps the calling thread, and those that it starts, on one CPU: number `number` of those that the process may use, counted
/// round. Frames that one CPU passes on stay in order.
///
/// # Errors
/// The system's error.
pub fn stay_on_cpu(number: usize) -> Result<(), LabError> {
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let mut only = CpuSet::new();
    only.set(cpus[number % cpus.len()]);
    Ok(sched_setaffinity(None, &only)?)
}
