//! Traffic between two namespaces of a lab, by the kernel's own stack on both sides.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::lab::{LabError, Namespace};

/// Bytes of payload that make a 64-byte Ethernet frame (frame check sequence included) of a UDP datagram.
pub const SMALLEST_PAYLOAD: usize = 18;

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connects.
    Upload,
    /// To whoever connects.
    Download,
}

/// Gbit/s of one TCP stream over `duration`, by what the receiver got.
///
/// # Errors
/// No connection; a congestion control that the kernel does not have.
pub fn tcp_stream(
    from: &Namespace,
    to: &Namespace,
    to_address: Ipv4Addr,
    congestion: &str,
    duration: Duration,
) -> Result<f64, LabError> {
    tcp_stream_towards(Direction::Upload, from, (to, to_address), congestion, duration)
}

/// As [`tcp_stream`], from whoever connects or to him.
///
/// # Errors
/// As [`tcp_stream`].
pub fn tcp_stream_towards(
    direction: Direction,
    from: &Namespace,
    (to, to_address): (&Namespace, Ipv4Addr),
    congestion: &str,
    duration: Duration,
) -> Result<f64, LabError> {
    let listener = to.run(|| TcpListener::bind((to_address, 0)))??;
    let target = listener.local_addr()?;
    let client = from.run(|| TcpStream::connect(target))??;
    let (server, _) = listener.accept()?;
    let (stream, mut sink) = match direction {
        Direction::Upload => (client, server),
        Direction::Download => (server, client),
    };
    SockRef::from(&stream).set_tcp_congestion(congestion.as_bytes())?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || send_until(stream, Instant::now() + duration));
        let mut buffer = vec![0; 256 * 1024];
        let mut bytes = 0u64;
        let started = Instant::now();
        loop {
            match sink.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        let elapsed = started.elapsed();
        sender.join().map_err(|_| "the sending thread panicked")??;
        Ok(bytes as f64 * 8.0 / elapsed.as_secs_f64() / 1e9)
    })
}

/// TCP connections a second, one after the other from each of `clients` threads: opened, and reset by whoever accepts them, which
/// the client waits for. So each is four segments, and neither side remembers it for a minute.
///
/// # Errors
/// No connection.
pub fn connections_per_second(
    from: &Namespace,
    (to, to_address): (&Namespace, Ipv4Addr),
    clients: usize,
    duration: Duration,
) -> Result<f64, LabError> {
    let listen = || -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((to_address, 0)).into())?;
        socket.listen(4096)?;
        // Holds for accepting as well, and so ends it.
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(socket.into())
    };
    let listener = to.run(listen)??;
    let target = listener.local_addr()?;
    let finished = AtomicBool::new(false);
    let started = Instant::now();
    let connect = || -> io::Result<u64> {
        let mut count = 0;
        while started.elapsed() < duration {
            match TcpStream::connect(target).and_then(|mut stream| stream.read(&mut [0])) {
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
                _ => count += 1,
            }
        }
        Ok(count)
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            while !finished.load(Relaxed) {
                if let Ok((stream, _)) = listener.accept() {
                    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
            }
        });
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(|| from.run(connect))).collect();
        let counts: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let elapsed = started.elapsed();
        finished.store(true, Relaxed);
        server.join().map_err(|_| "the accepting thread panicked")?;
        let mut total = 0;
        for count in counts {
            total += count.map_err(|_| "a connecting thread panicked")???;
        }
        Ok(total as f64 / elapsed.as_secs_f64())
    })
}

fn send_until(mut stream: TcpStream, end: Instant) -> io::Result<()> {
    let buffer = vec![0x5a; 256 * 1024];
    while Instant::now() < end {
        stream.write_all(&buffer)?;
    }
    Ok(())
}

/// UDP datagrams of `payload` bytes sent as fast as they go for `duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blast {
    /// Datagrams that the sender's kernel took.
    pub sent: u64,
    /// Datagrams that the receiving program read.
    pub received: u64,
}

/// Blasts datagrams from one namespace to another.
///
/// # Errors
/// No socket.
pub fn udp_blast(
    from: &Namespace,
    to: &Namespace,
    to_address: Ipv4Addr,
    payload: usize,
    duration: Duration,
) -> Result<Blast, LabError> {
    let sink = to.run(|| UdpSocket::bind((to_address, 0)))??;
    SockRef::from(&sink).set_recv_buffer_size(4 << 20)?;
    sink.set_read_timeout(Some(Duration::from_millis(200)))?;
    let target = sink.local_addr()?;
    let source = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    source.connect(target)?;
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut buffer = [0u8; 2048];
            let mut received = 0u64;
            loop {
                match sink.recv(&mut buffer) {
                    Ok(_) => received += 1,
                    // Silence after the end: everything that will come has come.
                    Err(_) if finished.load(Relaxed) => return received,
                    Err(_) => {}
                }
            }
        });
        let datagram = vec![0x5a; payload];
        let end = Instant::now() + duration;
        let mut sent = 0u64;
        while Instant::now() < end {
            for _ in 0..64 {
                // A full queue is a loss like any other.
                sent += u64::from(source.send(&datagram).is_ok());
            }
        }
        finished.store(true, Relaxed);
        let received = receiver.join().map_err(|_| "the receiving thread panicked")?;
        Ok(Blast { sent, received })
    })
}

