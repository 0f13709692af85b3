//! What control tells a worker, and what the worker does about it.

use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::Sender;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::handover;
use super::placement::Stay;
use super::{BATCH, Lane, PortIo, Worker};
use crate::edge::punt::Answer;
use crate::edge::view::{EdgeStats, SessionFilter, SessionView};
use crate::network::{NetworkId, PortId, Snapshot};
use crate::port::memory::OwnedFrame;
use crate::storm::PortStorm;
use crate::time::Timestamp;
use crate::trace::{KnownRoute, Trace};

/// What control tells a worker. All of it is plain data, carried out between two batches.
#[derive(Debug)]
pub(crate) enum Command {
    /// Decide by this from now on, and send by these devices.
    Publish { snapshot: Arc<Snapshot>, devices: Arc<[Option<Arc<PortIo>>]> },
    /// Read from this port.
    Own(Arc<PortIo>),
    /// Read from this port, which another worker has read, and has flooded so much there. `guest`: it will go home to that one.
    TakeOver { io: Arc<PortIo>, floods: PortStorm, guest: bool },
    /// Do not read from it any more.
    Disown(PortId),
    /// The gateway announces itself.
    Announce(NetworkId),
    /// Control tells the edge something.
    Answer(Answer),
    /// Control looks at the edge.
    Inspect(Inspect),
    /// Everything before this has been carried out, and every frame that was handed over before has gone on.
    Ack(Sender<()>),
    /// End.
    Stop,
}

/// What control wants of the edge, or of another worker; carried out there in one short piece, the answer sent with where to go on.
#[derive(Debug)]
pub(crate) enum Inspect {
    /// A page of sessions.
    Page { filter: SessionFilter, from: u32, max: usize, reply: Sender<(Vec<SessionView>, Option<u32>)> },
    /// End sessions.
    Flush { filter: SessionFilter, from: u32, reply: Sender<(u64, Option<u32>)> },
    /// How much is used.
    Stats { reply: Sender<EdgeStats> },
    /// Follow a frame without sending it.
    Trace {
        ingress: PortId,
        frame: OwnedFrame,
        known: Option<KnownRoute>,
        floods: Option<PortStorm>,
        reply: Sender<Trace>,
    },
    /// What a port has flooded lately: of the worker that reads it.
    Floods { port: PortId, reply: Sender<PortStorm> },
}

impl Worker {
    /// Carries out what control asked for. Returns whether to stop.
    pub(super) fn obey(&mut self) -> bool {
        let now = self.now();
        while let Some(command) = self.setup.mailbox.next() {
            match command {
                Command::Publish { snapshot, devices } => {
                    self.core.adopt(now, snapshot);
                    self.egress.devices = devices;
                }
                Command::Own(io) => self.own(io, Stay::new(None)),
                Command::TakeOver { io, floods, guest } => {
                    self.core.take_over(io.id, floods);
                    self.own(io, Stay::new(guest.then_some(now)));
                }
                Command::Disown(id) => self.disown(id),
                Command::Announce(network) => self.core.announce(network, now),
                Command::Answer(answer) => {
                    self.core.answer(now, &answer);
                    self.let_waiting_go_on(now);
                }
                Command::Inspect(inspect) => self.inspect(now, inspect),
                Command::Ack(done) => {
                    for _ in 0..handover::DEPTH.div_ceil(BATCH) {
                        self.take_handed_over(now);
                    }
                    let _ = done.send(());
                }
                Command::Stop => return true,
            }
            self.next_tick = Some(now);
        }
        false
    }

    /// Whoever asked may have gone, so an answer that nobody takes is no fault.
    fn inspect(&mut self, now: Timestamp, inspect: Inspect) {
        let edge = self.core.edge_mut();
        match (inspect, edge) {
            (Inspect::Trace { ingress, frame, known, floods, reply }, _) => {
                let frame = frame.as_frame();
                let _ = reply.send(self.core.trace_flooding(now, ingress, &frame, known, floods));
            }
            (Inspect::Floods { port, reply }, _) => {
                let _ = reply.send(self.core.floods(port));
            }
            (Inspect::Page { filter, from, max, reply }, Some(edge)) => {
                let _ = reply.send(edge.page(now, filter, from, max));
            }
            (Inspect::Flush { filter, from, reply }, Some(edge)) => {
                let _ = reply.send(edge.flush(now, filter, from));
            }
            (Inspect::Stats { reply }, Some(edge)) => {
                let _ = reply.send(edge.stats());
            }
            // Only its own worker is asked.
            (_, None) => {}
        }
    }

    pub(super) fn own(&mut self, io: Arc<PortIo>, stay: Stay) {
        self.setup.placement.begin();
        let index = io.id.index();
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, || None);
        }
        let data = EventData::new_u64(u64::from(io.id.0));
        match epoll::add(&self.epoll, io.device.as_fd(), data, EventFlags::IN) {
            Ok(()) => self.lanes[index] = Some(Lane { io, busy: false, silent: 0, stay }),
            Err(errno) => self.lose(&io, &errno.into()),
        }
    }

    pub(super) fn disown(&mut self, id: PortId) {
        if let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::take) {
            // Fails only when the kernel has already taken it out.
            let _ = epoll::delete(&self.epoll, lane.io.device.as_fd());
            self.busy.retain(|&busy| busy != id);
            self.down.retain(|&down| down != id);
        }
    }
}
