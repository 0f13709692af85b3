//! Port leases: the ports of the host that NAT uses, held by real sockets of the kernel.
//!
//! A port that NAT writes into packets must not be used by the host too, and the host's kernel must not answer for it.
//! Both come from a socket that is bound to it (see [`socket`]); no firewall rule is needed. There are three kinds:
//!
//! - the pool: a range beside the one that the kernel gives its own sockets ports from, held in blocks ahead of need;
//! - kept ports: an endpoint uses one as its source port, and it was free; given back when the edge says so, or at once when somebody
//!   publishes it on one address;
//! - published ports: they lead to an endpoint, and the socket itself serves clients on the host (see [`super::relay`]).
//!
//! One port can be published on every address and kept, or of the pool, at the same time: one socket serves for both.
//!
//! Questions of the edge, each of which a packet waits for, need the table of what is held. So nobody opens or closes many sockets while
//! he has its lock: a publication that comes or goes stands among the [`Table::changing`] ones meanwhile, and its ports are neither
//! kept nor of the pool.
//!
//! Bounds: the limit of open files, of which a part is left to the rest of the daemon; for each protocol the pool
//! (4,096 ports, unless another one is given) and 1,024 kept ports.
//!
//! What a port costs is the kernel's: 4.1 KiB of its memory for a published one of TCP and 2.5 KiB for UDP (6.18, 64 bits), 5 to
//! 6 KiB more where filters cannot be shared (see [`filter`]). This process needs four bytes for it: 10,000 ports came
//! to 40 KiB, in 50 to 250 ms.

mod filter;
mod pool;
mod socket;
mod sys;
mod types;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pontoon_dataplane::NetworkId;
use pontoon_dataplane::edge::tuple::Protocol;
use socket2::Socket;

use super::holder::holder;
use super::relay::{Carried, Limits, Relay};
use filter::{Filters, Purpose};
use pool::{FileLimit, merge, ports};
pub use types::{Admitted, LeaseError, LeaseSettings, PortRange, Published, Taken};

/// How many ports of the pool are held in one go at first; each time as many as there are already.
const BLOCK: usize = 512;

/// How many are held in one go at most: some 50 ms, in which no other question is answered.
const MOST_AT_ONCE: usize = 2_048;

/// The most ports of one protocol that are kept.
const KEPT: usize = 1_024;

/// The ports that are held.
#[derive(Debug)]
pub struct Leases {
    pool: PortRange,
    /// The most ports of the pool for one protocol.
    pool_most: usize,
    limit: FileLimit,
    relay: Relay,
    filters: Filters,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    tcp: Held,
    udp: Held,
    published: BTreeMap<u32, Published>,
    /// Publications whose sockets are just being opened or closed.
    changing: BTreeMap<u32, Published>,
    /// Kept ports that had to yield to a publication, as long as nobody has asked.
    lost: Vec<(Protocol, u16)>,
}

/// The ports of one protocol that NAT may use for what goes out.
#[derive(Debug, Default)]
struct Held(BTreeMap<u16, Lease>);

#[derive(Debug)]
struct Lease {
    /// None: the socket of a publication holds the port.
    socket: Option<Socket>,
    /// It came by [`Leases::keep`].
    kept: bool,
}

impl Table {
    /// Nothing for ICMP, which has no ports.
    fn held(&self, protocol: Protocol) -> Option<&Held> {
        match protocol {
            Protocol::Tcp => Some(&self.tcp),
            Protocol::Udp => Some(&self.udp),
            Protocol::Icmp => None,
        }
    }

    /// The same, to change.
    fn held_mut(&mut self, protocol: Protocol) -> Option<&mut Held> {
        match protocol {
            Protocol::Tcp => Some(&mut self.tcp),
            Protocol::Udp => Some(&mut self.udp),
            Protocol::Icmp => None,
        }
    }

    fn publications(&self) -> impl Iterator<Item = &Published> {
        self.published.values().chain(self.changing.values())
    }

    /// How many sockets there are.
    fn sockets(&self) -> usize {
        let leased = self.tcp.0.len() + self.udp.0.len();
        self.publications().map(|it| ports(it.ports).len()).sum::<usize>() + leased
    }
}

impl Held {
    fn pool_ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter(|(_, lease)| !lease.kept).map(|(port, _)| *port)
    }

    fn kept_ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter(|(_, lease)| lease.kept).map(|(port, _)| *port)
    }
}

fn ranges(single: impl Iterator<Item = u16>) -> Vec<PortRange> {
    merge(single.map(|port| (port, port)).collect())
}

