//! Hostile hosts.

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::frame::ethertype;
use pontoon_dataplane::offload::Offload;
use smoltcp::wire::ArpOperation;

use super::agenda::{MILLI, Micros, SECOND};
use super::build::{OUTSIDE, some_time};
use super::faults::Trouble;
use super::frames::{self, Station};
use super::world::{Event, World};
use crate::random::Random;

/// What a hostile host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// Frames from and to ever new addresses.
    MacFlood,
    /// ARP that says that it is the gateway.
    PoisonGateway,
    /// ARP and neighbour discovery that say that it is a neighbour.
    PoisonNeighbour,
    /// Connections through NAT that it never completes, and some in others' names.
    SessionFlood,
    /// Fragments of packets that never become whole, or contradict themselves.
    FragmentBomb,
    /// More broadcasts than the switch can serve.
    Storm,
    /// DHCP offers in the gateway's name.
    RogueDhcp,
    /// Answers to others' DNS questions in the name server's name.
    RogueDns,
}

impl Attack {
    /// All of them.
    pub const ALL: [Attack; 8] = [
        Attack::MacFlood,
        Attack::PoisonGateway,
        Attack::PoisonNeighbour,
        Attack::SessionFlood,
        Attack::FragmentBomb,
        Attack::Storm,
        Attack::RogueDhcp,
        Attack::RogueDns,
    ];
}

/// A hostile host at work.
#[derive(Debug)]
pub(super) struct Hostile {
    pub(super) attack: Attack,
    pub(super) host: usize,
    until: Micros,
    every: Micros,
    random: Random,
    pub(super) sent: u64,
}

/// One or two hostile hosts: of the kind whose turn it is, and any other.
pub(super) fn place(world: &mut World, random: &mut Random, seed: u64) {
    // Nobody is there whom connections could be completed with.
    let sink = world.add_host(OUTSIDE, 0, false, random);
    world.hosts[sink].is_deaf = true;
    world.give_stack(sink, OUTSIDE, None, random);
    let kinds = Attack::ALL.len();
    // So that each has its turn together with every trouble.
    let turn = seed + seed / Trouble::ALL.len() as u64;
    let mut attacks = vec![Attack::ALL[(turn % kinds as u64) as usize]];
    if random.chance(400, 1000) {
        attacks.push(Attack::ALL[random.below(kinds)]);
    }
    for attack in attacks {
        let lan = 1 + random.below(world.lans.len() - 1);
        let switches = &world.lans[lan].switches;
        let any = switches[random.below(switches.len())];
        // Who is counted by the port shares it with nobody.
        let by_port = matches!(attack, Attack::SessionFlood | Attack::FragmentBomb);
        let switch = world.lans[lan].edge.filter(|_| by_port).unwrap_or(any);
        // An unguarded port may have any address behind it, but the gateway's.
        let may_be_open = match attack {
            Attack::MacFlood => true,
            Attack::Storm => random.chance(500, 1000),
            Attack::PoisonGateway => Some(switch) == world.lans[lan].edge && random.chance(500, 1000),
            _ => false,
        };
        let host = world.add_host(lan, switch, !may_be_open, random);
        let (begins, until) = match attack {
            Attack::Storm => some_time(random, 300 * MILLI),
            Attack::RogueDns => (0, 12 * SECOND),
            _ => some_time(random, 3 * SECOND),
        };
        let every = match attack {
            Attack::Storm => world.switches[switch].cost / 2 + 1,
            Attack::MacFlood => random.within(300, 2000),
            Attack::SessionFlood | Attack::FragmentBomb => random.within(500, 3000),
            _ => random.within(2, 40) * MILLI,
        };
        let number = world.hostiles.len();
        world.hostiles.push(Hostile {
            attack,
            host,
            until,
            every,
            random: Random::new(random.bits()),
            sent: 0,
        });
        world.agenda.note(begins, Event::Attack(number));
        world.quiet_from = world.quiet_from.max(until);
    }
}

/// What a hostile host knows of its surroundings.
struct Scene {
    own: Station,
    gateway: Station,
    neighbours: Vec<Station>,
    sink: Station,
}

impl World {
    /// A hostile host sends its next frame.
    pub(super) fn attack(&mut self, number: usize) {
        let host = self.hostiles[number].host;
        let Some(gateway) = self.lans[self.hosts[host].lan].gateway else { return };
        let Some(sink) = self.hosts.iter().find(|host| host.is_deaf).map(|host| host.own) else { return };
        let scene = Scene { own: self.hosts[host].own, gateway, neighbours: self.neighbours(host), sink };
        let hostile = &mut self.hostiles[number];
        if self.now > hostile.until {
            return;
        }
        let frame = hostile.frame(&scene);
        let next = self.now + hostile.every;
        if let Some(frame) = frame {
            hostile.sent += 1;
            self.send_from(host, frame, Offload::NONE);
        }
        self.agenda.note(next, Event::Attack(number));
    }

