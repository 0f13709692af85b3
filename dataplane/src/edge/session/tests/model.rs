//! The table against a plain model: a list of sessions, searched from end to end.

use proptest::prelude::*;

use super::*;

const SHARE: u32 = 5;
const LIMIT: u32 = 9;
const PORTS: core::ops::RangeInclusive<u16> = 200..=205;
const LATE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
enum Operation {
    /// A packet of some flow, in this direction, with these flags if it is TCP; it opens the session if there is none.
    Packet {
        protocol: Protocol,
        owner: u16,
        port: u16,
        service: u16,
        direction: Direction,
        flags: u8,
    },
    Advance {
        millis: u64,
    },
    Expire {
        budget: usize,
    },
    Remove {
        which: usize,
    },
    RemoveOwner {
        owner: u16,
    },
    Sweep {
        service: u16,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let protocol = prop_oneof![4 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp), 1 => Just(Protocol::Icmp)];
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    // FIN, SYN, RST and ACK as they come, and as nobody should send them.
    let flags = prop_oneof![Just(0x02u8), Just(0x12), Just(0x10), Just(0x11), Just(0x04), any::<u8>()];
    let packet = (protocol, 0..4u16, 1..4u16, 1..3u16, direction, flags).prop_map(
        |(protocol, owner, port, service, direction, flags)| Operation::Packet {
            protocol,
            owner,
            port,
            service,
            direction,
            flags,
        },
    );
    prop_oneof![
        30 => packet,
        4 => prop_oneof![0..3000u64, 0..400_000u64, 0..9_000_000u64].prop_map(|millis| Operation::Advance { millis }),
        2 => (0..4usize).prop_map(|budget| Operation::Expire { budget }),
        1 => (0..LIMIT as usize).prop_map(|which| Operation::Remove { which }),
        1 => (0..4u16).prop_map(|owner| Operation::RemoveOwner { owner }),
        1 => (1..3u16).prop_map(|service| Operation::Sweep { service }),
    ]
}

#[derive(Debug, Clone)]
struct Known {
    new: NewSession,
    last_seen: Timestamp,
    /// When it came into its group: half open, closed, or neither.
    since: u64,
    answered: bool,
    complete: bool,
    fin: [bool; 2],
    rst: [bool; 2],
}

impl Known {
    fn is_tcp(&self) -> bool {
        self.new.original.protocol == Protocol::Tcp
    }

    fn is_closed(&self) -> bool {
        self.is_tcp() && (self.fin == [true, true] || self.rst != [false, false])
    }

    fn is_half_open(&self) -> bool {
        self.is_tcp() && !self.is_closed() && !self.complete
    }

    fn is_one_way(&self) -> bool {
        self.new.original.protocol == Protocol::Udp && !self.answered
    }

    fn may_yield(&self, now: Timestamp) -> bool {
        !self.is_one_way() || Moment::at(self.last_seen).after(Duration::from_secs(30)) <= Moment::at(now)
    }

    fn timeout(&self) -> Duration {
        match self.new.original.protocol {
            Protocol::Tcp if self.is_closed() || !self.complete => Duration::from_secs(240),
            Protocol::Tcp => Duration::from_secs(7440),
            Protocol::Udp => Duration::from_secs(300),
            Protocol::Icmp => Duration::from_secs(60),
        }
    }

    fn see(&mut self, direction: Direction, flags: u8, now: Timestamp, order: u64) {
        let before = (self.is_half_open(), self.is_closed());
        let before_seen = self.last_seen;
        let original = direction == Direction::Original;
        if !self.is_tcp() {
            self.answered |= !original;
        } else if flags & 0x04 != 0 {
            self.rst[direction as usize] = true;
        } else if self.is_closed() && original && flags & 0x12 == 0x02 {
            *self =
                Known { fin: [false; 2], rst: [false; 2], answered: false, complete: false, ..self.clone() };
        } else {
            self.rst[direction as usize] = false;
            self.complete |= original && self.answered && flags & 0x10 != 0;
            self.answered |= !original;
            self.fin[direction as usize] |= flags & 0x01 != 0;
        }
        if original || self.new.original.protocol != Protocol::Udp {
            self.last_seen = now;
        }
        let is_used = !Moment::at(before_seen).same_epoch(Moment::at(self.last_seen));
        if before != (self.is_half_open(), self.is_closed()) || self.is_one_way() && is_used {
            self.since = order;
        }
    }
}

