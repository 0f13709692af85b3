//! Labs: sandboxes that some [`Switch`] joins, and maybe a machine outside behind the switch's NAT.
//!
//! All of a lab is in network namespaces of its own; each switch has one, its host, so that none sees another's devices or rules.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pontoon_dataplane::MacAddr;

use super::contender::{Contender, Switch};
use super::error::{BenchError, cannot};
use super::meter;
use super::traffic::connect;
use crate::api::types::SandboxRef;
use crate::link::Links;
use crate::netns::{self, Netns};

/// Every lab's subnet, its gateway and how long its prefix is.
pub(super) const SUBNET: &str = "10.88.0.0/16";
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
pub(super) const PREFIX_LEN: u8 = 16;
/// Every wire's MTU.
pub(super) const MTU: u16 = 1500;
/// The host's interface towards the outside.
pub(super) const UPLINK: &str = "wan0";
/// The machine outside. This and the addresses on the way are set aside for documentation (RFC 5737).
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const UPLINK_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The address of sandbox number `number`, from 0.
pub(super) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(GATEWAY.to_bits() + 1 + number as u32)
}

/// What a scenario needs of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Site {
    pub sandboxes: usize,
    /// Whether there is a machine outside, behind the switch's NAT.
    pub outside: bool,
    /// Whether sandboxes come and go.
    pub grows: bool,
}

/// A network namespace with a name below /run/netns, which is the bench's own; deleted when dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    netns: Netns,
}

impl Namespace {
    pub(super) fn new() -> Result<Namespace, BenchError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench-{}", NEXT.fetch_add(1, Relaxed));
        netns::create(&name)?;
        let netns = Netns::find(&SandboxRef::Netns(name.clone()))?;
        let namespace = Namespace { name, netns };
        namespace.run(|| {
            let links = Links::open()?;
            links.set_up(&links.get("lo")?, true)
        })?;
        Ok(namespace)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The same, for somebody else to keep.
    pub(super) fn reopen(&self) -> Result<Netns, BenchError> {
        Ok(Netns::find(&SandboxRef::Netns(self.name.clone()))?)
    }

    /// Does `work` inside.
    pub(super) fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, BenchError>
    where
        T: Send,
        E: Send + Into<BenchError>,
    {
        netns::run_in(&self.netns, work)?.map_err(Into::into)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left goes with the bench's own mounts.
        let _ = netns::delete(&self.name);
    }
}

/// Whoever sends and receives: a namespace with an address.
#[derive(Debug)]
pub(super) struct Station {
    pub netns: Netns,
    pub address: Ipv4Addr,
}

/// Sandboxes and what joins them.
pub(super) struct Lab {
    // Dropped first: it may hold devices in the sandboxes.
    switch: Box<dyn Switch>,
    pub sandboxes: Vec<Station>,
    pub outside: Option<Station>,
    pub built: Built,
    next: usize,
    /// Held for their lives alone.
    _namespaces: Vec<Namespace>,
}

/// What it took to build a lab.
#[derive(Debug, Clone, Copy)]
pub(super) struct Built {
    /// Milliseconds for each sandbox, from the empty namespace to the interface with its address.
    pub ms_per_endpoint: f64,
    /// How much less memory the machine had afterwards, in MB: the switch and all its ports, the empty namespaces left out.
    pub memory_mb: f64,
}

impl Lab {
    /// Builds one, and sees to it that packets pass.
    pub(super) fn build(contender: &dyn Contender, site: Site) -> Result<Lab, BenchError> {
        let host = Namespace::new()?;
        let (outside, mut namespaces) = match site.outside {
            true => {
                let machine = Namespace::new()?;
                (Some(outside_of(&host, &machine)?), vec![machine])
            }
            false => (None, Vec::new()),
        };
        let empty = (0..site.sandboxes).map(|_| Namespace::new()).collect::<Result<Vec<_>, _>>()?;
        let before = meter::available_memory_mb()?;
        let switch = contender.start(&host, site)?;
        let mut lab = Lab {
            switch,
            sandboxes: Vec::new(),
            outside,
            built: Built { ms_per_endpoint: f64::NAN, memory_mb: f64::NAN },
            next: 0,
            _namespaces: Vec::new(),
        };
        let start = Instant::now();
        for namespace in &empty {
            let station = lab.attach(namespace)?.0;
            lab.sandboxes.push(station);
        }
        let elapsed = start.elapsed();
        lab.built = Built {
            ms_per_endpoint: elapsed.as_secs_f64() * 1e3 / site.sandboxes.max(1) as f64,
            memory_mb: (before - meter::available_memory_mb()?).max(0.0),
        };
        namespaces.push(host);
        namespaces.extend(empty);
        lab._namespaces = namespaces;
        lab.prove()?;
        Ok(lab)
    }

