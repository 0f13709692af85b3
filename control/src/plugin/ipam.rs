//! The IPAM driver's calls.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use pontoon_dataplane::MacAddr;
use serde::Deserialize;

use super::protocol::{Refusal, body, or_nothing, refuse, shown};

/// The one address space that there is. Pools of local networks must not overlap; a driver of local scope has no others.
pub const ADDRESS_SPACE: &str = "pontoon";

/// A call of the IPAM driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// What the driver can do.
    GetCapabilities,
    /// What the address spaces are called.
    GetDefaultAddressSpaces,
    /// A subnet for a network.
    RequestPool(RequestPool),
    /// A subnet is not needed any more.
    ReleasePool(Ipv4Net),
    /// An address of a subnet.
    RequestAddress(RequestAddress),
    /// An address is not needed any more.
    ReleaseAddress {
        /// The subnet.
        pool: Ipv4Net,
        /// The address.
        address: Ipv4Addr,
    },
}

/// A subnet that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPool {
    /// The subnet; none: whichever is free.
    pub pool: Option<Ipv4Net>,
    /// The part of it that addresses are chosen from.
    pub range: Option<Ipv4Net>,
}

/// An address that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestAddress {
    /// Of which subnet.
    pub pool: Ipv4Net,
    /// Which one; none: whichever is free.
    pub address: Option<Ipv4Addr>,
    /// Who for.
    pub holder: Holder,
}

/// Who an address is for. The same one asking again for the same address repeats itself, and gets the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The network's gateway.
    Gateway,
    /// The endpoint with that MAC.
    Endpoint(MacAddr),
    /// Nobody that is told: `--aux-address`.
    Nobody,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WirePool {
    #[serde(default, deserialize_with = "or_nothing")]
    address_space: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pool: String,
    #[serde(default, deserialize_with = "or_nothing")]
    sub_pool: String,
    #[serde(default, deserialize_with = "or_nothing")]
    v6: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAddress {
    #[serde(rename = "PoolID")]
    pool_id: String,
    #[serde(default, deserialize_with = "or_nothing")]
    address: String,
    #[serde(default, deserialize_with = "or_nothing")]
    options: BTreeMap<String, String>,
}

impl Call {
    pub(super) fn read(method: &str, bytes: &[u8]) -> Result<Call, Refusal> {
        Ok(match method {
            "GetCapabilities" => Call::GetCapabilities,
            "GetDefaultAddressSpaces" => Call::GetDefaultAddressSpaces,
            "RequestPool" => Call::RequestPool(request_pool(&body(method, bytes)?)?),
            "ReleasePool" => Call::ReleasePool(pool_id(&body::<WireAddress>(method, bytes)?.pool_id)?),
            "RequestAddress" => Call::RequestAddress(request_address(&body(method, bytes)?)?),
            "ReleaseAddress" => {
                let wire: WireAddress = body(method, bytes)?;
                Call::ReleaseAddress { pool: pool_id(&wire.pool_id)?, address: address(&wire.address)? }
            }
            _ => return Err(Refusal::NoSuchMethod(format!("IpamDriver.{}", shown(method)))),
        })
    }

    pub(super) fn takes_back(&self) -> bool {
        matches!(self, Call::ReleasePool(_) | Call::ReleaseAddress { .. })
    }
}

fn request_pool(wire: &WirePool) -> Result<RequestPool, Refusal> {
    if wire.v6 {
        return refuse("pontoon has no addresses of IPv6 to give yet; create the network without --ipv6");
    }
    if wire.address_space != ADDRESS_SPACE {
        return refuse(format!(
            "there is no address space \"{}\", only \"{ADDRESS_SPACE}\"",
            shown(&wire.address_space)
        ));
    }
    let pool = optional_net(&wire.pool)?;
    let range = optional_net(&wire.sub_pool)?;
    match (pool, range) {
        (None, Some(range)) => {
            refuse(format!("the range {range} needs the subnet that it is a part of; give --subnet too"))
        }
        (Some(pool), Some(range)) if !pool.contains(&range) => {
            refuse(format!("the range {range} is not in the subnet {pool}"))
        }
        _ => Ok(RequestPool { pool, range }),
    }
}

fn optional_net(text: &str) -> Result<Option<Ipv4Net>, Refusal> {
    match (text, text.parse::<Ipv4Net>()) {
        ("", _) => Ok(None),
        (_, Ok(net)) => Ok(Some(net.trunc())),
        (_, Err(_)) => refuse(format!("\"{}\" is no IPv4 subnet; write 172.20.0.0/16, say", shown(text))),
    }
}

/// Pools are called what they are.
fn pool_id(text: &str) -> Result<Ipv4Net, Refusal> {
    match text.parse::<Ipv4Net>() {
        Ok(net) if net == net.trunc() => Ok(net),
        _ => refuse(format!(
            "there is no pool \"{}\": pontoon's pools are called by their subnets",
            shown(text)
        )),
    }
}

fn address(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().or_else(|_| refuse(format!("\"{}\" is no IPv4 address", shown(text))))
}

/// What the Engine asks for the gateway's address with, and what names an endpoint's MAC.
const ADDRESS_TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";
const MAC: &str = "com.docker.network.endpoint.macaddress";

fn request_address(wire: &WireAddress) -> Result<RequestAddress, Refusal> {
    let pool = pool_id(&wire.pool_id)?;
    let address = match wire.address.as_str() {
        "" => None,
        text => Some(address(text)?),
    };
    let holder = match (wire.options.get(ADDRESS_TYPE), wire.options.get(MAC)) {
        (Some(kind), _) if kind == GATEWAY => Holder::Gateway,
        (_, None) => Holder::Nobody,
        (_, Some(text)) => match text.parse() {
            Ok(mac) => Holder::Endpoint(mac),
            Err(_) => return refuse(format!("\"{}\" is no MAC address", shown(text))),
        },
    };
    Ok(RequestAddress { pool, address, holder })
}
