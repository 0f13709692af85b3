//! Worker threads: the only place where I/O meets decision.
//!
//! A worker owns the receiving side of some ports and may send by any port. One turn reads a bounded batch from a
//! port, frame by frame, into one buffer that is written out again at once: a frame's bytes stay in the cache between
//! the two system calls, and nothing is queued here that could grow.

mod egress;
mod spin;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use rustix::io::Errno;

use crate::engine::Event;
use crate::network::{NetworkId, PortId, Snapshot};
use crate::out::Out;
use crate::port::Received;
use crate::port::buffer::Buffer;
use crate::step::Core;
use crate::time::Timestamp;
use egress::Egress;
pub(crate) use egress::PortIo;
use spin::Spin;

/// Frames read from one port before the next one has its turn. More did not pay (batches above 8 are within noise),
/// and 32 super-frames are 2 MiB: the longest that a port waits for its neighbour.
const BATCH: usize = 32;

/// Turns over the busy ports before the idle ones are asked again. Asking costs a system call; a port that wakes up waits
/// for this many turns at most.
const TURNS_BETWEEN_POLLS: u32 = 16;

/// A lane leaves the queue of busy ones after this many turns in which others had frames and it had none: each such turn
/// costs a system call for nothing, and a few ports that talk must not pay for hundreds that once did.
const SILENT_TURNS: u32 = 64;

/// How often a port that went down is looked at, whether it is still there.
const LOOK_AFTER_DOWN: Duration = Duration::from_millis(250);

/// Marks the worker's own wake-up descriptor among the ports' numbers.
const WAKE: u64 = u64::MAX;

/// What control tells a worker. All of it is plain data, carried out between two batches.
#[derive(Debug)]
pub(crate) enum Command {
    /// Decide by this from now on, and send by these devices.
    Publish { snapshot: Arc<Snapshot>, devices: Arc<[Option<Arc<PortIo>>]> },
    /// Read from this port.
    Own(Arc<PortIo>),
    /// Do not read from it any more.
    Disown(PortId),
    /// The gateway announces itself.
    Announce(NetworkId),
    /// Everything before this has been carried out.
    Ack(Sender<()>),
    /// End.
    Stop,
}

/// What a worker needs from outside.
#[derive(Debug)]
pub(crate) struct WorkerSetup {
    pub(crate) number: usize,
    pub(crate) commands: Receiver<Command>,
    pub(crate) events: Sender<Event>,
    pub(crate) wake: Arc<OwnedFd>,
    pub(crate) epoch: Instant,
    pub(crate) spin: Duration,
    pub(crate) niceness: i32,
}

/// A descriptor that wakes a worker up.
pub(crate) fn wake_descriptor() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

/// A port that this worker reads from.
#[derive(Debug)]
struct Lane {
    io: Arc<PortIo>,
    /// In the queue of busy lanes.
    busy: bool,
    /// Turns since its last frame in which others had some.
    silent: u32,
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    core: Core,
    out: Out,
    buffer: Buffer,
    egress: Egress,
    lanes: Vec<Option<Lane>>,
    busy: VecDeque<PortId>,
    /// Frames came in the last turn.
    traffic: bool,
    /// Ports whose interface went down, and when to look at them next.
    down: Vec<PortId>,
    next_look: Timestamp,
    epoll: OwnedFd,
    spin: Spin,
    next_tick: Option<Timestamp>,
    setup: WorkerSetup,
}

impl Worker {
    pub(crate) fn new(setup: WorkerSetup) -> io::Result<Worker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, setup.wake.as_fd(), EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Worker {
            core: Core::new(setup.number),
            out: Out::new(),
            buffer: Buffer::new(),
            egress: Egress::new(setup.events.clone()),
            lanes: Vec::new(),
            busy: VecDeque::new(),
            traffic: false,
            down: Vec::new(),
            next_look: Timestamp::ZERO,
            epoll,
            spin: Spin::new(setup.spin),
            next_tick: Some(Timestamp::ZERO),
            setup,
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        // On Linux this is the calling thread's own. Without the privilege the worker is a thread like any other.
        let _ = rustix::process::nice(self.setup.niceness);
        let mut turns_until_poll = 0;
        loop {
            if self.busy.is_empty() {
                if self.wait_for_work() {
                    return;
                }
                turns_until_poll = TURNS_BETWEEN_POLLS;
            } else if turns_until_poll == 0 {
                if self.poll(Some(Duration::ZERO)) {
                    return;
                }
                turns_until_poll = TURNS_BETWEEN_POLLS;
            }
            turns_until_poll -= 1;
            let now = self.now();
            self.visit_busy_lanes(now);
            self.tick_if_due(now);
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.setup.epoch.elapsed().as_millis() as u64)
    }

