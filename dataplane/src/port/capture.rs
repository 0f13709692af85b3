//! Capture ports: frames come in from a capture file, once and as fast as they are taken; what leaves by the port is
//! recorded in another.
//!
//! For a replay that keeps a capture's own times there is [`replay`](crate::replay), which needs no threads.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::event::EventfdFlags;

use super::buffer::Buffer;
use super::pcap::{self, CaptureError, Writer};
use super::{Offloads, Received, SendError};
use crate::frame::Frame;
use crate::verdict::DropReason;

/// A port between two files. The recording is complete when the port has been dropped.
#[derive(Debug)]
pub struct Capture {
    frames: Mutex<std::vec::IntoIter<(Duration, Vec<u8>)>>,
    recording: Option<Mutex<Writer>>,
    /// Readable until the last frame has been taken.
    waiting: OwnedFd,
}

impl Capture {
    /// Plays the pcap or pcapng file `input` and records into the pcap file `output`, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, is no capture of Ethernet frames, or cannot be created.
    pub fn open(input: &Path, output: Option<&Path>) -> Result<Capture, CaptureError> {
        let frames = pcap::read(input)?;
        let recording = output.map(Writer::create).transpose()?.map(Mutex::new);
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let waiting = rustix::event::eventfd(u32::from(!frames.is_empty()), flags).map_err(|errno| {
            CaptureError::Io { path: input.to_owned(), action: "play", source: errno.into() }
        })?;
        Ok(Capture { frames: Mutex::new(frames.into_iter()), recording, waiting })
    }

    /// None: a capture holds frames as they were on the wire.
    pub fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    pub(super) fn recv(&self, buffer: &mut Buffer) -> Received {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, bytes)) = frames.next() else {
            let _ = rustix::io::read(&self.waiting, &mut [0u8; 8]);
            return Received::Empty;
        };
        buffer.load(&Frame::plain(&bytes));
        Received::Frame
    }

    pub(super) fn send(&self, frame: &Frame<'_>) -> Result<(), SendError> {
        let Some(recording) = &self.recording else { return Ok(()) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
        recording.write(now, frame.bytes).map_err(|_| SendError::Dropped(DropReason::PortError))
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::NetworkEdge;
    use crate::engine::{Engine, EngineConfig, NetworkSpec, PortSpec};
    use crate::network::{Place, PortSettings};
    use crate::port::{Device, memory};

    #[test]
    fn a_capture_is_played_into_a_network_and_its_answers_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
        let frame = |n: u8| [[0xff; 6], [2, 0, 0, 0, 0, n], [0x90, 0, n, n, n, n]].concat();
        let mut writer = Writer::create(&input).unwrap();
        (1..=3).for_each(|n| writer.write(Duration::from_secs(n.into()), &frame(n)).unwrap());
        writer.finish().unwrap();

        let engine = Engine::start(EngineConfig::default()).unwrap();
        let spec = NetworkSpec {
            gateway: None,
            mtu: 1500,
            ageing: Duration::from_secs(300),
            edge: NetworkEdge::default(),
        };
        let network = engine.add_network(spec).unwrap();
        let port = PortSpec {
            place: Place::Member(network),
            settings: PortSettings::default(),
            identity: None,
            mtu: 1500,
        };
        let (memory, peer) = memory::pair(8, Offloads::NONE).unwrap();
        engine.add_port(port.clone(), Device::Memory(memory)).unwrap();
        let capture = Device::Capture(Capture::open(&input, Some(&output)).unwrap());
        let played = engine.add_port(port, capture).unwrap();

        let deadline = Duration::from_secs(10);
        for n in 1..=3 {
            assert_eq!(peer.frames().recv_timeout(deadline).unwrap().bytes, frame(n));
        }
        let answer = [[2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 9], [0x90, 0, 7, 7, 7, 7]].concat();
        peer.send(memory::OwnedFrame { bytes: answer.clone(), offload: crate::offload::Offload::NONE })
            .unwrap();
        let back = [[0xff; 6], [2, 0, 0, 0, 0, 9], [0x90, 0, 8, 8, 8, 8]].concat();
        peer.send(memory::OwnedFrame { bytes: back.clone(), offload: crate::offload::Offload::NONE })
            .unwrap();
        let sent = || engine.port_counters(played).unwrap().tx.frames;
        let start = std::time::Instant::now();
        while sent() < 2 && start.elapsed() < deadline {
            std::thread::yield_now();
        }
        engine.remove_port(played).unwrap();
        let recorded: Vec<_> = pcap::read(&output).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(recorded, [answer, back]);
    }
}