impl Leases {
    /// Raises the limit of open files, chooses the pool and starts the relay in the calling thread's network namespace;
    /// holds nothing yet.
    ///
    /// # Errors
    /// [`LeaseError::Invalid`] when the pool is no range; [`LeaseError::System`] when the relay cannot start.
    pub fn new(settings: LeaseSettings) -> Result<Leases, LeaseError> {
        Leases::start(settings, None)
    }

    /// With bounds of one's own for the relay.
    ///
    /// # Errors
    /// As [`Leases::new`].
    pub fn with_limits(settings: LeaseSettings, limits: Limits) -> Result<Leases, LeaseError> {
        Leases::start(settings, Some(limits))
    }

    fn start(settings: LeaseSettings, limits: Option<Limits>) -> Result<Leases, LeaseError> {
        let pool = pool::choose(settings)?;
        let limit = pool::raise_file_limit();
        let wanted = ports(pool).len();
        let pool_most = wanted.min(limit.pool());
        if pool_most < wanted {
            tracing::warn!(
                "NAT has {pool_most} ports of TCP and of UDP at most instead of {wanted}: the limit of open files is {} and cannot be raised; start the daemon with a higher one (LimitNOFILE= or ulimit -n)",
                limit.files
            );
        }
        let relay = Relay::start(limits.unwrap_or_else(|| limit.relay())).map_err(|source| {
            LeaseError::System { action: "start the relay for local clients".into(), source }
        })?;
        let filters = Filters::new(settings.share_filters);
        Ok(Leases { pool, pool_most, limit, relay, filters, table: Mutex::default() })
    }

    /// The pool's first and last port.
    pub fn pool(&self) -> PortRange {
        self.pool
    }

    /// The host has a port on the network from now on, of that name, or none: local clients are relayed by it alone. What is
    /// relayed by another ends.
    pub fn set_host_port(&self, network: NetworkId, interface: Option<&str>) {
        self.relay.set_host_port(network, interface);
    }

    /// Holds a first part of the pool, if nothing of it is held yet; all that is held of it now.
    pub fn hold_pool(&self, protocol: Protocol) -> Vec<PortRange> {
        let mut table = self.table();
        let held = table.held(protocol).map_or(Vec::new(), |held| ranges(held.pool_ports()));
        if held.is_empty() { self.grow(&mut table, protocol) } else { held }
    }

    /// Holds some more of the pool; those alone. Nothing: the pool is used up.
    pub fn more(&self, protocol: Protocol) -> Vec<PortRange> {
        self.grow(&mut self.table(), protocol)
    }

    /// Holds the next ports of the pool that nobody else has.
    fn grow(&self, table: &mut Table, protocol: Protocol) -> Vec<PortRange> {
        let room = self.limit.ports().saturating_sub(table.sockets());
        let changing: Vec<PortRange> =
            table.changing.values().filter(|it| it.protocol == protocol).map(|it| it.ports).collect();
        let Some(held) = table.held_mut(protocol) else { return Vec::new() };
        let there = held.pool_ports().count();
        let wanted = there.clamp(BLOCK, MOST_AT_ONCE).min(room).min(self.pool_most.saturating_sub(there));
        let mut got = Vec::new();
        for port in ports(self.pool) {
            if got.len() >= wanted {
                break;
            }
            if held.0.contains_key(&port) || changing.iter().any(|it| ports(*it).contains(&port)) {
                continue;
            }
            // One that the host uses is passed over, and tried again when more are asked for.
            if let Ok(socket) = self.hold(protocol, None, port, Purpose::Nat) {
                held.0.insert(port, Lease { socket: Some(socket), kept: false });
                got.push(port);
            }
        }
        ranges(got.into_iter())
    }

    /// Holds one port because an endpoint uses it as its source port. One that is published on every address serves for
    /// both.
    ///
    /// # Errors
    /// [`LeaseError::Taken`] when something of the host has it, whose name is not looked for; [`LeaseError::Descriptors`],
    /// [`LeaseError::Invalid`], [`LeaseError::System`].
    pub fn keep(&self, protocol: Protocol, port: u16) -> Result<(), LeaseError> {
        let mut table = self.table();
        let held = table.held(protocol).ok_or_else(LeaseError::no_ports)?;
        if port == 0 {
            return Err(LeaseError::Invalid("0 is no port".into()));
        }
        if held.0.contains_key(&port) {
            return Ok(());
        }
        self.leave_room(&table, 1)?;
        if let Some(changing) = table.changing.values().find(|it| it.covers(protocol, port)) {
            let holder = Some(format!("the publication {}", changing.name));
            return Err(Taken { address: None, protocol, port, holder }.into());
        }
        let published = table.published.values().any(|it| it.address.is_none() && it.covers(protocol, port));
        let held = table.held_mut(protocol).ok_or_else(LeaseError::no_ports)?;
        if held.kept_ports().count() >= KEPT {
            return Err(LeaseError::Invalid(format!(
                "{KEPT} ports of {protocol} are kept already, the most that may be"
            )));
        }
        let socket = if published {
            None
        } else {
            let socket = self.hold(protocol, None, port, Purpose::Nat);
            Some(socket.map_err(|source| cannot_hold(source, None, protocol, port, || None))?)
        };
        held.0.insert(port, Lease { socket, kept: true });
        Ok(())
    }

