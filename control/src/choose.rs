//! From a request to a record: checks what was given, chooses what was left out. Pure.

mod dns;
mod edge;

use ipnet::IpNet;
use pontoon_dataplane::MacAddr;

use crate::api::types::{
    Connection, EndpointRequest, Mac, NetworkPatch, NetworkRequest, PortFlags, PortPatch, SandboxRef,
};
use crate::error::Error;
use crate::ipam;
use crate::names::{self, NameError};
use crate::netns::NetnsId;
use crate::plan::{ENDPOINT_FLAGS, patched};
use crate::state::{NetworkState, State};
use crate::store::{EndpointRecord, NetworkRecord, Phase};

pub use dns::upstreams;
pub use edge::{connection, link, publication, rule};

/// MTU of a network unless told otherwise, where the host has no default route to take it from.
pub const DEFAULT_MTU: u16 = 1500;
/// Ageing time of a network unless told otherwise, in seconds.
pub const DEFAULT_AGEING_SECONDS: u32 = 300;
/// Name of an endpoint's interface unless told otherwise.
pub const DEFAULT_IFNAME: &str = "eth0";

/// The network that is asked for, created `now`, on a host whose default route leaves by an interface of `host_mtu` bytes.
///
/// # Errors
/// Something given cannot be.
pub fn network(
    state: &State,
    request: &NetworkRequest,
    host_mtu: Option<u32>,
    now: String,
) -> Result<NetworkRecord, Error> {
    names::check("a network", &request.name)?;
    if state.networks.contains_key(&request.name) {
        return Err(Error::Exists { what: "network", name: request.name.clone() });
    }
    let others = state.networks.values().map(|it| (it.record.name.as_str(), it.record.subnet));
    network_record(request, ipam::check_subnet(request.subnet, others)?, host_mtu, now)
}

/// The network that would be there if `request` had been made of nothing else: to compare with what is there.
///
/// # Errors
/// Something given cannot be.
pub fn network_alone(request: &NetworkRequest) -> Result<NetworkRecord, Error> {
    network_record(request, ipam::check_subnet(request.subnet, [])?, None, String::new())
}

fn network_record(
    request: &NetworkRequest,
    subnet: ipnet::Ipv4Net,
    host_mtu: Option<u32>,
    created: String,
) -> Result<NetworkRecord, Error> {
    let gateway = ipam::gateway(subnet, request.gateway)?;
    let usual = host_mtu.map_or(DEFAULT_MTU, ipam::nearest_mtu);
    let mtu = request.mtu.unwrap_or(usual);
    ipam::check_mtu(mtu)?;
    Ok(NetworkRecord {
        name: request.name.clone(),
        subnet,
        gateway,
        gateway_mac: Mac(MacAddr::from_ipv4(gateway)),
        mtu,
        ageing_seconds: request.ageing_seconds.unwrap_or(DEFAULT_AGEING_SECONDS),
        connection: edge::connection(&request.name, &Connection::default(), &settings(request))?,
        host_interface: None,
        created,
    })
}

/// What a request for a network says of it besides its addresses.
pub fn settings(request: &NetworkRequest) -> NetworkPatch {
    NetworkPatch {
        ageing_seconds: request.ageing_seconds,
        host_access: request.host_access,
        uplink: request.uplink.clone(),
        internal: request.internal,
        icc: request.icc,
        snat_ip: request.snat_ip,
        nat_mapping: request.nat_mapping,
        resolver: request.resolver,
        dns: request.dns.clone(),
    }
}

/// What is known about an endpoint before anything is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointNames {
    /// Its name.
    pub name: String,
    /// Its interface's name.
    pub ifname: String,
}

/// The endpoint's name and its interface's, both checked.
///
/// # Errors
/// One of them, or the sandbox's, cannot be.
pub fn endpoint_names(request: &EndpointRequest) -> Result<EndpointNames, Error> {
    if let SandboxRef::Netns(netns) = &request.sandbox {
        names::check_namespace(netns)?;
    }
    let ifname = request.ifname.clone().unwrap_or_else(|| DEFAULT_IFNAME.to_owned());
    names::check_interface(&ifname)?;
    let name = match (&request.name, &request.sandbox) {
        (Some(name), _) => {
            names::check("an endpoint", name)?;
            name.clone()
        }
        (None, SandboxRef::Pid(pid)) => format!("pid-{pid}"),
        (None, SandboxRef::Netns(netns)) => {
            let last = netns.rsplit('/').next().unwrap_or_default();
            names::check("an endpoint", last).map_err(|_| NameError::NoDefault(last.to_owned()))?;
            last.to_owned()
        }
    };
    Ok(EndpointNames { name, ifname })
}

/// What only the machine can tell of a new endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// The sandbox as it is recognised.
    pub netns: NetnsId,
    /// A device name that no other has.
    pub device: String,
    /// The time.
    pub now: String,
}

/// The endpoint that is asked for, its port's flags changed by `patch`.
///
/// # Errors
/// Something given cannot be, or is taken.
pub fn endpoint(
    network: &NetworkState,
    request: &EndpointRequest,
    patch: &PortPatch,
    circumstances: Circumstances,
) -> Result<EndpointRecord, Error> {
    let EndpointNames { name, ifname } = endpoint_names(request)?;
    let record = &network.record;
    if network.has_port(&name) {
        return Err(Error::Exists { what: "port", name: format!("{}/{name}", record.name) });
    }
    let address = ipam::address(record.subnet, record.gateway, &network.addresses(), request.ip)?;
    let mac = ipam::mac(address, &network.macs(), request.mac.map(|mac| mac.0))?;
    let Circumstances { netns, device, now } = circumstances;
    Ok(EndpointRecord {
        network: record.name.clone(),
        name,
        sandbox: request.sandbox.clone(),
        netns,
        ifname,
        address,
        mac: Mac(mac),
        kind: request.kind,
        device,
        flags: patched(PortFlags { isolated: request.isolated, ..ENDPOINT_FLAGS }, patch),
        resolver: request.resolver,
        dns: dns::upstreams(&request.dns)?,
        created: now,
        phase: Phase::Attached,
    })
}

/// An endpoint's address with its subnet's prefix length.
pub fn with_prefix(network: &NetworkRecord, address: std::net::Ipv4Addr) -> IpNet {
    let subnet = ipnet::Ipv4Net::new(address, network.subnet.prefix_len());
    IpNet::V4(subnet.unwrap_or_else(|_| address.into()))
}
