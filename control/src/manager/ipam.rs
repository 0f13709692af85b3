//! Pools and addresses apart from networks and endpoints, for those who manage addresses before there is anything to have them: Docker asks
//! for a pool before it creates a network, and for an address before it creates an endpoint.
//!
//! Whoever asks may not have heard the answer, and asks again: each of these does nothing the second time and answers the same.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::Manager;
use crate::choose::with_prefix;
use crate::error::Error;
use crate::plan::{self, Step};
use crate::state::{Holder, State};
use crate::store::{Change, LeaseRecord, PoolRecord, Record};
use crate::{clock, ipam};

/// A pool: a subnet that addresses can be leased from, whether a network is on it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The subnet, which names the pool.
    pub subnet: Ipv4Net,
    /// The part of it that addresses are chosen from; all of it when none.
    pub range: Option<Ipv4Net>,
    /// The network on it.
    pub network: Option<String>,
    /// Its leases by address.
    pub leases: Vec<Lease>,
}

/// An address that somebody has leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it, as far as that was said.
    pub owner: Option<String>,
}

impl Manager {
    /// A pool for a network to come: `subnet`, or the first of Docker's default ones that overlaps no network, no pool and nothing of the
    /// host. Addresses are chosen from `range`. A pool that is there and has no network yet is given again to whoever names it.
    ///
    /// # Errors
    /// The subnet or range cannot be, or overlaps another one.
    pub fn request_pool(&self, subnet: Option<IpNet>, range: Option<IpNet>) -> Result<Pool, Error> {
        let _turn = self.turn();
        let in_use = if subnet.is_none() { self.world.subnets_in_use()? } else { Vec::new() };
        let record = {
            let state = self.state();
            if subnet.is_none() && range.is_some() {
                return Err(Error::Declaration("a range needs a subnet that it is in; give it too".into()));
            }
            match subnet {
                None => {
                    let taken = state.subnets().map(|(_, subnet)| subnet).chain(in_use);
                    PoolRecord { subnet: ipam::free_subnet(taken)?, range: None, created: clock::now() }
                }
                Some(subnet) => match again(&state, subnet, range)? {
                    Some(there) => return Ok(there),
                    None => {
                        let subnet = ipam::check_subnet(subnet, state.subnets())?;
                        let range = range.map(|range| ipam::check_range(subnet, range)).transpose()?;
                        PoolRecord { subnet, range, created: clock::now() }
                    }
                },
            }
        };
        let subnet = record.subnet;
        self.change(&[Step::Store(vec![Change::Add(Record::Pool(record))])])
            .map_err(|error| error.during(format!("keep the pool {subnet}")))?;
        self.pool(subnet)
    }

    /// Gives a pool back, with all of its leases. One that is not there is given back already.
    ///
    /// # Errors
    /// The store failed.
    pub fn release_pool(&self, subnet: Ipv4Net) -> Result<(), Error> {
        let _turn = self.turn();
        let changes = plan::ipam::release_pool(&self.state(), subnet);
        self.store_all(changes, || format!("release the pool {subnet}"))
    }

    /// An address of a pool for `owner`: the one `wanted`, or the next one that is free; with the subnet's prefix length. Who asks again under
    /// the same name gets the same one.
    ///
    /// # Errors
    /// There is no such pool, the address cannot be or is somebody else's, or none is left.
    pub fn request_address(
        &self,
        subnet: Ipv4Net,
        wanted: Option<IpAddr>,
        owner: Option<&str>,
    ) -> Result<IpNet, Error> {
        let _turn = self.turn();
        let (address, changes) = {
            let state = self.state();
            match leased(&state, subnet, wanted, owner)? {
                Some(address) => (address, Vec::new()),
                None => {
                    let address = unleased(&state, subnet, wanted)?;
                    let lease = LeaseRecord { subnet, address, owner: owner.map(str::to_owned) };
                    (address, plan::ipam::lease(&state, lease, wanted.is_none()))
                }
            }
        };
        self.store_all(changes, || format!("lease {address}"))?;
        Ok(with_prefix(subnet, address))
    }

