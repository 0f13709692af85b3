//! VLAN devices in userspace, for kernels without 8021q: a TAP of the sandbox, and a thread that tags what it sends and
//! passes it on by the parent interface, metadata of super-frames and partial checksums beside it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use pontoon::link::Links;
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::buffer::Buffer;
use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads, Received, SendError};
use pontoon_dataplane::{DropReason, Frame};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::lab::{LabError, Namespace};

/// The bytes of both MACs.
const MACS_LEN: usize = 12;

/// A VLAN device; it vanishes when dropped.
#[derive(Debug)]
pub struct Vlan {
    stop: Arc<OwnedFd>,
    relay: Option<JoinHandle<io::Result<()>>>,
}

/// What carries the VLAN.
struct Wire {
    tap: Device,
    parent: Device,
    /// The tags, outer first, as they stand behind the MACs.
    tags: Vec<u8>,
}

impl Vlan {
    /// Makes the device `name` above `parent`, with its MAC, its MTU (less what tags take for which the kernel has no room) and the address given (/24). `tags` are TPID and VLAN
    /// identifier, outer first.
    ///
    /// # Errors
    /// No privilege, no such parent.
    pub fn new(
        namespace: &Namespace,
        parent: &str,
        name: &str,
        tags: &[(u16, u16)],
        address: Ipv4Addr,
    ) -> Result<Vlan, LabError> {
        let (tap, packet) = namespace.run(|| -> Result<_, LabError> {
            let links = Links::open()?;
            let above = links.get(parent)?;
            let tap = Tap::open(name, Offloads::ALL)?;
            let link = links.get(name)?;
            let mac = above.mac.ok_or("the parent has no MAC")?;
            // A packet socket takes 4 bytes above the MTU for one tag of 802.1Q and nothing for others (kernel:
            // packet_extra_vlan_len_allowed).
            let room = if let [(0x8100, _)] = tags { 0 } else { 4 * u16::try_from(tags.len())? };
            links.dress(&link, name, mac, u16::try_from(above.mtu)? - room)?;
            links.add_address(&link, address.into(), 24)?;
            links.set_up(&link, true)?;
            Ok((tap, Packet::open(parent, Offloads::ALL)?))
        })??;
        let tags =
            tags.iter().flat_map(|(tpid, id)| [tpid.to_be_bytes(), id.to_be_bytes()]).flatten().collect();
        let wire = Wire { tap: Device::Tap(tap), parent: Device::Packet(packet), tags };
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let stopped = Arc::clone(&stop);
        let relay = std::thread::Builder::new().name("vlan".into()).spawn(move || {
            wire.relay(&stopped).inspect_err(|error| eprintln!("the VLAN's relay has ended: {error}"))
        })?;
        Ok(Vlan { stop, relay: Some(relay) })
    }
}

impl Drop for Vlan {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
    }
}

impl Wire {
    fn relay(&self, stop: &OwnedFd) -> io::Result<()> {
        let mut buffer = Buffer::new();
        loop {
            let readable = PollFlags::IN;
            let mut fds = [
                PollFd::new(stop, readable),
                PollFd::new(&self.tap, readable),
                PollFd::new(&self.parent, readable),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
            while let Some(frame) = next(&self.tap, &mut buffer)? {
                let (bytes, offload) = self.tagged(&frame);
                send(&self.parent, &Frame { bytes: &bytes, offload })?;
            }
            while let Some(frame) = next(&self.parent, &mut buffer)? {
                if let Some((bytes, offload)) = self.untagged(&frame) {
                    send(&self.tap, &Frame { bytes: &bytes, offload })?;
                }
            }
        }
    }

    fn tagged(&self, frame: &Frame<'_>) -> (Vec<u8>, Offload) {
        let (macs, rest) = frame.bytes.split_at(frame.bytes.len().min(MACS_LEN));
        ([macs, &self.tags, rest].concat(), frame.offload.shifted(self.tags.len() as u16))
    }

    fn untagged(&self, frame: &Frame<'_>) -> Option<(Vec<u8>, Offload)> {
        let (macs, rest) = frame.bytes.split_at_checked(MACS_LEN)?;
        let rest = rest.strip_prefix(self.tags.as_slice())?;
        let tags_len = self.tags.len() as u16;
        let back = |place: u16| place.saturating_sub(tags_len);
        let offload = Offload {
            csum_start: back(frame.offload.csum_start),
            header_len: back(frame.offload.header_len),
            ..frame.offload
        };
        Some(([macs, rest].concat(), offload))
    }
}

fn next<'a>(device: &Device, buffer: &'a mut Buffer) -> io::Result<Option<Frame<'a>>> {
    loop {
        match device.recv(buffer)? {
            Received::Frame => return Ok(Some(buffer.frame())),
            Received::Dropped(_) | Received::Skipped | Received::Down => {}
            Received::Empty => return Ok(None),
        }
    }
}

/// Sends a frame, waiting for room: a socket's send buffer holds two super-frames or three, and a real VLAN device would
/// not lose the fourth. A frame that is refused for another reason is lost, as on a wire.
fn send(device: &Device, frame: &Frame<'_>) -> io::Result<()> {
    while let Err(SendError::Dropped(DropReason::PortFull)) = device.send(frame) {
        poll(&mut [PollFd::new(device, PollFlags::OUT)], Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))?;
    }
    Ok(())
}
