//! The network driver's calls. The order in which the Engine makes them: `docs/decisions/0019-docker.md`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use pontoon_dataplane::MacAddr;
use serde::Deserialize;
use serde_json::Value;

use super::ipam::ADDRESS_SPACE;
use super::ports::{self, PortBinding};
use super::protocol::{Refusal, body, id, or_nothing, refuse, shown};
use crate::id::Id;

/// A call of the network driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// What the driver can do.
    GetCapabilities,
    /// Whether the Engine should reserve no address for the gateway.
    GwAllocCheck,
    /// Swarm's manager allocates a network. Not for a driver of local scope, but harmless.
    AllocateNetwork,
    /// Swarm's manager frees a network.
    FreeNetwork,
    /// A node of a cluster came or went.
    Discover,
    /// `docker network create`.
    CreateNetwork(CreateNetwork),
    /// `docker network rm`.
    DeleteNetwork(Id),
    /// An endpoint gets its addresses.
    CreateEndpoint(CreateEndpoint),
    /// What there is to know of an endpoint.
    EndpointOperInfo(EndpointRef),
    /// An endpoint goes for good.
    DeleteEndpoint(EndpointRef),
    /// An endpoint enters a sandbox.
    Join(Join),
    /// An endpoint leaves its sandbox.
    Leave(EndpointRef),
    /// The endpoint is its sandbox's way out: its ports are published.
    ProgramExternalConnectivity {
        /// Whose ports.
        endpoint: EndpointRef,
        /// All of them.
        ports: Vec<PortBinding>,
    },
    /// The endpoint is not its sandbox's way out any more.
    RevokeExternalConnectivity(EndpointRef),
}

/// An endpoint, by its network's id and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointRef {
    /// The network.
    pub network: Id,
    /// The endpoint.
    pub endpoint: Id,
}

/// A network to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateNetwork {
    /// Its id.
    pub id: Id,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Whether the subnet is a pool that the IPAM driver gave.
    pub pooled: bool,
    /// The gateway's address; none when the Engine reserved none.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses that nobody else gets, by what they are for.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// Neither host nor outside.
    pub internal: bool,
    /// `docker network create -o`.
    pub options: BTreeMap<String, String>,
}

/// An endpoint to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateEndpoint {
    /// Which one.
    pub endpoint: EndpointRef,
    /// Its address, chosen by whichever IPAM driver the network has.
    pub address: Ipv4Net,
    /// Its MAC; none: the driver chooses.
    pub mac: Option<MacAddr>,
}

