//! UDP datagrams of local clients.
//!
//! A flow is a client (its address, and the address that it speaks to) with a socket of its own towards the endpoint. It
//! ends after a while without datagrams. Bounds, for each publication and in all: the flow that has been idle longest gives way, found by
//! looking through all of them, 2,048 at most.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg};
use rustix::event::epoll;
use socket2::{Domain, Socket, Type};

use super::{AWAY, Limits, Listener, Shared, TURN, Token};

/// No datagram is larger.
const LARGEST: usize = 65_536;

/// Who speaks to which published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    publication: u32,
    index: u16,
    source: SocketAddrV4,
    /// The host's address that is spoken to.
    local: Ipv4Addr,
}

#[derive(Debug)]
struct Flow {
    client: Client,
    /// Connected to the endpoint.
    socket: Socket,
    used: Instant,
}

/// All flows.
#[derive(Debug)]
pub(super) struct Flows {
    limits: Limits,
    flows: HashMap<u32, Flow>,
    numbers: HashMap<Client, u32>,
    next: u32,
    buffer: Vec<u8>,
    /// Room for IP_PKTINFO.
    control: Vec<u8>,
}

impl Flows {
    pub(super) fn new(limits: Limits) -> Flows {
        Flows {
            limits,
            flows: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            buffer: vec![0; LARGEST],
            control: cmsg_space!(libc::in_pktinfo),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn clear(&mut self) {
        self.flows.clear();
        self.numbers.clear();
    }

    /// Ends all flows of a publication.
    pub(super) fn close_all(&mut self, publication: u32) {
        self.flows.retain(|_, flow| flow.client.publication != publication);
        self.numbers.retain(|client, _| client.publication != publication);
    }

    /// Ends what has been idle for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.flows.retain(|_, flow| now.saturating_duration_since(flow.used) < idle);
        self.numbers.retain(|_, number| self.flows.contains_key(number));
    }

    /// Passes on what has come to a published port, by that interface.
    pub(super) fn pass_on(
        &mut self,
        shared: &Shared,
        listener: &Listener,
        index: u16,
        by: Option<&Arc<str>>,
    ) {
        let Some(socket) = listener.sockets.get(usize::from(index)) else { return };
        let (name, target) = (&listener.published.name, listener.target(index));
        for _ in 0..TURN {
            let (length, source, local) = match receive(socket, &mut self.buffer, &mut self.control) {
                Ok(Some(received)) => received,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An error that was waiting to be reported; it is taken off by that.
                Err(_) => continue,
            };
            let Some(by) = by else {
                shared.complaints.say(|| format!("a datagram of {source} for {name} was dropped: {AWAY}"));
                continue;
            };
            let client = Client { publication: listener.published.id, index, source, local };
            match self.flow(&shared.set, client, by, target) {
                Ok(number) => self.send(number, length),
                Err(error) => shared.complaints.say(|| {
                    format!("a datagram of {source} for {name} was dropped: the host cannot send to the endpoint at {target}: {error}")
                }),
            }
        }
    }

    fn send(&mut self, number: u32, length: usize) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        flow.used = Instant::now();
        // As on any network, a datagram may get lost.
        let _ = flow.socket.send(self.buffer.get(..length).unwrap_or_default());
    }

    /// The number of the client's flow, opened if it is new.
    fn flow(&mut self, set: &OwnedFd, client: Client, by: &str, target: SocketAddrV4) -> io::Result<u32> {
        if let Some(number) = self.numbers.get(&client) {
            return Ok(*number);
        }
        self.make_room(client.publication);
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), None)?;
        // Wherever the host's routes lead.
        socket.bind_device(Some(by.as_bytes()))?;
        socket.connect(&target.into())?;
        while self.flows.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        epoll::add(set, &socket, Token::Flow(number).pack(), epoll::EventFlags::IN)?;
        self.flows.insert(number, Flow { client, socket, used: Instant::now() });
        self.numbers.insert(client, number);
        Ok(number)
    }

    /// Ends flows until there may be one more of the publication.
    fn make_room(&mut self, publication: u32) {
        let of_it = |flow: &&Flow| flow.client.publication == publication;
        if self.flows.values().filter(of_it).count() >= self.limits.flows_each {
            self.end_oldest(|flow| of_it(&flow));
        } else if self.flows.len() >= self.limits.flows {
            self.end_oldest(|_| true);
        }
    }

    fn end_oldest(&mut self, among: impl Fn(&Flow) -> bool) {
        let candidates = self.flows.iter().filter(|(_, flow)| among(flow));
        let oldest = candidates.min_by_key(|(_, flow)| flow.used).map(|(number, _)| *number);
        if let Some(flow) = oldest.and_then(|number| self.flows.remove(&number)) {
            self.numbers.remove(&flow.client);
        }
    }

    /// Gives a client what its endpoint has answered, from the address that it spoke to.
    pub(super) fn answer(&mut self, number: u32, listeners: &HashMap<u32, Listener>) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let Client { publication, index, source, local } = flow.client;
        let Some(socket) = listeners.get(&publication).and_then(|it| it.sockets.get(usize::from(index)))
        else {
            return;
        };
        for _ in 0..TURN {
            match rustix::net::recv(&flow.socket, self.buffer.as_mut_slice(), rustix::net::RecvFlags::empty())
            {
                Ok((length, _)) => {
                    flow.used = Instant::now();
                    // As on any network, a datagram may get lost.
                    let _ = send_from(local, socket, self.buffer.get(..length).unwrap_or_default(), source);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return,
                // The endpoint refuses, say: reading the error takes it off.
                Err(_) => {}
            }
        }
    }
}

/// Receives a datagram: its length, where it comes from, which of the host's addresses it was sent to.
fn receive(
    socket: &Socket,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<Option<(usize, SocketAddrV4, Ipv4Addr)>> {
    let mut parts = [IoSliceMut::new(buffer)];
    let received =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(control), MsgFlags::MSG_DONTWAIT)?;
    let local = received.cmsgs()?.find_map(|message| match message {
        // The address that answers leave from; for a broadcast not the one that it went to.
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_spec_dst),
        _ => None,
    });
    Ok(received
        .address
        .zip(local)
        .map(|(source, local)| (received.bytes, source.into(), Ipv4Addr::from(local.s_addr.to_ne_bytes()))))
}

/// Sends a datagram from one of the host's addresses.
fn send_from(from: Ipv4Addr, socket: &Socket, datagram: &[u8], to: SocketAddrV4) -> io::Result<()> {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    let parts = [IoSlice::new(datagram)];
    sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&SockaddrIn::from(to)))?;
    Ok(())
}
