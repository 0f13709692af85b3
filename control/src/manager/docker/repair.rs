//! What is left when the Engine never heard that it was given something: it takes back only what it knows of. It tells all the same, by what it
//! does next.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Manager;
use crate::error::Error;
use crate::plan::Step;
use crate::state::{NetworkState, State};
use crate::store::{Change, Record, ReservationRecord};

impl Manager {
    /// Takes a subnet back. The Engine releases a network's pool before it deletes the network, or instead, when it never heard that the
    /// network was made: an empty one goes along.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn docker_release_pool(&self, subnet: Ipv4Net) -> Result<(), Error> {
        let unused = self.state().network_on(subnet).filter(|it| is_unused(it)).map(|it| it.record.id);
        if let Some(id) = unused {
            self.docker_delete_network(id)?;
        }
        self.release_pool(subnet)
    }

    /// Takes an address back. The Engine releases it after it has deleted the endpoint, or instead, when it never heard that the endpoint was
    /// made: one that is in no sandbox goes along.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn docker_release_address(&self, subnet: Ipv4Net, address: Ipv4Addr) -> Result<(), Error> {
        {
            let _turn = self.turn();
            let network = self.state().network_on(subnet).cloned();
            if let Some(record) = network.as_ref().and_then(|it| idle(it, address)) {
                self.release_now(record)?;
            }
        }
        self.release_address(subnet, address.into())
    }

    /// At the start: pools and addresses that nothing came of, because the Engine never heard of them.
    pub(in crate::manager) fn forget_unheard(&self) {
        let changes = unheard(&self.state());
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.change(&[Step::Store(changes)]) {
            tracing::error!(%error, "cannot forget addresses that Docker never heard of");
        }
    }
}

/// Whether Docker made the network and nothing is on it.
fn is_unused(network: &NetworkState) -> bool {
    let NetworkState { endpoints, interfaces, reservations, .. } = network;
    endpoints.is_empty() && interfaces.is_empty() && reservations.is_empty()
}

/// The endpoint of that address, if it is Docker's and in no sandbox.
pub(super) fn idle(network: &NetworkState, address: Ipv4Addr) -> Option<&ReservationRecord> {
    let of = network.reservations.values().find(|it| it.address == address)?;
    (!network.endpoints.contains_key(&of.name)).then_some(of)
}

/// Leases for endpoints that are not there, where a network is, and pools with neither network nor leases.
fn unheard(state: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    for (subnet, pool) in &state.pools {
        match state.network_on(*subnet) {
            None if pool.leases.is_empty() => changes.push(Change::Remove(Record::Pool(pool.record.clone()))),
            None => {}
            Some(network) => {
                let is_used = |address: Ipv4Addr| {
                    network.reservations.values().any(|it| it.address == address)
                        || network.endpoints.values().any(|it| it.address == address)
                };
                let is_of_an_endpoint = |owner: &Option<String>| {
                    owner.as_ref().is_some_and(|it| it.starts_with(super::ENDPOINT_OWNER))
                };
                let lost =
                    pool.leases.values().filter(|it| is_of_an_endpoint(&it.owner) && !is_used(it.address));
                changes.extend(lost.flat_map(|it| crate::plan::ipam::end_lease(state, it)));
            }
        }
    }
    changes
}
