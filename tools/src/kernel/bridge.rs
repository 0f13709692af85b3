//! The kernel's bridge: what `ip link` and `bridge` can set, as far as pontoon has a counterpart.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::TryStreamExt;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::PortSettings;
use rtnetlink::packet_route::link::{
    BridgePortState, InfoBridge, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use super::Kernel;
use crate::lab::LabError;

/// Whether a static entry of the kernel's table follows its station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// It does, as soon as a frame of the station comes in by another port: what `bridge fdb add … static` makes.
    Yes,
    /// It does not (`sticky`).
    No,
}

impl Kernel {
    /// Makes a bridge that is nothing but a bridge: no IGMP and MLD snooping, no spanning tree.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn create_plain_bridge(&self, name: &str, mac: MacAddr, ageing: Duration) -> Result<(), LabError> {
        let message = LinkBridge::new(name)
            .address(mac.0.to_vec())
            .mcast_snooping(false)
            .ageing_time(centiseconds(ageing)?)
            .build();
        Ok(self.runtime.block_on(self.handle.link().add(message).execute())?)
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn enslave(&self, port: u32, bridge: u32) -> Result<(), LabError> {
        let message = LinkUnspec::new_with_index(port).controller(bridge).build();
        Ok(self.runtime.block_on(self.handle.link().set(message).execute())?)
    }

    /// Sets how long the bridge keeps what it has learned.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_ageing(&self, bridge: u32, ageing: Duration) -> Result<(), LabError> {
        self.change_bridge(bridge, InfoBridge::AgeingTime(centiseconds(ageing)?))
    }

    /// Forgets what the bridge has learned.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn flush_fdb(&self, bridge: u32) -> Result<(), LabError> {
        self.change_bridge(bridge, InfoBridge::FdbFlush)
    }

    fn change_bridge(&self, bridge: u32, what: InfoBridge) -> Result<(), LabError> {
        let change = LinkMessageBuilder::<LinkBridge>::new_with_info_kind(InfoKind::Bridge);
        let message = change.index(bridge).append_info_data(what).build();
        Ok(self.runtime.block_on(self.handle.link().set_port(message).execute())?)
    }

    /// Gives a port of a bridge the settings that pontoon's ports have, all but the guard.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_bridge_port(&self, port: u32, settings: PortSettings) -> Result<(), LabError> {
        let message = LinkBridgePort::new(port)
            .learning(settings.learning)
            .flood(settings.flood)
            .hairpin(settings.hairpin)
            .append_info_data(InfoBridgePort::Isolated(settings.isolated))
            .build();
        Ok(self.runtime.block_on(self.handle.link().set_port(message).execute())?)
    }

    /// Whether a port of a bridge takes part in forwarding.
    ///
    /// # Errors
    /// The kernel's error, or no port of a bridge.
    pub fn forwards(&self, port: u32) -> Result<bool, LabError> {
        let infos = self.link(port)?.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
        let state = infos.unwrap_or_default().into_iter().find_map(|info| match info {
            LinkInfo::PortData(InfoPortData::BridgePort(data)) => data.into_iter().find_map(|it| match it {
                InfoBridgePort::State(state) => Some(state),
                _ => None,
            }),
            _ => None,
        });
        Ok(state.ok_or("the interface is no port of a bridge")? == BridgePortState::Forwarding)
    }

    /// Whether an interface is up, its other end too, and the kernel has taken note of that.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn is_running(&self, index: u32) -> Result<bool, LabError> {
        Ok(self.link(index)?.header.flags.contains(LinkFlags::Running))
    }

    fn link(&self, index: u32) -> Result<LinkMessage, LabError> {
        let mut answers = self.handle.link().get().match_index(index).execute();
        Ok(self.runtime.block_on(answers.try_next())?.ok_or("the interface has vanished")?)
    }

    /// Tells the kernel the MAC of a neighbour for good: nobody is asked.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn add_neighbour(&self, index: u32, address: Ipv4Addr, mac: MacAddr) -> Result<(), LabError> {
        let request = self.handle.neighbours().add(index, address.into()).link_layer_address(&mac.0);
        Ok(self.runtime.block_on(request.replace().execute())?)
    }

    /// Adds a static entry to the table of the bridge that `port` belongs to.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn add_static(&self, port: u32, mac: MacAddr, moves: Moves) -> Result<(), LabError> {
        let sticky = if moves == Moves::No { NeighbourFlags::Sticky } else { NeighbourFlags::empty() };
        let request = self.handle.neighbours().add_bridge(port, &mac.0).replace();
        let request = request.flags(NeighbourFlags::Controller | sticky).state(NeighbourState::Noarp);
        Ok(self.runtime.block_on(request.execute())?)
    }

    /// Removes an entry from the table of the bridge that `port` belongs to. Returns whether it was there.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn remove_entry(&self, port: u32, mac: MacAddr) -> Result<bool, LabError> {
        let mut request = self.handle.neighbours().add_bridge(port, &mac.0).flags(NeighbourFlags::Controller);
        let message = request.message_mut().clone();
        match self.runtime.block_on(self.handle.neighbours().del(message).execute()) {
            Ok(()) => Ok(true),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The kernel counts ageing in hundredths of a second.
fn centiseconds(duration: Duration) -> Result<u32, LabError> {
    Ok(u32::try_from(duration.as_millis() / 10)?)
}