/// An endpoint to put into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Which one.
    pub endpoint: EndpointRef,
    /// The path of the sandbox's namespace.
    pub sandbox_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "EndpointID", default)]
    endpoint_id: String,
    #[serde(default, deserialize_with = "or_nothing")]
    sandbox_key: String,
    #[serde(default, deserialize_with = "or_nothing")]
    interface: WireInterface,
    #[serde(default, deserialize_with = "or_nothing")]
    options: BTreeMap<String, Value>,
    #[serde(default, rename = "IPv4Data", deserialize_with = "or_nothing")]
    ipv4_data: Vec<WirePool>,
    #[serde(default, rename = "IPv6Data", deserialize_with = "or_nothing")]
    ipv6_data: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct WireInterface {
    #[serde(default, deserialize_with = "or_nothing")]
    address: String,
    #[serde(default, rename = "AddressIPv6", deserialize_with = "or_nothing")]
    address_ipv6: String,
    #[serde(default, deserialize_with = "or_nothing")]
    mac_address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WirePool {
    #[serde(default, deserialize_with = "or_nothing")]
    address_space: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pool: String,
    #[serde(default, deserialize_with = "or_nothing")]
    gateway: String,
    #[serde(default, deserialize_with = "or_nothing")]
    aux_addresses: BTreeMap<String, String>,
}

impl Call {
    pub(super) fn read(method: &str, bytes: &[u8]) -> Result<Call, Refusal> {
        let wire = || body::<Wire>(method, bytes);
        Ok(match method {
            "GetCapabilities" => Call::GetCapabilities,
            "GwAllocCheck" => Call::GwAllocCheck,
            "AllocateNetwork" => Call::AllocateNetwork,
            "FreeNetwork" => Call::FreeNetwork,
            "DiscoverNew" | "DiscoverDelete" => Call::Discover,
            "CreateNetwork" => Call::CreateNetwork(create_network(wire()?)?),
            "DeleteNetwork" => Call::DeleteNetwork(id("a network", &wire()?.network_id)?),
            "CreateEndpoint" => Call::CreateEndpoint(create_endpoint(&wire()?)?),
            "EndpointOperInfo" => Call::EndpointOperInfo(endpoint(&wire()?)?),
            "DeleteEndpoint" => Call::DeleteEndpoint(endpoint(&wire()?)?),
            "Join" => Call::Join(join(wire()?)?),
            "Leave" => Call::Leave(endpoint(&wire()?)?),
            "ProgramExternalConnectivity" => {
                let wire = wire()?;
                let (endpoint, ports) = (endpoint(&wire)?, ports::read(wire.options)?);
                Call::ProgramExternalConnectivity { endpoint, ports }
            }
            "RevokeExternalConnectivity" => Call::RevokeExternalConnectivity(endpoint(&wire()?)?),
            _ => return Err(Refusal::NoSuchMethod(format!("NetworkDriver.{}", shown(method)))),
        })
    }

    pub(super) fn takes_back(&self) -> bool {
        use Call::{DeleteEndpoint, DeleteNetwork, Leave, RevokeExternalConnectivity};
        matches!(self, DeleteNetwork(_) | DeleteEndpoint(_) | Leave(_) | RevokeExternalConnectivity(_))
    }
}

fn endpoint(wire: &Wire) -> Result<EndpointRef, Refusal> {
    let network = id("a network", &wire.network_id)?;
    Ok(EndpointRef { network, endpoint: id("an endpoint", &wire.endpoint_id)? })
}

fn create_network(mut wire: Wire) -> Result<CreateNetwork, Refusal> {
    let id = id("a network", &wire.network_id)?;
    if !wire.ipv6_data.is_empty() || wire.options.get(ENABLE_IPV6) == Some(&Value::Bool(true)) {
        return refuse("pontoon has no gateway for IPv6 yet; create the network without --ipv6");
    }
    let [pool] = wire.ipv4_data.as_slice() else {
        let count = wire.ipv4_data.len();
        return refuse(format!("a network of pontoon has one IPv4 subnet, not {count}; give --subnet once"));
    };
    let subnet: Ipv4Net = match pool.pool.parse() {
        // What the IPAM driver `null` gives.
        Ok(IpNet::V4(net)) if net.prefix_len() > 0 => net.trunc(),
        _ => return refuse(format!("\"{}\" is no IPv4 subnet that a network can have", shown(&pool.pool))),
    };
    let pooled = pool.address_space == ADDRESS_SPACE;
    let gateway = match pool.gateway.as_str() {
        "" => None,
        text => Some(address_within(subnet, text)?.addr()),
    };
    let auxiliary = pool.aux_addresses.iter();
    let auxiliary = auxiliary.map(|(name, text)| Ok((name.clone(), address_within(subnet, text)?.addr())));
    let internal = wire.options.get(INTERNAL) == Some(&Value::Bool(true));
    let auxiliary = auxiliary.collect::<Result<_, Refusal>>()?;
    let options = generic(wire.options.remove(GENERIC))?;
    Ok(CreateNetwork { id, subnet, pooled, gateway, auxiliary, internal, options })
}

const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
const INTERNAL: &str = "com.docker.network.internal";
const GENERIC: &str = "com.docker.network.generic";

/// What was given with `-o`: text by name.
fn generic(options: Option<Value>) -> Result<BTreeMap<String, String>, Refusal> {
    let options = match options {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(options)) => options,
        Some(other) => {
            return refuse(format!("{GENERIC} must be an object, not {}", shown(&other.to_string())));
        }
    };
    let text = |(name, value): (String, Value)| match value {
        Value::String(value) => Ok((name, value)),
        Value::Bool(_) | Value::Number(_) => Ok((name, value.to_string())),
        other => {
            refuse(format!("the option {} must be text, not {}", shown(&name), shown(&other.to_string())))
        }
    };
    options.into_iter().map(text).collect()
}

/// An address with its subnet's prefix length: `172.18.0.2/16`.
fn address_within(subnet: Ipv4Net, text: &str) -> Result<Ipv4Net, Refusal> {
    match text.parse::<Ipv4Net>() {
        Ok(address) if subnet.contains(&address.addr()) => Ok(address),
        Ok(_) => refuse(format!("{text} is not in the network's subnet {subnet}")),
        Err(_) => refuse(format!("\"{}\" is no IPv4 address with a prefix length", shown(text))),
    }
}

fn create_endpoint(wire: &Wire) -> Result<CreateEndpoint, Refusal> {
    let endpoint = endpoint(wire)?;
    let WireInterface { address, address_ipv6, mac_address } = &wire.interface;
    if !address_ipv6.is_empty() {
        return refuse(format!(
            "the endpoint cannot have the IPv6 address {}: pontoon has no gateway for IPv6 yet",
            shown(address_ipv6)
        ));
    }
    let Ok(address) = address.parse::<Ipv4Net>() else {
        return refuse(format!(
            "\"{}\" is no IPv4 address with a prefix length for an endpoint",
            shown(address)
        ));
    };
    let mac = match mac_address.as_str() {
        "" => None,
        text => match text.parse::<MacAddr>() {
            Ok(mac) => Some(mac),
            Err(_) => return refuse(format!("\"{}\" is no MAC address for an endpoint", shown(text))),
        },
    };
    Ok(CreateEndpoint { endpoint, address, mac })
}

fn join(wire: Wire) -> Result<Join, Refusal> {
    let endpoint = endpoint(&wire)?;
    if !wire.sandbox_key.starts_with('/') || wire.sandbox_key.contains('\0') {
        return refuse(format!("\"{}\" is not the path of a sandbox", shown(&wire.sandbox_key)));
    }
    Ok(Join { endpoint, sandbox_key: wire.sandbox_key })
}
