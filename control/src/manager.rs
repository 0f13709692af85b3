//! The manager: carries out what the API is asked for, one change at a time, while reads go on beside it.

pub(crate) mod docker;
mod document;
mod edge;
mod endpoints;
mod events;
mod inspect;
mod ipam;
mod loops;
mod names;
mod nat;
mod restore;
mod sandboxes;
mod trace;
mod view;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use crate::api::types::{Connection, Info, Network, NetworkPatch, NetworkRequest, Uplink, UplinkState};
use crate::apply::{Site, all_or_nothing, tear_down};
use crate::choose::NetworkCircumstances;
use crate::edge::hostport::is_host_port;
use crate::error::Error;
use crate::id::Id;
use crate::plan::{self, Step};
use crate::state::{NetworkState, State};
use crate::store::{NetworkRecord, Store};
use crate::world::World;
use crate::{choose, clock};

pub use events::Followed;
use events::Journal;
pub use ipam::{Lease, Pool};
use loops::Blocks;
pub use nat::{MAX_PAGE, Whose};
pub use whole::DEFAULT_NETWORK;

/// What a manager is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the state is.
    pub state_dir: PathBuf,
    /// Remove everything when the daemon ends.
    pub ephemeral: bool,
}

/// The manager. Every method may block, and may be called from any thread.
pub struct Manager {
    world: Arc<dyn World>,
    store: Store,
    state: RwLock<State>,
    /// Held by whoever changes something, from its first look to its last step.
    turn: Mutex<()>,
    /// Why publications are down, by number. Those that are up are not in here.
    down: Mutex<BTreeMap<u32, String>>,
    /// When those that are down were tried last, and how often interfaces had changed by then.
    tried: Mutex<(Instant, u64)>,
    next_publication: AtomicU32,
    /// Which port of the host is tried next where any will do.
    next_port: AtomicU32,
    /// Uplinks as they were when somebody last looked.
    uplinks: Mutex<BTreeMap<String, UplinkState>>,
    /// Ports that are in a loop, or were.
    blocks: Blocks,
    journal: Journal,
    started: Instant,
    settings: Settings,
}

impl Manager {
    /// Takes up the state that the store has: networks, and all that is left of what was on them.
    ///
    /// # Errors
    /// The store cannot be read, or the engine refuses a network.
    pub fn start(world: Arc<dyn World>, store: Store, settings: Settings) -> Result<Manager, Error> {
        let state = State::of(store.load()?);
        let published = state.publications().map(|it| it.id).max().unwrap_or(0);
        let tried = Mutex::new((Instant::now(), world.interface_changes()));
        let manager = Manager {
            world,
            store,
            state: RwLock::new(state),
            turn: Mutex::default(),
            down: Mutex::default(),
            tried,
            next_publication: AtomicU32::new(published + 1),
            next_port: AtomicU32::default(),
            uplinks: Mutex::default(),
            blocks: Blocks::default(),
            journal: Journal::default(),
            started: Instant::now(),
            settings,
        };
        manager.tell_names();
        manager.restore()?;
        Ok(manager)
    }

    /// The world that it works on.
    pub fn world(&self) -> &Arc<dyn World> {
        &self.world
    }