    /// Every busy lane has its turn. One that stays silent leaves the queue after [`SILENT_TURNS`]; when all are silent,
    /// they leave it when spinning does not pay any longer.
    fn visit_busy_lanes(&mut self, now: Timestamp) {
        let mut frames = 0;
        for _ in 0..self.busy.len() {
            let Some(id) = self.busy.pop_front() else { break };
            let Some(lane) = self.lanes.get(id.index()).and_then(Option::as_ref) else { continue };
            let io = Arc::clone(&lane.io);
            match self.read_batch(now, &io) {
                Ok(read) => {
                    frames += read;
                    if read > 0 && !self.down.is_empty() {
                        self.down.retain(|&down| down != id);
                    }
                    if self.stays_busy(id, read) {
                        self.busy.push_back(id);
                    }
                }
                Err(error) => self.lose(&io, &error),
            }
        }
        self.traffic = frames > 0;
        if self.traffic {
            self.spin.saw_traffic();
        } else if self.spin.is_over() {
            for id in self.busy.drain(..) {
                if let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::as_mut) {
                    lane.busy = false;
                }
            }
        } else {
            // On a machine with few CPUs the one we wait for may need ours.
            std::thread::yield_now();
        }
    }

    fn stays_busy(&mut self, id: PortId, read: usize) -> bool {
        let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::as_mut) else { return false };
        lane.silent = if read > 0 { 0 } else { lane.silent + u32::from(self.traffic) };
        lane.busy = lane.silent < SILENT_TURNS;
        lane.busy
    }

    /// The life of a frame.
    fn read_batch(&mut self, now: Timestamp, ingress: &PortIo) -> io::Result<usize> {
        for read in 0..BATCH {
            match ingress.device.recv(&mut self.buffer)? {
                Received::Frame => {
                    self.core.step(now, ingress.id, &self.buffer.frame(), &mut self.out);
                    self.egress.send(&self.core, &self.out, &self.buffer);
                }
                Received::Dropped(reason) => {
                    if let Some(port) = self.core.snapshot().port(ingress.id) {
                        // The kernel kept the bytes, or they make no sense: the buffer still holds an earlier frame.
                        self.core.count_drop(port, reason, 0);
                    }
                }
                Received::Skipped => {}
                Received::Empty => return Ok(read),
                Received::Down => {
                    if !self.down.contains(&ingress.id) {
                        self.down.push(ingress.id);
                    }
                    self.next_look = now + LOOK_AFTER_DOWN;
                    return Ok(read);
                }
            }
        }
        Ok(BATCH)
    }

    fn tick_if_due(&mut self, now: Timestamp) {
        if !self.down.is_empty() && now >= self.next_look {
            self.next_look = now + LOOK_AFTER_DOWN;
            self.look_after_down();
        }
        if self.next_tick.is_some_and(|due| now >= due) {
            self.next_tick = self.core.tick(now, &mut self.out);
            self.egress.send_made(&self.core, &self.out);
        }
    }

    fn look_after_down(&mut self) {
        for id in std::mem::take(&mut self.down) {
            let Some(lane) = self.lanes.get(id.index()).and_then(Option::as_ref) else { continue };
            let io = Arc::clone(&lane.io);
            if io.device.is_gone() {
                self.lose(&io, &Errno::NODEV.into());
            } else {
                self.down.push(id);
            }
        }
    }

    /// Sleeps until a port or control has something, or time does. Returns whether to stop.
    fn wait_for_work(&mut self) -> bool {
        let next_look = (!self.down.is_empty()).then_some(self.next_look);
        let due = [self.next_tick, next_look].into_iter().flatten().min();
        let timeout = due.map(|due| due.since(self.now()));
        let stop = self.poll(timeout);
        self.spin.woke_up();
        stop
    }

    /// Asks which ports have something and moves them to the busy queue. Returns whether to stop.
    fn poll(&mut self, timeout: Option<Duration>) -> bool {
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
        let ready = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return false,
            // Cannot happen with a descriptor of our own; going on would spin.
            Err(_) => return true,
        };
        let mut stop = false;
        for event in ready {
            let word = event.data.u64();
            if word == WAKE {
                let _ = rustix::io::read(&self.setup.wake, &mut [0u8; 8]);
                stop |= self.obey();
                continue;
            }
            let id = PortId(word as u16);
            let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::as_mut) else { continue };
            if !lane.busy {
                (lane.busy, lane.silent) = (true, 0);
                self.busy.push_back(id);
            }
        }
        stop
    }

    /// Carries out what control asked for. Returns whether to stop.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.setup.commands.try_recv() {
            match command {
                Command::Publish { snapshot, devices } => {
                    self.core.adopt(snapshot);
                    self.egress.devices = devices;
                }
                Command::Own(io) => self.own(io),
                Command::Disown(id) => self.disown(id),
                Command::Announce(network) => self.core.announce(network, self.now()),
                Command::Ack(done) => drop(done.send(())),
                Command::Stop => return true,
            }
        }
        self.next_tick = Some(self.now());
        false
    }

    fn own(&mut self, io: Arc<PortIo>) {
        let index = io.id.index();
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, || None);
        }
        let data = EventData::new_u64(u64::from(io.id.0));
        match epoll::add(&self.epoll, io.device.as_fd(), data, EventFlags::IN) {
            Ok(()) => self.lanes[index] = Some(Lane { io, busy: false, silent: 0 }),
            Err(errno) => self.lose(&io, &errno.into()),
        }
    }

    fn disown(&mut self, id: PortId) {
        if let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::take) {
            // Fails only when the kernel has already taken it out.
            let _ = epoll::delete(&self.epoll, lane.io.device.as_fd());
            self.busy.retain(|&busy| busy != id);
            self.down.retain(|&down| down != id);
        }
    }

    fn lose(&mut self, io: &PortIo, error: &io::Error) {
        self.disown(io.id);
        self.egress.report_lost(io, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacAddr;
    use crate::counters::CounterSum;
    use crate::offload::Offload;
    use crate::port::memory::{self, OwnedFrame};
    use crate::port::{Device, Offloads};
    use crate::testing::{ethernet, mac, open_port, snapshot};

    #[test]
    fn silent_ports_do_not_slow_others_down() {
        let (_commands, from_control) = crossbeam_channel::unbounded();
        let (events, _events) = crossbeam_channel::unbounded();
        let mut worker = Worker::new(WorkerSetup {
            number: 0,
            commands: from_control,
            events,
            wake: Arc::new(wake_descriptor().unwrap()),
            epoch: Instant::now(),
            spin: Duration::from_secs(3600),
            niceness: 0,
        })
        .unwrap();
        worker.core.adopt(Arc::new(snapshot(vec![open_port(0), open_port(1)])));
        let peers = [0, 1].map(|number| {
            let (port, peer) = memory::pair(8, Offloads::NONE).unwrap();
            worker.own(Arc::new(PortIo::new(PortId(number), Device::Memory(port))));
            peer
        });
        let say = |port: usize| {
            let frame = ethernet(MacAddr::BROADCAST, mac(port as u8 + 2), 0x9000, &[0; 46]);
            peers[port].send(OwnedFrame { bytes: frame, offload: Offload::NONE }).unwrap();
        };
        let busy = |worker: &Worker| worker.busy.iter().map(|id| id.0).collect::<Vec<_>>();
        say(0);
        say(1);
        worker.poll(Some(Duration::ZERO));
        // While nobody talks, who talked last is looked at for as long as spinning pays.
        (0..2 * SILENT_TURNS).for_each(|_| worker.visit_busy_lanes(Timestamp::ZERO));
        assert_eq!(busy(&worker).len(), 2);
        for _ in 0..2 * SILENT_TURNS {
            say(0);
            worker.visit_busy_lanes(Timestamp::ZERO);
        }
        assert_eq!(busy(&worker), [0]);
        say(1);
        worker.poll(Some(Duration::ZERO));
        assert_eq!(busy(&worker), [0, 1], "it is noticed when it talks again");
        worker.visit_busy_lanes(Timestamp::ZERO);
        assert_eq!(
            worker.core.snapshot().port(PortId(1)).map(|port| CounterSum::of(&port.counters).rx.frames),
            Some(2)
        );
    }
}
