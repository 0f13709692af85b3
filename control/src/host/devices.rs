//! Endpoints' devices: how they are made, dressed, found again and deleted.
//!
//! A TAP is made in a namespace of our own that nobody watches, and moved into the sandbox: no hotplug daemon of the
//! host sees it, and its descriptor does not keep the sandbox alive, so that the kernel can tell us when it goes.
//! Until it is ready it has a name that only it has; whatever carries that name is ours to delete.

use std::fs;
use std::sync::{Mutex, PoisonError};

use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::tap::{Tap, TapError};
use pontoon_dataplane::port::{Device, Offloads};

use crate::api::types::{DeviceKind, SandboxRef};
use crate::edge::hostport::HostPort;
use crate::error::Error;
use crate::link::{Link, LinkError, Links};
use crate::netns::{Netns, NetnsId, run_in};
use crate::plan::DevicePlan;
use crate::store::{EndpointRecord, ReservationRecord};
use crate::world::Remains;

/// Makes devices.
#[derive(Debug)]
pub(super) struct Devices {
    /// The most that ports leave to the kernel.
    offloads: Offloads,
    /// Where TAPs are made; itself made when the first one is.
    workshop: Mutex<Option<Netns>>,
}

impl Devices {
    pub(super) fn new(offloads: Offloads) -> Self {
        Devices { offloads, workshop: Mutex::default() }
    }

    /// The most that ports leave to the kernel.
    pub(super) fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Makes an endpoint's device, in its sandbox and down, under the name that only it has.
    pub(super) fn create(&self, plan: &DevicePlan) -> Result<Device, Error> {
        if plan.endpoint.docker {
            return self.create_for_docker(plan);
        }
        let sandbox = sandbox_of(&plan.endpoint)?;
        match plan.endpoint.kind {
            DeviceKind::Tap => self.create_tap(&plan.endpoint.device, &sandbox, |_, _| Ok(())),
            DeviceKind::Veth => self.create_veth(plan, &sandbox),
        }
    }

    /// Makes the device of an endpoint of Docker's, where the Engine looks for it: in the namespace that it shares with us, under the name
    /// that only it has, with the MAC that a hotplug daemon must not change. The Engine does the rest.
    fn create_for_docker(&self, plan: &DevicePlan) -> Result<Device, Error> {
        let DevicePlan { endpoint, network } = plan;
        // One that the Engine gave back, or left in an earlier sandbox.
        self.delete(endpoint)?;
        let device = &endpoint.device;
        self.create_tap(device, &Netns::current()?, |links, link| {
            links.dress_as(link, device, endpoint.mac.0, network.mtu)?;
            links.keep_ipv6_off(link)
        })
    }

    /// Makes a TAP and moves it to `there`; `prepare` sees it before anybody else does.
    fn create_tap(
        &self,
        device: &str,
        there: &Netns,
        prepare: impl FnOnce(&Links, &Link) -> Result<(), LinkError> + Send,
    ) -> Result<Device, Error> {
        let mut workshop = self.workshop.lock().unwrap_or_else(PoisonError::into_inner);
        let workshop = match &mut *workshop {
            Some(workshop) => workshop,
            empty => empty.insert(Netns::anonymous()?),
        };
        run_in(workshop, || {
            let tap = Tap::open(device, self.offloads)?;
            let links = Links::open()?;
            let link = links.get(device)?;
            prepare(&links, &link)?;
            links.move_to(&link, there)?;
            // Last: until here closing the descriptor is enough to be rid of it.
            tap.set_persistent(true)
                .map_err(|source| TapError::Attach { name: device.to_owned(), source })?;
            Ok(Device::Tap(tap))
        })?
    }

    /// Names the device, gives it MAC, MTU, address and, if it gives one, default route, brings it and `lo` up.
    pub(super) fn configure(&self, plan: &DevicePlan) -> Result<(), Error> {
        let DevicePlan { endpoint, network } = plan;
        run_in(&sandbox_of(endpoint)?, || {
            let links = Links::open()?;
            links.dress(&links.get(&endpoint.device)?, &endpoint.ifname, endpoint.mac.0, network.mtu)?;
            let link = links.get(&endpoint.ifname)?;
            // A sandbox with several endpoints would else ask for the gateway here in the name of another interface's
            // address, which the guard refuses. Where /proc cannot be written it costs just that.
            let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{}/arp_announce", endpoint.ifname), "2");
            links.add_address(&link, endpoint.address.into(), network.subnet.prefix_len())?;
            links.set_up(&links.get("lo")?, true)?;
            links.set_up(&link, true)?;
            if endpoint.default_route {
                links.add_default_route(&link, network.gateway)?;
            }
            Ok(())
        })?
    }

