//! Ports of the engine and the devices that they are: opened first, then given to the engine; closed in the other order.

use std::collections::HashMap;
use std::io;
use std::sync::{MutexGuard, PoisonError};

use pontoon_dataplane::engine::PortSpec;
use pontoon_dataplane::network::Place;
use pontoon_dataplane::port::Device;

use super::gate::Gate;
use super::{Host, PortNumber};
use crate::api::types::DeviceKind;
use crate::error::Error;
use crate::link::{HostStack, Links};
use crate::netns::Netns;
use crate::plan::{DevicePlan, PortPlan};
use crate::state::PortName;
use crate::store::{EndpointRecord, StaticRecord};

impl Host {
    pub(super) fn create_device(&self, plan: &DevicePlan) -> Result<(), Error> {
        let device = self.devices.create(plan)?;
        self.open(&plan.endpoint, device);
        Ok(())
    }

    pub(super) fn open_device(&self, plan: &DevicePlan) -> Result<(), Error> {
        let port = plan.endpoint.port();
        let (device, pins) = self.devices.open(&plan.endpoint)?;
        // A device that the Engine has not moved yet was opened in our own namespace, which stays anyway.
        if let Some(netns) = pins.filter(|it| Netns::current().is_ok_and(|own| own.id() != *it)) {
            let sandbox = (plan.endpoint.sandbox.clone(), netns);
            self.change(|numbers| {
                numbers.pinned.insert(port, sandbox);
            });
        }
        self.open(&plan.endpoint, device);
        Ok(())
    }

    pub(super) fn delete_device(&self, endpoint: &EndpointRecord) -> Result<(), Error> {
        self.opened().remove(&endpoint.port());
        self.gates().remove(&endpoint.port());
        self.devices.delete(endpoint)
    }

    /// An endpoint's device is open.
    fn open(&self, endpoint: &EndpointRecord, device: Device) {
        if endpoint.kind == DeviceKind::Veth {
            self.close_gate(&endpoint.port(), &endpoint.device);
        }
        self.opened().insert(endpoint.port(), device);
    }

    pub(super) fn open_interface(&self, port: PortName) -> Result<(), Error> {
        self.edge.claim(&port.port);
        self.change(|numbers| {
            numbers.claimed.insert(port.clone());
        });
        self.close_gate(&port, &port.port);
        let device = self.devices.open_packet(&port.port).inspect_err(|_| self.let_go(&port))?;
        self.opened().insert(port, device);
        Ok(())
    }

    pub(super) fn close_device(&self, port: &PortName) {
        self.opened().remove(port);
        self.let_go(port);
    }

    pub(super) fn add_port(&self, plan: &PortPlan) -> Result<(), Error> {
        let network = self.network(&plan.port.network)?;
        let device = self
            .opened()
            .remove(&plan.port)
            .ok_or_else(|| Error::Internal(format!("no device was opened for the port {}", plan.port)))?;
        let offloads = device.offloads();
        let spec = PortSpec {
            place: Place::Member(network),
            settings: plan.settings,
            identity: plan.identity.clone(),
            mtu: plan.mtu,
        };
        let id = self.engine.add_port(spec, device)?;
        self.change(|numbers| {
            numbers.ports.insert(plan.port.clone(), PortNumber { id, offloads });
        });
        Ok(())
    }

    pub(super) fn remove_port(&self, port: &PortName) -> Result<(), Error> {
        self.opened().remove(port);
        if let Some(number) = self.port(port) {
            self.engine.remove_port(number.id)?;
        }
        self.change(|numbers| {
            numbers.ports.remove(port);
            numbers.pinned.remove(port);
        });
        self.let_go(port);
        Ok(())
    }

    /// An existing interface that was a port is the host's own again.
    fn let_go(&self, port: &PortName) {
        self.gates().remove(port);
        let mut was_claimed = false;
        self.change(|numbers| was_claimed = numbers.claimed.remove(port));
        if was_claimed {
            self.edge.give_back(&port.port);
        }
    }

    pub(super) fn add_static(&self, record: &StaticRecord) -> Result<(), Error> {
        let port = self.known_port(&PortName::new(&record.network, &record.port))?;
        let fdb = self.engine.fdb(self.network(&record.network)?)?;
        fdb.add_static(record.mac.0, port).map_err(|error| Error::Fdb(error.to_string()))
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<PortName, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the host's IP stack from what the port's interface will hear, where the kernel can; its settings do in any case.
    fn close_gate(&self, port: &PortName, interface: &str) {
        let link = Links::open().and_then(|links| links.get(interface)).map_err(io::Error::other);
        match link.and_then(|link| Gate::close(link.index)) {
            Ok(gate) => drop(self.gates().insert(port.clone(), gate)),
            Err(error) => {
                tracing::info!(interface, "kept from the host's IP stack by settings alone: {error}")
            }
        }
    }
}

/// Sets an interface of the host up or down. One that is gone need not go down.
pub(super) fn set_link_up(interface: &str, up: bool) -> Result<(), Error> {
    let links = Links::open()?;
    match links.find(interface)? {
        Some(link) => Ok(links.set_up(&link, up)?),
        None if up => Err(Error::NoInterface(interface.to_owned())),
        None => Ok(()),
    }
}

/// Says what the host's IP stack makes of an interface. One that is gone has taken its settings along.
pub(super) fn set_host_stack(interface: &str, to: HostStack) -> Result<(), Error> {
    let links = Links::open()?;
    match links.find(interface)? {
        Some(link) => Ok(links.set_host_stack(&link, to)?),
        None => Ok(()),
    }
}