    /// Gives an address of a pool back. One that nobody has leased is given back already.
    ///
    /// # Errors
    /// The store failed.
    pub fn release_address(&self, subnet: Ipv4Net, address: IpAddr) -> Result<(), Error> {
        let _turn = self.turn();
        let changes = {
            let state = self.state();
            let lease = match address {
                IpAddr::V4(address) => state.pools.get(&subnet).and_then(|pool| pool.leases.get(&address)),
                IpAddr::V6(_) => None,
            };
            lease.map(|lease| plan::ipam::end_lease(&state, lease)).unwrap_or_default()
        };
        self.store_all(changes, || format!("release {address}"))
    }

    /// All pools by subnet.
    pub fn pools(&self) -> Vec<Pool> {
        let state = self.state();
        state.pools.keys().filter_map(|subnet| view(&state, *subnet)).collect()
    }

    /// One pool.
    ///
    /// # Errors
    /// There is none of that subnet.
    pub fn pool(&self, subnet: Ipv4Net) -> Result<Pool, Error> {
        view(&self.state(), subnet).ok_or_else(|| missing(subnet))
    }

    fn store_all(&self, changes: Vec<Change>, what: impl FnOnce() -> String) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        self.change(&[Step::Store(changes)]).map_err(|error| error.during(what()))
    }
}

fn missing(subnet: Ipv4Net) -> Error {
    Error::NoPool(subnet)
}

fn view(state: &State, subnet: Ipv4Net) -> Option<Pool> {
    let pool = state.pools.get(&subnet)?;
    let lease = |it: &LeaseRecord| Lease { address: it.address, owner: it.owner.clone() };
    Some(Pool {
        subnet,
        range: pool.record.range,
        network: state.network_on(subnet).map(|it| it.record.name.clone()),
        leases: pool.leases.values().map(lease).collect(),
    })
}

/// The pool that is asked for again, if it is there and waits for its network.
fn again(state: &State, subnet: IpNet, range: Option<IpNet>) -> Result<Option<Pool>, Error> {
    let IpNet::V4(subnet) = subnet else { return Ok(None) };
    let Some(there) = view(state, subnet).filter(|pool| pool.network.is_none()) else { return Ok(None) };
    if there.range.map(IpNet::V4) == range {
        return Ok(Some(there));
    }
    let range = there.range.unwrap_or(subnet);
    Err(Error::Conflict(format!(
        "the pool {subnet} is there already with the range {range}; release it first"
    )))
}

/// The address that the same owner has already.
fn leased(
    state: &State,
    subnet: Ipv4Net,
    wanted: Option<IpAddr>,
    owner: Option<&str>,
) -> Result<Option<Ipv4Addr>, Error> {
    let leases = &state.pools.get(&subnet).ok_or_else(|| missing(subnet))?.leases;
    let same = |it: &&LeaseRecord| it.owner.as_deref() == owner;
    let lease = match wanted {
        Some(IpAddr::V4(address)) => leases.get(&address).filter(same),
        Some(IpAddr::V6(_)) => None,
        None => owner.and_then(|_| leases.values().find(same)),
    };
    Ok(lease.map(|lease| lease.address))
}

