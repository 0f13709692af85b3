//! What goes wrong, and what control changes while everybody is at work.

use core::time::Duration;
use std::sync::Arc;

use pontoon_dataplane::PortId;
use pontoon_dataplane::edge::config::{Action, Publication, Rule};
use pontoon_dataplane::edge::punt::Answer;
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::edge::view::{SessionFilter, SessionView};
use pontoon_dataplane::network::Port;

use super::agenda::{Micros, SECOND};
use super::build::some_time;
use super::hostile::Attack;
use super::switch::counters;
use super::world::{Event, World};
use crate::random::Random;

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A port's interface goes down and comes up again.
    PortDown,
    /// A port is removed and comes back.
    PortReplaced,
    /// A port's settings change and change back: learning, flooding, hairpin, isolation.
    Settings,
    /// A network's rules deny all TCP for a while.
    Rules,
    /// A port is unpublished and published again.
    Republish,
    /// A switch's clock jumps ahead, up to a quarter of an hour.
    ClockJump,
    /// A switch is restarted and knows nothing any more.
    Restart,
    /// A link loses most of what it carries.
    LossyLink,
    /// The kernel's routes change, and control is slow.
    RoutesChanged,
    /// Tables are tiny from the start.
    TinyTables,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 10] = [
        Trouble::PortDown,
        Trouble::PortReplaced,
        Trouble::Settings,
        Trouble::Rules,
        Trouble::Republish,
        Trouble::ClockJump,
        Trouble::Restart,
        Trouble::LossyLink,
        Trouble::RoutesChanged,
        Trouble::TinyTables,
    ];

    /// The one whose turn it is.
    pub(super) fn of_turn(seed: u64) -> Trouble {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }
}

/// A fault: what, where, and what it needs to be undone.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    switch: usize,
    port: PortId,
    link: usize,
    until: Micros,
    /// Decides about details.
    detail: u64,
    /// The port that is away, and the end of the link that it was at.
    removed: Option<(Port, (usize, usize))>,
    unpublished: Vec<Arc<Publication>>,
    pub(super) happened: bool,
}

/// Sessions that are idle for this long may end within a clock jump although somebody still needs them: those that are being closed.
const TRANSITORY: Duration = Duration::from_secs(240);

/// The trouble whose turn it is, and some more.
pub(super) fn plan(world: &mut World, random: &mut Random, seed: u64) {
    let mut troubles = vec![Trouble::of_turn(seed)];
    for _ in 0..random.within(0, 2) {
        troubles.push(Trouble::ALL[random.below(Trouble::ALL.len())]);
    }
    for trouble in troubles.into_iter().filter(|trouble| *trouble != Trouble::TinyTables) {
        let (begins, until) = some_time(random, 3 * SECOND);
        let edges: Vec<usize> =
            (0..world.switches.len()).filter(|&it| world.controls[it].is_some()).collect();
        let needs_edge = match trouble {
            Trouble::Rules | Trouble::Republish | Trouble::RoutesChanged => true,
            // It is the edge that remembers most.
            _ => random.chance(500, 1000),
        };
        let switch =
            if needs_edge { edges[random.below(edges.len())] } else { random.below(world.switches.len()) };
        let members: Vec<PortId> = {
            let ports = world.switches[switch].snapshot.ports.iter().flatten();
            ports.filter(|port| port.is_member()).map(|port| port.id).collect()
        };
        let port = members[random.below(members.len())];
        // What a hostile host has left behind is to go with its port.
        let hostile = world.hostiles.iter().find(|it| it.attack == Attack::FragmentBomb);
        let bomber = hostile.filter(|_| trouble == Trouble::PortReplaced && random.chance(700, 1000));
        let (switch, port) = bomber.map_or((switch, port), |it| world.hosts[it.host].place);
        let link = random.below(world.links.len());
        let number = world.faults.len();
        let detail = random.bits();
        world.faults.push(Fault {
            trouble,
            switch,
            port,
            link,
            until,
            detail,
            removed: None,
            unpublished: Vec::new(),
            happened: false,
        });
        world.agenda.note(begins, Event::Fault(number, true));
        world.agenda.note(until, Event::Fault(number, false));
        world.quiet_from = world.quiet_from.max(until + SECOND);
    }
}

