//! What the benches share: frames and snapshots, medians and ranges.

pub mod site;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::counters::PortCounters;
use pontoon_dataplane::edge::config::NetworkEdge;
use pontoon_dataplane::fdb::{Fdb, FdbConfig};
use pontoon_dataplane::network::{
    Gateway, Identity, Network, NetworkId, Place, Port, PortId, PortSettings, Snapshot, StormLimits,
};

/// The MAC of station number `number`.
pub fn station(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x02, 0x42, a, b, c, d])
}

/// A table for `capacity` addresses, all of which one port may hold.
pub fn table(capacity: usize) -> Fdb {
    Fdb::with_seed(FdbConfig { capacity, port_share: capacity, ageing: Duration::from_secs(300) }, 1)
}

/// One network with a gateway and `ports` ports, guarded ones when asked for: port n is station n at 10.88.0.(n + 2).
pub fn snapshot(ports: u16, guard: bool) -> Arc<Snapshot> {
    snapshot_with(ports, guard, 16_384)
}

/// As [`snapshot`], with room for `stations` addresses.
pub fn snapshot_with(ports: u16, guard: bool, stations: usize) -> Arc<Snapshot> {
    let address = Ipv4Addr::new(10, 88, 0, 1);
    let network = Network {
        id: NetworkId(0),
        gateway: Some(Gateway { mac: MacAddr::from_ipv4(address), address, prefix_len: 16 }),
        mtu: 1500,
        flooded: Arc::default(),
        fdb: Arc::new(table(stations)),
        members: (0..ports).map(PortId).collect(),
        edge: NetworkEdge::default(),
    };
    let port = |number: u16| Port {
        id: PortId(number),
        place: Place::Member(NetworkId(0)),
        // The benches' clock stands still, and no limit would ever be refilled.
        settings: PortSettings { guard, storm: StormLimits::NONE, ..PortSettings::default() },
        identity: Some(Arc::new(Identity {
            mac: station(number.into()),
            addresses: vec![host(number).into()],
            sandbox_addresses: vec![host(number).into()],
        })),
        own_mac: None,
        mtu: 1500,
        counters: Arc::new([PortCounters::default()]),
    };
    Arc::new(Snapshot {
        generation: 1,
        networks: vec![Some(Arc::new(network))],
        ports: (0..ports).map(|number| Some(port(number))).collect(),
        edge: Arc::default(),
    })
}

/// The address of port `number`.
pub fn host(number: u16) -> Ipv4Addr {
    let [high, low] = (number + 2).to_be_bytes();
    Ipv4Addr::new(10, 88, high, low)
}

/// A 60-byte UDP frame from one port's station to a MAC.
pub fn small_frame(from: u16, to: MacAddr) -> Vec<u8> {
    let mut bytes = vec![0u8; 60];
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..12].copy_from_slice(&station(from.into()).0);
    bytes[12..18].copy_from_slice(&[0x08, 0x00, 0x45, 0x00, 0x00, 46]);
    bytes[22..24].copy_from_slice(&[64, 17]);
    bytes[26..30].copy_from_slice(&host(from).octets());
    bytes[30..34].copy_from_slice(&host(from ^ 1).octets());
    bytes
}

/// Median, smallest and largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// Of a few measurements, NaN left out; zeros for none.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted: Vec<_> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Spread { median: at(sorted.len() / 2), min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { median, min, max } = self;
        write!(f, "{median:.2} [{min:.2}-{max:.2}]")
    }
}
