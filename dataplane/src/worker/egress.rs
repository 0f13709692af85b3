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

    /// Sends what `step` decided: the ingress frame to each of its egresses, then frames that the core made.
    #[inline]
    pub(super) fn send(&mut self, core: &Core, out: &Out, buffer: &Buffer) {
        for &egress in out.copies() {
            let Some(io) = self.devices.get(egress.index()).and_then(Option::as_ref) else { continue };
            let frame = buffer.frame();
            let sent = match segment::needs_work(&frame.offload, io.device.offloads()) {
                Work::Nothing => io.device.send_buffer(buffer),
                Work::Checksum | Work::Segment => finish_and_send(&mut self.scratch, &io.device, &frame),
            };
            count(core, io, &self.events, &frame, sent);
        }
        if out.has_made() {
            self.send_made(core, out);
        }
    }

    pub(super) fn send_made(&self, core: &Core, out: &Out) {
        for (egress, frame) in out.made() {
            let Some(io) = self.devices.get(egress.index()).and_then(Option::as_ref) else { continue };
            count(core, io, &self.events, &frame, io.device.send(&frame));
        }
    }

    pub(super) fn report_lost(&self, io: &PortIo, error: &io::Error) {
        report_lost(io, &self.events, error);
    }
}

/// Does in software what the device cannot, and sends the results.
#[cold]
fn finish_and_send(scratch: &mut Vec<u8>, device: &Device, frame: &Frame<'_>) -> Result<(), SendError> {
    let mut sent = Ok(());
    let finished = segment::segment(frame, device.offloads(), scratch, &mut |segment| {
        // The rest of a super-frame is worth sending although a segment is lost: TCP repeats just that one.
        if let Err(error) = device.send(segment) {
            sent = Err(error);
        }
    });
    match finished {
        Ok(_) => sent,
        Err(reason) => Err(SendError::Dropped(reason)),
    }
}

/// Books what became of a frame at its egress.
#[inline]
fn count(core: &Core, io: &PortIo, events: &Sender<Event>, frame: &Frame<'_>, sent: Result<(), SendError>) {
    let Some(port) = core.snapshot().port(io.id) else { return };
    match sent {
        Ok(()) => core.count_sent(port, frame.bytes.len()),
        Err(SendError::Dropped(reason)) => core.count_drop(port, reason, frame.bytes.len()),
        Err(SendError::Gone(error)) => {
            core.count_drop(port, DropReason::PortGone, frame.bytes.len());
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
