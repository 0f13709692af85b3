//! Endpoints of Docker's: created, joined to a sandbox, left, deleted, each by a call of its own.
//!
//! The Engine moves the device into the sandbox, names it and gives it its addresses, and brings it back when the endpoint leaves.

use super::{DevicePlan, Step, endpoint_port, ipam, new_identities};
use crate::state::{NetworkState, State};
use crate::store::{Change, EndpointRecord, Phase, Record, ReservationRecord};

/// Reserves an endpoint's name, address and MAC.
pub fn reserve(state: &State, network: &str, record: ReservationRecord) -> Vec<Step> {
    let subnet = state.networks.get(network).map(|it| it.record.subnet);
    let mut changes = subnet.map(|it| ipam::take(state, it, record.address, false)).unwrap_or_default();
    changes.push(Change::Add(Record::Reservation(record)));
    vec![Step::Store(changes)]
}

/// Makes an endpoint's device where the Engine looks for it, and a port of it. `endpoint` is not in the state yet.
pub fn join(
    state: &State,
    network: &NetworkState,
    reservation: &ReservationRecord,
    endpoint: EndpointRecord,
) -> Vec<Step> {
    let begun = EndpointRecord { phase: Phase::Attaching, ..endpoint.clone() };
    let done = EndpointRecord { phase: Phase::Attached, ..endpoint };
    let goes = ReservationRecord { sandbox: Some(done.sandbox.clone()), ..reservation.clone() };
    let mut with = state.clone();
    with.apply(&Change::Add(Record::Endpoint(done.clone())));
    let begin = vec![
        Change::Replace {
            before: Record::Reservation(reservation.clone()),
            after: Record::Reservation(goes),
        },
        Change::Add(Record::Endpoint(begun.clone())),
    ];
    let mut steps = vec![
        Step::Store(begin),
        Step::CreateDevice(DevicePlan { endpoint: done.clone(), network: network.record.clone() }),
        Step::AddPort(endpoint_port(&with, network, &done)),
    ];
    steps.extend(new_identities(state, &with, &done));
    let change = Change::Replace { before: Record::Endpoint(begun), after: Record::Endpoint(done.clone()) };
    steps.push(Step::Store(vec![change]));
    steps.push(Step::ServeNames(done.sandbox));
    steps.push(Step::Announce(network.record.name.clone()));
    steps
}

/// Takes the port from the engine and leaves the device to the Engine, which moves it out of the sandbox.
pub fn leave(state: &State, endpoint: &EndpointRecord) -> Vec<Step> {
    super::take_out(state, endpoint, false)
}

/// Forgets an endpoint, and deletes its device wherever it is.
pub fn release(state: &State, reservation: &ReservationRecord) -> Vec<Step> {
    let mut gone = vec![Change::Remove(Record::Reservation(reservation.clone()))];
    let subnet = state.networks.get(&reservation.network).map(|it| it.record.subnet);
    if let Some(subnet) = subnet.filter(|subnet| !state.is_leased(*subnet, reservation.address)) {
        gone.extend(ipam::release(state, subnet, reservation.address));
    }
    vec![Step::DeleteReserved(reservation.clone()), Step::Store(gone)]
}
