//! New TCP connections: one, or as many as go.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, Time, any_port, socket_in, watch};
use crate::bench::error::{BenchError, cannot, joined};
use crate::bench::lab::Station;
use crate::netns;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// What was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub per_second: f64,
    /// Microseconds of processor time of the whole machine for each connection.
    pub cpu_us_each: f64,
}

/// Connects once, to see that it can be done.
pub(crate) fn once(from: &Station, to: &Station, patience: Duration) -> Result<(), BenchError> {
    let listener = socket_in(to, "listen on", || TcpListener::bind(any_port(to)))?;
    let target = listener.local_addr().map_err(cannot("listen"))?;
    let what = format!("connect to {target} from");
    socket_in(from, &what, || TcpStream::connect_timeout(&target, patience)).map(drop)
}

/// Connections by `clients` threads, one after the other from each: opened, a byte sent, and reset by whoever gets it, which the client
/// waits for. So each is five packets, and neither side remembers it for a minute.
///
/// The byte is there for proxies. One that finds its connection reset when it would tell the client that it is open says that it is
/// refused, as it must; a server that resets what it accepts would measure who is fast enough to see it open.
pub(crate) fn measure(
    from: &Station,
    to: &Station,
    clients: usize,
    time: Time,
) -> Result<Opened, BenchError> {
    let listener = &socket_in(to, "listen on", || listen(any_port(to)))?;
    let target = listener.local_addr().map_err(cannot("listen"))?;
    let (opened, stop, ended) = (&AtomicU64::new(0), &AtomicBool::new(false), &AtomicBool::new(false));
    thread::scope(|scope| {
        // As many as clients, so that none waits for the byte of another.
        let servers: Vec<_> = (0..clients).map(|_| scope.spawn(|| serve(listener, ended))).collect();
        let client = move || netns::run_in(&from.netns, || connect(target, opened, stop));
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let window = watch(time, || opened.load(Relaxed));
        stop.store(true, Relaxed);
        let ends: Vec<_> = clients.into_iter().map(|client| joined(client.join())).collect();
        ended.store(true, Relaxed);
        servers.into_iter().for_each(|server| joined(server.join()));
        for end in ends {
            end?.map_err(cannot(format!("connect to {target}")))?;
        }
        let window = window?;
        let count = window.count as f64;
        Ok(Opened { per_second: count / window.seconds, cpu_us_each: window.cpu_seconds * 1e6 / count })
    })
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    // Holds for accepting as well, and so ends it.
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket.into())
}

fn serve(listener: &TcpListener, ended: &AtomicBool) {
    while !ended.load(Relaxed) {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.read(&mut [0]);
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn connect(target: SocketAddr, opened: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    while !stop.load(Relaxed) {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        // A reset that gets lost is not repeated.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[0x5a])?;
        match stream.read(&mut [0]) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
            _ => opened.fetch_add(1, Relaxed),
        };
    }
    Ok(())
}
