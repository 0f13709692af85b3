//! An errand: find a name's address, fetch a stream of bytes from there, check every one of them.
//!
//! A connection that breaks is begun anew only where something happened that may break it: a session of NAT that control or a
//! restart has ended. Everything else TCP must survive.

use std::net::Ipv4Addr;

use smoltcp::iface::{Context, SocketHandle};
use smoltcp::socket::{dns, tcp};
use smoltcp::wire::{DnsQueryType, IpAddress};

use super::agenda::{Micros, SECOND};
use super::frames;
use super::station::{NUDGE, byte_of, request};

/// How long a connection that may be broken is silent before it is given up.
const PATIENCE: Micros = 20 * SECOND;

/// What is to be fetched, from where, and how far that is.
pub(super) struct Errand {
    pub(super) name: String,
    /// The right answer to that question.
    pub(super) address: Ipv4Addr,
    /// It is fetched by IPv6: from the address that stands for the one that the name has.
    by_ipv6: bool,
    pub(super) port: u16,
    pub(super) size: u32,
    pub(super) key: u32,
    /// Switches whose edges it depends on.
    pub(super) edges: Vec<usize>,
    phase: Phase,
    /// Connections that were begun before this may break.
    excused_until: Micros,
    /// When the connection was begun, and when something last came.
    began: Micros,
    heard: Micros,
    /// Once more over the same connection, so long after the first time.
    again_after: Option<Micros>,
    /// When to ask for the bytes; none: that is done.
    ask_at: Option<Micros>,
    received: u32,
    /// How often it had to begin anew.
    pub(super) restarts: u32,
    /// What must not have happened.
    pub(super) failure: Option<String>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Begins then.
    Later(Micros),
    Asking(dns::QueryHandle),
    /// Knows the address, connects then.
    Found(IpAddress, Micros),
    Fetching(IpAddress, SocketHandle),
    Done,
}

/// What an errand needs to go on.
pub(super) enum Need {
    Nothing,
    Name,
    Connection,
    Turn(SocketHandle),
}

/// Whom an errand is to, and what for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) by_ipv6: bool,
    pub(super) port: u16,
    pub(super) edges: Vec<usize>,
    pub(super) start: Micros,
    pub(super) size: u32,
    pub(super) key: u32,
    /// The same once more over the same connection, after so long a silence.
    pub(super) again_after: Option<Micros>,
}