impl World {
    /// A fault begins, or ends.
    pub(super) fn fault(&mut self, number: usize, begins: bool) {
        let Fault { trouble, switch, port, .. } = self.faults[number];
        self.faults[number].happened = true;
        self.trace.say(&format!(
            "{trouble:?} {} on switch {switch}, {port}",
            if begins { "begins" } else { "ends" }
        ));
        match trouble {
            Trouble::PortDown => self.port_down(number, begins),
            Trouble::PortReplaced if begins => self.remove_port(number),
            Trouble::PortReplaced => self.return_port(number),
            Trouble::Settings => self.settings(number, begins),
            Trouble::Rules => self.rules(number, begins),
            Trouble::Republish => self.republish(number, begins),
            Trouble::ClockJump if begins => self.clock_jump(number),
            Trouble::Restart if begins => self.restart(number),
            Trouble::LossyLink if begins => {
                let Fault { link, until, detail, .. } = self.faults[number];
                self.links[link].trouble = Some((500 + (detail % 400) as usize, until));
            }
            Trouble::RoutesChanged => {
                if let Some(control) = &mut self.controls[switch] {
                    control.delay = if begins { 3 * SECOND } else { SECOND / 100 };
                }
                self.tell_edge(switch, &Answer::RoutesChanged);
            }
            Trouble::ClockJump | Trouble::Restart | Trouble::LossyLink | Trouble::TinyTables => {}
        }
        self.note_tick(switch);
    }

    /// Whether the host's port sends its frames back to it, or has done so.
    pub(super) fn has_hairpin(&self, host: usize) -> bool {
        let (switch, port) = self.hosts[host].place;
        let is_it = |it: &Fault| it.trouble == Trouble::Settings && (it.switch, it.port) == (switch, port);
        self.faults.iter().any(|it| is_it(it) && it.detail % 4 == 2)
    }

    /// Connections through the edge of `switch` may break that are begun before `until`.
    fn excuse(&mut self, switch: usize, until: Micros) {
        for host in 0..self.hosts.len() {
            if let Some(station) = &mut self.hosts[host].station {
                station.errands.iter_mut().for_each(|errand| errand.excuse(switch, until));
            }
            // It has to look after its patience.
            self.wake(host);
        }
    }

    fn port_down(&mut self, number: usize, begins: bool) {
        let Fault { switch, port, .. } = self.faults[number];
        if let Some(lane) = self.switches[switch].lane(port) {
            lane.up = !begins;
            let (link, _) = lane.link;
            self.links[link].up = !begins;
        }
    }

    /// As control does it: what is published of it first, and what the FDB knows of it last.
    fn remove_port(&mut self, number: usize) {
        let Fault { switch, port: id, until, .. } = self.faults[number];
        let Some(lane) = self.switches[switch].lanes[id.index()].take() else { return };
        let Some(port) = self.switches[switch].snapshot.ports[id.index()].take() else { return };
        let mut unpublished = Vec::new();
        self.change_edge(switch, |edge| {
            unpublished = edge.publications.extract_if(.., |it| it.endpoint == id).collect();
        });
        self.faults[number].unpublished = unpublished;
        if let Some(network) = port.place.network() {
            self.change_network(switch, network, |network| network.members.retain(|&member| member != id));
        }
        self.links[lane.link.0].up = false;
        self.switches[switch].publish(self.now);
        for network in self.switches[switch].snapshot.networks.iter().flatten() {
            network.fdb.flush_port(id);
        }
        let stats = self.switches[switch].edge().map(|edge| edge.stats()).unwrap_or_default();
        if stats.per_endpoint.iter().any(|(owner, _)| *owner == id) {
            self.find(&format!("switch {switch} keeps sessions of {id}, which is gone"));
        }
        self.excuse(switch, until);
        self.faults[number].removed = Some((port, lane.link));
    }

