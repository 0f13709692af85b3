//! What pontoon itself never asks the kernel for: routes, addresses and links that a lab changes under it.

use std::net::{Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope, RouteType};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use crate::lab::LabError;

pub mod bridge;

/// A connection to rtnetlink of the namespace that it was opened in.
#[derive(Debug)]
pub struct Kernel {
    runtime: tokio::runtime::Runtime,
    handle: rtnetlink::Handle,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Where to, and the length of the prefix; 0.0.0.0/0 is the default route.
    pub to: (Ipv4Addr, u8),
    /// The next router.
    pub via: Ipv4Addr,
    /// Largest packet in bytes, where it is less than the interface's.
    pub mtu: Option<u32>,
}

impl Route {
    /// The default route.
    pub fn default_via(via: Ipv4Addr) -> Route {
        Route { to: (Ipv4Addr::UNSPECIFIED, 0), via, mtu: None }
    }

    fn message(&self) -> RouteMessage {
        let (destination, prefix_len) = self.to;
        let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination, prefix_len)
            .gateway(self.via)
            .build();
        if let Some(mtu) = self.mtu {
            message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        message
    }
}

impl Kernel {
    /// Connects to the calling thread's namespace.
    ///
    /// # Errors
    /// The system's error.
    pub fn open() -> Result<Kernel, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (connection, handle, _) = {
            let _entered = runtime.enter();
            rtnetlink::new_connection()?
        };
        runtime.spawn(connection);
        Ok(Kernel { runtime, handle })
    }

    /// An IPv6 address that is good at once, without the wait for duplicates.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn add_address_at_once(
        &self,
        link_index: u32,
        address: Ipv6Addr,
        prefix_len: u8,
    ) -> Result<(), LabError> {
        let mut request = self.handle.address().add(link_index, address.into(), prefix_len);
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        Ok(self.runtime.block_on(request.execute())?)
    }

    /// Takes an IPv4 address from an interface.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn remove_address(&self, link_index: u32, address: Ipv4Addr, prefix_len: u8) -> Result<(), LabError> {
        let mut request = self.handle.address().add(link_index, address.into(), prefix_len);
        let message = request.message_mut().clone();
        Ok(self.runtime.block_on(self.handle.address().del(message).execute())?)
    }

    /// Adds a route, or puts it in the place of the one to the same destination.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_route(&self, route: Route) -> Result<(), LabError> {
        Ok(self.runtime.block_on(self.handle.route().add(route.message()).replace().execute())?)
    }

    /// Makes every address of a subnet the namespace's own (`ip route add local NET dev lo`), or no longer.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_local(&self, (net, prefix_len): (Ipv4Addr, u8), own: bool) -> Result<(), LabError> {
        const LOOPBACK: u32 = 1;
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net, prefix_len)
            .output_interface(LOOPBACK)
            .table_id(libc::RT_TABLE_LOCAL.into())
            .scope(RouteScope::Host)
            .kind(RouteType::Local)
            .build();
        let routes = self.handle.route();
        let done = match own {
            true => self.runtime.block_on(routes.add(message).execute()),
            false => self.runtime.block_on(routes.del(message).execute()),
        };
        Ok(done?)
    }

    /// Removes a route.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn remove_route(&self, route: Route) -> Result<(), LabError> {
        Ok(self.runtime.block_on(self.handle.route().del(route.message()).execute())?)
    }

    /// Lets the interface send super-frames of `segments` segments at most; with one, every segment goes for itself.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn limit_super_frames(&self, link_index: u32, segments: u32) -> Result<(), LabError> {
        let message = LinkUnspec::new_with_index(link_index)
            .append_extra_attribute(LinkAttribute::GsoMaxSegs(segments))
            .build();
        Ok(self.runtime.block_on(self.handle.link().set(message).execute())?)
    }
}
