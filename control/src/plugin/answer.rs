//! Each call carried out, and what the Engine is told.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::ipam::{self, ADDRESS_SPACE, Holder, RequestAddress};
use super::network::{self, EndpointRef};
use super::protocol::Call;
use crate::error::Error;
use crate::manager::Manager;
use crate::manager::docker::ENDPOINT_OWNER;

/// Carries the call out.
///
/// # Errors
/// It cannot be; nothing has changed then.
pub(super) fn to(manager: &Manager, call: &Call) -> Result<Value, Error> {
    match call {
        Call::Activate => Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
        Call::Network(call) => network(manager, call),
        Call::Ipam(call) => ipam(manager, call),
    }
}

fn network(manager: &Manager, call: &network::Call) -> Result<Value, Error> {
    use network::Call::{
        AllocateNetwork, CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, Discover,
        EndpointOperInfo, FreeNetwork, GetCapabilities, GwAllocCheck, Join, Leave,
        ProgramExternalConnectivity, RevokeExternalConnectivity,
    };
    let done = |()| json!({});
    match call {
        // Both local: a network is this host's alone, and its addresses mean nothing on other hosts.
        GetCapabilities => Ok(json!({ "Scope": "local", "ConnectivityScope": "local" })),
        GwAllocCheck => Ok(json!({ "SkipIPv4": false, "SkipIPv6": false })),
        AllocateNetwork => Ok(json!({ "Options": {} })),
        FreeNetwork | Discover => Ok(json!({})),
        CreateNetwork(request) => manager.docker_create_network(request).map(done),
        DeleteNetwork(id) => manager.docker_delete_network(*id).map(done),
        CreateEndpoint(request) => {
            let mac = manager.docker_create_endpoint(request)?;
            // To tell the Engine what it has told us is an error to it.
            Ok(if request.mac.is_some() { json!({}) } else { json!({ "Interface": { "MacAddress": mac } }) })
        }
        EndpointOperInfo(at) => info(manager, at),
        DeleteEndpoint(at) => manager.docker_delete_endpoint(at).map(done),
        Join(request) => {
            let joined = manager.docker_join(request)?;
            Ok(json!({
                "InterfaceName": { "SrcName": joined.device, "DstPrefix": joined.ifname_prefix },
                "Gateway": joined.gateway.map(|it| it.to_string()).unwrap_or_default(),
                // Else the Engine makes a way out of its own for the sandbox: the kernel bridge docker_gwbridge.
                "DisableGatewayService": joined.gateway.is_none(),
            }))
        }
        Leave(at) => manager.docker_leave(at).map(done),
        ProgramExternalConnectivity { endpoint, ports } => manager.docker_publish(endpoint, ports).map(done),
        RevokeExternalConnectivity(at) => manager.docker_unpublish(at).map(done),
    }
}

/// Shown by nobody but those who ask the Engine's API: it does not take ports from a driver that is not its own.
fn info(manager: &Manager, at: &EndpointRef) -> Result<Value, Error> {
    let info = manager.docker_endpoint(at)?;
    let ports: Vec<String> = info.ports.iter().map(ToString::to_string).collect();
    Ok(json!({ "Value": { "com.docker.network.endpoint.macaddress": info.mac, "pontoon.ports": ports } }))
}

fn ipam(manager: &Manager, call: &ipam::Call) -> Result<Value, Error> {
    use ipam::Call::{
        GetCapabilities, GetDefaultAddressSpaces, ReleaseAddress, ReleasePool, RequestAddress, RequestPool,
    };
    match call {
        // The MAC tells a call that is repeated from another endpoint's. Pools survive us, so the Engine need not tell them again.
        GetCapabilities => Ok(json!({ "RequiresMACAddress": true, "RequiresRequestReplay": false })),
        GetDefaultAddressSpaces => Ok(json!({
            "LocalDefaultAddressSpace": ADDRESS_SPACE, "GlobalDefaultAddressSpace": ADDRESS_SPACE
        })),
        RequestPool(request) => {
            let pool = manager.request_pool(request.pool.map(Into::into), request.range.map(Into::into))?;
            let pool = pool.subnet.to_string();
            Ok(json!({ "PoolID": pool, "Pool": pool, "Data": {} }))
        }
        ReleasePool(pool) => manager.docker_release_pool(*pool).map(|()| json!({})),
        RequestAddress(request) => {
            let address = request_address(manager, request)?;
            Ok(json!({ "Address": address.to_string(), "Data": {} }))
        }
        ReleaseAddress { pool, address } => {
            manager.docker_release_address(*pool, *address).map(|()| json!({}))
        }
    }
}

fn request_address(manager: &Manager, request: &RequestAddress) -> Result<IpNet, Error> {
    let owner = match request.holder {
        Holder::Gateway => Some("the gateway".to_owned()),
        Holder::Endpoint(mac) => Some(format!("{ENDPOINT_OWNER}{mac}")),
        Holder::Nobody => None,
    };
    let wanted = match (request.address, request.holder) {
        // Not the first one of the range, which may be anywhere.
        (None, Holder::Gateway) => Some(crate::ipam::gateway(request.pool, None)?),
        (wanted, _) => wanted,
    };
    manager.request_address(request.pool, wanted.map(Into::into), owner.as_deref()).map_err(|error| match error {
        Error::NoPool(pool) => Error::Conflict(format!(
            "pontoon has no pool {pool}: its state is another than when Docker asked for it; `docker network rm` the network and create it again"
        )),
        error => error,
    })
}
