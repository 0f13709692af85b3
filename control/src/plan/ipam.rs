//! What the store must remember of addresses that are taken and released, as changes to go with the record that takes or releases them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::state::{NetworkState, State};
use crate::store::{Change, CursorRecord, LeaseRecord, Record, RestingRecord};

/// An address of the subnet is taken; `chosen` by us, or asked for.
pub fn take(state: &State, subnet: Ipv4Net, address: Ipv4Addr, chosen: bool) -> Vec<Change> {
    let memory = state.memory(subnet);
    let mut changes = Vec::new();
    if let Some(&order) = memory.resting.get(&address) {
        changes.push(Change::Remove(Record::Resting(RestingRecord { subnet, address, order })));
    }
    if chosen {
        let cursor = |address| Record::Cursor(CursorRecord { subnet, address });
        changes.push(match memory.cursor {
            Some(before) => Change::Replace { before: cursor(before), after: cursor(address) },
            None => Change::Add(cursor(address)),
        });
    }
    changes
}

/// An address of the subnet is nobody's any more.
pub fn release(state: &State, subnet: Ipv4Net, address: Ipv4Addr) -> Vec<Change> {
    let memory = state.memory(subnet);
    let resting = |address, order| Record::Resting(RestingRecord { subnet, address, order });
    let after = resting(address, memory.next_order());
    match memory.resting.get(&address) {
        Some(&order) => vec![Change::Replace { before: resting(address, order), after }],
        None => {
            let forgotten =
                memory.forgotten().map(|(address, order)| Change::Remove(resting(address, order)));
            forgotten.into_iter().chain([Change::Add(after)]).collect()
        }
    }
}

/// Nothing more is remembered of the subnet's addresses.
pub fn forget(state: &State, subnet: Ipv4Net) -> Vec<Change> {
    let memory = state.memory(subnet);
    let cursor = memory.cursor.map(|address| Record::Cursor(CursorRecord { subnet, address }));
    let resting = memory
        .resting
        .iter()
        .map(|(&address, &order)| Record::Resting(RestingRecord { subnet, address, order }));
    cursor.into_iter().chain(resting).map(Change::Remove).collect()
}

/// A lease begins.
pub fn lease(state: &State, lease: LeaseRecord, chosen: bool) -> Vec<Change> {
    let mut changes = take(state, lease.subnet, lease.address, chosen);
    changes.push(Change::Add(Record::Lease(lease)));
    changes
}

/// A lease ends. The address rests from then on, unless an endpoint has it still.
pub fn end_lease(state: &State, lease: &LeaseRecord) -> Vec<Change> {
    let LeaseRecord { subnet, address, .. } = *lease;
    let mut changes = vec![Change::Remove(Record::Lease(lease.clone()))];
    let on_it = state.network_on(subnet);
    let is_used = |network: &NetworkState| {
        network.endpoints.values().any(|it| it.address == address)
            || network.reservations.values().any(|it| it.address == address)
    };
    if !on_it.is_some_and(is_used) {
        changes.extend(release(state, subnet, address));
    }
    changes
}

/// A pool goes, with its leases. What is remembered of its addresses goes too, unless a network is on it.
pub fn release_pool(state: &State, subnet: Ipv4Net) -> Vec<Change> {
    let Some(pool) = state.pools.get(&subnet) else { return Vec::new() };
    let mut changes: Vec<Change> =
        pool.leases.values().map(|it| Change::Remove(Record::Lease(it.clone()))).collect();
    changes.push(Change::Remove(Record::Pool(pool.record.clone())));
    if state.network_on(subnet).is_none() {
        changes.extend(forget(state, subnet));
    }
    changes
}
