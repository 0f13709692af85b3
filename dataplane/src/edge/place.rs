//! Where an address is: the host's own, one of the networks', or outside.
//!
//! Bound: one entry for each network; made anew with each snapshot. A look-up is a binary search, for subnets never overlap.

use std::net::Ipv4Addr;

use crate::network::{Gateway, NetworkId, Snapshot};

#[derive(Debug)]
struct Subnet {
    first: u32,
    gateway: Gateway,
    network: NetworkId,
}

/// The subnets of all networks.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By first address.
    subnets: Vec<Subnet>,
}

/// A network's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) network: NetworkId,
    /// It is the gateway's.
    pub(super) is_gateway: bool,
}

impl Places {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let networks = snapshot.networks.iter().flatten();
        let mut subnets: Vec<Subnet> = networks
            .filter_map(|network| {
                let gateway = network.gateway?;
                Some(Subnet { first: u32::from(gateway.first_address()), gateway, network: network.id })
            })
            .collect();
        subnets.sort_unstable_by_key(|subnet| subnet.first);
        Self { subnets }
    }

    /// The network that `address` is of, if it is one's.
    pub(super) fn find(&self, address: Ipv4Addr) -> Option<Inside> {
        let behind = self.subnets.partition_point(|subnet| subnet.first <= u32::from(address));
        let subnet = self.subnets.get(behind.checked_sub(1)?)?;
        subnet
            .gateway
            .contains(address)
            .then(|| Inside { network: subnet.network, is_gateway: subnet.gateway.address == address })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::Network;
    use crate::testing::{NETWORK, snapshot};

    #[test]
    fn an_address_is_found_in_its_subnet_and_nowhere_else() {
        let mut snapshot = snapshot(vec![]);
        let mut second = Network::clone(snapshot.networks[0].as_ref().unwrap());
        second.id = NetworkId(1);
        second.gateway =
            second.gateway.map(|it| Gateway { address: Ipv4Addr::new(10, 1, 0, 254), prefix_len: 25, ..it });
        snapshot.networks.push(Some(Arc::new(second)));
        let places = Places::new(&snapshot);
        let find = |d: [u8; 4]| places.find(d.into()).map(|it| (it.network, it.is_gateway));
        assert_eq!(find([10, 0, 0, 1]), Some((NETWORK, true)));
        assert_eq!(find([10, 0, 0, 255]), Some((NETWORK, false)));
        assert_eq!(find([10, 0, 1, 0]), None);
        assert_eq!(find([9, 255, 255, 255]), None);
        assert_eq!(find([10, 1, 0, 127]), None);
        assert_eq!(find([10, 1, 0, 128]), Some((NetworkId(1), false)));
        assert_eq!(find([10, 1, 0, 254]), Some((NetworkId(1), true)));
    }
}