/// Half of the round-trip times of `rounds` one-byte exchanges over TCP, sorted.
///
/// The two sides are kept on different CPUs: a scheduler that happens to put them on one saves a kernel bridge the
/// wake-up of the other, ten times the figure, and does so in one lab and not in the next.
///
/// # Errors
/// No connection.
pub fn ping_pong(
    from: &Namespace,
    to: &Namespace,
    to_address: Ipv4Addr,
    rounds: usize,
) -> Result<Vec<Duration>, LabError> {
    let listener = to.run(|| TcpListener::bind((to_address, 0)))??;
    let SocketAddr::V4(target) = listener.local_addr()? else { return Err("an IPv4 listener".into()) };
    let stream = from.run(|| TcpStream::connect::<SocketAddrV4>(target))??;
    let (mut echo, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    echo.set_nodelay(true)?;
    let cpus = rustix::thread::sched_getaffinity(None)?;
    let halves = std::thread::scope(move |scope| {
        scope.spawn(move || {
            let _ = stay_on_cpu(1);
            let mut byte = [0];
            while echo.read_exact(&mut byte).is_ok() && echo.write_all(&byte).is_ok() {}
        });
        stay_on_cpu(0)?;
        // Closed on every way out, so that the echo ends before the scope waits for it.
        let mut stream = stream;
        let mut halves = Vec::with_capacity(rounds);
        let mut byte = [0x5a];
        for _ in 0..rounds {
            let started = Instant::now();
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            halves.push(started.elapsed() / 2);
        }
        halves.sort_unstable();
        Ok(halves)
    });
    rustix::thread::sched_setaffinity(None, &cpus)?;
    halves
}

fn stay_on_cpu(number: usize) -> io::Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(number);
    Ok(rustix::thread::sched_setaffinity(None, &cpus)?)
}

/// Sends datagrams of these payload sizes one after the other, each when the one before has arrived unharmed.
/// Larger ones than fit a packet go in IP fragments.
///
/// # Errors
/// One was lost or damaged: which.
pub fn udp_each(
    from: &Namespace,
    to: &Namespace,
    to_address: impl Into<IpAddr>,
    sizes: impl IntoIterator<Item = usize>,
) -> Result<(), LabError> {
    let (source, sink) = udp_pair(from, to, to_address.into())?;
    let mut buffer = vec![0; 65_536];
    for size in sizes {
        let datagram = datagram(size);
        source
            .send(&datagram)
            .map_err(|error| format!("a datagram of {size} bytes cannot be sent: {error}"))?;
        let read = sink.recv(&mut buffer).map_err(|error| format!("a datagram of {size} bytes: {error}"))?;
        if buffer[..read] != datagram {
            return Err(format!("a datagram of {size} bytes came as another of {read}").into());
        }
    }
    Ok(())
}

/// Hands the kernel one super-frame of `count` datagrams of `size` bytes (UDP_SEGMENT); they must all arrive, unharmed and in order.
///
/// # Errors
/// The kernel does not know UDP_SEGMENT (before 4.18), or a datagram was lost or damaged.
pub fn udp_super_frame(
    from: &Namespace,
    to: &Namespace,
    to_address: impl Into<IpAddr>,
    size: u16,
    count: usize,
) -> Result<(), LabError> {
    let (source, sink) = udp_pair(from, to, to_address.into())?;
    nix::sys::socket::setsockopt(&source, nix::sys::socket::sockopt::UdpGsoSegment, &i32::from(size))?;
    let whole = datagram(usize::from(size) * count);
    source.send(&whole)?;
    let mut buffer = vec![0; 65_536];
    for (number, expected) in whole.chunks(usize::from(size)).enumerate() {
        let read = sink.recv(&mut buffer).map_err(|error| format!("datagram {number}: {error}"))?;
        if buffer[..read] != *expected {
            return Err(format!("datagram {number} came as another of {read} bytes").into());
        }
    }
    Ok(())
}

fn udp_pair(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<(UdpSocket, UdpSocket), LabError> {
    let sink = to.run(|| UdpSocket::bind((address, 0)))??;
    sink.set_read_timeout(Some(Duration::from_secs(5)))?;
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = from.run(|| UdpSocket::bind((any, 0)))??;
    SockRef::from(&source).set_send_buffer_size(1 << 20)?;
    SockRef::from(&sink).set_recv_buffer_size(1 << 20)?;
    source.connect(sink.local_addr()?)?;
    Ok((source, sink))
}

/// Bytes that depend on their place and on the datagram's size.
fn datagram(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place * 31 + (place >> 8) + size) as u8).collect()
}
