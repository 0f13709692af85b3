//! What the edge's control knows, and how the engine is brought in step with it.
//!
//! One lock holds all of it, for as long as a change takes; whoever answers the engine's questions reads [`Ways`] instead,
//! so that no frame waits for a change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ipnet::Ipv4Net;
use pontoon_dataplane::NetworkId;
use pontoon_dataplane::edge::config::{EdgeConfig, Publication, Rule, Uplink, UplinkChoice};
use pontoon_dataplane::edge::punt::Answer;
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::engine::{Engine, EngineError};

use super::filter::Ports;
use super::kernel::{Interfaces, Kernel};
use super::lease::Leases;
use super::monitor::News;
use super::uplinks::{Uplinks, Wanted, host_addresses, host_subnets};
use super::{EdgeSettings, UplinkWish, cannot};
use crate::error::Error;

/// What both threads and the manager's calls work on.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) settings: EdgeSettings,
    pub(super) leases: Leases,
    pub(super) route_changes: RouteChanges,
    /// How often interfaces or addresses have been found changed.
    pub(super) interface_changes: AtomicU64,
    state: Mutex<State>,
    ways: RwLock<Arc<Ways>>,
}

/// How often routes have changed. What the kernel said before a change must not reach the engine after the news of it, to be
/// believed for good.
#[derive(Debug, Default)]
pub(super) struct RouteChanges(AtomicU64);

impl RouteChanges {
    /// Has `tell` tell the engine that routes have changed: when [`Ways`] are up to date.
    pub(super) fn announce<E>(&self, tell: impl FnOnce(Answer) -> Result<(), E>) -> Result<(), E> {
        // First: whoever tells an answer after the news sees by this that it may be an old one.
        self.0.fetch_add(1, SeqCst);
        tell(Answer::RoutesChanged)
    }

    /// Asks the kernel by `ask` and has `tell` tell the engine the answer; when it may have been overtaken, the news again behind it.
    pub(super) fn answer<E>(
        &self,
        ask: impl FnOnce() -> Answer,
        tell: impl Fn(Answer) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.0.load(SeqCst);
        tell(ask())?;
        if self.0.load(SeqCst) == before { Ok(()) } else { tell(Answer::RoutesChanged) }
    }
}

/// What questions of the engine are answered by.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// The uplinks that are open.
    pub(super) uplinks: Vec<Uplink>,
    /// Numbers of interfaces whose stations nobody asks for their MAC.
    pub(super) without_arp: BTreeSet<u32>,
    /// Every address of the host, in ascending order.
    pub(super) host_addresses: Vec<Ipv4Addr>,
    /// What is the host's own besides.
    pub(super) host_subnets: Vec<Ipv4Net>,
    /// Where networks may go.
    pub(super) networks: BTreeMap<NetworkId, Connection>,
}

/// How a network is connected to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) gateway: Ipv4Addr,
    pub(super) wish: UplinkWish,
    pub(super) choice: UplinkChoice,
    /// The choice that the engine has.
    told: Option<UplinkChoice>,
}

#[derive(Debug)]
pub(super) struct State {
    kernel: Kernel,
    pub(super) interfaces: Interfaces,
    /// What local routes make the host's own.
    local: Vec<Ipv4Net>,
    networks: BTreeMap<NetworkId, Connection>,
    /// Interfaces that are ports of networks, with the numbers that they had when they became so.
    claimed: BTreeMap<String, u32>,
    pub(super) uplinks: Uplinks,
    publications: Vec<Arc<Publication>>,
    next_publication: u32,
    rules_generation: u32,
    /// The first ports for NAT are held.
    pool_held: bool,
    /// The engine is not in step, for bringing it there failed on the way.
    out_of_step: bool,
}