    /// The daemon's paths and version.
    pub fn info(&self) -> Info {
        Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.settings.state_dir.clone(),
            ephemeral: self.settings.ephemeral,
        }
    }

    /// Creates a network.
    ///
    /// # Errors
    /// The request cannot be met.
    pub fn create_network(&self, request: &NetworkRequest) -> Result<Network, Error> {
        let _turn = self.turn();
        self.create_network_now(request)
    }

    /// Changes a network's settings.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn set_network(&self, name: &str, patch: &NetworkPatch) -> Result<Network, Error> {
        let _turn = self.turn();
        self.set_network_now(name, patch)?;
        self.network(name)
    }

    /// Removes a network; with `force` everything that is on it first.
    ///
    /// # Errors
    /// There is none of that name, it is in use, or something could not be removed.
    pub fn remove_network(&self, name: &str, force: bool) -> Result<(), Error> {
        let _turn = self.turn();
        let network = self.state().network(name)?.clone();
        let mut users: Vec<&String> = network
            .endpoints
            .keys()
            .chain(network.interfaces.keys())
            .chain(network.reservations.keys())
            .collect();
        users.sort();
        users.dedup();
        if !force && !users.is_empty() {
            return Err(Error::InUse {
                network: name.to_owned(),
                users: users.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", "),
            });
        }
        self.remove_network_now(&network)
    }

    fn create_network_now(&self, request: &NetworkRequest) -> Result<Network, Error> {
        let uplink = request.uplink.clone().unwrap_or_default();
        let circumstances = NetworkCircumstances {
            host_mtu: if request.mtu.is_none() { self.world.default_mtu(&uplink)? } else { None },
            in_use: if request.subnet.is_none() { self.world.subnets_in_use()? } else { Vec::new() },
            id: new_id()?,
            now: clock::now(),
        };
        let record = choose::network(&self.state(), request, circumstances)?;
        let record = self.with_host_interface(record)?;
        self.check_uplink(&record)?;
        let name = record.name.clone();
        self.change(&plan::add_network(record))
            .map_err(|error| error.during(format!("create the network {name}")))?;
        self.journal.note("network-created", &name, "");
        self.network(&name)
    }

    /// Returns whether anything changed.
    fn set_network_now(&self, name: &str, patch: &NetworkPatch) -> Result<bool, Error> {
        let is = self.state().network(name)?.record.clone();
        let connection = choose::connection(name, &is.connection, patch)?;
        self.put_settings_now(name, patch.ageing_seconds.unwrap_or(is.ageing_seconds), connection)
    }

    /// Returns whether anything changed.
    fn put_settings_now(
        &self,
        name: &str,
        ageing_seconds: u32,
        connection: Connection,
    ) -> Result<bool, Error> {
        let before = {
            let state = self.state();
            let network = state.network(name)?;
            if let (true, Some(it)) = (connection.internal, network.publications.values().next()) {
                let (endpoint, ports) = (&it.endpoint, it.ports);
                return Err(Error::Conflict(format!(
                    "{name}/{endpoint} publishes {ports}, which nobody reaches on an internal network; `pontoon unpublish {name} {endpoint} {ports}` first"
                )));
            }
            network.record.clone()
        };
        let was = before.connection.uplink.clone();
        let after = NetworkRecord { ageing_seconds, connection, ..before };
        let after = self.with_host_interface(after)?;
        if after.connection.uplink != was {
            self.check_uplink(&after)?;
        }
        let steps = {
            let state = self.state();
            plan::set_network(&state, state.network(name)?, &after)
        };
        self.change(&steps).map_err(|error| error.during(format!("change the network {name}")))?;
        if !steps.is_empty() {
            self.journal.note("network-changed", name, "");
        }
        Ok(!steps.is_empty())
    }

    /// The record with a name for the host port if it must have one, and with none if not. Where the network shall meet the
    /// host, its subnet must be no other's.
    fn with_host_interface(&self, record: NetworkRecord) -> Result<NetworkRecord, Error> {
        let NetworkRecord { name, subnet, gateway, host_interface, host_interface_wish, connection, .. } =
            &record;
        let host_interface = match (connection.has_host_port(), host_interface) {
            (false, _) => None,
            (true, Some(there)) => Some(there.clone()),
            (true, None) => {
                self.world.check_subnet(*subnet, *gateway, None)?;
                Some(self.world.free_host_interface(name, host_interface_wish.as_deref())?)
            }
        };
        Ok(NetworkRecord { host_interface, ..record })
    }

    /// Refuses an uplink that can never be one. An interface that is not there yet may come.
    fn check_uplink(&self, record: &NetworkRecord) -> Result<(), Error> {
        let Uplink::Interface(name) = &record.connection.uplink else { return Ok(()) };
        let refuse = |reason: String| {
            Err(Error::Conflict(format!(
                "no packet leaves the host by {name}: {reason}; give another --uplink, auto or none"
            )))
        };
        {
            let state = self.state();
            let networks = state.networks.values().map(|it| &it.record).chain([record]);
            if let Some(host) = networks.into_iter().find(|it| it.host_interface.as_ref() == Some(name)) {
                return refuse(format!("by it the host sits on the network {}", host.name));
            }
            if let Some(interface) = state.interfaces().find(|it| it.interface == *name) {
                return refuse(format!("it is a port of the network {}", interface.network));
            }
            if let Some(endpoint) = state.endpoints().find(|it| it.device == *name) {
                return refuse(format!("it belongs to the endpoint {}", endpoint.port()));
            }
        }
        match self.world.link(None, name)? {
            Some(link) if link.loopback => refuse("it is the loopback interface".into()),
            Some(link) if is_host_port(&link) => {
                refuse("by it the host sits on a network of another daemon's".into())
            }
            _ => Ok(()),
        }
    }

    fn remove_network_now(&self, network: &NetworkState) -> Result<(), Error> {
        let name = &network.record.name;
        let mut errors = Vec::new();
        for endpoint in network.endpoints.keys() {
            errors.extend(self.detach_now(name, endpoint).err());
        }
        for interface in network.interfaces.keys() {
            errors.extend(self.remove_interface_now(name, interface).err());
        }
        for reservation in network.reservations.values() {
            errors.extend(self.release_now(reservation).err());
        }
        if errors.is_empty() {
            let steps = plan::remove_network(&self.state(), network);
            errors.extend(self.remove(&steps).err());
        }
        if errors.is_empty() {
            self.journal.note("network-removed", name, "");
            return Ok(());
        }
        Err(Error::Several(errors).during(format!("remove the network {name}")))
    }

    /// All that survives.
    #[cfg(test)]
    pub(crate) fn known_records(&self) -> Vec<crate::store::Record> {
        self.store.load().unwrap_or_default()
    }

    /// All that is known.
    #[cfg(test)]
    pub(crate) fn known(&self) -> State {
        self.state().clone()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn site(&self) -> Site<'_> {
        Site { world: &*self.world, store: &self.store, state: &self.state }
    }

    fn change(&self, steps: &[Step]) -> Result<(), Error> {
        let changed = all_or_nothing(self.site(), steps);
        self.tell_names_after(steps);
        changed
    }

    fn remove(&self, steps: &[Step]) -> Result<(), Error> {
        let removed = tear_down(self.site(), steps);
        self.tell_names_after(steps);
        removed
    }
}

/// An id that nothing else has.
fn new_id() -> Result<Id, Error> {
    Id::random().map_err(|source| Error::Kernel { action: "get random numbers", source })
}

#[cfg(test)]
mod tests;
