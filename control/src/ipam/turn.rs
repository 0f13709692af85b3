//! Whose turn it is: which free address of a subnet is handed out next.
//!
//! Whoever spoke to an address a moment ago (a neighbour's ARP table, a client's pool of connections, a name that is still cached) must
//! not meet somebody else there. So an address is not handed out again while others are free: those never used come first, then
//! those that were released, the longest ago first.
//!
//! To remember that of every address would take a record for each of up to sixteen million. Two things of bounded size do it instead,
//! both in the store, so that a restart changes nothing:
//!
//! * the **cursor**, the last address that was chosen: the search goes on behind it and begins again at the end (next fit), as in Docker's
//!   own IPAM. By itself it would hand an address out again at once that was released just before the cursor, or that somebody had asked for by
//!   name in front of it. For this there are
//! * the **resting** addresses, the last [`RESTING`] that were released, with their order: the search passes them over. When nothing else is
//!   free, the one that has rested longest is taken.
//!
//! In a subnet of up to [`RESTING`] addresses that is exact. In a larger one, an address whose release lies further back than that may come
//! while the cursor has not been around: by then it has rested for as many releases.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// How many released addresses of a subnet are remembered: more than the endpoints of most networks, in a few kilobytes.
pub const RESTING: usize = 1024;

/// What is remembered of a subnet's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The address that was chosen last.
    pub cursor: Option<Ipv4Addr>,
    /// Addresses that were released lately, each with its place in the order of releases.
    pub resting: BTreeMap<Ipv4Addr, u64>,
}

impl Memory {
    /// The next address of a host in `subnet` and, if there is one, in `range`, of those that are `free`.
    pub fn next(
        &self,
        subnet: Ipv4Net,
        range: Option<Ipv4Net>,
        free: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let (first, last) = hosts(subnet, range);
        let after = self.cursor.map_or(first, |cursor| u32::from(cursor).saturating_add(1));
        let start = if (first..=last).contains(&after) { after } else { first };
        let rested = |address: &Ipv4Addr| free(*address) && !self.resting.contains_key(address);
        let mut in_turn = (start..=last).chain(first..start).map(Ipv4Addr::from);
        in_turn.find(rested).or_else(|| {
            let here = |address: &Ipv4Addr| (first..=last).contains(&u32::from(*address)) && free(*address);
            let resting = self.resting.iter().filter(|(address, _)| here(address));
            resting.min_by_key(|(_, order)| **order).map(|(address, _)| *address)
        })
    }

    /// The place in the order of releases that the next one gets.
    pub fn next_order(&self) -> u64 {
        self.resting.values().max().map_or(0, |last| last + 1)
    }

    /// The one that has rested longest, once there are as many as are remembered.
    pub fn forgotten(&self) -> Option<(Ipv4Addr, u64)> {
        let oldest = || self.resting.iter().min_by_key(|(_, order)| **order);
        let oldest = if self.resting.len() < RESTING { None } else { oldest() };
        oldest.map(|(address, order)| (*address, *order))
    }
}

/// The first and last address of hosts in the subnet and the range. A range may be a single address.
fn hosts(subnet: Ipv4Net, range: Option<Ipv4Net>) -> (u32, u32) {
    let range = range.unwrap_or(subnet);
    let first = u32::from(range.network()).max(u32::from(subnet.network()) + 1);
    let last = u32::from(range.broadcast()).min(u32::from(subnet.broadcast()) - 1);
    (first, last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A subnet of fourteen hosts, and who remembers it. Restarts are not seen here: all that is remembered is in the store.
    #[derive(Default)]
    struct Model {
        memory: Memory,
        used: BTreeSet<Ipv4Addr>,
        /// When each address was released; those never used have no place.
        released: BTreeMap<Ipv4Addr, u64>,
        clock: u64,
    }

    const SUBNET: &str = "10.0.0.0/28";

    impl Model {
        fn choose(&mut self) -> Option<Ipv4Addr> {
            let used = self.used.clone();
            let chosen =
                self.memory.next(SUBNET.parse().unwrap(), None, |address| !used.contains(&address))?;
            self.memory.cursor = Some(chosen);
            self.take(chosen);
            Some(chosen)
        }

        fn take(&mut self, address: Ipv4Addr) {
            self.memory.resting.remove(&address);
            assert!(self.used.insert(address), "{address} was handed out twice");
        }

        fn release(&mut self, address: Ipv4Addr) {
            if self.used.remove(&address) {
                self.clock += 1;
                self.released.insert(address, self.clock);
                let order = self.memory.next_order();
                self.memory.resting.insert(address, order);
            }
        }

        fn free(&self) -> Vec<Ipv4Addr> {
            let subnet: Ipv4Net = SUBNET.parse().unwrap();
            subnet.hosts().filter(|it| !self.used.contains(it)).collect()
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_an_address_again_while_others_rested_longer(
            moves in prop::collection::vec((0u8..4, 1u8..15), 1..200)
        ) {
            let mut model = Model::default();
            for (what, host) in moves {
                let named = Ipv4Addr::new(10, 0, 0, host);
                match what {
                    0 => model.release(named),
                    1 if !model.used.contains(&named) => model.take(named),
                    _ => {
                        let rest = |address: &Ipv4Addr| model.released.get(address).copied().unwrap_or(0);
                        let longest = model.free().iter().map(rest).min();
                        let before = model.released.clone();
                        let chosen = model.choose();
                        let rested = chosen.map(|it| before.get(&it).copied().unwrap_or(0));
                        prop_assert_eq!(rested, longest, "{:?} was chosen", chosen);
                    }
                }
            }
        }
    }

    #[test]
    fn the_cursor_goes_around_and_only_the_last_releases_rest() {
        let subnet: Ipv4Net = "10.0.0.0/16".parse().unwrap();
        let mut memory = Memory { cursor: Some([10, 0, 255, 253].into()), ..Memory::default() };
        let next = |memory: &Memory| memory.next(subnet, None, |_| true).unwrap();
        assert_eq!(next(&memory), Ipv4Addr::new(10, 0, 255, 254));
        memory.cursor = Some([10, 0, 255, 254].into());
        assert_eq!(next(&memory), Ipv4Addr::new(10, 0, 0, 1), "neither the subnet's own nor broadcast");
        memory.resting = (0..RESTING as u64)
            .map(|order| (Ipv4Addr::from(u32::from(subnet.network()) + 1 + order as u32), order))
            .collect();
        assert_eq!(next(&memory), Ipv4Addr::new(10, 0, 4, 1));
        assert_eq!(memory.forgotten(), Some(([10, 0, 0, 1].into(), 0)));
        memory.resting.remove(&Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((memory.forgotten(), memory.next_order()), (None, RESTING as u64));
    }

    #[test]
    fn a_range_may_be_one_address_and_end_with_the_subnet() {
        let subnet: Ipv4Net = "10.0.0.0/24".parse().unwrap();
        let next = |range: &str, used: &[u8]| {
            let free = |address: Ipv4Addr| !used.contains(&address.octets()[3]);
            let memory = Memory { cursor: Some([10, 0, 0, 77].into()), ..Memory::default() };
            memory.next(subnet, Some(range.parse().unwrap()), free).map(|address| address.octets()[3])
        };
        assert_eq!((next("10.0.0.9/32", &[]), next("10.0.0.9/32", &[9])), (Some(9), None));
        assert_eq!((next("10.0.0.0/30", &[1]), next("10.0.0.252/30", &[252, 253])), (Some(2), Some(254)));
        assert_eq!(next("10.0.0.255/32", &[]), None);
    }
}