/// An address that nobody has.
fn unleased(state: &State, subnet: Ipv4Net, wanted: Option<IpAddr>) -> Result<Ipv4Addr, Error> {
    let pool = state.pools.get(&subnet).ok_or_else(|| missing(subnet))?;
    let nobody = Default::default();
    let network = state.network_on(subnet).map(|network| network.record.space());
    let space = network.unwrap_or(ipam::Space { subnet, range: None, gateway: None, reserved: &nobody });
    let space = ipam::Space { range: pool.record.range, ..space };
    let holders = state.holders(subnet);
    let holder = |address| holders.get(&address).map(Holder::to_string);
    Ok(ipam::address(space, state.memory(subnet), holder, wanted)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{EndpointRequest, NetworkRequest};
    use crate::testing::{Lab, endpoint, network};

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ask(lab: &Lab, subnet: Option<&str>, range: Option<&str>) -> Result<String, String> {
        let parse = |text: &str| text.parse::<IpNet>().unwrap();
        let pool = lab.manager.request_pool(subnet.map(parse), range.map(parse));
        pool.map(|pool| pool.subnet.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn pools_come_before_networks_and_survive() {
        let mut lab = Lab::new(&[]);
        lab.create("red", "172.18.0.0/24");
        // The host has a route in 172.17.0.0/16, red is in 172.18.0.0/16.
        assert_eq!(ask(&lab, None, None).unwrap(), "172.19.0.0/16");
        assert_eq!(ask(&lab, None, None).unwrap(), "172.20.0.0/16");
        assert_eq!(ask(&lab, Some("10.9.0.0/16"), Some("10.9.1.0/24")).unwrap(), "10.9.0.0/16");
        // Those that nobody has an address of were asked for by somebody who never heard of them.
        for pool in lab.manager.pools() {
            lab.manager.request_address(pool.subnet, None, Some("gateway")).unwrap();
        }
        let pools = lab.manager.pools();
        lab = lab.restart(|_| ());
        assert_eq!(lab.manager.pools(), pools);
        // Again: the same, but for another range.
        assert_eq!(ask(&lab, Some("10.9.0.0/16"), Some("10.9.1.0/24")).unwrap(), "10.9.0.0/16");
        assert_eq!(lab.manager.pools(), pools);
        for (subnet, range, words) in [
            (Some("10.9.0.0/16"), None, "is there already with the range 10.9.1.0/24"),
            (Some("10.9.3.0/24"), None, "overlaps with 10.9.0.0/16 of the pool 10.9.0.0/16"),
            (Some("172.18.0.0/24"), None, "of the network red"),
            (Some("fd00::/64"), None, "IPv6"),
            (Some("10.10.0.0/24"), Some("10.11.0.0/24"), "not inside"),
            (None, Some("10.11.0.0/24"), "needs a subnet"),
        ] {
            let error = ask(&lab, subnet, range).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        // Networks keep out of pools, whether they choose or are told.
        let chosen = lab.manager.create_network(&NetworkRequest { name: "x".into(), ..Default::default() });
        assert_eq!(chosen.unwrap().subnet.to_string(), "172.21.0.0/16");
        let error = lab.manager.create_network(&network("y", "172.19.0.0/16")).unwrap_err().to_string();
        assert!(error.contains("overlaps with 172.19.0.0/16 of the pool 172.19.0.0/16"), "{error}");
        for subnet in ["172.19.0.0/16", "172.19.0.0/16", "10.77.0.0/16"] {
            lab.manager.release_pool(net(subnet)).unwrap();
        }
        assert_eq!(ask(&lab, None, None).unwrap(), "172.19.0.0/16");
    }

    #[test]
    fn whoever_asks_again_gets_the_same_address_and_nobody_else_does() {
        let lab = Lab::new(&[]);
        let subnet = net("10.9.0.0/24");
        ask(&lab, Some("10.9.0.0/24"), None).unwrap();
        let lease = |wanted: Option<[u8; 4]>, owner: Option<&str>| {
            let leased = lab.manager.request_address(subnet, wanted.map(IpAddr::from), owner);
            leased.map(|it| it.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(lease(None, Some("gateway")).unwrap(), "10.9.0.1/24");
        assert_eq!(lease(None, Some("a")).unwrap(), "10.9.0.2/24");
        assert_eq!(lease(None, Some("a")).unwrap(), "10.9.0.2/24");
        assert_eq!(lease(Some([10, 9, 0, 2]), Some("a")).unwrap(), "10.9.0.2/24");
        assert_eq!(lease(Some([10, 9, 0, 77]), None).unwrap(), "10.9.0.77/24");
        assert_eq!(lease(Some([10, 9, 0, 77]), None).unwrap(), "10.9.0.77/24");
        let error = lease(Some([10, 9, 0, 2]), Some("b")).unwrap_err();
        assert!(error.contains("in use by a, who has leased it"), "{error}");
        let error = lease(Some([10, 9, 0, 77]), Some("b")).unwrap_err();
        assert!(error.contains("in use by whoever has leased it"), "{error}");
        assert!(lease(Some([10, 8, 0, 2]), None).unwrap_err().contains("outside"));
        assert_eq!(lease(None, None).unwrap(), "10.9.0.3/24");
        assert_eq!(lease(None, None).unwrap(), "10.9.0.4/24", "who says no name is somebody else each time");
        assert_eq!(lab.manager.request_address(net("10.8.0.0/24"), None, None).unwrap_err().status(), 404);

        for _ in 0..2 {
            lab.manager.release_address(subnet, [10, 9, 0, 2].into()).unwrap();
        }
        lab.manager.release_address(net("10.8.0.0/24"), [10, 8, 0, 2].into()).unwrap();
        assert_eq!(lease(None, Some("b")).unwrap(), "10.9.0.5/24", "the address of a rests");
        assert_eq!(lab.manager.pool(subnet).unwrap().leases.len(), 5);
        lab.manager.release_pool(subnet).unwrap();
        assert_eq!(lab.manager.store.load().unwrap(), []);
    }

    #[test]
    fn leases_and_endpoints_of_one_subnet_keep_out_of_each_others_way() {
        let lab = Lab::new(&["a", "b", "c"]);
        let subnet = net("10.9.0.0/24");
        ask(&lab, Some("10.9.0.0/24"), Some("10.9.0.0/29")).unwrap();
        lab.manager.request_address(subnet, Some([10, 9, 0, 1].into()), Some("gateway")).unwrap();
        let made = NetworkRequest { pooled: true, ..network("red", "10.9.0.0/24") };
        lab.manager.create_network(&made).unwrap();
        assert_eq!(lab.manager.pool(subnet).unwrap().network.as_deref(), Some("red"));
        assert!(ask(&lab, Some("10.9.0.0/24"), None).unwrap_err().contains("of the network red"));

        let lease = |owner| lab.manager.request_address(subnet, None, Some(owner)).unwrap().addr();
        let leased = lease("docker");
        assert_eq!(leased.to_string(), "10.9.0.2");
        assert_eq!(lab.attach("red", "a", "eth0").unwrap(), "10.9.0.3", "not the one that is leased");
        assert_eq!(lease("other").to_string(), "10.9.0.4", "not that of an endpoint");
        let by_name = EndpointRequest { ip: Some(leased), ..endpoint("b") };
        let error = lab.manager.attach("red", &by_name).unwrap_err().to_string();
        assert!(error.contains("in use by docker, who has leased it"), "{error}");
        let with_lease = EndpointRequest { leased: true, ..by_name };
        lab.manager.attach("red", &with_lease).unwrap();
        let again = EndpointRequest { sandbox: endpoint("c").sandbox, ..with_lease };
        let error = lab.manager.attach("red", &again).unwrap_err().to_string();
        assert!(error.contains("in use by the endpoint b"), "{error}");

        // Whichever goes last frees it.
        let memory = || lab.manager.known().memory(subnet).resting.len();
        lab.manager.release_address(subnet, leased).unwrap();
        assert_eq!(memory(), 0);
        lab.manager.detach("red", "b").unwrap();
        assert_eq!(memory(), 1);
        lab.manager.remove_network("red", true).unwrap();
        assert_eq!(memory(), 2, "the pool is there still, and so is its memory");
        lab.manager.release_pool(subnet).unwrap();
        assert_eq!(lab.manager.store.load().unwrap(), []);
    }
}