/// The oldest of the endpoint that has most of a kind; among several, the one with the highest number.
fn victim(known: &[Known], owner: Option<PortId>, now: Timestamp) -> Option<usize> {
    let mut kinds: [fn(&Known) -> bool; 3] = [Known::is_closed, Known::is_half_open, Known::is_one_way];
    if owner.is_some() {
        kinds.swap(1, 2);
    }
    kinds.into_iter().find_map(|is_it| {
        let count = |owner| known.iter().filter(|it| it.new.owner == owner && is_it(it)).count();
        let owner = owner.or_else(|| (0..4).map(PortId).max_by_key(|&owner| (count(owner), owner.0)))?;
        (0..known.len())
            .filter(|&at| known[at].new.owner == owner && is_it(&known[at]))
            .min_by_key(|&at| known[at].since)
            .filter(|&at| known[at].may_yield(now))
    })
}

struct Run {
    table: Sessions,
    known: Vec<Known>,
    now: Timestamp,
    order: u64,
}

impl Run {
    fn new() -> Run {
        let mut table = table(LIMIT, SHARE);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            table.ports_mut().hold(protocol, &[(*PORTS.start(), *PORTS.end())]);
        }
        Run { table, known: Vec::new(), now: START, order: 0 }
    }

    fn apply(&mut self, operation: &Operation) {
        self.order += 1;
        match *operation {
            Operation::Packet { protocol, owner, port, service, direction, flags } => {
                let service = if protocol == Protocol::Icmp { 0 } else { service };
                let original = Tuple::v4(protocol, (endpoint(owner), port), (SERVER, service));
                match self.known.iter().position(|it| it.new.original == original) {
                    Some(at) => self.see(at, direction, flags),
                    None => self.open(original, PortId(owner), flags),
                }
            }
            Operation::Advance { millis } => self.now = self.now + Duration::from_millis(millis),
            Operation::Expire { budget } => self.expire(budget),
            Operation::Remove { which } => {
                if let Some(id) = self.known.get(which).and_then(|it| self.table.find(&it.new.reply)) {
                    self.table.remove(id.0, self.now);
                    self.known.remove(which);
                }
            }
            Operation::RemoveOwner { owner } => {
                self.table.remove_owner(PortId(owner), self.now);
                self.known.retain(|it| it.new.owner != PortId(owner));
            }
            Operation::Sweep { service } => {
                let end =
                    self.table.sweep(self.now, 0, |it, _| it.tuple(Direction::Original).dst_port == service);
                assert_eq!(end, None);
                self.known.retain(|it| it.new.original.dst_port != service);
            }
        }
    }

    fn see(&mut self, at: usize, direction: Direction, flags: u8) {
        let known = &mut self.known[at];
        let (id, found) = self.table.find(known.new.original_or_reply(direction)).expect("it is there");
        assert_eq!(found, direction);
        self.table.seen(id, direction, self.now, known.is_tcp().then_some(TcpFlags(flags)));
        known.see(direction, flags, self.now, self.order);
    }

    fn open(&mut self, original: Tuple, owner: PortId, flags: u8) {
        self.expire(usize::MAX);
        let reply = Tuple::v4(original.protocol, (SERVER, original.dst_port), (OUTSIDE, 0));
        let own = (original.src, original.src_port);
        let with = |port: u16| Tuple { dst_port: port, ..reply };
        let yields = |known: &[Known], port: u16| {
            known
                .iter()
                .find(|it| it.new.reply == with(port))
                .is_none_or(|it| it.is_closed() || it.is_half_open())
        };
        let Some(port) = self.table.choose_port(self.now, owner, own, &reply, Lease::Shared, false) else {
            assert!(PORTS.into_iter().all(|port| !yields(&self.known, port)), "a port was left");
            return;
        };
        assert!(yields(&self.known, port), "port {port} is another's");
        let new = NewSession { original, reply: with(port), owner, ..outbound(original.protocol, 0, 0) };
        let flags = (original.protocol == Protocol::Tcp).then_some(TcpFlags(flags));
        let result = self.table.insert(self.now, &new, flags);
        // The model does the same the slow way.
        self.known.retain(|it| it.new.reply != new.reply);
        let expected = self.make_room(owner);
        assert_eq!(result.err(), expected);
        if expected.is_none() {
            let mut known = Known {
                new,
                last_seen: self.now,
                since: self.order,
                answered: false,
                complete: false,
                fin: [false; 2],
                rst: [false; 2],
            };
            known.see(Direction::Original, flags.map_or(0, |flags| flags.0), self.now, self.order);
            self.known.push(known);
        }
    }

    fn make_room(&mut self, owner: PortId) -> Option<Refused> {
        if self.known.iter().filter(|it| it.new.owner == owner).count() >= SHARE as usize {
            match victim(&self.known, Some(owner), self.now) {
                Some(at) => self.known.remove(at),
                None => return Some(Refused::Share),
            };
        }
        if self.known.len() >= LIMIT as usize {
            match victim(&self.known, None, self.now) {
                Some(at) => self.known.remove(at),
                None => return Some(Refused::Full),
            };
        }
        None
    }

    /// Whoever is gone was due; unless the budget was short, whoever is left was not.
    fn expire(&mut self, budget: usize) {
        let next = self.table.expire(self.now, budget);
        let before = self.known.len();
        let (table, now) = (&self.table, self.now);
        self.known.retain(|it| {
            let is_there = table.find(&it.new.original).is_some();
            assert!(is_there || now.since(it.last_seen) >= it.timeout(), "ended early: {it:?}");
            is_there
        });
        assert!(before - self.known.len() <= budget);
        if before - self.known.len() < budget {
            assert!(next.is_none_or(|next| next > now));
            for it in &self.known {
                let late = now.since(it.last_seen).saturating_sub(it.timeout());
                assert!(late <= Moment::EPOCH + LATE, "{late:?} late: {it:?}");
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.table.len() as usize, self.known.len());
        for it in &self.known {
            let (id, direction) = self.table.find(&it.new.original).expect("found by its original");
            assert_eq!(direction, Direction::Original);
            assert_eq!(self.table.find(&it.new.reply), Some((id, Direction::Reply)));
            let session = self.table.get(id);
            assert_eq!((session.owner(), session.is_half_open()), (it.new.owner, it.is_half_open()));
            assert_eq!(session.state() == "closed", it.is_closed());
        }
        let stats = self.table.stats();
        assert_eq!(stats.half_open as usize, self.known.iter().filter(|it| it.is_half_open()).count());
        for owner in (0..4).map(PortId) {
            let count = stats.per_endpoint.iter().find(|it| it.0 == owner).map_or(0, |it| it.1);
            assert_eq!(count as usize, self.known.iter().filter(|it| it.new.owner == owner).count());
        }
        let used = |protocol| {
            let is_used = |port: &u16| {
                self.known
                    .iter()
                    .any(|it| (it.new.reply.protocol, it.new.reply.dst_port) == (protocol, *port))
            };
            PORTS.filter(is_used).count() as u32
        };
        assert_eq!(stats.ports_used, (used(Protocol::Tcp), used(Protocol::Udp)));
        let (views, _) = self.table.page(self.now, SessionFilter::default(), 0, usize::MAX);
        assert_eq!(views.len(), self.known.len());
    }
}

impl NewSession {
    fn original_or_reply(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_a_list(operations in prop::collection::vec(operation(), 1..150)) {
        let mut run = Run::new();
        for operation in &operations {
            run.apply(operation);
            run.check();
        }
    }
}
