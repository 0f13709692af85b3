//! Endpoints: created with their addresses, joined to a sandbox, left, deleted.

use std::net::Ipv4Addr;

use super::super::new_id;
use super::{Manager, unused_name};
use crate::api::types::{DeviceKind, Mac, PublishedPorts, SandboxRef};
use crate::error::{Error, describe};
use crate::netns::NetnsId;
use crate::plan::{self, ENDPOINT_FLAGS, Step};
use crate::plugin::network::{CreateEndpoint, EndpointRef, Join};
use crate::state::{Holder, NetworkState, PortName, State};
use crate::store::{Change, EndpointRecord, Phase, Record, ReservationRecord};
use crate::{clock, ipam};

/// What the Engine needs to know of an endpoint in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The device's name in the Engine's namespace.
    pub device: String,
    /// What the Engine shall call it in the sandbox, before a number.
    pub ifname_prefix: String,
    /// The gateway; none: the network leads nowhere else.
    pub gateway: Option<Ipv4Addr>,
}

/// What there is to know of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerEndpoint {
    /// Its MAC.
    pub mac: Mac,
    /// Its publications.
    pub ports: Vec<PublishedPorts>,
}

impl Manager {
    /// Reserves an endpoint's address and MAC; its MAC.
    ///
    /// # Errors
    /// They cannot be an endpoint's, or are taken.
    pub fn docker_create_endpoint(&self, request: &CreateEndpoint) -> Result<Mac, Error> {
        let _turn = self.turn();
        let EndpointRef { network, endpoint } = request.endpoint;
        let network = self.docker_network(network)?;
        let device = self.unused_device_name()?;
        let state = self.state().clone();
        if let Some(there) = state.network(&network)?.reservation(endpoint) {
            return same_endpoint(there, request);
        }
        let unheard = super::repair::idle(state.network(&network)?, request.address.addr());
        let record = reservation(&state, &network, unheard, request, device)?;
        if let Some(unheard) = unheard {
            self.release_now(unheard)?;
        }
        let steps = plan::reserve(&self.state(), &network, record.clone());
        let port = PortName::new(&record.network, &record.name);
        self.change(&steps).map_err(|error| error.during(format!("create {port}")))?;
        Ok(record.mac)
    }

    /// What there is to know of an endpoint.
    ///
    /// # Errors
    /// There is none.
    pub fn docker_endpoint(&self, at: &EndpointRef) -> Result<DockerEndpoint, Error> {
        let record = self.reserved(at)?;
        let state = self.state();
        let publications = state.network(&record.network)?.publications.values();
        let ports = publications.filter(|it| it.endpoint == record.name).map(|it| it.ports).collect();
        Ok(DockerEndpoint { mac: record.mac, ports })
    }