    /// Whether [`Leases::keep`] holds the port, or the pool has it.
    pub fn is_held(&self, protocol: Protocol, port: u16) -> bool {
        self.table().held(protocol).is_some_and(|held| held.0.contains_key(&port))
    }

    /// Kept ports that have had to yield since the last time: NAT must not use them any more.
    pub fn take_lost(&self) -> Vec<(Protocol, u16)> {
        std::mem::take(&mut self.table().lost)
    }

    /// Gives back a port that [`Leases::keep`] held. Ports of the pool stay, and published ones stay published.
    pub fn release(&self, protocol: Protocol, port: u16) {
        let mut table = self.table();
        if let Some(held) = table.held_mut(protocol)
            && held.0.get(&port).is_some_and(|lease| lease.kept)
        {
            held.0.remove(&port);
        }
    }

    /// Holds the ports of a publication, all or none, and relays to it what clients on the host itself send there. A port
    /// that NAT holds already serves for both from then on. If the publication stands on one address only, that cannot be: a kept port
    /// yields to it ([`Leases::take_lost`], even when it fails in the end), one of the pool does not.
    ///
    /// # Errors
    /// [`LeaseError::Taken`] for the first port that somebody else has; [`LeaseError::NoSuchAddress`],
    /// [`LeaseError::Descriptors`], [`LeaseError::Invalid`], [`LeaseError::System`].
    pub fn publish(&self, published: &Published) -> Result<(), LeaseError> {
        let published = published.checked()?;
        let mut shared = self.announce(&published)?;
        let mut sockets = Vec::with_capacity(ports(published.ports).len());
        let opened = ports(published.ports).try_for_each(|port| {
            sockets.push(self.acquire(&mut shared, &published, port)?);
            Ok(())
        });
        let served = opened.and_then(|()| {
            self.relay.add(published.clone(), std::mem::take(&mut sockets)).map_err(|(source, back)| {
                sockets = back;
                LeaseError::System { action: format!("serve local clients of {}", published.name), source }
            })
        });
        if served.is_err() {
            self.give_back(&published, ports(published.ports).zip(sockets).chain(shared));
        }
        let mut table = self.table();
        table.changing.remove(&published.id);
        if served.is_ok() {
            table.published.insert(published.id, published);
        }
        served
    }

    /// Sees to it that the ports of a publication are nobody else's, as far as we know, until its sockets are open. Returns
    /// the sockets that there are already.
    fn announce(&self, published: &Published) -> Result<BTreeMap<u16, Socket>, LeaseError> {
        let table = &mut *self.table();
        if let Some(there) = table.publications().find(|it| it.id == published.id) {
            return Err(LeaseError::Invalid(format!(
                "publication {} is there already: {}",
                there.id, there.name
            )));
        }
        if let Some(taken) = table.publications().find_map(|other| other.conflict(published)) {
            return Err(taken.into());
        }
        self.leave_room(table, ports(published.ports).len())?;
        table.changing.insert(published.id, published.clone());
        let held = table.held_mut(published.protocol).ok_or_else(LeaseError::no_ports)?;
        let leases = held.0.range_mut(ports(published.ports)).filter(|_| published.address.is_none());
        Ok(leases.filter_map(|(port, lease)| Some((*port, lease.socket.take()?))).collect())
    }

    /// Ends what is relayed to a publication. Its ports stay held.
    pub fn end_relayed(&self, id: u32) {
        self.relay.end_carried(id);
    }

    /// Gives the ports of a publication back and ends what is relayed to it, at once. Nothing happens if there is none.
    pub fn unpublish(&self, id: u32) {
        let mut table = self.table();
        let Some(published) = table.published.remove(&id) else { return };
        table.changing.insert(id, published.clone());
        drop(table);
        self.give_back(&published, ports(published.ports).zip(self.relay.remove(id)));
        self.table().changing.remove(&id);
    }

