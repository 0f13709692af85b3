//! The manager: carries out what the API is asked for, one change at a time, while reads go on beside it.

mod document;
mod endpoints;
mod events;
mod restore;
mod view;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use crate::api::types::{Info, Network, NetworkPatch, NetworkRequest};
use crate::apply::{Site, all_or_nothing, tear_down};
use crate::error::Error;
use crate::plan::{self, Step};
use crate::state::{NetworkState, State};
use crate::store::Store;
use crate::world::World;
use crate::{choose, clock};

pub use events::Followed;
use events::Journal;

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
        let manager = Manager {
            world,
            store,
            state: RwLock::new(state),
            turn: Mutex::default(),
            journal: Journal::default(),
            started: Instant::now(),
            settings,
        };
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
        let users: Vec<&str> =
            network.endpoints.keys().chain(network.interfaces.keys()).map(String::as_str).collect();
        if !force && !users.is_empty() {
            return Err(Error::InUse { network: name.to_owned(), users: users.join(", ") });
        }
        self.remove_network_now(&network)
    }

    fn create_network_now(&self, request: &NetworkRequest) -> Result<Network, Error> {
        let record = choose::network(&self.state(), request, clock::now())?;
        let name = record.name.clone();
        self.change(&plan::add_network(record))
            .map_err(|error| error.during(format!("create the network {name}")))?;
        self.journal.note("network-created", &name, "");
        self.network(&name)
    }

    /// Returns whether anything changed.
    fn set_network_now(&self, name: &str, patch: &NetworkPatch) -> Result<bool, Error> {
        let steps = plan::set_network(self.state().network(name)?, patch);
        self.change(&steps).map_err(|error| error.during(format!("change the network {name}")))?;
        Ok(!steps.is_empty())
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
        if errors.is_empty() {
            errors.extend(self.remove(&plan::remove_network(network)).err());
        }
        if errors.is_empty() {
            self.journal.note("network-removed", name, "");
            return Ok(());
        }
        Err(Error::Several(errors).during(format!("remove the network {name}")))
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
        all_or_nothing(self.site(), steps)
    }

    fn remove(&self, steps: &[Step]) -> Result<(), Error> {
        tear_down(self.site(), steps)
    }
}

#[cfg(test)]
mod tests;