    /// Leads the sandbox's default route by the endpoint's gateway, or takes that route away. Where the sandbox or the device has gone, or
    /// is down, there is no route and cannot be one.
    pub(super) fn set_default_route(&self, plan: &DevicePlan, there: bool) -> Result<(), Error> {
        let DevicePlan { endpoint, network } = plan;
        let Some(sandbox) = Netns::recover(&endpoint.sandbox, endpoint.netns) else { return Ok(()) };
        run_in(&sandbox, || {
            let links = Links::open()?;
            match find_own(&links, endpoint)?.filter(|link| link.up) {
                Some(link) if there => Ok(links.add_default_route(&link, network.gateway)?),
                Some(link) => Ok(links.remove_default_route(&link, network.gateway)?),
                None => Ok(()),
            }
        })?
    }

    /// Opens the device of an endpoint that an earlier daemon made. For a TAP also the namespace that it was opened in, which its
    /// descriptor keeps alive.
    pub(super) fn open(&self, endpoint: &EndpointRecord) -> Result<(Device, Option<NetnsId>), Error> {
        if endpoint.kind == DeviceKind::Veth {
            return Ok((self.open_packet(&endpoint.device)?, None));
        }
        // To open a name that nobody has would make another device.
        let gone = || Error::Internal(format!("the device of {} has gone", endpoint.port()));
        let (netns, _) = place_of(endpoint)?.ok_or_else(gone)?;
        let tap = run_in(&netns, || {
            let link = find_own(&Links::open()?, endpoint)?.ok_or_else(gone)?;
            Ok::<_, Error>(Tap::open(&link.name, self.offloads)?)
        })??;
        Ok((Device::Tap(tap), Some(netns.id())))
    }

    /// Deletes what there is of an endpoint's device.
    pub(super) fn delete(&self, endpoint: &EndpointRecord) -> Result<(), Error> {
        if endpoint.kind == DeviceKind::Veth {
            // Its other end goes with it.
            let links = Links::open()?;
            return Ok(links.find(&endpoint.device)?.map_or(Ok(()), |link| links.delete(&link))?);
        }
        match place_of(endpoint)? {
            Some((netns, link)) => Ok(run_in(&netns, || Links::open()?.delete(&link))??),
            None => Ok(()),
        }
    }

    /// Deletes the device of an endpoint of Docker's, if there is one.
    pub(super) fn delete_reserved(&self, reservation: &ReservationRecord) -> Result<(), Error> {
        let ReservationRecord { device, sandbox, .. } = reservation;
        let own = |links: &Links| {
            Ok(links.all()?.into_iter().find(|link| link.kind == "tun" && link.alias == *device))
        };
        match find_in(docker_places(sandbox.as_ref())?, own)? {
            Some((netns, link)) => Ok(run_in(&netns, || Links::open()?.delete(&link))??),
            None => Ok(()),
        }
    }

    /// Makes a network's host port, in the daemon's own namespace, persistent and up; takes it up again when an earlier
    /// daemon left it. Nothing of a new one is left when it fails.
    ///
    /// It comes to the namespace with its MAC: a hotplug daemon that finds a random one may set another.
    pub(super) fn open_host_port(&self, port: &HostPort) -> Result<Device, Error> {
        port.check()?;
        let links = Links::open()?;
        if let Some(link) = port.find(&links)? {
            let tap = Tap::open(&link.name, self.offloads)?;
            port.configure(&links, &link)?;
            return Ok(Device::Tap(tap));
        }
        let device = self.create_tap(&port.interface, &Netns::current()?, |links, link| {
            links.dress_as(link, &port.alias(), port.mac, port.mtu)
        })?;
        let link = links.get(&port.interface)?;
        port.configure(&links, &link).inspect_err(|_| {
            // That error is what matters, and the step must leave nothing.
            let _ = links.delete(&link);
        })?;
        Ok(device)
    }

    fn create_veth(&self, plan: &DevicePlan, sandbox: &Netns) -> Result<Device, Error> {
        let device = &plan.endpoint.device;
        let links = Links::open()?;
        links.create_veth(device, device, sandbox)?;
        let host = links.get(device)?;
        let opened =
            finish_host_end(&links, &host, plan.network.mtu).and_then(|()| self.open_packet(&host.name));
        if opened.is_err() {
            // The error above is what matters, and the step must leave nothing.
            let _ = links.delete(&host);
        }
        opened
    }

    /// Opens a packet port on an interface of the daemon's own namespace.
    pub(super) fn open_packet(&self, interface: &str) -> Result<Device, Error> {
        let open = Packet::open(interface, self.offloads);
        open.map(Device::Packet).map_err(|source| Error::Packet { interface: interface.to_owned(), source })
    }

