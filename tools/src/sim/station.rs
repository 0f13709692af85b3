//! An honest host: a TCP/IP stack that is no part of pontoon (smoltcp), a server, perhaps a name server, and errands.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use pontoon_dataplane::MacAddr;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{dns, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint, Ipv4Cidr, Ipv6Cidr};

use super::agenda::{Micros, SECOND};
use super::errand::{Errand, Need};
use super::frames;

/// The port that every host serves on.
pub(super) const SERVICE: u16 = 80;
/// Bytes that a TCP socket keeps for sending.
const WINDOW: usize = 16 * 1024;
/// Servers that wait for a client at any moment.
const LISTENERS: usize = 4;
/// What a client asks for: how many bytes, of which stream.
const REQUEST_LEN: usize = 8;

/// Names of the simulated world.
pub(super) type Zone = Rc<BTreeMap<String, Ipv4Addr>>;

/// The host.
pub(super) struct Station {
    interface: Interface,
    sockets: SocketSet<'static>,
    nic: Nic,
    servers: Vec<Server>,
    names: Option<(SocketHandle, Zone)>,
    resolver: SocketHandle,
    /// What it has to fetch.
    pub(super) errands: Vec<Errand>,
    next_port: u16,
    /// Clients that have come lately: address, port and first sequence number.
    clients: VecDeque<Client>,
}

type Client = (IpAddr, u16, i32);

/// How many clients are remembered.
const CLIENTS: usize = 64;

/// Who a station is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) mac: MacAddr,
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) name_server: IpAddr,
    pub(super) seed: u64,
}

/// A socket that serves one client after another.
#[derive(Debug)]
struct Server {
    socket: SocketHandle,
    /// How many bytes of which stream the client wants, and how many have been given.
    serving: Option<(u32, u32, u32)>,
    /// Since when it has a client.
    serves_since: Option<Micros>,
    /// How many bytes the client has not acknowledged, and since when it is so many.
    unheard: (usize, Micros),
}

impl Station {
    /// `zone`: it is a name server, and knows these.
    pub(super) fn new(identity: Identity, zone: Option<Zone>) -> Station {
        let mut nic = Nic::default();
        let mac = EthernetAddress(identity.mac.0);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = identity.seed;
        let mut interface = Interface::new(config, &mut nic, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // A new interface has room for two addresses.
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(identity.address, 24)));
            let _ = addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(frames::ipv6_of(identity.address), 64)));
        });
        if let Some(gateway) = identity.gateway {
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        let mut sockets = SocketSet::new(Vec::new());
        let resolver = sockets.add(dns::Socket::new(&[identity.name_server.into()], Vec::new()));
        let names = zone.map(|zone| (sockets.add(name_socket()), zone));
        let next_port = 32_768 + (identity.seed % 16_384) as u16;
        let (servers, errands) = (Vec::new(), Vec::new());
        Station {
            interface,
            sockets,
            nic,
            servers,
            names,
            resolver,
            errands,
            next_port,
            clients: VecDeque::new(),
        }
    }

    /// A frame has come.
    pub(super) fn receive(&mut self, now: Micros, bytes: Rc<[u8]>) {
        if !self.opens_again(now, &bytes) {
            self.nic.received.push_back(bytes);
        }
    }

    /// Whether a client wants to begin whom a socket already serves: smoltcp 0.14 may give his SYN to any socket that listens. It has come twice,
    /// or he has begun anew long after: then whom the socket served is gone, and it ends.
    fn opens_again(&mut self, now: Micros, frame: &[u8]) -> bool {
        let own = self.interface.ipv4_addr().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let Some(client) = frames::opening_client(frame, own) else { return false };
        let is_known = self.clients.contains(&client);
        if !is_known {
            if self.clients.len() == CLIENTS {
                self.clients.pop_front();
            }
            self.clients.push_back(client);
        }
        let remote = Some(IpEndpoint::new(client.0.into(), client.1));
        for server in &self.servers {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(server.socket);
            if socket.remote_endpoint() == remote {
                let is_stale = server.serves_since.is_some_and(|since| now > since + STALE_AFTER);
                if is_stale {
                    socket.abort();
                }
                return is_known || is_stale;
            }
        }
        false
    }

    /// Does all there is to do. Returns the frames that it sends, and when it wants to be called again.
    pub(super) fn poll(&mut self, now: Micros) -> (Vec<Vec<u8>>, Option<Micros>) {
        let instant = Instant::from_micros(now as i64);
        loop {
            let polled = self.interface.poll(instant, &mut self.nic, &mut self.sockets);
            let served = self.serve(now) | self.answer_names() | self.run_errands(now);
            if polled == PollResult::None && !served {
                break;
            }
        }
        let stack =
            self.interface.poll_at(instant, &self.sockets).map(|at| at.total_micros().max(0) as Micros);
        let errands = self.errands.iter().filter_map(|errand| errand.wants_call(now)).min();
        let nudges = self.servers.iter().filter_map(Server::nudges_at).min();
        (std::mem::take(&mut self.nic.sent), [stack, errands, nudges].into_iter().flatten().min())
    }

    fn serve(&mut self, now: Micros) -> bool {
        let mut did = false;
        for server in &mut self.servers {
            did |= server.turn(now, self.sockets.get_mut::<tcp::Socket<'_>>(server.socket));
        }
        let listening = |server: &&Server| self.sockets.get::<tcp::Socket<'_>>(server.socket).is_listening();
        let waiting = self.servers.iter().filter(listening).count();
        for _ in waiting..LISTENERS {
            let mut socket = tcp_socket();
            // Fails for port 0 only.
            let _ = socket.listen(SERVICE);
            self.servers.push(Server {
                socket: self.sockets.add(socket),
                serving: None,
                serves_since: None,
                unheard: (0, 0),
            });
        }
        did
    }

    fn answer_names(&mut self) -> bool {
        let Some((handle, zone)) = &self.names else { return false };
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(*handle);
        let mut did = false;
        while let Ok((query, from)) = socket.recv() {
            did = true;
            let address = frames::dns_name(query).and_then(|name| zone.get(&name).copied());
            if let Some(answer) = frames::dns_answer(query, address) {
                // Without room it is lost, as datagrams are.
                let _ = socket.send_slice(&answer, from.endpoint);
            }
        }
        did
    }

    fn run_errands(&mut self, now: Micros) -> bool {
        let mut did = false;
        for errand in &mut self.errands {
            did |= match errand.needs(now) {
                Need::Nothing => false,
                Need::Name => {
                    let resolver = self.sockets.get_mut::<dns::Socket<'_>>(self.resolver);
                    errand.ask(now, resolver, self.interface.context())
                }
                Need::Connection => {
                    let handle = self.sockets.add(tcp_socket());
                    self.next_port = self.next_port.checked_add(1).unwrap_or(32_768);
                    let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
                    errand.connect(now, socket, handle, self.interface.context(), self.next_port)
                }
                Need::Turn(handle) => errand.turn(now, self.sockets.get_mut::<tcp::Socket<'_>>(handle)),
            };
        }
        did
    }
}

fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
    // More than can be on its way: smoltcp 0.14 does not ask a peer whose window was closed whether it has opened, and the word of that may
    // get lost.
    tcp::Socket::new(buffer(4 * WINDOW), buffer(WINDOW))
}

