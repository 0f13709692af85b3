//! What Docker's Engine asks for, by its ids. Every call may come twice, and the second time it does nothing and answers as the first time.

mod endpoints;
mod ports;
mod repair;

use super::Manager;
use crate::api::types::NetworkRequest;
use crate::error::Error;
use crate::id::Id;
use crate::plugin::network::CreateNetwork;
use crate::state::NetworkState;

/// What the owner of an address is called that is for an endpoint, before its MAC.
pub(crate) const ENDPOINT_OWNER: &str = "the endpoint with the MAC ";

/// The driver's name, as Docker has it from the socket.
const DRIVER: &str = "pontoon";

impl Manager {
    /// Creates a network of Docker's. Its name is the id as `docker network ls` shows it: the Engine does not tell drivers names.
    ///
    /// # Errors
    /// The request cannot be met.
    pub fn docker_create_network(&self, request: &CreateNetwork) -> Result<(), Error> {
        let _turn = self.turn();
        if let Some(there) = self.state().network_by_id(request.id) {
            return same_network(there, request);
        }
        let auxiliary = request.auxiliary.iter().map(|(name, address)| (name.clone(), (*address).into()));
        let wanted = NetworkRequest {
            name: unused_name(request.id, |name| self.state().networks.contains_key(name)),
            id: Some(request.id),
            subnet: Some(request.subnet.into()),
            pooled: request.pooled,
            gateway: request.gateway.map(Into::into),
            aux_addresses: auxiliary.collect(),
            driver: Some(DRIVER.to_owned()),
            options: request.options.clone(),
            internal: request.internal.then_some(true),
            ..NetworkRequest::default()
        };
        self.create_network_now(&wanted).map(drop)
    }

    /// Removes a network of Docker's, with whatever the Engine has forgotten on it.
    ///
    /// # Errors
    /// Something on it could not be removed.
    pub fn docker_delete_network(&self, id: Id) -> Result<(), Error> {
        let _turn = self.turn();
        let network = self.state().network_by_id(id).cloned();
        network.map_or(Ok(()), |network| self.remove_network_now(&network))
    }

    /// The name of the network with that id.
    fn docker_network(&self, id: Id) -> Result<String, Error> {
        let state = self.state();
        let missing = || {
            Error::Conflict(format!(
                "pontoon has no network {}: its state is another than when Docker made it; `docker network rm` it and create it again",
                id.short()
            ))
        };
        state.network_by_id(id).map(|it| it.record.name.clone()).ok_or_else(missing)
    }
}

/// As many digits of the id as Docker shows of it, and more if something else is called so already.
fn unused_name(id: Id, is_taken: impl Fn(&str) -> bool) -> String {
    let digits = id.to_string();
    // The longest name that there may be is one digit shorter than an id.
    let candidates = [12, 24, 36, 48, 63].into_iter().filter_map(|len| digits.get(..len));
    candidates.filter(|it| !is_taken(it)).map(str::to_owned).next().unwrap_or(digits)
}

/// Whether the network that is there is the one that is asked for.
fn same_network(there: &NetworkState, request: &CreateNetwork) -> Result<(), Error> {
    let record = &there.record;
    let gateway = request.gateway.unwrap_or(record.gateway);
    let differs = |field: &'static str, is: String, declared: String| Error::Differs {
        what: format!("the network {}", record.name),
        field,
        is,
        declared,
    };
    if record.subnet != request.subnet {
        return Err(differs("subnet", record.subnet.to_string(), request.subnet.to_string()));
    }
    if record.gateway != gateway {
        return Err(differs("gateway", record.gateway.to_string(), gateway.to_string()));
    }
    if record.connection.internal != request.internal {
        return Err(differs(
            "internal",
            record.connection.internal.to_string(),
            request.internal.to_string(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
