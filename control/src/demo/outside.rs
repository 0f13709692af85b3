//! The world outside of the demo's host: a namespace behind an uplink.
//!
//! The wire between the two is a bridge of the data plane with a TAP at either end, so that it needs nothing of the kernel that the
//! demo itself does not need. To the daemon the end on the host is an interface like any other.

use std::net::Ipv4Addr;
use std::time::Duration;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::edge::config::NetworkEdge;
use pontoon_dataplane::engine::{Engine, EngineConfig, NetworkSpec, PortSpec};
use pontoon_dataplane::network::{Place, PortSettings};
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads};

use crate::api::types::SandboxRef;
use crate::failure::Failure;
use crate::link::{LinkError, Links};
use crate::netns::{self, Netns, run_in};

/// The namespace's name.
pub(super) const NAME: &str = "outside";
/// Its address: set aside for documentation (RFC 5737), as all of these.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// The host's interface towards it.
const UPLINK: &str = "uplink0";
/// The host's address there.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The host's way out.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PREFIX_LEN: u8 = 24;
const MTU: u16 = 1500;

/// The namespace outside, and the wire to it.
#[derive(Debug)]
pub(super) struct Outside {
    pub netns: Netns,
    /// Held for its life alone.
    _wire: Engine,
}

impl Outside {
    /// Makes namespace and wire, and gives the calling thread's namespace, the host, its way out.
    pub(super) fn build() -> Result<Outside, Failure> {
        let cannot = |error: &dyn std::error::Error| {
            Failure::Sentence(format!("the demo cannot build its outside world: {error}"))
        };
        netns::create(NAME).map_err(|error| cannot(&error))?;
        let netns = Netns::find(&SandboxRef::Netns(NAME.to_owned())).map_err(|error| cannot(&error))?;
        let ends = [
            Tap::open(UPLINK, Offloads::ALL).map_err(|error| cannot(&error))?,
            run_in(&netns, || Tap::open("eth0", Offloads::ALL))
                .map_err(|error| cannot(&error))?
                .map_err(|error| cannot(&error))?,
        ];
        let wire = wire(ends).map_err(|error| cannot(&error))?;
        set_up_host().map_err(|error| cannot(&error))?;
        run_in(&netns, set_up_outside).map_err(|error| cannot(&error))?.map_err(|error| cannot(&error))?;
        Ok(Outside { netns, _wire: wire })
    }
}

/// A bridge of two ports.
fn wire(ends: [Tap; 2]) -> Result<Engine, pontoon_dataplane::engine::EngineError> {
    let engine = Engine::start(EngineConfig { workers: 1, ..EngineConfig::default() })?;
    let network = engine.add_network(NetworkSpec {
        gateway: None,
        mtu: MTU,
        ageing: Duration::from_secs(300),
        edge: NetworkEdge::default(),
    })?;
    for end in ends {
        let spec = PortSpec {
            place: Place::Member(network),
            settings: PortSettings::default(),
            identity: None,
            mtu: MTU,
        };
        engine.add_port(spec, Device::Tap(end))?;
    }
    Ok(engine)
}

/// In the host's namespace.
fn set_up_host() -> Result<(), LinkError> {
    let links = Links::open()?;
    let uplink = links.get(UPLINK)?;
    links.dress(&uplink, UPLINK, MacAddr::from_ipv4(HOST), MTU)?;
    links.add_address(&uplink, HOST.into(), PREFIX_LEN)?;
    links.set_up(&uplink, true)?;
    links.set_up(&links.get("lo")?, true)?;
    links.add_default_route(&uplink, ROUTER)
}

/// In the namespace outside: it has no route to the host's networks, and knows nothing of them.
fn set_up_outside() -> Result<(), LinkError> {
    let links = Links::open()?;
    let (eth0, lo) = (links.get("eth0")?, links.get("lo")?);
    links.dress(&eth0, "eth0", MacAddr::from_ipv4(ROUTER), MTU)?;
    links.add_address(&eth0, ROUTER.into(), PREFIX_LEN)?;
    links.set_up(&eth0, true)?;
    links.add_address(&lo, ADDRESS.into(), 32)?;
    links.set_up(&lo, true)
}