    /// Ends a publication's hold on ports: NAT has back what it shared, the rest is closed.
    fn give_back(&self, published: &Published, sockets: impl Iterator<Item = (u16, Socket)>) {
        let protocol = published.protocol;
        let is_wanted = |table: &mut Table, port| {
            table
                .held_mut(protocol)
                .is_some_and(|held| held.0.get(&port).is_some_and(|lease| lease.socket.is_none()))
        };
        for (port, socket) in sockets {
            if !is_wanted(&mut self.table(), port)
                || socket::turn(&socket, protocol, Purpose::Nat, &self.filters).is_err()
            {
                continue;
            }
            // Clients who were not taken up yet.
            while let Ok((client, _)) = socket.accept() {
                let _ = client.set_linger(Some(Duration::ZERO));
            }
            let table = &mut *self.table();
            if let Some(lease) = table.held_mut(protocol).and_then(|held| held.0.get_mut(&port)) {
                lease.socket = Some(socket);
            }
        }
    }

    /// How much the relay carries for clients on the host itself.
    pub fn carried(&self) -> Carried {
        self.relay.carried()
    }

    /// What uplinks must let in: the whole pool (so that holding more of it changes nothing), kept and published ports.
    pub fn admitted(&self) -> Admitted {
        let table = self.table();
        let of = |protocol| {
            let kept = table.held(protocol).into_iter().flat_map(Held::kept_ports);
            let published = table.published.values().filter(|it| it.protocol == protocol);
            // Nobody comes to a loopback address by an uplink.
            let reachable = published.filter(|it| it.address.is_none_or(|address| !address.is_loopback()));
            let published = reachable.map(|it| it.ports);
            merge(kept.map(|port| (port, port)).chain(published).chain([self.pool]).collect())
        };
        Admitted { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) }
    }

    /// A socket for one port of a publication: one of those that NAT shares, or a new one.
    fn acquire(
        &self,
        shared: &mut BTreeMap<u16, Socket>,
        published: &Published,
        port: u16,
    ) -> Result<Socket, LeaseError> {
        let Published { protocol, address, .. } = *published;
        let purpose = Purpose::Published;
        let failed = |source| {
            cannot_hold(source, address, protocol, port, || match self.is_held(protocol, port) {
                true => Some("pontoon itself, which translates addresses with it".into()),
                false => holder(protocol, address, port),
            })
        };
        if let Some(socket) = shared.remove(&port) {
            return match socket::turn(&socket, protocol, purpose, &self.filters) {
                Ok(()) => Ok(socket),
                Err(source) => {
                    shared.insert(port, socket);
                    Err(failed(source))
                }
            };
        }
        match self.hold(protocol, address, port, purpose) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.has_yielded(protocol, port) => {
                self.hold(protocol, address, port, purpose)
            }
            held => held,
        }
        .map_err(failed)
    }

    /// Gives a kept port up. Returns whether it was one.
    fn has_yielded(&self, protocol: Protocol, port: u16) -> bool {
        let table = &mut *self.table();
        let kept = table
            .held_mut(protocol)
            .filter(|held| held.0.get(&port).is_some_and(|lease| lease.kept))
            .and_then(|held| held.0.remove(&port));
        table.lost.extend(kept.iter().map(|_| (protocol, port)));
        kept.is_some()
    }

    fn hold(
        &self,
        protocol: Protocol,
        address: Option<Ipv4Addr>,
        port: u16,
        purpose: Purpose,
    ) -> io::Result<Socket> {
        socket::hold(protocol, address.unwrap_or(Ipv4Addr::UNSPECIFIED), port, purpose, &self.filters)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_room(&self, table: &Table, wanted: usize) -> Result<(), LeaseError> {
        let left = self.limit.ports().saturating_sub(table.sockets());
        if wanted <= left {
            Ok(())
        } else {
            Err(LeaseError::Descriptors { wanted, left, limit: self.limit.files })
        }
    }
}

fn cannot_hold(
    source: io::Error,
    address: Option<Ipv4Addr>,
    protocol: Protocol,
    port: u16,
    holder: impl FnOnce() -> Option<String>,
) -> LeaseError {
    match (source.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => Taken { address, protocol, port, holder: holder() }.into(),
        (io::ErrorKind::AddrNotAvailable, Some(address)) => LeaseError::NoSuchAddress(address),
        _ => LeaseError::System { action: format!("hold {port}/{protocol}"), source },
    }
}
