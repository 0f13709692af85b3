//! Network devices, addresses and routes over rtnetlink, in the calling thread's namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use futures_util::TryStreamExt;
use rtnetlink::packet_core::{DefaultNla, Emitable, NLA_F_NESTED};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteMetric};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use pontoon_dataplane::MacAddr;

use crate::netns::Netns;

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}{}", hint(source))]
pub struct LinkError {
    action: String,
    #[source]
    source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => "; this needs root or CAP_NET_ADMIN",
        Some(libc::EOPNOTSUPP) => "; this kernel has no such device kind",
        _ => "",
    }
}

impl LinkError {
    fn new(action: impl Into<String>, source: rtnetlink::Error) -> LinkError {
        let source = match source {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        };
        LinkError { action: action.into(), source }
    }

    /// Whether the name is taken.
    pub fn is_exists(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }
}

/// What the host's own IP stack makes of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStack {
    /// It asks and answers ARP there (no `IFF_NOARP`).
    pub arp: bool,
    /// Which IPv4 sources it takes packets from (Documentation/networking/ip-sysctl.rst, `rp_filter`): 0 all, 1 those that it would
    /// answer by the same interface, 2 those that it would answer at all. Whichever is larger counts, this or the one for all interfaces.
    pub rp_filter: i32,
}

impl HostStack {
    /// Kept off: no ARP, and no IPv4 packet but from what the host has a route to by that interface.
    pub const KEPT_OFF: HostStack = HostStack { arp: false, rp_filter: 1 };
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC; none when its kind has none, or other than six bytes.
    pub mac: Option<MacAddr>,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Its kind as `ip -d link` names it (`tun` for a TAP too, `veth`); empty for physical ones.
    pub kind: String,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// Whether it is a port of a bridge, bond or the like.
    pub enslaved: bool,
    /// The number of the other end in its namespace, for one that has another end (`veth`), or of the device below it.
    pub peer: Option<u32>,
    /// Its alias (`ip link set alias`): it stays when the device gets another name. Empty when it has none.
    pub alias: String,
    /// What the host's own IP stack makes of it.
    pub host_stack: HostStack,
}

impl Link {
    fn of(message: &LinkMessage) -> Link {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            kind: String::new(),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            enslaved: false,
            peer: None,
            alias: String::new(),
            host_stack: HostStack { arp: !message.header.flags.contains(LinkFlags::Noarp), rp_filter: 0 },
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::Controller(index) => link.enslaved = *index != 0,
                LinkAttribute::AfSpecUnspec(specs) => {
                    link.host_stack.rp_filter = specs.iter().find_map(rp_filter).unwrap_or(0);
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = kind.to_string();
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}

fn default_route(link: &Link, gateway: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(link.index).build()
}

/// Whether the kernel answered with that error.
fn is(error: &rtnetlink::Error, code: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -code)
}

fn rp_filter(spec: &AfSpecUnspec) -> Option<i32> {
    let AfSpecUnspec::Inet(specs) = spec else { return None };
    specs.iter().find_map(|spec| match spec {
        AfSpecInet::DevConf(conf) => Some(conf.rp_filter),
        _ => None,
    })
}

/// The attribute that sets it. The library's own leaves zeros out.
fn set_rp_filter(value: i32) -> LinkAttribute {
    // include/uapi/linux/if_link.h, include/uapi/linux/ip.h
    const IFLA_INET_CONF: u16 = 1;
    const IPV4_DEVCONF_RP_FILTER: u16 = 8;
    let setting = DefaultNla::new(IPV4_DEVCONF_RP_FILTER, value.to_ne_bytes().to_vec());
    let mut settings = vec![0; setting.buffer_len()];
    setting.emit(&mut settings);
    let conf = AfSpecInet::Other(DefaultNla::new(IFLA_INET_CONF | NLA_F_NESTED, settings));
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![conf])])
}

/// A connection to the kernel's rtnetlink of the namespace that it was opened in. It may be used from any thread.
#[derive(Debug)]
pub struct Links {
    runtime: Runtime,
    handle: Handle,
}