    /// What is left of an endpoint's device.
    pub(super) fn remains(&self, endpoint: &EndpointRecord) -> Result<Remains, Error> {
        if places(endpoint)?.is_empty() {
            return Ok(Remains::Nothing);
        }
        let inside = place_of(endpoint)?;
        let host_end = match endpoint.kind {
            DeviceKind::Tap => true,
            DeviceKind::Veth => Links::open()?.find(&endpoint.device)?.is_some(),
        };
        Ok(if inside.is_some() && host_end { Remains::All } else { Remains::Sandbox })
    }
}

/// The endpoint's sandbox: the one that was looked at when it was planned, whatever its name, path or process refers to now.
fn sandbox_of(endpoint: &EndpointRecord) -> Result<Netns, Error> {
    let gone = || Error::Internal(format!("the sandbox of {} has gone", endpoint.port()));
    Netns::recover(&endpoint.sandbox, endpoint.netns).ok_or_else(gone)
}

/// Where an endpoint's device can be.
fn places(endpoint: &EndpointRecord) -> Result<Vec<Netns>, Error> {
    if endpoint.docker {
        return docker_places(Some(&endpoint.sandbox));
    }
    Ok(Netns::recover(&endpoint.sandbox, endpoint.netns).into_iter().collect())
}

/// The Engine's namespace, which is ours, before it moved the device and after it gave it back; the sandbox in between.
fn docker_places(sandbox: Option<&SandboxRef>) -> Result<Vec<Netns>, Error> {
    let sandbox = sandbox.and_then(|sandbox| Netns::find(sandbox).ok());
    Ok([Netns::current()?].into_iter().chain(sandbox).collect())
}

/// The namespace that an endpoint's device is in, and the device.
fn place_of(endpoint: &EndpointRecord) -> Result<Option<(Netns, Link)>, Error> {
    find_in(places(endpoint)?, |links| find_own(links, endpoint))
}

fn find_in(
    places: Vec<Netns>,
    find: impl Fn(&Links) -> Result<Option<Link>, Error> + Sync,
) -> Result<Option<(Netns, Link)>, Error> {
    for netns in places {
        if let Some(link) = run_in(&netns, || find(&Links::open()?))?? {
            return Ok(Some((netns, link)));
        }
    }
    Ok(None)
}

/// The endpoint's device inside its sandbox: by the name that only it has, which is its alias once it is ready, whatever
/// it is called in there by then. When somebody gave it another alias, by its name, kind and MAC together; an interface
/// that somebody else made after ours went is not ours to touch.
fn find_own(links: &Links, endpoint: &EndpointRecord) -> Result<Option<Link>, Error> {
    let kind = match endpoint.kind {
        DeviceKind::Tap => "tun",
        DeviceKind::Veth => "veth",
    };
    let all: Vec<Link> = links.all()?.into_iter().filter(|link| link.kind == kind).collect();
    let by_name = |link: &&Link| link.name == endpoint.device || link.alias == endpoint.device;
    let by_looks = |link: &&Link| link.name == endpoint.ifname && link.mac == Some(endpoint.mac.0);
    Ok(all.iter().find(by_name).or_else(|| all.iter().find(by_looks)).cloned())
}

/// Where an endpoint's device is now; none when it has gone.
pub(super) fn place(endpoint: &EndpointRecord) -> Option<Link> {
    place_of(endpoint).ok()?.map(|(_, link)| link)
}

fn finish_host_end(links: &Links, host: &Link, mtu: u16) -> Result<(), Error> {
    links.keep_host_off(host)?;
    // No netlink attribute says this; without IPv6 or with a read-only /proc there is nothing to say or no way to say it.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", host.name), "1");
    links.set_mtu(host, mtu)?;
    Ok(links.set_up(host, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Phase;
    use crate::testing::{endpoint_record, network_record};

    /// A process number may be given again, and a process may move, between the look at a sandbox and the work in it.
    #[test]
    fn a_sandbox_that_was_exchanged_is_left_alone() {
        let own = Netns::current().unwrap().id();
        let endpoint = EndpointRecord {
            sandbox: SandboxRef::Pid(std::process::id()),
            netns: NetnsId { ino: 1, ..own },
            device: "no-such-device".into(),
            phase: Phase::Attaching,
            ..endpoint_record("red", "a", [10, 1, 0, 2])
        };
        let network = network_record("red", "10.1.0.0/24");
        let devices = Devices::new(Offloads::NONE);
        let error = devices.configure(&DevicePlan { endpoint, network }).unwrap_err().to_string();
        assert!(error.contains("the sandbox of red/a has gone"), "{error}");
    }
}
