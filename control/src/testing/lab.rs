//! A manager on a fake world, and what it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use pontoon_dataplane::MacAddr;

use super::FakeWorld;
use crate::api::types::{Connection, EndpointRequest, Mac, NetworkRequest, SandboxRef};
use crate::error::Error;
use crate::id::Id;
use crate::manager::{Manager, Settings};
use crate::netns::NetnsId;
use crate::plan::ENDPOINT_FLAGS;
use crate::store::{DEFAULT_DRIVER, DEFAULT_PREFIX, EndpointRecord, NetworkRecord, Phase, Store};
use crate::world::World;

/// A manager on a fake world, with a store that lasts as long as this.
pub(crate) struct Lab {
    pub(crate) world: Arc<FakeWorld>,
    pub(crate) manager: Arc<Manager>,
    dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(namespaces: &[&str]) -> Lab {
        let world = FakeWorld::with_namespaces(namespaces);
        let dir = tempfile::tempdir().unwrap();
        let manager = Lab::manager(&world, dir.path().to_owned());
        Lab { world, manager, dir }
    }

    fn manager(world: &Arc<FakeWorld>, state_dir: PathBuf) -> Arc<Manager> {
        let store = Store::open(&state_dir).unwrap();
        let settings = Settings { state_dir, ephemeral: false };
        Arc::new(Manager::start(Arc::clone(world) as Arc<dyn World>, store, settings).unwrap())
    }

    /// The daemon dies; `meanwhile` happens; another one starts.
    pub(crate) fn restart(self, meanwhile: impl FnOnce(&FakeWorld)) -> Lab {
        let Lab { world, manager, dir } = self;
        assert_eq!(Arc::strong_count(&manager), 1, "the store must be closed");
        drop(manager);
        world.without_daemon();
        meanwhile(&world);
        let manager = Lab::manager(&world, dir.path().to_owned());
        Lab { world, manager, dir }
    }

    pub(crate) fn create(&self, name: &str, subnet: &str) {
        self.manager.create_network(&network(name, subnet)).unwrap();
    }

    pub(crate) fn attach(&self, network: &str, netns: &str, ifname: &str) -> Result<String, Error> {
        let request = EndpointRequest { ifname: Some(ifname.into()), ..endpoint(netns) };
        self.manager.attach(network, &request).map(|endpoint| endpoint.address.addr().to_string())
    }
}

pub(crate) fn network(name: &str, subnet: &str) -> NetworkRequest {
    NetworkRequest { name: name.into(), subnet: Some(subnet.parse().unwrap()), ..NetworkRequest::default() }
}

pub(crate) fn endpoint(netns: &str) -> EndpointRequest {
    EndpointRequest::of(SandboxRef::Netns(netns.into()))
}

/// A network as it is made of nothing but its name and subnet.
pub(crate) fn network_record(name: &str, subnet: &str) -> NetworkRecord {
    let subnet: Ipv4Net = subnet.parse().unwrap();
    let gateway = subnet.hosts().next().unwrap();
    NetworkRecord {
        name: name.into(),
        id: Id::of(name),
        driver: DEFAULT_DRIVER.into(),
        subnet,
        range: None,
        reserved: BTreeMap::new(),
        gateway,
        gateway_mac: Mac(MacAddr::from_ipv4(gateway)),
        mtu: 1500,
        ageing_seconds: 300,
        connection: Connection::default(),
        host_interface: Some(format!("ptn-{name}")),
        host_interface_wish: None,
        publish_address: None,
        ifname_prefix: DEFAULT_PREFIX.into(),
        attachable: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        created: "2025-01-01T00:00:00Z".into(),
    }
}

/// An endpoint that is attached to the sandbox of its name.
pub(crate) fn endpoint_record(network: &str, name: &str, address: [u8; 4]) -> EndpointRecord {
    EndpointRecord {
        network: network.into(),
        name: name.into(),
        id: Id::of(name),
        aliases: BTreeSet::new(),
        sandbox_id: Id::of("sandbox"),
        sandbox: SandboxRef::Netns(name.into()),
        netns: NetnsId { dev: 4, ino: 100, boot: 1 },
        ifname: "eth0".into(),
        address: address.into(),
        mac: Mac(MacAddr::from_ipv4(address.into())),
        kind: Default::default(),
        device: "ptn0000000000".into(),
        flags: ENDPOINT_FLAGS,
        default_route: true,
        resolver: false,
        dns: Vec::new(),
        docker: false,
        created: "2025-01-01T00:00:00Z".into(),
        phase: Phase::Attached,
    }
}