impl Links {
    /// Connects to the calling thread's namespace.
    ///
    /// # Errors
    /// The system's error.
    pub fn open() -> Result<Links, LinkError> {
        let cannot = |source| LinkError { action: "open a netlink socket".into(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(cannot)?;
        let (connection, handle, _) = {
            let _entered = runtime.enter();
            rtnetlink::new_connection().map_err(cannot)?
        };
        runtime.spawn(connection);
        Ok(Links { runtime, handle })
    }

    /// The device of that name, if there is one.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn find(&self, name: &str) -> Result<Option<Link>, LinkError> {
        let mut answers = self.handle.link().get().match_name(name).execute();
        match self.runtime.block_on(answers.try_next()) {
            Ok(message) => Ok(message.as_ref().map(Link::of)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(LinkError::new(format!("look for the interface {name}"), error)),
        }
    }

    /// All devices.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn all(&self) -> Result<Vec<Link>, LinkError> {
        let list = self.handle.link().get().execute();
        let messages: Vec<_> = self
            .runtime
            .block_on(list.try_collect())
            .map_err(|error| LinkError::new("list the interfaces", error))?;
        Ok(messages.iter().map(Link::of).collect())
    }

    /// The device of that name.
    ///
    /// # Errors
    /// There is none, or the kernel's error.
    pub fn get(&self, name: &str) -> Result<Link, LinkError> {
        self.find(name)?.ok_or_else(|| LinkError {
            action: format!("find the interface {name}"),
            source: io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// Creates a veth pair: `host` here, `peer` in the namespace `there`.
    ///
    /// # Errors
    /// The kernel's error; `host` or `peer` is taken.
    pub fn create_veth(&self, host: &str, peer: &str, there: &Netns) -> Result<(), LinkError> {
        let far = LinkMessageBuilder::<LinkUnspec>::new().name(peer).setns_by_fd(there.as_raw_fd()).build();
        let message = LinkVeth::new(host, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(far))).build();
        let request = self.handle.link().add(message);
        self.runtime
            .block_on(request.execute())
            .map_err(|error| LinkError::new(format!("create the veth pair {host}"), error))
    }

    /// Creates a bridge of the kernel's, for labs: pontoon itself never asks for one.
    ///
    /// # Errors
    /// The kernel's error; the name is taken, or the kernel has no bridges.
    pub fn create_bridge(&self, name: &str) -> Result<(), LinkError> {
        let request = self.handle.link().add(LinkBridge::new(name).build());
        self.runtime
            .block_on(request.execute())
            .map_err(|error| LinkError::new(format!("create the bridge {name}"), error))
    }

    /// Makes a device a port of a bridge of the kernel's, for labs.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn enslave(&self, link: &Link, bridge: &Link) -> Result<(), LinkError> {
        let action = format!("put on the bridge {}", bridge.name);
        self.change(link, &action, |message| message.controller(bridge.index))
    }

    /// Deletes a device.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn delete(&self, link: &Link) -> Result<(), LinkError> {
        self.runtime
            .block_on(self.handle.link().del(link.index).execute())
            .map_err(|error| LinkError::new(format!("delete the interface {}", link.name), error))
    }

    /// Sets name, MAC and MTU of a device that is down. The name that it had becomes its alias, by which it is found
    /// again whatever becomes of the rest.
    ///
    /// # Errors
    /// The kernel's error; the name is taken.
    pub fn dress(&self, link: &Link, name: &str, mac: MacAddr, mtu: u16) -> Result<(), LinkError> {
        self.dress_as(link, &link.name, mac, mtu)?;
        self.rename(link, name)
    }

    /// Sets alias, MAC and MTU of a device.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn dress_as(&self, link: &Link, alias: &str, mac: MacAddr, mtu: u16) -> Result<(), LinkError> {
        let alias = LinkAttribute::IfAlias(alias.to_owned());
        self.change(link, "set the MAC of", |message| {
            message.address(mac.0.to_vec()).append_extra_attribute(alias)
        })?;
        self.set_mtu(link, mtu)
    }

    /// Gives a device that is down another name.
    ///
    /// # Errors
    /// The kernel's error; the name is taken.
    pub fn rename(&self, link: &Link, name: &str) -> Result<(), LinkError> {
        self.change(link, &format!("rename to {name}"), |message| message.name(name))
    }

    /// Sets the MTU of a device.
    ///
    /// # Errors
    /// The kernel's error; the device cannot carry that much.
    pub fn set_mtu(&self, link: &Link, mtu: u16) -> Result<(), LinkError> {
        self.change(link, "set the MTU of", |message| message.mtu(u32::from(mtu)))
    }