impl Errand {
    pub(super) fn new(order: Order) -> Errand {
        let Order { name, address, by_ipv6, port, edges, start, size, key, again_after } = order;
        Errand {
            name,
            address,
            by_ipv6,
            port,
            size,
            key,
            edges,
            phase: Phase::Later(start),
            excused_until: 0,
            began: 0,
            heard: 0,
            again_after,
            ask_at: None,
            received: 0,
            restarts: 0,
            failure: None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// How far it is.
    pub(super) fn progress(&self) -> String {
        let phase = match self.phase {
            Phase::Later(_) => "not begun",
            Phase::Asking(_) => "asking for the name",
            Phase::Found(..) => "about to connect",
            Phase::Fetching(..) => "fetching",
            Phase::Done => "done",
        };
        format!("{phase}, {} of {} bytes, begun anew {} times", self.received, self.size, self.restarts)
    }

    /// Sessions of these edges may have ended, up to `until`.
    pub(super) fn excuse(&mut self, edge: usize, until: Micros) {
        if self.edges.contains(&edge) {
            self.excused_until = self.excused_until.max(until);
        }
    }

    /// When it has something to do that no frame brings.
    pub(super) fn wants_call(&self, now: Micros) -> Option<Micros> {
        match self.phase {
            Phase::Later(at) | Phase::Found(_, at) => Some(at.max(now)),
            Phase::Fetching(..) => {
                let patience = self.is_excused().then_some(self.heard + PATIENCE);
                // Whoever is not connected yet hears of that by a frame.
                [patience, self.ask_at.filter(|&at| at > now)]
                    .into_iter()
                    .flatten()
                    .min()
                    .map(|at| at.max(now))
            }
            _ => None,
        }
    }

    pub(super) fn needs(&self, now: Micros) -> Need {
        match self.phase {
            Phase::Later(at) if at <= now => Need::Name,
            Phase::Asking(_) => Need::Name,
            Phase::Found(_, at) if at <= now => Need::Connection,
            Phase::Fetching(_, handle) => Need::Turn(handle),
            _ => Need::Nothing,
        }
    }

    /// Asks for the name, or looks whether the answer is there. Returns whether anything was done.
    pub(super) fn ask(&mut self, now: Micros, resolver: &mut dns::Socket<'_>, context: &mut Context) -> bool {
        let Phase::Asking(query) = self.phase else {
            let Ok(query) = resolver.start_query(context, &self.name, DnsQueryType::A) else { return false };
            self.phase = Phase::Asking(query);
            return true;
        };
        match resolver.get_query_result(query) {
            Err(dns::GetQueryResultError::Pending) => return false,
            // No answer in 10 s.
            Err(dns::GetQueryResultError::Failed) => self.phase = Phase::Later(now + SECOND),
            Ok(found) => {
                if found[..] != [IpAddress::Ipv4(self.address)] {
                    self.fail(format!("{} is {found:?} by DNS, and not {}", self.name, self.address));
                }
                let address = match self.by_ipv6 {
                    true => frames::ipv6_of(self.address).into(),
                    false => self.address.into(),
                };
                self.phase = Phase::Found(address, now);
            }
        }
        true
    }

    /// Begins a connection.
    pub(super) fn connect(
        &mut self,
        now: Micros,
        socket: &mut tcp::Socket<'_>,
        handle: SocketHandle,
        context: &mut Context,
        own_port: u16,
    ) -> bool {
        let Phase::Found(address, _) = self.phase else { return false };
        if let Err(error) = socket.connect(context, (address, self.port), own_port) {
            self.fail(format!("cannot connect to {address}: {error}"));
        }
        (self.began, self.heard, self.received, self.ask_at) = (now, now, 0, Some(now));
        self.phase = Phase::Fetching(address, handle);
        true
    }

    /// Asks for the bytes and takes what has come. Returns whether anything was done.
    pub(super) fn turn(&mut self, now: Micros, socket: &mut tcp::Socket<'_>) -> bool {
        let Phase::Fetching(address, _) = self.phase else { return false };
        if self.ask_at.is_some_and(|at| at <= now) && socket.may_send() {
            let _ = socket.send_slice(&request(self.size, self.key));
            (self.ask_at, self.heard) = (None, now);
            return true;
        }
        let received = self.received;
        self.take(socket);
        if self.received != received {
            self.heard = now;
        }
        let ended =
            !socket.may_recv() && !matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived);
        if self.received == self.size
            && !ended
            && let Some(pause) = self.again_after.take()
        {
            (self.received, self.ask_at, self.heard) = (0, Some(now + pause), now + pause);
        } else if self.received == self.size {
            socket.close();
            self.phase = Phase::Done;
        } else if ended && self.is_excused() || self.is_excused() && now >= self.heard + PATIENCE {
            socket.abort();
            self.restarts += 1;
            self.phase = Phase::Found(address, now + SECOND);
        } else if ended {
            self.fail(format!("the connection to {}:{} broke: {}", self.name, self.port, self.progress()));
            self.phase = Phase::Done;
        } else {
            return self.received != received;
        }
        true
    }

    fn take(&mut self, socket: &mut tcp::Socket<'_>) {
        let (key, mut at, mut wrong) = (self.key, self.received, None);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                for &byte in bytes.iter().filter(|&&byte| byte != NUDGE) {
                    if byte != byte_of(key, at) {
                        wrong.get_or_insert(at);
                    }
                    at += 1;
                }
                (bytes.len(), bytes.len())
            });
            if taken.is_err() {
                break;
            }
        }
        self.received = at;
        if let Some(place) = wrong {
            self.fail(format!("byte {place} from {} is wrong", self.name));
        }
        if at > self.size {
            self.fail(format!("{} sent {at} bytes instead of {}", self.name, self.size));
        }
    }

    fn is_excused(&self) -> bool {
        self.began < self.excused_until
    }

    fn fail(&mut self, failure: String) {
        self.failure.get_or_insert(failure);
    }
}
