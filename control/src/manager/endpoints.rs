//! Endpoints, existing interfaces, their ports and static FDB entries.

use pontoon_dataplane::MacAddr;

use super::Manager;
use crate::api::types::{
    Endpoint, EndpointRequest, FdbEntry, FdbRequest, Interface, InterfaceRequest, Mac, Port, PortPatch,
    Uplink,
};
use crate::choose::{self, Circumstances};
use crate::error::Error;
use crate::plan::{self, INTERFACE_FLAGS, patched};
use crate::state::{NetworkState, PortName, PortRecord};
use crate::store::InterfaceRecord;
use crate::{clock, ipam, names};

impl Manager {
    /// Attaches an endpoint.
    ///
    /// # Errors
    /// The request cannot be met; nothing is left of it then.
    pub fn attach(&self, network: &str, request: &EndpointRequest) -> Result<Endpoint, Error> {
        let _turn = self.turn();
        self.attach_now(network, request, &PortPatch::default())?;
        let name = choose::endpoint_names(request)?.name;
        self.endpoint(network, &name)
    }

    /// Detaches an endpoint.
    ///
    /// # Errors
    /// There is none of that name, or something could not be removed.
    pub fn detach(&self, network: &str, endpoint: &str) -> Result<(), Error> {
        let _turn = self.turn();
        self.detach_now(network, endpoint)
    }

    /// Puts an existing interface on a network.
    ///
    /// # Errors
    /// The request cannot be met; nothing is left of it then.
    pub fn add_interface(&self, network: &str, request: &InterfaceRequest) -> Result<Interface, Error> {
        let _turn = self.turn();
        self.add_interface_now(network, &request.interface, &PortPatch::default())?;
        self.interface(network, &request.interface)
    }

    /// Takes an existing interface from a network.
    ///
    /// # Errors
    /// It is not there, or something could not be removed.
    pub fn remove_interface(&self, network: &str, interface: &str) -> Result<(), Error> {
        let _turn = self.turn();
        self.remove_interface_now(network, interface)
    }