    fn return_port(&mut self, number: usize) {
        let Fault { switch, until, .. } = self.faults[number];
        let Some((port, link)) = self.faults[number].removed.take() else { return };
        self.links[link.0].up = true;
        self.put_port(switch, Port { counters: counters(), ..port }, link);
        let publications = std::mem::take(&mut self.faults[number].unpublished);
        self.change_edge(switch, |edge| edge.publications.extend(publications));
        self.switches[switch].publish(self.now);
        self.excuse(switch, until);
    }

    fn settings(&mut self, number: usize, begins: bool) {
        let Fault { switch, port, detail, .. } = self.faults[number];
        let Some(Some(port)) = self.switches[switch].snapshot.ports.get_mut(port.index()) else { return };
        match detail % 4 {
            0 => port.settings.learning = !begins,
            1 => port.settings.flood = !begins,
            // Towards another switch that is a loop: it would learn that its own hosts are here.
            2 if port.identity.is_some() => port.settings.hairpin = begins,
            _ => port.settings.isolated = begins,
        }
        self.switches[switch].publish(self.now);
    }

    fn rules(&mut self, number: usize, begins: bool) {
        let Fault { switch, until, .. } = self.faults[number];
        let deny = Rule {
            number: 1,
            action: Action::Deny,
            source: None,
            destination: None,
            protocol: Some(Protocol::Tcp),
            ports: None,
            hits: Arc::default(),
        };
        let networks: Vec<_> =
            self.switches[switch].snapshot.networks.iter().flatten().map(|it| it.id).collect();
        for network in networks {
            let deny = deny.clone();
            self.change_network(switch, network, |network| {
                network.edge.rules = if begins { Arc::from([deny]) } else { Arc::default() };
            });
        }
        self.change_edge(switch, |_| {});
        self.switches[switch].publish(self.now);
        self.excuse(switch, until);
    }

    fn republish(&mut self, number: usize, begins: bool) {
        let Fault { switch, until, .. } = self.faults[number];
        let mut publications = std::mem::take(&mut self.faults[number].unpublished);
        if begins {
            self.change_edge(switch, |edge| publications = std::mem::take(&mut edge.publications));
            self.faults[number].unpublished = publications;
        } else {
            let anew = publications
                .iter()
                .map(|it| Arc::new(Publication { id: it.id + 1000, ..Publication::clone(it) }));
            self.change_edge(switch, |edge| edge.publications.extend(anew));
        }
        self.switches[switch].publish(self.now);
        self.excuse(switch, until);
    }

    /// What is older than its time is gone after the next tick, and nothing else.
    fn clock_jump(&mut self, number: usize) {
        let Fault { switch, detail, .. } = self.faults[number];
        let jump = Duration::from_secs(10 + detail % 900);
        let before = self.sessions(switch);
        self.switches[switch].jumped += jump;
        let mut effects = self.effects();
        self.switches[switch].tick(self.now, &mut effects);
        self.carry_out(switch, effects);
        let after = self.sessions(switch);
        let lives = |it: &&SessionView| it.expires_in > jump + Duration::from_secs(1);
        for session in before.iter().filter(lives) {
            if !after.iter().any(|it| it.original == session.original) {
                self.find(&format!("switch {switch} has ended {} before its time", session.original));
            }
        }
        if jump >= TRANSITORY {
            self.excuse(switch, self.now);
        }
    }

    fn sessions(&self, switch: usize) -> Vec<SessionView> {
        let switch = &self.switches[switch];
        let clock = switch.clock(self.now);
        switch.edge().map_or(Vec::new(), |edge| edge.page(clock, SessionFilter::default(), 0, usize::MAX).0)
    }

    fn restart(&mut self, number: usize) {
        let Fault { switch, detail, .. } = self.faults[number];
        self.check_books(switch);
        for network in self.switches[switch].snapshot.networks.iter().flatten() {
            network.fdb.flush_learned(None);
        }
        for port in self.switches[switch].snapshot.ports.iter_mut().flatten() {
            port.counters = counters();
        }
        self.switches[switch].restart(self.now, detail);
        self.begin_control(switch);
        self.excuse(switch, self.now);
    }
}