impl Shared {
    /// Looks at the kernel for the first time.
    pub(super) fn new(engine: Arc<Engine>, settings: EdgeSettings) -> Result<Shared, Error> {
        let leases = Leases::new(settings.leases)?;
        let kernel = Kernel::open().map_err(cannot("open a netlink socket"))?;
        let state = State {
            kernel,
            interfaces: Interfaces::new(),
            local: Vec::new(),
            networks: BTreeMap::new(),
            claimed: BTreeMap::new(),
            uplinks: Uplinks::default(),
            publications: Vec::new(),
            next_publication: 1,
            rules_generation: 0,
            pool_held: false,
            out_of_step: false,
        };
        let (state, ways) = (Mutex::new(state), RwLock::default());
        let route_changes = RouteChanges::default();
        let interface_changes = AtomicU64::default();
        let shared = Shared { engine, settings, leases, route_changes, interface_changes, state, ways };
        let mut state = shared.lock();
        shared.look(&mut state)?;
        shared.apply(&mut state, &BTreeSet::new())?;
        drop(state);
        Ok(shared)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever a panic left half done is done again with the next change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What questions are answered by at the moment.
    pub(super) fn ways(&self) -> Arc<Ways> {
        Arc::clone(&self.ways.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the kernel's interfaces again. Returns whether anything about them has changed.
    pub(super) fn look(&self, state: &mut State) -> Result<bool, Error> {
        let interfaces = state.kernel.interfaces().map_err(cannot("list the interfaces"))?;
        let local = state.kernel.local_subnets().map_err(cannot("list the local routes"))?;
        let changed = interfaces != state.interfaces || local != state.local;
        (state.interfaces, state.local) = (interfaces, local);
        if changed {
            self.interface_changes.fetch_add(1, Relaxed);
        }
        Ok(changed)
    }

    /// Follows what the kernel has told.
    pub(super) fn follow(&self, state: &mut State, news: &News) -> Result<(), Error> {
        let changed = news.interfaces && self.look(state)?;
        if changed || state.out_of_step || !news.deleted.is_empty() {
            self.apply(state, &news.deleted)?;
        }
        // A link that lost its carrier and has it again looks as it did, and another machine may be behind it.
        if news.interfaces || news.routes {
            self.routes_changed()?;
        }
        Ok(())
    }

    /// Has the engine ask for every route again.
    pub(super) fn routes_changed(&self) -> Result<(), EngineError> {
        self.route_changes.announce(|news| self.engine.answer(news))
    }

    /// Brings uplinks and the engine in step with the state. What goes is forgotten by the engine's edge before it is closed,
    /// what comes is open before the edge hears of it.
    pub(super) fn apply(&self, state: &mut State, deleted: &BTreeSet<u32>) -> Result<(), Error> {
        state.out_of_step = true;
        state.choose();
        let (wanted, claimed) = (state.wanted(), state.claimed.values().copied().collect());
        let gone = state.uplinks.take_gone(&state.interfaces, &claimed, &wanted, deleted);
        let (engine, offloads) = (&self.engine, self.settings.offloads);
        let ports = self.admitted();
        state.uplinks.follow(engine, offloads, &ports, &state.interfaces, &claimed, &wanted)?;
        self.publish_config(state)?;
        self.tell_choices(state)?;
        for port in gone {
            tracing::info!(%port, "uplink closed");
            engine.remove_port(port)?;
        }
        state.out_of_step = false;
        Ok(())
    }

    /// Tells the engine which uplinks networks may leave by, where that has changed.
    fn tell_choices(&self, state: &mut State) -> Result<(), EngineError> {
        for (&network, connection) in &mut state.networks {
            if connection.told == Some(connection.choice) {
                continue;
            }
            match self.engine.set_uplinks(network, connection.choice) {
                Ok(()) => connection.told = Some(connection.choice),
                // Its removal is under way.
                Err(EngineError::NoSuchNetwork(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Publishes what the edge decides by.
    pub(super) fn publish_config(&self, state: &State) -> Result<(), EngineError> {
        let ways = Ways {
            uplinks: state.uplinks.config(),
            without_arp: state.interfaces.values().filter(|it| !it.arp).map(|it| it.index).collect(),
            host_addresses: host_addresses(&state.interfaces, &state.local),
            host_subnets: host_subnets(&state.local),
            networks: state.networks.clone(),
        };
        self.engine.set_edge(EdgeConfig {
            uplinks: ways.uplinks.clone(),
            host_addresses: ways.host_addresses.clone(),
            host_subnets: ways.host_subnets.clone(),
            publications: state.publications.clone(),
            timeouts: self.settings.timeouts,
            limits: self.settings.limits,
            rules_generation: state.rules_generation,
        })?;
        *self.ways.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ways);
        Ok(())
    }

    /// Has the engine give up kept ports that a publication has. Returns whether there were any.
    pub(super) fn give_up_lost(&self) -> Result<bool, EngineError> {
        let lost = self.leases.take_lost();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ports: Vec<u16> = lost.iter().filter(|it| it.0 == protocol).map(|it| it.1).collect();
            if !ports.is_empty() {
                self.engine.answer(Answer::PortsLost { protocol, ports })?;
            }
        }
        Ok(!lost.is_empty())
    }

    /// Has uplinks hear the ports that are held now.
    pub(super) fn follow_leases(&self, state: &State) -> Result<(), EngineError> {
        state.uplinks.set_filters(&self.engine, &self.admitted())
    }

    fn admitted(&self) -> Ports {
        let admitted = self.leases.admitted();
        Ports { tcp: admitted.tcp, udp: admitted.udp }
    }

    /// Holds the first ports for NAT, unless some are held already.
    pub(super) fn hold_pool(&self, state: &mut State) -> Result<(), EngineError> {
        if state.pool_held {
            return Ok(());
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ports = self.leases.hold_pool(protocol);
            if !ports.is_empty() {
                self.engine.answer(Answer::PortsHeld { protocol, ports })?;
            }
        }
        state.pool_held = true;
        Ok(())
    }
}

impl State {
    /// What a wish comes to with the interfaces as they are. No interface has number 0.
    pub(super) fn choice(&self, wish: &UplinkWish) -> UplinkChoice {
        match wish {
            UplinkWish::Auto => UplinkChoice::Auto,
            UplinkWish::Only(name) => UplinkChoice::Only(self.index_of(name).unwrap_or(0)),
            UplinkWish::None => UplinkChoice::None,
        }
    }

    fn index_of(&self, name: &str) -> Option<u32> {
        self.interfaces.values().find(|it| it.name == name).map(|it| it.index)
    }

    fn choose(&mut self) {
        let mut networks = std::mem::take(&mut self.networks);
        for connection in networks.values_mut() {
            connection.choice = self.choice(&connection.wish);
        }
        self.networks = networks;
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for connection in self.networks.values() {
            match connection.choice {
                UplinkChoice::Auto => wanted.all = true,
                UplinkChoice::Only(index) => {
                    wanted.only.insert(index);
                }
                UplinkChoice::None => {}
            }
        }
        wanted
    }

    pub(super) fn connect(&mut self, network: NetworkId, gateway: Ipv4Addr, wish: UplinkWish) {
        let choice = self.choice(&wish);
        self.networks.insert(network, Connection { gateway, wish, choice, told: None });
    }

    /// Returns whether there was such a network.
    pub(super) fn disconnect(&mut self, network: NetworkId) -> bool {
        self.networks.remove(&network).is_some()
    }

    /// Returns whether there is such an interface.
    pub(super) fn claim(&mut self, interface: &str) -> bool {
        let index = self.index_of(interface);
        self.claimed.extend(index.map(|index| (interface.to_owned(), index)));
        index.is_some()
    }

    /// Returns whether it was claimed.
    pub(super) fn give_back(&mut self, interface: &str) -> bool {
        self.claimed.remove(interface).is_some()
    }

    /// A number for a publication, never given before.
    pub(super) fn number(&mut self) -> u32 {
        let number = self.next_publication;
        self.next_publication = number.wrapping_add(1);
        number
    }

    /// Adds a publication where [`EdgeConfig::publications`] wants it.
    pub(super) fn add_publication(&mut self, publication: Arc<Publication>) {
        let all = &mut self.publications;
        let place = all.partition_point(|it| it.address.is_some());
        all.insert(if publication.address.is_some() { 0 } else { place }, publication);
        self.change_rules();
    }

    /// Puts it in the place of the one that has its number. Returns whether there is one.
    pub(super) fn replace_publication(&mut self, publication: Arc<Publication>) -> bool {
        let there = self.publications.iter_mut().find(|it| it.id == publication.id);
        let replaced = there.map(|there| *there = publication).is_some();
        self.change_rules();
        replaced
    }

    /// Returns whether there is one of that number.
    pub(super) fn set_publication_rules(&mut self, id: u32, rules: Arc<[Rule]>) -> bool {
        let there = self.publications.iter().find(|it| it.id == id).cloned();
        there.is_some_and(|there| {
            self.replace_publication(Arc::new(Publication { rules, ..Publication::clone(&there) }))
        })
    }

    /// Returns whether there was one of that number.
    pub(super) fn remove_publication(&mut self, id: u32) -> bool {
        let before = self.publications.len();
        self.publications.retain(|it| it.id != id);
        self.change_rules();
        self.publications.len() < before
    }

    /// Sessions are held against the rules again.
    pub(super) fn change_rules(&mut self) {
        self.rules_generation = self.rules_generation.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn an_answer_that_news_overtake_is_followed_by_them() {
        let (changes, told) = (RouteChanges::default(), RefCell::new(Vec::new()));
        let tell = |answer: Answer| -> Result<(), Infallible> {
            told.borrow_mut().push(answer);
            Ok(())
        };
        let destination = [192, 0, 2, 7].into();
        let route = Answer::Route { network: NetworkId(0), destination, route: None };
        changes.answer(|| route.clone(), tell).unwrap();
        changes.announce(tell).unwrap();
        changes.answer(|| route.clone(), tell).unwrap();
        let asked = || {
            // While the kernel's answer is under way.
            changes.announce(tell).unwrap();
            route.clone()
        };
        changes.answer(asked, tell).unwrap();
        let news = || Answer::RoutesChanged;
        assert_eq!(told.take(), [route.clone(), news(), route.clone(), news(), route.clone(), news()]);
    }
}
