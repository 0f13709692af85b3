//! TCP connections of local clients.
//!
//! Both sides reset when they are closed, until the connection has ended as it should: so a refusal, an error, an abort
//! and the end of the publication all reach the other side as what they are, and never look like the end of the data.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{AWAY, Listener, Shared, TURN, spare};

/// Bytes of a connection that are under way in each direction.
const BUFFER: usize = 16 * 1024;

/// An endpoint may vanish with its sandbox and say nothing: asked for after this time of silence.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Takes up the connections that wait at a published port, and carries them by that interface.
pub(super) fn accept(
    shared: &Arc<Shared>,
    listener: &mut Listener,
    index: u16,
    by: Option<&Arc<str>>,
    spare: &mut Option<OwnedFd>,
) {
    while listener.connections.try_join_next().is_some() {}
    for _ in 0..TURN {
        let Some(socket) = listener.sockets.get(usize::from(index)) else { return };
        match socket.accept() {
            Ok((client, _)) => begin(shared, listener, index, by, client),
            Err(error) if is_out_of_files(&error) => {
                return turn_away(shared, socket, spare);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // This one has gone already; the next may be there.
            Err(_) => {}
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Accepts and resets one connection, for else it would be reported again at once, for ever.
fn turn_away(shared: &Shared, socket: &Socket, reserve: &mut Option<OwnedFd>) {
    shared.complaints.say(|| {
        "a local client of a published port was turned away: no more files can be opened; raise the daemon's limit (LimitNOFILE=)".into()
    });
    *reserve = None;
    if let Ok((client, _)) = socket.accept() {
        let _ = client.set_linger(Some(Duration::ZERO));
    }
    *reserve = spare();
}

/// Carries a connection, unless it must be refused.
fn begin(shared: &Arc<Shared>, listener: &mut Listener, index: u16, by: Option<&Arc<str>>, client: Socket) {
    let target = listener.target(index);
    let Some(peer) = client.peer_addr().ok().and_then(|peer| peer.as_socket_ipv4()) else { return };
    if prepare(&client).is_err() {
        return;
    }
    let name = &listener.published.name;
    let Some(by) = by else {
        return shared.complaints.say(|| format!("{peer} was turned away from {name}: {AWAY}"));
    };
    if listener.connections.len() >= shared.limits.connections_each {
        let most = shared.limits.connections_each;
        return shared.complaints.say(|| format!("{peer} was turned away: {name} has {most} local connections already, the most that one publication may have"));
    }
    let Ok(permit) = Arc::clone(&shared.room).try_acquire_owned() else {
        let most = shared.limits.connections;
        return shared.complaints.say(|| format!("{peer} was turned away from {name}: there are {most} local connections to published ports already, the most that there may be"));
    };
    let (name, by) = (name.clone(), Arc::clone(by));
    let way = Way { peer, by, target };
    listener.connections.spawn(carry(Arc::clone(shared), client, way, name, permit));
}

/// Sets up either side of a connection.
fn prepare<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket = socket.into();
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// Whose connection is carried where.
struct Way {
    peer: SocketAddrV4,
    /// The host's port on the endpoint's network.
    by: Arc<str>,
    target: SocketAddrV4,
}

/// Connects by that interface, wherever the host's routes lead.
async fn connect(&Way { ref by, target, .. }: &Way) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Before it connects: the endpoint may have taken the connection when we are told to drop it.
    prepare(&socket)?;
    socket.bind_device(Some(by.as_bytes()))?;
    socket.connect(target.into()).await
}

async fn carry(shared: Arc<Shared>, client: Socket, way: Way, name: String, _permit: OwnedSemaphorePermit) {
    let connecting = timeout(shared.limits.connect, connect(&way)).await;
    let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match connected {
        Ok(endpoint) => {
            // How it ends is between the two.
            let _ = exchange(client, endpoint).await;
        }
        Err(error) => shared.complaints.say(|| {
            let Way { peer, target, .. } = way;
            format!("{peer} was turned away from {name}: the host cannot connect to the endpoint at {target}: {error}")
        }),
    }
}

/// Carries bytes both ways until both sides have ended; each side's end is passed on as such.
async fn exchange(client: Socket, mut endpoint: TcpStream) -> io::Result<()> {
    client.set_nonblocking(true)?;
    let mut client = TcpStream::from_std(client.into())?;
    copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await?;
    SockRef::from(&client).set_linger(None)?;
    SockRef::from(&endpoint).set_linger(None)
}
