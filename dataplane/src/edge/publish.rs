//! Published ports, found by address and port.
//!
//! Bound: one entry for each publication of the snapshot, a range being one; made anew with each snapshot that changes them.
//! A look-up is two binary searches: no two publications hold the same port of the same address.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::config::Publication;
use super::tuple::Protocol;

/// What publications are sorted by: the address (0.0.0.0 for every address), the protocol, the first port.
type Order = (Ipv4Addr, Protocol, u16);

/// The index.
#[derive(Debug, Default)]
pub(super) struct Published {
    sorted: Vec<(Order, Arc<Publication>)>,
}

impl Published {
    pub(super) fn new(publications: &[Arc<Publication>]) -> Self {
        let mut sorted: Vec<_> = publications.iter().map(|it| (order(it), Arc::clone(it))).collect();
        sorted.sort_unstable_by_key(|(order, _)| *order);
        Self { sorted }
    }

    /// The publication that a packet to this address and port of the host is for; one of the address alone comes first.
    pub(super) fn find(&self, address: Ipv4Addr, protocol: Protocol, port: u16) -> Option<&Arc<Publication>> {
        if self.sorted.is_empty() {
            return None;
        }
        [address, Ipv4Addr::UNSPECIFIED].into_iter().find_map(|stands_on| {
            let behind = self.sorted.partition_point(|(order, _)| *order <= (stands_on, protocol, port));
            let (order, publication) = self.sorted.get(behind.checked_sub(1)?)?;
            (order.0 == stands_on && publication.matches(address, protocol, port)).then_some(publication)
        })
    }

    /// Whether there still is this publication, unchanged.
    fn has(&self, publication: &Publication) -> bool {
        let place = self.sorted.binary_search_by_key(&order(publication), |(order, _)| *order);
        place.ok().and_then(|index| self.sorted.get(index)).is_some_and(|(_, it)| is_same(it, publication))
    }

    /// The numbers, in ascending order, of those among `others` that are not here, or not as they were.
    pub(super) fn missing_from(&self, others: &Published) -> Vec<u32> {
        let gone = others.sorted.iter().filter(|(_, publication)| !self.has(publication));
        let mut numbers: Vec<u32> = gone.map(|(_, publication)| publication.id).collect();
        numbers.sort_unstable();
        numbers
    }
}

fn order(publication: &Publication) -> Order {
    (publication.address.unwrap_or(Ipv4Addr::UNSPECIFIED), publication.protocol, publication.ports.0)
}

/// Whether sessions of one are sessions of the other; rules are looked at apart from that.
fn is_same(one: &Publication, other: &Publication) -> bool {
    let key = |it: &Publication| {
        (it.id, it.address, it.protocol, it.ports, it.network, it.endpoint, it.to_address, it.to_port)
    };
    key(one) == key(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NetworkId, PortId};

    const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    fn publication(
        id: u32,
        address: Option<Ipv4Addr>,
        protocol: Protocol,
        ports: (u16, u16),
    ) -> Arc<Publication> {
        Arc::new(Publication {
            id,
            address,
            protocol,
            ports,
            network: NetworkId(0),
            endpoint: PortId(2),
            to_address: Ipv4Addr::new(10, 0, 0, 2),
            to_port: 8000,
            rules: Arc::default(),
        })
    }

    #[test]
    fn address_protocol_and_port_must_all_fit() {
        let other = Ipv4Addr::new(198, 51, 100, 3);
        let published = Published::new(&[
            publication(1, Some(HOST), Protocol::Tcp, (80, 80)),
            publication(2, Some(other), Protocol::Tcp, (80, 89)),
            publication(3, None, Protocol::Tcp, (90, 99)),
            publication(4, None, Protocol::Udp, (80, 80)),
            publication(5, None, Protocol::Tcp, (85, 86)),
        ]);
        let find = |address, protocol, port| published.find(address, protocol, port).map(|it| it.id);
        assert_eq!(find(HOST, Protocol::Tcp, 80), Some(1));
        assert_eq!(find(HOST, Protocol::Tcp, 81), None);
        assert_eq!(find(other, Protocol::Tcp, 80), Some(2));
        assert_eq!(find(other, Protocol::Tcp, 86), Some(2), "an address of its own comes first");
        assert_eq!(find(HOST, Protocol::Tcp, 86), Some(5));
        assert_eq!(find(HOST, Protocol::Tcp, 90), Some(3));
        assert_eq!(find(other, Protocol::Tcp, 99), Some(3));
        assert_eq!(find(HOST, Protocol::Tcp, 100), None);
        assert_eq!(find(HOST, Protocol::Udp, 80), Some(4));
        assert_eq!(find(HOST, Protocol::Udp, 81), None);
        assert_eq!(published.find(HOST, Protocol::Tcp, 95).unwrap().target_port(95), 8005);
    }

    #[test]
    fn what_is_gone_or_changed_is_told_whatever_the_order() {
        let (one, two) = (
            publication(1, None, Protocol::Tcp, (80, 80)),
            publication(2, Some(HOST), Protocol::Udp, (80, 80)),
        );
        let before = Published::new(&[Arc::clone(&one), Arc::clone(&two)]);
        let missing = |after: &[Arc<Publication>]| Published::new(after).missing_from(&before);
        assert_eq!(missing(&[Arc::clone(&two), Arc::clone(&one)]), []);
        assert_eq!(missing(&[]), [1, 2]);
        let moved = Arc::new(Publication { to_port: 1, ..Publication::clone(&one) });
        assert_eq!(missing(&[moved, two]), [1]);
    }
}