    /// Brings a device up or takes it down.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_up(&self, link: &Link, up: bool) -> Result<(), LinkError> {
        if up {
            self.change(link, "bring up", LinkMessageBuilder::up)
        } else {
            self.change(link, "take down", LinkMessageBuilder::down)
        }
    }

    /// Moves a device to another namespace. It loses its addresses and goes down.
    ///
    /// # Errors
    /// The kernel's error; the name is taken there.
    pub fn move_to(&self, link: &Link, there: &Netns) -> Result<(), LinkError> {
        self.change(link, "move to the sandbox", |message| message.setns_by_fd(there.as_raw_fd()))
    }

    /// Keeps the host's own IP stack off a device that is only a port: no ARP, no source address accepted, no IPv6 address.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn keep_host_off(&self, link: &Link) -> Result<(), LinkError> {
        // No route leaves by this device, so the reverse-path filter refuses every IPv4 source.
        self.set_host_stack(link, HostStack::KEPT_OFF)?;
        self.keep_ipv6_off(link)
    }

    /// Sets what the host's own IP stack makes of a device.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_host_stack(&self, link: &Link, to: HostStack) -> Result<(), LinkError> {
        self.change(link, "set what the host's IP stack does on", |message| {
            message.arp(to.arp).append_extra_attribute(set_rp_filter(to.rp_filter))
        })
    }

    /// Keeps the host from giving a device an IPv6 address of its own accord: nothing of IPv6 is ever sent by it.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn keep_ipv6_off(&self, link: &Link) -> Result<(), LinkError> {
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let ipv6 = self.change(link, "keep IPv6 off", |message| {
            let spec = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]);
            message.append_extra_attribute(spec)
        });
        // A kernel without IPv6 has nothing to keep off.
        ipv6.or_else(|error| match error.source.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => Ok(()),
            _ => Err(error),
        })
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn add_address(&self, link: &Link, address: IpAddr, prefix_len: u8) -> Result<(), LinkError> {
        self.runtime.block_on(self.handle.address().add(link.index, address, prefix_len).execute()).map_err(
            |error| LinkError::new(format!("give {} the address {address}/{prefix_len}", link.name), error),
        )
    }

    /// The addresses of a device.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn addresses(&self, link: &Link) -> Result<Vec<IpAddr>, LinkError> {
        let list = self.handle.address().get().set_link_index_filter(link.index).execute();
        let messages: Vec<_> = self
            .runtime
            .block_on(list.try_collect())
            .map_err(|error| LinkError::new(format!("list the addresses of {}", link.name), error))?;
        let address = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        };
        Ok(messages.iter().flat_map(|message| message.attributes.iter().find_map(address)).collect())
    }

    /// Routes everything that has no better route over `gateway`. Leaves an existing default route alone: its owner may mean it.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn add_default_route(&self, link: &Link, gateway: Ipv4Addr) -> Result<(), LinkError> {
        let done = self.runtime.block_on(self.handle.route().add(default_route(link, gateway)).execute());
        let error = |error| LinkError::new(format!("add a default route via {gateway}"), error);
        done.or_else(|refused| if is(&refused, libc::EEXIST) { Ok(()) } else { Err(error(refused)) })
    }

    /// Has connections that go out by the default route over `gateway` use a congestion control, whatever the namespace's own is: that
    /// one can be set in the machine's first namespace alone, unless `tcp_allowed_congestion_control` names it.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_default_congestion(
        &self,
        link: &Link,
        gateway: Ipv4Addr,
        congestion: &str,
    ) -> Result<(), LinkError> {
        let mut route = default_route(link, gateway);
        route.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::CcAlgo(congestion.to_owned())]));
        let done = self.runtime.block_on(self.handle.route().add(route).replace().execute());
        done.map_err(|error| {
            LinkError::new(format!("have connections by {} use {congestion}", link.name), error)
        })
    }

    /// Takes the default route over `gateway` by that device away, if it is there.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn remove_default_route(&self, link: &Link, gateway: Ipv4Addr) -> Result<(), LinkError> {
        let done = self.runtime.block_on(self.handle.route().del(default_route(link, gateway)).execute());
        let error = |error| LinkError::new(format!("remove the default route via {gateway}"), error);
        done.or_else(|refused| if is(&refused, libc::ESRCH) { Ok(()) } else { Err(error(refused)) })
    }

    fn change(
        &self,
        link: &Link,
        action: &str,
        set: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), LinkError> {
        let message = set(LinkUnspec::new_with_index(link.index)).build();
        self.runtime
            .block_on(self.handle.link().change(message).execute())
            .map_err(|error| LinkError::new(format!("{action} the interface {}", link.name), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_sent_as_it_is_read() {
        for value in [0, 1, 2] {
            let LinkAttribute::AfSpecUnspec(specs) = set_rp_filter(value) else {
                panic!("another attribute")
            };
            let [AfSpecUnspec::Inet(specs)] = specs.as_slice() else { panic!("{specs:?}") };
            let mut bytes = vec![0; 12];
            specs[0].emit(&mut bytes);
            let expected = [
                &12u16.to_ne_bytes()[..],
                &0x8001u16.to_ne_bytes(),
                &8u16.to_ne_bytes(),
                &8u16.to_ne_bytes(),
            ];
            assert_eq!(bytes, [&expected.concat()[..], &value.to_ne_bytes()].concat());
        }
    }

    #[test]
    fn looks_devices_up() {
        let links = Links::open().unwrap();
        let lo = links.get("lo").unwrap();
        assert!(lo.loopback);
        assert!(links.all().unwrap().contains(&lo));
        assert_eq!(links.find("no-such-dev").unwrap(), None);
        let error = links.get("no-such-dev").unwrap_err().to_string();
        assert!(error.starts_with("cannot find the interface no-such-dev: "), "{error}");
    }
}