    /// Changes what a port may do.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn set_port(&self, network: &str, port: &str, patch: &PortPatch) -> Result<Port, Error> {
        let _turn = self.turn();
        self.set_port_now(network, port, patch)?;
        self.port(network, port)
    }

    /// Adds a static FDB entry.
    ///
    /// # Errors
    /// There is no such port, or the address is not a station's, or known to be elsewhere.
    pub fn add_fdb(&self, request: &FdbRequest) -> Result<FdbEntry, Error> {
        let _turn = self.turn();
        let port = own_part(&request.network, &request.port)?;
        if let Some(there) = self.state().network(&request.network)?.statics.get(&request.mac)
            && there.port != port
        {
            let (network, mac, at) = (&request.network, request.mac, &there.port);
            let text = format!(
                "{mac} is behind {network}/{at} already; remove it first: `pontoon fdb rm {network} {mac}`"
            );
            return Err(Error::Conflict(text));
        }
        self.add_fdb_now(&request.network, request.mac, port)?;
        Ok(FdbEntry {
            network: request.network.clone(),
            mac: request.mac,
            port: PortName::new(&request.network, port).to_string(),
            kind: "static".to_owned(),
            age_seconds: None,
        })
    }

    /// Removes an FDB entry, static or learned.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_fdb(&self, network: &str, mac: Mac) -> Result<(), Error> {
        let _turn = self.turn();
        let record = self.state().network(network)?.statics.get(&mac).cloned();
        let missing =
            || Error::Missing { what: "FDB entry", name: format!("{mac} on {network}"), list: "fdb ls" };
        match record {
            Some(record) => self.change(&plan::remove_static(&record)),
            None => self.world.forget(network, mac.0)?.then_some(()).ok_or_else(missing),
        }
    }

    /// Forgets learned addresses: all, those of a network, or those of one port.
    ///
    /// # Errors
    /// There is no such network or port.
    pub fn flush_fdb(&self, network: Option<&str>, port: Option<&str>) -> Result<(), Error> {
        let Some(network) = network else {
            if port.is_some() {
                return Err(Error::Declaration("a port is given without its network".into()));
            }
            let all: Vec<String> = self.state().networks.keys().cloned().collect();
            return all.iter().try_for_each(|network| self.world.flush(network, None));
        };
        let port = port.map(|port| own_part(network, port)).transpose()?;
        match port {
            Some(port) => drop(self.state().port(network, port)?.name()),
            None => drop(self.state().network(network)?.record.name.as_str()),
        }
        self.world.flush(network, port.map(|port| PortName::new(network, port)).as_ref())
    }

    pub(super) fn attach_now(
        &self,
        network: &str,
        request: &EndpointRequest,
        patch: &PortPatch,
    ) -> Result<(), Error> {
        self.state().network(network)?;
        let names = choose::endpoint_names(request)?;
        let circumstances = Circumstances {
            netns: self.world.sandbox(&request.sandbox)?,
            interfaces: self.world.interface_names(&request.sandbox)?,
            device: self.unused_device_name()?,
            ids: [super::new_id()?, super::new_id()?],
            now: clock::now(),
        };
        let steps = {
            let state = self.state();
            let network = state.network(network)?;
            let record = choose::endpoint(&state, network, request, patch, circumstances)?;
            plan::attach(&state, network, record, request.ip.is_none())
        };
        let port = PortName::new(network, &names.name).to_string();
        self.change(&steps).map_err(|error| error.during(format!("attach {port}")))?;
        self.journal.note("endpoint-attached", &port, "");
        Ok(())
    }

    /// A name for a device that nothing carries, neither here nor in the records.
    pub(super) fn unused_device_name(&self) -> Result<String, Error> {
        let mut random = [0u8; 5];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::Internal(format!("no random numbers: {error}")))?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("ptn{hex}"))
    }

    pub(super) fn detach_now(&self, network: &str, endpoint: &str) -> Result<(), Error> {
        let steps = {
            let state = self.state();
            if state.network(network)?.interfaces.contains_key(endpoint) {
                let text = format!(
                    "{network}/{endpoint} is an existing interface; `pontoon port rm {network}/{endpoint}` takes it off"
                );
                return Err(Error::Conflict(text));
            }
            plan::detach(&state, state.endpoint(network, endpoint)?)
        };
        let port = PortName::new(network, endpoint).to_string();
        self.remove(&steps).map_err(|error| error.during(format!("detach {port}")))?;
        self.journal.note("endpoint-detached", &port, "");
        Ok(())
    }

    pub(super) fn add_interface_now(
        &self,
        network: &str,
        interface: &str,
        patch: &PortPatch,
    ) -> Result<(), Error> {
        names::check_interface(interface)?;
        refuse_guard(interface, patch)?;
        let refuse = |reason: String| Error::Interface { interface: interface.to_owned(), reason };
        {
            let state = self.state();
            if state.network(network)?.port(interface).is_some() {
                return Err(Error::Exists { what: "port", name: format!("{network}/{interface}") });
            }
            if let Some(other) = state.interfaces().find(|it| it.interface == interface) {
                return Err(refuse(format!("it is on the network {} already", other.network)));
            }
            let is_host_port = |it: &&NetworkState| it.record.host_interface.as_deref() == Some(interface);
            if let Some(network) = state.networks.values().find(is_host_port) {
                return Err(refuse(format!("the host sits on the network {} by it", network.record.name)));
            }
            let leaves_by_it =
                |it: &&NetworkState| it.record.connection.uplink == Uplink::Interface(interface.to_owned());
            if let Some(network) = state.networks.values().find(leaves_by_it) {
                let name = &network.record.name;
                return Err(refuse(format!(
                    "the network {name} leaves the host by it; `pontoon network set {name} --uplink auto` changes that"
                )));
            }
            if let Some(endpoint) = state.endpoints().find(|it| it.device == interface) {
                return Err(refuse(format!("it belongs to the endpoint {}", endpoint.port())));
            }
        }
        let link =
            self.world.link(None, interface)?.ok_or_else(|| Error::NoInterface(interface.to_owned()))?;
        if link.loopback {
            return Err(refuse("it is the loopback interface".into()));
        }
        if link.enslaved {
            return Err(refuse("it is a port of another bridge or bond; take it out there first".into()));
        }
        if link.mac.is_none() {
            return Err(refuse("it carries no Ethernet frames".into()));
        }
        let record = InterfaceRecord {
            network: network.to_owned(),
            interface: interface.to_owned(),
            flags: patched(INTERFACE_FLAGS, patch),
            was_up: link.up,
            host_stack: Some(link.host_stack),
            created: clock::now(),
        };
        let steps = plan::add_interface(self.state().network(network)?, record);
        let port = PortName::new(network, interface).to_string();
        self.change(&steps)
            .map_err(|error| error.during(format!("put {interface} on the network {network}")))?;
        self.journal.note("interface-added", &port, "");
        Ok(())
    }

    pub(super) fn remove_interface_now(&self, network: &str, interface: &str) -> Result<(), Error> {
        let steps = {
            let state = self.state();
            if state.network(network)?.endpoints.contains_key(interface) {
                let text = format!(
                    "{network}/{interface} is an endpoint; `pontoon detach {network} {interface}` takes it off"
                );
                return Err(Error::Conflict(text));
            }
            plan::remove_interface(state.network(network)?, state.interface(network, interface)?)
        };
        let port = PortName::new(network, interface).to_string();
        self.remove(&steps).map_err(|error| error.during(format!("take {port} from its network")))?;
        self.journal.note("interface-removed", &port, "");
        Ok(())
    }

    /// Returns whether anything changed.
    pub(super) fn set_port_now(&self, network: &str, port: &str, patch: &PortPatch) -> Result<bool, Error> {
        let steps = {
            let state = self.state();
            let record = state.port(network, port)?;
            if let PortRecord::Interface(it) = record {
                refuse_guard(&it.interface, patch)?;
            }
            plan::set_port(record, patch)
        };
        self.change(&steps).map_err(|error| error.during(format!("change the port {network}/{port}")))?;
        if patch.loop_guard == Some(false) {
            self.unblock(&PortName::new(network, port));
        }
        Ok(!steps.is_empty())
    }

    /// Returns whether anything changed.
    pub(super) fn add_fdb_now(&self, network: &str, mac: Mac, port: &str) -> Result<bool, Error> {
        ipam::check_station(mac.0)?;
        let steps = {
            let state = self.state();
            state.port(network, port)?;
            let network = state.network(network)?;
            refuse_others(network, mac.0, port)?;
            plan::add_static(network, mac, port)
        };
        self.change(&steps)?;
        Ok(!steps.is_empty())
    }
}

fn refuse_guard(interface: &str, patch: &PortPatch) -> Result<(), Error> {
    if patch.guard != Some(true) {
        return Ok(());
    }
    Err(Error::Declaration(format!(
        "{interface} is an existing interface, which has no addresses of its own to guard; leave guard off: only endpoints have it"
    )))
}

/// The gateway and endpoints are where they are, whatever an entry would say.
fn refuse_others(network: &NetworkState, mac: MacAddr, port: &str) -> Result<(), Error> {
    let endpoint = network.endpoints.values().find(|it| it.mac.0 == mac && it.name != port);
    let owner = match endpoint {
        Some(endpoint) => format!("the endpoint {}", endpoint.port()),
        None if mac == network.record.gateway_mac.0 => "the gateway".into(),
        None => return Ok(()),
    };
    Err(ipam::IpamError::MacInUse { mac, owner }.into())
}

/// `port` without its network's name: `NETWORK/PORT` and `PORT` mean the same.
fn own_part<'a>(network: &str, port: &'a str) -> Result<&'a str, Error> {
    match port.split_once('/') {
        None => Ok(port),
        Some((of, port)) if of == network => Ok(port),
        Some(_) => Err(Error::Declaration(format!("the port {port} is not on the network {network}"))),
    }
}