fn name_socket() -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 4096]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    // Fails for port 0 only.
    let _ = socket.bind(53);
    socket
}

impl Server {
    /// When to remind the stack of what the client has not acknowledged.
    fn nudges_at(&self) -> Option<Micros> {
        let (bytes, since) = self.unheard;
        (bytes > 0 && self.serving.is_none()).then_some(since + NUDGE_AFTER)
    }

    /// Returns whether anything was done.
    fn turn(&mut self, now: Micros, socket: &mut tcp::Socket<'_>) -> bool {
        if socket.send_queue() != self.unheard.0 {
            self.unheard = (socket.send_queue(), now);
        }
        self.serves_since = match socket.state() {
            tcp::State::Listen | tcp::State::SynReceived => None,
            _ => self.serves_since.or(Some(now)),
        };
        match self.serving {
            None if socket.recv_queue() >= REQUEST_LEN => {
                let mut request = [0; REQUEST_LEN];
                let _ = socket.recv_slice(&mut request);
                let [a, b, c, d, e, f, g, h] = request;
                self.serving = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), 0));
                true
            }
            Some((size, _, given)) if given == size => {
                self.serving = None;
                true
            }
            Some((size, key, given)) if socket.can_send() => {
                let sent = socket.send(|room| {
                    let len = room.len().min((size - given) as usize);
                    (given..).zip(&mut room[..len]).for_each(|(at, byte)| *byte = byte_of(key, at));
                    (len, len as u32)
                });
                let given = given + sent.unwrap_or(0);
                self.serving = Some((size, key, given));
                true
            }
            // After a fast retransmission smoltcp 0.14 forgets what else is on its way; more to send reminds it.
            None if self.nudges_at().is_some_and(|at| at <= now) => {
                self.unheard.1 = now;
                socket.can_send() && socket.send_slice(&[NUDGE]).is_ok()
            }
            // The client closes first: smoltcp 0.14 never sends a FIN again that three duplicate ACKs have asked for.
            _ if socket.state() == tcp::State::CloseWait => {
                socket.close();
                true
            }
            _ if matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait) => {
                socket.abort();
                self.serving = None;
                socket.listen(SERVICE).is_ok()
            }
            _ => false,
        }
    }
}

/// No copy of the SYN that a client began with is on its way for so long.
const STALE_AFTER: Micros = SECOND / 2;
/// A byte that is of no stream: whoever receives it takes no notice.
pub(super) const NUDGE: u8 = 0xff;
/// How long a client may be silent before the stack is reminded.
const NUDGE_AFTER: Micros = 5 * SECOND;

/// Byte number `at` of the stream `key`.
pub(super) fn byte_of(key: u32, at: u32) -> u8 {
    let mixed = (at ^ key).wrapping_mul(0x9e37_79b1);
    (mixed >> 24) as u8 % NUDGE
}

/// What a client sends to have `size` bytes of the stream `key`.
pub(super) fn request(size: u32, key: u32) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes[4..].copy_from_slice(&key.to_be_bytes());
    bytes
}

/// What the stack reads from and writes to.
#[derive(Debug, Default)]
struct Nic {
    received: VecDeque<Rc<[u8]>>,
    sent: Vec<Vec<u8>>,
}

struct Received(Rc<[u8]>);

struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl phy::Device for Nic {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let bytes = self.received.pop_front()?;
        Some((Received(bytes), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push(frame);
        result
    }
}
