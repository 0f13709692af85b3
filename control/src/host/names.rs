//! Where names are served.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{MutexGuard, PoisonError};

use pontoon_dataplane::engine::PortSpec;
use pontoon_dataplane::network as place;
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads};

use super::Host;
use super::networks::HOST_PORT;
use crate::api::types::SandboxRef;
use crate::dns::place::{Place, Sockets};
use crate::error::Error;
use crate::link::Links;
use crate::netns::{self, Netns, NetnsId, run_in};
use crate::plan::ResolverPlan;
use crate::store::NetworkRecord;
use crate::world::ResolverView;

/// A network namespace of our own in which the gateways have their addresses, each on a TAP, for the kernel's stack to serve. The
/// host's own is not for that: somebody there may have port 53, and not every network reaches the host.
#[derive(Debug, Default)]
pub(super) struct Gatehouse {
    /// Made with the first gateway.
    netns: Option<Netns>,
    /// How many there have been, for a name that only one has.
    gateways: u32,
}

impl Gatehouse {
    /// Makes a TAP with the gateway's MAC and address, which goes when it is closed, and sockets there.
    fn open(&mut self, record: &NetworkRecord, offloads: Offloads) -> Result<(Device, Sockets), Error> {
        let netns = match &mut self.netns {
            Some(netns) => netns,
            empty => empty.insert(Gatehouse::make()?),
        };
        self.gateways = self.gateways.wrapping_add(1);
        let name = format!("gw{}", self.gateways);
        run_in(netns, || {
            let tap = Tap::open(&name, offloads)?;
            let links = Links::open()?;
            let link = links.get(&name)?;
            links.keep_ipv6_off(&link)?;
            links.dress_as(&link, &name, record.gateway_mac.0, record.mtu)?;
            links.add_address(&link, record.gateway.into(), record.subnet.prefix_len())?;
            links.set_up(&link, true)?;
            // To the interface, so that a sandbox is answered by the network that it asked on, whichever of its addresses it asked from.
            let sockets = Sockets::bind(record.gateway, Some(&name))
                .map_err(|source| Error::Kernel { action: "serve names at the gateway", source })?;
            Ok((Device::Tap(tap), sockets))
        })?
    }

    fn make() -> Result<Netns, Error> {
        let netns = Netns::anonymous()?;
        run_in(&netns, || {
            // It takes its settings from the host's. Where /proc cannot be written it costs just this: a sandbox that asks from an address of
            // another network gets no answer. Nothing that would be forwarded ever comes here.
            for (key, value) in
                [("ip_forward", "0"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")]
            {
                let _ = fs::write(format!("/proc/sys/net/ipv4/{key}"), value);
            }
        })?;
        Ok(netns)
    }
}

impl Host {
    pub(super) fn add_resolver(&self, plan: &ResolverPlan) -> Result<(), Error> {
        match plan {
            ResolverPlan::Gateway(record) => self.add_gateway(record).inspect_err(|_| {
                // That error is what matters.
                let _ = self.remove_resolver(plan);
            }),
            ResolverPlan::Sandbox { sandbox, netns } => {
                self.resolver.open(Place::Sandbox(*netns), Sockets::in_sandbox(sandbox, *netns)?)?;
                self.served().insert(*netns, sandbox.clone());
                Ok(())
            }
        }
    }

    fn add_gateway(&self, record: &NetworkRecord) -> Result<(), Error> {
        let network = self.network(&record.name)?;
        let (device, sockets) = {
            let mut gatehouse = self.gatehouse.lock().unwrap_or_else(PoisonError::into_inner);
            gatehouse.open(record, self.devices.offloads())?
        };
        self.resolver.open(Place::Gateway(record.name.clone()), sockets)?;
        let place = place::Place::Resolver(network);
        let spec = PortSpec { place, settings: HOST_PORT, identity: None, mtu: record.mtu };
        let port = self.engine.add_port(spec, device)?;
        self.change_network(&record.name, |network| network.resolver_port = Some(port)).inspect_err(|_| {
            // That error is what matters.
            let _ = self.engine.remove_port(port);
        })
    }

    pub(super) fn remove_resolver(&self, plan: &ResolverPlan) -> Result<(), Error> {
        match plan {
            ResolverPlan::Gateway(record) => {
                self.resolver.close(&Place::Gateway(record.name.clone()));
                let port = self.look(|numbers| numbers.networks.get(&record.name)?.resolver_port);
                if let Some(port) = port {
                    self.change_network(&record.name, |network| network.resolver_port = None)?;
                    self.engine.remove_port(port)?;
                }
            }
            ResolverPlan::Sandbox { netns, .. } => self.leave([*netns]),
        }
        Ok(())
    }

    /// Sandboxes in which names are served and that are no longer what they were called.
    pub(super) fn served_without_a_name(&self) -> Vec<NetnsId> {
        let served = self.served();
        let unnamed = served.iter().filter(|(netns, sandbox)| !netns::still_names(sandbox, **netns));
        unnamed.map(|(netns, _)| *netns).collect()
    }

    /// Serves names in these sandboxes no more, so that they go unless somebody else keeps them.
    pub(super) fn leave(&self, sandboxes: impl IntoIterator<Item = NetnsId>) {
        for netns in sandboxes {
            self.resolver.close(&Place::Sandbox(netns));
            self.served().remove(&netns);
        }
    }

    pub(super) fn resolver_view(&self) -> ResolverView {
        let served = self.served().clone();
        let named = |place: Place| {
            let sandbox = match &place {
                Place::Sandbox(netns) => served.get(netns).cloned(),
                Place::Gateway(_) => None,
            };
            (place, sandbox)
        };
        ResolverView {
            places: self.resolver.places_now().into_iter().map(named).collect(),
            host_resolvers: self.resolver.host_resolvers(),
            under_way: self.resolver.under_way(),
            counts: self.resolver.counts(),
        }
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<NetnsId, SandboxRef>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