    /// Whoever answers in the name server's name hears every question on his LAN.
    pub(super) fn overhear(&mut self, host: usize, question: &[u8]) {
        let lan = self.hosts[host].lan;
        let rogue =
            |it: &Hostile| it.attack == Attack::RogueDns && self.hosts[it.host].lan == lan && it.host != host;
        let Some(number) = self.hostiles.iter().position(rogue) else { return };
        let Some(lie) = forged_answer(question, self.hosts[self.hostiles[number].host].own) else { return };
        self.hostiles[number].sent += 1;
        self.send_from(self.hostiles[number].host, lie, Offload::NONE);
    }
}

/// The answer to a DNS question that leads to the liar.
fn forged_answer(question: &[u8], liar: Station) -> Option<Vec<u8>> {
    let is_dns =
        question.get(12..14)? == [8, 0] && question.get(23) == Some(&17) && question.get(36..38)? == [0, 53];
    let octets = |at: usize| question.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let (victim, server) = (octets(26)?, octets(30)?);
    let port = u16::from_be_bytes([*question.get(34)?, *question.get(35)?]);
    let answer = frames::dns_answer(question.get(42..)?, Some(liar.1)).filter(|_| is_dns)?;
    let packet = frames::udp((server.into(), 53), (victim.into(), port), &answer);
    let to = MacAddr(question.get(6..12)?.try_into().ok()?);
    Some(frames::ethernet(to, liar.0, ethertype::IPV4, &packet))
}

impl Hostile {
    fn frame(&mut self, scene: &Scene) -> Option<Vec<u8>> {
        let Scene { own, gateway, .. } = *scene;
        let victim = scene.neighbours[self.random.below(scene.neighbours.len())];
        Some(match self.attack {
            Attack::MacFlood => {
                let (src, dst) = (self.any_mac(), self.any_mac());
                frames::ethernet(dst, src, 0x9000, &[0; 46])
            }
            Attack::PoisonGateway => self.poison(own, gateway.1, victim),
            Attack::PoisonNeighbour => {
                let other = scene.neighbours[self.random.below(scene.neighbours.len())];
                self.poison(own, other.1, victim)
            }
            Attack::SessionFlood => {
                let forged = self.random.chance(200, 1000);
                let from = if forged { victim.1 } else { own.1 };
                let ports = (self.any_port(), self.any_port());
                frames::ethernet(
                    gateway.0,
                    own.0,
                    ethertype::IPV4,
                    &frames::syn((from, ports.0), (scene.sink.1, ports.1)),
                )
            }
            Attack::FragmentBomb => self.fragment(scene),
            Attack::Storm if self.random.chance(500, 1000) => {
                frames::arp(ArpOperation::Request, MacAddr::BROADCAST, own.0, own, (MacAddr::ZERO, gateway.1))
            }
            Attack::Storm => {
                let packet = frames::udp((own.1, 9), ([255, 255, 255, 255].into(), 9), &[0; 18]);
                frames::ethernet(MacAddr::BROADCAST, own.0, ethertype::IPV4, &packet)
            }
            Attack::RogueDhcp => {
                let offer = [[2, 1, 6, 0].as_slice(), &[0; 240]].concat();
                let packet = frames::udp((gateway.1, 67), ([255, 255, 255, 255].into(), 68), &offer);
                frames::ethernet(MacAddr::BROADCAST, own.0, ethertype::IPV4, &packet)
            }
            // Speaks when others ask.
            Attack::RogueDns => return None,
        })
    }

    /// ARP that says that `stolen` is at the hostile host's MAC, in one of the forms that stacks believe.
    fn poison(&mut self, own: Station, stolen: std::net::Ipv4Addr, victim: Station) -> Vec<u8> {
        let lie = (own.0, stolen);
        match self.random.below(4) {
            3 => {
                let [from, stolen] = [own.1, stolen].map(frames::ipv6_of);
                frames::advertisement(own.0, from, stolen)
            }
            0 => frames::arp_reply(own.0, lie, victim),
            1 => frames::arp(ArpOperation::Request, MacAddr::BROADCAST, own.0, lie, (MacAddr::ZERO, stolen)),
            _ => frames::arp(ArpOperation::Request, victim.0, own.0, lie, (MacAddr::ZERO, victim.1)),
        }
    }

    fn fragment(&mut self, scene: &Scene) -> Vec<u8> {
        let (own, gateway) = (scene.own, scene.gateway);
        let ident = self.random.bits() as u16 % 4096;
        let piece = (ident, self.random.below(8) as u16 * 512, self.random.chance(800, 1000));
        let payload = match self.random.chance(300, 1000) {
            true => frames::echo_request(504),
            false => vec![7; 512],
        };
        let (dst, protocol) = match self.random.chance(500, 1000) {
            true => (gateway.1, 1),
            false => (scene.sink.1, 17),
        };
        let packet = frames::ipv4(own.1, dst, protocol, piece, &payload);
        frames::ethernet(gateway.0, own.0, ethertype::IPV4, &packet)
    }

    fn any_mac(&mut self) -> MacAddr {
        let [a, b, c, ..] = self.random.bits().to_le_bytes();
        MacAddr([2, 0x66, 0x66, a, b, c])
    }

    fn any_port(&mut self) -> u16 {
        self.random.within(1024, 65_535) as u16
    }
}