    /// Puts one more sandbox on; its number is for [`Lab::detach`].
    pub(super) fn attach(&mut self, namespace: &Namespace) -> Result<(Station, usize), BenchError> {
        let number = self.next;
        self.next += 1;
        let station = self.switch.attach(number, namespace)?;
        Ok((station, number))
    }

    /// Takes a sandbox off again.
    pub(super) fn detach(&mut self, number: usize) -> Result<(), BenchError> {
        self.switch.detach(number)
    }

    /// Has whatever sends to the outside in a sandbox's place use that congestion control.
    pub(super) fn send_by(&mut self, congestion: &str) -> Result<(), BenchError> {
        self.switch.send_by(congestion)
    }

    /// The switch's programs.
    pub(super) fn processes(&self) -> Vec<u32> {
        self.switch.processes()
    }

    /// The first sandbox.
    pub(super) fn first(&self) -> Result<&Station, BenchError> {
        self.sandboxes.first().ok_or_else(|| BenchError::sentence("the lab has no sandbox"))
    }

    /// The last sandbox.
    pub(super) fn last(&self) -> Result<&Station, BenchError> {
        self.sandboxes.last().ok_or_else(|| BenchError::sentence("the lab has no sandbox"))
    }

    /// The machine outside.
    pub(super) fn outside(&self) -> Result<&Station, BenchError> {
        self.outside.as_ref().ok_or_else(|| BenchError::sentence("the lab has no outside"))
    }

    /// Whoever cannot connect now would be measured as slow.
    fn prove(&self) -> Result<(), BenchError> {
        let first = self.first()?;
        if self.sandboxes.len() > 1 {
            connect::once(first, self.last()?, PATIENCE)?;
        }
        self.outside.as_ref().map_or(Ok(()), |outside| connect::once(first, outside, PATIENCE))
    }
}

/// Joins a host and a machine outside by a veth pair, and gives the host its way out. The machine knows nothing of the host's networks.
fn outside_of(host: &Namespace, machine: &Namespace) -> Result<Station, BenchError> {
    host.run(|| -> Result<(), BenchError> {
        let links = Links::open()?;
        links.create_veth(UPLINK, "eth0", machine.netns())?;
        let uplink = links.get(UPLINK)?;
        links.add_address(&uplink, UPLINK_ADDRESS.into(), 24)?;
        links.set_up(&uplink, true)?;
        // A new namespace takes this over from the machine's first one.
        set_forwarding(false)
    })?;
    machine.run(|| -> Result<(), BenchError> {
        let links = Links::open()?;
        let (eth0, lo) = (links.get("eth0")?, links.get("lo")?);
        links.add_address(&eth0, ROUTER.into(), 24)?;
        links.add_address(&lo, OUTSIDE.into(), 32)?;
        links.set_up(&eth0, true)?;
        set_forwarding(false)
    })?;
    host.run(|| {
        let links = Links::open()?;
        links.add_default_route(&links.get(UPLINK)?, ROUTER)
    })?;
    Ok(Station { netns: machine.reopen()?, address: OUTSIDE })
}

/// Has the host's own connections to the outside use a congestion control.
pub(super) fn lead_out_by(host: &Netns, congestion: &str) -> Result<(), BenchError> {
    netns::run_in(host, || -> Result<(), BenchError> {
        let links = Links::open()?;
        Ok(links.set_default_congestion(&links.get(UPLINK)?, ROUTER, congestion)?)
    })?
}

/// Whether the calling thread's namespace routes packets of others.
pub(super) fn set_forwarding(on: bool) -> Result<(), BenchError> {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", if on { "1" } else { "0" })
        .map_err(cannot("set /proc/sys/net/ipv4/ip_forward"))
}

/// Gives a sandbox's eth0, which is there already, MAC and address of sandbox number `number`, and a default route.
pub(super) fn dress(namespace: &Namespace, device: &str, number: usize) -> Result<Station, BenchError> {
    let own = address(number);
    namespace.run(|| -> Result<(), BenchError> {
        let links = Links::open()?;
        let link = links.get(device)?;
        links.dress(&link, "eth0", MacAddr::from_ipv4(own), MTU)?;
        links.add_address(&link, own.into(), PREFIX_LEN)?;
        links.set_up(&link, true)?;
        Ok(links.add_default_route(&link, GATEWAY)?)
    })?;
    station(namespace, number)
}

/// Sandbox number `number`, whose eth0 has its address.
pub(super) fn station(namespace: &Namespace, number: usize) -> Result<Station, BenchError> {
    Ok(Station { netns: namespace.reopen()?, address: address(number) })
}
