//! The sending side of a worker: every port's device, and the work that some of them cannot do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam_channel::Sender;
use rustix::io::Errno;

use crate::engine::Event;
use crate::frame::{Frame, MAX_FRAME_LEN};
use crate::id::PortId;
use crate::out::Out;
use crate::port::buffer::Buffer;
use crate::port::{Device, SendError};
use crate::segment::{self, Work};
use crate::step::Core;
use crate::verdict::DropReason;

/// A port's device, shared by all workers.
#[derive(Debug)]
pub(crate) struct PortIo {
    pub(crate) id: PortId,
    pub(crate) device: Device,
    /// The device has vanished; said once.
    lost: AtomicBool,
}

impl PortIo {
    pub(crate) fn new(id: PortId, device: Device) -> Self {
        Self { id, device, lost: AtomicBool::new(false) }
    }
}

/// The sending side: every port's device, and the work that some of them cannot do.
#[derive(Debug)]
pub(super) struct Egress {
    pub(super) devices: Arc<[Option<Arc<PortIo>>]>,
    /// Room for the frames that a super-frame is cut into.
    scratch: Vec<u8>,
    events: Sender<Event>,
}

impl Egress {
    pub(super) fn new(events: Sender<Event>) -> Self {
        Self { devices: Arc::new([]), scratch: Vec::with_capacity(MAX_FRAME_LEN), events }
    }

    /// Sends what the core decided: the ingress frame to each of its egresses, then as it leaves with other headers, then
    /// frames that the core made.
    #[inline]
    pub(super) fn send(&mut self, core: &Core, out: &Out, buffer: &mut Buffer) {
        for &egress in out.copies() {
            self.send_buffer(core, egress, buffer);
        }
        if let Some(rewritten) = out.rewritten()
            && buffer.rewrite(rewritten)
        {
            self.send_buffer(core, rewritten.egress, buffer);
        }
        if out.has_made() {
            self.send_made(core, out);
        }
    }

    pub(super) fn send_made(&mut self, core: &Core, out: &Out) {
        for (egress, frame) in out.made() {
            self.send_by(core, egress, &frame, |device| device.send(&frame));
        }
    }

    #[inline]
    fn send_buffer(&mut self, core: &Core, egress: PortId, buffer: &Buffer) {
        self.send_by(core, egress, &buffer.frame(), |device| device.send_buffer(buffer));
    }

    /// Sends `frame`, as it is by `send_whole` where the device takes it so.
    #[inline]
    fn send_by(
        &mut self,
        core: &Core,
        egress: PortId,
        frame: &Frame<'_>,
        send_whole: impl FnOnce(&Device) -> Result<(), SendError>,
    ) {
        let Some(io) = self.devices.get(egress.index()).and_then(Option::as_ref) else { return };
        match segment::needs_work(&frame.offload, io.device.offloads()) {
            Work::Nothing => count(core, io, &self.events, frame.bytes.len(), send_whole(&io.device)),
            Work::Checksum | Work::Segment => {
                finish_and_send(core, io, &self.events, &mut self.scratch, frame);
            }
        }
    }

    pub(super) fn report_lost(&self, io: &PortIo, error: &io::Error) {
        report_lost(io, &self.events, error);
    }
}

/// Does in software what the device cannot, and sends the results, each of which is booked by itself: the rest of a super-frame is
/// worth sending although a segment is lost, for TCP repeats just that one.
#[cold]
fn finish_and_send(
    core: &Core,
    io: &PortIo,
    events: &Sender<Event>,
    scratch: &mut Vec<u8>,
    frame: &Frame<'_>,
) {
    let finished = segment::segment(frame, io.device.offloads(), scratch, &mut |segment| {
        count(core, io, events, segment.bytes.len(), io.device.send(segment));
    });
    if let Err(reason) = finished {
        count(core, io, events, frame.bytes.len(), Err(SendError::Dropped(reason)));
    }
}

/// Books what became of a frame of `bytes` bytes at its egress.
#[inline]
fn count(core: &Core, io: &PortIo, events: &Sender<Event>, bytes: usize, sent: Result<(), SendError>) {
    let Some(port) = core.snapshot().port(io.id) else { return };
    match sent {
        Ok(()) => core.count_sent(port, bytes),
        Err(SendError::Dropped(reason)) => core.count_drop(port, reason, bytes),
        Err(SendError::Gone(error)) => {
            core.count_drop(port, DropReason::PortGone, bytes);
            report_lost(io, events, &error);
        }
    }
}

#[cold]
fn report_lost(io: &PortIo, events: &Sender<Event>, error: &io::Error) {
    if !io.lost.swap(true, Relaxed) {
        let _ = events.send(Event::PortLost { port: io.id, cause: cause_of_loss(error) });
    }
}

/// Why a device is lost, in words. What the kernel says of a TAP whose namespace ended (EBADFD, "file descriptor in bad
/// state") or of an interface that was deleted speaks of our descriptor, which nobody has heard of.
fn cause_of_loss(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::BADFD | Errno::NODEV | Errno::NXIO | Errno::NETDOWN) => {
            "its device or its sandbox has gone".into()
        }
        _ => error.to_string(),
    }
}
