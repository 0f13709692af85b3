//! From a request to a record: checks what was given, chooses what was left out. Pure.

mod dns;
mod edge;
mod options;

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net};
use pontoon_dataplane::MacAddr;

use crate::api::types::{
    Connection, EndpointRequest, Mac, NetworkPatch, NetworkRequest, PortFlags, PortPatch, SandboxRef,
};
use crate::error::{Error, describe};
use crate::id::Id;
use crate::ipam;
use crate::names::{self, NameError};
use crate::netns::NetnsId;
use crate::plan::{ENDPOINT_FLAGS, patched, routes};
use crate::state::{Holder, NetworkState, State};
use crate::store::{DEFAULT_DRIVER, DEFAULT_PREFIX, EndpointRecord, NetworkRecord, Phase};

pub use dns::upstreams;
pub use edge::{connection, link, next_number, numbered, publication, publication_rules, rule};

/// MTU of a network unless told otherwise, where the host has no default route to take it from.
pub const DEFAULT_MTU: u16 = 1500;
/// Ageing time of a network unless told otherwise, in seconds.
pub const DEFAULT_AGEING_SECONDS: u32 = 300;

/// What only the machine can tell of a new network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkCircumstances {
    /// The MTU of the interface that the host's default route leaves by, if there is one.
    pub host_mtu: Option<u32>,
    /// Subnets that the host has addresses or routes in: none of them is chosen.
    pub in_use: Vec<Ipv4Net>,
    /// An id that nothing else has.
    pub id: Id,
    /// The time.
    pub now: String,
}

/// The network that is asked for.
///
/// # Errors
/// Something given cannot be.
pub fn network(
    state: &State,
    request: &NetworkRequest,
    circumstances: NetworkCircumstances,
) -> Result<NetworkRecord, Error> {
    names::check_network(&request.name)?;
    if state.networks.contains_key(&request.name) {
        return Err(Error::Exists { what: "network", name: request.name.clone() });
    }
    if let Some(other) = request.id.and_then(|id| state.network_by_id(id)) {
        let (id, name) = (other.record.id.short(), &other.record.name);
        return Err(Error::Conflict(format!("the network {name} has the id {id}... already")));
    }
    // The pool that was asked for is in nobody's way: it is this network's.
    let own = |subnet: Ipv4Net| {
        request.pooled && Some(IpNet::V4(subnet)) == request.subnet && state.network_on(subnet).is_none()
    };
    let others = state.subnets().filter(|(_, subnet)| !own(*subnet));
    let subnet = match request.subnet {
        Some(subnet) => ipam::check_subnet(subnet, others)?,
        None => {
            ipam::free_subnet(others.map(|(_, subnet)| subnet).chain(circumstances.in_use.iter().copied()))?
        }
    };
    network_record(request, subnet, circumstances)
}

/// The network that would be there if `request` had been made of nothing else: to compare with what `is` there, if anything is.
///
/// # Errors
/// Something given cannot be.
pub fn network_alone(request: &NetworkRequest, is: Option<&NetworkRecord>) -> Result<NetworkRecord, Error> {
    let subnet = match (request.subnet, is) {
        (Some(subnet), _) => ipam::check_subnet(subnet, [])?,
        (None, Some(is)) => is.subnet,
        (None, None) => ipam::free_subnet([])?,
    };
    let id = is.map_or(Id::NONE, |is| is.id);
    let nothing = NetworkCircumstances { host_mtu: None, in_use: Vec::new(), id, now: String::new() };
    network_record(request, subnet, nothing)
}