    /// Deletes an endpoint, and its device wherever it is.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn docker_delete_endpoint(&self, at: &EndpointRef) -> Result<(), Error> {
        let _turn = self.turn();
        let Ok(record) = self.reserved(at) else { return Ok(()) };
        self.leave_now(&record)?;
        self.release_now(&record)
    }

    /// Makes the device for an endpoint that enters a sandbox, and a port of it. The sandbox need not be there yet.
    ///
    /// # Errors
    /// It is in another sandbox already, or the device cannot be made; nothing is left of it then.
    pub fn docker_join(&self, request: &Join) -> Result<Joined, Error> {
        let _turn = self.turn();
        let reservation = self.reserved(&request.endpoint)?;
        let sandbox = SandboxRef::Netns(request.sandbox_key.clone());
        let port = PortName::new(&reservation.network, &reservation.name).to_string();
        let there = self.joined(&reservation);
        if let Some(there) = there {
            if there.sandbox != sandbox {
                let text = format!("{port} is in {} already", describe(&there.sandbox));
                return Err(Error::Conflict(text));
            }
            return self.joined_view(&reservation);
        }
        let steps = self.join_steps(&reservation, &request.sandbox_key)?;
        self.change(&steps).map_err(|error| error.during(format!("join {port}")))?;
        self.journal.note("endpoint-attached", &port, "");
        self.joined_view(&reservation)
    }

    /// What must be done for an endpoint to join the sandbox at that path.
    pub(super) fn join_steps(
        &self,
        reservation: &ReservationRecord,
        sandbox: &str,
    ) -> Result<Vec<Step>, Error> {
        let sandbox = SandboxRef::Netns(sandbox.to_owned());
        let sandbox_id = self.sandbox_id(&sandbox)?;
        let state = self.state();
        let network = state.network(&reservation.network)?;
        let record = EndpointRecord {
            network: reservation.network.clone(),
            name: reservation.name.clone(),
            id: reservation.id,
            aliases: Default::default(),
            sandbox_id,
            sandbox,
            netns: NetnsId::UNKNOWN,
            ifname: network.record.ifname_prefix.clone(),
            address: reservation.address,
            mac: reservation.mac,
            kind: DeviceKind::Tap,
            device: reservation.device.clone(),
            flags: ENDPOINT_FLAGS,
            default_route: false,
            docker: true,
            resolver: false,
            dns: Vec::new(),
            created: clock::now(),
            phase: Phase::Attached,
        };
        Ok(plan::join(&state, network, reservation, record))
    }

    /// Takes an endpoint out of its sandbox. Its device stays for the Engine to give back, and for the next one.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn docker_leave(&self, at: &EndpointRef) -> Result<(), Error> {
        let _turn = self.turn();
        match self.reserved(at) {
            Ok(record) => self.leave_now(&record),
            Err(_) => Ok(()),
        }
    }

    fn leave_now(&self, reservation: &ReservationRecord) -> Result<(), Error> {
        let Some(endpoint) = self.joined(reservation) else { return Ok(()) };
        let port = endpoint.port().to_string();
        let steps = plan::leave(&self.state(), &endpoint);
        self.remove(&steps).map_err(|error| error.during(format!("take {port} out of its sandbox")))?;
        self.journal.note("endpoint-detached", &port, "");
        Ok(())
    }

    /// Forgets an endpoint that is in no sandbox.
    pub(in crate::manager) fn release_now(&self, record: &ReservationRecord) -> Result<(), Error> {
        let port = PortName::new(&record.network, &record.name);
        let steps = plan::release(&self.state(), record);
        self.remove(&steps).map_err(|error| error.during(format!("delete {port}")))
    }

    /// The endpoint, wherever it is.
    pub(super) fn reserved(&self, at: &EndpointRef) -> Result<ReservationRecord, Error> {
        let network = self.docker_network(at.network)?;
        let missing = || Error::Missing {
            what: "endpoint",
            name: format!("{} on the network {network}", at.endpoint.short()),
            list: "network show",
        };
        let state = self.state();
        let record = state.network(&network)?.reservation(at.endpoint).cloned();
        record.ok_or_else(missing)
    }

    /// The endpoint as it is in its sandbox, if it is in one.
    pub(super) fn joined(&self, reservation: &ReservationRecord) -> Option<EndpointRecord> {
        let state = self.state();
        state.networks.get(&reservation.network)?.endpoints.get(&reservation.name).cloned()
    }

    fn joined_view(&self, reservation: &ReservationRecord) -> Result<Joined, Error> {
        let state = self.state();
        let network = &state.network(&reservation.network)?.record;
        Ok(Joined {
            device: reservation.device.clone(),
            ifname_prefix: network.ifname_prefix.clone(),
            gateway: (!network.connection.internal).then_some(network.gateway),
        })
    }

    /// The id of a sandbox: that of its other endpoints, if it has some.
    fn sandbox_id(&self, sandbox: &SandboxRef) -> Result<crate::id::Id, Error> {
        let known = self.state().endpoints().find(|it| it.sandbox == *sandbox).map(|it| it.sandbox_id);
        known.map_or_else(new_id, Ok)
    }
}

/// The endpoint that is asked for. An `unheard` one that has its address is in nobody's way: Docker would not give the address again if it knew
/// of that one.
fn reservation(
    state: &State,
    network: &str,
    unheard: Option<&ReservationRecord>,
    request: &CreateEndpoint,
    device: String,
) -> Result<ReservationRecord, Error> {
    let mut state = state.clone();
    unheard.into_iter().for_each(|it| state.apply(&Change::Remove(Record::Reservation(it.clone()))));
    let network = state.network(network)?;
    let (space, memory) = (network.record.space(), state.memory(network.record.subnet));
    let holders = state.holders(network.record.subnet);
    // Docker has leased it for this very endpoint, if it asks us for addresses.
    let holder = |address| holders.get(&address).filter(|it| !matches!(it, Holder::Lease(_)));
    let address = ipam::address(space, memory, holder, Some(request.address.addr().into()))?;
    let mac = ipam::mac(address, &network.macs(), request.mac)?;
    Ok(ReservationRecord {
        network: network.record.name.clone(),
        name: unused_name(request.endpoint.endpoint, |name| network.has_port(name)),
        id: request.endpoint.endpoint,
        address,
        mac: Mac(mac),
        device,
        sandbox: None,
        created: clock::now(),
    })
}

/// Whether the endpoint that is there is the one that is asked for; its MAC.
fn same_endpoint(there: &ReservationRecord, request: &CreateEndpoint) -> Result<Mac, Error> {
    let differs = |field: &'static str, is: String, declared: String| Error::Differs {
        what: format!("the endpoint {}/{}", there.network, there.name),
        field,
        is,
        declared,
    };
    if there.address != request.address.addr() {
        return Err(differs("address", there.address.to_string(), request.address.addr().to_string()));
    }
    match request.mac {
        Some(mac) if mac != there.mac.0 => Err(differs("MAC", there.mac.to_string(), mac.to_string())),
        _ => Ok(there.mac),
    }
}

impl NetworkState {
    /// The endpoint that Docker calls so.
    fn reservation(&self, id: crate::id::Id) -> Option<&ReservationRecord> {
        self.reservations.values().find(|it| it.id == id)
    }
}
