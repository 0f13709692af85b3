//! Traffic between two namespaces of a lab, by the kernel's own stack on both sides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use socket2::SockRef;

use crate::lab::{LabError, Namespace};

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
    sink.set_read_timeout(Some(Duration::from_secs(20)))?;
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