fn network_record(
    request: &NetworkRequest,
    subnet: Ipv4Net,
    circumstances: NetworkCircumstances,
) -> Result<NetworkRecord, Error> {
    let name = &request.name;
    if request.ipv6 == Some(true) {
        return Err(Error::Declaration(format!(
            "the network {name} cannot have IPv6 enabled: pontoon has no IPv6 gateway yet; IPv6 frames between endpoints are bridged all the same"
        )));
    }
    let has_part =
        request.gateway.is_some() || request.ip_range.is_some() || !request.aux_addresses.is_empty();
    if request.subnet.is_none() && has_part {
        return Err(Error::Declaration(format!(
            "the gateway, range or reserved addresses of the network {name} need a subnet that they are in; give it too"
        )));
    }
    let settled = options::settle(request)?;
    let gateway = ipam::gateway(subnet, request.gateway)?;
    let usual = circumstances.host_mtu.map_or(DEFAULT_MTU, ipam::nearest_mtu);
    let mtu = settled.mtu.unwrap_or(usual);
    ipam::check_mtu(mtu)?;
    Ok(NetworkRecord {
        name: name.clone(),
        id: request.id.unwrap_or(circumstances.id),
        driver: request
            .driver
            .clone()
            .filter(|it| !it.is_empty())
            .unwrap_or_else(|| DEFAULT_DRIVER.to_owned()),
        subnet,
        range: request.ip_range.map(|range| ipam::check_range(subnet, range)).transpose()?,
        reserved: ipam::check_reserved(subnet, gateway, &request.aux_addresses)?,
        gateway,
        gateway_mac: Mac(MacAddr::from_ipv4(gateway)),
        mtu,
        ageing_seconds: settled.patch.ageing_seconds.unwrap_or(DEFAULT_AGEING_SECONDS),
        connection: edge::connection(name, &Connection::default(), &settled.patch)?,
        host_interface: None,
        host_interface_wish: settled.host_interface_wish,
        publish_address: settled.publish_address,
        ifname_prefix: settled.ifname_prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
        attachable: request.attachable.unwrap_or(false),
        labels: request.labels.clone(),
        options: request.options.clone(),
        created: circumstances.now,
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
    /// Its interface's name, if one was asked for.
    pub ifname: Option<String>,
}

/// The endpoint's name and its interface's, both checked.
///
/// # Errors
/// One of them, or the sandbox's, cannot be.
pub fn endpoint_names(request: &EndpointRequest) -> Result<EndpointNames, Error> {
    if let SandboxRef::Netns(netns) = &request.sandbox {
        names::check_namespace(netns)?;
    }
    let ifname = request.ifname.clone();
    ifname.as_deref().map_or(Ok(()), names::check_interface)?;
    let name = match &request.name {
        Some(name) => {
            names::check("an endpoint", name)?;
            name.clone()
        }
        None => {
            let name = sandbox_name(&request.sandbox);
            names::check("an endpoint", &name).map_err(|_| NameError::NoDefault(name.clone()))?;
            name
        }
    };
    Ok(EndpointNames { name, ifname })
}

/// What a sandbox is called: by its namespace's name, the last part of its path, or `pid-N`.
pub fn sandbox_name(sandbox: &SandboxRef) -> String {
    match sandbox {
        SandboxRef::Pid(pid) => format!("pid-{pid}"),
        SandboxRef::Netns(netns) => netns.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// The name of an endpoint's interface: the one `wanted`, or `prefix` with the first number that no other interface has. `taken` are
/// those in the sandbox.
///
/// # Errors
/// The one that is wanted is taken.
fn ifname(
    sandbox: &SandboxRef,
    prefix: &str,
    taken: &BTreeSet<String>,
    wanted: Option<String>,
) -> Result<String, Error> {
    match wanted {
        Some(ifname) if taken.contains(&ifname) => {
            Err(Error::IfnameTaken { sandbox: describe(sandbox), ifname })
        }
        Some(ifname) => Ok(ifname),
        None => {
            let numbered = (0..10_000).map(|number| format!("{prefix}{number}"));
            let mut free = numbered.filter(|name| !taken.contains(name));
            free.next().ok_or_else(|| {
                Error::Conflict(format!("{} has no room for more interfaces", describe(sandbox)))
            })
        }
    }
}

/// What only the machine can tell of a new endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// The sandbox as it is recognised.
    pub netns: NetnsId,
    /// The names of the interfaces that are inside.
    pub interfaces: BTreeSet<String>,
    /// A device name that no other has.
    pub device: String,
    /// Two ids that nothing else has: the endpoint's, and its sandbox's if no endpoint is there yet.
    pub ids: [Id; 2],
    /// The time.
    pub now: String,
}

/// The endpoint that is asked for, its port's flags changed by `patch`.
///
/// # Errors
/// Something given cannot be, or is taken.
pub fn endpoint(
    state: &State,
    network: &NetworkState,
    request: &EndpointRequest,
    patch: &PortPatch,
    circumstances: Circumstances,
) -> Result<EndpointRecord, Error> {
    let EndpointNames { name, ifname: wish } = endpoint_names(request)?;
    let record = &network.record;
    let Circumstances { netns, interfaces, device, ids: [id, sandbox_id], now } = circumstances;
    let there = || state.endpoints().filter(|it| it.is_in(&request.sandbox, netns));
    if let Some(other) = there().find(|it| it.network == record.name) {
        let (sandbox, network, port) = (describe(&request.sandbox), &record.name, other.port());
        return Err(Error::Conflict(format!(
            "{sandbox} is on the network {network} already, as the endpoint {port}"
        )));
    }
    if let Some(other) = request.id.and_then(|id| state.endpoint_by_id(id)) {
        let (id, port) = (other.id.short(), other.port());
        return Err(Error::Conflict(format!("the endpoint {port} has the id {id}... already")));
    }
    if network.has_port(&name) {
        return Err(Error::Exists { what: "port", name: format!("{}/{name}", record.name) });
    }
    let aliases = distinct(&name, &request.aliases)?;
    unique(network, aliases.iter().map(String::as_str).chain([name.as_str()]))?;
    let (holders, memory) = (state.holders(record.subnet), state.memory(record.subnet));
    let own = |holder: &Holder<'_>| request.leased && matches!(holder, Holder::Lease(_));
    let holder = |address| holders.get(&address).filter(|it| !own(it));
    let address = ipam::address(record.space(), memory, holder, request.ip)?;
    let mac = ipam::mac(address, &network.macs(), request.mac.map(|mac| mac.0))?;
    let sandbox_id = there().next().map_or(sandbox_id, |other| other.sandbox_id);
    Ok(EndpointRecord {
        network: record.name.clone(),
        name,
        id: request.id.unwrap_or(id),
        aliases,
        sandbox_id,
        sandbox: request.sandbox.clone(),
        netns,
        ifname: ifname(&request.sandbox, &record.ifname_prefix, &interfaces, wish)?,
        address,
        mac: Mac(mac),
        kind: request.kind,
        device,
        flags: patched(PortFlags { isolated: request.isolated, ..ENDPOINT_FLAGS }, patch),
        default_route: !record.connection.internal && !routes::is_given(state, sandbox_id),
        docker: false,
        resolver: request.resolver,
        dns: dns::upstreams(&request.dns)?,
        created: now,
        phase: Phase::Attached,
    })
}

/// The aliases of the endpoint `name`, each once. Names are compared as DNS compares them, without regard to case.
///
/// # Errors
/// One of them cannot be.
pub fn distinct(name: &str, wanted: &[String]) -> Result<BTreeSet<String>, Error> {
    let mut aliases: BTreeSet<String> = BTreeSet::new();
    for alias in wanted {
        names::check("an endpoint", alias)?;
        if !alias.eq_ignore_ascii_case(name) && !aliases.iter().any(|it| it.eq_ignore_ascii_case(alias)) {
            aliases.insert(alias.clone());
        }
    }
    Ok(aliases)
}

/// Refuses a name or an alias that another endpoint of the network has.
fn unique<'a>(network: &NetworkState, names: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
    let taken = names.into_iter().find_map(|name| Some((name, network.named(name)?)));
    taken.map_or(Ok(()), |(name, owner)| {
        Err(Error::Conflict(format!(
            "the name {name} is the endpoint {}'s already; names and aliases are unique on a network",
            owner.port()
        )))
    })
}

/// An address with its subnet's prefix length.
pub fn with_prefix(subnet: Ipv4Net, address: std::net::Ipv4Addr) -> IpNet {
    let net = Ipv4Net::new(address, subnet.prefix_len());
    IpNet::V4(net.unwrap_or_else(|_| address.into()))
}
